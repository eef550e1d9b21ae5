"""Promotion over real registries of both kinds: cosign takes the artifact and the summary at the target."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ocimodel.oci import media
from tests.commands import run
from tests.interop.conftest import Pair, generate, pushed
from tests.interop.test_copy import requests
from tests.real import peers
from tests.real.cosign import cosign_verify
from tests.real.registry import RealRegistry

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


@pytest.mark.parametrize(
    ("here", "there"), [("distribution", "referrers_registry"), ("referrers_registry", "distribution")]
)
def test_from_dev_to_production(
    request: pytest.FixtureRequest, here: str, there: str, model: Path, key: Pair, tmp_path: Path
) -> None:
    first, second = request.getfixturevalue(here), request.getfixturevalue(there)
    dev, staging, prod = pushed(model, first.fresh(), "--key", key.private), first.fresh(), second.fresh()
    digest = dev.partition("@")[2]
    keys = {name: generate(tmp_path, name=name) for name in ("staging", "prod")}
    policy = write_policy(
        tmp_path / "policy.json", key, {"staging": (staging, keys["staging"]), "prod": (prod, keys["prod"])}
    )
    steps = [(dev, f"{staging}:next", "staging"), (f"{staging}:next", f"{prod}:stable", "prod")]
    for source, target, name in steps:
        words = ("--policy", policy, "--key", keys[name].private, "--version", "1.0.0", "--json")
        done = run("promote", source, target, *words)
        assert done.code == 0, done.err
        assert done.document["digest"] == digest
    pinned = f"{prod}@{digest}"
    for tag in ("stable", "1.0.0"):
        assert peers.run("crane", "digest", "--insecure", f"{prod}:{tag}").stdout.strip() == digest
        assert peers.run("oras", "resolve", "--plain-http", f"{prod}:{tag}").stdout.strip() == digest
    cosign_verify(pinned, key.public)
    offline = ["--insecure-ignore-tlog=true", "--allow-http-registry", "--type", media.SLSA_SUMMARY]
    peers.run("cosign", "verify-attestation", "--key", keys["prod"].public, *offline, pinned)
    assert run("verify", f"{prod}:stable", "--policy", policy, "--full").code == 0
    # What staging's promoter said is no promotion to prod, though it was copied along.
    replayed = second.fresh()
    assert run("copy", f"{staging}:next", f"{replayed}:stable").code == 0
    assert run("verify", f"{replayed}:stable", "--policy", policy, "--as", prod).code == 19


def test_no_blob_of_the_model_moves_within_a_registry(
    distribution: RealRegistry, model: Path, key: Pair, tmp_path: Path
) -> None:
    reference, target = pushed(model, distribution.fresh(), "--key", key.private), distribution.fresh()
    promoter = generate(tmp_path, name="promoter")
    policy = write_policy(tmp_path / "policy.json", key, {"prod": (target, promoter)})
    since = len(distribution.log.read_text())
    words = ("--policy", policy, "--key", promoter.private)
    assert run("promote", reference, f"{target}:stable", *words).code == 0
    uploads = [
        path
        for method, path in requests(distribution, target.partition("/")[2], since)
        if method in ("PUT", "PATCH") and "/blobs/uploads/" in path
    ]
    assert 1 <= len({path.partition("?")[0] for path in uploads}) <= 2  # the summary, and nothing of the model
    since = len(distribution.log.read_text())
    assert run("promote", reference, f"{target}:stable", *words).code == 0
    again = requests(distribution, target.partition("/")[2], since)
    assert {method for method, _ in again} <= {"GET", "HEAD"}
