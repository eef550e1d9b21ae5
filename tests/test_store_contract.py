"""What every store promises (`ocimodel.stores.protocol`), held over every store there is."""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import pytest

from ocimodel.errors import (
    DigestMismatchError,
    FormatError,
    NotFoundError,
    StorageError,
    UnavailableError,
    UsageError,
)
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import MAX_BYTES, index_bytes, manifest_bytes
from ocimodel.stores.memory import MemoryStore
from ocimodel.stores.protocol import BLOCK, Source, Store, read_blob
from ocimodel.transfer.remembered import Remembered
from tests.hostile import HostileRegistry, Switches
from tests.real.isolation import log_in
from tests.real.registry import RealRegistry
from tests.store_backends import (
    EMPTY,
    TYPE,
    Backend,
    layout_store,
    put_empty,
    put_model,
    put_note,
    registry_store,
)

REAL = ("distribution", "referrers_registry", "basic_auth_registry", "token_registry")
KINDS = ("memory", "remembered", "layout", "hostile-api", "hostile-fallback", *REAL)
ABSENT = Digest.of(b"nobody has this")


@pytest.fixture(params=KINDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    kind: str = request.param
    with contextlib.ExitStack() as stack:
        yield _backend(kind, request, tmp_path, stack)


def _backend(kind: str, request: pytest.FixtureRequest, tmp_path: Path, stack: contextlib.ExitStack) -> Backend:
    more = ""
    if kind == "memory":
        store, other = MemoryStore("memory/model"), MemoryStore("memory/other")
        return Backend(kind, "", lambda: store, lambda: other, lambda: store)
    if kind == "remembered":
        behind = MemoryStore("memory/model")
        return Backend(
            "memory", "", lambda: Remembered(behind), lambda: MemoryStore("memory/other"), lambda: behind
        )
    if kind == "layout":
        path = str(tmp_path / "layout")

        def layout() -> Store:
            return layout_store(path)

        return Backend(kind, path, layout, lambda: layout_store(path + "-other"), layout)
    if kind.startswith("hostile"):
        switches = Switches(referrers="api" if kind == "hostile-api" else "404")
        host = stack.enter_context(HostileRegistry(switches)).host
    else:
        registry: RealRegistry = request.getfixturevalue(kind)
        log_in(request.getfixturevalue("docker_config"), registry)
        host = registry.host
        more = f" {urlsplit(registry.issuer.realm).netloc}" if registry.issuer else ""
    name = f"{host}/contract/m{secrets.token_hex(6)}"
    opened: list[Store] = []

    def opener(name: str, settle: float = 0.005) -> Callable[[], Store]:
        def open_one() -> Store:
            store = registry_store(name + more, settle)
            opened.append(store)
            stack.callback(store.close)
            return store

        return open_one

    return Backend("registry", name + more, opener(name), opener(name + "-other"), opener(name, 0.15))


@pytest.fixture
def store(backend: Backend) -> Store:
    return backend.open()


def described(data: bytes) -> Descriptor:
    return Descriptor(media_type="application/octet-stream", digest=Digest.of(data), size=len(data))


def read_range(store: Store, descriptor: Descriptor, start: int, stop: int | None) -> bytes:
    """The range as a caller must read it: a store may begin at 0 whatever was asked for."""
    with store.open_blob(descriptor, start, stop) as stream:
        assert stream.start in (0, start)
        buffer, parts = memoryview(bytearray(7)), []
        while count := stream.readinto(buffer):
            parts.append(bytes(buffer[:count]))
        assert stream.readinto(buffer) == 0
        return b"".join(parts)[start - stream.start :]


# Blobs


@pytest.mark.parametrize("known", [True, False], ids=["digest-known", "digest-unknown"])
@pytest.mark.parametrize("size", [0, 1, 1000, BLOCK + 1, 3 * BLOCK])
def test_blobs_come_back(store: Store, size: int, known: bool) -> None:
    data = secrets.token_bytes(size)
    blob = described(data)
    moved: list[int] = []
    assert not size or not store.has_blob(blob)
    assert store.put_blob(Source.of(data), blob.digest if known else None, moved.append) == blob.digest
    assert sum(moved) == size
    assert store.has_blob(blob)
    assert read_blob(store, blob, limit=size) == data


def test_another_handle_sees_it_at_once(backend: Backend) -> None:
    blob = described(secrets.token_bytes(100))
    writer, reader = backend.open(), backend.open()
    assert not reader.has_blob(blob)
    assert writer.name == reader.name
    assert not reader.has_blob(blob)


def test_what_is_there_is_not_sent_again(store: Store) -> None:
    data = secrets.token_bytes(BLOCK + 5)
    store.put_blob(Source.of(data))

    def never() -> contextlib.AbstractContextManager[BinaryIO]:
        raise AssertionError("the source was opened")

    moved: list[int] = []
    assert store.put_blob(Source(size=len(data), open=never), Digest.of(data), moved.append) == Digest.of(data)
    assert sum(moved) == 0


def test_a_blob_of_another_size_is_not_that_blob(store: Store) -> None:
    data = secrets.token_bytes(10)
    store.put_blob(Source.of(data))
    wrong = Descriptor(media_type="application/octet-stream", digest=Digest.of(data), size=11)
    assert not store.has_blob(wrong)
    with pytest.raises(DigestMismatchError):
        read_blob(store, wrong, limit=100)


@pytest.mark.parametrize(("start", "stop"), [(0, None), (0, 1), (3, 7), (5, None), (99, 100), (0, 100)])
def test_ranges(store: Store, start: int, stop: int | None) -> None:
    data = secrets.token_bytes(100)
    store.put_blob(Source.of(data))
    body = read_range(store, described(data), start, stop)
    assert body == data[start:stop]


def test_a_blob_that_is_not_there(store: Store) -> None:
    put_model(store)
    missing = Descriptor(media_type="application/octet-stream", digest=ABSENT, size=3)
    assert not store.has_blob(missing)
    for start, stop in ((0, None), (1, 2)):
        with pytest.raises(NotFoundError), store.open_blob(missing, start, stop) as stream:
            stream.readinto(memoryview(bytearray(1)))


@pytest.mark.parametrize("size", [100, 2 * BLOCK])
def test_other_bytes_than_promised_are_not_stored(store: Store, size: int) -> None:
    data = secrets.token_bytes(size - 1) + b"!"
    promised = Digest.of(data[:-1] + b"?")
    with pytest.raises(DigestMismatchError):
        store.put_blob(Source.of(data), promised)
    for digest in (promised, Digest.of(data)):
        assert not store.has_blob(Descriptor(media_type="a/b", digest=digest, size=size))


@pytest.mark.parametrize("actual", [5, 15])
@pytest.mark.parametrize("known", [True, False], ids=["digest-known", "digest-unknown"])
def test_a_source_that_changed_its_size_is_not_stored(store: Store, actual: int, known: bool) -> None:
    data = secrets.token_bytes(actual)
    source = Source(size=10, open=lambda: BytesIO(data))
    with pytest.raises(DigestMismatchError):
        store.put_blob(source, Digest.of(data) if known else None)
    assert not store.has_blob(described(data))
    assert not store.has_blob(described(data[:10]))


def test_a_source_is_closed(store: Store) -> None:
    opened: list[BytesIO] = []

    def open_one() -> BytesIO:
        opened.append(BytesIO(b"x" * 50))
        return opened[-1]

    store.put_blob(Source(size=50, open=open_one))
    assert opened
    assert all(file.closed for file in opened)


def test_a_source_that_cannot_be_read(store: Store) -> None:
    class Broken(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

        readinto = read  # type: ignore[assignment]

    for digest in (None, ABSENT):
        with pytest.raises(StorageError):
            store.put_blob(Source(size=5, open=lambda: Broken(b"12345")), digest)
        assert not store.has_blob(described(b"12345"))


def test_the_same_blob_from_many_threads(backend: Backend) -> None:
    data = secrets.token_bytes(BLOCK)
    store = backend.open()
    with ThreadPoolExecutor(6) as pool:
        digests = list(pool.map(lambda _: store.put_blob(Source.of(data)), range(12)))
    assert set(digests) == {Digest.of(data)}
    assert read_blob(store, described(data), limit=BLOCK) == data


def test_a_blob_that_cannot_be_mounted_can_be_sent(backend: Backend) -> None:
    data = secrets.token_bytes(100)
    store = backend.open()
    other = backend.other()
    other.put_blob(Source.of(data))
    source = other.name.partition("/")[2]
    if not store.mount_blob(described(data), source):
        assert store.put_blob(Source.of(data), Digest.of(data)) == Digest.of(data)
    assert read_blob(store, described(data), limit=100) == data
    missing = Descriptor(media_type="a/b", digest=ABSENT, size=3)
    assert store.mount_blob(missing, source) is False


# Manifests and tags


def test_manifests_come_back_byte_for_byte(store: Store) -> None:
    put_empty(store)
    document = json.loads(manifest_bytes(config=EMPTY, layers=[EMPTY, EMPTY]))
    raw = b" " + json.dumps(dict(reversed(document.items())), indent=3).encode() + b"\n"
    stored = store.put_manifest(raw, media.OCI_MANIFEST, tag="v1")
    assert stored == Descriptor(media_type=media.OCI_MANIFEST, digest=Digest.of(raw), size=len(raw))
    for target in ("v1", stored.digest, str(stored.digest)):
        assert store.get_manifest(target) == (stored, raw)
        assert store.resolve(target) == stored


def test_an_index_comes_back(store: Store) -> None:
    child = put_model(store)
    raw = index_bytes([child], {"a": "b"})
    stored = store.put_manifest(raw, media.OCI_INDEX, tag="all")
    assert stored.media_type == media.OCI_INDEX
    assert store.get_manifest("all") == (stored, raw)


def test_a_manifest_without_a_tag(store: Store) -> None:
    stored = put_model(store)
    assert store.resolve(stored.digest) == stored
    put_model(store, "tagged", "v1")
    assert store.tags() == ["v1"]


def test_putting_again_changes_nothing(store: Store) -> None:
    first = put_model(store, tag="v1")
    note = put_note(store, first, "one")
    assert put_model(store, tag="v1") == first
    assert put_model(store) == first
    assert put_note(store, first, "one") == note
    assert store.tags() == ["v1"]
    assert [entry.digest for entry in store.referrers(first.digest).entries] == [note.digest]


def test_tags_move(store: Store) -> None:
    one, two = put_model(store, "one", "v1"), put_model(store, "two", "v2")
    put_model(store, "one", "latest")
    assert store.tags() == ["latest", "v1", "v2"]
    assert store.resolve("latest") == one
    put_model(store, "two", "latest")
    assert store.resolve("latest") == two
    assert store.resolve("v1") == one
    put_model(store, "two", "v1")
    assert store.tags() == ["latest", "v1", "v2"]
    assert store.get_manifest(one.digest)[0] == one, "what lost its tags is still there"


def test_a_moving_tag_is_never_in_between(backend: Backend) -> None:
    store = backend.open()
    models = [put_model(store, text, "v1") for text in ("one", "two")]
    stop = threading.Event()

    def move() -> None:
        number = 0
        while not stop.is_set():
            put_model(store, ("one", "two")[number % 2], "v1")
            number += 1

    with ThreadPoolExecutor(1) as pool:
        moving = pool.submit(move)
        reader = backend.open()
        try:
            for _ in range(25):
                descriptor, raw = reader.get_manifest("v1")
                assert descriptor in models
                descriptor.digest.check(raw, "manifest")
                assert reader.tags() == ["v1"]
        finally:
            stop.set()
        moving.result()


@pytest.mark.parametrize("target", ["absent", ABSENT, str(ABSENT)])
def test_a_manifest_that_is_not_there(store: Store, target: str | Digest) -> None:
    put_model(store, tag="v1")
    with pytest.raises(NotFoundError):
        store.get_manifest(target)
    with pytest.raises(NotFoundError):
        store.resolve(target)


def test_a_blob_is_not_a_manifest(store: Store) -> None:
    data = b"these are weights"
    store.put_blob(Source.of(data))
    # distribution 2.8 answers 500 to this question.
    with pytest.raises((NotFoundError, StorageError, UnavailableError)):
        store.get_manifest(Digest.of(data))


@pytest.mark.parametrize("target", ["", "no tag", "../v1", "-x", "v1?x=y", "v" * 129, "v1\n", "ä"])
def test_what_is_no_tag_is_not_asked_for(store: Store, target: str) -> None:
    put_model(store, tag="v1")
    with pytest.raises(UsageError):
        store.get_manifest(target)
    with pytest.raises(UsageError):
        put_model(store, tag=target)


@pytest.mark.parametrize("raw", [b"", b"[]", b"weights", b'{"a":1,"a":2}', b"{" + b" " * MAX_BYTES + b"}"])
def test_what_is_no_document_is_not_stored(store: Store, raw: bytes) -> None:
    put_model(store, tag="v1")
    with pytest.raises(FormatError):
        store.put_manifest(raw, media.OCI_MANIFEST, tag="v2")
    assert store.tags() == ["v1"]


def test_bookkeeping_tags_are_not_shown(store: Store) -> None:
    model = put_model(store, tag="v1")
    put_note(store, model, "one")
    put_model(store, tag=f"sha256-{model.digest.hex}.sig")
    put_model(store, tag=f"sha256-{'0' * 64}")
    put_model(store, tag="sha256-short")
    assert store.tags() == ["sha256-short", "v1"]
    assert store.resolve(f"sha256-{model.digest.hex}.sig") == model


def test_many_tags(store: Store) -> None:
    wanted = [f"t{number:03}" for number in range(60)]
    for tag in wanted:
        put_model(store, tag=tag)
    assert store.tags() == wanted


# Referrers


def test_without_referrers(store: Store) -> None:
    model = put_model(store)
    assert store.referrers(model.digest).entries == ()
    assert store.referrers(model.digest).complete
    assert store.referrers(ABSENT).entries == ()


def test_a_referrer_is_listed_at_once(backend: Backend) -> None:
    store = backend.open()
    model = put_model(store, tag="v1")
    note = put_note(store, model, "one")
    for reader in (store, backend.open()):
        (entry,) = reader.referrers(model.digest).entries
        assert (entry.digest, entry.size, entry.media_type) == (note.digest, note.size, media.OCI_MANIFEST)
        assert entry.artifact_type == TYPE
        assert entry.annotations.get("note") == "one"
    assert store.tags() == ["v1"]


def test_referrers_of_every_type_and_of_each_other(store: Store) -> None:
    model, stranger = put_model(store), put_model(store, "stranger")
    notes = [put_note(store, model, str(number), f"application/vnd.example.{number}") for number in range(3)]
    reply = put_note(store, notes[0], "reply")
    put_note(store, stranger, "elsewhere")
    found = store.referrers(model.digest)
    assert {entry.digest: entry.artifact_type for entry in found.entries} == {
        note.digest: f"application/vnd.example.{number}" for number, note in enumerate(notes)
    }
    assert [entry.digest for entry in store.referrers(notes[0].digest).entries] == [reply.digest]


def test_the_type_of_a_referrer_may_be_that_of_its_config(store: Store) -> None:
    model = put_model(store)
    config = Descriptor(media_type="application/vnd.example.config", digest=EMPTY.digest, size=2)
    store.put_manifest(manifest_bytes(config=config, layers=[EMPTY], subject=model), media.OCI_MANIFEST)
    (entry,) = store.referrers(model.digest).entries
    assert entry.artifact_type == "application/vnd.example.config"


def test_a_subject_may_come_later(store: Store) -> None:
    put_empty(store)
    raw = manifest_bytes(config=EMPTY, layers=[EMPTY], annotations={"text": "late"})
    model = Descriptor(media_type=media.OCI_MANIFEST, digest=Digest.of(raw), size=len(raw))
    note = put_note(store, model, "early")
    store.put_manifest(raw, media.OCI_MANIFEST, tag="v1")
    assert [entry.digest for entry in store.referrers(model.digest).entries] == [note.digest]


def test_a_limit_is_kept_and_told(store: Store) -> None:
    model = put_model(store)
    for number in range(4):
        put_note(store, model, str(number))
    few = store.referrers(model.digest, limit=3)
    assert (len(few.entries), few.complete) == (3, False)
    all_ = store.referrers(model.digest, limit=4)
    assert (len(all_.entries), all_.complete) == (4, True)


def test_what_stands_under_the_fallback_tag_is_listed_too(store: Store) -> None:
    model, foreign = put_model(store), put_model(store, "of another tool")
    note = put_note(store, model, "ours")
    tag = f"sha256-{model.digest.hex}"
    listed = [foreign]
    with contextlib.suppress(NotFoundError):
        store.get_manifest(tag)
        listed = [note, foreign]
    store.put_manifest(index_bytes(listed), media.OCI_INDEX, tag=tag)
    found = {entry.digest for entry in store.referrers(model.digest).entries}
    assert note.digest in found
    # The simplest store knows no other tools.
    assert foreign.digest in found or store.name.startswith("memory/")
    put_note(store, model, "more")
    assert found < {entry.digest for entry in store.referrers(model.digest).entries}


# Two at once


def check_all_there(store: Store, model: Descriptor, wanted: set[str]) -> None:
    found = store.referrers(model.digest)
    assert found.complete
    assert {entry.annotations.get("note") for entry in found.entries} >= wanted
    assert len({entry.digest for entry in found.entries}) == len(found.entries)


def test_threads_lose_no_referrer(backend: Backend) -> None:
    model = put_model(backend.open(), tag="v1")
    store = backend.racing()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: put_note(store, model, str(number)), range(8)))
    check_all_there(backend.open(), model, {str(number) for number in range(8)})


def test_handles_lose_no_referrer(backend: Backend) -> None:
    model = put_model(backend.open(), tag="v1")

    def attach(writer: int) -> None:
        store = backend.racing()
        for number in range(3):
            put_note(store, model, f"{writer}-{number}")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(attach, range(2)))
    check_all_there(backend.open(), model, {f"{writer}-{number}" for writer in range(2) for number in range(3)})


def test_processes_lose_no_referrer(backend: Backend) -> None:
    if backend.kind == "memory":
        pytest.skip("memory has one process")
    model = put_model(backend.open(), tag="v1")
    processes = [backend.process(model.digest, start, 3) for start in (0, 10)]
    assert [process.wait(120) for process in processes] == [0, 0]
    check_all_there(backend.open(), model, {str(start + number) for start in (0, 10) for number in range(3)})
    assert backend.open().tags() == ["v1"]
