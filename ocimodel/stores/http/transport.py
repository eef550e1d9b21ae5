"""Requests to registries: authentication, redirects, retries.

Guarantees:

* credentials, and the headers of a `Route`, go to the origin that a request is addressed to (host, port, scheme),
  never along a redirect;
* at most five redirects, judged by `Rules.check`;
* 408, 429, 500, 502, 503, 504 and broken connections are tried again where the request allows it, at most five
  times and within bounded time, as Retry-After says; then `UnavailableError`;
* a 401 is answered with one new token, for the same request from its beginning.

It knows nothing of blobs or manifests.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import urllib3

from ocimodel.errors import OcimodelError, UnavailableError
from ocimodel.stores.http.answers import Answer, broken, is_certificate_error
from ocimodel.stores.http.auth import Authenticator, Scopes
from ocimodel.stores.http.connections import Connections
from ocimodel.stores.http.credentials import Credentials, DockerConfig
from ocimodel.stores.http.ecr import WithEcr
from ocimodel.stores.http.origins import Origin, Rules
from ocimodel.stores.http.policy import REDIRECTS, RETRYABLE, Backoff, Patience
from ocimodel.stores.http.route import DIRECT, Route

_MOVED = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What is sent: ``open`` gives the bytes in blocks, from the beginning each time."""

    length: int
    open: Callable[[], Iterable[Any]]

    @classmethod
    def of(cls, data: bytes) -> Body:
        return cls(length=len(data), open=lambda: (data,) if data else ())


EMPTY = Body.of(b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, and how far the transport may go for it.

    accept: statuses that the caller handles; every other one becomes an error.
    origin: the one whose credentials may be shown, where it is not that of the URL.
    once: not tried again here; the caller does it, with fresh state.
    stay: a redirect to another origin is an answer; it is not followed.
    fresh: the body is large, so a token that is soon to expire will not do.
    resumes: a token that is refused is replaced, and the 401 is the answer: the caller knows what was sent in vain.
    wait: how long the answer may take after the last byte was sent.
    """

    method: str
    url: str
    origin: Origin | None = None
    scopes: Scopes = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    accept: frozenset[int] = frozenset({200})
    once: bool = False
    stay: bool = False
    fresh: bool = False
    resumes: bool = False
    wait: float | None = None


class Transport:
    """Everything that is shared by the repositories of one command: pools, tokens, patience. Thread-safe."""

    def __init__(
        self,
        *,
        plain_http: frozenset[str] = frozenset(),
        ca_file: Path | None = None,
        credentials: Credentials | None = None,
        patience: Patience | None = None,
        route: Route = DIRECT,
    ) -> None:
        self.patience = patience or Patience()
        self.rules = Rules(plain_http=plain_http)
        self.connections = Connections(rules=self.rules, ca_file=ca_file, patience=self.patience, route=route)
        self._route = route
        self._auth = Authenticator(self.connections, credentials or WithEcr(DockerConfig.from_environment()))

    def close(self) -> None:
        self.connections.close()

    def request(self, request: Request) -> Answer:
        """Send, and return an answer whose status the caller accepts; it must be closed.

        Raises:
            AuthenticationError: 401 or 403. NotFoundError: 404.
            UnavailableError: everything else, after the tries that make sense.
        """
        backoff = Backoff(self.patience)
        while True:
            try:
                answer = self._exchange(request)
            except _Broken as failure:
                if request.once or failure.final or not backoff.again():
                    raise failure.error from None
                continue
            if answer.status in request.accept:
                return answer
            wait = answer.header("retry-after") or None
            error = answer.error(self._auth.advice(request.origin or Origin.of(request.url), answer.status))
            if request.once or answer.status not in RETRYABLE or not backoff.again(wait):
                raise error

    def _exchange(self, request: Request) -> Answer:
        """One request through challenges and redirects to its answer."""
        home = request.origin or Origin.of(request.url)
        url = request.url
        hops = 0
        asked = refreshed = returned = False
        authorization = self._auth.header(home, request.scopes, fresh=request.fresh)
        while True:
            here = Origin.of(url)
            sent = authorization if here == home else None
            answer = self._send(
                request, url, sent, self._route.headers_to(home, self.rules) if here == home else {}
            )
            if answer.status in (401, 403) and here == home and not (refreshed if sent else asked):
                # Once without credentials, and once with those that had been good before.
                asked, refreshed = asked or not sent, refreshed or bool(sent)
                try:
                    authorization = self._auth.answer(home, answer, request.scopes, rejected=sent)
                except BaseException:
                    answer.close()
                    raise
                if authorization is None or (request.resumes and sent):
                    return answer
                answer.close()
            elif answer.status in (401, 403) and url != request.url and here != home and not returned:
                # A signed URL expired on the way: ask the registry for a new one, once.
                answer.close()
                returned, url, hops = True, request.url, 0
            elif answer.status in _MOVED and (target := _target(request, url, answer)):
                if request.stay and Origin.of(target) != home:
                    return answer
                answer.close()
                self.rules.check(here, Origin.of(target), "redirects to")
                hops += 1
                if hops > REDIRECTS:
                    raise UnavailableError(f"{home.netloc}: more than {REDIRECTS} redirects", reason="redirect")
                url = target
            else:
                return answer

    def _send(self, request: Request, url: str, authorization: str | None, own: dict[str, str]) -> Answer:
        authorization = authorization or own.pop("Authorization", None)
        headers = {**own, **request.headers}
        if request.body is not None:
            headers["Content-Length"] = str(request.body.length)
        if authorization:
            headers["Authorization"] = authorization
        try:
            body = request.body.open() if request.body is not None and request.body.length else None
            response = self.connections.send(request.method, url, headers, body, wait=request.wait)
        except OcimodelError:
            raise
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            final = is_certificate_error(error) or isinstance(error, ValueError)
            raise _Broken(broken(request.method, url, error), final=final) from None
        secret = (authorization or "").rpartition(" ")[2]
        return Answer(request.method, url, response, drips=self.patience.watch(), secret=secret)


class _Broken(Exception):
    """No answer came. ``final``: nor will one come next time."""

    def __init__(self, error: UnavailableError, *, final: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.final = final


def _target(request: Request, url: str, answer: Answer) -> str | None:
    """Where a redirect leads; None where it leads nowhere that the request could go."""
    if answer.status == 303 and request.method not in ("GET", "HEAD"):
        return None
    try:
        target = urljoin(url, answer.header("location")).partition("#")[0]
        Origin.of(target)
    except ValueError:
        return None
    return target if answer.header("location") else None
