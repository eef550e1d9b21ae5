"""Writing small files as one archive, the same bytes on every machine (tar, the GNU form of POSIX 1003.1 ustar).

Guarantees: the archive is a pure function of names and contents: members in the order given, mode 0644, no
times, no owners, long names as GNU writes them, two zero blocks at the end and nothing after (Python's
``tarfile`` writes the same but for padding behind the end). Its size is known before a byte is read, no
temporary file is made, and it can be read again from the start, as an upload that is tried twice needs. Whoever
has the files has the layer, byte for byte: that is how a directory is checked later.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, BinaryIO, cast

from ocimodel.model.reading import FileReader
from ocimodel.model.scan import ModelFile

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK = 512
END = bytes(2 * BLOCK)
_NAME = 100
_LONG_NAME = b"././@LongLink"


def header(name: str, size: int) -> bytes:
    """The blocks that stand before a regular file's content."""
    encoded = name.encode()
    if len(encoded) <= _NAME:
        return _block(encoded, size, b"0", 0o644)
    long = encoded + b"\0"
    return _block(_LONG_NAME, len(long), b"L", 0) + _padded(long) + _block(encoded[:_NAME], size, b"0", 0o644)


def archive_size(files: Sequence[ModelFile]) -> int:
    """How many bytes `open_archive` gives."""
    return sum(len(header(file.path, file.size)) + file.size + _padding(file.size) for file in files) + len(END)


def open_archive(files: Sequence[ModelFile]) -> BinaryIO:
    """The archive of ``files`` from the start, as a context manager. Reads raise as those of `reading` do."""
    return cast(BinaryIO, _Archive(files))


class _Archive(io.RawIOBase):
    """One member open at a time; small files only, so each is read whole."""

    def __init__(self, files: Sequence[ModelFile]) -> None:
        super().__init__()
        self._parts = _parts(files)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view):
            if not self._rest:
                part = next(self._parts, None)
                if part is None:
                    break
                self._rest = memoryview(part)
                continue
            count = min(len(self._rest), len(view) - filled)
            view[filled : filled + count] = self._rest[:count]
            self._rest = self._rest[count:]
            filled += count
        return filled

    def close(self) -> None:
        self._parts.close()
        super().close()


def _parts(files: Sequence[ModelFile]) -> Generator[bytes, None, None]:
    for file in files:
        yield header(file.path, file.size)
        with FileReader(file) as reader:
            while block := reader.read(1024 * 1024):
                yield block
        yield bytes(_padding(file.size))
    yield END


def _block(name: bytes, size: int, kind: bytes, mode: int) -> bytes:
    fields = b"".join(
        (
            name.ljust(_NAME, b"\0"),
            b"%07o\0" % mode,
            b"0000000\0" * 2,  # uid, gid
            _size(size),
            b"00000000000\0",  # mtime
            b" " * 8,  # the checksum is taken over blanks
            kind,
            bytes(100),  # linkname
            b"ustar  \0",
            bytes(247),  # no names of owners, no device
        )
    )
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]


def _size(size: int) -> bytes:
    """Eleven octal digits, and from 8 GiB on, as GNU does, a number to the base 256."""
    return b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")


def _padded(data: bytes) -> bytes:
    return data + bytes(_padding(len(data)))


def _padding(size: int) -> int:
    return -size % BLOCK
