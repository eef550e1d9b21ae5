"""What goes over the wire, and what a test may do to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

Body: TypeAlias = bytes | memoryview


@dataclass(slots=True, kw_only=True)
class Request:
    """One request as it was seen. ``headers`` have lower-case names; ``target`` is a tag, digest or session."""

    number: int
    server: str
    method: str
    path: str
    raw_query: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    route: str
    repository: str = ""
    target: str = ""
    received: int = 0
    sent: int = 0
    status: int = 0

    def parameter(self, name: str) -> str | None:
        values = self.query.get(name)
        return values[0] if values else None


@dataclass(slots=True)
class Response:
    """``Content-Length`` is that of the body unless ``headers`` say otherwise."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: Body = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer this; the registry never hears of the request."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    read_body: bool = True


@dataclass(frozen=True, slots=True)
class Drop:
    """Reset the connection: at once, after so many bytes of the request's body, or of the response's."""

    received: int | None = None
    sent: int | None = None


@dataclass(frozen=True, slots=True)
class Stall:
    """Fall silent for a time, after so many bytes of the response's body."""

    seconds: float
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Alter:
    """Let the registry do its work, then send what ``change`` makes of its response."""

    change: Callable[[Response], Response]


Action: TypeAlias = Reply | Drop | Stall | Alter


@dataclass(slots=True, kw_only=True)
class Rule:
    """An action for requests of a route, the first ``times`` of them (None: for ever) after ``skip``."""

    action: Action
    route: str | None = None
    method: str | None = None
    repository: str | None = None
    target: str | None = None
    times: int | None = None
    skip: int = 0

    def take(self, request: Request) -> Action | None:
        wanted = (self.route, self.method, self.repository, self.target)
        actual = (request.route, request.method, request.repository, request.target)
        if any(want is not None and want != have for want, have in zip(wanted, actual, strict=True)):
            return None
        if self.skip:
            self.skip -= 1
            return None
        if self.times is not None:
            if not self.times:
                return None
            self.times -= 1
        return self.action


def error(status: int, code: str, message: str = "", **headers: str) -> Response:
    """An error as distribution-spec v1.1 writes it."""
    body = json.dumps({"errors": [{"code": code, "message": message or code.lower()}]}).encode()
    return Response(status, {"Content-Type": "application/json", **headers}, body)
