"""Fetching layers into a staging area: every byte checked before a file gets its name.

Guarantees: a file stands in the staging area under its own name only after its size and SHA-256 were computed
from the bytes that were written and agree with its layer. A part that a killed run left is hashed anew and
carried on from its end; a file it had finished is hashed anew and kept. A mismatch deletes the part and is
fetched once more before it is refused. Memory is constant: one block for each worker.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from ocimodel.errors import DigestMismatchError, UnavailableError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Checked
from ocimodel.stores.protocol import BLOCK, Progress, Store
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.parallel import run_all
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


def fetch_all(store: Store, jobs: Sequence[Job], meter: Meter, *, workers: int = WORKERS) -> None:
    """Fetch several blobs at a time, check each, and hand each checked file on.

    Raises:
        DigestMismatchError: twice the bytes were others than promised.
        UnavailableError: a stream broke again and again.
        StorageError: the disk is full or refuses.
    """
    meter.begin("pulling", sum(job.descriptor.size for job in jobs))
    try:
        run_all(
            lambda job, progress: _fetch(store, job, progress),
            jobs,
            size=lambda job: job.descriptor.size,
            workers=workers,
            progress=meter.advance,
        )
    finally:
        meter.end()


def _fetch(store: Store, job: Job, progress: Progress) -> None:
    with storage_errors(f"cannot write {job.name}"):
        job.part.parent.mkdir(parents=True, exist_ok=True)
        try:
            _fill(store, job, progress)
        except DigestMismatchError:
            progress(-min(job.part.stat().st_size, job.descriptor.size))
            job.part.unlink()
            try:
                _fill(store, job, progress)
            except DigestMismatchError:
                job.part.unlink()
                raise
        job.finish(job.part)


def _fill(store: Store, job: Job, progress: Progress) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(job.part, flags, 0o666), "r+b", buffering=0) as file:
        size = job.descriptor.size
        buffer = memoryview(bytearray(min(BLOCK, size + 1)))
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
                        write_all(file, buffer[:count])
                        progress(count)
            except UnavailableError:
                failures = failures + 1 if checked.count == before else 1
                if failures >= RESUMES:
                    raise
            else:
                break
        checked.finish()


def write_all(file: FileIO, block: memoryview) -> None:
    """An unbuffered write may be short."""
    while block:
        block = block[file.write(block) :]


def _new(job: Job) -> Checked:
    return Checked(job.descriptor.digest, job.descriptor.size, job.name)
