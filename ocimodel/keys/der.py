"""A little of DER (X.690), for what no library does: items with one byte of tag and a definite length.

Guarantees: nothing is read beyond the end, and nothing is allocated by lengths that are claimed.
"""

from __future__ import annotations

_INTEGER = 0x02


def children(der: bytes, start: int) -> list[tuple[int, int]]:
    """Where the items in the item at ``start`` begin and end. Raises ValueError."""
    position, end = span(der, start)
    found = []
    while position < end:
        _, after = span(der, position)
        if after > end:
            raise ValueError("an item is longer than what it is in")
        found.append((position, after))
        position = after
    return found


def span(der: bytes, start: int) -> tuple[int, int]:
    """Where the content of the item at ``start`` begins, and where it ends. Raises ValueError."""
    head = der[start : start + 2]
    if len(head) < 2 or head[0] & 0x1F == 0x1F or head[1] == 0x80:
        raise ValueError("it is not DER")
    size, begin = head[1], start + 2
    if size > 0x80:
        begin += size - 0x80
        size = int.from_bytes(der[start + 2 : begin], "big")
    if begin + size > len(der):
        raise ValueError("it ends early")
    return begin, begin + size


def item(tag: int, content: bytes) -> bytes:
    """``content`` under ``tag``."""
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content


def integer(value: int) -> bytes:
    """A number that is not negative."""
    return item(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))
