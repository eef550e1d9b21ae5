"""A store that is read once: what is remembered, what is not, and how much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from ocimodel.errors import DigestMismatchError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.stores.memory import MemoryStore
from ocimodel.stores.protocol import BlobStream, Source, read_blob
from ocimodel.stores.through import Bytes
from ocimodel.transfer import remembered
from ocimodel.transfer.remembered import Remembered
from tests.store_backends import put_model


class Counted(MemoryStore):
    """Counts what is read of it. ``other``: what it gives instead of blobs."""

    def __init__(self) -> None:
        super().__init__("memory/model")
        self.reads: Counter[str] = Counter()
        self.other: bytes | None = None

    def get_manifest(self, target: str | Digest) -> tuple[Descriptor, bytes]:
        self.reads[str(target)] += 1
        return super().get_manifest(target)

    def open_blob(
        self, descriptor: Descriptor, start: int = 0, stop: int | None = None
    ) -> AbstractContextManager[BlobStream]:
        self.reads[str(descriptor.digest)] += 1
        return self._instead(self.other) if self.other is not None else super().open_blob(descriptor, start, stop)

    @contextmanager
    def _instead(self, data: bytes) -> Iterator[BlobStream]:
        yield Bytes(data)

    def put(self, data: bytes) -> Descriptor:
        return Descriptor(media_type="a/b", digest=self.put_blob(Source.of(data)), size=len(data))


def test_what_is_named_by_its_digest_is_read_once() -> None:
    store = Counted()
    blob, model = store.put(b"document"), put_model(store, tag="v1")
    there = store.get_manifest("v1")
    store.reads.clear()
    seen = Remembered(store)
    for _ in range(3):
        assert read_blob(seen, blob, limit=100) == b"document"
        assert seen.get_manifest(model.digest) == there
    assert (store.reads[str(blob.digest)], store.reads[str(model.digest)]) == (1, 1)


def test_tags_are_asked_anew() -> None:
    store = Counted()
    first, second = put_model(store, "one", tag="v1"), put_model(store, "two")
    seen = Remembered(store)
    assert seen.get_manifest("v1")[0].digest == first.digest
    store.put_manifest(store.get_manifest(second.digest)[1], second.media_type, tag="v1")
    assert seen.get_manifest("v1")[0].digest == second.digest
    before = store.reads.total()
    assert {seen.get_manifest(digest)[0].digest for digest in (first.digest, second.digest)} == {
        first.digest,
        second.digest,
    }
    assert store.reads.total() == before


def test_other_bytes_are_not_remembered() -> None:
    store = Counted()
    blob = store.put(b"document")
    seen = Remembered(store)
    store.other = b"DOCUMENT"
    with pytest.raises(DigestMismatchError):
        read_blob(seen, blob, limit=100)
    store.other = None
    assert read_blob(seen, blob, limit=100) == b"document"


def test_half_a_read_and_ranges_are_not_remembered() -> None:
    store = Counted()
    blob = store.put(b"document")
    seen = Remembered(store)
    with seen.open_blob(blob) as stream:
        assert stream.readinto(memoryview(bytearray(3))) == 3
    for start, stop in ((0, 3), (3, None)):
        with seen.open_blob(blob, start, stop) as stream:
            while stream.readinto(memoryview(bytearray(100))):
                pass
    read_blob(seen, blob, limit=100)
    read_blob(seen, blob, limit=100)
    assert store.reads[str(blob.digest)] == 4
    wrong = Descriptor(media_type="a/b", digest=blob.digest, size=blob.size + 1)
    with pytest.raises(DigestMismatchError):
        read_blob(seen, wrong, limit=100)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "LARGEST", 100)
    monkeypatch.setattr(remembered, "ALL", 250)
    store = Counted()
    small, large = [store.put(bytes([number]) * 100) for number in range(4)], store.put(b"x" * 101)
    seen = Remembered(store)
    for _ in range(2):
        for blob in (large, *small):
            read_blob(seen, blob, limit=1000)
    assert [store.reads[str(blob.digest)] for blob in (large, *small)] == [2, 1, 1, 2, 2]
