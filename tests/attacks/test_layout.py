"""A layout on a disk that somebody else writes: the same answers as for a registry."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from ocimodel.oci import media
from tests.attacks.scene import FILES, files_of, write_model
from tests.commands import Ran, run
from tests.signers import ALICE, BOB


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """A layout with one model, signed by Alice."""
    key = tmp_path / "alice.key"
    key.write_bytes(ALICE.private_pem(None))
    key.chmod(0o600)
    (tmp_path / "alice.pub").write_bytes(ALICE.public.to_pem())
    (tmp_path / "bob.pub").write_bytes(BOB.public.to_pem())
    model = write_model(tmp_path / "model")
    assert run("push", model, f"oci:{tmp_path / 'layout'}:v1", "--key", key).code == 0
    return tmp_path / "layout"


def pull(layout: Path, out: Path, key: str = "alice") -> Ran:
    return run("pull", f"oci:{layout}:v1", "-o", out, "--key", layout.parent / f"{key}.pub", "--no-cache")


def test_a_flipped_byte_in_any_blob(layout: Path) -> None:
    """Whatever it is part of. What only keeps the chunk index alive may be damaged: it is not needed."""
    for number, blob in enumerate(sorted((layout / "blobs" / "sha256").iterdir())):
        original = blob.read_bytes()
        spare = media.CHUNK_INDEX.encode() in original and b'"subject"' in original
        for position in random.Random(blob.name).sample(range(len(original)), min(6, len(original))):
            changed = bytearray(original)
            changed[position] ^= 1
            blob.write_bytes(bytes(changed))
            out = layout.parent / f"out-{number}-{position}"
            ran = pull(layout, out)
            if original == b"{}" or spare:
                assert ran.code in (0, 14)
                assert not out.exists() or files_of(out) == FILES
            else:
                assert ran.code == 14, blob.name
                assert not out.exists()
        blob.write_bytes(original)
    assert pull(layout, layout.parent / "out").code == 0


def test_every_flipped_byte_of_the_index(layout: Path) -> None:
    """The list of manifests is signed by nobody: what arrives is the signed model, or nothing."""
    index = layout / "index.json"
    original = index.read_bytes()
    out = layout.parent / "out"
    for position in range(0, len(original), 11):
        changed = bytearray(original)
        changed[position] ^= 1
        index.write_bytes(bytes(changed))
        ran = pull(layout, out)
        assert ran.code in (0, 10, 11, 12, 14), position
        assert out.exists() is (ran.code == 0)
        if out.exists():
            assert files_of(out) == FILES
            out.rename(layout.parent / f"was-{position}")


def test_another_model_under_the_tag(layout: Path) -> None:
    evil = write_model(layout.parent / "evil", FILES | {"weights.bin": b"evil"})
    assert run("push", evil, f"oci:{layout}:v1").code == 0
    assert pull(layout, layout.parent / "out").code == 10
    assert pull(layout, layout.parent / "out", "bob").code == 10


def test_the_signature_taken_out(layout: Path) -> None:
    index = json.loads((layout / "index.json").read_text())
    index["manifests"] = [entry for entry in index["manifests"] if "v1" in entry.get("annotations", {}).values()]
    (layout / "index.json").write_text(json.dumps(index))
    assert pull(layout, layout.parent / "out").code == 10


def test_blobs_that_are_links_or_pipes(layout: Path) -> None:
    """Nothing outside of the layout is read, and nobody waits for a writer."""
    digest = next(
        layer["digest"].partition(":")[2]
        for blob in (layout / "blobs" / "sha256").iterdir()
        if b'"layers"' in (raw := blob.read_bytes())
        for layer in json.loads(raw)["layers"]
        if layer.get("annotations", {}).get(media.TITLE) == "weights.bin"
    )
    blob = layout / "blobs" / "sha256" / digest
    blob.rename(layout.parent / "elsewhere")
    blob.symlink_to(layout.parent / "elsewhere")
    assert pull(layout, layout.parent / "out").code in (11, 14, 74)
    blob.unlink()
    os.mkfifo(blob)
    assert pull(layout, layout.parent / "out").code in (11, 14, 74)
    assert not (layout.parent / "out").exists()


@pytest.mark.parametrize("marker", [b"", b"{", b'{"imageLayoutVersion":"2.0.0"}', b'{"imageLayoutVersion":1}'])
def test_a_layout_of_another_version(layout: Path, marker: bytes) -> None:
    (layout / "oci-layout").write_bytes(marker)
    assert pull(layout, layout.parent / "out").code == 14
