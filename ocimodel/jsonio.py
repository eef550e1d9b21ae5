"""Strict, bounded JSON: one decoder, one canonical encoder, getters that name the bad field.

Guarantees: a document over its cap, with a duplicate key, a non-finite number, invalid UTF-8, a byte order
mark or too deep nesting is a `FormatError`. `canonical` is a pure function of the value: RFC 8785 for the
values it accepts (no floats: their text differs between languages, and none of our signed documents has one).
It does not check documents against a schema.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from ocimodel.errors import FormatError

MAX_DEPTH = 64
_MAX_SHOWN = 128
MAX_SAFE_INTEGER = 2**63 - 1
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def loads(data: bytes, *, limit: int, what: str = "document") -> Any:
    """Decode ``data`` (UTF-8 JSON text, RFC 8259) of at most ``limit`` bytes.

    Raises:
        FormatError: it is larger, not UTF-8, not JSON, nested deeper than 64, or has a duplicate key.
    """
    if len(data) > limit:
        raise FormatError(f"{what} has more than {limit} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{what} is not UTF-8") from error
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_int=_bounded_integer,
            parse_float=_finite,
        )
    except RecursionError as error:
        raise FormatError(f"{what} is nested too deeply") from error
    except FormatError as error:
        raise FormatError(f"{what}: {error.what}") from None
    except ValueError as error:
        raise FormatError(f"{what} is not JSON: {error}") from None
    _check_depth(value, what)
    if _SURROGATE.search(text):
        _check_text(value, what)
    return value


def canonical(value: Any) -> bytes:
    """Encode to the one byte string of this value: RFC 8785 (JCS), restricted to values without floats."""
    return json.dumps(_sorted(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")


def pretty(value: Any) -> str:
    """Encode for people and for ``--json``: two-space indent, keys in the order given."""
    return json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)


class Node:
    """A decoded value and where it stands, so that every complaint can name the field.

    >>> Node({"a": [1]}).get("a").items()[0].integer()
    1
    """

    __slots__ = ("path", "value")

    def __init__(self, value: Any, path: str = "") -> None:
        self.value = value
        self.path = path

    def fail(self, what: str) -> NoReturn:
        """Raise `FormatError` about this field."""
        raise FormatError(what, path=self.path)

    def object(self) -> Mapping[str, Any]:
        if not isinstance(self.value, dict):
            self.fail("must be an object")
        return self.value

    def get(self, key: str) -> Node:
        """The required member ``key``."""
        found = self.find(key)
        if found is None:
            raise FormatError("is missing", path=self._join(key))
        return found

    def find(self, key: str) -> Node | None:
        """The member ``key``, or None where it is absent or null."""
        value = self.object().get(key)
        return None if value is None else Node(value, self._join(key))

    def members(self) -> Iterator[tuple[str, Node]]:
        for key, value in self.object().items():
            yield key, Node(value, self._join(key))

    def items(self, *, limit: int = 100_000) -> list[Node]:
        if not isinstance(self.value, list):
            self.fail("must be an array")
        if len(self.value) > limit:
            self.fail(f"has more than {limit} items")
        return [Node(item, f"{self.path}[{index}]") for index, item in enumerate(self.value)]

    def string(self, *, limit: int = 65_536) -> str:
        if not isinstance(self.value, str):
            self.fail("must be a string")
        if len(self.value) > limit:
            self.fail(f"is longer than {limit} characters")
        return self.value

    def integer(self, *, minimum: int = 0, maximum: int = MAX_SAFE_INTEGER) -> int:
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            self.fail("must be an integer")
        if not minimum <= self.value <= maximum:
            self.fail(f"must lie between {minimum} and {maximum}")
        return self.value

    def boolean(self) -> bool:
        if not isinstance(self.value, bool):
            self.fail("must be true or false")
        return self.value

    def strings(self) -> dict[str, str]:
        """An object whose values are all strings (annotations)."""
        return {key: node.string() for key, node in self.members()}

    def only(self, *allowed: str) -> None:
        """Refuse members with other names."""
        for key, node in self.members():
            if key not in allowed:
                node.fail("is not a known field")

    def _join(self, key: str) -> str:
        # A path is printed, and the key may be anybody's: no control characters, no novels.
        shown = key if key.isprintable() and len(key) <= _MAX_SHOWN else ascii(key[:_MAX_SHOWN])
        return f"{self.path}.{shown}" if self.path else shown


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise FormatError(f"the key {key[:80]!r} stands twice in one object")
            seen.add(key)
    return result


def _no_constant(name: str) -> NoReturn:
    raise FormatError(f"{name} is not a JSON number")


def _bounded_integer(text: str) -> int:
    if len(text) > 20:
        raise FormatError("a number has more than 20 digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise FormatError(f"{text[:40]} is not a finite number")
    return value


def _check_text(value: Any, what: str) -> None:
    """Refuse half of a surrogate pair: such text cannot be printed or encoded again."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise FormatError(f"{what} has text that is not Unicode") from None


def _check_depth(value: Any, what: str) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for item in level
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise FormatError(f"{what} is nested too deeply")


def _sorted(value: Any) -> Any:
    if isinstance(value, float):
        raise TypeError("floats have no canonical form here; use a string or an integer")
    if isinstance(value, Mapping):
        # RFC 8785, section 3.2.3: by UTF-16 code units.
        return {key: _sorted(value[key]) for key in sorted(value, key=lambda name: name.encode("utf-16-be"))}
    if isinstance(value, (list, tuple)):
        return [_sorted(item) for item in value]
    return value
