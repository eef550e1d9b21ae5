"""Reading ahead: the blob's bytes in order, over more connections where the source is slow, and nowhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import SEEK_END, UnsupportedOperation

import pytest

from ocimodel.errors import DigestMismatchError, UnavailableError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.stores.memory import MemoryStore
from ocimodel.stores.protocol import BlobStream
from ocimodel.transfer import ahead
from ocimodel.transfer.ahead import FIRST, LARGE, PIECE, open_ahead
from tests.models import weights

MIB = 1024 * 1024


class Slow(MemoryStore):
    """A store of one blob whose connections each give ``rate`` bytes a second, and that tells what was asked."""

    def __init__(self, data: bytes, rate: float = 1e12, *, ranges: bool = True) -> None:
        super().__init__("slow")
        self.data, self.rate, self.ranges = data, rate, ranges
        self.asked: list[tuple[int, int | None]] = []
        self.open_now = self.most = self.sent = 0
        self.breaks_at: list[int] = []
        self.lock = threading.Lock()

    @contextmanager
    def open_blob(self, descriptor: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[BlobStream]:
        with self.lock:
            self.asked.append((start, stop))
            self.open_now += 1
            self.most = max(self.most, self.open_now)
        try:
            end = descriptor.size if stop is None else stop
            yield _Stream(self, start if self.ranges else 0, max(end, len(self.data)) if stop is None else end)
        finally:
            with self.lock:
                self.open_now -= 1


class _Stream:
    def __init__(self, store: Slow, start: int, stop: int) -> None:
        self.start = self.position = start
        self.store, self.stop = store, stop

    def readinto(self, buffer: memoryview) -> int:
        if self.store.breaks_at and self.position >= self.store.breaks_at[0]:
            self.store.breaks_at.pop(0)
            raise UnavailableError("the stream broke off")
        block = self.store.data[self.position : min(self.position + min(len(buffer), 128 * 1024), self.stop)]
        time.sleep(len(block) / self.store.rate)
        buffer[: len(block)] = block
        self.position += len(block)
        with self.store.lock:
            self.store.sent += len(block)
        return len(block)


def descriptor(data: bytes) -> Descriptor:
    return Descriptor(media_type="a/b", digest=Digest.of(data), size=len(data))


def read_all(store: Slow, blob: Descriptor, *, block: int = 128 * 1024, pause: float = 0.0) -> bytes:
    parts = []
    with open_ahead(store, blob) as file:
        while part := file.read(block):
            parts.append(part)
            time.sleep(pause)
        assert file.read(block) == b""
    return b"".join(parts)


BIG = weights(90 * MIB + 17, "ahead")


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 5 * MIB, LARGE, LARGE + 1, len(BIG)])
def test_the_bytes_in_their_order(size: int) -> None:
    data = BIG[:size]
    store = Slow(data)
    assert read_all(store, descriptor(data), block=100_003) == data
    assert store.sent == size


def test_a_fast_source_is_read_over_one_connection() -> None:
    store = Slow(BIG)
    assert read_all(store, descriptor(BIG), pause=0.002) == BIG
    assert (store.most, store.sent) == (1, len(BIG))
    assert store.asked[:2] == [(0, FIRST), (FIRST, 2 * FIRST)]


def test_a_slow_source_is_read_over_several() -> None:
    store = Slow(BIG, 12 * MIB)
    assert read_all(store, descriptor(BIG)) == BIG
    assert 2 < store.most <= ahead.MAX_LANES
    assert store.sent <= len(BIG) + 128 * 1024
    starts = [start for start, _ in store.asked]
    assert starts == sorted(set(starts))


def test_one_that_ignores_ranges_is_read_over_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "FIRST", 8 * MIB)
    store = Slow(BIG, 60 * MIB, ranges=False)
    assert read_all(store, descriptor(BIG)) == BIG
    assert store.most == 1
    assert store.sent < len(BIG) + 4 * 8 * MIB


def test_connections_are_given_back() -> None:
    for _ in range(2):
        store = Slow(BIG, 12 * MIB)
        with open_ahead(store, descriptor(BIG)) as file:
            deadline = time.monotonic() + 20
            while store.most < 3 and time.monotonic() < deadline:
                assert file.read(MIB)
        assert store.most >= 3
        deadline = time.monotonic() + 10
        while store.open_now and time.monotonic() < deadline:
            time.sleep(0.01)
        assert store.open_now == 0
    free = [ahead._additional.acquire(blocking=False) for _ in range(ahead.MAX_LANES)]
    for _ in range(sum(free)):
        ahead._additional.release()
    assert all(free)


def test_what_breaks_off_is_taken_up_there() -> None:
    data = BIG[: 40 * MIB]
    store = Slow(data)
    store.breaks_at = [5 * MIB, 5 * MIB + 1, 20 * MIB]
    assert read_all(store, descriptor(data)) == data
    assert store.sent == len(data)


def test_what_stays_broken_is_an_error_as_often_as_it_is_read() -> None:
    data = BIG[: 3 * MIB]
    store = Slow(data)
    store.breaks_at = [MIB] * 50
    with open_ahead(store, descriptor(data)) as file:
        for _ in range(2):
            with pytest.raises(UnavailableError):
                list(iter(lambda: file.read(MIB), b""))
        store.breaks_at = []
        file.seek(MIB)
        assert b"".join(iter(lambda: file.read(MIB), b"")) == data[MIB:]


@pytest.mark.parametrize("less", [1, 50 * MIB])
def test_a_source_that_is_shorter(less: int) -> None:
    store = Slow(BIG[:-less])
    try:
        found = read_all(store, descriptor(BIG))
    except DigestMismatchError:
        return
    assert found == BIG[:-less]


def test_a_source_that_is_longer() -> None:
    """The byte too many is given on, for whoever checks to see."""
    store = Slow(BIG + b"x")
    assert read_all(store, descriptor(BIG)) == BIG + b"x"


def test_seeking() -> None:
    store = Slow(BIG)
    with open_ahead(store, descriptor(BIG)) as file:
        for place in (70 * MIB + 3, 5, 5, len(BIG), 0):
            assert file.seek(place) == place
            wanted = BIG[place : place + 300_000]
            found = b""
            while len(found) < len(wanted):
                found += file.read(len(wanted) - len(found))
            assert found == wanted
        for place, whence in ((len(BIG) + 1, 0), (-1, 0), (0, SEEK_END)):
            with pytest.raises(UnsupportedOperation):
                file.seek(place, whence)
