"""The destination of a pull: staged beside or inside, published by rename, complete or not there at all.

Guarantees:

* A destination that did not exist appears by one rename of a complete, checked directory.
* Into an existing empty directory (or a mount point) everything is staged inside it under a temporary name;
  weights are renamed first, configuration last.
* A directory with other content is left alone, unless what it holds is part of this very model (a run that was
  killed while publishing carries on) or ``force`` is given; force replaces files of the model and never deletes
  a file that no earlier pull put there.
* What lies in the staging directory survives a kill; a later run for the same artifact finds it. Only what is
  named appears at the destination, whatever else an earlier run left.
* A staging directory that another user made, or may write, is never used, and no link is taken for one.

It does not fetch and does not check bytes: see `download`. Names come from a checked artifact.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ocimodel.errors import StorageError, UsageError
from ocimodel.oci.digest import Digest

if TYPE_CHECKING:
    from filelock import BaseFileLock

STAGING_PREFIX = ".ocimodel-tmp-"
_MOUNT_OWN = "lost+found"


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """A place to fetch into. ``root`` mirrors the model's directory."""

    destination: Path
    root: Path
    inside: bool

    def path(self, name: str) -> Path:
        return self.root / name

    def part(self, name: str) -> Path:
        """Where the bytes of ``name`` gather until they are checked."""
        return self.root.with_name(self.root.name + ".parts") / name

    @property
    def parts(self) -> Path:
        return self.root.with_name(self.root.name + ".parts")

    @property
    def lock(self) -> Path:
        """One for the destination, whatever is pulled into it: two models must not mix."""
        return self.root.with_name(f"{STAGING_PREFIX}{'' if self.inside else self.destination.name}.lock")


_ELSEWHERE = "Choose another -o DIR."


@contextmanager
def staging(destination: Path, digest: Digest, *, timeout: float = 3600) -> Iterator[Staging]:
    """Lock the destination and give a staging area for the artifact ``digest``.

    Another pull into the same destination is waited for, at most ``timeout`` seconds.

    Raises:
        UsageError: the destination is not a directory, or another pull does not end.
        StorageError: the disk refuses.
    """
    destination = Path(os.path.abspath(destination))
    with storage_errors(f"cannot write to {destination}"):
        while True:
            area = _area(destination, digest)
            try:
                area.root.parent.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                raise UsageError(
                    f"{destination} lies in something that is not a directory", hint=_ELSEWHERE
                ) from None
            name = area.lock
            # filelock would wait for a file that can never be made.
            os.close(os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600))
            # It looks again when the file that it locked was unlinked meanwhile, so unlinking below is safe.
            from filelock import FileLock, Timeout  # slow to import, and who only reads needs no lock

            lock = FileLock(name, mode=0o600, timeout=timeout)
            try:
                lock.acquire()
            except Timeout:
                raise UsageError(
                    f"another pull is writing to {destination}", hint="Wait for it, or choose another -o DIR."
                ) from None
            if _area(destination, digest) == area:
                break
            _unlock(lock)
    try:
        with storage_errors(f"cannot write to {destination}"):
            _make(area.root)
            _make(area.parts)
        yield area
    finally:
        _unlock(lock)


def _area(destination: Path, digest: Digest) -> Staging:
    exists = os.path.lexists(destination)
    if exists and not destination.is_dir():
        raise UsageError(f"{destination} exists and is not a directory", hint=_ELSEWHERE)
    label = digest.hex[:16] if exists else f"{destination.name}-{digest.hex[:16]}"
    parent = destination if exists else destination.parent
    return Staging(destination=destination, root=parent / f"{STAGING_PREFIX}{label}", inside=exists)


