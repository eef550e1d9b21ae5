"""The URLs of one repository, and requests to them (distribution-spec v1.1, "Endpoints")."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote

from ocimodel.oci.digest import Digest
from ocimodel.stores.http.answers import Answer
from ocimodel.stores.http.auth import Scopes, scopes_for
from ocimodel.stores.http.origins import Origin
from ocimodel.stores.http.transport import Request, Transport


@dataclass(frozen=True, slots=True)
class Repository:
    """``path`` is the name that the registry's API knows: on Docker Hub ``library/x`` for ``x``."""

    transport: Transport
    host: str
    port: int | None
    path: str

    @property
    def origin(self) -> Origin:
        return self.transport.connections.origin(self.host, self.port)

    def url(self, *parts: str | Digest) -> str:
        tail = "/".join(quote(str(part), safe=":") for part in parts)
        return f"{self.origin}/v2/{self.path}/{tail}"

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
        return self.transport.request(replace(request, origin=self.origin))
