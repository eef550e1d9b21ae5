"""Bundles: the same bytes on every machine, whole on the other side, refused when any byte is another."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ocimodel.errors import OcimodelError
from ocimodel.model.tarball import BLOCK, END, header
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import manifest_bytes
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access
from ocimodel.stores.protocol import Source, Store
from ocimodel.transfer import layouttar, spans
from ocimodel.transfer.archive import open_archive
from ocimodel.transfer.bundle import Bundle
from ocimodel.transfer.meter import Meter
from ocimodel.verbs.bundle_load import load
from ocimodel.verbs.bundle_save import save
from tests.commands import Ran, events, run
from tests.documents import check, problems
from tests.hostile import HostileRegistry, Switches
from tests.hostile.messages import Drop, Reply, Request
from tests.models import make_model, weights
from tests.store_backends import EMPTY, layout_store, put_empty
from tests.test_copy import everything, put_everything, put_legacy, summary

MIB = 1024 * 1024
ACCESS = Access()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


@pytest.fixture
def source(tmp_path: Path) -> Store:
    """A layout with an index, referrers of referrers, and legacy tags."""
    store = layout_store(str(tmp_path / "source"))
    put_everything(store)
    return store


@pytest.fixture
def saved(source: Store, tmp_path: Path) -> Path:
    return save_to(tmp_path / "b.tar", f"{source.name}:v1")


def save_to(file: Path, *references: str, **how: object) -> Path:
    save([Reference.parse(name) for name in references], file, access=ACCESS, **how)  # type: ignore[arg-type]
    return file


def load_to(file: Path, target: Path, **how: object) -> Store:
    load(file, Reference.parse(f"oci:{target}"), access=ACCESS, **how)  # type: ignore[arg-type]
    return layout_store(str(target))


def put_blobs(store: Store, *datas: bytes, tag: str) -> Descriptor:
    put_empty(store)
    layers = []
    for data in datas:
        store.put_blob(Source.of(data))
        layers.append(Descriptor(media_type="a/b", digest=Digest.of(data), size=len(data)))
    raw = manifest_bytes(config=EMPTY, layers=layers)
    return store.put_manifest(raw, media.OCI_MANIFEST, tag=tag)


# --- there and back ---------------------------------------------------------------------------------------------


def test_everything_arrives(source: Store, saved: Path, tmp_path: Path) -> None:
    target = load_to(saved, tmp_path / "target")
    assert summary(everything(target)) == summary(everything(source))
    assert target.tags() == ["v1"]
    assert target.get_manifest("v1") == source.get_manifest("v1")


def test_the_same_artifacts_make_the_same_file(source: Store, saved: Path, tmp_path: Path) -> None:
    """Also out of a registry that lists them in another order, or after a way over another bundle."""
    again = save_to(tmp_path / "again.tar", f"{source.name}:v1")
    assert again.read_bytes() == saved.read_bytes()
    (tmp_path / "far").mkdir()
    load_to(saved, tmp_path / "far/source")
    back = save_to(tmp_path / "back.tar", f"oci:{tmp_path}/far/source:v1")
    assert back.read_bytes() == saved.read_bytes()
    assert save_to(saved, f"{source.name}:v1").read_bytes() == again.read_bytes()


def test_other_programs_read_it_as_a_layout(saved: Path, tmp_path: Path, source: Store) -> None:
    with tarfile.open(saved) as archive:
        names = archive.getnames()
        assert names == sorted(names)
        assert {member.mtime for member in archive} == {0}
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", saved, "-C", tmp_path / "unpacked"], check=True)
    unpacked = layout_store(str(tmp_path / "unpacked"))
    assert summary(everything(unpacked)) == summary(everything(source))


def test_loading_again_writes_nothing(saved: Path, tmp_path: Path) -> None:
    to = Reference.parse(f"oci:{tmp_path}/target")
    load(saved, to, access=ACCESS)
    before = (tmp_path / "target/index.json").stat().st_ino
    (copied,) = load(saved, to, access=ACCESS).copies
    assert copied.unchanged
    assert (tmp_path / "target/index.json").stat().st_ino == before


def test_several_artifacts(tmp_path: Path, stack: ExitStack) -> None:
    """Two of one tag, two names of one artifact; blobs that they share are in it once."""
    here, there = (layout_store(str(tmp_path / name)) for name in ("bert", "fraud"))
    first = put_blobs(here, b"shared" * 1000, b"one", tag="v1")
    put_blobs(here, b"shared" * 1000, b"one", tag="stable")
    second = put_blobs(there, b"shared" * 1000, b"two", tag="v1")
    file = save_to(tmp_path / "b.tar", f"{here.name}:v1", f"{here.name}:stable", f"{there.name}:v1")
    assert file.read_bytes().count(b"shared" * 1000) == 1
    target = load_to(file, tmp_path / "target")
    assert target.tags() == ["bert-v1", "fraud-v1", "stable"]
    assert target.resolve("bert-v1").digest == target.resolve("stable").digest == first.digest
    assert target.resolve("fraud-v1").digest == second.digest
    registry = stack.enter_context(HostileRegistry())
    ran = run("bundle", "load", file, "--to", f"{registry.host}/inside/x")
    assert ran.code == 0, ran.err


def test_lists_of_signatures_of_one_artifact_in_two_places(tmp_path: Path) -> None:
    stores = [layout_store(str(tmp_path / name)) for name in ("a", "b")]
    for store, texts in zip(stores, (("one", "two"), ("two", "three")), strict=True):
        root = put_blobs(store, b"model", tag="v1")
        put_legacy(store, root.digest, "sig", *texts)
    file = save_to(tmp_path / "b.tar", *(f"{store.name}:v1" for store in stores))
    target = load_to(file, tmp_path / "target")
    (found,) = everything(target).legacy
    assert {layer.digest for layer in found.piece.blobs[1:]} == {
        Digest.of(text) for text in (b"one", b"two", b"three")
    }


def test_an_artifact_without_a_tag(source: Store, tmp_path: Path) -> None:
    digest = source.resolve("v1").digest
    file = save_to(tmp_path / "b.tar", f"{source.name}@{digest}")
    target = load_to(file, tmp_path / "target")
    assert target.tags() == []
    assert target.resolve(digest).digest == digest


# --- refused when any byte is another ---------------------------------------------------------------------------


def small(place: Path) -> Path:
    """A bundle of a few kilobytes, with everything that a bundle can have."""
    store = layout_store(str(place / "small"))
    root = put_blobs(store, b"weights", tag="v1")
    put_legacy(store, root.digest, "sig", "signature")
    return save_to(
        place / "small.tar", f"{store.name}:v1", trust={"policy.json": b"{}"}, have={Digest.of(b"signature")}
    )


def test_any_byte(tmp_path: Path) -> None:
    file = small(tmp_path)
    whole = file.read_bytes()
    target = Reference.parse(f"oci:{tmp_path}/target")
    store = layout_store(str(tmp_path / "target"))
    store.put_blob(Source.of(b"signature"))
    index = (tmp_path / "target/index.json").read_bytes()
    dice = random.Random("any byte")
    documents = whole.index(b"bundle.json\0")  # everything from here on is in no manifest
    for position in [*dice.sample(range(documents), 400), *range(documents, len(whole), 3)]:
        changed = bytearray(whole)
        changed[position] ^= 1 << dice.randrange(8)
        file.write_bytes(changed)
        with pytest.raises(OcimodelError) as refused:
            load(file, target, access=ACCESS)
        assert refused.value.exit_code == 14, position
        assert (tmp_path / "target/index.json").read_bytes() == index, position
    file.write_bytes(whole)
    load(file, target, access=ACCESS)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 2048, -1, -512, -1024])
def test_any_end(size: int, tmp_path: Path) -> None:
    file = small(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[:size] if size <= 0 else whole + bytes(size))
    with pytest.raises(OcimodelError) as refused:
        load_to(file, tmp_path / "target")
    assert refused.value.exit_code == 14
    assert not (tmp_path / "target").exists()


def members_of(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as archive:
        return {item.name: archive.extractfile(item).read() for item in archive}  # type: ignore[union-attr]


def rebuild(file: Path, members: dict[str, bytes]) -> None:
    """A bundle by hand: as well formed as ours, whatever is in it."""
    parts = [header(name, len(data)) + data + bytes(-len(data) % BLOCK) for name, data in sorted(members.items())]
    file.write_bytes(b"".join(parts) + END)


def relisted(members: dict[str, bytes]) -> dict[str, bytes]:
    """With a ``bundle.json`` that fits the other files again: the attacker knows how it is made."""
    document = Bundle.from_bytes(members["bundle.json"])
    files = {
        name: Digest.of(data)
        for name, data in members.items()
        if name != "bundle.json" and not name.startswith("blobs/")
    }
    fitted = Bundle(artifacts=document.artifacts, absent=document.absent, files=files)
    return {**members, "bundle.json": fitted.to_bytes()}


def add_blob(members: dict[str, bytes]) -> dict[str, bytes]:
    return {**members, f"blobs/sha256/{hashlib.sha256(b'more').hexdigest()}": b"more"}


def add_file(members: dict[str, bytes]) -> dict[str, bytes]:
    return {**members, "setup.sh": b"rm -rf /"}


def drop_blob(members: dict[str, bytes]) -> dict[str, bytes]:
    return {k: v for k, v in members.items() if k != f"blobs/sha256/{hashlib.sha256(b'weights').hexdigest()}"}


def drop_manifest(members: dict[str, bytes]) -> dict[str, bytes]:
    digest = json.loads(members["bundle.json"])["artifacts"][0]["digest"].removeprefix("sha256:")
    return {k: v for k, v in members.items() if not k.endswith(digest)}


def another_content(members: dict[str, bytes]) -> dict[str, bytes]:
    return {**members, f"blobs/sha256/{hashlib.sha256(b'weights').hexdigest()}": b"w3ights"}


def move_tag(members: dict[str, bytes]) -> dict[str, bytes]:
    return {**members, "index.json": members["index.json"].replace(b'"v1"', b'"v2"')}


def hide_signature(members: dict[str, bytes]) -> dict[str, bytes]:
    index = json.loads(members["index.json"])
    index["manifests"] = [item for item in index["manifests"] if ".sig" not in str(item.get("annotations", {}))]
    return {**members, "index.json": json.dumps(index, separators=(",", ":")).encode()}


def outside(members: dict[str, bytes]) -> dict[str, bytes]:
    return {**members, "blobs/sha256/../../../../etc/passwd": b"x"}


def no_document(members: dict[str, bytes]) -> dict[str, bytes]:
    return {k: v for k, v in members.items() if k != "bundle.json"}


def old_version(members: dict[str, bytes]) -> dict[str, bytes]:
    return {**members, "bundle.json": members["bundle.json"].replace(b"v1/bundle", b"v9/bundle")}


@pytest.mark.parametrize("fit", [False, True], ids=["as-it-is", "relisted"])
@pytest.mark.parametrize(
    "change",
    [
        add_blob,
        add_file,
        drop_blob,
        drop_manifest,
        another_content,
        move_tag,
        hide_signature,
        outside,
        no_document,
        old_version,
    ],
    ids=lambda change: change.__name__,
)
def test_what_an_attacker_may_make_of_it(
    change: Callable[[dict[str, bytes]], dict[str, bytes]], fit: bool, tmp_path: Path
) -> None:
    file = small(tmp_path)
    changed = change(members_of(file))
    if fit and change not in (no_document, old_version):
        changed = relisted(changed) if change is not add_file else changed
    rebuild(file, changed)
    target = layout_store(str(tmp_path / "target"))
    target.put_blob(Source.of(b"signature"))
    index = (tmp_path / "target/index.json").read_bytes()
    with pytest.raises(OcimodelError) as refused:
        load_to(file, tmp_path / "target")
    assert refused.value.exit_code == 14
    assert (tmp_path / "target/index.json").read_bytes() == index


def add(archive: tarfile.TarFile, name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> None:
    item = tarfile.TarInfo(name)
    item.type, item.linkname, item.size = kind, link, size
    archive.addfile(item, io.BytesIO(bytes(min(size, 1024))) if kind == tarfile.REGTYPE else None)


@pytest.mark.parametrize(
    ("name", "kind", "link"),
    [
        ("blobs/sha256/" + "0" * 64, tarfile.SYMTYPE, "/etc/passwd"),
        ("blobs/sha256/" + "0" * 64, tarfile.LNKTYPE, "bundle.json"),
        ("blobs/sha256/" + "0" * 64, tarfile.FIFOTYPE, ""),
        ("blobs/sha256/" + "0" * 64, tarfile.CHRTYPE, ""),
        ("/etc/passwd", tarfile.REGTYPE, ""),
        ("../outside", tarfile.REGTYPE, ""),
        ("blobs", tarfile.DIRTYPE, ""),
        ("BUNDLE.JSON", tarfile.REGTYPE, ""),
    ],
)
def test_what_tar_can_hold_besides_files(name: str, kind: bytes, link: str, tmp_path: Path) -> None:
    file = small(tmp_path)
    with tarfile.open(file, "a") as archive:
        add(archive, name, kind, link)
    with pytest.raises(OcimodelError) as refused:
        load_to(file, tmp_path / "target")
    assert refused.value.exit_code == 14
    assert not (tmp_path / "target").exists()


def test_a_bomb(tmp_path: Path) -> None:
    """Members that say they have more than there is, and one of an absurd size."""
    file = tmp_path / "bomb.tar"
    for size in (2**33, 2**49):
        file.write_bytes(header("bundle.json", size) + END)
        with pytest.raises(OcimodelError) as refused:
            load_to(file, tmp_path / "target")
        assert refused.value.exit_code == 14
    file.write_bytes(header("bundle.json", 65 * MIB) + bytes(65 * MIB) + END)
    with pytest.raises(OcimodelError, match="more than"):
        load_to(file, tmp_path / "target")


@pytest.mark.parametrize("what", ["gzip", "text", "empty", "directory", "missing"])
def test_what_is_no_bundle(what: str, tmp_path: Path) -> None:
    file = tmp_path / "x.tar"
    if what == "directory":
        file.mkdir()
    elif what != "missing":
        file.write_bytes({"gzip": b"\x1f\x8b" * 600, "text": b"hello\n" * 300, "empty": b""}[what])
    ran = run("bundle", "load", file)
    assert ran.code == {"directory": 2, "missing": 11}.get(what, 14)
    assert len(ran.error) == 2


# --- parts ------------------------------------------------------------------------------------------------------


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    store = layout_store(str(tmp_path / "large"))
    put_blobs(store, weights(3 * MIB + 5, "a"), weights(100, "b"), tag="v1")
    save_to(tmp_path / "l.tar", f"{store.name}:v1", split=MIB)
    return sorted(tmp_path.glob("l.tar*"))


def test_parts_are_slices_of_the_same_bundle(parts: list[Path], tmp_path: Path) -> None:
    assert [path.name for path in parts] == ["l.tar.000", "l.tar.001", "l.tar.002", "l.tar.003", "l.tar.parts.json"]
    whole = save_to(tmp_path / "whole.tar", f"oci:{tmp_path}/large:v1")
    assert b"".join(path.read_bytes() for path in parts[:-1]) == whole.read_bytes()
    assert [path.stat().st_size for path in parts[:3]] == [MIB] * 3
    for number, name in enumerate(("l.tar", "l.tar.000", "l.tar.002", "l.tar.parts.json")):
        assert load_to(tmp_path / name, tmp_path / f"t{number}").tags() == ["v1"]


@pytest.mark.parametrize("number", range(4))
def test_a_damaged_part_is_named(parts: list[Path], number: int, tmp_path: Path) -> None:
    data = bytearray(parts[number].read_bytes())
    data[len(data) // 2] ^= 1
    parts[number].write_bytes(data)
    ran = run("bundle", "load", tmp_path / "l.tar", "--to", f"oci:{tmp_path}/t")
    assert ran.code == 14
    assert parts[number].name in ran.error[0]
    assert "Carry this part over again" in ran.error[1]
    assert not (tmp_path / "t").exists()


def test_a_part_that_is_missing_short_or_swapped(parts: list[Path], tmp_path: Path) -> None:
    aside = tmp_path / "aside"
    parts[1].rename(aside)
    ran = run("bundle", "load", tmp_path / "l.tar")
    assert (ran.code, "l.tar.001" in ran.error[0]) == (11, True)
    shutil.copy(parts[2], parts[1])
    assert run("bundle", "load", tmp_path / "l.tar").code == 14
    parts[1].write_bytes(aside.read_bytes()[:-1])
    assert run("bundle", "load", tmp_path / "l.tar").code == 14
    shutil.copy(aside, parts[1])
    assert run("bundle", "load", tmp_path / "l.tar").code == 0


def test_any_byte_of_the_list(parts: list[Path], tmp_path: Path) -> None:
    whole = parts[-1].read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1
        parts[-1].write_bytes(changed)
        assert run("bundle", "list", tmp_path / "l.tar").code == 14, position


@pytest.mark.parametrize(("size", "text"), [("1KB", "1 MiB"), ("0", "1 MiB"), ("x", "no size")])
def test_sizes_that_are_none(source: Store, size: str, text: str, tmp_path: Path) -> None:
    ran = run("bundle", "save", f"{source.name}:v1", tmp_path / "b.tar", "--split", size)
    assert (ran.code, text in ran.error[0]) == (2, True)


# --- what the other side has ------------------------------------------------------------------------------------


def test_a_delta_is_completed_by_the_target(tmp_path: Path) -> None:
    store = layout_store(str(tmp_path / "models"))
    base, changed = weights(2 * MIB, "base"), weights(1000, "changed")
    put_blobs(store, base, b"old", tag="v1")
    put_blobs(store, base, changed, tag="v2")
    first = save_to(tmp_path / "first.tar", f"{store.name}:v1")
    listing = run("bundle", "list", first)
    assert listing.code == 0
    (tmp_path / "there.txt").write_text(listing.out)
    for have in (first, tmp_path / "there.txt"):
        ran = run("bundle", "save", f"{store.name}:v2", tmp_path / "second.tar", "--have", have, "--json")
        assert ran.code == 0, ran.err
        assert check(ran.document)["leftOutBytes"] == len(base) + 2
        assert (tmp_path / "second.tar").stat().st_size < 64 * 1024
    fresh = run("bundle", "load", tmp_path / "second.tar", "--to", f"oci:{tmp_path}/fresh")
    assert fresh.code == 11
    assert "left out" in fresh.error[0]
    assert not (tmp_path / "fresh").exists()
    target = load_to(first, tmp_path / "target")
    assert run("bundle", "load", tmp_path / "second.tar", "--to", target.name).code == 0
    assert target.tags() == ["v1", "v2"]
    third = run("bundle", "list", tmp_path / "second.tar").out.split()
    assert str(Digest.of(base)) in third
    assert str(Digest.of(b"old")) not in third


def test_what_have_cannot_be(source: Store, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("sha256:xyz\n")
    (tmp_path / "text.txt").write_text("no digests\n" * 200)
    for name, code in (("list.txt", 2), ("text.txt", 14), ("absent", 11)):
        ran = run("bundle", "save", f"{source.name}:v1", tmp_path / "b.tar", "--have", tmp_path / name)
        assert ran.code == code, name
    assert not (tmp_path / "b.tar").exists()


# --- interrupted ------------------------------------------------------------------------------------------------


def test_a_save_that_broke_carries_on(tmp_path: Path, stack: ExitStack) -> None:
    registry = stack.enter_context(HostileRegistry())
    model = make_model(tmp_path / "model", gguf=False)
    (model / "a.bin").write_bytes(weights(4 * MIB, "a"))
    (model / "b.bin").write_bytes(weights(5 * MIB, "b"))
    name = f"{registry.host}/m/x:v1"
    assert run("push", model, name).code == 0
    first, last = (str(Digest.of((model / f"{letter}.bin").read_bytes())) for letter in "ba")

    def refuse_the_last(request: Request) -> Reply | None:
        """Once the other one has arrived."""
        if request.target != last or request.method != "GET":
            return None
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if sum(other.sent for other in registry.seen("GET", "blob") if other.target == first) == 5 * MIB:
                break
            time.sleep(0.02)
        time.sleep(0.3)
        return Reply(403)

    registry.on_request = refuse_the_last
    file = tmp_path / "b.tar"
    assert run("bundle", "save", name, file).code == 77
    assert not file.exists()
    assert (tmp_path / "b.tar.partial").exists()
    registry.on_request = None
    registry.forget()
    ran = run("bundle", "save", name, file, "--json")
    assert ran.code == 0, ran.err
    assert check(ran.document)["readBytes"] < 5 * MIB
    assert first not in [request.target for request in registry.seen("GET", "blob")]
    assert run("bundle", "save", name, tmp_path / "other.tar").code == 0
    assert (tmp_path / "other.tar").read_bytes() == file.read_bytes()
    assert not (tmp_path / "b.tar.partial").exists()


def test_what_lay_there_does_not_matter(source: Store, saved: Path, tmp_path: Path) -> None:
    other = tmp_path / "c.tar"
    for left in (saved.read_bytes()[::-1], b"x" * 10, saved.read_bytes() + b"x" * 5000, bytes(100_000)):
        (tmp_path / "c.tar.partial").write_bytes(left)
        save_to(other, f"{source.name}:v1")
        assert other.read_bytes() == saved.read_bytes()


def test_a_link_in_the_way_is_not_followed(source: Store, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    os.symlink(victim, tmp_path / "c.tar.partial")
    ran = run("bundle", "save", f"{source.name}:v1", tmp_path / "c.tar")
    assert ran.code == 74
    assert victim.read_text() == "precious"


def test_two_at_once_into_one_file(source: Store, tmp_path: Path) -> None:
    with spans.writing(tmp_path / "b.tar", 1000, None):
        ran = run("bundle", "save", f"{source.name}:v1", tmp_path / "b.tar")
        assert (ran.code, "another program" in ran.error[0]) == (2, True)


@pytest.mark.parametrize("kind", ["bytes", "stream"])
def test_a_source_with_other_bytes(kind: str, tmp_path: Path, stack: ExitStack) -> None:
    registry = stack.enter_context(HostileRegistry())
    data = weights(2 * MIB if kind == "stream" else 1000, "x")
    model = make_model(tmp_path / "model", gguf=False)
    (model / "x.bin").write_bytes(data)
    assert run("push", model, f"{registry.host}/m/x:v1").code == 0
    registry.only.flip(str(Digest.of(data)), 7)
    ran = run("bundle", "save", f"{registry.host}/m/x:v1", tmp_path / "b.tar")
    assert ran.code == 14
    assert not (tmp_path / "b.tar").exists()


def test_a_load_that_broke_is_run_again(saved: Path, source: Store, stack: ExitStack) -> None:
    registry = stack.enter_context(HostileRegistry(Switches(referrers="404")))
    words = ("bundle", "load", saved, "--to", f"{registry.host}/in/x:v1")
    registry.fail(Drop(), method="PUT", route="manifest", times=12)
    assert run(*words).code == 75
    registry.rules.clear()
    assert run(*words).code == 0
    from tests.store_backends import registry_store

    with ExitStack() as opened:
        target = registry_store(f"{registry.host}/in/x", 0.005)
        opened.callback(target.close)
        assert summary(everything(target)) == summary(everything(source))


# --- trust ------------------------------------------------------------------------------------------------------


class World:
    """A registry with a model that ``alice`` signed, a policy that says so, and a place inside."""

    def __init__(self, root: Path, registry: HostileRegistry) -> None:
        self.root = root
        self.pub, self.other = root / "alice.pub", root / "mallory.pub"
        for name in ("alice", "mallory"):
            assert run("key", "generate", root / name, "--no-password").code == 0
        self.policy = root / "policy.json"
        made = run("policy", "init", "--key", self.pub)
        assert made.code == 0, made.err
        self.policy.write_text(made.out)
        self.ref = f"{registry.host}/ml/tiny:v1"
        model = make_model(root / "model", gguf=False)
        pushed = run("push", model, self.ref, "--key", root / "alice.key")
        assert pushed.code == 0, pushed.err
        self.digest = pushed.out.strip().partition("@")[2]
        self.file = root / "b.tar"
        self.target = f"oci:{root}/inside"

    def save(self, *words: str | Path) -> Ran:
        return run("bundle", "save", self.ref, self.file, *words)

    def load(self, *words: str | Path) -> Ran:
        return run("bundle", "load", self.file, "--to", self.target, *words)


@pytest.fixture
def world(tmp_path: Path, stack: ExitStack) -> World:
    return World(tmp_path, stack.enter_context(HostileRegistry()))


def test_the_other_side_verifies_with_what_came_along(world: World) -> None:
    ran = world.save("--trust", world.policy, "--trust", world.pub, "--key", world.pub, "--json")
    assert ran.code == 0, ran.err
    trust = {item["name"]: item["digest"] for item in check(ran.document)["trust"]}
    assert trust["policy.json"] == str(Digest.of(world.policy.read_bytes()))
    for name in ("policy.json", "alice.pub"):
        loaded = world.load("--trust-digest", trust[name], "--trust-out", world.root / "trust", "--json")
        assert loaded.code == 0, loaded.err
        assert check(loaded.document)["copies"][0]["verified"] is True
        assert loaded.document["signers"][0]["status"] == "good"
    out = world.root / "trust"
    assert (out / "policy.json").read_bytes() == world.policy.read_bytes()
    assert run("verify", f"{world.target}:v1", "--policy", out / "policy.json", "--offline").code == 0
    assert run("verify", f"{world.target}:v1", "--key", out / "alice.pub", "--full").code == 0
    assert world.load("--trust-digest", "sha256:" + "0" * 64).code == 11
    assert world.load("--trust-digest", trust["alice.pub"], "--key", world.pub).code == 2


def test_what_came_along_is_not_trusted_by_itself(world: World) -> None:
    assert world.save("--trust", world.other).code == 0
    ran = world.load("--json")
    assert ran.code == 0
    assert "was not used" in ran.err
    assert check(ran.document)["copies"][0]["verified"] is False
    refused = world.load("--trust-digest", str(Digest.of(world.other.read_bytes())))
    assert refused.code == 12


def test_nothing_is_written_of_what_is_refused(world: World) -> None:
    assert world.save("--key", world.other).code == 12
    assert not world.file.exists()
    assert not (world.root / "b.tar.partial").exists()
    assert world.save().code == 0
    assert world.load("--key", world.other).code == 12
    assert not (world.root / "inside").exists()
    assert world.load("--key", world.pub).code == 0


def test_material_that_nobody_could_use(world: World) -> None:
    (world.root / "broken.json").write_text('{"version": 1}')
    (world.root / "text.txt").write_text("hello")
    for name, code in (("alice.key", 2), ("broken.json", 3), ("text.txt", 2), ("absent", 2)):
        assert world.save("--trust", world.root / name).code == code, name
    assert not world.file.exists()


def test_a_scope_judges_the_name_that_it_gets(world: World, stack: ExitStack) -> None:
    made = run("policy", "init", "--key", world.pub, "--scope", "registry.inside.example/**")
    world.policy.write_text(made.out)
    assert world.save().code == 0
    assert world.load("--policy", world.policy).code == 12
    assert world.load("--policy", world.policy, "--as", "registry.inside.example/ml/tiny").code == 0


def test_where_it_goes(world: World, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    assert world.save().code == 0
    inside = stack.enter_context(HostileRegistry())
    for to, target in (
        (f"{inside.host}/models", f"{inside.host}/models/ml/tiny:v1"),
        (f"{inside.host}/models/exact:stable", f"{inside.host}/models/exact:stable"),
        (f"oci:{world.root}/lay", f"oci:{world.root}/lay:v1"),
    ):
        ran = run("bundle", "load", world.file, "--to", to)
        assert ran.out == f"{target}@{world.digest}\n", ran.err
    monkeypatch.chdir(world.root)
    assert run("bundle", "load", "b.tar").out == f"oci:b:v1@{world.digest}\n"
    assert run("bundle", "load", world.file, "--to", f"{inside.host}/x@{world.digest}").code == 2


def test_a_dry_run_checks_and_writes_nothing(world: World) -> None:
    assert world.save().code == 0
    ran = world.load("--dry-run", "--key", world.pub, "--trust-out", world.root / "t", "--json")
    assert ran.code == 0, ran.err
    document = check(ran.document)
    assert (document["dryRun"], document["trustOut"]) == (True, None)
    assert not (world.root / "inside").exists()
    data = bytearray(world.file.read_bytes())
    place = data.find(b'"hidden_size"')
    data[place] ^= 1
    world.file.write_bytes(data)
    assert world.load("--dry-run").code == 14


def test_events_and_documents(world: World) -> None:
    saved = world.save("--json")
    check(saved.document)
    assert saved.document["artifacts"] == [f"{world.ref}@{world.digest}"]
    check(world.load("--json").document)
    check(run("bundle", "list", world.file, "--json").document)
    left = [event for event in events() if "bundle" in str(event["type"])]
    assert [event["type"] for event in left] == [
        "io.github.ocimodel.bundle.save.v1",
        "io.github.ocimodel.bundle.load.v1",
    ]
    assert [problems(event, "audit-event") for event in left] == [[], []]
    assert left[0]["subject"] == f"{world.ref.rpartition(':')[0]}@{world.digest}"
    assert left[1]["subject"] == f"{world.target}@{world.digest}"


# --- the archive ------------------------------------------------------------------------------------------------


def test_members_beyond_eight_gigabytes() -> None:
    """Octal digits do not suffice there; both of Python's readers and ours understand what is written instead."""
    for size in (8**11 - 1, 8**11, 2**40):
        raw = header("blobs/sha256/x", size)
        assert len(raw) == BLOCK
        assert tarfile.TarInfo.frombuf(raw, "utf-8", "strict").size == size


