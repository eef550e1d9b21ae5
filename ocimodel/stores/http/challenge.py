"""What a 401 asks for: the WWW-Authenticate header (RFC 9110, section 11.6.1; RFC 6750, section 3). Pure.

    challenges = challenge *("," challenge)
    challenge  = scheme [ 1*SP (token68 | param *("," param)) ]
    param      = token BWS "=" BWS (token | quoted-string)

Several challenges may stand in one line or in several; values may lack their quotes (registries do that).
What cannot be read is skipped: then nothing is sent, which is safe.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_MAX = 8192
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAM = re.compile(rf'\s*({_NAME})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*(?:,|$)')
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*\s*(?:,|$)")
_SCHEME = re.compile(rf"[\s,]*({_NAME})(?:\s+|,|$)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """``scheme`` and the names of parameters are in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse(lines: Iterable[str]) -> list[Challenge]:
    """All challenges of all header lines, in order.

    >>> [c.scheme for c in parse(['Bearer realm="https://a/token",service=a, Basic realm="x"'])]
    ['bearer', 'basic']
    """
    return [challenge for line in lines for challenge in _line(line[:_MAX])]


def _line(line: str) -> Iterable[Challenge]:
    position = 0
    while match := _SCHEME.match(line, position):
        position = match.end()
        parameters: dict[str, str] = {}
        while found := _PARAM.match(line, position):
            name, quoted, plain = found.groups()
            parameters.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain)
            position = found.end()
        yield Challenge(match[1].lower(), parameters)
        if not parameters and match[0][-1:].isspace() and (opaque := _TOKEN68.match(line, position)):
            position = opaque.end()
