"""Cutting a weight file into chunks, and hashing them while the file goes by.

Guarantees: where a file is cut depends on nothing but its size and its tensors' places, so every machine cuts
alike, and a tensor of at least 1 MiB keeps its chunks when others change their size or a header grows. A chunk has
at most 16 MiB. `ChunkHasher` sees every byte once, in order, and holds none.

    header | big tensor, in equal pieces | small tensors together, until they have 1 MiB | …
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from ocimodel.model.chunkindex import MAX_CHUNK, MAX_NAME, MIN_TENSOR, Chunk, LayerIndex, TensorRange
from ocimodel.model.header import Tensor
from ocimodel.oci.digest import Digest


class Hasher(Protocol):
    """What hashlib and blake3 have in common."""

    def update(self, data: memoryview, /) -> object: ...
    def hexdigest(self) -> str: ...


def new_hasher(algorithm: str) -> Callable[[], Hasher]:
    """A maker of hash objects for ``blake3`` or ``sha256``."""
    if algorithm == "sha256":
        return hashlib.sha256
    from blake3 import blake3

    return blake3


def cut(size: int, tensors: Sequence[Tensor]) -> list[int]:
    """Where each chunk of a file of ``size`` bytes ends, given its tensors in the order of their data."""
    return list(_ends(size, tensors))


def _ends(size: int, tensors: Sequence[Tensor]) -> Iterator[int]:
    begin = at = 0
    for index, tensor in enumerate(tensors):
        if tensor.start == tensor.stop:
            continue
        big = tensor.stop - tensor.start >= MIN_TENSOR
        if (big or begin == 0 or index == 0) and tensor.start > begin:
            # What lies before a big tensor, and before the first of all (the header), ends here.
            yield from _pieces(begin, tensor.start)
            begin = tensor.start
        at = tensor.stop
        if big or at - begin >= MIN_TENSOR:
            yield from _pieces(begin, at)
            begin = at
    yield from _pieces(begin, size)


def _pieces(start: int, stop: int) -> Iterator[int]:
    """Equal pieces of at most `MAX_CHUNK` bytes."""
    length = stop - start
    if not length:
        return
    count = -(-length // MAX_CHUNK)
    step = -(-length // count)
    for number in range(1, count):
        yield start + number * step
    yield stop


class ChunkHasher:
    """Fed with a file from its first byte to its last; then `index` tells its pieces."""

    def __init__(self, size: int, tensors: Sequence[Tensor], algorithm: str) -> None:
        self._size = size
        self._new = new_hasher(algorithm)
        self._ends = cut(size, tensors)
        edges = {0, *self._ends}
        # A name too long for an index leaves its tensor out: it only helps to name places.
        named = [tensor for tensor in tensors if len(tensor.name) <= MAX_NAME]
        self._tensors = [
            (tensor, tensor.start == tensor.stop or (tensor.start in edges and tensor.stop in edges))
            for tensor in named
        ]
        self._small = [tensor for tensor, whole in self._tensors if not whole]
        self._small_digests: dict[str, str] = {}
        self._chunks: list[Chunk] = []
        self._at = 0
        self._begin = 0
        self._hasher = self._new()
        self._next_small = 0
        self._small_hasher: Hasher | None = None

    def update(self, block: memoryview) -> None:
        """The next bytes of the file."""
        self._hash_small(block)
        while block:
            end = self._ends[len(self._chunks)] if len(self._chunks) < len(self._ends) else self._size
            piece = block[: end - self._at]
            if not piece:
                raise ValueError("more bytes than the file has")
            self._hasher.update(piece)
            self._at += len(piece)
            block = block[len(piece) :]
            if self._at == end:
                self._chunks.append(Chunk(self._begin, end, self._hasher.hexdigest()))
                self._begin, self._hasher = end, self._new()

    def _hash_small(self, block: memoryview) -> None:
        start, stop = self._at, self._at + len(block)
        while self._next_small < len(self._small):
            tensor = self._small[self._next_small]
            if tensor.start >= stop:
                return
            if self._small_hasher is None:
                self._small_hasher = self._new()
            self._small_hasher.update(block[max(tensor.start - start, 0) : tensor.stop - start])
            if tensor.stop > stop:
                return
            self._small_digests[tensor.name] = self._small_hasher.hexdigest()
            self._small_hasher = None
            self._next_small += 1

    def index(self, digest: Digest) -> LayerIndex:
        """The pieces, once all bytes have gone by. ``digest`` is the file's SHA-256."""
        if self._at != self._size:
            raise ValueError(f"{self._at} of {self._size} bytes were hashed")
        return LayerIndex(
            digest=digest,
            size=self._size,
            chunks=tuple(self._chunks),
            tensors=tuple(
                TensorRange(tensor.name, tensor.start, tensor.stop, self._small_digests.get(tensor.name, ""))
                for tensor, _ in self._tensors
            ),
        )
