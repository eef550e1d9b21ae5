"""Subjects of certificates, as policies name them: ``C=US, ST=WA, O=acme`` (RFC 4514, the parts in any order).

Guarantees: the parser is strict and takes time in proportion to the text. It refuses what different programs read
differently: ``=#`` and hexadecimal values (CVE-2023-25656), quotes, ``+``, a name that stands twice. A pattern
matches a subject that has each of its parts, to the letter, as in `notation`; country, state and organisation have
to be among them, so that no pattern is wider than an organisation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ocimodel.errors import FormatError

if TYPE_CHECKING:
    from ocimodel.keys.x509 import Certificate

PREFIX: Final = "x509.subject:"
MAX_LENGTH: Final = 4096
_NEEDED: Final = ("C", "ST", "O")
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}|\d+(?:\.\d+){1,32}", re.ASCII)
_ALIASES: Final = {"S": "ST"}
_ESCAPED: Final = frozenset(' "#+,;<=>\\')
_SPECIAL: Final = frozenset('"+;<>')

Subject = tuple[tuple[str, str], ...]


def parse(text: str) -> Subject:
    """The parts of a pattern, with or without the prefix ``x509.subject:``. Raises `FormatError`."""
    if len(text) > MAX_LENGTH:
        raise FormatError(f"is longer than {MAX_LENGTH} characters")
    found: dict[str, str] = {}
    for part in _split(text.removeprefix(PREFIX)):
        name, equals, value = part.partition("=")
        name = name.strip(" ").upper()
        name = _ALIASES.get(name, name)
        if not equals or _NAME.fullmatch(name) is None:
            raise FormatError(f"{part.strip()[:80]!r} is not of the form NAME=VALUE")
        if name in found:
            raise FormatError(f"names {name} twice")
        found[name] = _value(value, name)
    missing = [name for name in _NEEDED if name not in found]
    if missing:
        raise FormatError(f"lacks {', '.join(missing)}; a subject names at least C, ST and O")
    return tuple(sorted(found.items()))


def matches(pattern: Subject, certificate: Certificate) -> bool:
    """Whether ``certificate``'s subject has all parts of ``pattern``, and no name twice."""
    own = dict(certificate.subject)
    if certificate.several or len(own) != len(certificate.subject):
        return False
    return all(own.get(name) == value for name, value in pattern)


def overlap(patterns: Sequence[Subject]) -> bool:
    """Whether one of them matches whatever another matches."""
    sets = [frozenset(pattern) for pattern in patterns]
    return any(one <= two for i, one in enumerate(sets) for j, two in enumerate(sets) if i != j)


def _split(text: str) -> list[str]:
    parts, start, position = [], 0, 0
    while position < len(text):
        if text[position] == "\\":
            position += 1
        elif text[position] == ",":
            parts.append(text[start:position])
            start = position + 1
        position += 1
    return [*parts, text[start:]]


def _value(text: str, name: str) -> str:
    text = text.lstrip(" ")
    if text.startswith("#"):
        raise FormatError(f"{name} has a hexadecimal value, which is not taken")
    out: list[str] = []
    kept = 0
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
            character = text[position : position + 1]
            if character not in _ESCAPED or not character:
                raise FormatError(f"{name} has a backslash before what needs none")
            out.append(character)
            kept = len(out)
        elif character in _SPECIAL:
            raise FormatError(f"{name} has a {character!r} that is not escaped")
        elif not character.isprintable():
            raise FormatError(f"{name} has characters that cannot be printed")
        else:
            out.append(character)
            kept = kept if character == " " else len(out)
        position += 1
    value = "".join(out[:kept])
    if not value:
        raise FormatError(f"{name} is empty")
    return value
