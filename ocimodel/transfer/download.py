"""Fetching layers into a staging area: every byte checked before a file gets its name.

Guarantees: a file stands in the staging area under its own name only after its size and SHA-256 were computed
from the bytes that were written and agree with its layer. A part that a killed run left is hashed anew and
carried on from its end; a file it had finished is hashed anew and kept. A mismatch deletes the part and is
fetched once more before it is refused. Memory is constant: one block for each worker.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from ocimodel.errors import DigestMismatchError, UnavailableError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Checked
from ocimodel.stores.protocol import BLOCK, Progress, Store, no_progress
from ocimodel.transfer.staging import storage_errors

WORKERS = 4
RESUMES = 5
"""How often a broken stream is carried on without a new byte having come, before the store counts as gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One blob: what it is, where its bytes gather, and what is done with the checked file."""

    descriptor: Descriptor
    name: str
    part: Path
    finish: Callable[[Path], None]


def fetch_all(
    store: Store,
    jobs: Sequence[Job],
    *,
    progress: Progress = no_progress,
    workers: int = WORKERS,
    stop: threading.Event | None = None,
) -> None:
    """Fetch several blobs at a time, the largest first. The first error stops the others and is raised."""
    stop = stop or threading.Event()
    ordered = sorted(jobs, key=lambda job: -job.descriptor.size)
    pool = ThreadPoolExecutor(max_workers=max(1, min(workers, len(ordered))))
    try:
        futures = [pool.submit(_unless(stop, store, job, progress)) for job in ordered]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
    except BaseException:
        # Not waited for: a worker may hang in a read, and an interrupted command must end.
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _unless(stop: threading.Event, store: Store, job: Job, progress: Progress) -> Callable[[], None]:
    def run() -> None:
        if not stop.is_set():
            fetch(store, job, progress=progress, stop=stop)

    return run


def fetch(store: Store, job: Job, *, progress: Progress = no_progress, stop: threading.Event) -> None:
    """Fetch one blob, check it, and hand the checked file on.

    Raises:
        DigestMismatchError: twice the bytes were others than promised.
        UnavailableError: the stream broke again and again.
        StorageError: the disk is full or refuses.
    """
    with storage_errors(f"cannot write {job.name}"):
        job.part.parent.mkdir(parents=True, exist_ok=True)
        for last in (False, True):
            try:
                _fill(store, job, progress, stop)
                break
            except DigestMismatchError:
                progress(-min(job.part.stat().st_size, job.descriptor.size) if job.part.exists() else 0)
                job.part.unlink(missing_ok=True)
                if last:
                    raise
        if not stop.is_set():
            job.finish(job.part)


def _fill(store: Store, job: Job, progress: Progress, stop: threading.Event) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(job.part, flags, 0o666), "r+b", buffering=0) as file:
        size = job.descriptor.size
        buffer = memoryview(bytearray(min(BLOCK, size + 1)))
        checked = _new(job)
        while count := file.readinto(buffer):  # what an earlier run left
            checked.update(buffer[:count])
            progress(count)
        failures = 0
        while checked.count < size and not stop.is_set():
            try:
                with store.open_blob(job.descriptor, checked.count, size) as stream:
                    if stream.start < checked.count:  # no ranges here: from the beginning, then
                        progress(-checked.count)
                        checked = _new(job)
                        file.seek(0)
                        file.truncate()
                    while not stop.is_set() and (count := stream.readinto(buffer)):
                        checked.update(buffer[:count])
                        write_all(file, buffer[:count])
                        progress(count)
                        failures = 0
            except UnavailableError:
                failures += 1
                if failures >= RESUMES:
                    raise
            else:
                if checked.count < size and not stop.is_set():
                    failures += 1
                    if failures >= RESUMES:
                        break
        if not stop.is_set():
            checked.finish()


def write_all(file: FileIO, block: memoryview) -> None:
    """An unbuffered write may be short."""
    while block:
        block = block[file.write(block) :]


def _new(job: Job) -> Checked:
    return Checked(job.descriptor.digest, job.descriptor.size, job.name)
