"""Reading an archive of files that somebody else made, and refusing every trick that tar knows.

Guarantees: `members` yields nothing before every header has been checked. Each is a regular file with a plain,
safe name (`names`), given once, distinct from all others on every platform; each byte of the archive is
accounted for. Refused: absolute names and ``..``, links of both kinds, devices, pipes, sparse files, global
extensions, extensions other than those that only describe a file, wrong check sums, negative or huge sizes,
a missing end, anything after it. Plain directories are tolerated and not reported.

It understands ustar, the long names of GNU, and pax's ``path`` and ``size``: what modctl and we write.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from ocimodel.errors import FormatError
from ocimodel.model.names import check_name
from ocimodel.model.tarball import BLOCK
from ocimodel.oci.paths import MAX_PATH, check_distinct

MAX_MEMBERS = 200_000
MAX_EXTENSION = 16 * 1024
MAX_TRAILER = 1024 * 1024
"""Zeros after the end; tar pads to its record size."""

_MAGIC = (b"ustar\x0000", b"ustar  \0")
_DESCRIBING = frozenset({"atime", "ctime", "gid", "gname", "mtime", "uid", "uname"})
_READ = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of an archive."""

    path: str
    size: int
    offset: int
    _file: BinaryIO = field(repr=False)

    def blocks(self) -> Iterator[bytes]:
        """The content; from the start each time, in whatever order members are asked."""
        position, left = self.offset, self.size
        while left:
            self._file.seek(position)
            block = self._file.read(min(_READ, left))
            if not block:
                raise FormatError(f"the archive ends within {self.path}")
            position += len(block)
            left -= len(block)
            yield block


def members(file: BinaryIO) -> Iterator[Member]:
    """The files of the archive ``file``, which must be seekable; all headers are checked before the first.

    Raises:
        FormatError: it is not an archive of plain files.
        UnsafePathError: a name in it is unsafe, or two are one on some platform.
    """
    found = list(_scan(file))
    check_distinct(member.path for member in found)
    yield from found


def _scan(file: BinaryIO) -> Iterator[Member]:
    total = file.seek(0, os.SEEK_END)
    position, count = 0, 0
    extension: dict[str, str] = {}
    while True:
        raw = _read(file, position, BLOCK)
        position += BLOCK
        if not any(raw):
            break
        head = _Header.parse(raw, position - BLOCK)
        kind, size = head.kind, head.size
        if kind in ("L", "x"):
            if size > MAX_EXTENSION:
                raise _bad(position, "an oversized extension header")
            body = _read(file, position, size)
            added = {"path": _text(body.rstrip(b"\0"), position)} if kind == "L" else _pax(body, position)
            if extension.keys() & added.keys():
                raise _bad(position, "two extension headers that contradict each other")
            extension |= added
        else:
            path = extension.get("path", head.name)
            size = _pax_size(extension, size, position)
            extension = {}
            count += 1
            if count > MAX_MEMBERS:
                raise FormatError(f"the archive has more than {MAX_MEMBERS} members")
            if _is_file(kind, path, size, position):
                yield Member(path=path, size=size, offset=position, _file=file)
        position += size + -size % BLOCK
        if position > total:
            raise _bad(position, "content that the archive does not have")
    if extension:
        raise _bad(position, "an extension header without a file")
    _end(file, position, total)


def _is_file(kind: str, path: str, size: int, position: int) -> bool:
    if kind in ("0", "\0"):
        check_name(path)
        return True
    if kind != "5":
        raise _bad(position, f"{path[:120]!r}, which is {_KINDS.get(kind, 'of an unknown kind')}")
    check_name(path.removesuffix("/"))
    if size:
        raise _bad(position, "a directory with content")
    return False


def _end(file: BinaryIO, position: int, total: int) -> None:
    """POSIX: two zero blocks; of which one was seen."""
    if total - position < BLOCK or total - position > MAX_TRAILER:
        raise FormatError("the archive has no proper end")
    if any(_read(file, position, total - position)):
        raise FormatError("the archive has something after its end")


_KINDS: Mapping[str, str] = {
    "1": "a hard link",
    "2": "a symbolic link",
    "3": "a device",
    "4": "a device",
    "6": "a pipe",
    "7": "a contiguous file",
    "K": "a link with a long name",
    "S": "a sparse file",
    "g": "a global extension header",
}


@dataclass(frozen=True, slots=True)
class _Header:
    name: str
    size: int
    kind: str

    @classmethod
    def parse(cls, raw: bytes, position: int) -> _Header:
        if raw[257:265] not in _MAGIC:
            raise _bad(position, "what is no tar header")
        if sum(raw) - sum(raw[148:156]) + 8 * 0x20 != _number(raw[148:156], position):
            raise _bad(position, "a header with a wrong check sum")
        name = raw[:100].split(b"\0", 1)[0]
        if raw[257:265] == _MAGIC[0] and (prefix := raw[345:500].split(b"\0", 1)[0]):
            name = prefix + b"/" + name
        if raw[157:257].strip(b"\0") and raw[156:157] in b"0\x005":
            raise _bad(position, "a file that names the target of a link")
        return cls(_text(name, position), _number(raw[124:136], position), raw[156:157].decode("latin-1"))


def _number(raw: bytes, position: int) -> int:
    if raw[0] == 0x80:  # GNU: base 256; 0xff would be negative
        value = int.from_bytes(raw[1:], "big")
    else:
        digits = raw.strip(b" \0")
        if not digits or digits.strip(b"01234567"):
            raise _bad(position, "a number that is none")
        value = int(digits, 8)
    if value >= 2**50:
        raise _bad(position, "an absurd size")
    return value


def _pax(body: bytes, position: int) -> dict[str, str]:
    """POSIX pax records: ``length key=value`` and a line feed, the length counting all of it."""
    records: dict[str, str] = {}
    while body:
        digits, blank, _ = body.partition(b" ")
        if not blank or not digits.isdigit() or len(digits) > 6:
            raise _bad(position, "a malformed extension header")
        record, body = body[: int(digits)], body[int(digits) :]
        if len(record) != int(digits) or len(record) <= len(digits) + 1 or record[-1:] != b"\n":
            raise _bad(position, "a malformed extension header")
        key, equals, value = _text(record[len(digits) + 1 : -1], position).partition("=")
        if not equals or key in records:
            raise _bad(position, "a malformed extension header")
        if key not in _DESCRIBING and key not in ("path", "size"):
            raise _bad(position, f"an extension that is not understood: {key[:80]!r}")
        records[key] = value
    return records


def _pax_size(extension: Mapping[str, str], size: int, position: int) -> int:
    text = extension.get("size")
    if text is None:
        return size
    if not (text.isascii() and text.isdigit()) or len(text) > 15:
        raise _bad(position, "an absurd size")
    return int(text)


def _text(raw: bytes, position: int) -> str:
    if len(raw) > MAX_EXTENSION or b"\0" in raw:
        raise _bad(position, f"a name longer than {MAX_PATH} bytes, or with a zero in it")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _bad(position, "a name that is not UTF-8") from None


def _read(file: BinaryIO, position: int, length: int) -> bytes:
    file.seek(position)
    data = file.read(length)
    if len(data) != length:
        raise FormatError("the archive ends too early")
    return data


def _bad(position: int, what: str) -> FormatError:
    return FormatError(f"the archive holds {what} (at byte {position})")
