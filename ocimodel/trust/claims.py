"""What a signer said beside "yes": the claims in the annotations of a statement's subject.

Guarantees: claims are read from the one subject that is the artifact, and each signature is judged with its own.
Times are RFC 3339 in UTC, to the letter; anything else is an error and never "no expiry".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from ocimodel.errors import FormatError
from ocimodel.oci import media

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z", re.ASCII)
_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhdw])", re.ASCII)
_SEQUENCE = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LONGEST = timedelta(days=36_525)


def parse_time(text: str) -> datetime:
    """Raises `FormatError` unless ``text`` is RFC 3339 in UTC, ending in ``Z``."""
    if _TIME.fullmatch(text) is None:
        raise FormatError(f"{text[:64]!r} is not a time in RFC 3339, UTC", path=media.CLAIM_EXPIRES)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise FormatError(f"{text!r} is not a date", path=media.CLAIM_EXPIRES) from None


def parse_duration(text: str) -> timedelta:
    """A whole number and a unit: s, m, h, d or w; at most a hundred years. Raises `FormatError`.

    >>> parse_duration("90d").days
    90
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise FormatError(f"{text[:40]!r} is not a duration")
    value = timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
    if value > _LONGEST:
        raise FormatError(f"{text!r} is more than a hundred years")
    return value


def format_duration(value: timedelta) -> str:
    """As `parse_duration` takes it, in the largest unit up to days that fits; whole seconds.

    >>> format_duration(timedelta(hours=36))
    '36h'
    """
    seconds = int(value.total_seconds())
    unit = next(unit for unit in "dhms" if seconds % _SECONDS[unit] == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"


def format_time(time: datetime) -> str:
    """RFC 3339, UTC, whole seconds: the one spelling that we write."""
    return time.astimezone(UTC).replace(microsecond=0).strftime("%Y-%m-%dT%H:%M:%SZ")


def sequence(claims: Mapping[str, str]) -> int | None:
    """The number by which releases of a channel follow each other, or None where it says none that is one."""
    text = claims.get(media.CLAIM_SEQUENCE, "")
    return int(text) if _SEQUENCE.fullmatch(text) else None


def expiry(claims: Mapping[str, str]) -> datetime | None:
    """When the signature ends, or None where it says nothing of that. Raises `FormatError`."""
    text = claims.get(media.CLAIM_EXPIRES)
    return None if text is None else parse_time(text)
