"""OCI image layouts: never half-written, shared by processes, read by and from other tools."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.errors import (
    DigestMismatchError,
    FormatError,
    IntegrityError,
    NotFoundError,
    StorageError,
    UsageError,
)
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import index_bytes, manifest_bytes
from ocimodel.stores.facts import examine
from ocimodel.stores.layout import LayoutStore, default_tag
from ocimodel.stores.layout_index import LayoutIndex
from ocimodel.stores.locks import exclusive
from ocimodel.stores.protocol import Source, read_blob
from tests.hostile import Repository
from tests.real.peers import run
from tests.store_backends import EMPTY, ROOT, TYPE, put_model, put_note

ANYONE = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "layout"


@pytest.fixture
def store(path: Path) -> LayoutStore:
    return LayoutStore(path, create=True)


def index_of(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((path / "index.json").read_bytes())
    return document


def write_index(path: Path, document: object) -> None:
    (path / "index.json").write_text(json.dumps(document))


def blob_file(path: Path, digest: Digest) -> Path:
    return path / "blobs" / digest.algorithm / digest.hex


def everything(path: Path) -> dict[str, tuple[int, int]]:
    return {str(file): (file.lstat().st_mtime_ns, file.lstat().st_size) for file in path.rglob("*")}


# What is on the disk


def test_it_is_a_layout(path: Path, store: LayoutStore) -> None:
    model = put_model(store, tag="v1")
    assert json.loads((path / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert blob_file(path, EMPTY.digest).read_bytes() == b"{}"
    document = index_of(path)
    assert (document["schemaVersion"], document["mediaType"]) == (2, media.OCI_INDEX)
    (entry,) = document["manifests"]
    assert (entry["digest"], entry["size"]) == (str(model.digest), model.size)
    assert entry["annotations"][media.REF_NAME] == "v1"
    assert list((path / ".drafts").iterdir()) == []


def test_others_may_read_what_the_umask_allows(path: Path, store: LayoutStore) -> None:
    previous = os.umask(0o022)
    try:
        model = put_model(store, tag="v1")
    finally:
        os.umask(previous)
    for file in (blob_file(path, model.digest), path / "index.json", path / "oci-layout"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_a_referrer_is_an_entry_without_a_name(path: Path, store: LayoutStore) -> None:
    model = put_model(store, tag="v1")
    note = put_note(store, model, "one")
    entry = index_of(path)["manifests"][1]
    assert entry["digest"] == str(note.digest)
    assert entry["artifactType"] == TYPE
    assert entry["annotations"] == {"note": "one", media.SUBJECT_HINT: str(model.digest)}


def test_a_name_inside_a_manifest_is_no_tag(path: Path, store: LayoutStore) -> None:
    model = put_model(store, tag="v1")
    raw = manifest_bytes(
        config=EMPTY,
        layers=[],
        subject=model,
        annotations={media.REF_NAME: "v1", media.SUBJECT_HINT: "none", "a": "b"},
    )
    evil = store.put_manifest(raw, media.OCI_MANIFEST)
    assert store.resolve("v1") == model
    (entry,) = LayoutStore(path).referrers(model.digest).entries
    assert (entry.digest, entry.annotations) == (evil.digest, {"a": "b"})


def test_long_annotations_stay_in_the_manifest(path: Path, store: LayoutStore) -> None:
    model = put_model(store, tag="v1")
    put_note(store, model, "x" * 50_000)
    assert (path / "index.json").stat().st_size < 2_000
    (entry,) = LayoutStore(path).referrers(model.digest).entries
    assert len(entry.annotations["note"]) == 50_000


def test_what_others_wrote_stays(path: Path, store: LayoutStore) -> None:
    put_model(store, "one", "v1")
    document = index_of(path)
    document["annotations"] = {"made.by": "another tool"}
    document["future"] = [1, {"a": None}]
    document["manifests"][0].update(platform={"os": "linux"}, urls=["https://x.example/"], data="e30=")
    document["manifests"][0]["annotations"]["theirs"] = "ä"
    write_index(path, document)
    two = put_model(store, "two", "v1")
    after = index_of(path)
    assert {key: value for key, value in after.items() if key != "manifests"} == {
        key: value for key, value in document.items() if key != "manifests"
    }
    del document["manifests"][0]["annotations"][media.REF_NAME]
    assert after["manifests"][0] == document["manifests"][0]
    assert after["manifests"][1]["digest"] == str(two.digest)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.none() | st.sampled_from(["a", "b"])), max_size=12))
def test_the_index_is_a_map_of_tags(steps: list[tuple[int, str | None]]) -> None:
    facts = [
        examine(manifest_bytes(config=EMPTY, layers=[], annotations={"n": str(number)}), media.OCI_MANIFEST)
        for number in range(4)
    ]
    index, tags, seen = LayoutIndex.empty(), dict[str, Digest](), set[Digest]()
    for number, tag in steps:
        index = index.with_entry(facts[number], tag)
        digest = facts[number].descriptor.digest
        seen.add(digest)
        if tag is not None:
            tags[tag] = digest
        decoded = LayoutIndex.from_bytes(index.to_bytes())
        assert {name: entry.digest for name in tags if (entry := decoded.tagged(name))} == tags
        assert sorted(decoded.tags()) == sorted(tags)
        assert {entry.descriptor.digest for entry in decoded.entries} == seen
        assert len(decoded.entries) == len(tags) + len(seen - set(tags.values()))
        assert index.with_entry(facts[number], tag) is index


# Bytes


@pytest.mark.parametrize("what", ["flipped", "longer", "shorter"])
def test_damaged_manifests_are_noticed(path: Path, store: LayoutStore, what: str) -> None:
    model = put_model(store, tag="v1")
    file = blob_file(path, model.digest)
    raw = file.read_bytes()
    file.write_bytes({"flipped": raw.replace(b"m", b"n", 1), "longer": raw + b" ", "shorter": raw[:-1]}[what])
    for target in ("v1", model.digest):
        with pytest.raises(DigestMismatchError):
            store.get_manifest(target)


def test_every_flipped_byte_is_noticed(path: Path, store: LayoutStore) -> None:
    model = put_model(store, tag="v1")
    file = blob_file(path, model.digest)
    raw = file.read_bytes()
    for position in range(len(raw)):
        changed = bytearray(raw)
        changed[position] ^= 1
        file.write_bytes(changed)
        with pytest.raises(IntegrityError):
            store.get_manifest("v1")


def test_pushing_again_mends_a_manifest(path: Path, store: LayoutStore) -> None:
    model = put_model(store, tag="v1")
    file = blob_file(path, model.digest)
    file.write_bytes(file.read_bytes().replace(b"m", b"n", 1))
    assert put_model(store, tag="v1") == model
    assert store.get_manifest("v1")[0] == model


def test_damaged_blobs_are_noticed_by_readers(path: Path, store: LayoutStore) -> None:
    digest = store.put_blob(Source.of(b"weights"))
    blob = Descriptor(media_type="a/b", digest=digest, size=7)
    for content in (b"weightz", b"weight", b"weights!"):
        blob_file(path, digest).write_bytes(content)
        with pytest.raises(DigestMismatchError):
            read_blob(store, blob, limit=100)


def test_a_blob_of_the_wrong_size_is_written_again(path: Path, store: LayoutStore) -> None:
    digest = store.put_blob(Source.of(b"weights"))
    blob_file(path, digest).write_bytes(b"weigh")
    assert not store.has_blob(Descriptor(media_type="a/b", digest=digest, size=7))
    store.put_blob(Source.of(b"weights"), digest)
    assert blob_file(path, digest).read_bytes() == b"weights"


def test_a_tag_without_its_manifest_is_damage(path: Path, store: LayoutStore) -> None:
    model = put_model(store, tag="v1")
    blob_file(path, model.digest).unlink()
    for look in (store.get_manifest, store.resolve):
        with pytest.raises(IntegrityError, match="is missing"):
            look("v1")
        with pytest.raises(NotFoundError):
            look(model.digest)


def test_sha512(store: LayoutStore) -> None:
    digest = Digest.parse(
        "sha512:3627909a29c31381a071ec27f7c9ca97726182aed29a7ddd2e54353322cfb30a"
        "bb9e3a6df2ac2c20fe23436311d678564d0c8d305930575f60e2d3d048184d79"
    )
    assert store.put_blob(Source.of(b"12345"), digest) == digest
    blob = Descriptor(media_type="a/b", digest=digest, size=5)
    assert read_blob(store, blob, limit=5) == b"12345"


# Links, devices, names


def test_links_are_not_followed(tmp_path: Path, path: Path, store: LayoutStore) -> None:
    digest = store.put_blob(Source.of(b"secret"))
    blob = Descriptor(media_type="a/b", digest=digest, size=6)
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret")
    file = blob_file(path, digest)
    file.unlink()
    file.symlink_to(outside)
    with pytest.raises(IntegrityError), store.open_blob(blob):
        pass
    with pytest.raises(IntegrityError):
        store.has_blob(blob)


@pytest.mark.parametrize("name", ["blobs", "blobs/sha256", "index.json", "oci-layout"])
def test_no_part_may_be_a_link(tmp_path: Path, path: Path, store: LayoutStore, name: str) -> None:
    model = put_model(store, tag="v1")
    (path / name).rename(tmp_path / "moved")
    (path / name).symlink_to(tmp_path / "moved")
    with pytest.raises(IntegrityError):
        LayoutStore(path).get_manifest(model.digest)


def test_the_layout_itself_may_be_a_link(tmp_path: Path, path: Path, store: LayoutStore) -> None:
    model = put_model(store, tag="v1")
    (tmp_path / "link").symlink_to(path)
    assert LayoutStore(tmp_path / "link").resolve("v1") == model


def test_a_pipe_does_not_block(path: Path, store: LayoutStore) -> None:
    digest = store.put_blob(Source.of(b"x"))
    blob_file(path, digest).unlink()
    os.mkfifo(blob_file(path, digest))
    with (
        pytest.raises(IntegrityError, match="regular"),
        store.open_blob(Descriptor(media_type="a/b", digest=digest, size=1)),
    ):
        pass


def test_no_descriptor_leaks(path: Path, store: LayoutStore) -> None:
    model = put_model(store, tag="v1")
    blob = Descriptor(media_type="a/b", digest=EMPTY.digest, size=2)
    missing = Descriptor(media_type="a/b", digest=Digest.of(b"no"), size=2)

    def use() -> int:
        reader = LayoutStore(path)
        reader.get_manifest("v1")
        reader.referrers(model.digest)
        read_blob(reader, blob, limit=10)
        reader.put_blob(Source.of(b"more"))
        with contextlib.suppress(NotFoundError):
            read_blob(reader, missing, limit=10)
        with contextlib.suppress(DigestMismatchError):
            reader.put_blob(Source(size=9, open=Source.of(b"x").open))
        return len(os.listdir("/proc/self/fd"))

    before = use()
    assert use() == before


# What is not a layout


def test_reading_what_is_not_there(path: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for place in (path, tmp_path / "empty", tmp_path / "file", tmp_path / "file" / "below"):
        reader = LayoutStore(place)
        for look in (
            lambda reader=reader: reader.tags(),
            lambda reader=reader: reader.resolve("v1"),
            lambda reader=reader: reader.referrers(EMPTY.digest),
            lambda reader=reader: put_model(reader),
        ):
            with pytest.raises(NotFoundError):
                look()
    assert not path.exists()
    assert list((tmp_path / "empty").iterdir()) == []


def test_reading_makes_nothing(path: Path) -> None:
    store = LayoutStore(path, create=True)
    assert store.tags() == []
    assert not store.has_blob(EMPTY)
    assert not path.exists()


def test_a_directory_with_other_things_is_left_alone(path: Path) -> None:
    path.mkdir()
    (path / "thesis.tex").write_text("important")
    store = LayoutStore(path, create=True)
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        store.put_blob(Source.of(b"x"))
    assert [file.name for file in path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_directory(path: Path) -> None:
    path.write_text("x")
    for place in (path, path / "below"):
        with pytest.raises(UsageError):
            LayoutStore(place, create=True).put_blob(Source.of(b"x"))


def test_a_layout_without_an_index_is_empty(path: Path, store: LayoutStore) -> None:
    model = put_model(store, tag="v1")
    (path / "index.json").unlink()
    assert LayoutStore(path).tags() == []
    assert LayoutStore(path).resolve(model.digest) == model
    put_model(store, "two", "v2")
    assert LayoutStore(path).tags() == ["v2"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("oci-layout", b""),
        ("oci-layout", b"[]"),
        ("oci-layout", b"{}"),
        ("oci-layout", b'{"imageLayoutVersion":"2.0.0"}'),
        ("oci-layout", b'{"imageLayoutVersion":"1.0.0","imageLayoutVersion":"1.0.0"}'),
        ("oci-layout", b" " * 70_000),
        ("index.json", b""),
        ("index.json", b"[]"),
        ("index.json", b'{"manifests":[]}'),
        ("index.json", b'{"schemaVersion":2,"manifests":{}}'),
        ("index.json", b'{"schemaVersion":2,"manifests":[{}]}'),
        ("index.json", b'{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":"sha256:1","size":1}]}'),
    ],
)
def test_malformed(path: Path, store: LayoutStore, name: str, content: bytes) -> None:
    put_model(store, tag="v1")
    (path / name).write_bytes(content)
    reader = LayoutStore(path)
    for look in (reader.tags, lambda: reader.get_manifest("v1"), lambda: reader.referrers(EMPTY.digest)):
        with pytest.raises(FormatError):
            look()
    with pytest.raises(FormatError):
        put_model(reader, "two", "v1")
    assert (path / name).read_bytes() == content


def test_the_bad_field_is_named(path: Path, store: LayoutStore) -> None:
    put_model(store, tag="v1")
    write_index(path, {"schemaVersion": 2, "manifests": [EMPTY.to_dict(), {"mediaType": "a/b", "size": 1}]})
    with pytest.raises(FormatError, match=r"index\.json: manifests\[1\]\.digest: is missing"):
        LayoutStore(path).tags()


def test_a_tag_on_two_digests_is_refused(path: Path, store: LayoutStore) -> None:
    one, two = put_model(store, "one", "v1"), put_model(store, "two", "v2")
    document = index_of(path)
    document["manifests"][1]["annotations"][media.REF_NAME] = "v1"
    write_index(path, document)
    with pytest.raises(FormatError, match="two digests"):
        LayoutStore(path).resolve("v1")
    assert LayoutStore(path).resolve(one.digest) == one
    put_model(store, "two", "v1")
    assert LayoutStore(path).resolve("v1") == two


def test_half_an_index_of_another_tool_is_read_again(path: Path, store: LayoutStore) -> None:
    put_model(store, tag="v1")
    whole = (path / "index.json").read_bytes()
    reader = LayoutStore(path)

    def finish() -> None:
        time.sleep(0.03)
        (path / "index.json").write_bytes(whole)

    with ThreadPoolExecutor(1) as pool:
        (path / "index.json").write_bytes(whole[:40])
        pool.submit(finish)
        assert reader.tags() == ["v1"]


# The default tag


def test_the_default_tag(store: LayoutStore) -> None:
    with pytest.raises(NotFoundError, match="no tag 'latest'") as caught:
        default_tag(store)
    assert caught.value.hint == "Nothing in it is tagged."
    model = put_model(store, "one", "v1")
    put_note(store, model, "note")
    assert default_tag(store) == "v1"
    put_model(store, "two", "v2")
    with pytest.raises(NotFoundError) as caught:
        default_tag(store)
    assert caught.value.hint == "There are: v1, v2."
    put_model(store, "three", "latest")
    assert default_tag(store) == "latest"


def test_a_missing_tag_names_those_that_are_there(store: LayoutStore) -> None:
    put_model(store, "one", "v1")
    with pytest.raises(NotFoundError) as caught:
        store.resolve("v2")
    assert caught.value.hint == "There are: v1."


def test_names_that_are_no_tags_are_not_listed(path: Path, store: LayoutStore) -> None:
    put_model(store, "one", "v1")
    document = index_of(path)
    document["manifests"].append({**EMPTY.to_dict(), "annotations": {media.REF_NAME: "docker.io/library/x:y"}})
    write_index(path, document)
    assert LayoutStore(path).tags() == ["v1"]


# Referrers that others listed


def test_manifests_without_a_hint_are_opened_once(path: Path, store: LayoutStore) -> None:
    model = put_model(store, tag="v1")
    note = put_note(store, model, "one")
    document = index_of(path)
    for entry in document["manifests"]:
        entry.get("annotations", {}).pop(media.SUBJECT_HINT)
    document["manifests"][1] = {key: document["manifests"][1][key] for key in ("mediaType", "digest", "size")}
    write_index(path, document)
    reader = LayoutStore(path)
    (entry,) = reader.referrers(model.digest).entries
    assert (entry.digest, entry.artifact_type, entry.annotations) == (note.digest, TYPE, {"note": "one"})
    os.utime(path / "index.json", (1, 1))
    assert len(reader.referrers(model.digest).entries) == 1


@pytest.mark.parametrize("damage", ["missing", "flipped", "no-json", "huge"])
def test_garbage_spoils_nothing(path: Path, store: LayoutStore, damage: str) -> None:
    model = put_model(store, tag="v1")
    bad, good = put_note(store, model, "bad"), put_note(store, model, "good")
    document = index_of(path)
    del document["manifests"][1]["annotations"]
    write_index(path, document)
    file = blob_file(path, bad.digest)
    if damage == "missing":
        file.unlink()
    else:
        raw = file.read_bytes()
        changed = {"flipped": raw.replace(b"bad", b"bae"), "no-json": b"garbage"}.get(damage, b" " * 2**23)
        file.write_bytes(changed)
    found = LayoutStore(path).referrers(model.digest)
    assert [entry.digest for entry in found.entries] == [good.digest]


@pytest.mark.parametrize("content", [b"{}", b"garbage", b"flip"])
def test_a_damaged_fallback_index_is_told(path: Path, store: LayoutStore, content: bytes) -> None:
    model = put_model(store, tag="v1")
    note = put_note(store, model, "one")
    fallback = store.put_manifest(index_bytes([note]), media.OCI_INDEX, tag=f"sha256-{model.digest.hex}")
    assert LayoutStore(path).referrers(model.digest).complete
    blob_file(path, fallback.digest).write_bytes(content)
    found = LayoutStore(path).referrers(model.digest)
    assert [entry.digest for entry in found.entries] == [note.digest]
    assert not found.complete


def test_ten_thousand_foreign_referrers(path: Path, store: LayoutStore) -> None:
    model = put_model(store, tag="v1")
    note = put_note(store, model, "one")
    garbage = Repository()
    entries = garbage.garbage(str(model.digest), 10_000)
    for digest, document in garbage.manifests.items():
        blob_file(path, Digest.parse(digest)).write_bytes(document.raw)
    index = index_of(path)
    index["manifests"] += entries
    write_index(path, index)
    found = LayoutStore(path).referrers(model.digest)
    assert len(found.entries) == 10_001
    assert found.entries[0].digest == note.digest
    few = LayoutStore(path).referrers(model.digest, limit=128)
    assert (len(few.entries), few.complete) == (128, False)


# Disks that will not


@contextlib.contextmanager
def as_anyone() -> Iterator[None]:
    """As a user who is not root: root may write where nobody may."""
    if os.geteuid():
        yield
        return
    os.seteuid(ANYONE)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that every user can reach."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        yield Path(place) / "layout"


def test_reading_writes_nothing_and_needs_no_lock(shared: Path) -> None:
    writer = LayoutStore(shared, create=True)
    model = put_model(writer, tag="v1")
    note = put_note(writer, model, "one")
    for folder in (shared, shared / "blobs", shared / "blobs" / "sha256", shared / ".drafts"):
        folder.chmod(0o555)
    (shared / ".lock").chmod(0o000)
    before = everything(shared)
    try:
        with as_anyone():
            reader = LayoutStore(shared, create=True)
            assert reader.get_manifest("v1")[0] == model
            assert reader.tags() == ["v1"]
            assert [entry.digest for entry in reader.referrers(model.digest).entries] == [note.digest]
            assert read_blob(reader, EMPTY, limit=2) == b"{}"
            assert put_model(reader, tag="v1") == model, "nothing changes, so nothing need be written"
            for write in (
                lambda: reader.put_blob(Source.of(b"new")),
                lambda: put_model(reader, "new"),
                lambda: put_model(reader, tag="v2"),
            ):
                with pytest.raises(StorageError):
                    write()
    finally:
        for folder in (shared, shared / "blobs", shared / "blobs" / "sha256", shared / ".drafts"):
            folder.chmod(0o755)
    assert everything(shared) == before


def test_what_may_not_be_read(shared: Path) -> None:
    store = LayoutStore(shared, create=True)
    model = put_model(store, tag="v1")
    blob_file(shared, model.digest).chmod(0o000)
    with as_anyone(), pytest.raises(StorageError):
        LayoutStore(shared).get_manifest("v1")
    (shared / "index.json").chmod(0o000)
    with as_anyone(), pytest.raises(StorageError):
        LayoutStore(shared).tags()
    shared.chmod(0o000)
    with as_anyone(), pytest.raises(StorageError):
        LayoutStore(shared).tags()
    shared.chmod(0o755)


def test_a_place_where_no_layout_can_be_made(shared: Path) -> None:
    shared.parent.chmod(0o555)
    with as_anyone(), pytest.raises(StorageError):
        put_model(LayoutStore(shared, create=True))
    shared.parent.chmod(0o755)


@contextlib.contextmanager
def small_disk(limit: int) -> Iterator[None]:
    """No file may become larger than ``limit`` bytes: a write stops in the middle, as on a full disk."""
    previous = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, previous[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, previous)
        signal.signal(signal.SIGXFSZ, old)


def test_a_full_disk_leaves_nothing_half_written(path: Path, store: LayoutStore) -> None:
    model = put_model(store, tag="v1")
    before = everything(path)
    with small_disk(400), pytest.raises(StorageError):
        store.put_blob(Source.of(b"x" * 1000))
    with small_disk(200), pytest.raises(StorageError):
        put_model(store, "another", "v1")
    after = everything(path)
    before.pop(str(path / ".drafts"))
    after.pop(str(path / ".drafts"))
    assert after == before
    assert LayoutStore(path).resolve("v1") == model


def test_a_failing_source_leaves_nothing(path: Path, store: LayoutStore) -> None:
    put_model(store)
    before = set(everything(path))
    gone = Source(size=5, open=(path / "gone").open)  # type: ignore[arg-type]
    with pytest.raises(StorageError):
        store.put_blob(gone)
    assert set(everything(path)) == before


# Several processes, some of which die

KILLED = """
import sys, time
from pathlib import Path
from ocimodel.stores.files import Draft
from ocimodel.stores.locks import exclusive
root = Path(sys.argv[1])
draft = Draft(root)
draft.write(b"x" * 1000)
with exclusive(root / ".lock"):
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(path: Path, store: LayoutStore) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock and is in the middle of a blob."""
    put_model(store, tag="v1")
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_held_lock_is_waited_for_but_not_for_ever(path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(StorageError, match="locked by another process"), exclusive(path / ".lock", patience=0.1):
        pass
    assert LayoutStore(path).tags() == ["v1"], "reading needs no lock"


def test_a_killed_holder_frees_the_lock(path: Path, store: LayoutStore, holder: subprocess.Popen[str]) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(put_model, store, "two", "v2")
        time.sleep(0.1)
        assert not waiting.done()
        holder.kill()
        waiting.result(timeout=20)
    assert store.tags() == ["v1", "v2"]


def test_drafts_of_the_dead_are_removed_and_of_the_living_kept(
    path: Path, store: LayoutStore, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocimodel.stores.files._ABANDONED", -1.0)
    (draft,) = (path / ".drafts").iterdir()
    store.put_blob(Source.of(b"one"))
    assert draft.exists()
    holder.kill()
    holder.wait()
    store.put_blob(Source.of(b"two"))
    assert list((path / ".drafts").iterdir()) == []


WRITER = """
import sys
from pathlib import Path
from ocimodel.stores.layout import LayoutStore
from ocimodel.stores.protocol import Source
from tests.store_backends import put_model
store = LayoutStore(Path(sys.argv[1]), create=True)
print("ready", flush=True)
for number in range(int(sys.argv[3])):
    store.put_blob(Source.of(sys.argv[2].encode() * 50_000 + b"%d" % number))
    put_model(store, f"{sys.argv[2]} {number}", f"{sys.argv[2]}-{number}")
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(count)], cwd=ROOT, stdout=subprocess.PIPE
    )


