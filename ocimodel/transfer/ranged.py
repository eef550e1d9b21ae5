"""One large blob over several connections: closed ranges written in place, hashed along the frontier.

Guarantees: the blob counts as fetched only after the SHA-256 of its contiguous bytes, read back from the part
file, agrees with the descriptor; that happens while ranges still arrive, so it ends with the transfer. With an
index every chunk is checked as it arrives as well, a bad one is fetched once more, alone, and then refused by
name; chunks that a local base offers are copied instead of fetched, under the same check. An index that
contradicts the blob is refused. Ranges survive a kill (`journal`). A store that ignores ranges is read once
from the beginning. Memory: at most `LARGEST` for each connection, and one block for the hash.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from ocimodel.errors import DigestMismatchError, IntegrityError, UnavailableError
from ocimodel.model.chunkindex import Chunk
from ocimodel.model.chunking import new_hasher
from ocimodel.oci.digest import Checked
from ocimodel.stores.protocol import BLOCK, BlobStream, Progress, Store, doubt
from ocimodel.transfer.bases import Bases, Place, opened
from ocimodel.transfer.chunkcheck import ChunkCheck
from ocimodel.transfer.jobs import RESUMES, Job
from ocimodel.transfer.journal import Journal
from ocimodel.transfer.pace import Pace

SEGMENT = 32 * 1024 * 1024
MIN_SEGMENT = 8 * 1024 * 1024
LARGEST = 512 * 1024
"""Bytes received at a time where they come fast: threads then wait less for the interpreter. Where they come slowly
it is `BLOCK`, so that little is in memory only. They are written by `BLOCK` all the same: for larger writes kernels
take larger pages, which memory that was just given back to a hypervisor makes slow."""
QUICK = 0.005
"""Seconds for a block, below which the next one is larger."""
NOTE = 1024 * 1024
"""So many bytes of a chunk that is not complete a kill may cost, of each connection."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The bytes [start, stop) of a transfer, fetched by one worker in one request if all goes well.

    ``place``: they may be had from a local file.
    """

    transfer: Transfer
    start: int
    stop: int
    place: Place | None = None


def _length(left: int, connections: int) -> int:
    """How long a segment should be while so many bytes are not given to a connection."""
    return min(SEGMENT, max(MIN_SEGMENT, -(-left // (2 * connections))))


class Tally:
    """Bytes that came from a store, and bytes that local files offered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.fetched = 0
        self.copied = 0

    def add(self, *, fetched: int = 0, copied: int = 0) -> None:
        with self._lock:
            self.fetched += fetched
            self.copied += copied


