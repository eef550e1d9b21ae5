"""Tokens and passwords for registries (distribution's token authentication; RFC 7617, RFC 6750).

Guarantees:

* nothing is sent before a registry has asked for it; Basic is then sent along with every request to that origin;
* a token is kept for (origin, scopes), renewed before it expires, and fetched by one thread while others wait;
* a token that was refused is dropped and fetched once more, not twice;
* the realm must be https, or plain HTTP where `Rules` allow it, and no private address of a public registry;
* over plain HTTP credentials go only to a host that was given with ``--plain-http``.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urljoin

import urllib3

from ocimodel.errors import AuthenticationError, UnavailableError
from ocimodel.stores.http import challenge as challenges
from ocimodel.stores.http.answers import Answer, broken, is_certificate_error
from ocimodel.stores.http.challenge import Challenge
from ocimodel.stores.http.connections import Connections
from ocimodel.stores.http.credentials import HUB_HOSTS, Credential, Credentials
from ocimodel.stores.http.origins import Origin, redacted
from ocimodel.stores.http.policy import REDIRECTS, RETRYABLE, TOKEN_BYTES, Backoff

Scopes = tuple[str, ...]
"""As in ``repository:NAME:pull,push``; the first one matters most to some registries."""

CLIENT_ID = "ocimodel"
_MIN_LIFE = 60.0
_MARGIN = 10.0
_MAX_SCOPES = 16


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    life: float
    expires: float

    def __repr__(self) -> str:
        return "_Token(***)"


class _Host:
    """What is known of one origin."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.basic: str | None = None
        self.bearer: Challenge | None = None
        self.tokens: dict[Scopes, _Token] = {}
        self.locks: dict[Scopes, threading.Lock] = {}
        self.withheld = False

    def lock_of(self, scopes: Scopes) -> threading.Lock:
        with self.lock:
            return self.locks.setdefault(scopes, threading.Lock())


