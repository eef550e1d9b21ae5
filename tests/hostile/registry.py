"""A registry in this process that keeps the specification to the letter, until a test tells it not to.

with HostileRegistry(Switches(referrers="404"), auth=Bearer()) as registry:
    registry.fail(Reply(503), route="blob", times=2)
    registry.on_request = lambda request: Drop(sent=100) if request.route == "blob" else None
    … registry.host …
    assert registry.count("GET", "blob") == 3
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Self

from tests.hostile.auth import Basic, Bearer
from tests.hostile.handler import Server
from tests.hostile.messages import Action, Body, Request, Response, Rule
from tests.hostile.routes import Routes
from tests.hostile.state import Document, Repository
from tests.hostile.switches import Switches
from tests.hostile.uploads import Session


class HostileRegistry:
    """Runs while the context is open, on a port of its own; a second server stands for the object storage.

    ``on_request`` sees every request before it is served and may answer with an action; ``on_response`` sees
    what is about to be sent, after the state has changed, and may give another. ``failures`` are the
    registry's own bugs; leaving the context raises the first.
    """

    def __init__(self, switches: Switches | None = None, *, auth: Basic | Bearer | None = None) -> None:
        self.switches = switches or Switches()
        self.auth = auth
        self.repositories: dict[str, Repository] = {}
        self.sessions: dict[str, Session] = {}
        self.requests: list[Request] = []
        self.rules: list[Rule] = []
        self.on_request: Callable[[Request], Action | None] | None = None
        self.on_response: Callable[[Request, Response], Response | None] | None = None
        self.failures: list[BaseException] = []
        self.closing = threading.Event()
        self.lock = threading.RLock()
        self.routes = Routes(self)
        self._signed: dict[str, tuple[int | None, float]] = {}
        """Of each signed URL: how often it still works, and until when."""
        self._servers = [Server(self, "registry"), Server(self, "storage")]
        if isinstance(auth, Bearer):
            auth.base = self.url

    def __enter__(self) -> Self:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.closing.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()
        if self.failures and kind is None:
            raise self.failures[0]

    # Where

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._servers[0].port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def storage_url(self) -> str:
        """The second server, under another name as well as another port."""
        return f"http://localhost:{self._servers[1].port}"

    # What it holds

    def repository(self, name: str) -> Repository:
        """The repository; it comes into being when it is named."""
        with self.lock:
            return self.repositories.setdefault(name, Repository())

    @property
    def only(self) -> Repository:
        """The repository, where there is one only."""
        (repository,) = self.repositories.values()
        return repository

    @property
    def blobs(self) -> dict[str, Body]:
        return self.only.blobs

    @property
    def manifests(self) -> dict[str, Document]:
        return self.only.manifests

    @property
    def tags(self) -> dict[str, str]:
        return self.only.tags

    def snapshot(self) -> dict[str, Repository]:
        """The state as it is now, to go back to by `restore`: cheap, since no bytes are copied."""
        with self.lock:
            return {name: repository.copy() for name, repository in self.repositories.items()}

    def restore(self, state: dict[str, Repository]) -> None:
        with self.lock:
            self.repositories = {name: repository.copy() for name, repository in state.items()}

    # What happened

    def receive(self, request: Request) -> Action | None:
        with self.lock:
            request.number = len(self.requests)
            self.requests.append(request)
            ruled = next((action for rule in self.rules if (action := rule.take(request))), None)
        if ruled is not None:
            return ruled
        return self.on_request(request) if self.on_request else None

    def seen(
        self, method: str | None = None, route: str | None = None, *, server: str | None = None
    ) -> list[Request]:
        """The requests so far, narrowed down."""
        return [
            request
            for request in list(self.requests)
            if (method is None or request.method == method)
            and (route is None or request.route == route)
            and (server is None or request.server == server)
        ]

    def count(self, method: str | None = None, route: str | None = None, *, server: str | None = None) -> int:
        return len(self.seen(method, route, server=server))

    def received(self, route: str | None = None) -> int:
        """Bytes of request bodies."""
        return sum(request.received for request in self.seen(route=route))

    def sent(self, route: str | None = None) -> int:
        """Bytes of response bodies."""
        return sum(request.sent for request in self.seen(route=route))

    def forget(self) -> None:
        """Begin to count anew."""
        with self.lock:
            self.requests.clear()

    # What goes wrong

    def fail(
        self,
        action: Action,
        *,
        route: str | None = None,
        method: str | None = None,
        repository: str | None = None,
        target: str | None = None,
        times: int | None = None,
        skip: int = 0,
    ) -> Rule:
        """From now on do ``action`` to such requests, ``times`` of them (None: for ever)."""
        rule = Rule(
            action=action, route=route, method=method, repository=repository, target=target, times=times, skip=skip
        )
        self.rules.append(rule)
        return rule

    def expire_tokens(self) -> None:
        if isinstance(self.auth, Bearer):
            self.auth.expire()

    # Signed addresses

    def sign(self, repository: str, digest: str) -> str:
        signature = secrets.token_hex(8)
        seconds = self.switches.signed_seconds
        until = float("inf") if seconds is None else time.monotonic() + seconds
        self._signed[signature] = (self.switches.signed_uses, until)
        return f"{self.storage_url}/storage/{repository}/{digest}?signature={signature}"

    def use(self, signature: str) -> bool:
        with self.lock:
            left, until = self._signed.get(signature, (0, 0.0))
            if time.monotonic() >= until:
                return False
            if left is None:
                return True
            self._signed[signature] = (left - 1, until)
            return left > 0
