"""A repository of a registry as a `Store` (OCI distribution-spec v1.1).

    RegistryStore ── Referrers, manifests, uploads, downloads, listing
                        └── Repository (URLs, scopes) ── Transport (retries, redirects, 401)
                                                            ├── Authenticator ── Credentials
                                                            └── Connections (TLS, proxies, plain HTTP)

Guarantees: those of `Store`, for several threads at once; and what the rooms below promise, each in its module.
Stores of one command share a `Transport`, and with it connections and tokens.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

from ocimodel import jsonio
from ocimodel.errors import AuthenticationError, FormatError, NotFoundError, OcimodelError
from ocimodel.jsonio import Node
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.stores.facts import check_tag, digest_of, examine, is_fallback_tag, subject_of_tag
from ocimodel.stores.http import downloads, listing, manifests, sessions, uploads
from ocimodel.stores.http.asking import Asking
from ocimodel.stores.http.auth import scopes_for
from ocimodel.stores.http.credentials import HUB_HOSTS, Credential, Credentials, DockerConfig, Given
from ocimodel.stores.http.policy import Patience
from ocimodel.stores.http.referrers import Referrers
from ocimodel.stores.http.repository import Repository
from ocimodel.stores.http.targets import Targets
from ocimodel.stores.http.transport import Request, Transport
from ocimodel.stores.protocol import BlobStream, Progress, ReferrerList, Source, no_progress

HUB_API = "registry-1.docker.io"
_PAGE = 1000
"""ECR refuses to list more tags at a time."""


class RegistryStore:
    """One repository. ``registry`` and ``repository`` as they stand in a reference."""

    def __init__(
        self,
        registry: str,
        repository: str,
        transport: Transport,
        *,
        owned: bool = False,
        at: Repository | None = None,
    ) -> None:
        """``owned``: `close` closes the transport too, since no other uses it. ``at``: where it is instead."""
        self._owned = owned
        self._name = f"{registry}/{repository}"
        self._repository = at or Repository(transport, *api_name(registry, repository))
        self._referrers = Referrers(self._repository)
        self._lock = threading.Lock()
        self._opened: dict[Digest, sessions.Session] = {}
        self._asking = Asking()
        self._line = uploads.Line()
        self._targets = Targets()

    def __repr__(self) -> str:
        return f"RegistryStore({self._name!r})"

    @property
    def name(self) -> str:
        return self._name

    @property
    def clock_offset(self) -> timedelta | None:
        return self._repository.transport.connections.offset

    def get_manifest(self, target: str | Digest) -> tuple[Descriptor, bytes]:
        wanted = digest_of(target) or target
        try:
            found = manifests.get(self._repository, wanted)
        except NotFoundError as error:
            kind = "digest" if isinstance(wanted, Digest) else "tag"
            raise NotFoundError(f"{self._name} has no {kind} {wanted}", hint=error.hint) from error
        return found.descriptor, found.raw

    def resolve(self, target: str | Digest) -> Descriptor:
        return manifests.resolve(self._repository, digest_of(target) or target)

    def put_manifest(self, raw: bytes, media_type: str, *, tag: str | None = None) -> Descriptor:
        facts = examine(raw, media_type)
        target = check_tag(tag) if tag is not None else facts.descriptor.digest
        answer = manifests.put(self._repository, raw, media_type, target)
        if facts.subject is not None:
            self._referrers.add(facts.subject, facts.descriptor, acknowledged=bool(answer.header("oci-subject")))
        return Descriptor(media_type=media_type, digest=facts.descriptor.digest, size=len(raw))

    def tags(self) -> list[str]:
        return sorted(tag for tag in self._all_tags() if not is_fallback_tag(tag))

    def untagged(self) -> list[Digest]:
        """`Bookkeeping`: where referrers are listed by tags, what these are about; else what cosign's tags are."""
        return sorted(filter(None, map(subject_of_tag, self._all_tags())), key=str)

    def _all_tags(self) -> set[str]:
        request = Request(
            method="GET",
            url=f"{self._repository.url('tags', 'list')}?n={_PAGE}",
            scopes=self._repository.reading,
        )
        found: set[str] = set()
        try:
            for _, raw in listing.follow(self._repository, request, "the list of tags"):
                tags = Node(jsonio.loads(raw, limit=len(raw), what="the list of tags")).find("tags")
                found.update(item.string(limit=128) for item in (tags.items() if tags else ()))
        except listing.TooMuch:
            raise FormatError(f"{self._name} has more tags than can be listed") from None
        return found

    def referrers(self, subject: Digest, *, limit: int = 100_000) -> ReferrerList:
        return self._referrers.list(subject, limit)

    def arriving(self, subjects: Iterable[Digest]) -> AbstractContextManager[None]:
        """`Arrivals`: what refers to these artifacts is listed at once, without waiting for other writers."""
        return self._referrers.arriving(subjects)

    def has_blob(self, descriptor: Descriptor) -> bool:
        there = uploads.blob_size(self._repository, descriptor.digest) in (descriptor.size, -1)
        if not there:
            self._asking.missing(descriptor.digest)
        return there

    def blob_size(self, digest: Digest) -> int | None:
        size = uploads.blob_size(self._repository, digest)
        return None if size == -1 else size

    def open_blob(
        self, descriptor: Descriptor, start: int = 0, stop: int | None = None
    ) -> AbstractContextManager[BlobStream]:
        return downloads.open_blob(self._repository, self._targets, descriptor, start, stop)

    def put_blob(self, source: Source, digest: Digest | None = None, progress: Progress = no_progress) -> Digest:
        session = None
        if digest is not None:
            with self._lock:
                session = self._opened.pop(digest, None)
        return uploads.put_blob(self._repository, source, digest, progress, session, self._asking, self._line)

    def mount_blob(self, descriptor: Descriptor, source: str) -> bool:
        if source == self._repository.path:
            return self.has_blob(descriptor)
        query = f"?mount={quote(str(descriptor.digest))}&from={quote(source, safe='')}"
        scopes = scopes_for(self._repository.path, write=True, sources=(source,))
        try:
            session = sessions.start(self._repository, query, scopes)
            if session is None:
                return self.has_blob(descriptor)
        except OcimodelError:
            return False  # it is a shortcut; what is really wrong will show on the long way
        with self._lock:
            self._opened[descriptor.digest] = session
        return False

    def close(self) -> None:
        if self._owned:
            self._repository.transport.close()