class Authenticator:
    """Authorization headers for registries, by origin. Thread-safe."""

    def __init__(self, connections: Connections, credentials: Credentials) -> None:
        self._connections = connections
        self._credentials = credentials
        self._clock = connections.patience.clock
        self._lock = threading.Lock()
        self._hosts: dict[Origin, _Host] = {}
        self._found: dict[str, Credential | None] = {}

    def header(self, origin: Origin, scopes: Scopes, *, fresh: bool = False) -> str | None:
        """What to send along without having been asked; None where nothing is known yet.

        Args:
            fresh: the request is long, so that a token with less than three quarters of its life is renewed.
        """
        host = self._host(origin)
        if host.basic:
            return host.basic
        if host.bearer is None:
            return None
        return self._token(origin, host, host.bearer, scopes, fresh=fresh, rejected=None)

    def answer(self, origin: Origin, answer: Answer, scopes: Scopes, *, rejected: str | None) -> str | None:
        """What to send in answer to a 401, or to a 403 that asks for more scope; None: there is nothing better."""
        asked = challenges.parse(answer.headers("www-authenticate"))
        bearer = next((one for one in asked if one.scheme == "bearer" and one.parameters.get("realm")), None)
        if answer.status == 403 and (bearer is None or bearer.parameters.get("error") != "insufficient_scope"):
            return None
        host = self._host(origin)
        if bearer is not None:
            # The scope is that of this one request; the next ones bring their own.
            lasting = {name: text for name, text in bearer.parameters.items() if name in ("realm", "service")}
            host.bearer = Challenge("bearer", lasting)
            return self._token(origin, host, bearer, scopes, fresh=False, rejected=rejected)
        if any(one.scheme == "basic" for one in asked):
            credential = self._credential(origin, origin)
            if credential is None or credential.basic == rejected:
                return None
            host.basic = credential.basic
            return host.basic
        return None

    def advice(self, origin: Origin, status: int) -> str | None:
        """What a person can do about a refusal."""
        if status not in (401, 403):
            return None
        if self._host(origin).withheld:
            return (
                f"The connection is plain HTTP, so credentials were not sent; --plain-http {origin.netloc} "
                "allows it (and the same for the token service)."
            )
        if self._found.get(_name(origin)) is None:
            return f"Log in with ocimodel login {_name(origin)}."
        return None

    def _host(self, origin: Origin) -> _Host:
        with self._lock:
            return self._hosts.setdefault(origin, _Host())

    def _credential(self, origin: Origin, target: Origin) -> Credential | None:
        """The credentials for the registry ``origin``, if they may travel to ``target``."""
        name = _name(origin)
        with self._lock:
            if name not in self._found:
                self._found[name] = self._credentials.find(name)
            found = self._found[name]
        rules = self._connections.rules
        if found and any(o.scheme == "http" and not rules.names(o.host, o.port) for o in (origin, target)):
            self._host(origin).withheld = True
            return None
        return found

    def _token(
        self,
        origin: Origin,
        host: _Host,
        challenge: Challenge,
        scopes: Scopes,
        *,
        fresh: bool,
        rejected: str | None,
    ) -> str:
        with host.lock_of(scopes):
            token = host.tokens.get(scopes)
            if token is not None and f"Bearer {token.value}" != rejected:
                left = token.expires - self._clock()
                if left > (0.75 * token.life if fresh else min(_MARGIN, token.life / 2)):
                    return f"Bearer {token.value}"
            token = self._fetch(origin, challenge, scopes)
            host.tokens[scopes] = token
            return f"Bearer {token.value}"

    def _fetch(self, origin: Origin, challenge: Challenge, scopes: Scopes) -> _Token:
        realm = self._realm(origin, challenge.parameters["realm"])
        demanded = challenge.parameters.get("scope", "").split()[:_MAX_SCOPES]
        wanted = [*demanded, *(scope for scope in scopes if scope not in demanded)]
        service = challenge.parameters.get("service", "")
        credential = self._credential(origin, Origin.of(realm))
        if credential and credential.identity_token:
            form = {
                "grant_type": "refresh_token",
                "service": service,
                "client_id": CLIENT_ID,
                "scope": " ".join(wanted),
                "refresh_token": credential.identity_token,
            }
            answer = self._ask("POST", realm, urlencode(form).encode(), None)
            if answer.status not in (404, 405):
                return self._read(answer, origin)
            answer.close()
        query = ([("service", service)] if service else []) + [("scope", scope) for scope in wanted]
        if credential and credential.username:
            query.insert(0, ("account", credential.username))
        url = realm + (("&" if "?" in realm else "?") + urlencode(query) if query else "")
        return self._read(self._ask("GET", url, None, credential.basic if credential else None), origin)

    def _realm(self, origin: Origin, realm: str) -> str:
        try:
            target = Origin.of(realm)
        except ValueError:
            raise AuthenticationError(f"{origin.netloc} names a token service that is no URL") from None
        try:
            self._connections.rules.check(origin, target, "names the token service")
        except UnavailableError as error:
            raise AuthenticationError(error.message, hint=error.hint) from None
        return realm.partition("#")[0]

    def _ask(self, method: str, url: str, form: bytes | None, authorization: str | None) -> Answer:
        """One question to a token service, with retries and judged redirects."""
        backoff = Backoff(self._connections.patience)
        while True:
            try:
                answer = self._follow(method, url, form, authorization)
            except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
                if is_certificate_error(error) or not backoff.again():
                    raise broken(method, url, error) from None
                continue
            if answer.status in RETRYABLE:
                wait = answer.header("retry-after") or None
                error_of_status = answer.error()
                if not backoff.again(wait):
                    raise error_of_status
                continue
            return answer

    def _follow(self, method: str, url: str, form: bytes | None, authorization: str | None) -> Answer:
        home = Origin.of(url)
        for _ in range(REDIRECTS + 1):
            headers = {"Accept": "application/json"}
            here = Origin.of(url)
            if form is not None:
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            if authorization and here == home:
                headers["Authorization"] = authorization
            response = self._connections.send(method, url, headers, form)
            secret = (authorization or "").rpartition(" ")[2]
            answer = Answer(method, url, response, drips=self._connections.patience.watch(), secret=secret)
            location = answer.header("location")
            if answer.status not in (301, 302, 303, 307, 308) or not location:
                return answer
            answer.close()
            url = urljoin(url, location)
            self._connections.rules.check(here, Origin.of(url), "redirects to")
            if form is not None and Origin.of(url) != home:
                # The form holds the identity token.
                raise AuthenticationError(f"{home.netloc} redirects a login to {redacted(url)}: refused")
        raise UnavailableError(f"{home.netloc}: more than {REDIRECTS} redirects")

    def _read(self, answer: Answer, origin: Origin) -> _Token:
        """Raises AuthenticationError where the service does not give a token."""
        if answer.status != 200:
            if 400 <= answer.status < 500:
                error = answer.error()
                raise AuthenticationError(error.message, hint=self.advice(origin, 401))
            raise answer.error()
        with answer:
            raw = answer.read(TOKEN_BYTES, "the token")
        try:
            document = json.loads(raw)
            value = document.get("token") or document.get("access_token")
            life = document.get("expires_in") or 0
            if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
                raise ValueError
            life = max(_MIN_LIFE, float(life))
        except (ValueError, AttributeError, TypeError, OverflowError, RecursionError):
            raise AuthenticationError(f"{redacted(answer.url)} answered without a usable token") from None
        return _Token(value, life, self._clock() + life)


def _name(origin: Origin) -> str:
    """What references and Docker's file call this origin."""
    return "docker.io" if origin.host in HUB_HOSTS else origin.netloc


def scopes_for(repository: str, *, write: bool, sources: Sequence[str] = ()) -> Scopes:
    """What to ask for; ``sources`` are repositories to mount from."""
    actions = "pull,push" if write else "pull"
    return (f"repository:{repository}:{actions}", *(f"repository:{source}:pull" for source in sources))
