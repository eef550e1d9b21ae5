"""The bytes of an upload on their way from a source to the wire.

Guarantees: every byte is hashed as it leaves; where a digest was promised, the last block leaves only after the
whole agreed with it; a source that is shorter or longer than it said is a `DigestMismatchError`; what was counted
for a try that is given up is taken back from ``progress``. Errors of the disk are `StorageError`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from ocimodel.errors import DigestMismatchError, StorageError
from ocimodel.oci.digest import Digest
from ocimodel.stores.protocol import BLOCK, Progress, Source


class Feed:
    """Can be begun again and again; one thread at a time."""

    def __init__(self, source: Source, digest: Digest | None, progress: Progress) -> None:
        self.size = source.size
        self.promised = digest
        self._source = source
        self._progress = progress
        self._hash = _hasher(digest)
        self._counted = 0

    @property
    def digest(self) -> Digest:
        """Of all that was read; meaningful after a complete pass."""
        return self.promised or Digest("sha256", self._hash.hexdigest())

    def sent(self, count: int) -> None:
        """``count`` bytes have left."""
        self._counted += count
        self._progress(count)

    def rewind(self) -> None:
        """Take back what was counted; the next pass begins at 0."""
        if self._counted:
            self._progress(-self._counted)
        self._counted = 0
        self._hash = _hasher(self.promised)

    def blocks(self) -> Iterator[bytes]:
        """A pass from the beginning, counted as the blocks are taken."""
        self.rewind()
        for block in self._pass(BLOCK):
            yield block
            self.sent(len(block))

    def chunks(self, size: int) -> Iterator[bytes]:
        """A pass in pieces of exactly ``size`` (the last may be shorter); the caller counts with `sent`."""
        self.rewind()
        yield from self._pass(size)

    def hashed(self) -> Digest:
        """Read all of it, sending nothing."""
        self.rewind()
        for _ in self._pass(BLOCK):
            pass
        return self.digest

    def _pass(self, size: int) -> Iterator[bytes]:
        done = 0
        with _disk(), self._source.open() as file:
            while done < self.size:
                parts = []
                wanted = min(size, self.size - done)
                while wanted and (part := file.read(wanted)):
                    parts.append(part)
                    wanted -= len(part)
                block = parts[0] if len(parts) == 1 else b"".join(parts)
                if wanted:
                    raise _changed(self.size, str(done + len(block)))
                self._hash.update(block)
                done += len(block)
                if done == self.size:
                    if file.read(1):
                        raise _changed(self.size, "more")
                    self._check()
                yield block
        if not self.size:
            self._check()

    def _check(self) -> None:
        if self.promised is not None and self._hash.hexdigest() != self.promised.hex:
            actual = f"{self.promised.algorithm}:{self._hash.hexdigest()}"
            raise DigestMismatchError("what was read for the upload", expected=str(self.promised), actual=actual)


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
