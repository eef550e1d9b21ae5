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

from ocimodel.model.chunkindex import ChunkIndex, LayerIndex
from ocimodel.oci.digest import Digest
from ocimodel.transfer.staging import storage_errors


@dataclass(frozen=True, slots=True)
class Place:
    """Bytes [start, stop) of a local file."""

    path: Path
    start: int
    stop: int


@dataclass(slots=True)
class Bases:
    """Where chunks and whole blobs lie. Later additions come after earlier ones."""

    chunks: dict[str, Place] = field(default_factory=dict)
    blobs: dict[Digest, list[Place]] = field(default_factory=dict)
    algorithm: str = "blake3"

    def add(self, path: Path, digest: Digest, size: int, index: ChunkIndex | None) -> None:
        """``path`` was, when it was pulled, the blob ``digest``."""
        self.add_blob(path, digest, size)
        layer = index.layers.get(digest) if index is not None and index.algorithm == self.algorithm else None
        if layer is not None:
            self.add_chunks(path, layer)

    def add_blob(self, path: Path, digest: Digest, size: int) -> None:
        self.blobs.setdefault(digest, []).append(Place(path, 0, size))

    def add_chunks(self, path: Path, layer: LayerIndex) -> None:
        """``layer`` was made by `algorithm`."""
        for chunk in layer.chunks:
            self.chunks.setdefault(chunk.hex, Place(path, chunk.start, chunk.stop))

    def chunk(self, hex_digest: str, size: int) -> Place | None:
        """Where a chunk may lie."""
        place = self.chunks.get(hex_digest)
        return place if place is not None and place.stop - place.start == size else None

    def has_blob(self, digest: Digest, size: int) -> bool:
        """Whether a whole blob seems to lie somewhere."""
        return any(place.stop == size == _size(place.path) for place in self.blobs.get(digest, ()))

    def copy_blob(self, digest: Digest, size: int, target: Path) -> bool:
        """Copy a whole blob to ``target`` from the first place that has it; files move on, to the next place."""
        places = [place for place in self.blobs.get(digest, ()) if place.stop == size]
        return any(_size(place.path) == size and copy_whole(place, target) for place in places)


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
            return copy_all(source, handle, place.stop)
        finally:
            os.close(handle)
    return False


def make_own(part: Path) -> None:
    """Where a killed run left a link into the cache as ``part``, or a file of its mode: one to be written to.

    Raises StorageError.
    """
    with storage_errors(f"cannot write {part}"):
        try:
            status = part.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISREG(status.st_mode):
            return
        if status.st_nlink > 1:
            fresh = part.with_name(part.name + ".own")
            fresh.unlink(missing_ok=True)
            if not copy_whole(Place(part, 0, status.st_size), fresh):
                raise OSError(5, "it could not be copied", str(part))
            os.replace(fresh, part)
        elif not status.st_mode & 0o200:
            part.chmod(status.st_mode | 0o200)


def copy_all(source: int, target: int, size: int) -> bool:
    """Copy ``size`` bytes between open files; False where there are fewer. Raises OSError."""
    while size:
        count = _copy_some(source, target, size)
        if not count:
            return False
        size -= count
    return True


def _copy_some(source: int, target: int, left: int) -> int:
    with suppress(OSError):
        return os.copy_file_range(source, target, min(left, 1 << 30))
    return os.sendfile(target, source, None, min(left, 1 << 30))


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return -1
