"""Files that are cut into chunks while something else reads them.

Guarantees: `Watched.open` gives the very bytes of the file; once one reader has had all of them, in order, from
the first to the last, `Watched.index` tells their pieces. A reader that stops half-way leaves nothing behind.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO, cast

from ocimodel.model.chunkindex import LayerIndex
from ocimodel.model.chunking import ChunkHasher
from ocimodel.model.header import Tensor
from ocimodel.oci.digest import Digest
from ocimodel.stores.protocol import BLOCK

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Watched:
    """A file and its chunks to be. ``tensors`` are in the order of their data."""

    def __init__(
        self,
        size: int,
        tensors: Sequence[Tensor],
        algorithm: str,
        opener: Callable[[], AbstractContextManager[BinaryIO]],
    ) -> None:
        self.size = size
        self.tensors = tensors
        self.algorithm = algorithm
        self._opener = opener
        self._done: ChunkHasher | None = None

    @property
    def seen(self) -> bool:
        """Whether a reader has had all bytes."""
        return self._done is not None

    def open(self) -> AbstractContextManager[BinaryIO]:
        """The bytes from the start. Watched, unless another reader has seen them all already."""
        if self._done is not None or not self.size:
            return self._opener()
        return cast("AbstractContextManager[BinaryIO]", _Reader(self))

    def finished(self, hasher: ChunkHasher) -> None:
        self._done = hasher

    def index(self, digest: Digest) -> LayerIndex:
        """The chunks, reading the file now if nobody has. ``digest`` is its SHA-256."""
        if self._done is None:
            buffer = memoryview(bytearray(BLOCK))
            with cast("io.RawIOBase", self.open()) as file:
                while file.readinto(buffer):
                    pass
        hasher = self._done or ChunkHasher(self.size, self.tensors, self.algorithm)
        return hasher.index(digest)


class _Reader(io.RawIOBase):
    """May go back and read bytes again, which count once."""

    def __init__(self, watched: Watched) -> None:
        super().__init__()
        self._watched = watched
        self._inner = watched._opener()
        self._file = cast("io.RawIOBase", self._inner.__enter__())
        self._hasher = ChunkHasher(watched.size, watched.tensors, watched.algorithm)
        self._at = 0
        self._seen = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = self._file.seek(offset, whence)
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        count = self._file.readinto(buffer) or 0
        self._saw(memoryview(buffer).cast("B")[:count])
        return count

    def read(self, size: int | None = -1, /) -> bytes:
        block = self._file.read(-1 if size is None else size) or b""
        self._saw(memoryview(block))
        return block

    def _saw(self, block: memoryview) -> None:
        fresh = block[max(self._seen - self._at, 0) :] if self._at <= self._seen else block[:0]
        self._at += len(block)
        if len(fresh):
            self._hasher.update(fresh)
            self._seen += len(fresh)
            if self._seen == self._watched.size:
                self._watched.finished(self._hasher)

    def close(self) -> None:
        if not self.closed:
            self._inner.__exit__(None, None, None)
        super().close()
