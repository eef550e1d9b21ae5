"""What can be typed as a value: durations, KEY=VALUE, small files, lists in environment variables."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from ocimodel.errors import FormatError, UsageError
from ocimodel.oci.media import PREFIX

_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(?:([KMG])(i)?)?B?(?:/s)?")
MAX_DOCUMENT = 4 * 1024 * 1024


def duration(text: str) -> timedelta:
    """A whole number and a unit: s, m, h, d or w.

    >>> duration("90d").days
    90
    """
    from ocimodel.trust.claims import parse_duration

    try:
        return parse_duration(text)
    except FormatError as error:
        hint = "Write a number and a unit: 30m, 12h, 90d or 4w."
        raise UsageError(error.what, hint=hint) from None


def moment(text: str, option: str) -> datetime:
    """A time: RFC 3339 in UTC."""
    from ocimodel.trust.claims import parse_time

    try:
        return parse_time(text)
    except FormatError as error:
        raise UsageError(f"{option}: {error.what}", hint="Write it as 2026-11-01T00:00:00Z.") from None


def rate(text: str) -> float:
    """Bytes a second: a number and a unit.

    >>> rate("50MiB")
    52428800.0
    """
    match = _RATE.fullmatch(text)
    if match is None or not float(match[1]):
        raise UsageError(f"--max-rate {text[:40]!r} is no rate", hint="Write bytes a second: 500KB, 50MiB or 1GB.")
    power = "KMG".index(match[2]) + 1 if match[2] else 0
    unit = 1024.0 if match[3] else 1000.0
    return float(match[1]) * float(unit**power)


Word = TypeVar("Word", bound=str)


def one_of(words: Sequence[Word], text: str | None, option: str) -> Word:
    """One of a few words; the first where nothing was said."""
    for word in words:
        if word == (text or words[0]):
            return word
    raise UsageError(f"{option} {(text or '')[:40]!r} is not known", hint=f"Write one of {', '.join(words)}.")


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """KEY=VALUE, each key once."""
    result: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key or key != key.strip():
            raise UsageError(f"{option} {text[:80]!r} is not KEY=VALUE", hint=f"Write {option} team=vision.")
        if key in result:
            raise UsageError(f"{option} names {key[:80]!r} twice", hint="Give each key once.")
        result[key] = value
    return result


def signed_annotations(texts: Iterable[str]) -> dict[str, str]:
    """What ``-a`` gives. Keys that only this program may write are refused: they are claims, not remarks."""
    result = pairs(texts, "-a")
    for key in result:
        if key.startswith(PREFIX):
            raise UsageError(
                f"-a {key}: keys that begin with {PREFIX} are written by ocimodel alone",
                hint="Choose another key; --expires and promote write the claims of that kind.",
            )
    return result


def document(path: str, option: str) -> bytes:
    """A file that goes into the artifact as it is, at most 4 MiB; ``-`` is stdin."""
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_DOCUMENT + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(MAX_DOCUMENT + 1)
    except OSError as error:
        raise UsageError(
            f"cannot read {option} {path}: {error.strerror or error}", hint="Check the path of the file."
        ) from None
    if len(data) > MAX_DOCUMENT:
        raise UsageError(
            f"{option} {path} has more than 4 MiB", hint="Keep large data outside and name its digest."
        )
    return data


def from_environment(variable: str) -> list[str]:
    """The values of a variable: shell words, so that a path may have blanks; one existing file as it stands.

    Set but empty is an error: a variable that was meant to name a key must never end in no check at all.
    """
    text = os.environ.get(variable)
    if text is None:
        return []
    if not text.strip():
        raise UsageError(f"{variable} is set but empty", hint="Unset it, or name a key in it.")
    if os.path.exists(text):
        return [text]
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{variable}: {error}", hint="Quote it as for a shell.") from None