def _make(path: Path) -> None:
    """A directory that nobody else can write: a new one, or what an earlier run of this user left."""
    try:
        path.mkdir(mode=0o700)
        return
    except FileExistsError:
        found = os.lstat(path)
    # What one of ours looks like on this file system, which may map owners and know no modes.
    probe = tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=path.parent)
    ours = os.lstat(probe)
    os.rmdir(probe)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != ours.st_uid:
        raise UsageError(
            f"{path}, where files would gather, is somebody else's",
            hint="Find out who put it there and remove it, or choose another -o DIR.",
        )
    if found.st_mode & 0o022 & ~ours.st_mode:
        shutil.rmtree(path)
        path.mkdir(mode=0o700)


def _unlock(lock: BaseFileLock) -> None:
    with suppress(OSError):
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def publish(area: Staging, names: Sequence[str]) -> None:
    """Make the staged files ``names`` (in the order to publish them) appear at the destination."""
    with storage_errors(f"cannot write to {area.destination}"):
        shutil.rmtree(area.parts, ignore_errors=True)
        if not area.inside:
            _keep_only(area.root, names)
            os.chmod(area.root, 0o777 & ~_umask())
            try:
                os.rename(area.root, area.destination)
            except OSError as error:
                if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise UsageError(f"{area.destination} appeared meanwhile", hint="Run again.") from None
                raise
            return
        for name in names:
            staged = area.path(name)
            if staged.exists():
                target = area.destination / name
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(staged, target)
        shutil.rmtree(area.root)


def _keep_only(root: Path, names: Sequence[str]) -> None:
    """Remove what an earlier run, which may have wanted other files, left below ``root``."""
    wanted = {str(root / name) for name in names}
    for place, directories, files in os.walk(root, topdown=False):
        for name in files:
            if os.path.join(place, name) not in wanted:
                os.unlink(os.path.join(place, name))
        for name in directories:
            path = os.path.join(place, name)
            if os.path.islink(path):
                os.unlink(path)
            elif not os.listdir(path):
                os.rmdir(path)


def held(area: Staging) -> int:
    """Bytes on the disk that the staging area takes."""
    total = 0
    for root in (area.root, area.parts):
        for directory, _, names in os.walk(root):
            for name in names:
                with suppress(OSError):
                    total += os.lstat(os.path.join(directory, name)).st_blocks * 512
    return total


def discard(area: Staging) -> None:
    """Remove the staging area: nothing of it is wanted any more."""
    shutil.rmtree(area.root, ignore_errors=True)
    shutil.rmtree(area.parts, ignore_errors=True)


def listing(directory: Path) -> dict[str, os.stat_result]:
    """Every file, link and special file below ``directory`` by its relative name, our temporary ones left out.

    Directories appear only as part of names; links are not followed.
    """
    found: dict[str, os.stat_result] = {}

    def walk(path: str, prefix: str) -> None:
        with os.scandir(path) as entries:
            for entry in entries:
                if not prefix and (entry.name.startswith(STAGING_PREFIX) or _is_mounts_own(entry, directory)):
                    continue
                name = f"{prefix}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    walk(entry.path, f"{name}/")
                else:
                    found[name] = entry.stat(follow_symlinks=False)

    with storage_errors(f"cannot read {directory}"):
        walk(str(directory), "")
    return found


def check_room(path: Path, needed: int) -> None:
    """Raises StorageError where the file system of ``path`` has less than ``needed`` bytes free."""
    with storage_errors(f"cannot read {path}"):
        free = shutil.disk_usage(path).free
    if free < needed:
        raise StorageError(
            f"{needed} bytes are needed below {path}, {free} are free",
            hint="Free some room, or choose another -o DIR.",
        )


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn an OSError of the local disk into a StorageError that names the file and the reason."""
    try:
        yield
    except OSError as error:
        name = f" ({error.filename})" if error.filename else ""
        raise StorageError(f"{what}: {error.strerror or error}{name}") from error


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a small file so that it is there whole or not at all."""
    with storage_errors(f"cannot write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not by process: threads share that number, and so do containers that share a volume.
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _is_mounts_own(entry: os.DirEntry[str], directory: Path) -> bool:
    return entry.name == _MOUNT_OWN and entry.is_dir(follow_symlinks=False) and os.path.ismount(directory)


def _umask() -> int:
    # There is no way to read it but to set it.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
