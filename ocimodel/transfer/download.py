"""Fetching blobs into parts: every byte checked before a file gets its name.

Guarantees: `Job.finish` is called with a part only after its size and SHA-256 were computed from the bytes on
disk, or on their way there, and agree with the descriptor. Large blobs come over several connections at once
(`ranged`), small ones several at a time. What a killed run left is hashed anew and carried on. A blob with bad
bytes is fetched once more before it is refused, and its part is deleted. Memory is constant.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from io import FileIO

from ocimodel.errors import DigestMismatchError, UnavailableError
from ocimodel.model.chunkindex import LayerIndex
from ocimodel.model.chunking import new_hasher
from ocimodel.oci.digest import Checked
from ocimodel.stores.protocol import BLOCK, Progress, Store, doubt
from ocimodel.transfer.bases import Bases
from ocimodel.transfer.chunkcheck import ChunkCheck
from ocimodel.transfer.jobs import RESUMES, Job
from ocimodel.transfer.journal import claim
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.pace import Pace
from ocimodel.transfer.parallel import Stopped
from ocimodel.transfer.ranged import LARGEST, Segment, Tally, Transfer
from ocimodel.transfer.staging import storage_errors

CONNECTIONS = 8
"""At most; see `_Engine._grow`."""
GROWTH = 0.1
"""Seconds for which a number of connections is tried."""
SETTLED = 1.0
"""Seconds until more are tried again, where more did not help; twice as long each time."""
HELPED = 1.25
"""By how much the rate has to rise."""
BUSY = 0.6
"""Of one core: from here on, more connections would only compete with the hashing."""

OPEN_TRANSFERS = 4
"""Large blobs that are fetched or hashed at the same time."""

PATIENCE = 2.0
"""Seconds that workers have to end after an error."""

LARGE = 16 * 1024 * 1024
"""From this size on, a blob is cut into ranges."""

WORTH_A_DELTA = 1024 * 1024
"""From this size on, chunks of a blob are looked for in local files."""


def fetch_all(
    store: Store,
    jobs: Sequence[Job],
    meter: Meter,
    *,
    connections: int = CONNECTIONS,
    max_rate: float | None = None,
    bases: Bases | None = None,
) -> Tally:
    """Fetch all blobs, the largest first. The first error ends the others and is raised.

    Args:
        max_rate: bytes a second for all connections together.
        bases: local files that may hold some of the bytes.

    Raises:
        DigestMismatchError: twice the bytes were others than promised.
        UnavailableError: a stream broke again and again.
        StorageError: the disk is full or refuses.
    """
    meter.begin("pulling", sum(job.descriptor.size for job in jobs))
    engine = _Engine(store, jobs, meter, connections, Pace(max_rate), bases or Bases())
    try:
        engine.run()
    finally:
        meter.end()
    return engine.tally


class _Engine:
    """Workers take segments of large blobs, then small blobs; each large blob has one thread that hashes it."""

    def __init__(
        self,
        store: Store,
        jobs: Sequence[Job],
        meter: Meter,
        connections: int,
        pace: Pace,
        bases: Bases,
    ) -> None:
        self.tally = Tally()
        self._bases = bases
        self._store = store
        self._meter = meter
        self._pace = pace
        self._connections = connections
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._room = threading.Semaphore(OPEN_TRANSFERS)
        self._jobs = deque(sorted(jobs, key=lambda job: -job.descriptor.size))
        cores = max(1, (os.cpu_count() or 1) - 1)
        # Of small blobs the registry's answers are waited for: as many of them at a time as there may be.
        self._active = min(connections, cores) if any(map(self._is_large, jobs)) else connections
        self._segments: deque[Segment] = deque()
        self._unfinished = len(self._jobs)
        self._error: BaseException | None = None

    def run(self) -> None:
        if not self._jobs:
            return
        workers: list[threading.Thread] = []
        try:
            self._grow(workers)
            self._ended.wait()
        except BaseException:
            self._stop.set()
            raise
        if self._error:
            # So that nobody writes any more when the caller clears up; a worker that hangs is not waited for.
            until = time.monotonic() + PATIENCE
            for worker in workers:
                worker.join(max(0.0, until - time.monotonic()))
            raise self._error

    def _grow(self, workers: list[threading.Thread]) -> None:
        """Of large blobs a worker a core, but for the one that hashes; then twice as many, as long as that helps.

        What did not help is taken back: workers that only compete with each other make everything slower.
        """
        self._open(workers, self._active)
        settled = SETTLED
        rate, busy = self._measure()
        while self._active < self._connections and not self._ended.is_set():
            if busy or not rate:
                rate, busy = self._measure()
                continue
            before, self._active = self._active, min(2 * self._active, self._connections)
            self._open(workers, self._active - len(workers))
            self._ended.wait(GROWTH)  # until the new ones are on their way
            more, busy = self._measure()
            if more >= HELPED * rate:
                rate = more
                continue
            self._active = before
            self._ended.wait(settled)
            settled *= 2
            rate, busy = self._measure()

    def _measure(self) -> tuple[float, bool]:
        """Bytes a second for a moment, and whether the processor is what limits them."""
        began, used, fetched = time.monotonic(), time.process_time(), self.tally.fetched
        self._ended.wait(GROWTH)
        took = time.monotonic() - began
        return (self.tally.fetched - fetched) / took, time.process_time() - used >= BUSY * took

    def _open(self, workers: list[threading.Thread], more: int) -> None:
        """Start workers, as far as there are connections for them."""
        for _ in range(min(more, self._connections - len(workers))):
            # Daemons: an interrupted command must end even where a worker hangs in a read.
            work = partial(self._work, len(workers))
            workers.append(threading.Thread(target=self._guard(work), daemon=True))
            workers[-1].start()

    def _guard(self, work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except Stopped:
                pass
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                with self._lock:
                    self._error = self._error or error
                self._stop.set()
                self._ended.set()

        return run

    def _progress(self, count: int) -> None:
        if self._stop.is_set():
            raise Stopped
        self._meter.advance(count)

    def _done(self) -> None:
        with self._lock:
            self._unfinished -= 1
            if not self._unfinished:
                self._ended.set()

    def _work(self, number: int) -> None:
        buffer = memoryview(bytearray(LARGEST))
        while not self._ended.is_set():
            if number >= self._active:
                self._ended.wait(0.02)
                continue
            with self._lock:
                segment = self._segments.popleft() if self._segments else None
                job = self._jobs.popleft() if segment is None and self._jobs else None
            if segment:
                with storage_errors(f"cannot write {segment.transfer.job.name}"):
                    missed = segment.transfer.fetch(segment, buffer)
                if missed:
                    with self._lock:
                        self._segments.extend(missed)
            elif job and self._is_large(job):
                self._begin(job)
            elif job:
                self._small(job, buffer[:BLOCK])
            else:
                self._ended.wait(0.02)  # a transfer that is hashed may have to be fetched again

    def _small(self, job: Job, buffer: memoryview) -> None:
        with storage_errors(f"cannot write {job.name}"):
            job.part.parent.mkdir(parents=True, exist_ok=True)
            based = self._take_from_base(job)
            try:
                _fill(self._store, job, self._progress, self.tally, buffer)
            except DigestMismatchError as error:
                doubt(self._store, job.descriptor.digest, error)
                if based:
                    self.tally.add(copied=-job.descriptor.size)
                self._progress(-min(job.part.stat().st_size, job.descriptor.size))
                job.part.unlink()
                try:
                    _fill(self._store, job, self._progress, self.tally, buffer)
                except DigestMismatchError:
                    job.part.unlink()
                    raise
            job.finish(job.part)
        self._done()

    def _is_large(self, job: Job) -> bool:
        return job.descriptor.size >= LARGE or (
            job.index is not None and job.descriptor.size >= WORTH_A_DELTA and bool(self._bases.chunks)
        )

    def _take_from_base(self, job: Job) -> bool:
        """Put a local file's bytes in the part's place; they are hashed like any that an earlier run left."""
        wanted = job.descriptor
        if job.part.exists() or not self._bases.copy_blob(wanted.digest, wanted.size, job.part):
            return False
        self.tally.add(copied=job.descriptor.size)
        return True

    def _begin(self, job: Job) -> None:
        if not self._room.acquire(blocking=False):
            # Never waited for: a transfer that holds the room may need this very worker again.
            with self._lock:
                self._jobs.appendleft(job)
            self._ended.wait(0.02)
            return
        with storage_errors(f"cannot write {job.name}"):
            job.part.parent.mkdir(parents=True, exist_ok=True)
            based = self._take_from_base(job)
            if based:
                claim(job.part)
            transfer = Transfer(self._store, job, self._progress, self._pace, self.tally, self._stop)
            transfer.based = based
        self._queue(transfer)
        threading.Thread(target=self._guard(lambda: self._follow(transfer)), daemon=True).start()

    def _queue(self, transfer: Transfer) -> None:
        with self._lock:
            self._segments.extend(transfer.segments(self._connections, self._bases))

    def _follow(self, transfer: Transfer) -> None:
        job = transfer.job
        with storage_errors(f"cannot read {job.part}"):
            for last in (False, True):
                try:
                    transfer.follow()
                    break
                except DigestMismatchError:
                    if last or not transfer.again():
                        transfer.close(complete=True)
                        job.part.unlink()
                        raise
                    self._queue(transfer)
            if self._stop.is_set():
                transfer.close(complete=False)
                return
            transfer.close(complete=True)
            job.finish(job.part)
        self._room.release()
        self._done()


def _fill(store: Store, job: Job, progress: Progress, tally: Tally, buffer: memoryview) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(job.part, flags, 0o666), "r+b", buffering=0) as file:
        size = job.descriptor.size
        checked = _new(job)
        while count := file.readinto(buffer):  # what an earlier run left
            checked.update(buffer[:count])
            progress(count)
        failures = 0
        while checked.count < size:
            before = checked.count
            try:
                with store.open_blob(job.descriptor, before, size) as stream:
                    if stream.start < before:  # no ranges here: from the beginning, then
                        progress(-before)
                        before, checked = 0, _new(job)
                        file.seek(0)
                        file.truncate()
                    while count := stream.readinto(buffer):
                        checked.update(buffer[:count])
                        _write_all(file, buffer[:count])
                        tally.add(fetched=count)
                        progress(count)
            except UnavailableError:
                failures = failures + 1 if checked.count == before else 1
                if failures >= RESUMES:
                    raise
            else:
                break
        checked.finish()
        if job.index is not None:
            _hold_against_index(job, job.index, file, buffer)


def _hold_against_index(job: Job, index: LayerIndex, file: FileIO, buffer: memoryview) -> None:
    """The blob has its SHA-256; an index that says otherwise of a chunk contradicts it."""
    check = ChunkCheck(index, new_hasher(job.algorithm), 0)
    file.seek(0)
    while count := file.readinto(buffer):
        for chunk, good in check.update(buffer[:count]):
            if not good:
                raise DigestMismatchError(
                    f"{job.name}, bytes {chunk.start} to {chunk.stop}",
                    expected=f"{job.algorithm}:{chunk.hex}",
                    actual="bytes that have the layer's SHA-256",
                )


def _write_all(file: FileIO, block: memoryview) -> None:
    """Write all of it: an unbuffered write may be short."""
    while block:
        block = block[file.write(block) :]


def _new(job: Job) -> Checked:
    return Checked(job.descriptor.digest, job.descriptor.size, job.name)
