"""Bytes that are on this machine already: files of models that were pulled earlier, chunk by chunk.

Guarantees: a base only offers bytes. Whoever takes them hashes them on the way, so a base that was changed, or is
gone, costs time and nothing else. Nothing is opened that is not a regular file, and no link is followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ocimodel.model.chunkindex import ChunkIndex
from ocimodel.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class Place:
    """Bytes [start, stop) of a local file."""

    path: Path
    start: int
    stop: int


@dataclass(slots=True)
class Bases:
    """Where chunks and whole blobs lie. Later additions do not replace earlier ones."""

    chunks: dict[str, Place] = field(default_factory=dict)
    blobs: dict[Digest, Place] = field(default_factory=dict)
    algorithm: str = "blake3"

    def add(self, path: Path, digest: Digest, size: int, index: ChunkIndex | None) -> None:
        """``path`` was, when it was pulled, the blob ``digest``."""
        self.blobs.setdefault(digest, Place(path, 0, size))
        layer = index.layers.get(digest) if index is not None and index.algorithm == self.algorithm else None
        for chunk in layer.chunks if layer else ():
            self.chunks.setdefault(chunk.hex, Place(path, chunk.start, chunk.stop))

    def chunk(self, hex_digest: str, size: int) -> Place | None:
        """Where a chunk may lie."""
        place = self.chunks.get(hex_digest)
        return place if place is not None and place.stop - place.start == size else None

    def blob(self, digest: Digest, size: int) -> Place | None:
        """Where a whole blob may lie."""
        place = self.blobs.get(digest)
        return place if place is not None and place.stop == size and _size(place.path) == size else None


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor of a base's file. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(0, "not a regular file", str(path))
        yield handle
    finally:
        os.close(handle)


def copy_whole(place: Place, target: Path) -> bool:
    """Copy a base's file to ``target``, sharing blocks where the file system can; False where it did not work."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with suppress(OSError), opened(place.path) as source:
        handle = os.open(target, flags, 0o666)
        try:
            left = place.stop
            while left:
                count = _copy_some(source, handle, left)
                if not count:
                    return False
                left -= count
            return True
        finally:
            os.close(handle)
    return False


def _copy_some(source: int, target: int, left: int) -> int:
    with suppress(OSError):
        return os.copy_file_range(source, target, min(left, 1 << 30))
    return os.sendfile(target, source, None, min(left, 1 << 30))


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return -1
