"""The header of a GGUF file (ggml-org/ggml, docs/gguf.md), versions 2 and 3, of either byte order.

    "GGUF" | version u32 | tensors u64 | pairs u64 | pairs: key, type u32, value … |
    tensors: name, dimensions u32, sizes u64 …, type u32, offset u64 … | padding | data

Guarantees: as `header` says; besides, each tensor begins at a multiple of the alignment, and is as long as its
type and shape need. Strings and counts are believed only as far as the file reaches. Arrays are passed over in
bounded time, and kept only if they are short, so a vocabulary of 250,000 tokens costs a walk and no memory.

A tensor type that is not in the table (a newer version of ggml) reaches to the next tensor.

A vocabulary may have megabytes and stands in the middle. Whoever must not fetch it takes the metadata before it
(`parse_part`) and the tensors behind it (`parse_table`), if their places are known from elsewhere.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

from ocimodel.errors import FormatError
from ocimodel.model.ggml import TYPES
from ocimodel.model.header import MAX_ELEMENTS, MAX_TENSORS, Array, Enough, Header, Tensor
from ocimodel.model.reading import ReadAt

MAX_HEADER = 256 * 1024 * 1024
MAX_PAIRS = 65_536
MAX_ITEMS = 4_000_000
"""Strings and arrays within arrays, all together; the largest vocabularies with their merges have a tenth."""
MAX_TEXT = 16 * 1024 * 1024
"""Bytes of strings that are kept, keys included, each taken for 64 bytes more than it has."""
MAX_TENSOR_NAME = 256
SHORT = 64
"""Arrays of scalars and strings of up to so many elements are kept."""
_DIMENSIONS = 8
_NESTING = 4
_TRIES = 4
_FIRST_WINDOW = 64 * 1024
_WINDOW = 1024 * 1024

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_KINDS = {
    0: "uint8",
    1: "int8",
    2: "uint16",
    3: "int16",
    4: "uint32",
    5: "int32",
    6: "float32",
    7: "bool",
    8: "string",
    9: "array",
    10: "uint64",
    11: "int64",
    12: "float64",
}


def parse(read_at: ReadAt, size: int) -> Header:
    """The header of the file of ``size`` bytes that ``read_at`` reads.

    Raises:
        FormatError: it is not a GGUF file of version 2 or 3, or lies about its tensors.
    """
    cursor = _Cursor(read_at, size)
    tensors, pairs = _preamble(cursor)
    metadata: dict[str, Any] = {}
    _pairs(cursor, pairs, metadata)
    return _header(cursor, tensors, metadata, size)


class Part(NamedTuple):
    """The beginning of a header: what it announces, and what of it was read."""

    tensors: int
    metadata: Mapping[str, Any]
    order: str
    header: Header | None
    """All of it, where all was read."""


def parse_part(read_at: ReadAt, size: int) -> Part:
    """The header, or its beginning where ``read_at`` raises `Enough` before its end.

    Raises:
        FormatError: as `parse`, of what was read.
        Enough: not even the numbers of tensors and pairs could be read.
    """
    cursor = _Cursor(read_at, size)
    tensors, pairs = _preamble(cursor)
    metadata: dict[str, Any] = {}
    header = None
    with suppress(Enough):
        _pairs(cursor, pairs, metadata)
        header = _header(cursor, tensors, metadata, size)
    return Part(tensors, metadata, cursor.order, header)


def parse_table(
    raw: bytes, data_start: int, size: int, places: Mapping[str, tuple[int, int]], part: Part
) -> tuple[Tensor, ...]:
    """The tensors whose descriptions end the header, given the header's last bytes.

    Args:
        raw: the bytes of the file before ``data_start``, as many as there are or are wanted.
        places: where each tensor's data lies, by its name, in the order of the data.

    Returns:
        the tensors, if ``raw`` describes them all at just these places, with nothing but padding behind; else
        none. Types and shapes are then such as these places allow.
    """
    name = next(iter(places), "").encode()
    pattern = struct.pack(part.order + "Q", len(name)) + name
    alignment = _alignment(part.metadata)
    at = raw.rfind(pattern)
    for _ in range(_TRIES):
        if at < 0 or part.tensors != len(places):
            break
        with suppress(FormatError):
            cursor = _Cursor(lambda offset, length: raw[offset : offset + length], len(raw))
            cursor.position, cursor.order = at, part.order
            described = [_describe(cursor) for _ in range(part.tensors)]
            padding = raw[cursor.position :]
            tensors = _place(described, data_start, size, alignment)
            found = {tensor.name: (tensor.start, tensor.stop) for tensor in tensors}
            if found == places and len(padding) < alignment and not any(padding):
                return tensors
        at = raw.rfind(pattern, 0, at + len(pattern) - 1)
    return ()


def _header(cursor: _Cursor, count: int, metadata: Mapping[str, Any], size: int) -> Header:
    """The descriptions of the tensors, which follow on the metadata."""
    alignment = _alignment(metadata)
    described = [_describe(cursor) for _ in range(count)]
    data_start = cursor.position + -cursor.position % alignment
    tensors = _place(described, data_start, size, alignment)
    return Header(format="gguf", tensors=tensors, metadata=metadata, data_start=data_start)


def _pairs(cursor: _Cursor, count: int, metadata: dict[str, Any]) -> None:
    for _ in range(count):
        key = cursor.string("a key")
        if key in metadata:
            raise FormatError(f"the GGUF key {key[:80]!r} stands twice")
        _value(cursor, cursor.scalar("I"), key, metadata)


def _alignment(metadata: Mapping[str, Any]) -> int:
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 0 < alignment <= 65_536 or alignment % 8:
        raise FormatError("general.alignment must be a positive multiple of 8")
    return alignment


def _preamble(cursor: _Cursor) -> tuple[int, int]:
    if cursor.bytes(4) != b"GGUF":
        raise FormatError("this is not a GGUF file: it does not begin with GGUF")
    version = cursor.scalar("I")
    if version and not version & 0xFFFF:
        cursor.order, version = ">", int.from_bytes(version.to_bytes(4, "little"), "big")
    if version not in (2, 3):
        raise FormatError(f"GGUF version {version} is not understood; 2 and 3 are")
    tensors, pairs = cursor.scalar("Q"), cursor.scalar("Q")
    if tensors > MAX_TENSORS or pairs > MAX_PAIRS:
        raise FormatError(
            f"the GGUF header claims {tensors} tensors and {pairs} pairs; "
            f"at most {MAX_TENSORS} and {MAX_PAIRS} are read"
        )
    return tensors, pairs


class _Cursor:
    """Reads forward in windows; never past the end of the file or of what a header may take."""

    __slots__ = ("_base", "_items", "_limit", "_next", "_read_at", "_text", "_window", "order", "position")

    def __init__(self, read_at: ReadAt, size: int) -> None:
        self._read_at = read_at
        self._limit = min(size, MAX_HEADER)
        self._window = b""
        self._next = _FIRST_WINDOW
        self._base = 0
        self._items = 0
        self._text = 0
        self.position = 0
        self.order = "<"

    def bytes(self, count: int) -> bytes:
        start = self._reach(count)
        self.position += count
        return self._window[start : start + count]

    def scalar(self, kind: str) -> Any:
        layout = self.order + kind
        size = struct.calcsize(layout)
        start = self._reach(size)
        self.position += size
        return struct.unpack_from(layout, self._window, start)[0]

    def name(self, limit: int, what: str) -> str:
        """A string of at most ``limit`` bytes."""
        length = self.scalar("Q")
        if length > limit:
            raise FormatError(f"the GGUF header has {what} of {length} bytes; at most {limit} are read")
        try:
            return self.bytes(length).decode("utf-8")
        except UnicodeDecodeError:
            raise FormatError(f"the GGUF header has {what} that is not UTF-8") from None

    def string(self, what: str) -> str:
        """A string that is kept; only so much text is, in all."""
        text = self.name(MAX_TEXT, what)
        self._text += len(text) + 64
        if self._text > MAX_TEXT:
            raise FormatError(f"the GGUF header has more than {MAX_TEXT} bytes of text")
        return text

    def count(self, items: int) -> int:
        """Take ``items`` from what all arrays together may hold."""
        self._items += items
        if self._items > MAX_ITEMS:
            raise FormatError(f"the arrays of the GGUF header have more than {MAX_ITEMS} elements")
        return items

    def skip(self, count: int) -> None:
        if count > self._limit - self.position:
            self._short(count)
        self.position += count

    def skip_strings(self, count: int) -> None:
        """Pass over ``count`` strings, of any bytes: vocabularies hold pieces of characters."""
        self.count(count)
        unpack = struct.Struct(self.order + "Q").unpack_from
        position, base, window = self.position, self._base, self._window
        for _ in range(count):
            start = position - base
            if not 0 <= start <= len(window) - 8:
                self.position = position
                start = self._reach(8)
                base, window = self._base, self._window
            position += 8 + unpack(window, start)[0]
            if position > self._limit:
                self._short(position - self._limit)
        self.position = position

    def _reach(self, count: int) -> int:
        """Make ``count`` bytes from the position on present; where they begin in the window."""
        start = self.position - self._base
        if 0 <= start <= len(self._window) - count:
            return start
        if count > self._limit - self.position:
            self._short(count)
        # Small steps first, for a header may be read over a network.
        wanted = max(count, self._next)
        self._next = min(2 * self._next, _WINDOW)
        self._base = self.position
        self._window = self._read_at(self.position, min(wanted, self._limit - self.position))
        if len(self._window) < count:  # less than was wanted, but perhaps not less than there is
            self._window = self._read_at(self.position, count)
        if len(self._window) < count:
            self._short(count)
        return 0

    def _short(self, count: int) -> NoReturn:
        raise FormatError(
            f"the GGUF header wants {count} bytes at {self.position}, beyond the {self._limit} there are"
        )


def _value(cursor: _Cursor, kind: int, key: str, metadata: dict[str, Any]) -> None:
    if kind in _SCALARS:
        metadata[key] = cursor.scalar(_SCALARS[kind])
    elif kind == _STRING:
        metadata[key] = cursor.string(f"a value for {key[:80]!r}")
    elif kind == _ARRAY:
        _array(cursor, key, metadata)
    else:
        raise FormatError(f"the GGUF key {key[:80]!r} has the unknown type {kind}")


def _array(cursor: _Cursor, key: str, metadata: dict[str, Any]) -> None:
    kind, count = cursor.scalar("I"), cursor.scalar("Q")
    if count <= SHORT and kind in _SCALARS:
        metadata[key] = tuple(cursor.scalar(_SCALARS[kind]) for _ in range(count))
    elif count <= SHORT and kind == _STRING:
        metadata[key] = tuple(cursor.string(f"an element of {key[:80]!r}") for _ in range(count))
    else:
        # Known before it is passed over, for that may be more than there is to read.
        metadata[key] = Array(_KINDS.get(kind, f"type{kind}"), count)
        _pass_over(cursor, kind, count, _NESTING, key)


def _pass_over(cursor: _Cursor, kind: int, count: int, nesting: int, key: str) -> None:
    """The elements of an array. There are no references in GGUF, so nesting is all that could go round."""
    if kind in _SCALARS:
        cursor.skip(count * struct.calcsize("<" + _SCALARS[kind]))
    elif kind == _STRING:
        cursor.skip_strings(count)
    elif kind == _ARRAY and nesting:
        for _ in range(cursor.count(count)):
            _pass_over(cursor, cursor.scalar("I"), cursor.scalar("Q"), nesting - 1, key)
    else:
        raise FormatError(f"the GGUF key {key[:80]!r} is nested too deeply or of the unknown type {kind}")


def _describe(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    name = cursor.name(MAX_TENSOR_NAME, "the name of a tensor")
    dimensions = cursor.scalar("I")
    if dimensions > _DIMENSIONS:
        _fail(name, f"it has {dimensions} dimensions")
    shape = tuple(cursor.scalar("Q") for _ in range(dimensions))
    if math.prod(shape) > MAX_ELEMENTS:
        _fail(name, "its shape is absurd")
    # ggml counts dimensions from the fastest one; everybody else the other way round.
    return name, shape[::-1], cursor.scalar("I"), cursor.scalar("Q")


def _place(
    described: list[tuple[str, tuple[int, ...], int, int]], data_start: int, size: int, alignment: int
) -> tuple[Tensor, ...]:
    tensors: list[Tensor] = []
    names: set[str] = set()
    # Backwards, so that each knows where the next begins; an empty one stands before what shares its place.
    described.sort(key=lambda item: (item[3], math.prod(item[1]) > 0), reverse=True)
    following = size
    for name, shape, kind, offset in described:
        start = data_start + offset
        if name in names:
            _fail(name, "it stands twice in the header")
        if offset % alignment:
            _fail(name, f"its data does not begin at a multiple of {alignment}")
        if start > size:
            _fail(name, "its data lies beyond the end of the file")
        end = start + _length(name, shape, kind, following - start)
        if end > following:
            _fail(name, "its data overlaps another's, or ends beyond the file")
        names.add(name)
        tensors.append(Tensor(name, TYPES[kind][0] if kind in TYPES else f"type{kind}", shape, start, end))
        following = start
    return tuple(reversed(tensors))


def _length(name: str, shape: tuple[int, ...], kind: int, rest: int) -> int:
    if kind not in TYPES:
        return max(rest, 0)
    _, block, width = TYPES[kind]
    row = shape[-1] if shape else 1
    if row % block:
        _fail(name, f"its rows of {row} are no multiple of the {block} of its type")
    return math.prod(shape) // block * width


def _fail(name: str, what: str) -> NoReturn:
    raise FormatError(f"tensor {name[:120]!r}: {what}")
