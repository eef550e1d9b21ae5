"""Pages for browsers: one file, readable without a network and without a script.

Guarantees: what models say of themselves is text on a page and nothing else. Every text goes through `text`, which
escapes markup, quotes, and what would turn a line around or hide. A page has no script, no link, no font and no
picture of others, and its policy (`Content-Security-Policy`) tells the browser to load and run nothing, the one
style sheet excepted.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Annotated

from ocimodel.cli import options
from ocimodel.cli.text import cut_middle, printable
from ocimodel.errors import StorageError

WholeHeaders = Annotated[
    bool, options.option("--whole-headers", help="Read headers to their ends, also those of many megabytes.")
]
Html = Annotated[Path | None, options.option("--html", metavar="FILE", help="Write a page for browsers as well.")]

MAX_ROWS = 5_000
"""Of a table on a page; the JSON document has all."""

_MOST = 2_000
_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --paper: #fff; --bar: #0969da }
@media (prefers-color-scheme: dark) {
  :root { --ink: #f0f6fc; --soft: #9198a1; --line: #3d444d; --paper: #0d1117; --bar: #4493f8 }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  margin: 2rem auto; max-width: 75rem; padding: 0 1rem }
h1 { font-size: 1.4rem; overflow-wrap: anywhere }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line) }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; overflow-wrap: anywhere;
  unicode-bidi: isolate; border-bottom: 1px solid var(--line) }
th { color: var(--soft); font-weight: 600; white-space: nowrap }
td.n, th.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
td.added { color: #1a7f37 } td.removed { color: #d1242f } td.changed { color: #9a6700 } td.moved { color: #8250df }
p.note { border-left: 3px solid #9a6700; padding-left: .75rem; overflow-wrap: anywhere }
p.problem { border-left: 3px solid #d1242f; padding-left: .75rem; overflow-wrap: anywhere }
footer { color: var(--soft); margin-top: 2rem; font-size: .85rem }
.bar rect { fill: var(--bar) } .bar { width: 8rem; height: .7rem; background: var(--line) }
section > svg { max-width: 100%; height: auto; background: #fff }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def page(title: str, *parts: str, picture_style: str = "") -> str:
    """A whole document. ``parts`` are what the functions below made.

    Args:
        picture_style: the text of a style element within one of the parts, which the policy must allow as well.
    """
    allowed = f"'sha256-{_HASH}'"
    if picture_style:
        allowed += f" 'sha256-{base64.b64encode(hashlib.sha256(picture_style.encode()).digest()).decode()}'"
    policy = f"default-src 'none'; style-src {allowed}; base-uri 'none'; form-action 'none'"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="referrer" content="no-referrer">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{text(title)}</title>",
            f"<style>{_STYLE}</style>",
            f"<h1>{text(title)}</h1>",
            *(part for part in parts if part),
            "<footer>Made by ocimodel. Nothing on this page has been verified, unless it says so.</footer>",
            "</html>",
            "",
        ]
    )


def text(value: str) -> str:
    """A text of anybody as text on a page."""
    shown = printable(value if len(value) <= _MOST else cut_middle(value[: 2 * _MOST], _MOST))
    return escape(shown, quote=True)


def table(
    title: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    kind: int | None = None,
) -> str:
    """A section with a table; nothing where there are no rows.

    Args:
        right: the columns of numbers.
        kind: the column that says what became of something, which is coloured.
    """
    if not rows:
        return ""
    number = frozenset(right)
    parts = [f"<section><h2>{text(title)}</h2>", "<table>", "<tr>"]
    parts += [f"<th{_class('n' if column in number else '')}>{text(name)}</th>" for column, name in enumerate(head)]
    parts.append("</tr>")
    for row in rows[:MAX_ROWS]:
        cells = (
            f"<td{_class(_kind(cell) if column == kind else 'n' if column in number else '')}>{text(cell)}</td>"
            for column, cell in enumerate(row)
        )
        parts.append(f"<tr>{''.join(cells)}</tr>")
    parts.append("</table>")
    if len(rows) > MAX_ROWS:
        parts.append(f"<p>… and {len(rows) - MAX_ROWS} more; --json has all</p>")
    return "\n".join([*parts, "</section>"])


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values."""
    lines = [f"<tr><th>{text(name)}</th><td>{text(value)}</td></tr>" for name, value in rows]
    return "\n".join(["<table>", *lines, "</table>"]) if lines else ""


def shares(title: str, rows: Sequence[tuple[str, int, str]]) -> str:
    """What a whole is made of: name, share, and how the share is said, with a bar each."""
    whole = sum(share for _, share, _ in rows)
    if not whole:
        return ""
    lines = [
        f'<tr><th>{text(name)}</th><td><svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none">'
        f'<rect width="{100 * share / whole:.2f}" height="10"/></svg></td><td class="n">{text(said)}</td></tr>'
        for name, share, said in rows
    ]
    return "\n".join([f"<section><h2>{text(title)}</h2>", "<table>", *lines, "</table></section>"])


def remarks(notes: Iterable[str], problems: Iterable[str] = ()) -> str:
    """What is worth a warning."""
    return "\n".join(
        [
            *(f'<p class="problem">{text(problem)}</p>' for problem in problems),
            *(f'<p class="note">{text(note)}</p>' for note in notes),
        ]
    )


def write(path: Path, document: str) -> None:
    """Raises `StorageError` where the file cannot be written."""
    try:
        path.write_text(document, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from None


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _kind(word: str) -> str:
    return word if word in ("added", "removed", "changed", "moved") else ""