def check_whole(path: Path) -> LayoutStore:
    """Whatever is visible is whole."""
    store = LayoutStore(path)
    for tag in store.tags():
        store.get_manifest(tag)
    for file in (path / "blobs" / "sha256").iterdir():
        Digest("sha256", file.name).check(file.read_bytes(), file.name)
    return store


def test_processes_that_begin_together_make_one_layout(path: Path) -> None:
    writers = [writer(path, name, 8) for name in ("a", "b", "c")]
    for process in writers:
        process.communicate(timeout=120)
        assert process.returncode == 0
    store = check_whole(path)
    assert store.tags() == sorted(f"{name}-{number}" for name in "abc" for number in range(8))


def test_a_kill_at_any_moment_leaves_a_whole_layout(path: Path, store: LayoutStore) -> None:
    put_model(store, "before", "before")
    for attempt in range(6):
        process = writer(path, "k", 1000)
        assert process.stdout
        process.stdout.readline()
        time.sleep(0.02 + attempt * 0.017)
        process.kill()
        process.communicate()
        check_whole(path)
    tags = LayoutStore(path).tags()
    put_model(LayoutStore(path), "after", "after")
    assert LayoutStore(path).tags() == ["after", *tags]
    assert "before" in tags


# Other tools


@pytest.fixture
def signed(path: Path, store: LayoutStore) -> tuple[Descriptor, Descriptor]:
    """A model of one file, and a note about it."""
    digest = store.put_blob(Source.of(b"weights"))
    store.put_blob(Source.of(b"{}"))
    layer = Descriptor(
        media_type="application/vnd.cncf.model.weight.v1.raw",
        digest=digest,
        size=7,
        annotations={media.TITLE: "model.bin", media.FILEPATH: "model.bin"},
    )
    raw = manifest_bytes(config=EMPTY, layers=[layer], artifact_type=media.MODEL_MANIFEST)
    model = store.put_manifest(raw, media.OCI_MANIFEST, tag="v1")
    return model, put_note(store, model, "one")


