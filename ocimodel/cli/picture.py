"""A lineage as a picture: SVG, without scripts, fonts or links of others."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from ocimodel.cli.text import printable

if TYPE_CHECKING:
    from ocimodel.verbs.lineage import Ancestor

STYLE = "text { font: 12px sans-serif } rect { fill: #fff }"
_WIDTH, _HEIGHT, _GAP, _STEP = 460, 44, 20, 40
_GOOD, _OPEN, _INK = "#1a7f37", "#9a6700", "#1f2328"


def svg(model: Ancestor) -> str:
    """Every model a box, under the one that was made from it; a line is drawn through where it is verified."""
    boxes = list(_boxes(model, str(model.reference), 0, None, model.verified is not False))
    height = len(boxes) * (_HEIGHT + _GAP) + _GAP
    width = _GAP * 2 + _WIDTH + _STEP * max(level for level, *_ in boxes)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">',
        f"<style>{STYLE}</style>",
        f"<title>{_text(str(model.reference))}</title>",
    ]
    for row, (level, parent, label, small, verified) in enumerate(boxes):
        left, top = _GAP + level * _STEP, _GAP + row * (_HEIGHT + _GAP)
        colour = _GOOD if verified else _OPEN
        if parent is not None:
            knee = _GAP + (level - 1) * _STEP + _STEP // 2
            below = _GAP + parent * (_HEIGHT + _GAP) + _HEIGHT
            dashes = "" if verified else ' stroke-dasharray="5 4"'
            parts.append(
                f'<path d="M{knee} {below}V{top + _HEIGHT // 2}H{left}" fill="none" stroke="{colour}"{dashes}/>'
            )
        parts += [
            f'<rect x="{left}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" stroke="{colour}"/>',
            f'<text x="{left + 10}" y="{top + 18}" fill="{_INK}">{_text(label)}</text>',
            f'<text x="{left + 10}" y="{top + 35}" fill="{colour}">{_text(small)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


_Box = tuple[int, int | None, str, str, bool]


def _boxes(model: Ancestor, label: str, level: int, parent: int | None, verified: bool) -> Iterator[_Box]:
    state = {True: "verified", False: f"not verified: {model.note}", None: str(model.digest)[:26]}[model.verified]
    rows: list[_Box] = [(level, parent, label, state, verified)]
    _below(model, level, (parent or 0) if parent is not None else 0, rows)
    yield from rows


def _below(model: Ancestor, level: int, row: int, rows: list[_Box]) -> None:
    for base in model.bases:
        called = str(base.model.reference) if base.model is not None else base.uri or base.name
        small = " · ".join(
            filter(None, (base.relation, "verified" if base.verified else "not verified", base.note))
        )
        rows.append((level + 1, row, called, small, base.verified))
        if base.model is not None:
            _below(base.model, level + 1, len(rows) - 1, rows)


def _text(text: str) -> str:
    shown = printable(text)
    return escape(shown if len(shown) <= 72 else f"{shown[:46]}…{shown[-24:]}")
