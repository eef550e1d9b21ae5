"""One large blob over several connections: closed ranges written in place, hashed along the frontier.

Guarantees: the blob counts as fetched only after the SHA-256 of its contiguous bytes, read back from the part
file, agrees with the descriptor; that happens while ranges still arrive, so it ends with the transfer. Ranges
survive a kill (`journal`). A store that ignores ranges is read once from the beginning. Memory: one block for
each connection and one for the hash.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from ocimodel.errors import UnavailableError
from ocimodel.oci.digest import Checked
from ocimodel.stores.protocol import BLOCK, BlobStream, Progress, Store
from ocimodel.transfer.jobs import RESUMES, Job
from ocimodel.transfer.journal import Journal
from ocimodel.transfer.pace import Pace

SEGMENT = 32 * 1024 * 1024
MIN_SEGMENT = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Segment:
    """The bytes [start, stop) of a transfer, fetched by one worker in one request if all goes well."""

    transfer: Transfer
    start: int
    stop: int


class Transfer:
    """A large blob on its way. Workers call `fetch`; one thread runs `follow`."""

    def __init__(self, store: Store, job: Job, progress: Progress, pace: Pace, stop: threading.Event) -> None:
        self.job = job
        self._store = store
        self._progress = progress
        self._pace = pace
        self._stop = stop
        self._lock = threading.Lock()
        self._whole = threading.Event()
        job.part.parent.mkdir(parents=True, exist_ok=True)
        self._journal = Journal.open(job.part, job.descriptor.size)
        self._fd = os.open(job.part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        os.ftruncate(self._fd, job.descriptor.size)
        progress(self._journal.covered())

    def segments(self, connections: int) -> list[Segment]:
        """What is missing, cut so that every connection has work and none has it for too long."""
        gaps = self._journal.gaps()
        missing = sum(stop - start for start, stop in gaps)
        length = min(SEGMENT, max(MIN_SEGMENT, -(-missing // connections)))
        return [
            Segment(self, at, min(at + length, stop)) for start, stop in gaps for at in range(start, stop, length)
        ]

    def fetch(self, segment: Segment, buffer: memoryview) -> None:
        """Fetch one segment. Raises UnavailableError after several broken streams without a new byte."""
        at, failures = segment.start, 0
        while at < segment.stop and not self._whole.is_set():
            before = at
            failure = None
            try:
                with self._store.open_blob(self.job.descriptor, at, segment.stop) as stream:
                    if stream.start < at:
                        self._fetch_whole(stream, buffer)
                        return
                    for count in self._write(stream, at, segment.stop, buffer):
                        at += count
                        if self._whole.is_set():
                            return
            except UnavailableError as error:
                failure = error
            failures = failures + 1 if at == before else 0
            if failures >= RESUMES:
                raise failure or UnavailableError(f"{self.job.name}: the store ends the stream at byte {at}")

    def _write(self, stream: BlobStream, at: int, stop: int, buffer: memoryview) -> Iterator[int]:
        watch = self._pace.watch()
        try:
            while at < stop and (count := stream.readinto(buffer[: min(len(buffer), stop - at)])):
                self._put(buffer[:count], at)
                at += count
                yield count
                if watch.too_slow(count):
                    return
        finally:
            watch.done()

    def _put(self, block: memoryview, at: int) -> None:
        start = at
        while block:
            written = os.pwrite(self._fd, block, at)
            block, at = block[written:], at + written
        self._progress(self._journal.wrote(start, at))

    def _fetch_whole(self, stream: BlobStream, buffer: memoryview) -> None:
        """The store ignores ranges: whoever learns it first takes the whole stream, the others leave."""
        with self._lock:
            if self._whole.is_set():
                return
            self._whole.set()
        size, at = self.job.descriptor.size, 0
        for count in self._write(stream, 0, size, buffer):
            at += count
        if at < size:
            raise UnavailableError(f"{self.job.name}: the stream ended after {at} of {size} bytes")

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

    def again(self) -> None:
        """Forget all bytes: they were bad."""
        self._journal.lost(0, self.job.descriptor.size)
        self._progress(-self.job.descriptor.size)
        self._whole.clear()

    def close(self, *, complete: bool) -> None:
        """Release the files; the journal goes when the part is complete."""
        os.close(self._fd)
        self._journal.close(forget=complete)
