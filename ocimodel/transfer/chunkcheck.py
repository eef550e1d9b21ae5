"""Chunks checked as their bytes go by."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator

from ocimodel.model.chunkindex import Chunk, LayerIndex
from ocimodel.model.chunking import Hasher


class ChunkCheck:
    """Fed with a layer's bytes in order from the start of a chunk; tells of each chunk whether it is good."""

    def __init__(self, index: LayerIndex, new: Callable[[], Hasher], start: int) -> None:
        self._chunks = index.chunks
        self._new = new
        self._position = max(0, bisect_right(self._chunks, start, key=lambda chunk: chunk.start) - 1)
        if self._chunks and self._chunks[self._position].start != start:
            raise ValueError("checking begins where a chunk does")
        self._at = start
        self._hasher = new()

    def update(self, block: memoryview) -> Iterator[tuple[Chunk, bool]]:
        """The next bytes. Yields each chunk that ends in them; to be consumed whole."""
        while block:
            chunk = self._chunks[self._position]
            piece = block[: chunk.stop - self._at]
            self._hasher.update(piece)
            self._at += len(piece)
            block = block[len(piece) :]
            if self._at == chunk.stop:
                good = self._hasher.hexdigest() == chunk.hex
                self._position += 1
                self._hasher = self._new()
                yield chunk, good