def test_holes_and_edges(tmp_path: Path) -> None:
    """Contents of every length around a block, over parts that end anywhere."""
    contents = []
    for number, size in enumerate((0, 1, 511, 512, 513, MIB - 1, MIB, MIB + 1)):
        data = weights(size, number)
        contents.append(
            layouttar.Content(
                name=f"blobs/{number}",
                size=size,
                digest=Digest.of(data),
                open=lambda data=data: io.BytesIO(data),  # type: ignore[misc]
            )
        )
    _, total = layouttar.lay_out([(content.name, content.size) for content in contents])
    for each in (None, MIB, MIB + 511, 3 * MIB):
        file = tmp_path / f"x{each}"
        with spans.writing(file, total, each) as run_:
            layouttar.write(run_, contents, Meter())
        found = spans.find(file)
        with spans.reading(found) as run_:
            spans.check(run_, found)
            members = layouttar.read(run_)
            for content in contents:
                layouttar.check(run_, members[content.name], content.digest)


def test_an_archive_is_a_store_that_cannot_be_written(saved: Path, source: Store) -> None:
    with open_archive(saved) as archive:
        assert archive.tags() == ["v1"]
        root = source.resolve("v1").digest
        assert archive.referrers(root).entries == source.referrers(root).entries
        for act in (
            lambda: archive.put_manifest(b"{}", media.OCI_MANIFEST),
            lambda: archive.put_blob(Source.of(b"")),
        ):
            with pytest.raises(OcimodelError):
                act()
