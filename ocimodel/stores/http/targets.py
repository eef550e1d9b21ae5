"""Where a registry sends those who want a blob, so that each of its ranges need not ask for it again.

Many registries answer a GET of a blob with a redirect to an object store, under an address that is signed for a
while. Guarantees: while several ranges of one blob are wanted, the registry is asked once, and once more each time
the address expires, whoever notices it; the address was judged when it was followed (`Transport`), gets no
credentials, and is kept in memory only. Where a registry serves blobs itself, everybody asks it, at the same time.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

from ocimodel.errors import UnavailableError
from ocimodel.oci.digest import Digest
from ocimodel.stores.http.answers import Answer
from ocimodel.stores.http.origins import Origin
from ocimodel.stores.http.repository import Repository
from ocimodel.stores.http.transport import Request

_EXPIRED = frozenset({400, 401, 403, 404, 410})
"""What object stores say of an address whose time is over; Amazon's says 400 where its session token expired."""
_TURNS = 8


@dataclass(slots=True)
class _Target:
    """``url`` is None until the registry was asked, and '' where it serves the blob itself."""

    url: str | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Targets:
    """Of the blobs of one repository. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._targets: dict[Digest, _Target] = {}

    def send(self, repository: Repository, request: Request, digest: Digest) -> Answer:
        """As `Repository.send`, but straight to where the blob lies, if that is known; for a range."""
        with self._lock:
            target = self._targets.setdefault(digest, _Target())
        for _ in range(_TURNS):
            used = target.url
            if used is None:
                with target.lock:
                    if target.url is None:
                        return self._learn(repository, request, target)
                    used = target.url
            if not used:
                break
            try:
                answer = repository.send(replace(request, url=used, accept=request.accept | _EXPIRED))
            except UnavailableError:
                self._expired(target, used)  # the registry may know of another place by now
                raise
            if answer.status not in _EXPIRED - request.accept:
                return answer
            answer.close()
            self._expired(target, used)
        return repository.send(request)

    def forget(self, digest: Digest, url: str) -> None:
        """What came from ``url`` was of no use: ask the registry next time."""
        with self._lock:
            target = self._targets.get(digest)
        if target is not None:
            self._expired(target, url)

    def _expired(self, target: _Target, url: str) -> None:
        with target.lock:
            if target.url == url:
                target.url = None

    def _learn(self, repository: Repository, request: Request, target: _Target) -> Answer:
        answer = repository.send(request)
        target.url = answer.url if answer.origin != Origin.of(request.url) else ""
        return answer
