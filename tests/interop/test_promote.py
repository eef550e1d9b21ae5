"""Promotion over real registries of both kinds: cosign takes the artifact and the summary at the target."""

from __future__ import annotations

import json
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocimodel.oci import media
from tests.commands import run
from tests.interop.conftest import Pair, generate, pushed
from tests.real import peers
from tests.real.cosign import cosign_verify
from tests.real.proxy import Count, Traffic
from tests.real.registries import RealRegistry, docker_registry, go_registry

pytestmark = pytest.mark.peer


def write_policy(path: Path, builder: Pair, stages: dict[str, tuple[str, Pair]]) -> Path:
    """A scope for each environment, which names its own promoter; the last one asks for nothing else."""
    ring: dict[str, Any] = {"builder": {"publicKey": builder.public.read_text(), "roles": ["builder"]}}
    scopes = []
    for name, (repository, key) in stages.items():
        ring[name] = {"publicKey": key.public.read_text(), "roles": ["promoter"]}
        resource = {"verificationResult": {"const": "PASSED"}, "resourceUri": {"const": f"oci://{repository}"}}
        gate = {
            "predicateType": media.SLSA_SUMMARY,
            "name": "promotion",
            "from": [name],
            "schema": {"properties": resource, "required": list(resource)},
        }
        rules = {"signatures": {"from": ["builder"]}, "attestations": [gate], "formats": {"deny": []}}
        scopes.append({"match": repository, "environment": name, **rules})
    path.write_text(json.dumps({"version": 1, "id": "chain", "keys": ring, "scopes": scopes}))
    return path


def blobs_of(reference: str, kind: str = "") -> Counter[str]:
    """The blobs of a manifest whose media types begin with ``kind``, and their sizes, as crane sees them."""
    manifest = json.loads(peers.run("crane", "manifest", "--insecure", reference).stdout)
    blobs = [blob for blob in (manifest["config"], *manifest["layers"]) if blob["mediaType"].startswith(kind)]
    return Counter({blob["digest"]: blob["size"] for blob in blobs})


def blobs_about(reference: str, kind: str = "") -> Counter[str]:
    """The blobs of what refers to it, as oras finds them."""
    repository = reference.partition("@")[0]
    tree = json.loads(peers.run("oras", "discover", "--plain-http", "--format", "json", reference).stdout)
    found, pending = Counter[str](), tree["referrers"]
    while pending:
        entry = pending.pop()
        found |= blobs_of(f"{repository}@{entry['digest']}", kind)
        pending += entry.get("referrers", [])
    return found


def check_at(repository: str, tags: tuple[str, ...], digest: str, builder: Path, promoters: list[Path]) -> None:
    """Everybody finds this digest there, and cosign the signature and the summaries."""
    for tag in tags:
        named = f"{repository}:{tag}"
        assert peers.run("crane", "digest", "--insecure", named).stdout.strip() == digest
        assert peers.run("oras", "resolve", "--plain-http", named).stdout.strip() == digest
        fetched = peers.run("oras", "manifest", "fetch", "--plain-http", "--descriptor", named).stdout
        assert json.loads(fetched)["digest"] == digest
    pinned = f"{repository}@{digest}"
    cosign_verify(pinned, builder)
    for public in promoters:
        words = ["--insecure-ignore-tlog=true", "--allow-http-registry", "--type", media.SLSA_SUMMARY]
        said = peers.run("cosign", "verify-attestation", "--key", public, *words, pinned).stdout
        statements = [json.loads(b64decode(json.loads(line)["payload"])) for line in said.splitlines()]
        assert statements
        for statement in statements:
            assert statement["predicateType"] == media.SLSA_SUMMARY
            assert digest in {"sha256:" + subject["digest"]["sha256"] for subject in statement["subject"]}


@pytest.fixture(params=[(docker_registry, go_registry), (go_registry, docker_registry)], ids=["to-go", "from-go"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[RealRegistry, RealRegistry]]:
    """Two registries that have nothing yet: what others have sent would not be sent again."""
    here, there = request.param
    with here(tmp_path / "here") as first, there(tmp_path / "there") as second:
        yield first, second


def test_from_dev_to_production(
    empty: tuple[RealRegistry, RealRegistry],
    counted: Count,
    model: Path,
    key: Pair,
    tmp_path: Path,
) -> None:
    """One digest in three repositories of two registries; what crosses to and from each of them is counted."""
    first, second = (counted(registry) for registry in empty)
    dev = pushed(model, first.registry.fresh("dev"), "--key", key.private)
    staging, prod = first.registry.fresh("staging"), second.registry.fresh("prod")
    digest = dev.partition("@")[2]
    keys = {name: generate(tmp_path, name=name) for name in ("staging", "prod")}
    policy = write_policy(
        tmp_path / "policy.json", key, {"staging": (staging, keys["staging"]), "prod": (prod, keys["prod"])}
    )

    def promote(source: str, target: str, name: str) -> tuple[Traffic, Traffic]:
        """What crossed to and from each registry."""
        first.traffic(), second.traffic()
        words = ("--policy", policy, "--key", keys[name].private, "--version", "1.0.0", "--json")
        done = run("promote", source, target, *words)
        assert done.code == 0, done.err
        assert done.document["digest"] == digest
        return first.traffic(), second.traffic()

    own, about = blobs_of(dev), blobs_about(dev)
    # Within one registry: of what there is nothing is sent, and of the model nothing is read either.
    within, elsewhere = promote(dev, f"{staging}:next", "staging")
    promised = blobs_about(f"{staging}@{digest}")
    judged = blobs_about(f"{staging}@{digest}", media.SIGSTORE_BUNDLE_PREFIX)
    assert set(judged - about) == set(promised - about)
    assert len(judged) == 2  # the signature and the summary; whoever judges reads them
    assert within.sent == promised - about
    assert within.received.keys() <= judged.keys()
    assert not first.registry.name.startswith("distribution") or within.mounted == set(own | about)
    assert not elsewhere.received | elsewhere.sent
    check_at(staging, ("next", "1.0.0"), digest, key.public, [keys["staging"].public])
    # Between two: all there is, once; signatures, too, which are judged before anything is written.
    left, arrived = promote(f"{staging}:next", f"{prod}:stable", "prod")
    summary = blobs_about(f"{prod}@{digest}") - promised
    assert len(summary) == 1
    assert not left.sent
    assert left.received == own | promised
    assert arrived.sent == own | promised | summary
    assert arrived.received.keys() <= judged.keys() | summary.keys()
    check_at(prod, ("stable", "1.0.0"), digest, key.public, [pair.public for pair in keys.values()])
    # Again: there is nothing to do, and nothing moves.
    for source, target, name in (
        (dev, f"{staging}:next", "staging"),
        (f"{staging}:next", f"{prod}:stable", "prod"),
    ):
        for traffic in promote(source, target, name):
            assert not traffic.sent
            assert traffic.received.keys() <= judged.keys() | summary.keys()
    assert run("verify", f"{prod}:stable", "--policy", policy, "--full").code == 0
    # What staging's promoter said is no promotion to prod, though it was copied along.
    replayed = second.registry.fresh("replayed")
    assert run("copy", f"{staging}:next", f"{replayed}:stable").code == 0
    assert run("verify", f"{replayed}:stable", "--policy", policy, "--as", prod).code == 19
