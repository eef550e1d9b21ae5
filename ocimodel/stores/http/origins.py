"""Origins, and which of them may be spoken to after which. Pure.

Guarantees: two URLs have one `Origin` only if scheme, host and port agree (RFC 6454); credentials and Link
headers stay within one. `Rules.check` refuses a step from https to http, and from a public host to a literal
address of a private network (server-side request forgery through a registry's answer); `redacted` leaves
neither a query nor user information in what is printed.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from ocimodel.errors import UnavailableError

_PORTS = {"http": 80, "https": 443}
_AT = re.compile("@|%40")
_USER_INFORMATION = re.compile("//[^/]*(?:@|%40)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")


@dataclass(frozen=True, slots=True)
class Origin:
    """``host`` is in lower case and without brackets."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Self:
        """Raises ValueError for anything but an absolute http or https URL without user information."""
        if _CONTROL.search(url):  # some of which urlsplit leaves out in silence
            raise ValueError("control characters in a URL")
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc or "\\" in url:
            raise ValueError("not a plain http or https URL")
        return cls(parts.scheme, parts.hostname.lower().rstrip("."), parts.port or _PORTS[parts.scheme])

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}"


def address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that ``host`` spells, in any of the spellings that a resolver takes without asking anyone."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        # 127.1, 2130706433 and 0x7f000001 are all 127.0.0.1 to getaddrinfo.
        if not re.fullmatch(r"[0-9a-fA-FxX.]+", host):
            return None
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        return found.ipv4_mapped
    return found


def is_loopback(host: str) -> bool:
    """``localhost``, 127.0.0.0/8 or ::1."""
    found = address(host)
    return host == "localhost" or host.endswith(".localhost") or (found is not None and found.is_loopback)


def is_private(host: str) -> bool:
    """A literal of a network that is not the public one; names are not resolved."""
    found = address(host)
    return is_loopback(host) or (found is not None and not found.is_global)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Where plain HTTP was allowed by hand: hosts as they were given, ``HOST`` or ``HOST:PORT``."""

    plain_http: frozenset[str] = frozenset()

    def names(self, host: str, port: int | None) -> bool:
        """Was plain HTTP asked for by name, for exactly this host and port?"""
        bracketed = f"[{host}]" if ":" in host else host
        spellings = {f"{bracketed}:{port or 80}"} | ({bracketed} if port in (None, 80) else set())
        return any(given.lower() in spellings for given in self.plain_http)

    def check(self, source: Origin, target: Origin, what: str) -> None:
        """May an answer of ``source`` send us to ``target``? Raises `UnavailableError` if not.

        Plain HTTP is for the host that it was given for, not for where that host points; a loopback literal may
        point to another one, since those bytes never leave the machine.
        """
        if target == source:
            return
        problem = None
        if target.scheme == "http" and not self.names(target.host, target.port):
            if source.scheme == "https":
                problem = "from https to http"
            elif not (is_loopback(source.host) and is_loopback(target.host)):
                problem = "to another host in plain HTTP"
        if problem is None and is_private(target.host) and target.host != source.host:
            if not is_private(source.host):
                problem = "to an address of a private network"
            elif (literal := address(target.host)) is not None and literal.is_link_local:
                problem = "to a link-local address"
        if problem:
            raise UnavailableError(
                f"{source.netloc} {what} {target}: refused, since it leads {problem}",
                hint="Ask who runs the registry; --plain-http HOST allows plain HTTP for one host.",
                reason="redirect",
            )


def redacted(url: str) -> str:
    """A URL fit for printing: no query, no fragment, no user information, bounded."""
    try:
        # Before the first slash all that stands before an @ may be a secret, whatever else it holds.
        parts = urlsplit(_USER_INFORMATION.sub("//", url, count=1))
        if not parts.netloc:  # "host:5000/x" has no //: what stands before its last @ may be a secret
            return printable(re.split("[?#]", _AT.split(url)[-1])[0], 300)
        return printable(f"{parts.scheme}://{parts.netloc}{parts.path}", 300)
    except ValueError:
        return "a malformed URL"


def printable(text: str, limit: int = 200) -> str:
    """Text of others in one bounded line: what would steer a terminal is taken out."""
    clean = _CONTROL.sub(" ", text).strip()
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
