"""From the cache into a pull's destination: every byte checked on the way.

Guarantees: a file becomes the pull's only after its SHA-256 was computed from the bytes that are delivered, and its
chunks were held against the index of the model that is pulled. With ``fast`` it suffices that this very file was
hashed here before, with the same index (`transfer.cache.Cache.known`). A blob that is in use is locked (flock,
shared), and pruning leaves it alone. A damaged one is quarantined and counts as missing.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ocimodel.errors import DigestMismatchError
from ocimodel.model.chunkindex import Chunk
from ocimodel.model.chunking import new_hasher
from ocimodel.oci.digest import Checked
from ocimodel.stores.protocol import BLOCK, Progress, no_progress
from ocimodel.transfer.bases import copy_all, opened
from ocimodel.transfer.cache import Cache
from ocimodel.transfer.chunkcheck import ChunkCheck
from ocimodel.transfer.cloning import clone
from ocimodel.transfer.jobs import Job
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.parallel import run_all
from ocimodel.transfer.staging import storage_errors


class _Damaged(Exception):
    """A blob of the cache is not what its name says."""


def take_all(cache: Cache, jobs: Sequence[Job], meter: Meter) -> list[Job]:
    """Finish those jobs whose blobs the cache has, several at a time; returns the others.

    Raises:
        DigestMismatchError: a blob is right, and the chunk index of the model says otherwise.
        StorageError: the destination refuses.
    """
    here = [job for job in jobs if can_take(cache, job)]
    if not here:
        return list(jobs)
    meter.begin("taking from the cache", sum(job.descriptor.size for job in here))
    try:
        taken = run_all(
            lambda job, progress: _take(cache, job, progress),
            here,
            size=lambda job: job.descriptor.size,
            workers=os.cpu_count() or 1,
            progress=meter.advance,
        )
    finally:
        meter.end()
    done = {job.part for job, good in zip(here, taken, strict=True) if good}
    return [job for job in jobs if job.part not in done]


def can_take(cache: Cache, job: Job) -> bool:
    """Whether the cache seems to have a blob, and no killed run left the whole file, to be hashed only.

    A part that has other names is the cache's own file, which is not to be written to.
    """
    with suppress(OSError):
        status = job.part.stat()
        whole = status.st_size == job.descriptor.size and status.st_blocks * 512 >= status.st_size
        if whole and status.st_nlink == 1:
            return False
    return cache.has(job.descriptor)


def _take(cache: Cache, job: Job, progress: Progress) -> bool:
    digest = job.descriptor.digest
    status: os.stat_result | None = None
    try:
        with opened(cache.path(digest)) as source:
            status = os.fstat(source)
            with suppress(OSError):  # not every file system has it
                fcntl.flock(source, fcntl.LOCK_SH | fcntl.LOCK_NB)
            _deliver(cache, job, source, status, progress)
    except FileNotFoundError:
        return False  # pruned just now
    except (OSError, _Damaged) as error:
        cache.quarantine(digest, str(error), status)
        return False
    cache.mark(digest)
    job.finish(job.part)
    return True


def _deliver(cache: Cache, job: Job, source: int, status: os.stat_result, progress: Progress) -> None:
    if status.st_size != job.descriptor.size:
        raise _Damaged(f"it has {status.st_size} bytes, not {job.descriptor.size}")
    known = cache.known(job, status)
    began = time.time_ns()
    fresh = job.part.with_name(job.part.name + ".cached")
    with storage_errors(f"cannot write {job.name}"):
        job.part.parent.mkdir(parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
    try:
        link = cache.way == "link"
        if link and not known:
            _read(job, source, None, progress)
            cache.learn(job, source, status, began=began)
        if not link or not _link(cache, job, source, fresh):
            _copy(job, source, fresh, no_progress if link else progress, known=known)
            if not link and not known:
                cache.learn(job, source, status, began=began)
        if known:
            progress(job.descriptor.size)
        with storage_errors(f"cannot write {job.name}"):
            os.replace(fresh, job.part)
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)


def _link(cache: Cache, job: Job, source: int, fresh: Path) -> bool:
    """Give the blob a second name; False where it has too many, or was replaced meanwhile."""
    with suppress(OSError):
        before = os.fstat(source)
        os.link(cache.path(job.descriptor.digest), fresh)
        after = os.fstat(source)
        if fresh.lstat().st_ino == after.st_ino:
            cache.linked(before, after)
            return True
        fresh.unlink()
    return False


def _copy(job: Job, source: int, fresh: Path, progress: Progress, *, known: bool) -> None:
    with storage_errors(f"cannot write {job.name}"):
        target = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with storage_errors(f"cannot write {job.name}"):
            cloned = clone(source, target)
        if not known:
            _read(job, source, None if cloned else target, progress)
        elif not cloned:
            with storage_errors(f"cannot write {job.name}"):
                copy_all(source, target, job.descriptor.size)
    finally:
        os.close(target)


def _read(job: Job, source: int, target: int | None, progress: Progress) -> None:
    """Hash a blob, and write it to ``target`` on the way."""
    checked = Checked(job.descriptor.digest, job.descriptor.size, job.name)
    check = ChunkCheck(job.index, new_hasher(job.algorithm), 0) if job.index is not None else None
    wrong: Chunk | None = None
    buffer = memoryview(bytearray(BLOCK))
    try:
        while count := os.preadv(source, [buffer], checked.count):
            checked.update(buffer[:count])
            for chunk, good in check.update(buffer[:count]) if check else ():
                wrong = wrong if good or wrong else chunk
            if target is not None:
                _write(job, target, buffer[:count])
            progress(count)
        checked.finish()
    except (OSError, DigestMismatchError) as error:
        progress(-checked.count)
        raise _Damaged("its digest is another" if isinstance(error, DigestMismatchError) else str(error)) from None
    if wrong is not None:
        raise DigestMismatchError(
            f"{job.name}, bytes {wrong.start} to {wrong.stop}",
            expected=f"{job.algorithm}:{wrong.hex}",
            actual="bytes that have the layer's SHA-256",
        )


def _write(job: Job, target: int, block: memoryview) -> None:
    with storage_errors(f"cannot write {job.name}"):
        while block:
            block = block[os.write(target, block) :]
