"""The URLs of one repository, and requests to them (distribution-spec v1.1, "Endpoints")."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import parse_qs, quote, urlsplit

from ocimodel.oci.digest import Digest
from ocimodel.stores.http.answers import Answer
from ocimodel.stores.http.auth import Scopes, scopes_for
from ocimodel.stores.http.origins import Origin
from ocimodel.stores.http.transport import Request, Transport


@dataclass(frozen=True, slots=True)
class Repository:
    """``path`` is the name that the registry's API knows: on Docker Hub ``library/x`` for ``x``.

    scheme: https or http, where the host was given with it.
    root: the path below which the API is.
    namespace: the registry that this host stands in for; a mirror of several has to be told (``?ns=``).
    """

    transport: Transport
    host: str
    port: int | None
    path: str
    scheme: str = ""
    root: str = "/v2"
    namespace: str = ""

    @property
    def origin(self) -> Origin:
        if self.scheme:
            return Origin(self.scheme, self.host, self.port or (80 if self.scheme == "http" else 443))
        return self.transport.connections.origin(self.host, self.port)

    def url(self, *parts: str | Digest) -> str:
        tail = "/".join(quote(str(part), safe=":") for part in parts)
        return f"{self.origin}{self.root}/{self.path}/{tail}"

    def blob(self, digest: Digest) -> str:
        return self.url("blobs", digest)

    def manifest(self, target: str | Digest) -> str:
        return self.url("manifests", target)

    @property
    def reading(self) -> Scopes:
        return scopes_for(self.path, write=False)

    @property
    def writing(self) -> Scopes:
        return scopes_for(self.path, write=True)

    def send(self, request: Request) -> Answer:
        """Whatever URL is asked, credentials are for this registry alone."""
        return self.transport.request(replace(request, url=self._named(request), origin=self.origin))

    def _named(self, request: Request) -> str:
        """The URL with the name of the registry that a mirror is asked for, as containerd has it."""
        url = request.url
        if not self.namespace or request.method not in ("GET", "HEAD") or Origin.of(url) != self.origin:
            return url
        query = urlsplit(url).query
        if "ns" in parse_qs(query, keep_blank_values=True):
            return url
        return f"{url}{'&' if query else '?'}ns={quote(self.namespace, safe='')}"
