"""Scopes: which rules hold for which names.

    glob = *( literal | "*" | "**" )      "*": any characters but "/";  "**": any characters at all

A glob is held against the name that was asked for, without tag and digest: ``HOST/REPOSITORY`` or ``oci:PATH``. Of
the globs that match, the one with the longest literal prefix (what stands before its first ``*``) applies.

Guarantees: `clash` finds globs that could tie, before any name is known: of two with equal literal prefixes that
match one common name there is no telling which applies. Matching takes time in proportion to the
lengths, whatever the glob. Nothing here knows tags, digests or mirrors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Self

from ocimodel.errors import FormatError

MAX_LENGTH = 512
_TOKENS = re.compile(r"\*+|[^*]")
_STAR, _ACROSS = "*", "**"


@dataclass(frozen=True)
class Glob:
    """One pattern over names."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `FormatError`."""
        if not text or len(text) > MAX_LENGTH:
            raise FormatError(f"must have between 1 and {MAX_LENGTH} characters")
        if "***" in text:
            raise FormatError("has three stars in a row; * stays within a path segment, ** goes across")
        if any(character in "?{}\\@" or not character.isprintable() or character == " " for character in text):
            raise FormatError("has a character that no name has; * and ** are the only wildcards")
        return cls(text)

    @property
    def prefix(self) -> str:
        """What every name that it matches begins with."""
        return self.text.partition("*")[0]

    @cached_property
    def _tokens(self) -> tuple[str, ...]:
        return tuple(_TOKENS.findall(self.text))

    def matches(self, name: str) -> bool:
        """Whether ``name`` as a whole fits."""
        states = self._closure({0})
        for character in name:
            states = self._closure(
                {
                    state + (self._tokens[state] not in (_STAR, _ACROSS))
                    for state in states
                    if state < len(self._tokens) and _accepts(self._tokens[state], character)
                }
            )
            if not states:
                return False
        return len(self._tokens) in states

    def meets(self, other: Glob) -> bool:
        """Whether some name fits both."""
        pending = [(0, 0)]
        seen = set(pending)
        while pending:
            here = pending.pop()
            if here == (len(self._tokens), len(other._tokens)):
                return True
            for step in _steps(self._tokens, other._tokens, *here):
                if step not in seen:
                    seen.add(step)
                    pending.append(step)
        return False

    def _closure(self, states: set[int]) -> set[int]:
        """With the states that a wildcard which stands for nothing leads to."""
        found = set(states)
        for state in states:
            while state < len(self._tokens) and self._tokens[state] in (_STAR, _ACROSS):
                state += 1
                found.add(state)
        return found

    def __str__(self) -> str:
        return self.text


def _accepts(token: str, character: str) -> bool:
    if token == _ACROSS:
        return True
    return character != "/" if token == _STAR else token == character


def _steps(left: Sequence[str], right: Sequence[str], i: int, j: int) -> Iterable[tuple[int, int]]:
    """From one pair of positions: a wildcard ends, or both take one common character."""
    one = left[i] if i < len(left) else None
    two = right[j] if j < len(right) else None
    if one in (_STAR, _ACROSS):
        yield i + 1, j
    if two in (_STAR, _ACROSS):
        yield i, j + 1
    if one is None or two is None:
        return
    if one in (_STAR, _ACROSS) and two not in (_STAR, _ACROSS) and _accepts(one, two):
        yield i, j + 1
    elif two in (_STAR, _ACROSS) and one not in (_STAR, _ACROSS) and _accepts(two, one):
        yield i + 1, j
    elif one == two and one not in (_STAR, _ACROSS):
        yield i + 1, j + 1


def best(globs: Sequence[Glob], name: str) -> int | None:
    """The position of the glob that applies to ``name``; None where none matches."""
    matching = [position for position, glob in enumerate(globs) if glob.matches(name)]
    return max(matching, key=lambda position: len(globs[position].prefix), default=None)


def clash(globs: Sequence[Glob]) -> tuple[int, int] | None:
    """The positions of two globs that tie for some name, or None."""
    for (i, one), (j, two) in combinations(enumerate(globs), 2):
        if one.prefix == two.prefix and one.meets(two):
            return i, j
    return None
