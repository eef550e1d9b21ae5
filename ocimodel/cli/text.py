"""How values look to people: sizes, tables, and texts of others made safe for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def size(count: int) -> str:
    """Bytes in binary units.

    >>> size(0), size(1536), size(5 * 1024**3)
    ('0 B', '1.5 KiB', '5.0 GiB')
    """
    value = float(count)
    for unit in _UNITS:
        if abs(value) < 1024 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def plural(count: int, noun: str) -> str:
    """A number and its noun.

    >>> plural(1, "file"), plural(2, "file")
    ('1 file', '2 files')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def printable(text: str) -> str:
    r"""The text with every character escaped that a terminal would act on or hide.

    Names and annotations come from registries: they must not move the cursor or turn the line around.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(letter) if unicodedata.category(letter) in _HIDDEN else letter for letter in text)


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), width: int | None = None
) -> list[str]:
    """Aligned columns, two blanks apart, the head in capitals; ``right`` are the columns of numbers.

    Args:
        width: cells of a terminal: where the columns need more, the widest texts lose their middle. Else nothing
            is cut.
    """
    cells = [[name.upper() for name in head], *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(columns, column)) for column in zip(*cells, strict=True)]
    if width is not None:
        widths = _fitted(widths, width, right)
    return [
        "  ".join(
            _padded(cell, width, right=column in right)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def columns(text: str) -> int:
    """How many cells of a terminal a printable text takes.

    >>> columns("abc"), columns("模型"), columns("e\u0301")
    (3, 4, 1)
    """
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def cut_middle(text: str, width: int) -> str:
    """The text in at most ``width`` cells: names differ at their ends.

    >>> cut_middle("model.layers.10.mlp.weight", 15)
    'model.l….weight'
    """
    if columns(text) <= width:
        return text
    front, back = (width - 1) - (width - 1) // 2, (width - 1) // 2
    return f"{_first(text, front)}…{_first(text[::-1], back)[::-1]}"


_NARROWEST = 8


def _fitted(widths: list[int], width: int, fixed: Sequence[int]) -> list[int]:
    """Take from the widest columns, but for those of numbers, until they fit or nothing is left to take."""
    widths = list(widths)
    over = sum(widths) + 2 * (len(widths) - 1) - width
    while over > 0:
        wide = [column for column in range(len(widths)) if column not in fixed and widths[column] > _NARROWEST]
        if not wide:
            break
        widest = max(wide, key=lambda column: widths[column])
        second = max((widths[column] for column in wide if column != widest), default=_NARROWEST)
        take = min(over, max(1, widths[widest] - second))
        widths[widest] -= take
        over -= take
    return widths


def _padded(text: str, width: int, *, right: bool) -> str:
    text = cut_middle(text, width)
    blanks = " " * (width - columns(text))
    return blanks + text if right else text + blanks


def _first(text: str, width: int) -> str:
    taken = 0
    for position, letter in enumerate(text):
        taken += _columns(letter)
        if taken > width:
            return text[:position]
    return text


def _columns(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
