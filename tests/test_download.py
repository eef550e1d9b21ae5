"""Fetching blobs: checked before they get their name, resumed after breaks, refused when bad."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ocimodel.errors import DigestMismatchError, StorageError, UnavailableError
from ocimodel.model.chunking import ChunkHasher
from ocimodel.oci.descriptor import Descriptor
from ocimodel.stores.memory import MemoryStore
from ocimodel.stores.protocol import BlobStream, Source, blocks
from ocimodel.transfer import download, ranged
from ocimodel.transfer.jobs import Job
from ocimodel.transfer.meter import Meter

MIB = 1024 * 1024
LARGE = 40 * MIB + 17


class Counter(Meter):
    """Adds up what it is told."""

    def __init__(self) -> None:
        self.count = 0

    def advance(self, count: int) -> None:
        self.count += count


@dataclass
class Trouble(MemoryStore):
    """A store whose streams do what the test says."""

    breaks_after: int | None = None
    breaks_left: int = 0
    ranges: bool = True
    spoil: Callable[[int, memoryview], None] = lambda _at, _block: None
    sent: int = 0
    asked: list[tuple[int, int | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__("memory")

    @contextmanager
    def open_blob(self, descriptor: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[BlobStream]:
        self.asked.append((start, stop))
        if not self.ranges:
            start, stop = 0, None
        with super().open_blob(descriptor, start, stop) as inner:
            yield Stream(self, inner)


class Stream:
    """One body, troubled."""

    def __init__(self, store: Trouble, inner: BlobStream) -> None:
        self.start = inner.start
        self._store, self._inner, self._at = store, inner, inner.start
        self._begin = inner.start

    def readinto(self, buffer: memoryview) -> int:
        store = self._store
        if store.breaks_after is not None and store.breaks_left and self._at - self._begin >= store.breaks_after:
            store.breaks_left -= 1
            raise UnavailableError("cut")
        count = self._inner.readinto(buffer[: 256 * 1024])
        store.spoil(self._at, buffer[:count])
        self._at += count
        store.sent += count
        return count


def put(store: MemoryStore, size: int, seed: int = 1) -> Descriptor:
    data = random.Random(seed).randbytes(size)
    return Descriptor(media_type="a/b", digest=store.put_blob(Source.of(data)), size=size)


def job(descriptor: Descriptor, directory: Path, done: list[Path], name: str = "weights") -> Job:
    return Job(descriptor=descriptor, name=name, part=directory / name, finish=done.append)


@pytest.mark.parametrize("size", [0, 1, MIB, download.LARGE - 1, download.LARGE, LARGE])
def test_a_blob_arrives(tmp_path: Path, size: int) -> None:
    store, done, meter = Trouble(), list[Path](), Counter()
    blob = put(store, size)
    download.fetch_all(store, [job(blob, tmp_path, done)], meter)
    blob.digest.check((tmp_path / "weights").read_bytes(), "weights")
    assert done == [tmp_path / "weights"]
    assert meter.count == size
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_many_blobs_arrive(tmp_path: Path) -> None:
    store, done = Trouble(), list[Path]()
    blobs = [put(store, size, seed) for seed, size in enumerate([LARGE, download.LARGE] * 4 + [100] * 50)]
    jobs = [job(blob, tmp_path, done, str(index)) for index, blob in enumerate(blobs)]
    download.fetch_all(store, jobs, Meter())
    assert sorted(done) == sorted(entry.part for entry in jobs)
    for entry in jobs:
        entry.descriptor.digest.check(entry.part.read_bytes(), entry.name)


def test_a_large_blob_is_asked_for_in_closed_ranges(tmp_path: Path) -> None:
    store = Trouble()
    blob = put(store, LARGE)
    download.fetch_all(store, [job(blob, tmp_path, [])], Meter())
    assert len(store.asked) > 3
    ranges = sorted((start, stop or -1) for start, stop in store.asked)
    assert [start for start, _ in ranges] == [0, *(stop for _, stop in ranges[:-1])]
    assert ranges[-1][1] == LARGE


@pytest.mark.parametrize("size", [3 * MIB, LARGE])
def test_broken_streams_are_carried_on(tmp_path: Path, size: int) -> None:
    store, done, meter = Trouble(breaks_after=MIB, breaks_left=9), list[Path](), Counter()
    blob = put(store, size)
    download.fetch_all(store, [job(blob, tmp_path, done)], meter)
    blob.digest.check((tmp_path / "weights").read_bytes(), "weights")
    assert store.sent == meter.count == size


class Killed(Exception):
    """What ends a run in the middle of things."""


def chunked(store: Trouble, blob: Descriptor, directory: Path, done: list[Path]) -> Job:
    """With an index: chunks of 16 MiB, since no tensors say otherwise."""
    hasher = ChunkHasher(blob.size, (), "blake3")
    with store.open_blob(blob) as stream:
        for block in blocks(stream, memoryview(bytearray(MIB))):
            hasher.update(block)
    store.sent = 0
    return replace(job(blob, directory, done), index=hasher.index(blob.digest))


def half_done(store: Trouble, entry: Job) -> None:
    """Fetch until half of the bytes have come."""

    def kill(_at: int, _block: memoryview) -> None:
        if store.sent > entry.descriptor.size // 2:
            raise Killed

    store.spoil = kill
    with pytest.raises(Killed):
        download.fetch_all(store, [entry], Meter(), connections=2)
    store.spoil = lambda _at, _block: None


def test_what_came_of_chunks_before_a_kill_is_not_fetched_again(tmp_path: Path) -> None:
    """No chunk was complete; what had come of them is checked with the rest of them."""
    store, done, meter = Trouble(), list[Path](), Counter()
    blob = put(store, LARGE)
    entry = chunked(store, blob, tmp_path, done)
    half_done(store, entry)
    download.fetch_all(store, [entry], meter)
    blob.digest.check((tmp_path / "weights").read_bytes(), "weights")
    assert done
    assert meter.count == LARGE
    assert store.sent < LARGE + 2 * ranged.NOTE + MIB


def test_bytes_that_went_bad_after_a_kill_are_fetched_again(tmp_path: Path) -> None:
    """The journal spoke of them, and the disk has others: their chunks come once more, and only these."""
    store, done, meter = Trouble(), list[Path](), Counter()
    blob = put(store, LARGE)
    entry = chunked(store, blob, tmp_path, done)
    half_done(store, entry)
    with entry.part.open("r+b") as file:
        file.seek(5)
        file.write(b"other bytes")
    download.fetch_all(store, [entry], meter)
    blob.digest.check((tmp_path / "weights").read_bytes(), "weights")
    assert meter.count == LARGE
    assert store.sent < LARGE + 17 * MIB + 2 * ranged.NOTE


def test_what_was_noted_counts_where_there_is_no_index_any_more(tmp_path: Path) -> None:
    store, done = Trouble(), list[Path]()
    blob = put(store, LARGE)
    half_done(store, chunked(store, blob, tmp_path, done))
    download.fetch_all(store, [job(blob, tmp_path, done)], Meter())
    blob.digest.check((tmp_path / "weights").read_bytes(), "weights")
    assert store.sent < LARGE + 2 * ranged.NOTE + MIB


@pytest.mark.parametrize("size", [3 * MIB, LARGE])
def test_a_store_that_is_gone_is_an_error(tmp_path: Path, size: int) -> None:
    store = Trouble(breaks_after=0, breaks_left=10**6)
    blob = put(store, size)
    with pytest.raises(UnavailableError):
        download.fetch_all(store, [job(blob, tmp_path, [])], Meter())
    store.breaks_left = 0
    before = store.sent
    done = list[Path]()
    download.fetch_all(store, [job(blob, tmp_path, done)], Meter())
    assert done
    assert store.sent - before == size


@pytest.mark.parametrize("size", [3 * MIB, LARGE])
def test_a_later_run_carries_on(tmp_path: Path, size: int) -> None:
    store, done, meter = Trouble(breaks_after=MIB, breaks_left=10**6), list[Path](), Counter()
    blob = put(store, size)

    def give_up(at: int, _block: memoryview) -> None:
        if store.sent > size // 2:
            raise OSError(5, "pulled the plug")

    store.breaks_left, store.spoil = 0, give_up
    with pytest.raises(StorageError):
        download.fetch_all(store, [job(blob, tmp_path, done)], Meter())
    assert not done
    first = store.sent
    store.spoil = lambda _at, _block: None
    download.fetch_all(store, [job(blob, tmp_path, done)], meter)
    blob.digest.check((tmp_path / "weights").read_bytes(), "weights")
    assert meter.count == size
    assert store.sent - first < size * 3 // 4


@pytest.mark.parametrize("size", [3 * MIB, LARGE])
def test_a_store_without_ranges_serves_as_well(tmp_path: Path, size: int) -> None:
    store, done, meter = Trouble(ranges=False), list[Path](), Counter()
    blob = put(store, size)
    download.fetch_all(store, [job(blob, tmp_path, done)], meter)
    blob.digest.check((tmp_path / "weights").read_bytes(), "weights")
    assert meter.count == size


@pytest.mark.parametrize("size", [1, 3 * MIB, LARGE])
@pytest.mark.parametrize("times", [1, 10**6])
def test_a_flipped_byte_is_fetched_again_and_then_refused(tmp_path: Path, size: int, times: int) -> None:
    store, done, meter = Trouble(), list[Path](), Counter()
    blob = put(store, size)
    left = [times]

    def flip(at: int, block: memoryview) -> None:
        offset = size * 2 // 3 - at
        if 0 <= offset < len(block) and left[0]:
            left[0] -= 1
            block[offset] ^= 1

    store.spoil = flip
    if times == 1:
        download.fetch_all(store, [job(blob, tmp_path, done)], meter)
        blob.digest.check((tmp_path / "weights").read_bytes(), "weights")
        assert meter.count == size
    else:
        with pytest.raises(DigestMismatchError, match="weights: expected sha256:"):
            download.fetch_all(store, [job(blob, tmp_path, done)], meter)
        assert not done
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [3 * MIB, LARGE])
def test_what_an_earlier_run_left_is_not_believed(tmp_path: Path, size: int) -> None:
    store, done = Trouble(), list[Path]()
    blob = put(store, size)
    (tmp_path / "weights").write_bytes(bytes(size))
    (tmp_path / "weights.journal").write_bytes(b"0 %d\n" % size)
    download.fetch_all(store, [job(blob, tmp_path, done)], Meter())
    blob.digest.check((tmp_path / "weights").read_bytes(), "weights")


def test_the_rate_is_bounded(tmp_path: Path) -> None:
    store = Trouble()
    blob = put(store, LARGE)
    # 40 MiB at 400 MiB/s take a tenth of a second at least, whatever the machine does.
    began = time.monotonic()
    download.fetch_all(store, [job(blob, tmp_path, [])], Meter(), max_rate=400 * MIB)
    assert time.monotonic() - began >= 0.09


def test_connections_are_added_while_they_wait_for_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "GROWTH", 0.02)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    busy = set[int]()

    def slowly(_at: int, _block: memoryview) -> None:
        busy.add(threading.get_ident())
        time.sleep(0.005)

    store = Trouble(spoil=slowly)
    download.fetch_all(store, [job(put(store, 4 * LARGE), tmp_path, [])], Meter())
    assert 2 < len(busy) <= download.CONNECTIONS


def test_pieces_become_smaller_towards_the_end() -> None:
    lengths = [ranged._length(left, 8) for left in range(1024 * MIB, 0, -16 * MIB)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] == ranged.SEGMENT
    assert lengths[-1] == ranged.MIN_SEGMENT
