"""A service that takes and gives JSON, such as a registry of models: one request, one small document.

Guarantees: credentials go to the one origin that was named, and never over plain HTTP but to a loopback address or
a host that was given with ``--plain-http``; no redirect is followed; an answer is bounded in size and time; a
message carries method and path, never a query, a body that was sent, or a secret. It does not try again: that is
for those who know what may be asked twice.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import urllib3

from ocimodel import jsonio
from ocimodel.errors import AuthenticationError, RejectedError, UnavailableError, UsageError
from ocimodel.stores.http.answers import Answer, broken
from ocimodel.stores.http.connections import Connections
from ocimodel.stores.http.origins import Origin, Rules, is_loopback, printable
from ocimodel.stores.http.policy import RETRYABLE, Patience

LIMIT: Final = 4 * 1024 * 1024
PATIENCE: Final = Patience(connect=5.0, stall=30.0, tries=3, document=30.0)


class Rest:
    """A service below ``base``. Safe for one thread; to be closed.

    Args:
        authorization: the value of the header, or empty. A secret.

    Raises:
        UsageError: ``base`` is not an address that may be talked to.
    """

    def __init__(
        self,
        base: str,
        *,
        authorization: str = "",
        plain_http: frozenset[str] = frozenset(),
        ca_file: Path | None = None,
        patience: Patience = PATIENCE,
    ) -> None:
        self.base = checked(base, plain_http)
        self.patience = patience
        self._authorization = authorization
        rules = Rules(plain_http=plain_http)
        self._connections = Connections(rules=rules, ca_file=ca_file, patience=patience)

    def call(
        self, method: str, path: str, query: dict[str, str] | None = None, body: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """The status and the object in the answer: of 2xx, and of those 4xx that say something of what was asked.

        Raises:
            AuthenticationError: 401 and 403.
            UnavailableError: no answer, 5xx, 429.
            RejectedError: a redirect, or an answer that is no JSON object.
        """
        url = f"{self.base}/{quote(path)}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json"}
        data = None
        if body is not None:
            data, headers["Content-Type"] = jsonio.canonical(body), "application/json"
        if self._authorization:
            headers["Authorization"] = self._authorization
        try:
            response = self._connections.send(method, url, headers, data)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise broken(method, url, error) from None
        with Answer(method, url, response, drips=self.patience.watch(), secret=self._authorization) as answer:
            where = f"{method} {self.base}/{path}: {answer.status}"
            if answer.status in (401, 403):
                raise AuthenticationError(where)
            if answer.status in RETRYABLE or answer.status >= 500:
                raise UnavailableError(where)
            if 300 <= answer.status < 400:
                raise RejectedError(f"{where}: redirects are not followed", hint="Give the address it leads to.")
            return answer.status, _object(answer.read(LIMIT, "the answer"), where)

    def close(self) -> None:
        self._connections.close()


def checked(base: str, plain_http: frozenset[str]) -> str:
    """``base`` without a slash at its end. Raises UsageError."""
    try:
        parts = urlsplit(base)
        if parts.username is not None or parts.password is not None:
            raise UsageError(
                "the registry's address has credentials in it",
                hint="Set them in the environment, not in the address.",
            )
        origin = Origin.of(base)
    except ValueError:
        raise UsageError("the registry's address is no URL", hint="Write https://HOST[:PORT][/PATH].") from None
    if parts.scheme not in ("http", "https") or parts.query or parts.fragment or not base.isprintable():
        raise UsageError("the registry's address is not that of a server", hint="Write https://HOST[:PORT][/PATH].")
    named = Rules(plain_http=plain_http).names(origin.host, origin.port)
    if parts.scheme == "http" and not is_loopback(origin.host) and not named:
        raise UsageError(f"{origin} is plain HTTP", hint=f"Use https://, or add --plain-http {origin.netloc}.")
    return base.rstrip("/")


def _object(raw: bytes, where: str) -> dict[str, Any]:
    try:
        document = json.loads(raw) if raw else {}
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise RejectedError(f"{where}: the answer is no JSON object", hint="Check the address of the registry.")
    return document


def said(document: dict[str, Any]) -> str:
    """What a service says is wrong, in one line."""
    return printable(str(document.get("message", "")))
