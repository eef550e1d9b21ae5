"""Models on their way through registries of both kinds and layouts: other tools see the same at every stop."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.commands import run
from tests.interop.conftest import Pair, pushed
from tests.real import peers
from tests.real.cosign import CosignKey, cosign_attest, cosign_sign, cosign_verify
from tests.real.isolation import log_in
from tests.real.registry import RealRegistry

pytestmark = pytest.mark.peer

LEGACY = ("--new-bundle-format=false",)
EVALUATION = "https://example.org/evaluation/v1"


def signed_by_everybody(model: Path, registry: RealRegistry, key: Pair, cosign_key: CosignKey, place: Path) -> str:
    """A model with our signature, cosign's in both forms, and an attestation in both forms."""
    reference = pushed(model, registry.fresh(), "--key", key.private)
    predicate = place / "predicate.json"
    predicate.write_text('{"passed": true}')
    cosign_sign(reference, cosign_key)
    cosign_sign(reference, cosign_key, *LEGACY, "-a", "form=legacy")
    cosign_attest(reference, cosign_key, EVALUATION, predicate)
    cosign_attest(reference, cosign_key, EVALUATION, predicate, *LEGACY)
    return reference


def copied(source: str, target: str, *words: str | Path) -> str:
    """Copy; ``REPO@DIGEST`` of the target."""
    ran = run("copy", source, target, *words)
    assert ran.code == 0, ran.err
    name, _, digest = ran.out.strip().partition("@")
    return f"{name.rpartition(':')[0] if name.endswith(':v1') else name}@{digest}"


def check_at(reference: str, digest: str, key: Pair, cosign_key: CosignKey) -> None:
    """Everybody finds the same there."""
    repository = reference.partition("@")[0]
    assert reference.partition("@")[2] == digest
    assert peers.run("crane", "digest", "--insecure", f"{repository}:v1").stdout.strip() == digest
    assert peers.run("oras", "resolve", "--plain-http", f"{repository}:v1").stdout.strip() == digest
    raw = peers.run("skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{repository}:v1").stdout
    assert peers.run("skopeo", "manifest-digest", "/dev/stdin", stdin=raw).stdout.strip() == digest
    cosign_verify(reference, key.public)
    cosign_verify(reference, cosign_key.public, *LEGACY, "-a", "form=legacy")
    cosign_verify(reference, cosign_key.public, "--new-bundle-format=true")
    for form in ("true", "false"):
        words = ["--insecure-ignore-tlog=true", "--allow-http-registry", f"--new-bundle-format={form}"]
        peers.run(
            "cosign", "verify-attestation", "--key", cosign_key.public, "--type", EVALUATION, *words, reference
        )
    found = peers.run("oras", "discover", "--plain-http", "--format", "json", reference).stdout
    assert len(json.loads(found)["referrers"]) == 4
    for public in (key.public, cosign_key.public):
        assert run("verify", reference, "--key", public, "--full").code == 0


@pytest.mark.parametrize("by", ["distribution", "referrers_registry"])
@pytest.mark.parametrize("to", ["distribution", "referrers_registry"])
def test_everybody_verifies_at_the_target(
    request: pytest.FixtureRequest,
    by: str,
    to: str,
    model: Path,
    key: Pair,
    cosign_key: CosignKey,
    tmp_path: Path,
) -> None:
    source, target = request.getfixturevalue(by), request.getfixturevalue(to)
    reference = signed_by_everybody(model, source, key, cosign_key, tmp_path)
    repository, _, digest = reference.partition("@")
    check_at(copied(f"{repository}:v1", target.fresh()), digest, key, cosign_key)


def test_over_a_layout(
    distribution: RealRegistry,
    referrers_registry: RealRegistry,
    model: Path,
    key: Pair,
    cosign_key: CosignKey,
    tmp_path: Path,
) -> None:
    reference = signed_by_everybody(model, distribution, key, cosign_key, tmp_path)
    repository, _, digest = reference.partition("@")
    layout = tmp_path / "layout"
    assert copied(f"{repository}:v1", f"oci:{layout}").partition("@")[2] == digest
    assert peers.run("oras", "resolve", "--oci-layout", f"{layout}:v1").stdout.strip() == digest
    assert run("verify", f"oci:{layout}:v1", "--key", cosign_key.public, "--full").code == 0
    check_at(copied(f"oci:{layout}:v1", referrers_registry.fresh()), digest, key, cosign_key)


