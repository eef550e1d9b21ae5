"""Services that are no registries: one request, one small document.

Guarantees: a document is bounded in size and time; nothing is retried, no redirect is followed, no credentials
are sent. Plain HTTP is fine: what is fetched in this way is signed. It is for OCSP responders and servers of
CRLs, where a policy lets us ask them, and for time-stamping authorities that a user named.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

import urllib3

from ocimodel.errors import FormatError, UnavailableError
from ocimodel.stores.http.answers import Answer, broken
from ocimodel.stores.http.connections import Connections
from ocimodel.stores.http.origins import Origin, Rules, redacted
from ocimodel.stores.http.policy import Patience

PATIENCE: Final = Patience(connect=3.0, stall=5.0, tries=1, document=10.0)
_MAX_URL = 2048


class Services:
    """Connections for as long as one verdict takes. Safe for several threads."""

    def __init__(self, patience: Patience = PATIENCE, ca_file: Path | None = None) -> None:
        self._connections = Connections(rules=Rules(), ca_file=ca_file, patience=patience)

    def get(self, url: str, *, limit: int) -> bytes:
        """Raises UnavailableError, whatever went wrong."""
        return self._document("GET", url, {}, None, limit)

    def post(self, url: str, body: bytes, *, content_type: str, limit: int) -> bytes:
        """Raises UnavailableError, whatever went wrong."""
        return self._document("POST", url, {"Content-Type": content_type}, body, limit)

    def exchange(self, url: str, body: bytes, *, content_type: str, limit: int) -> tuple[int, bytes]:
        """Post: the status, whatever it is, and the document that came with 200.

        Raises:
            UnavailableError: there was no whole answer.
        """
        return self._ask("POST", url, {"Content-Type": content_type}, body, limit)

    def close(self) -> None:
        self._connections.close()

    def _document(self, method: str, url: str, headers: dict[str, str], body: bytes | None, limit: int) -> bytes:
        status, document = self._ask(method, url, headers, body, limit)
        if status != 200:
            raise UnavailableError(f"{method} {redacted(url)}: {status}")
        return document

    def _ask(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, limit: int
    ) -> tuple[int, bytes]:
        if len(url) > _MAX_URL or not url.isascii() or not url.isprintable():
            raise UnavailableError(f"{method} {redacted(url)}: not an address")
        with suppress(ValueError):
            Origin.of(url)
            try:
                response = self._connections.send(method, url, headers, body)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise broken(method, url, error) from None
            with Answer(method, url, response, drips=self._connections.patience.watch()) as answer:
                if answer.status != 200:
                    return answer.status, b""
                try:
                    return answer.status, answer.read(limit, redacted(url))
                except FormatError as error:
                    raise UnavailableError(f"{method} {redacted(url)}: {error.message}") from None
        raise UnavailableError(f"{method} {redacted(url)}: not an http address")
