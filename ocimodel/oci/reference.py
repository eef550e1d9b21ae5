"""References: how an artifact is named on the command line.

    reference  = registry | layout
    registry   = host [":" port] "/" repository [":" tag] ["@" digest]
    layout     = "oci:" path [":" tag] ["@" digest]
    host       = a name with a dot, a name with a port, "localhost", an IPv4 or "[" IPv6 "]" literal
    repository = component *("/" component)                 OCI distribution-spec v1.1, "Pulling manifests"
    component  = [a-z0-9]+ *(("." | "_" | "__" | 1*"-") [a-z0-9]+)
    tag        = [A-Za-z0-9_] [A-Za-z0-9._-]{0,127}

Guarantees: a `Reference` is well-formed, and `str` gives back a spelling that parses to the same value. It
does not resolve anything: a tag is a hint, only a digest names bytes.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Self

from ocimodel.errors import FormatError, UsageError
from ocimodel.oci.digest import Digest

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST_LIKE = re.compile(r"sha(?:256|512):.*|[a-z0-9+._-]+:[0-9A-Fa-f]{32,}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
MAX_NAME = 255
LAYOUT_PREFIX = "oci:"
DEFAULT_TAG = "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One name. ``path`` is set for a layout, ``registry`` and ``repository`` for a registry."""

    registry: str = ""
    repository: str = ""
    path: str = ""
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `UsageError` with the part that is wrong."""
        try:
            return cls._layout(text) if text.startswith(LAYOUT_PREFIX) else cls._registry(text)
        except FormatError as error:
            raise UsageError(f"bad reference {text[:300]!r}: {error.what}", hint=_HINT) from None

    @classmethod
    def _layout(cls, text: str) -> Self:
        rest = text.removeprefix(LAYOUT_PREFIX)
        digest = None
        if _DIGEST_LIKE.fullmatch(rest.rpartition("@")[2]):  # else the @ belongs to the path
            rest, digest = _split_digest(rest)
        head, colon, tail = rest.rpartition(":")
        path, tag = (head, tail) if colon and "/" not in tail else (rest, None)
        if tag is not None:
            _check_tag(tag)
        if not path or "\0" in path:
            raise FormatError("oci: wants the path of a layout")
        if ":" in path.rpartition("/")[2]:
            raise FormatError("the last part of a layout's path has a colon, which separates a tag")
        return cls(path=path, tag=tag, digest=digest)

    @classmethod
    def _registry(cls, text: str) -> Self:
        if "://" in text:
            raise FormatError("a reference has no scheme; write HOST/REPOSITORY")
        rest, digest = _split_digest(text)
        host, slash, rest = rest.partition("/")
        if not slash:
            raise FormatError("the host is missing")
        name, colon, tag = rest.partition(":")
        _check_host(host)
        if _REPOSITORY.fullmatch(name) is None:
            raise FormatError(f"{name!r} is not a repository name (lower case, no empty or dotted parts)")
        if len(host) + 1 + len(name) > MAX_NAME:
            raise FormatError(f"host and repository have more than {MAX_NAME} characters")
        if colon:
            _check_tag(tag)
        return cls(registry=host, repository=name, tag=tag if colon else None, digest=digest)

    @property
    def is_layout(self) -> bool:
        return bool(self.path)

    @property
    def name(self) -> str:
        """The repository without tag and digest: ``HOST/REPOSITORY`` or ``oci:PATH``."""
        return f"{LAYOUT_PREFIX}{self.path}" if self.path else f"{self.registry}/{self.repository}"

    def at(self, digest: Digest) -> Reference:
        """The same name, pinned."""
        return replace(self, digest=digest)

    def tagged(self, tag: str | None) -> Reference:
        if tag is not None:
            try:
                _check_tag(tag)
            except FormatError as error:
                raise UsageError(error.what, hint=_HINT) from None
        return replace(self, tag=tag)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


_HINT = "Write HOST[:PORT]/REPOSITORY[:TAG][@DIGEST] or oci:PATH[:TAG][@DIGEST]."


def _split_digest(text: str) -> tuple[str, Digest | None]:
    head, at, tail = text.rpartition("@")
    if not at:
        return text, None
    return head, Digest.parse(tail)


def _check_tag(tag: str) -> None:
    if _TAG.fullmatch(tag) is None:
        raise FormatError(f"{tag[:140]!r} is not a tag")


def _check_host(host: str) -> None:
    name, port = host, ""
    if host.startswith("["):
        name, bracket, port = host.partition("]")
        try:
            if "%" in name:  # a zone: of this machine only, and of any characters
                raise ValueError(name)
            ipaddress.IPv6Address(name.removeprefix("["))
        except ValueError:
            raise FormatError(f"{host!r} is not a host") from None
        if not bracket or (port and not port.startswith(":")):
            raise FormatError(f"{host!r} is not a host")
        port = port.removeprefix(":")
        colon = "]:" in host
    else:
        name, separator, port = host.partition(":")
        colon = bool(separator)
        if _HOST.fullmatch(name) is None:
            raise FormatError(f"{host!r} is not a host")
        if not colon and "." not in name and name != "localhost":
            raise FormatError(f"{host!r} has neither a dot nor a port, so it is not taken for a host")
    if colon and not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise FormatError(f"{host!r} has no valid port")
