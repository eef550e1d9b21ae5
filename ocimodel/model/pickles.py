"""Pickles, whatever they are called: found by reading, never by loading.

Guarantees: `streams` executes and unpickles nothing, reads a bounded part of the file, and allocates nothing by
numbers that it reads. It finds a pickle at the beginning of a file (any protocol), in zip archives (PyTorch, npz,
TorchServe), in tar archives, in NumPy arrays of objects, and behind gzip, bzip2, xz and zlib, each one level deep.

It does not find pickles behind LZ4 or Zstandard, in archives within archives, or at an offset that only a program
of the model's own would read. It says that there is a pickle, not that it is malicious.
"""

from __future__ import annotations

import bz2
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from ocimodel.model.formats import PICKLE, format_of_name
from ocimodel.model.opcodes import is_pickle
from ocimodel.model.reading import ReadAt

HEAD: Final = 256 * 1024
"""Bytes of a stream that are looked at."""

MAX_MEMBERS: Final = 20_000
MAX_STREAM: Final = 32 * 1024 * 1024
"""Bytes of a pickle in an archive that are unpacked at most, to look into it."""

MAX_READ: Final = 256 * 1024 * 1024
"""Bytes of an archive that are read at most, for its directory and the heads of its members."""

_ZIPS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06")
_NPY = b"\x93NUMPY"
_TAR_MAGIC = slice(257, 262)


@dataclass(frozen=True, slots=True)
class Stream:
    """A pickle in a file. ``where`` says it in words, as in "'archive/data.pkl' in a zip archive".

    ``data`` gives a `ReadAt` over it, its size, and whether that is all of it; None where it cannot be looked into.
    It is good until the next stream is asked for.
    """

    where: str
    data: Callable[[], tuple[ReadAt, int, bool]] | None = None


def pickle_in(read_at: ReadAt, size: int) -> str:
    """Where the file has a pickle; empty where none was found."""
    return next((stream.where for stream in streams(read_at, size)), "")


def streams(read_at: ReadAt, size: int) -> Iterator[Stream]:
    """Every pickle of a file, and what may be one and cannot be looked into."""
    head = read_at(0, HEAD)
    if found := _in_array(head):
        yield Stream(found, lambda: _from(read_at, size, _end_of_array_header(head)))
    elif is_pickle(read_at, size):
        yield Stream("a pickle", lambda: (read_at, size, True))
    elif head.startswith(_ZIPS):
        yield from _in_zip(read_at, size)
    elif head[_TAR_MAGIC] == b"ustar":
        yield from _in_tar(read_at, size)
    elif (unpacked := _unpacked(head, HEAD)) is not None:
        if found := _in_stream(unpacked):
            yield Stream(f"{found}, compressed", lambda: _of_compressed(read_at, size))
        elif unpacked[_TAR_MAGIC] == b"ustar":
            yield from _in_head_of_tar(unpacked)


def _in_array(head: bytes) -> str:
    # numpy.lib.format: the header is a Python literal in one line; arrays of objects have the type "|O" in it.
    is_objects = head.startswith(_NPY) and b"|O" in head[: 64 * 1024].partition(b"\n")[0]
    return "a NumPy array of objects" if is_objects else ""


def _end_of_array_header(head: bytes) -> int:
    width = 2 if head[6:7] == b"\x01" else 4
    return 8 + width + int.from_bytes(head[8 : 8 + width], "little")


def _from(read_at: ReadAt, size: int, start: int) -> tuple[ReadAt, int, bool]:
    return lambda offset, length: read_at(start + offset, length), max(0, size - start), True


def _of_bytes(data: bytes) -> tuple[ReadAt, int, bool]:
    """At most `MAX_STREAM` of it."""
    kept = data[:MAX_STREAM]
    start = _end_of_array_header(kept) if _in_array(kept[:HEAD]) else 0
    read, size, _ = _from(lambda offset, length: kept[offset : offset + length], len(kept), start)
    return read, size, len(data) <= MAX_STREAM


def _of_compressed(read_at: ReadAt, size: int) -> tuple[ReadAt, int, bool]:
    return _of_bytes(_unpacked(read_at(0, min(size, MAX_STREAM)), MAX_STREAM + 1) or b"")


