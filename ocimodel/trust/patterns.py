r"""How long a regular expression may take, found out before it is tried on anything.

Guarantees: `limit` refuses patterns whose time may grow exponentially (repetitions within repetitions or around
alternatives, look-around, references back), and for all others gives a length of text up to which matching takes
some ten million steps at most. The estimate is an upper one: ``\d+\.\d+\.\d+`` counts as three repetitions that
may compete, although they cannot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from ocimodel.errors import FormatError

MAX_PATTERN: Final = 512
MAX_TEXT: Final = 4096
MAX_STEPS: Final = 10_000_000
_SHORTEST: Final = 16
_FEW: Final = 64
"""Up to so many times a repetition is counted out; beyond, it has no end."""


@dataclass(frozen=True, slots=True)
class _Cost:
    """At most ``ways`` * n ** ``degree`` ways to match a text of n characters."""

    degree: int = 0
    ways: int = 1

    def then(self, other: _Cost) -> _Cost:
        return _Cost(self.degree + other.degree, min(self.ways * other.ways, MAX_STEPS + 1))


def limit(pattern: str) -> int:
    """The longest text that ``pattern`` may be tried on. Raises `FormatError`."""
    if len(pattern) > MAX_PATTERN:
        raise FormatError(f"a pattern has more than {MAX_PATTERN} characters")
    # What the standard library compiles from; there is no other way to look into a pattern than to parse it again.
    from re import _parser  # type: ignore[attr-defined]

    try:
        re.compile(pattern)
        tree = list(_parser.parse(pattern))
        cost = _sequence(tree)
    except (re.error, RecursionError, OverflowError, ValueError):
        raise FormatError(f"{pattern[:80]!r} is no regular expression") from None
    anchored = bool(tree) and str(tree[0][0]) == "AT" and str(tree[0][1]) in ("AT_BEGINNING", "AT_BEGINNING_STRING")
    degree = cost.degree + (not anchored)
    length = MAX_TEXT
    while length >= _SHORTEST and cost.ways * length**degree > MAX_STEPS:
        length -= 1 + length // 16
    if length < _SHORTEST:
        raise _too_slow(pattern)
    return length


def _too_slow(pattern: str) -> FormatError:
    return FormatError(
        f"the pattern {pattern[:80]!r} may take too long",
        hint="Take repetitions out of repetitions, or alternatives out of them; see docs/reference/policy.md.",
    )


def _sequence(tree: Any) -> _Cost:
    cost = _Cost()
    for code, argument in tree:
        cost = cost.then(_one(str(code), argument))
    return cost


def _one(code: str, argument: Any) -> _Cost:
    if code in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        return _repeated(*argument)
    if code == "SUBPATTERN":
        return _sequence(argument[-1])
    if code == "ATOMIC_GROUP":
        return _sequence(argument)
    if code == "BRANCH":
        costs = [_sequence(branch) for branch in argument[1]]
        return _Cost(max(cost.degree for cost in costs), sum(cost.ways for cost in costs))
    if code in ("GROUPREF", "GROUPREF_EXISTS", "ASSERT", "ASSERT_NOT"):
        raise FormatError("look-around and references back are not taken in patterns")
    return _Cost()


def _repeated(low: int, high: int, body: Any) -> _Cost:
    inner = _sequence(body)
    if high > _FEW:
        if inner != _Cost():
            raise FormatError("repetitions within repetitions, and around alternatives, are not taken in patterns")
        return _Cost(degree=1)
    cost = _Cost(ways=high - low + 1)
    for _ in range(high):
        cost = cost.then(inner)
    return cost
