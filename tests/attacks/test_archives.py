"""Archives that a bad packer made and rightly signed: every trick that tar knows is refused, nothing is written."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from ocimodel.oci import media
from tests.attacks.scene import Scene, files_of, write_model
from tests.commands import run

TAR = f"{media.LAYER_PREFIX}weight.config.v1.tar"
DATA = b"evil\n"


def member(name: str, data: bytes = DATA, **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, b"", type=kind, linkname=target)


def archive(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def put(scene: Scene, data: bytes, **annotations: str) -> None:
    layers = [scene.layer(b"weights", "weights.bin"), scene.layer(data, "configs.tar", TAR, **annotations)]
    scene.put_layers(layers)


def refused(scene: Scene) -> None:
    """With the right key and without any; everything below the test's own place is as it was."""
    scene.public()
    write_model(scene.place / "elsewhere", {"victim": b"untouched"})
    before = finished(scene)
    assert scene.pull().code == 14
    assert scene.pull(key=None).code == 14
    assert scene.nothing_arrived()
    assert finished(scene) == before


def finished(scene: Scene) -> dict[str, bytes]:
    """Every file but those that wait in a staging directory for the next run."""
    return {name: data for name, data in files_of(scene.place).items() if not name.startswith(".ocimodel-tmp-")}


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "../../evil",
        "a/../../evil",
        "/evil",
        "//evil",
        "./../evil",
        "a\\..\\..\\evil",
        "C:evil",
        "evil\x1b[2J",
        "CON",
        "evil.",
        ".ocimodel-tmp-evil",
        "a/" + "../" * 30 + "evil",
        "d" * 300,
    ],
    ids=lambda name: ascii(name[:30]),
)
def test_a_member_with_an_unsafe_name(scene: Scene, name: str) -> None:
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        if form != tarfile.USTAR_FORMAT or len(name) <= 100:
            put(scene, archive(member("config.json", b"{}"), member(name), form=form))
            refused(scene)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE], ids=["symbolic", "hard"])
@pytest.mark.parametrize("target", ["/etc/passwd", "../elsewhere/victim", "weights.bin", "config.json", "."])
def test_a_link(scene: Scene, kind: bytes, target: str) -> None:
    put(scene, archive(member("config.json", b"{}"), link("evil", target, kind)))
    refused(scene)


def test_a_file_through_a_link(scene: Scene) -> None:
    """A link to a directory outside, then a file below it; or a file over the link itself."""
    put(scene, archive(link("evil", "../elsewhere"), member("evil/victim")))
    refused(scene)
    put(scene, archive(link("evil", "../elsewhere/victim"), member("evil")))
    refused(scene)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE, b"S", b"V"])
def test_a_member_that_is_no_file(scene: Scene, kind: bytes) -> None:
    put(scene, archive(member("config.json", b"{}"), member("evil", b"", type=kind)))
    refused(scene)


@pytest.mark.parametrize(
    "names",
    [
        ("a.json", "a.json"),
        ("a.json", "A.json"),
        ("\u00e9", "e\u0301"),
        ("a", "a/b"),
        ("weights.bin",),
        ("WEIGHTS.BIN",),
    ],
    ids=ascii,
)
def test_members_that_are_one_file(scene: Scene, names: tuple[str, ...]) -> None:
    """Among themselves, or with a file that is a layer of its own."""
    put(scene, archive(*(member(name) for name in names)))
    refused(scene)


def test_two_archives_with_one_file(scene: Scene) -> None:
    one = scene.layer(archive(member("a.json")), "one.tar", TAR)
    two = scene.layer(archive(member("a.json", b"other")), "two.tar", TAR)
    scene.put_layers([scene.layer(b"weights", "weights.bin"), one, two])
    refused(scene)
    directory = write_model(scene.place / "by-hand", {"a.json": b"other", "weights.bin": b"weights"})
    assert scene.verify("--ref", str(scene.reference), of=directory).code == 14


@pytest.mark.parametrize(
    "pax",
    [
        {"path": "../evil"},
        {"linkpath": "../elsewhere/victim"},
        {"size": "999999999999"},
        {"GNU.sparse.name": "../evil"},
    ],
    ids=ascii,
)
def test_a_pax_header_that_says_something_else(scene: Scene, pax: dict[str, str]) -> None:
    info, data = member("config.json")
    info.pax_headers = pax
    put(scene, archive((info, data), form=tarfile.PAX_FORMAT))
    refused(scene)


def test_a_global_header(scene: Scene) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"path": "../evil"}) as tar:
        info, data = member("config.json")
        tar.addfile(info, io.BytesIO(data))
    put(scene, out.getvalue())
    refused(scene)


def test_an_archive_that_is_damaged_everywhere(scene: Scene) -> None:
    """Cut, with a wrong check sum, with something behind its end, or no archive at all."""
    whole = archive(member("config.json"))
    wrong = bytearray(whole)
    wrong[150] ^= 1
    for data in (whole[:600], whole[:512], bytes(wrong), whole + DATA * 200, DATA, b"", b"\x1f\x8b" + whole):
        put(scene, data)
        refused(scene)


def test_the_mark_of_our_own_archives_changes_nothing(scene: Scene) -> None:
    put(scene, archive(link("evil", "/etc/passwd")), **{media.GROUP: "v1"})
    refused(scene)


def test_a_member_with_the_set_user_id_bit(scene: Scene) -> None:
    """Modes are not restored: nothing is executable, nothing belongs to anybody else."""
    put(scene, archive(member("run.sh", b"#!/bin/sh\n", mode=0o6777, uid=0, gid=0, uname="root")))
    assert scene.pull().code == 0
    assert (scene.out / "run.sh").stat().st_mode & 0o7111 == 0


def test_a_link_planted_where_a_member_is_to_be(scene: Scene, tmp_path: Path) -> None:
    """An honest archive over a destination with a link in it: the link is replaced, not followed."""
    put(scene, archive(member("config.json", b"{}")))
    outside = write_model(scene.place / "elsewhere", {"victim": b"untouched"})
    scene.out.mkdir()
    (scene.out / "config.json").symlink_to(outside / "victim")
    assert scene.pull().code == 2
    assert scene.pull("--force").code == 0
    assert (outside / "victim").read_bytes() == b"untouched"
    assert not (scene.out / "config.json").is_symlink()
    assert (scene.out / "config.json").read_bytes() == b"{}"


def test_a_thousand_files_that_share_an_archive_come_back(scene: Scene) -> None:
    """The honest case: more than a thousand files, the small ones packed together, and checked again later."""
    files = {f"parts/{number:04}.json": b"%d\n" % number for number in range(1005)} | {"weights.bin": b"w"}
    scene.push(files)
    assert len(scene.manifest()["layers"]) < 10
    assert scene.pull().code == 0
    assert files_of(scene.out) == files
    (scene.out / "parts" / "0500.json").write_bytes(b"changed\n")
    ran = run("verify", scene.out, "--key", scene.public())
    assert ran.code == 14
    assert "parts/0500.json" in ran.err