def open_registry(
    reference: Reference,
    *,
    plain_http: frozenset[str] = frozenset(),
    ca_file: Path | None = None,
    credentials: Credentials | None = None,
    patience: Patience | None = None,
    transport: Transport | None = None,
) -> RegistryStore:
    """The store of a reference. Give ``transport`` to share connections and tokens between stores."""
    own = transport is None
    transport = transport or Transport(
        plain_http=plain_http, ca_file=ca_file, credentials=credentials, patience=patience
    )
    return RegistryStore(reference.registry, reference.repository, transport, owned=own)


def login(
    host: str,
    username: str,
    password: str,
    *,
    plain_http: frozenset[str] = frozenset(),
    ca_file: Path | None = None,
    config: DockerConfig | None = None,
    patience: Patience | None = None,
) -> str:
    """Show the credentials to the registry, then keep them; answers where.

    Raises:
        AuthenticationError: the registry refuses them, or they would travel in the open.
    """
    config = config or DockerConfig.from_environment()
    credential = (
        Credential(identity_token=password)
        if username == "<token>"
        else Credential(username=username, password=password)
    )
    name, port = split_host(host)
    name = HUB_API if name in HUB_HOSTS else name
    transport = Transport(
        plain_http=plain_http, ca_file=ca_file, credentials=Given(host, credential), patience=patience
    )
    try:
        origin = transport.connections.origin(name, port)
        if origin.scheme == "http" and not transport.rules.names(name, port):
            raise AuthenticationError(
                f"{host} speaks plain HTTP, so credentials are not sent to it",
                hint=f"--plain-http {host} allows it.",
            )
        transport.request(Request(method="GET", url=f"{origin}/v2/")).close()
    finally:
        transport.close()
    return config.store(host, credential)


def logout(host: str, *, config: DockerConfig | None = None) -> bool:
    """Forget the credentials of a registry; answers whether there were any."""
    return (config or DockerConfig.from_environment()).erase(host)


def api_name(registry: str, repository: str) -> tuple[str, int | None, str]:
    """Host, port and repository as the registry's API knows them: Docker Hub's differ from what people write."""
    host, port = split_host(registry)
    if host in HUB_HOSTS:
        return HUB_API, port, repository if "/" in repository else f"library/{repository}"
    return host, port, repository


def split_host(registry: str) -> tuple[str, int | None]:
    """Host (lower case, without brackets) and port of a reference's registry."""
    if registry.startswith("["):
        host, _, port = registry[1:].partition("]")
        return host.lower(), int(port[1:]) if port else None
    host, _, port = registry.partition(":")
    return host.lower(), int(port) if port else None
