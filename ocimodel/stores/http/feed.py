"""The bytes of an upload on their way from a source to the wire.

Guarantees: every byte is hashed as it leaves, in order, however often the sending is taken up again: the hash goes
back to a state of before, and only what is sent again is read again. Where a digest was promised, the last block
leaves only after the whole agreed with it; a source that is shorter or longer than it said is a
`DigestMismatchError`; what was counted for a try that is given up is taken back from ``progress``. Errors of the
disk are `StorageError`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

from ocimodel.errors import DigestMismatchError, StorageError
from ocimodel.oci.digest import Digest
from ocimodel.stores.protocol import BLOCK, Progress, Source

_STEP = 16 * 1024 * 1024
"""So far apart are the states of the hash that are kept: a few hundred bytes each."""


class Feed:
    """Can be begun again, from anywhere that was sent before; one thread at a time. To be closed."""

    def __init__(self, source: Source, digest: Digest | None, progress: Progress) -> None:
        self.size = source.size
        self.promised = digest
        self._source = source
        self._progress = progress
        self._counted = 0
        self._opened = ExitStack()
        self._file: BinaryIO | None = None
        self._at = 0
        """So many bytes of the source were read, and are in the hash."""
        self._most = 0
        self._hash = _hasher(digest)
        self._states = [(0, self._hash.copy())]

    @property
    def digest(self) -> Digest:
        """Of all that was read; meaningful after a complete pass."""
        return self.promised or Digest("sha256", self._hash.hexdigest())

    @property
    def most(self) -> int:
        """So many bytes have left at most, whatever was taken back since: nobody can have more of them."""
        return self._most

    def rewind(self, offset: int = 0) -> None:
        """Only ``offset`` bytes count as sent; the next pass begins there."""
        if offset != self._counted:
            self._progress(offset - self._counted)
        self._counted = offset

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes ``start`` to ``stop``, counted as they are taken. What lies before them counts as sent."""
        stop = self.size if stop is None else stop
        self.rewind(start)
        with _disk():
            self._go_to(start)
            while self._at < stop:
                block = self._read(min(BLOCK, stop - self._at))
                self._most = max(self._most, self._at)
                yield block
                self._counted += len(block)
                self._progress(len(block))

    def pass_over(self, offset: int) -> None:
        """Hash what lies before ``offset``, sending nothing: somebody has it from an earlier process."""
        with _disk():
            self._go_to(offset)
        self._most = max(self._most, offset)

    def hashed(self) -> Digest:
        """Read all of it, sending nothing."""
        with _disk():
            self._go_to(self.size)
        return self.digest

    def promise(self, digest: Digest) -> None:
        """All was read, and has this digest; from now on it has to."""
        self.promised = digest

    def close(self) -> None:
        """Give the file back."""
        self._opened.close()
        self._file = None

    def _go_to(self, offset: int) -> None:
        if offset < self._at or self._file is None:
            while self._states[-1][0] > offset:
                self._states.pop()
            at, state = self._states[-1]
            self._file = self._seek(at)
            self._at, self._hash = at, state.copy()
        while self._at < offset:
            self._read(min(BLOCK, offset - self._at))
        if not self.size:
            self._check()

    def _seek(self, offset: int) -> BinaryIO:
        file = self._file
        if file is None or not file.seekable():
            self._opened.close()
            file = self._opened.enter_context(self._source.open())
        if file.seekable():
            file.seek(offset)
            return file
        while offset:
            offset -= len(_some(file, min(BLOCK, offset), self.size))
        return file

    def _read(self, most: int) -> bytes:
        assert self._file is not None
        block = _some(self._file, most, self.size)
        self._hash.update(block)
        self._at += len(block)
        if self._at == self.size:
            if self._file.read(1):
                raise _changed(self.size, "more")
            self._check()
        elif self._at >= self._states[-1][0] + _STEP:
            self._states.append((self._at, self._hash.copy()))
        return block

    def _check(self) -> None:
        if self.promised is not None and self._hash.hexdigest() != self.promised.hex:
            actual = f"{self.promised.algorithm}:{self._hash.hexdigest()}"
            raise DigestMismatchError("what was read for the upload", expected=str(self.promised), actual=actual)


def _some(file: BinaryIO, most: int, size: int) -> bytes:
    part = file.read(most)
    if not part:
        raise _changed(size, "fewer")
    return part


def _hasher(digest: Digest | None) -> hashlib._Hash:
    return digest.hasher() if digest else hashlib.sha256()


def _changed(size: int, actual: str) -> DigestMismatchError:
    return DigestMismatchError(
        "the file changed while it was read",
        expected=f"{size} bytes",
        actual=actual,
        hint="Let no other program write to it, and run again.",
    )


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot read what is to be uploaded: {error.strerror or error}") from None
