"""OCI layouts go to and fro between oras, skopeo and us, with everything that refers to the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.attacks.scene import files_of
from tests.commands import run
from tests.interop.conftest import Pair, pushed
from tests.real import peers
from tests.real.cosign import CosignKey, cosign_sign, cosign_verify
from tests.real.registry import RealRegistry

pytestmark = pytest.mark.peer


def test_skopeo_and_oras_read_our_layout(model: Path, key: Pair, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    reference = pushed(model, f"oci:{layout}", "--key", key.private)
    digest = reference.rpartition("@")[2]
    raw = peers.run("skopeo", "inspect", "--raw", f"oci:{layout}:v1").stdout
    assert peers.run("skopeo", "manifest-digest", "/dev/stdin", stdin=raw).stdout.strip() == digest
    assert peers.run("oras", "resolve", "--oci-layout", f"{layout}:v1").stdout.strip() == digest
    peers.run("oras", "pull", "--oci-layout", f"{layout}:v1", "-o", tmp_path / "out")
    assert files_of(tmp_path / "out") == files_of(model)
    found = peers.run("oras", "discover", "--oci-layout", "--format", "json", f"{layout}:v1").stdout
    assert len([1 for entry in json.loads(found)["referrers"] if "sigstore" in entry["artifactType"]]) == 1


def test_oras_carries_our_layout_into_a_registry(
    registry: RealRegistry, model: Path, key: Pair, tmp_path: Path
) -> None:
    """With its signature: verified there by us and by cosign."""
    layout = tmp_path / "layout"
    reference = pushed(model, f"oci:{layout}", "--key", key.private)
    target = f"{registry.fresh()}:v1"
    peers.run("oras", "cp", "-r", "--from-oci-layout", f"{layout}:v1", "--to-plain-http", target)
    ran = run("verify", target, "--key", key.public, "--full", "--json")
    assert ran.code == 0, ran.err
    assert ran.document["digest"] == reference.rpartition("@")[2]
    cosign_verify(f"{target.rpartition(':')[0]}@{ran.document['digest']}", key.public)


def test_we_verify_and_pull_a_layout_that_oras_wrote(
    registry: RealRegistry, model: Path, key: Pair, cosign_key: CosignKey, tmp_path: Path
) -> None:
    """Our signature and cosign's went along."""
    reference = pushed(model, registry.fresh(), "--key", key.private)
    cosign_sign(reference, cosign_key)
    layout = tmp_path / "layout"
    peers.run("oras", "cp", "-r", "--from-plain-http", reference, "--to-oci-layout", f"{layout}:v1")
    for public in (key.public, cosign_key.public):
        assert run("verify", f"oci:{layout}:v1", "--key", public, "--full").code == 0
    assert run("list", f"oci:{layout}").out.split() == ["v1"]
    pulled = run("pull", f"oci:{layout}:v1", "-o", tmp_path / "out", "--key", cosign_key.public)
    assert pulled.code == 0, pulled.err
    assert files_of(tmp_path / "out") == files_of(model)
    assert run("verify", tmp_path / "out", "--key", cosign_key.public).code == 0


def test_skopeo_copies_our_layout(model: Path, key: Pair, tmp_path: Path) -> None:
    """Without referrers, as skopeo does: the model is whole, and unsigned."""
    reference = pushed(model, f"oci:{tmp_path / 'layout'}", "--key", key.private)
    peers.run(
        "oras", "cp", "--from-oci-layout", f"{tmp_path / 'layout'}:v1", "--to-oci-layout", f"{tmp_path / 'copy'}:v1"
    )
    ran = run("verify", f"oci:{tmp_path / 'copy'}:v1", "--key", key.public, "--json")
    assert (ran.code, ran.document["digest"]) == (10, reference.rpartition("@")[2])
    assert run("pull", f"oci:{tmp_path / 'copy'}:v1", "-o", tmp_path / "out").code == 0
    assert files_of(tmp_path / "out") == files_of(model)


def test_layout_and_registry_give_one_digest(
    registry: RealRegistry, model: Path, key: Pair, tmp_path: Path
) -> None:
    ours = {
        pushed(model, place, "--key", key.private).rpartition("@")[2]
        for place in (f"oci:{tmp_path / 'a'}", registry.fresh(), registry.fresh())
    }
    assert len(ours) == 1
