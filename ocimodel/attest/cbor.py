"""CBOR (RFC 8949), as much of it as COSE signatures need.

Guarantees: `loads` takes documents in their one deterministic spelling (section 4.2.1, but for the order of keys):
no indefinite lengths, no number or length that is longer than it has to be, no key twice, nothing left over. It
allocates nothing by a number that it reads, nests no deeper than 16, and knows no floats.

>>> loads(bytes.fromhex("82016161"), limit=10)
[1, 'a']
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ocimodel.errors import FormatError

MAX_DEPTH: Final = 16
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_SIMPLE_VALUES: Final = {20: False, 21: True, 22: None}
_SHORTEST: Final = {24: 24, 25: 1 << 8, 26: 1 << 16, 27: 1 << 32}
"""The least that a length of 1, 2, 4 or 8 bytes may say."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """A value with a tag in front of it."""

    tag: int
    value: Any


def loads(data: bytes, *, limit: int, what: str = "document") -> Any:
    """The value of ``data``: int, bytes, str, list, dict, bool, None or `Tagged`. Raises `FormatError`."""
    if len(data) > limit:
        raise FormatError(f"{what} has more than {limit} bytes")
    reader = _Reader(data, what)
    value = reader.item(0)
    if reader.position != len(data):
        raise FormatError(f"{what} has something after its end")
    return value


def head(major: int, argument: int) -> bytes:
    """What an item of this major type begins with."""
    for info, size in ((27, 8), (26, 4), (25, 2), (24, 1)):
        if argument >= _SHORTEST[info]:
            return bytes([major << 5 | info]) + argument.to_bytes(size, "big")
    return bytes([major << 5 | argument])


def dump_bytes(data: bytes) -> bytes:
    """A byte string."""
    return head(_BYTES, len(data)) + data


def dump_text(text: str) -> bytes:
    """A text string."""
    data = text.encode("utf-8")
    return head(_TEXT, len(data)) + data


class _Reader:
    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._what = what
        self.position = 0

    def item(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise self._error("is nested too deeply")
        major, argument = self._head()
        match major:
            case 0:
                return argument
            case 1:
                return -1 - argument
            case 2:
                return self._take(argument)
            case 3:
                return self._text(argument)
            case 4:
                return [self.item(depth + 1) for _ in range(self._count(argument, 1))]
            case 5:
                return self._map(self._count(argument, 2), depth)
            case 6:
                return Tagged(argument, self.item(depth + 1))
            case _:
                return self._simple(argument)

    def _head(self) -> tuple[int, int]:
        first = self._take(1)[0]
        major, info = first >> 5, first & 0x1F
        if info < 24:
            return major, info
        if info > 27:
            raise self._error("has an item of indefinite length")
        if major == _SIMPLE:
            raise self._error("has a number that is no integer")
        argument = int.from_bytes(self._take(1 << (info - 24)), "big")
        if argument < _SHORTEST[info]:
            raise self._error("has a number that is written longer than it is")
        return major, argument

    def _map(self, count: int, depth: int) -> dict[int | str, Any]:
        found: dict[int | str, Any] = {}
        for _ in range(count):
            key = self.item(depth + 1)
            if not isinstance(key, int | str) or isinstance(key, bool):
                raise self._error("has a key that is neither integer nor text")
            if key in found:
                raise self._error(f"has the key {ascii(key)[:80]} twice")
            found[key] = self.item(depth + 1)
        return found

    def _count(self, argument: int, least: int) -> int:
        # Each item takes a byte, so a count that the document cannot hold is found before anything is built.
        if argument * least > len(self._data) - self.position:
            raise self._error("ends early")
        return argument

    def _text(self, length: int) -> str:
        try:
            return self._take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise self._error("has text that is not UTF-8") from None

    def _simple(self, argument: int) -> bool | None:
        if argument not in _SIMPLE_VALUES:
            raise self._error("has a value of an unknown kind")
        return _SIMPLE_VALUES[argument]

    def _take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self._data):
            raise self._error("ends early")
        data = self._data[self.position : end]
        self.position = end
        return data

    def _error(self, problem: str) -> FormatError:
        return FormatError(f"{self._what} {problem}")
