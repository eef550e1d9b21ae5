"""Files of a layout: read without following links, written so that nobody sees half of one.

Guarantees: `read` and `open_file` follow no link below the root and open regular files only (no device, no
pipe); a `Draft` becomes visible by one rename of bytes that are on the disk already, or not at all; drafts of
killed writers are removed by the next one. Errors are `NotFoundError`, `IntegrityError` and `StorageError`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self

from ocimodel.errors import FormatError, IntegrityError, NotFoundError, StorageError

DRAFTS = ".drafts"
_ABANDONED = 60.0
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn `OSError` into this package's errors."""
    try:
        yield
    except OSError as error:
        if error.errno in _ABSENT:
            raise NotFoundError(f"there is no {what}") from None
        if error.errno == errno.ELOOP:
            raise IntegrityError(f"{what} is a symbolic link, which a layout must not have") from None
        raise StorageError(f"{what}: {error.strerror or error}") from error


def open_file(root: Path, *parts: str) -> int:
    """A descriptor of the regular file ``root/parts``. The root itself may be a link; nothing below it."""
    what = "/".join((str(root), *parts))
    with storage_errors(what):
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts[:-1]:
                deeper = _enter(part, folder)
                os.close(folder)
                folder = deeper
            # Non-blocking: opening a named pipe must not wait for its writer.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            handle = os.open(parts[-1], flags, dir_fd=folder)
        finally:
            os.close(folder)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise IntegrityError(f"{what} is not a regular file")
    return handle


def _enter(name: str, parent: int) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=parent)
    except NotADirectoryError:
        # Linux says this of a link as well, which is not the same as nothing being there.
        if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, "link") from None
        raise


def read(root: Path, *parts: str, limit: int) -> bytes:
    """The whole file. Raises `FormatError` where it has more than ``limit`` bytes."""
    with open(open_file(root, *parts), "rb") as file:
        return read_all(file, parts[-1], limit=limit)


def read_all(file: BinaryIO, what: str, *, limit: int) -> bytes:
    """What is left of an open file. Raises `FormatError` where it has more than ``limit`` bytes."""
    with storage_errors(what):
        data = file.read(limit + 1)
    if len(data) > limit:
        raise FormatError(f"{what} has more than {limit} bytes")
    return data


def size_of(root: Path, *parts: str) -> int | None:
    """The size of a regular file, None where there is none."""
    try:
        handle = open_file(root, *parts)
    except NotFoundError:
        return None
    try:
        return os.fstat(handle).st_size
    finally:
        os.close(handle)


class Draft:
    """A file being written, under ``root/.drafts``. It leaves nothing behind unless `publish` was called."""

    def __init__(self, root: Path) -> None:
        self._folder = root / DRAFTS
        with storage_errors(str(root)):
            self._folder.mkdir(exist_ok=True)
            sweep(self._folder)
            self._path = self._folder / secrets.token_hex(16)
            self.handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            with suppress(OSError):  # a sign of life for `sweep`; not every file system has it
                fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, data: bytes | memoryview) -> None:
        with storage_errors(str(self._path)):
            view = memoryview(data)
            while view:
                view = view[os.write(self.handle, view) :]

    def publish(self, target: Path, *, durable: bool = True) -> None:
        """Make the bytes durable, then visible as ``target``, replacing what stood there."""
        with storage_errors(str(target)):
            target.parent.mkdir(parents=True, exist_ok=True)
            if durable:
                os.fsync(self.handle)
            os.replace(self._path, target)

    def close(self) -> None:
        with suppress(OSError):
            self._path.unlink()
        os.close(self.handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def replace(root: Path, name: str, data: bytes) -> None:
    """Replace ``root/name`` atomically and durably."""
    with Draft(root) as draft:
        draft.write(data)
        draft.publish(root / name)
    sync_folder(root)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    with storage_errors(str(folder)):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sweep(folder: Path) -> None:
    """Remove the drafts that nobody holds any more."""
    now = time.time()
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if now - entry.stat(follow_symlinks=False).st_ctime > _ABANDONED:
                    _remove_if_abandoned(entry.path)


def _remove_if_abandoned(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its writer lives
        os.unlink(path)
    finally:
        os.close(handle)