def _in_stream(head: bytes) -> str:
    """Of a file of which no more than ``head`` is at hand."""
    whole = len(head) < HEAD
    pickled = is_pickle(lambda offset, length: head[offset : offset + length], len(head), whole=whole)
    return _in_array(head) or ("a pickle" if pickled else "")


class Window(io.RawIOBase):
    """A file by `ReadAt`, with an end to how much of it is read."""

    def __init__(self, read_at: ReadAt, size: int) -> None:
        super().__init__()
        self._read_at = read_at
        self._size = size
        self._position = 0
        self._left = MAX_READ

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = max(0, self._size - self._position)
        if size is not None and size >= 0:
            wanted = min(wanted, size)
        if wanted > self._left:
            raise _TooMuch
        data = self._read_at(self._position, wanted)
        self._position += len(data)
        self._left -= len(data)
        return data


class _TooMuch(Exception):
    """More would have to be read than is."""


DAMAGED: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    LookupError,
    _TooMuch,
)
"""What the standard library says of archives that are damaged, encrypted, or too large for us to look into."""


Read = Callable[[int], bytes]
"""So many bytes from the beginning of a member."""


def _in_zip(read_at: ReadAt, size: int) -> Iterator[Stream]:
    def members() -> Iterator[tuple[str, Read]]:
        with zipfile.ZipFile(Window(read_at, size)) as archive:
            for info in archive.infolist():
                yield info.filename, partial(_start_of, archive, info)

    return _in_members(members, "a zip archive")


def _start_of(archive: zipfile.ZipFile, info: zipfile.ZipInfo, length: int) -> bytes:
    with archive.open(info) as stream:
        return stream.read(length)


def _in_tar(read_at: ReadAt, size: int) -> Iterator[Stream]:
    def members() -> Iterator[tuple[str, Read]]:
        with tarfile.open(fileobj=Window(read_at, size), mode="r:") as archive:
            for info in archive:
                yield info.name, partial(_beginning, archive, info)

    return _in_members(members, "a tar archive")


def _beginning(archive: tarfile.TarFile, info: tarfile.TarInfo, length: int) -> bytes:
    stream = archive.extractfile(info) if info.isreg() else None
    return stream.read(length) if stream else b""


def _in_members(members: Callable[[], Iterator[tuple[str, Read]]], what: str) -> Iterator[Stream]:
    try:
        for count, (name, read) in enumerate(members()):
            if count >= MAX_MEMBERS:
                yield Stream(f"more files in {what} than are looked into")
                return
            if format_of_name(name) == PICKLE or _in_stream(read(HEAD)):
                yield Stream(f"{name[:200]!r} in {what}", partial(_of_member, read))
    except DAMAGED:
        # Loaders may be more forgiving than the standard library is.
        yield Stream(f"{what} that cannot be looked into")


def _of_member(read: Read) -> tuple[ReadAt, int, bool]:
    try:
        return _of_bytes(read(MAX_STREAM + 1))
    except DAMAGED:
        return _of_bytes(b"")


def _in_head_of_tar(unpacked: bytes) -> Iterator[Stream]:
    """As far as it was unpacked."""
    try:
        with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as archive:
            for info in archive:
                if format_of_name(info.name) == PICKLE or _in_stream(_beginning(archive, info, HEAD)):
                    yield Stream(f"{info.name[:200]!r} in a compressed tar archive")
    except DAMAGED:
        return


def _unpacked(head: bytes, most: int) -> bytes | None:
    """The beginning of what is compressed, at most ``most`` bytes; None where nothing is."""
    try:
        if head.startswith(b"\x1f\x8b"):
            return zlib.decompressobj(wbits=31).decompress(head, most)
        if head[:1] == b"\x78" and len(head) > 1 and int.from_bytes(head[:2], "big") % 31 == 0:  # RFC 1950, 2.2
            return zlib.decompressobj().decompress(head, most)
        if head.startswith(b"BZh"):
            return bz2.BZ2Decompressor().decompress(head, most)
        if head.startswith((b"\xfd7zXZ\x00", b"\x5d\x00\x00")):
            return lzma.LZMADecompressor(memlimit=256 * 1024 * 1024).decompress(head, most)
    except DAMAGED:
        return None
    return None
