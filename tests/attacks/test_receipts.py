"""A receipt is evidence, never trusted: whatever is written into it, changed files do not pass."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocimodel.oci.digest import Digest
from ocimodel.transfer.places import state_dir
from ocimodel.transfer.receipt import receipt_path
from tests.attacks.scene import FILES, Scene, write_model
from tests.commands import run
from tests.signers import ALICE, BOB, MALLORY

EVIL = FILES | {"weights.bin": b"evil weights"}


@pytest.fixture
def pulled(signed: Scene) -> Scene:
    """A directory that was pulled with the right key, and passes."""
    assert signed.pull().code == 0
    assert signed.verify("--offline", of=signed.out).code == 0
    return signed


def receipt(scene: Scene) -> Path:
    return receipt_path(state_dir(), scene.out)


def edit(scene: Scene, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(receipt(scene).read_text())
    change(document)
    receipt(scene).write_text(json.dumps(document))


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


# --- directories ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("full", [(), ("--full",)], ids=["", "full"])
def test_a_changed_file(pulled: Scene, name: str, full: tuple[str, ...]) -> None:
    """Every byte of it in turn; its size stays."""
    original = FILES[name]
    for position in range(len(original)):
        changed = bytearray(original)
        changed[position] ^= 1
        (pulled.out / name).write_bytes(bytes(changed))
        if position % 16 == 0 or position == len(original) - 1:
            ran = pulled.verify(*full, "--json", of=pulled.out)
            assert ran.code == 14
            assert any(name in reason["detail"] for reason in ran.document["reasons"])
    (pulled.out / name).write_bytes(original)
    assert pulled.verify(*full, of=pulled.out).code == 0


def test_a_changed_file_with_its_old_times(pulled: Scene) -> None:
    """No shortcut by time stamps."""
    file = pulled.out / "weights.bin"
    before = file.stat()
    file.write_bytes(FILES["weights.bin"][::-1])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert pulled.verify(of=pulled.out).code == 14


def test_extra_missing_changed_and_linked_files_are_all_named(pulled: Scene) -> None:
    (pulled.out / "README.md").unlink()
    (pulled.out / "weights.bin").write_bytes(b"other")
    (pulled.out / "extra.py").write_text("import os\n")
    elsewhere = write_model(pulled.place / "elsewhere", {"config.json": FILES["config.json"]})
    (pulled.out / "config.json").unlink()
    (pulled.out / "config.json").symlink_to(elsewhere / "config.json")
    ran = pulled.verify("--json", of=pulled.out)
    assert ran.code == 14
    found = {reason["detail"].split()[0]: reason["reason"] for reason in ran.document["reasons"]}
    assert found == {
        "README.md": "missing-file",
        "weights.bin": "changed-file",
        "extra.py": "extra-file",
        "config.json": "not-a-file",
    }


def test_a_file_below_a_linked_directory(scene: Scene) -> None:
    scene.push({"weights.bin": b"w", "sub/config.json": b"{}"})
    assert scene.pull().code == 0
    (scene.out / "sub").rename(scene.place / "elsewhere")
    (scene.out / "sub").symlink_to(scene.place / "elsewhere")
    ran = scene.verify(of=scene.out)
    assert ran.code == 14
    assert "sub" in ran.err


def test_a_pipe_in_the_place_of_a_file(pulled: Scene) -> None:
    """Nobody waits for a writer that never comes."""
    (pulled.out / "config.json").unlink()
    os.mkfifo(pulled.out / "config.json")
    assert pulled.verify(of=pulled.out).code == 14


def test_what_lies_in_a_directory_that_looks_like_ours(pulled: Scene) -> None:
    """A loader does not know that such a name is temporary, if something imports from there."""
    planted = pulled.out / "sub" / ".ocimodel-tmp-x"
    planted.mkdir(parents=True)
    (planted / "evil.py").write_text("import os\n")
    assert pulled.verify(of=pulled.out).code == 14


def test_without_a_receipt(pulled: Scene) -> None:
    receipt(pulled).unlink()
    assert pulled.verify(of=pulled.out).code == 11
    assert pulled.verify("--ref", str(pulled.reference), of=pulled.out).code == 0
    pinned = f"{pulled.reference.name}@{pulled.subject().digest}"
    assert pulled.verify("--ref", pinned, of=pulled.out).code == 0
    (pulled.out / "weights.bin").write_bytes(b"other")
    assert pulled.verify("--ref", pinned, of=pulled.out).code == 14


def test_a_directory_that_was_moved_has_no_receipt(pulled: Scene) -> None:
    moved = pulled.out.rename(pulled.place / "moved")
    assert pulled.verify(of=moved).code == 11
    link = pulled.place / "link"
    moved.rename(pulled.out)
    link.symlink_to(pulled.out)
    assert pulled.verify(of=link).code == 0


def test_a_directory_that_was_pulled_unverified_is_verified_by_what_the_registry_said_then(signed: Scene) -> None:
    """Its receipt holds the signatures that nobody judged then; who judges them now needs no registry."""
    assert signed.pull(key=None).code == 0
    assert signed.verify(of=signed.out).code == 0
    assert signed.verify("--ref", str(signed.reference), of=signed.out).code == 0


def test_another_key_than_at_the_pull(pulled: Scene) -> None:
    assert pulled.verify(of=pulled.out, key=BOB).code == 12


# --- the receipt itself --------------------------------------------------------------------


def test_another_manifest_in_the_receipt(pulled: Scene) -> None:
    """One that fits the changed files: then the signature does not fit it."""
    pulled.push(EVIL, signer=None, tag="v2")
    write_model(pulled.out, EVIL)
    other = pulled.repository.manifests[pulled.repository.tags["v2"]].raw

    def change(document: dict[str, Any]) -> None:
        document["manifest"] = encoded(other)
        document["digest"] = str(Digest.of(other))
        document["reference"] = f"{pulled.reference}@{Digest.of(other)}"

    edit(pulled, change)
    assert pulled.verify(of=pulled.out).code in (12, 14)
    edit(pulled, lambda document: document.update(index=None))
    assert pulled.verify(of=pulled.out).code in (12, 14)


def test_another_models_receipt(pulled: Scene) -> None:
    """Whole and rightly signed, but by somebody else, or for another directory."""
    other = pulled.place / "other"
    pulled.push(EVIL, signer=MALLORY, tag="v2")
    assert run("pull", str(pulled.reference.tagged("v2")), "-o", other, "--key", pulled.public(MALLORY)).code == 0
    write_model(pulled.out, EVIL)
    text = receipt_path(state_dir(), other).read_text()
    receipt(pulled).write_text(text)
    assert pulled.verify(of=pulled.out).code == 14  # it is not of this directory
    edit(pulled, lambda document: document.update(directory=str(pulled.out)))
    assert pulled.verify(of=pulled.out).code == 12


@pytest.mark.parametrize(
    "change",
    [
        {"verified": True},
        {"verified": False},
        {"pulledAt": "2090-01-01T00:00:00Z"},
        {"digest": "sha256:" + "0" * 64},
        {"reference": "registry.example.org/other:v1@sha256:" + "0" * 64},
        {"referrers": []},
        {"members": {}},
        {"members": {"sha256:" + "0" * 64: {"weights.bin": "0" * 64}}},
        {"include": ["*.json"]},
        {"include": ["weights.bin"], "exclude": ["weights.bin"]},
        {"exclude": ["weights.bin"]},
        {"exclude": ["*"]},
        {"index": None},
        {"index": encoded(b"{}")},
        {"mediaType": "application/vnd.oci.image.index.v1+json"},
        {"version": 1},
        {"manifest": encoded(b"{}")},
    ],
    ids="+".join,
)
def test_a_receipt_with_other_contents(pulled: Scene, change: dict[str, Any]) -> None:
    """However a field reads, a directory with a changed file does not pass."""
    (pulled.out / "weights.bin").write_bytes(FILES["weights.bin"][::-1])
    edit(pulled, lambda document: document.update(change))
    for more in ((), ("--full",), ("--offline",)):
        ran = pulled.verify(*more, of=pulled.out)
        assert ran.code in (3, 10, 11, 12, 14), ran


def test_a_receipt_that_hides_a_missing_file(pulled: Scene) -> None:
    """It may say that a file was left out; whoever verifies is told so, and without it --ref knows better."""
    (pulled.out / "README.md").unlink()
    assert pulled.verify(of=pulled.out).code == 14
    edit(pulled, lambda document: document.update(exclude=["README.md"]))
    ran = pulled.verify("--json", of=pulled.out)
    assert ran.code == 0
    (skipped,) = [check for check in ran.document["checks"] if check["outcome"] == "skip"]
    assert "README.md" in skipped["detail"]
    receipt(pulled).unlink()
    assert pulled.verify("--ref", str(pulled.reference), of=pulled.out).code == 14


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b"{}" * 2, b'{"version": 0}'], ids=repr)
def test_a_receipt_that_is_none(pulled: Scene, data: bytes) -> None:
    receipt(pulled).write_bytes(data)
    assert pulled.verify(of=pulled.out).code == 14
    assert pulled.verify("--ref", str(pulled.reference), of=pulled.out).code == 0


def test_every_flipped_byte_of_a_receipt_keeps_a_changed_file_out(pulled: Scene) -> None:
    """And the unchanged directory passes or not, but never by accident another one."""
    (pulled.out / "weights.bin").write_bytes(FILES["weights.bin"][::-1])
    original = receipt(pulled).read_bytes()
    for position in range(0, len(original), 41):
        changed = bytearray(original)
        changed[position] ^= 1
        receipt(pulled).write_bytes(bytes(changed))
        assert pulled.verify(of=pulled.out).code not in (0, 1), position


def test_members_of_an_archive_that_the_receipt_calls_good(scene: Scene) -> None:
    """Its SHA-256 of such a file is a claim: what decides is the archive, made again from the files."""
    files = {f"parts/{number:04}.json": b"%d\n" % number for number in range(1005)} | {"weights.bin": b"w"}
    scene.push(files)
    assert scene.pull().code == 0
    assert scene.verify(of=scene.out).code == 0
    (scene.out / "parts/0500.json").write_bytes(b"evil\n")

    def change(document: dict[str, Any]) -> None:
        for members in document["members"].values():
            if "parts/0500.json" in members:
                members["parts/0500.json"] = Digest.of(b"evil\n").hex

    edit(scene, change)
    ran = scene.verify(of=scene.out)
    assert ran.code == 14
    assert ran.err.startswith("REFUSED")


def test_a_member_that_the_receipt_forgets(scene: Scene) -> None:
    files = {f"parts/{number:04}.json": b"%d\n" % number for number in range(1005)} | {"weights.bin": b"w"}
    scene.push(files)
    assert scene.pull().code == 0
    (scene.out / "parts/0500.json").unlink()

    def change(document: dict[str, Any]) -> None:
        for members in document["members"].values():
            members.pop("parts/0500.json", None)

    edit(scene, change)
    assert scene.verify(of=scene.out).code == 14


def test_an_archive_that_the_receipt_calls_empty(scene: Scene) -> None:
    """With all of its files gone, nothing would be missing."""
    files = {f"parts/{number:04}.json": b"%d\n" % number for number in range(1005)} | {"weights.bin": b"w"}
    scene.push(files)
    assert scene.pull().code == 0
    shutil.rmtree(scene.out / "parts")
    edit(scene, lambda document: document.update(members={key: {} for key in document["members"]}))
    assert scene.verify(of=scene.out).code == 11


def test_the_receipt_is_the_users_own(pulled: Scene) -> None:
    assert receipt(pulled).stat().st_mode & 0o077 == 0
    assert ALICE.public.keyid in receipt(pulled).read_text()