Signed = tuple[Descriptor, Descriptor]


@pytest.mark.peer
def test_oras_reads_ours(path: Path, tmp_path: Path, signed: Signed) -> None:
    model, note = signed
    tree = json.loads(run("oras", "discover", "--oci-layout", f"{path}:v1", "--format", "json").stdout)
    assert [entry["digest"] for entry in tree["referrers"]] == [str(note.digest)]
    run("oras", "pull", "--oci-layout", f"{path}:v1", "-o", tmp_path / "out")
    assert (tmp_path / "out" / "model.bin").read_bytes() == b"weights"
    assert run("oras", "repo", "tags", "--oci-layout", path).stdout.split() == ["v1"]
    raw = run("oras", "manifest", "fetch", "--oci-layout", f"{path}@{model.digest}").stdout
    model.digest.check(raw.encode(), "manifest")


@pytest.mark.peer
def test_we_read_what_oras_copies_and_attaches(path: Path, tmp_path: Path, signed: Signed) -> None:
    model, note = signed
    copy = tmp_path / "copy"
    run("oras", "cp", "-r", "--from-oci-layout", "--to-oci-layout", f"{path}:v1", f"{copy}:v1")
    found = LayoutStore(copy)
    assert found.resolve("v1") == model
    assert [entry.digest for entry in found.referrers(model.digest).entries] == [note.digest]
    (tmp_path / "sbom.txt").write_text("sbom")
    for place in (copy, path):
        run(
            *("oras", "attach", "--oci-layout", f"{place}:v1", "--artifact-type", "application/vnd.example.sbom"),
            *("--annotation", "k=v", "sbom.txt"),
            cwd=tmp_path,
        )
        entries = LayoutStore(place).referrers(model.digest).entries
        assert {entry.artifact_type for entry in entries} == {TYPE, "application/vnd.example.sbom"}
        assert [entry.annotations["k"] for entry in entries if entry.digest != note.digest] == ["v"]
    put_model(LayoutStore(path), "two", "v1")
    assert len(LayoutStore(path).referrers(model.digest).entries) == 2
    tree = json.loads(run("oras", "discover", "--oci-layout", f"{path}@{model.digest}", "--format", "json").stdout)
    assert len(tree["referrers"]) == 2


