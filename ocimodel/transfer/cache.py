"""The cache: blobs that were pulled before, shared by all processes of this user, as an OCI image layout.

    layout/          the blobs, and the manifests of models that are in it whole
    chunks/          the chunk index of each blob that has one, held against its bytes
    used/            when each blob was last used
    quarantine/      blobs whose bytes were not what their name says

Guarantees: nothing gets the name of a digest that was not computed from its bytes on this machine; what is copied
is hashed while it is copied. A damaged blob is moved away, said, and not used again. A cache that is full,
read-only or otherwise broken costs a warning and nothing else. What a refused pull brought is taken out again. How
blobs leave it, and are checked on the way, is in `transfer.taking`.

How a blob gets in:

* ``auto``: as a reflink, which takes no room; where the file system has none, nothing is kept but what the
  directory of the pull does not have (archives, documents), and what another container waits for; the directory
  is remembered (`transfer.earlier`);
* ``copy``: as a reflink, else as a copy;
* ``link``: as a hard link of mode 0444: whoever writes the one writes the other.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from ocimodel.errors import DigestMismatchError, OcimodelError, Refusal
from ocimodel.model.chunkindex import MAX_BYTES, ChunkIndex, LayerIndex
from ocimodel.model.scan import Identity
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Checked, Digest
from ocimodel.oci.manifest import Manifest
from ocimodel.stores.files import DRAFTS, Draft
from ocimodel.stores.layout import INDEX, LOCK, MARKER, LayoutStore
from ocimodel.stores.protocol import BLOCK, Progress
from ocimodel.transfer.bases import opened
from ocimodel.transfer.cloning import can_clone, can_link, clone
from ocimodel.transfer.digests import DigestCache, why_ignored
from ocimodel.transfer.flights import Flights
from ocimodel.transfer.jobs import Job
from ocimodel.transfer.places import CHUNKS, LAYOUT, QUARANTINE, USED
from ocimodel.transfer.staging import write_atomically

Mode = Literal["auto", "copy", "link"]
Verify = Literal["always", "fast"]
Way = Literal["clone", "copy", "link"]

MAX_ARCHIVE = 256 * 1024 * 1024
"""The largest archive of small files that is kept in any mode: their directory has them only unpacked."""


@contextmanager
def open_cache(directory: Path | None, mode: Mode, verify: Verify, warnings: list[str]) -> Iterator[Cache | None]:
    """The cache in ``directory``, made where it is missing; None where it is not to be used.

    A refusal inside takes out of it again what came in meanwhile.

    Args:
        warnings: what a person should know is added here.
    """
    why = ""
    if directory is not None:
        with suppress(OSError):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        why = why_ignored(directory) or ("" if directory.is_dir() else "it cannot be made")
        if not why and (why := why_ignored(directory / LAYOUT)):
            why = f"of {LAYOUT} in it, {why}"
    if directory is None or why:
        if why:
            warnings.append(f"the cache in {directory} is not used: {why}")
        yield None
        return
    cache = Cache(directory, mode=mode, verify=verify)
    try:
        yield cache
    except Refusal:
        cache.undo()
        raise
    finally:
        cache.close()
        warnings += cache.warnings


def kept_index(directory: Path, digest: Digest, size: int, algorithm: str) -> LayerIndex | None:
    """The chunk index that the cache in ``directory`` has of a blob."""
    with suppress(OSError, OcimodelError):
        raw = _index_path(directory, digest, algorithm).read_bytes()[: MAX_BYTES + 1]
        return ChunkIndex.from_bytes(raw, {digest: size}).layers.get(digest)
    return None


def _index_path(directory: Path, digest: Digest, algorithm: str) -> Path:
    return directory / CHUNKS / f"{algorithm}-{digest.hex}.json"


class Cache:
    """The cache directory, for one pull. Safe for threads.

    Attributes:
        warnings: what a person should know.
        outstanding: bytes that the pull has yet to write; they come before copies for the cache.
        damaged: where blobs lie now that were found damaged; most of their chunks are still good.
        flights: the other pulls that use the same directory.
    """

    def __init__(self, directory: Path, *, mode: Mode = "auto", verify: Verify = "always") -> None:
        self.directory = directory
        self.layout = LayoutStore(directory / LAYOUT, create=True)
        self.warnings: list[str] = []
        self.outstanding = 0
        self.damaged: dict[Digest, Path] = {}
        self.flights = Flights(directory)
        self._bad: dict[Digest, int] = {}
        self._mode = mode
        self._way: Way | None = None
        self._given_up = False
        self._is_new = False
        self._made: list[Path] = []
        self._digests = DigestCache(directory) if verify == "fast" else None
        if self._digests is not None and not self._digests.usable:
            self.warnings.append(
                f"--cache-verify fast asks for mode 0700 of {directory}: every byte from it is hashed"
            )

    def settle(self, folder: Path) -> None:
        """Find out by trying how files of ``folder``, where the pull writes, and blobs become each other."""
        if self._mode != "link" and can_clone(folder, self.directory):
            self._way = "clone"
        elif self._mode == "link" and can_link(folder, self.directory):
            self._way = "link"
        elif self._mode != "auto":
            self._way = "copy"
        if self._mode == "link" and self._way != "link":
            self.warnings.append(
                f"the cache keeps copies: no file can be linked from {self.directory} to {folder.parent}, "
                "since they are on different file systems or mounts"
            )

    @property
    def way(self) -> Way | None:
        """How a blob gets in; None where it does not."""
        return None if self._given_up else self._way

    def keeps(self, job: Job) -> bool:
        """Whether a blob, once it is fetched, will be in the cache."""
        small = not job.places and job.descriptor.size <= MAX_ARCHIVE
        return not self._given_up and (self._way is not None or small)

    def path(self, digest: Digest) -> Path:
        return self.layout.blob_path(digest)

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob seems to be here."""
        with suppress(OSError):
            status = self.path(descriptor.digest).lstat()
            return status.st_size == descriptor.size and status.st_ino != self._bad.get(descriptor.digest)
        return False

    # In

    def put(self, job: Job, part: Path, progress: Progress) -> None:
        """Enter the checked file ``part``, if the mode is to keep it, or others ask.

        Raises DigestMismatchError where its bytes have changed since; never about the cache.
        """
        wanted = job.descriptor
        if self._given_up or self.has(wanted) or not (self.keeps(job) or self.flights.asked(wanted.digest)):
            return
        try:
            self._prepare()
            target = self.path(wanted.digest)
            if self._way == "link":
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(part, target)
                os.chmod(part, 0o444)
            else:
                self._copy(job, part, target, progress)
            self._made.append(target)
            self.keep_index(job)
            self.mark(wanted.digest)
        except DigestMismatchError:
            raise
        except FileExistsError:
            return  # somebody else was faster
        except (OSError, OcimodelError) as error:
            self._give_up(error)

    def _copy(self, job: Job, part: Path, target: Path, progress: Progress) -> None:
        checked = Checked(job.descriptor.digest, job.descriptor.size, job.name)
        with opened(part) as source, Draft(self.layout.path) as draft:
            if not clone(source, draft.handle):
                self._check_room(job.descriptor.size, os.fstat(source).st_dev)
                buffer = memoryview(bytearray(BLOCK))
                while count := os.preadv(source, [buffer], checked.count):
                    checked.update(buffer[:count])
                    draft.write(buffer[:count])
                    progress(0)
                checked.finish()
            os.fchmod(draft.handle, 0o444)
            # A crash may leave a damaged blob, which whoever takes it will notice.
            draft.publish(target, durable=False)

    def _check_room(self, size: int, device: int) -> None:
        status = os.stat(self.directory)
        reserved = self.outstanding if status.st_dev == device else 0
        if shutil.disk_usage(self.directory).free < size + reserved:
            raise OSError(0, "there is no room for a copy")

    def _give_up(self, error: OSError | OcimodelError) -> None:
        if self._given_up:
            return
        self._given_up = True
        why = error.message if isinstance(error, OcimodelError) else error.strerror or str(error)
        self.warnings.append(
            f"the cache in {self.directory} keeps no more of this model: {why}; see ocimodel cache prune --max-size"
        )

    def keep_index(self, job: Job) -> None:
        """Keep the chunk index of a blob that was held against it."""
        if job.index is None or self._kept_index(job) == job.index:
            return
        path = _index_path(self.directory, job.descriptor.digest, job.algorithm)
        new = not path.exists()
        with suppress(OcimodelError):
            raw = ChunkIndex(algorithm=job.algorithm, layers={job.descriptor.digest: job.index}).to_bytes()
            write_atomically(path, raw)
            if new:
                self._made.append(path)

    def _kept_index(self, job: Job) -> LayerIndex | None:
        return kept_index(self.directory, job.descriptor.digest, job.descriptor.size, job.algorithm)

    def mark(self, digest: Digest) -> None:
        """The blob was used now."""
        path = self.directory / USED / f"{digest.algorithm}-{digest.hex}"
        with suppress(OSError):
            try:
                os.utime(path)
            except FileNotFoundError:
                path.parent.mkdir(mode=0o700, exist_ok=True)
                path.touch(mode=0o600)
                self._made.append(path)

    def undo(self) -> None:
        """Take out what this pull has brought: it was refused."""
        for path in reversed(self._made):
            with suppress(OSError):
                path.unlink()
        self._made.clear()
        if self._is_new:
            root = self.layout.path
            with suppress(OSError):  # not where others have put something there meanwhile
                for folder in ("blobs/sha256", "blobs", DRAFTS):
                    (root / folder).rmdir()
                for name in (MARKER, INDEX, LOCK):
                    (root / name).unlink(missing_ok=True)
                root.rmdir()

    def _prepare(self) -> None:
        if not (self.layout.path / MARKER).exists():
            self._is_new = True
            self.layout.path.mkdir(mode=0o700, exist_ok=True)
        self.layout.prepare()

    # Small documents and manifests

    def read(self, digest: Digest, *, limit: int) -> bytes | None:
        """A small blob, checked; None where it is not here."""
        with suppress(OSError), opened(self.path(digest)) as handle:
            status = os.fstat(handle)
            if status.st_ino == self._bad.get(digest):
                return None
            data = os.pread(handle, limit + 1, 0)
            try:
                digest.check(data, "a document")
            except DigestMismatchError:
                self.quarantine(digest, "its digest is another", status)
                return None
            self.mark(digest)
            return data
        return None

    def write(self, digest: Digest, data: bytes) -> None:
        """Enter a small blob that has been checked. Never raises about the cache."""
        if self._given_up:
            return
        path = self.path(digest)
        try:
            self._prepare()
            with Draft(self.layout.path) as draft:
                draft.write(data)
                os.fchmod(draft.handle, 0o444)
                draft.publish(path, durable=False)
            self._made.append(path)
            self.mark(digest)
        except (OSError, OcimodelError) as error:
            self._give_up(error)

    def enlist(self, manifest: Manifest) -> None:
        """List a manifest in the layout, if all its layers are here. Never raises about the cache."""
        if self.way is None or not all(self.has(layer) for layer in manifest.layers):
            return
        try:
            descriptor = self.layout.put_manifest(manifest.raw, manifest.media_type)
            self.mark(descriptor.digest)
        except OcimodelError as error:
            self._give_up(error)

    # What is known of bytes

    def known(self, job: Job, status: os.stat_result) -> bool:
        """Whether a blob need not be hashed: ``fast`` was chosen, and this very file was hashed here before."""
        if self._digests is None or self._digests.get(Identity.of(status)) != job.descriptor.digest:
            return False
        return job.index is None or self._kept_index(job) == job.index

    def learn(self, job: Job, handle: int, status: os.stat_result, *, began: int) -> None:
        """A blob was hashed, beginning at ``began`` (`time.time_ns`), and is what it should be."""
        self.keep_index(job)
        if self._digests is not None:
            with suppress(OSError):
                # After a crash a file may look as it did and hold zeros, unless it was on the disk.
                os.fsync(handle)
                if Identity.of(os.fstat(handle)) == Identity.of(status):
                    self._digests.put(Identity.of(status), job.descriptor.digest, hashed_at_ns=began)

    def linked(self, before: os.stat_result, after: os.stat_result) -> None:
        """A blob got another name, which changed its ctime."""
        if self._digests is not None:
            self._digests.moved(Identity.of(before), Identity.of(after))

    def quarantine(self, digest: Digest, why: str, status: os.stat_result | None = None) -> None:
        """Move a damaged blob away. ``status``: of the file that was found damaged."""
        path = self.path(digest)
        away = self.directory / QUARANTINE / f"{digest.algorithm}-{digest.hex}.{secrets.token_hex(4)}"
        self.damaged[digest] = path
        where = "it is not used"
        with suppress(OSError):
            self._bad[digest] = (status or path.lstat()).st_ino
            if path.lstat().st_ino != self._bad[digest]:
                return  # another process has put a good one there
            away.parent.mkdir(mode=0o700, exist_ok=True)
            os.rename(path, away)
            os.utime(away)
            self.damaged[digest] = away
            where = f"it lies in {away.parent} now"
        others = status.st_nlink - 1 if status is not None else 0
        shared = f"; {others} more files share its bytes and are damaged as well" if others else ""
        self.warnings.append(f"{digest} in the cache is damaged ({why}): {where}, and is fetched again{shared}")

    def close(self) -> None:
        """To be called when the pull's files have been published and remembered."""
        self.flights.close()
        if self._digests is not None:
            self._digests.close()