class Transfer:
    """A large blob on its way. Workers call `fetch`; one thread runs `follow`."""

    def __init__(
        self, store: Store, job: Job, progress: Progress, pace: Pace, tally: Tally, stop: threading.Event
    ) -> None:
        self.job = job
        self._store = store
        self._progress = progress
        self._pace = pace
        self._tally = tally
        self._stop = stop
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._whole = threading.Event()
        self.based = False
        """All bytes were copied from a local file, in one go."""
        self._failed: dict[int, int] = {}
        job.part.parent.mkdir(parents=True, exist_ok=True)
        self._journal = Journal.open(job.part, job.descriptor.size)
        self._fd = os.open(job.part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        os.ftruncate(self._fd, job.descriptor.size)
        if job.index is None:
            self._journal.adopt()
        self._unchecked = self._journal.covered() > 0
        """Whether there are bytes here whose chunks nobody has checked: those of an earlier run, or of a base."""
        progress(self._journal.covered())

    def segments(self, connections: int, bases: Bases) -> list[Segment]:
        """What is missing, cut so that every connection has work and none has it for too long.

        Towards the end the pieces become smaller: when the last bytes arrive, little is left to hash.
        """
        gaps = self._journal.gaps()
        left = sum(stop - start for start, stop in gaps)
        result: list[Segment] = []
        if self.job.index is None:
            for start, stop in gaps:
                while start < stop:
                    length = _length(left, connections)
                    result.append(Segment(self, start, min(start + length, stop)))
                    start += length
                    left -= length
            return result
        open_at: int | None = None
        end = 0
        for chunk in self._missing_chunks(gaps):
            place = bases.chunk(chunk.hex, chunk.size) if self.job.algorithm == bases.algorithm else None
            length = _length(left, connections)
            if open_at is not None and (place or chunk.start != end or chunk.start - open_at >= length):
                result.append(Segment(self, open_at, end))
                left -= end - open_at
                open_at = None
            if place:
                result.append(Segment(self, chunk.start, chunk.stop, place))
            elif open_at is None:
                open_at = chunk.start
            end = chunk.stop
        if open_at is not None:
            result.append(Segment(self, open_at, end))
        # Copies first: they cost no network, and what they miss is then fetched with the rest.
        return sorted(result, key=lambda segment: segment.place is None)

    def _missing_chunks(self, gaps: list[tuple[int, int]]) -> Iterator[Chunk]:
        """Whole chunks: where a journal of another kind cut through one, all of it comes again."""
        after = -1
        for start, stop in gaps:
            for chunk in self.job.index.at(start, stop) if self.job.index else ():
                if chunk.start > after:
                    after = chunk.start
                    yield chunk

    def fetch(self, segment: Segment, buffer: memoryview) -> list[Segment]:
        """Fetch one segment; what has to be fetched (again) is returned: missed in a local file, or a bad chunk.

        Raises:
            UnavailableError: several streams broke without a new byte.
            DigestMismatchError: a chunk was bad twice.
        """
        if segment.place is not None:
            if self._copy(segment, segment.place, buffer):
                return []
            return [Segment(self, segment.start, segment.stop)]
        check = self._check(segment.start)
        bad: list[Chunk] = []
        at, failures = segment.start, 0
        while at < segment.stop and not self._whole.is_set():
            before = at
            failure = None
            stop = segment.stop
            if check is not None:
                known, stop = self._journal.noted(at, stop)
                if known > at:
                    bad += self._read_again(at, known, check, buffer)
                    at = known
                    continue
            try:
                with self._store.open_blob(self.job.descriptor, at, stop) as stream:
                    if stream.start < at:
                        break
                    since = at
                    for block in self._blocks(stream, stop - at, buffer):
                        bad += self._put(block, at, check)
                        at += len(block)
                        since = self._note(since, at)
                        if self._whole.is_set():
                            return []
            except UnavailableError as error:
                failure = error
            failures = failures + 1 if at == before else 0
            if failures >= RESUMES:
                raise failure or UnavailableError(f"{self.job.name}: the store ends the stream at byte {at}")
        else:
            return [Segment(self, chunk.start, chunk.stop) for chunk in bad]
        self._fetch_whole(buffer)
        return []

    def _check(self, start: int) -> ChunkCheck | None:
        if self.job.index is None:
            return None
        return ChunkCheck(self.job.index, new_hasher(self.job.algorithm), start)

    def _blocks(self, stream: BlobStream, left: int, buffer: memoryview) -> Iterator[memoryview]:
        watch = self._pace.watch()
        length = BLOCK
        try:
            while left > 0:
                began = time.monotonic()
                count = stream.readinto(buffer[: min(length, left)])
                if not count:
                    return
                quick = time.monotonic() - began < QUICK
                length = min(2 * length, len(buffer)) if quick else max(length // 2, BLOCK)
                left -= count
                self._tally.add(fetched=count)
                yield buffer[:count]
                if watch.too_slow(count):
                    return
        finally:
            watch.done()

    def _put(self, block: memoryview, at: int, check: ChunkCheck | None) -> list[Chunk]:
        """Write ``block`` at ``at``; returns the chunks that ended in it and were bad for the first time."""
        self._write(block, at)
        if check is None:
            self._progress(self._journal.wrote(at, at + len(block)))
            return []
        return self._checked(block, check)

    def _checked(self, block: memoryview, check: ChunkCheck) -> list[Chunk]:
        bad: list[Chunk] = []
        self._progress(len(block))
        for chunk, good in check.update(block):
            if good:
                self._journal.wrote(chunk.start, chunk.stop)
            else:
                self._progress(-chunk.size)
                self._journal.lost(chunk.start, chunk.stop)
                self._bad(chunk)
                bad.append(chunk)
        return bad

    def _read_again(self, start: int, stop: int, check: ChunkCheck, buffer: memoryview) -> list[Chunk]:
        """Check bytes that a run which was killed had fetched; returns the chunks that end in them and are bad."""
        bad: list[Chunk] = []
        while start < stop:
            count = os.preadv(self._fd, [buffer[: min(len(buffer), stop - start)]], start)
            if not count:
                raise OSError(5, "the part is shorter than what was written to it", str(self.job.part))
            bad += self._checked(buffer[:count], check)
            start += count
        return bad

    def _note(self, since: int, at: int) -> int:
        """Note what was written of chunks that are not complete, now and then; from where on nothing is noted."""
        if self.job.index is None or at - since < NOTE:
            return since
        self._journal.note(since, at)
        return at

    def _bad(self, chunk: Chunk) -> None:
        with self._lock:
            self._failed[chunk.start] = times = self._failed.get(chunk.start, 0) + 1
        if times == 1:
            doubt(self._store, self.job.descriptor.digest, IntegrityError(f"{self.job.name} has a bad chunk"))
        else:
            names = self.job.index.tensors_at(chunk.start, chunk.stop) if self.job.index else []
            tensors = f" (tensor {', '.join(names[:3])}{', …' if len(names) > 3 else ''})" if names else ""
            raise DigestMismatchError(
                f"{self.job.name}, bytes {chunk.start} to {chunk.stop}{tensors}",
                expected=f"{self.job.algorithm}:{chunk.hex}",
                actual="other bytes, twice",
            )

    def _write(self, block: memoryview, at: int) -> None:
        # The kernel lets one writer at a time into a file, and the others spin: a core each, for nothing.
        with self._writing:
            while block:
                written = os.pwrite(self._fd, block[:BLOCK], at)
                block, at = block[written:], at + written

    def _copy(self, segment: Segment, place: Place, buffer: memoryview) -> bool:
        """Take a chunk from a local file; False where it is not there any more."""
        check = self._check(segment.start)
        try:
            with opened(place.path) as source:
                at = place.start
                while at < place.stop:
                    count = os.preadv(source, [buffer[: min(len(buffer), place.stop - at)]], at)
                    if not count:
                        return False
                    self._write(buffer[:count], segment.start + at - place.start)
                    at += count
                    done = list(check.update(buffer[:count])) if check else []
                    if any(not good for _, good in done):
                        return False
        except OSError:
            return False
        self._tally.add(copied=segment.stop - segment.start)
        self._progress(self._journal.wrote(segment.start, segment.stop))
        return True

    def _fetch_whole(self, buffer: memoryview) -> None:
        """The store ignores ranges: whoever learns it first takes the whole stream, the others leave.

        A stream that breaks is begun anew: nobody else is left to do it.
        """
        with self._lock:
            if self._whole.is_set():
                return
            self._whole.set()
        size = self.job.descriptor.size
        at = most = failures = 0
        while at < size:
            at, failure = 0, None
            try:
                with self._store.open_blob(self.job.descriptor) as stream:
                    for block in self._blocks(stream, size, buffer):
                        self._put(block, at, None)
                        at += len(block)
            except UnavailableError as error:
                failure = error
            failures = failures + 1 if at <= most else 0
            most = max(most, at)
            if failures >= RESUMES:
                raise failure or UnavailableError(f"{self.job.name}: the stream ended after {at} of {size} bytes")

    def follow(self) -> None:
        """Hash what lies before the frontier until all is there. Raises DigestMismatchError."""
        size = self.job.descriptor.size
        checked = Checked(self.job.descriptor.digest, size, self.job.name)
        buffer = memoryview(bytearray(BLOCK))
        while checked.count < size:
            frontier = self._journal.wait(checked.count, timeout=0.5)
            if self._stop.is_set():
                return
            while checked.count < frontier:
                want = min(len(buffer), frontier - checked.count)
                count = os.preadv(self._fd, [buffer[:want]], checked.count)
                if count == 0:
                    raise OSError(5, "the part is shorter than what was written to it", str(self.job.part))
                checked.update(buffer[:count])
        checked.finish()
        if self._unchecked or self._whole.is_set():
            self._hold_against_index()

    def _hold_against_index(self) -> None:
        """The blob has its SHA-256; an index that says otherwise of a chunk contradicts it."""
        for start, stop in self._bad_on_disk():
            raise DigestMismatchError(
                f"{self.job.name}, bytes {start} to {stop}",
                expected="the chunk of the index",
                actual="bytes that have the layer's SHA-256",
            )

    def again(self) -> bool:
        """The blob as a whole is bad: forget what is to blame; False where that is nothing that can be fetched.

        Without an index that is every byte. With one it is the chunks that are bad on the disk; where all are
        good, index and blob contradict each other.
        """
        doubt(self._store, self.job.descriptor.digest, IntegrityError(f"{self.job.name} has other bytes"))
        bad = list(self._bad_on_disk()) if self.job.index else [(0, self.job.descriptor.size)]
        for start, stop in bad:
            self._journal.lost(start, stop)
            if self.based:
                self._tally.add(copied=start - stop)
            self._progress(start - stop)
        self._whole.clear()
        return bool(bad)

    def _bad_on_disk(self) -> Iterator[tuple[int, int]]:
        check = self._check(0)
        buffer = memoryview(bytearray(BLOCK))
        at = 0
        while check is not None and at < self.job.descriptor.size:
            count = os.preadv(self._fd, [buffer], at)
            if not count:
                return
            at += count
            yield from ((chunk.start, chunk.stop) for chunk, good in check.update(buffer[:count]) if not good)

    def close(self, *, complete: bool) -> None:
        """Release the files; the journal goes when the part is complete."""
        os.close(self._fd)
        self._journal.close(forget=complete)
