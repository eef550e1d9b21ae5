"""Reading files that `scan` found, and noticing when they change.

Guarantees: bytes come only from the very file that was scanned: the one that is opened must have the same
device, inode, size and times, and must still have them once its last byte was read, before the reader is told
that it has everything. So a digest that was computed over such a stream is of a state that the file had.
Opening never waits (a pipe put in the file's place) and never follows a link put there.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from ocimodel.errors import IntegrityError, OcimodelError, StorageError
from ocimodel.model.scan import Identity, ModelFile

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ReadAt = Callable[[int, int], bytes]
"""``read_at(offset, length)``: those bytes; fewer only at the end."""


class FileReader(io.RawIOBase):
    """A scanned file, opened. Reading past a change raises `IntegrityError`."""

    def __init__(self, file: ModelFile) -> None:
        super().__init__()
        self._file = file
        self._left = file.size
        self._descriptor = -1
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            self._descriptor = os.open(file.location, flags)
        except FileNotFoundError:
            raise _changed(file, "it is gone") from None
        except OSError as error:
            # A link or a device in the file's place does not open; whatever it is now, it is not what was scanned.
            if os.path.lexists(file.location) and Identity.of(os.lstat(file.location)) != file.identity:
                raise _changed(file, "it was replaced") from None
            raise _failed(file, error) from None
        try:
            self.check()
        except OcimodelError:
            self.close()
            raise

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Read on from ``offset``, which is counted from the start."""
        if whence != os.SEEK_SET or not 0 <= offset <= self._file.size:
            raise io.UnsupportedOperation("only to a place within the file")
        try:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
        except OSError as error:
            raise _failed(self._file, error) from None
        self._left = self._file.size - offset
        return offset

    def fileno(self) -> int:
        return self._descriptor

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        try:
            data = os.read(self._descriptor, min(wanted, _MOST))
        except OSError as error:
            raise _failed(self._file, error) from None
        self._account(len(data), wanted)
        return data

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")[: min(self._left, _MOST)]
        try:
            count = os.readv(self._descriptor, [view]) if view else 0
        except OSError as error:
            raise _failed(self._file, error) from None
        self._account(count, len(view))
        return count

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes from anywhere; the stream's own position stays."""
        try:
            return os.pread(self._descriptor, min(length, _MOST), offset)
        except OSError as error:
            raise _failed(self._file, error) from None

    def close(self) -> None:
        # Once only: the number may be somebody else's file by now.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        super().close()

    def _account(self, count: int, wanted: int) -> None:
        self._left -= count
        if not self._left:
            self.check()
        elif wanted and not count:
            raise _changed(self._file, "it became shorter")

    def check(self) -> None:
        """Raises `IntegrityError` unless the file is still the one that was scanned."""
        if Identity.of(os.fstat(self._descriptor)) != self._file.identity:
            raise _changed(self._file, "its size, its time or the file itself")


_MOST = 64 * 1024 * 1024


def open_file(file: ModelFile) -> BinaryIO:
    """The bytes of ``file`` from the start, as a context manager.

    Raises:
        IntegrityError: it changed since it was scanned; also from any read.
        StorageError: the disk refuses; also from any read.
    """
    return cast(BinaryIO, FileReader(file))


@contextmanager
def random_access(file: ModelFile) -> Iterator[ReadAt]:
    """A `ReadAt` over ``file``; that nothing changed meanwhile is checked at the end."""
    with FileReader(file) as reader:
        yield reader.read_at
        reader.check()


def read_small(file: ModelFile, limit: int) -> bytes:
    """The whole of a file of at most ``limit`` bytes; the first ``limit`` bytes of a larger one."""
    with random_access(file) as read_at:
        return read_at(0, limit)


def _changed(file: ModelFile, what: str) -> IntegrityError:
    return IntegrityError(
        f"{file.path} changed while it was read: {what}",
        hint="Push a directory that nothing writes to.",
        reason="changed",
    )


def _failed(file: ModelFile, error: OSError) -> StorageError:
    return StorageError(f"cannot read {file.path}: {error.strerror}")
