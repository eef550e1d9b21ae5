"""The head of a model card: the few flat keys of the YAML between two lines of ``---`` in README.md.

Guarantees: returns text as it stands there, or nothing. It reads a small, safe part of YAML (strings and lists
of strings under keys of the top level) in one pass, and leaves out whatever is written otherwise: a model card
describes, so a form that is not understood must not keep a model from being packed.
"""

from __future__ import annotations

import re

MAX_BYTES = 1024 * 1024
_KEY = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*):(?:[ \t]+(.*))?")
_ITEM = re.compile(r"[ \t]*-[ \t]+(.*)")
_PLAIN = re.compile(r"[^\s\[\]{}&*!|>'\"%@`#,:-][^\[\]{}\"']*")


def front_matter(readme: bytes) -> dict[str, tuple[str, ...]]:
    """The keys whose values are strings; a single one is a list of one."""
    lines = readme[:MAX_BYTES].decode("utf-8-sig", "replace").splitlines()
    if not lines or lines[0].rstrip() != "---":
        return {}
    found: dict[str, list[str]] = {}
    items: list[str] | None = None
    for line in lines[1:]:
        if line.rstrip() in ("---", "..."):
            return {key: tuple(values) for key, values in found.items() if values}
        if match := _KEY.fullmatch(line):
            items = found.setdefault(match[1], [])
            items.extend(_values(match[2] or ""))
        elif items is not None and (match := _ITEM.fullmatch(line)):
            items.extend(_scalar(match[1]))
        elif line.strip() and not line.lstrip().startswith("#"):
            items = None  # something nested: not ours, nor is what follows in it
    return {}


def _values(text: str) -> list[str]:
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        return [value for part in text[1:-1].split(",") for value in _scalar(part)]
    return _scalar(text)


def _scalar(text: str) -> list[str]:
    text = text.strip()
    for quote in ("'", '"'):
        if len(text) > 1 and text[0] == text[-1] == quote and quote not in text[1:-1] and "\\" not in text:
            return [text[1:-1]] if text[1:-1].strip() else []
    text = re.split(r"[ \t]#", text, maxsplit=1)[0].rstrip()
    if _PLAIN.fullmatch(text) and ": " not in text and not text.endswith(":") and text not in ("null", "~"):
        return [text]
    return []
