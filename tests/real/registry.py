"""What a test knows of a registry that runs."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from tests.real.tokens import TokenIssuer


@dataclass(frozen=True, slots=True)
class RealRegistry:
    """A registry that runs. ``host`` is ``127.0.0.1:PORT``; ``root`` is where it keeps its files."""

    name: str
    host: str
    root: Path
    log: Path
    referrers_api: bool
    username: str | None = None
    password: str | None = None
    plain_http: bool = True
    issuer: TokenIssuer | None = None

    def fresh(self, stem: str = "model") -> str:
        """``HOST/REPOSITORY`` of a repository that nobody has used."""
        return f"{self.host}/{fresh_repository(stem)}"

    def blob(self, digest: str) -> Path:
        """The file in which the registry keeps a blob (and, but for the referrers registry, a manifest)."""
        algorithm, _, hexadecimal = digest.partition(":")
        if self.name.startswith("referrers"):
            return self.root / algorithm / hexadecimal
        blobs = self.root / "docker/registry/v2/blobs"
        return blobs / algorithm / hexadecimal[:2] / hexadecimal / "data"


def fresh_repository(stem: str = "model") -> str:
    """A repository's name that no other test has."""
    return f"tests/{stem}-{secrets.token_hex(6)}"


class Throttle(Protocol):
    """Puts a proxy before a registry that sends ``rate`` (as nginx writes it: ``50m``) a connection."""

    def __call__(self, registry: RealRegistry, rate: str = ...) -> RealRegistry: ...
