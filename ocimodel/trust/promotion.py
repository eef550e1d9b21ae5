"""What a scope asks of a promotion beside what it asks of every artifact: the section ``promotion`` of a policy.

    from, soak       which environment must have had it before, and for how long
    minRemaining     how long enough signatures must still be good
    licences         which licences are let through: SPDX expressions over an allow-list
    dataDigests      whether all data that it was trained and tested on must be pinned by strong digests
    freeze           when nothing is promoted

Guarantees: pure, but for the system's list of time zones. A freeze is judged at one instant: its wall clock is the
time zone's at that instant, so that changes to and from summer time leave no gap and no doubt. What cannot be read
as an SPDX expression is allowed only where the list has that very text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

from ocimodel.errors import FormatError
from ocimodel.jsonio import Node
from ocimodel.trust.claims import format_time, parse_time
from ocimodel.trust.fields import optional_duration, strings, text

MAX_WINDOWS: Final = 256
DATA_ROLES: Final = frozenset({"training-data", "validation-data", "evaluation-data"})
STRONG: Final[Mapping[str, int]] = {"sha256": 64, "sha384": 96, "sha512": 128, "sha3_256": 64, "sha3_512": 128}
"""Digests that pin data, and how many hex digits each has; BLAKE3 as well, and what Go calls a ``dirHash``. A git
commit is SHA-1, and pins no data."""
_OTHERS = frozenset({"blake3", "dirHash"})
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WALL = re.compile(rf"(?:({'|'.join(_DAYS)}) )?([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_LOCAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)
_TOKEN = re.compile(r"\s*([()]|[A-Za-z0-9.+:-]+)\s*", re.ASCII)
_DAY, _WEEK = 24 * 60, 7 * 24 * 60
_MAX_EXPRESSION = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A time in which nothing is promoted; its end is no longer in it.

    Attributes:
        once: two instants; None where it comes again and again.
        minutes: of a day or a week (``period``, in minutes), by the wall clock of ``zone``.
        said: as people wrote it.
    """

    once: tuple[datetime, datetime] | None = None
    minutes: tuple[int, int] = (0, 0)
    period: int = _DAY
    zone: tzinfo = UTC
    reason: str = ""
    said: str = ""

    def covers(self, now: datetime) -> bool:
        if self.once is not None:
            return self.once[0] <= now < self.once[1]
        here = now.astimezone(self.zone)
        minute = (here.weekday() * _DAY + here.hour * 60 + here.minute) % self.period
        start, end = self.minutes
        return start <= minute < end if start < end else minute >= start or minute < end

    def __str__(self) -> str:
        return f"{self.said}{f' ({self.reason})' if self.reason else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """The section; all that is empty asks for nothing. ``licences`` are folded to lower case."""

    previous: str = ""
    soak: timedelta | None = None
    remaining: timedelta | None = None
    licences: frozenset[str] | None = None
    data_digests: bool = False
    freeze: tuple[Window, ...] = ()

    def frozen(self, now: datetime) -> Window | None:
        """The freeze that holds at ``now``."""
        return next((window for window in self.freeze if window.covers(now)), None)

    def licence_problem(self, stated: Sequence[str]) -> str:
        """Why the licences that an artifact states are not let through; empty where they are."""
        if self.licences is None:
            return ""
        if not any(item.strip() for item in stated):
            return "it states no licence"
        bad = [item for item in stated if not allowed(item, self.licences)]
        return f"it is under {', '.join(repr(item[:128]) for item in bad[:8])}" if bad else ""


NOTHING: Final = Promotion()


def promotion(node: Node | None) -> Promotion:
    """Raises `FormatError`."""
    if node is None:
        return NOTHING
    node.only("from", "soak", "minRemaining", "licences", "dataDigests", "freeze")
    licences, pinned, freeze = node.find("licences"), node.find("dataDigests"), node.find("freeze")
    return Promotion(
        previous=text(node.find("from"), limit=256),
        soak=optional_duration(node.find("soak")),
        remaining=optional_duration(node.find("minRemaining")),
        licences=_licences(licences) if licences else None,
        data_digests=pinned.boolean() if pinned else False,
        freeze=tuple(_window(item) for item in freeze.items(limit=MAX_WINDOWS)) if freeze else (),
    )


# --- freezes --------------------------------------------------------------------------------------------------


def _window(node: Node) -> Window:
    node.only("from", "until", "timeZone", "reason")
    start, end, named = node.get("from"), node.get("until"), node.find("timeZone")
    zone = _zone(named) if named else UTC
    reason = text(node.find("reason"), limit=256)
    one, two = start.string(limit=64), end.string(limit=64)
    place = f", {named.string(limit=64)}" if named else ", UTC"
    first, last = _WALL.fullmatch(one), _WALL.fullmatch(two)
    if first and last:
        if bool(first[1]) != bool(last[1]):
            end.fail("from and until both name a day of the week, or neither does")
        begins, ends = _minute(first), _minute(last)
        if begins == ends:
            end.fail("is where it begins")
        period = _WEEK if first[1] else _DAY
        how = "" if first[1] else "daily, "
        said = f"{how}{one} to {two}{place}"
        return Window(minutes=(begins, ends), period=period, zone=zone, reason=reason, said=said)
    # Where a clock goes back, the earlier begin and the later end: a freeze rather too long than too short.
    begin, finish = _instant(start, zone if named else None, 0), _instant(end, zone if named else None, 1)
    if begin >= finish:
        end.fail("is not after from")
    said = f"{format_time(begin)} to {format_time(finish)}"
    return Window(once=(begin, finish), reason=reason, said=said)


def _minute(match: re.Match[str]) -> int:
    day = _DAYS.index(match[1]) if match[1] else 0
    return day * _DAY + int(match[2]) * 60 + int(match[3])


def _instant(node: Node, zone: tzinfo | None, fold: int) -> datetime:
    said = node.string(limit=64)
    try:
        if _LOCAL.fullmatch(said):
            if zone is None:
                node.fail("has no time zone: write a Z behind it, or name a timeZone")
            return datetime.fromisoformat(said).replace(tzinfo=zone, fold=fold).astimezone(UTC)
        return parse_time(said)
    except (FormatError, ValueError, OverflowError) as error:
        if isinstance(error, FormatError) and error.path == node.path:
            raise
        node.fail("must be a time (2026-12-20T00:00:00Z), a day and an hour (Fri 16:00), or an hour (18:00)")


def _zone(node: Node) -> tzinfo:
    said = node.string(limit=64)
    if said == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(said)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        node.fail(f"{said!r} is no time zone that this machine knows; write one such as Europe/Berlin, or UTC")


# --- licences -------------------------------------------------------------------------------------------------


def _licences(node: Node) -> frozenset[str]:
    node.only("allow")
    found = strings(node.get("allow"))
    if not found:
        node.get("allow").fail("must name at least one licence")
    return frozenset(item.strip().lower() for item in found)


def allowed(stated: str, listed: frozenset[str]) -> bool:
    """Whether an SPDX licence expression is let through: of OR one side, of AND both, of WITH the very pair.

    >>> allowed("MIT OR GPL-3.0-only", frozenset({"mit"}))
    True
    >>> allowed("MIT AND GPL-3.0-only", frozenset({"mit"}))
    False
    """
    said = " ".join(stated.lower().split())
    if said in listed:
        return True
    if len(said) > _MAX_EXPRESSION:
        return False
    tokens, at = [], 0
    while at < len(said):
        match = _TOKEN.match(said, at)
        if match is None:
            return False
        tokens.append(match[1])
        at = match.end()
    try:
        return _Expression(tokens, listed).value()
    except (ValueError, RecursionError):
        return False


class _Expression:
    """SPDX specification, annex D: WITH binds closer than AND, AND closer than OR. `ValueError`: it is none."""

    def __init__(self, tokens: list[str], listed: frozenset[str]) -> None:
        self._tokens = tokens
        self._listed = listed

    def value(self) -> bool:
        found = self._either()
        if self._tokens:
            raise ValueError(self._tokens[0])
        return found

    def _either(self) -> bool:
        found = self._both()
        while self._take("or"):
            found = self._both() or found
        return found

    def _both(self) -> bool:
        found = self._one()
        while self._take("and"):
            found = self._one() and found
        return found

    def _one(self) -> bool:
        if self._take("("):
            found = self._either()
            if not self._take(")"):
                raise ValueError("(")
            return found
        name = self._name()
        return (f"{name} with {self._name()}" if self._take("with") else name) in self._listed

    def _name(self) -> str:
        if not self._tokens or self._tokens[0] in ("and", "or", "with", "(", ")"):
            raise ValueError("a licence is missing")
        return self._tokens.pop(0)

    def _take(self, token: str) -> bool:
        if self._tokens[:1] != [token]:
            return False
        self._tokens.pop(0)
        return True


# --- data -----------------------------------------------------------------------------------------------------


def data_problem(predicates: Iterable[Mapping[str, Any]]) -> str:
    """Why the data of a model is not pinned, by the SLSA provenances that speak of it; empty where it is."""
    data = [item for predicate in predicates for item in _materials(predicate)]
    if not data:
        return "no provenance names the data that it was trained on"
    loose = [item for item in data if not _pinned(item.get("digest"))]
    if not loose:
        return ""
    names = [str(item.get("name") or item.get("uri") or "without a name")[:128] for item in loose]
    more = f", and {len(names) - 8} more" if len(names) > 8 else ""
    return f"no strong digest pins {', '.join(repr(each) for each in names[:8])}{more}"


def _materials(predicate: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    definition = predicate.get("buildDefinition")
    listed = definition.get("resolvedDependencies") if isinstance(definition, dict) else None
    for item in listed if isinstance(listed, list) else ():
        notes = item.get("annotations") if isinstance(item, dict) else None
        if isinstance(notes, dict) and notes.get("role") in DATA_ROLES:
            yield item


def _pinned(digest: Any) -> bool:
    if not isinstance(digest, dict):
        return False
    for algorithm, value in digest.items():
        if not isinstance(value, str):
            continue
        if algorithm in _OTHERS and value:
            return True
        if len(value) == STRONG.get(algorithm) and re.fullmatch(r"[0-9a-fA-F]+", value):
            return True
    return False