@pytest.mark.peer
def test_we_read_what_oras_pushes(path: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    run("oras", "push", "--oci-layout", f"{path}:v1", "--artifact-type", "application/x", "a.txt", cwd=tmp_path)
    store = LayoutStore(path)
    assert store.tags() == ["v1"]
    descriptor, raw = store.get_manifest("v1")
    assert json.loads(raw)["artifactType"] == "application/x"
    put_note(store, descriptor, "ours")
    assert len(store.referrers(descriptor.digest).entries) == 1


@pytest.mark.peer
def test_skopeo_in_both_directions(path: Path, tmp_path: Path, signed: Signed) -> None:
    model, _ = signed
    raw = run("skopeo", "inspect", "--raw", f"oci:{path}:v1").stdout
    model.digest.check(raw.encode(), "manifest")
    copy = tmp_path / "copy"
    run(
        *("skopeo", "--insecure-policy", "copy", "--preserve-digests", f"oci:{path}:v1", f"oci:{copy}:v2"),
    )
    store = LayoutStore(copy)
    assert store.tags() == ["v2"]
    assert store.resolve("v2") == model
    assert read_blob(store, Descriptor(media_type="a/b", digest=Digest.of(b"weights"), size=7), limit=7)


@pytest.mark.peer
def test_oras_python_finds_it_valid(path: Path, signed: Signed) -> None:
    from oras.layout import Layout

    assert Layout.is_oci_layout(str(path))
    assert str(signed[0].digest) in Layout(str(path)).get_ordered_blobs("v1")
