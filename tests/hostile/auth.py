"""Who may do what: nobody asks, HTTP Basic, or tokens from a realm (distribution's token specification)."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from tests.hostile.messages import Request, Response, error


@dataclass(slots=True)
class Basic:
    """Every request needs the password."""

    username: str = "ada"
    password: str = "correct horse"

    def admits(self, request: Request, _needs: str) -> Response | None:
        if request.headers.get("authorization") == basic(self.username, self.password):
            return None
        return error(401, "UNAUTHORIZED", **{"WWW-Authenticate": 'Basic realm="hostile"'})


@dataclass(slots=True)
class Bearer:
    """Tokens for a scope and a time, from ``realm`` (None: ``/token`` of the registry itself).

    ``expires_in`` is what the realm says, ``lifetime`` how long a token really works.
    """

    username: str = "ada"
    password: str = "correct horse"
    identity_token: str | None = None
    realm: str | None = None
    service: str = "hostile"
    anonymous_pull: bool = False
    expires_in: int | None = 300
    lifetime: float = 300.0
    tokens: dict[str, tuple[frozenset[tuple[str, str]], float]] = field(default_factory=dict)
    base: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def admits(self, request: Request, needs: str) -> Response | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        granted, until = self.tokens.get(token, (frozenset(), 0.0))
        if scheme.lower() == "bearer" and token in self.tokens and time.monotonic() < until:
            if not request.repository or (request.repository, needs) in granted:
                return None
            return self._challenge(request, needs, 'error="insufficient_scope"')
        problem = 'error="invalid_token"' if token else ""
        return self._challenge(request, needs, problem)

    def _challenge(self, request: Request, needs: str, problem: str) -> Response:
        parts = [f'realm="{self.realm or self.base + "/token"}"', f'service="{self.service}"']
        if request.repository:
            actions = "pull,push" if needs == "push" else needs
            parts.append(f'scope="repository:{request.repository}:{actions}"')
        if problem:
            parts.append(problem)
        return error(401, "UNAUTHORIZED", **{"WWW-Authenticate": "Bearer " + ",".join(parts)})

    def issue(self, request: Request, body: bytes) -> Response:
        """The realm's own answer."""
        form = parse_qs(body.decode())
        if request.method == "POST":
            refresh = (form.get("refresh_token") or [""])[0]
            known = self.identity_token is not None and refresh == self.identity_token
            scopes = [scope for text in form.get("scope", []) for scope in text.split(" ")]
        else:
            known = request.headers.get("authorization") == basic(self.username, self.password)
            scopes = request.query.get("scope", [])
        if not known and ("authorization" in request.headers or request.method == "POST"):
            return error(401, "UNAUTHORIZED", "wrong credentials")
        if not known and not self.anonymous_pull:
            return error(401, "UNAUTHORIZED", "no anonymous tokens")
        granted = set()
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            if kind == "repository":
                granted |= {(name, action) for action in actions.split(",") if known or action == "pull"}
        token = secrets.token_urlsafe(24)
        with self._lock:
            self.tokens[token] = (frozenset(granted), time.monotonic() + self.lifetime)
        answer: dict[str, object] = {"token": token}
        if self.expires_in is not None:
            answer["expires_in"] = self.expires_in
        return Response(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    def expire(self) -> None:
        """All tokens given out so far are worth nothing from now on."""
        with self._lock:
            self.tokens = {token: (granted, 0.0) for token, (granted, _) in self.tokens.items()}


def basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