def test_an_index_of_several(distribution: RealRegistry, referrers_registry: RealRegistry, tmp_path: Path) -> None:
    """As oras makes them; each manifest of it is signed by itself."""
    repository = distribution.fresh()
    for number in (1, 2):
        (tmp_path / f"{number}.txt").write_text(f"file {number}")
        words = [f"{repository}:{number}", f"{number}.txt"]
        peers.run("oras", "push", "--plain-http", *words, cwd=tmp_path)
        peers.run("oras", "attach", "--plain-http", "--artifact-type", "a/b", *words, cwd=tmp_path)
    peers.run("oras", "manifest", "index", "create", "--plain-http", f"{repository}:both", "1", "2")
    target = referrers_registry.fresh()
    ran = run("copy", f"{repository}:both", target, "--json")
    assert ran.code == 0, ran.err
    assert (ran.document["copies"][0]["manifests"], ran.document["copies"][0]["referrers"]) == (5, 2)
    resolved = peers.run("oras", "resolve", "--plain-http", f"{target}:both").stdout.strip()
    assert resolved == peers.run("oras", "resolve", "--plain-http", f"{repository}:both").stdout.strip()
    (first, _) = json.loads(peers.run("crane", "manifest", "--insecure", f"{target}:both").stdout)["manifests"]
    found = peers.run("oras", "discover", "--plain-http", "--format", "json", f"{target}@{first['digest']}").stdout
    assert len(json.loads(found)["referrers"]) == 1


def requests(registry: RealRegistry, repository: str, since: int) -> list[tuple[str, str]]:
    """Method and path of the requests in a repository, as docker-registry logged them."""
    text = registry.log.read_text()[since:]
    return [
        (method, path)
        for method, path in re.findall(r'"(GET|HEAD|PUT|POST|PATCH) (/v2/\S+) HTTP', text)
        if f"/v2/{repository}/" in path
    ]


@pytest.mark.parametrize("kind", ["distribution", "basic_auth_registry", "token_registry"])
def test_no_blob_moves_within_a_registry(
    request: pytest.FixtureRequest, kind: str, docker_config: Path, model: Path, key: Pair
) -> None:
    """With tokens too, which have to allow reading the one repository and writing the other."""
    registry: RealRegistry = request.getfixturevalue(kind)
    log_in(docker_config, registry)
    hosts = [registry.host, *([urlsplit(registry.issuer.realm).netloc] if registry.issuer else [])]
    words = [word for host in hosts for word in ("--plain-http", host)]
    reference = pushed(model, registry.fresh(), "--key", key.private, *words)
    since = len(registry.log.read_text())
    target = registry.fresh()
    ran = run("copy", reference, f"{target}:v1", "--json", *words)
    assert ran.code == 0, ran.err
    (found,) = ran.document["copies"]
    assert (found["sentBlobs"], found["mountedBlobs"]) == (0, found["blobs"])
    seen = [
        *requests(registry, reference.partition("@")[0].partition("/")[2], since),
        *requests(registry, target.partition("/")[2], since),
    ]
    assert not [path for method, path in seen if method in ("GET", "PATCH") and "/blobs/" in path]
    assert not [path for method, path in seen if method == "PUT" and "/blobs/" in path]
    assert [path for method, path in seen if method == "POST" and "mount=" in path]
    assert run("verify", f"{target}:v1", "--key", key.public, "--full", *words).code == 0


def test_between_registries_each_blob_crosses_once(
    distribution: RealRegistry, basic_auth_registry: RealRegistry, docker_config: Path, model: Path, key: Pair
) -> None:
    log_in(docker_config, basic_auth_registry)
    words = ("--plain-http", basic_auth_registry.host)
    reference = pushed(model, distribution.fresh(), "--key", key.private)
    since, target = len(distribution.log.read_text()), basic_auth_registry.fresh()
    for _ in range(2):
        assert run("copy", reference, f"{target}:v1", *words).code == 0
    seen = requests(distribution, reference.partition("@")[0].partition("/")[2], since)
    got = [path for method, path in seen if method == "GET" and "/blobs/" in path]
    assert len(got) == len(set(got)) > 5
