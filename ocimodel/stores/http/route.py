"""How one host is reached, where somebody has said more of it than its name.

Guarantees: what may be a secret (headers, a proxy's password) is in no repr. Nothing here turns the verification
of certificates off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ocimodel.stores.http.origins import Origin, Rules

_SECRET = frozenset({"Authorization", "Cookie"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """For every request to the host, and for none to another.

    ca_files: authorities of its certificate, besides those that are trusted anyway (PEM).
    client: certificates to show to it, each with its key; None: the key is in the same file (PEM).
    headers: names as in ``User-Agent``; sent along with every request to the host itself, never along a redirect.
    proxy: an http or https URL; instead of what the environment says.
    """

    ca_files: tuple[Path, ...] = ()
    client: tuple[tuple[Path, Path | None], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxy: str = field(default="", repr=False)

    def headers_to(self, origin: Origin, rules: Rules) -> dict[str, str]:
        """What may travel to ``origin``: over plain HTTP no credentials, unless ``--plain-http`` names it."""
        if origin.scheme == "https" or rules.names(origin.host, origin.port):
            return dict(self.headers)
        return {name: value for name, value in self.headers.items() if name not in _SECRET}


DIRECT = Route()
