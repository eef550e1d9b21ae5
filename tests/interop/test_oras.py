"""oras restores what we pushed, we restore what it pushed, and it counts what we attached."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.attacks.scene import files_of, write_model
from tests.commands import run
from tests.interop.conftest import Pair, pushed
from tests.models import make_model
from tests.real import peers
from tests.real.registry import RealRegistry

pytestmark = pytest.mark.peer

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def discovered(reference: str, kind: str = BUNDLE) -> list[str]:
    """Digests of the referrers that oras finds."""
    found = peers.run("oras", "discover", "--plain-http", "--format", "json", reference).stdout
    return [entry["digest"] for entry in json.loads(found)["referrers"] if entry["artifactType"] == kind]


def test_oras_restores_every_file_byte_for_byte(
    registry: RealRegistry, model: Path, key: Pair, tmp_path: Path
) -> None:
    reference = pushed(model, registry.fresh(), "--key", key.private)
    peers.run("oras", "pull", "--plain-http", reference, "-o", tmp_path / "out")
    assert files_of(tmp_path / "out") == files_of(model)


def test_oras_restores_names_of_every_script(distribution: RealRegistry, tmp_path: Path) -> None:
    names = [
        "\u00fcbung.json",
        "\u6a21\u578b/\u91cd\u307f.bin",
        "a b/c d.json",
        "deep/" * 20 + "x.json",
        "no-ending",
        ".hidden.json",
        "+#&%=@!.json",
    ]
    files = {name: name.encode() for name in names}
    reference = pushed(write_model(tmp_path / "model", files), distribution.fresh())
    peers.run("oras", "pull", "--plain-http", reference, "-o", tmp_path / "out")
    assert files_of(tmp_path / "out") == files
    assert run("pull", reference, "-o", tmp_path / "own").code == 0
    assert files_of(tmp_path / "own") == files


def test_oras_pulls_empty_files_and_equal_ones(distribution: RealRegistry, tmp_path: Path) -> None:
    """Two names of one blob, and a blob of no bytes."""
    files = {"a.json": b"{}", "b.json": b"{}", "empty.txt": b"", "sub/empty.txt": b"", "weights.bin": b"w"}
    reference = pushed(write_model(tmp_path / "model", files), distribution.fresh())
    peers.run("oras", "pull", "--plain-http", reference, "-o", tmp_path / "out")
    assert files_of(tmp_path / "out") == files
    assert run("pull", reference, "-o", tmp_path / "own").code == 0
    assert files_of(tmp_path / "own") == files


def test_we_pull_what_oras_pushed(registry: RealRegistry, model: Path, key: Pair, tmp_path: Path) -> None:
    """As an artifact of an unknown kind: files by their titles, signed and verified like any other."""
    repository = registry.fresh()
    names = sorted(files_of(model))
    kind = ["--artifact-type", "application/vnd.example.model"]
    done = peers.run(
        "oras", "push", "--plain-http", *kind, "--format", "json", f"{repository}:v1", *names, cwd=model
    )
    reference = f"{repository}@{json.loads(done.stdout)['digest']}"
    assert run("pull", reference, "-o", tmp_path / "unsigned", "--key", key.public).code == 10
    assert run("sign", reference, "--key", key.private).code == 0
    pulled = run("pull", f"{repository}:v1", "-o", tmp_path / "out", "--key", key.public)
    assert pulled.code == 0, pulled.err
    assert files_of(tmp_path / "out") == files_of(model)
    assert run("verify", tmp_path / "out", "--key", key.public, "--full").code == 0
    assert run("inspect", reference, "--json").document["kind"] == "unknown"


def test_oras_finds_one_signature_after_two_pushes(registry: RealRegistry, model: Path, key: Pair) -> None:
    repository = registry.fresh()
    first = pushed(model, repository, "--key", key.private)
    assert len(discovered(first)) == 1
    assert pushed(model, repository, "--key", key.private) == first
    assert pushed(model, repository, "--key", key.private, tag="v2") == first
    assert run("sign", first, "--key", key.private).code == 0
    assert len(discovered(first)) == 1
    assert pushed(model, repository, "--key", key.private, "-a", "ticket=ML-7") == first
    assert len(discovered(first)) == 2


def test_expiring_signatures_are_renewed_when_half_is_over(registry: RealRegistry, model: Path, key: Pair) -> None:
    repository = registry.fresh()
    first = pushed(model, repository, "--key", key.private, "--expires", "90d")
    for _ in range(2):
        assert pushed(model, repository, "--key", key.private, "--expires", "90d") == first
    assert len(discovered(first)) == 1
    pushed(model, repository, "--key", key.private, "--expires", "365d")
    assert len(discovered(first)) == 2


def test_a_tag_moves_where_crane_and_skopeo_see_it(registry: RealRegistry, model: Path, tmp_path: Path) -> None:
    repository = registry.fresh()
    first = pushed(model, repository, "--tag", "stable", "--tag", "v1.0")
    other = make_model(tmp_path / "other", seed=1, gguf=False)
    second = pushed(other, repository, "--tag", "stable")
    seen = {
        tag: peers.run("crane", "digest", "--insecure", f"{repository}:{tag}").stdout.strip()
        for tag in ("v1", "stable", "v1.0")
    }
    new, old = second.partition("@")[2], first.partition("@")[2]
    assert seen == {"v1": new, "stable": new, "v1.0": old}


def test_crane_and_skopeo_agree_on_the_digest(registry: RealRegistry, model: Path, key: Pair) -> None:
    reference = pushed(model, registry.fresh(), "--key", key.private)
    repository, _, digest = reference.partition("@")
    manifest = peers.run("crane", "manifest", "--insecure", f"{repository}:v1").stdout
    raw = peers.run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{repository}:v1").stdout
    assert manifest == raw
    assert peers.run("crane", "digest", "--insecure", f"{repository}:v1").stdout.strip() == digest
    assert peers.run("skopeo", "manifest-digest", "/dev/stdin", stdin=raw).stdout.strip() == digest
    assert peers.run("oras", "resolve", "--plain-http", f"{repository}:v1").stdout.strip() == digest


def test_crane_validates_what_is_in_the_registry(distribution: RealRegistry, model: Path) -> None:
    """Each blob that the manifest names is there, with its digest."""
    reference = pushed(model, distribution.fresh())
    repository = reference.partition("@")[0]
    manifest = json.loads(peers.run("crane", "manifest", "--insecure", reference).stdout)
    for part in [manifest["config"], *manifest["layers"]]:
        fetched = peers.run(
            "oras", "blob", "fetch", "--plain-http", "--descriptor", f"{repository}@{part['digest']}"
        )
        assert json.loads(fetched.stdout)["size"] == part["size"]
