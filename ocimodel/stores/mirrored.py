"""A repository of a registry in front of which mirrors stand (`ocimodel.stores.http.hosts`).

    by digest      manifests, blobs       the mirrors that may ``pull``, in order, then the registry
    by name        tags                   the mirrors that may ``resolve``, in order, then the registry
    what changes   lists of referrers,    the registry; `nearby` is what the mirrors that may ``resolve`` show
                   lists of tags
    writing                               the registry

Guarantees: as long as the registry can be asked, a mirror costs time and nothing else; one that may resolve can
also show a tag where it was. One that does not answer, has no such thing, refuses, or sends other bytes than were
asked for is passed over, and what it says is never the reason of an error: that is the registry's answer, or that
it cannot be asked (75). Bytes are held against their digests as ever, here or by whoever reads them, who says so
(`doubt`): then the registry is asked for them, and the mirrors that gave some are asked no more. Each host gets its
own credentials and headers, and the name is the registry's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from ocimodel.errors import (
    AuthenticationError,
    FormatError,
    IntegrityError,
    NotFoundError,
    OcimodelError,
    RejectedError,
    UnavailableError,
)
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.stores.facts import digest_of, examine, is_fallback_tag
from ocimodel.stores.http.policy import Patience
from ocimodel.stores.protocol import BlobStream, Progress, ReferrerList, Source, Store, no_progress
from ocimodel.stores.registry import RegistryStore

REST = 30.0
"""Seconds for which a mirror that did not answer is not asked."""
MISSES = 16
"""After so many things in a row that a mirror does not have it is given a rest: it has nothing of this model."""
FLOOR = 64 * 1024
"""Bytes a second below which a mirror's blob is given up, once it was waited for as long as for a document."""
_PASSED_OVER = (NotFoundError, IntegrityError, UnavailableError, AuthenticationError)
_T = TypeVar("_T")


class Mirror:
    """One mirror, and what came of asking it. Thread-safe.

    ``url`` is what messages call it; ``tell`` is called when it is passed over for longer than one request.
    """

    def __init__(
        self, url: str, store: RegistryStore, *, resolves: bool, patience: Patience, tell: Callable[[str], None]
    ) -> None:
        self.store = store
        self.resolves = resolves
        self.patience = patience
        self._url = url
        self._tell = tell
        self._until = 0.0
        self._misses = 0

    @property
    def usable(self) -> bool:
        return self.patience.clock() >= self._until

    def worked(self) -> None:
        """It did what it was asked for."""
        self._misses = 0

    def failed(self, error: OcimodelError) -> None:
        """It did not."""
        if isinstance(error, NotFoundError | RejectedError):  # that says little of the next request
            self._misses += 1
            if self._misses >= MISSES:
                self._misses, self._until = 0, max(self._until, self.patience.clock() + REST)
            return
        first = self.usable
        lasting = isinstance(error, IntegrityError | AuthenticationError)
        self._until = float("inf") if lasting else max(self._until, self.patience.clock() + REST)
        if first:
            self._tell(f"the mirror {self._url} is passed over: {error.message}")


@dataclass(slots=True)
class _Hosts:
    """What the views of one repository share."""

    mirrors: Sequence[Mirror]
    registry: RegistryStore
    lock: threading.Lock = field(default_factory=threading.Lock)
    givers: dict[Digest, set[Mirror]] = field(default_factory=dict)
    doubted: set[Digest] = field(default_factory=set)


class MirroredStore:
    """Views of one repository: the whole one, and the one of which `nearby` tells."""

    def __init__(self, mirrors: Sequence[Mirror], registry: RegistryStore) -> None:
        self._hosts = _Hosts(mirrors, registry)
        self._near = False

    def __repr__(self) -> str:
        return f"MirroredStore({self.name!r}, {len(self._hosts.mirrors)} mirrors)"

    @property
    def name(self) -> str:
        return self._registry.name

    @property
    def clock_offset(self) -> timedelta | None:
        known = (store.clock_offset for store in (self._registry, *(one.store for one in self._hosts.mirrors)))
        return next((offset for offset in known if offset is not None), None)

    # By digest, and by name

    def get_manifest(self, target: str | Digest) -> tuple[Descriptor, bytes]:
        digest = digest_of(target)
        if digest is None and is_fallback_tag(str(target)):  # a list of referrers, or as good as one
            return self._shown(lambda store: store.get_manifest(target))[0]
        return self._first(digest, lambda store: self._manifest(store, target))

    def _manifest(self, store: RegistryStore, target: str | Digest) -> tuple[Descriptor, bytes]:
        """Raises FormatError where a mirror has something else under a tag: a page to log in at, perhaps."""
        found, raw = store.get_manifest(target)
        if store is not self._registry:
            examine(raw, found.media_type)
            if found.media_type not in media.MANIFESTS | media.INDEXES:
                raise FormatError(f"{self.name}:{target} has no manifest")
        return found, raw

    def resolve(self, target: str | Digest) -> Descriptor:
        return self.get_manifest(target)[0]

    def blob_size(self, digest: Digest) -> int | None:
        def ask(store: RegistryStore) -> int | None:
            size = store.blob_size(digest)
            if size is None and store is not self._registry:
                raise NotFoundError(f"{self.name} has no blob {digest}")
            return size

        return self._first(digest, ask)

    def has_blob(self, descriptor: Descriptor) -> bool:
        def ask(store: RegistryStore) -> bool:
            there = store.has_blob(descriptor)
            if not there and store is not self._registry:
                raise NotFoundError(f"{self.name} has no blob {descriptor.digest}")
            return there

        return self._first(descriptor.digest, ask)

    def open_blob(
        self, descriptor: Descriptor, start: int = 0, stop: int | None = None
    ) -> AbstractContextManager[BlobStream]:
        return self._open_blob(descriptor, start, stop)

    @contextmanager
    def _open_blob(self, descriptor: Descriptor, start: int, stop: int | None) -> Iterator[BlobStream]:
        with ExitStack() as stack:

            def begin(store: RegistryStore) -> BlobStream:
                return stack.enter_context(store.open_blob(descriptor, start, stop))

            yield self._first(descriptor.digest, begin, _Watched)

    def _first(
        self,
        digest: Digest | None,
        ask: Callable[[RegistryStore], _T],
        watch: Callable[[_T, Mirror], _T] = lambda answer, _mirror: answer,
    ) -> _T:
        """The first answer. ``digest`` None: only who may resolve is asked."""
        doubted = digest in self._hosts.doubted
        failure: UnavailableError | None = None
        if doubted:
            try:
                return ask(self._registry)
            except UnavailableError as error:
                failure = error
        for mirror in self._hosts.mirrors:
            if not mirror.usable or (digest is None and not mirror.resolves):
                continue
            try:
                answer = watch(ask(mirror.store), mirror)
            except _PASSED_OVER as error:
                mirror.failed(error)
                continue
            mirror.worked()
            if digest is not None:
                with self._hosts.lock:
                    self._hosts.givers.setdefault(digest, set()).add(mirror)
            return answer
        if failure is not None:
            raise failure
        return ask(self._registry)

    def doubt(self, digest: Digest, error: OcimodelError) -> bool:
        """`Mirrored`."""
        with self._hosts.lock:
            givers = self._hosts.givers.pop(digest, set())
            if givers and isinstance(error, IntegrityError):
                self._hosts.doubted.add(digest)
        for mirror in givers:
            mirror.failed(error)
        return bool(givers)

    # What changes

    def nearby(self) -> Store | None:
        """`Mirrored`."""
        if self._near or not any(mirror.resolves and mirror.usable for mirror in self._hosts.mirrors):
            return None
        near = MirroredStore(self._hosts.mirrors, self._registry)
        near._hosts, near._near = self._hosts, True
        return near

    def referrers(self, subject: Digest, *, limit: int = 100_000) -> ReferrerList:
        lists = self._shown(lambda store: store.referrers(subject, limit=limit))
        if len(lists) == 1:
            return lists[0]
        entries = tuple({entry.digest: entry for listed in lists for entry in listed.entries}.values())
        complete = all(listed.complete for listed in lists) and len(entries) <= limit
        return ReferrerList(entries=entries[:limit], complete=complete)

    def tags(self) -> list[str]:
        return self._registry.tags()

    def _shown(self, ask: Callable[[RegistryStore], _T]) -> Sequence[_T]:
        """What the registry says; nearby, what each mirror that may resolve says. At least one answer."""
        if not self._near:
            return [ask(self._registry)]
        answers: list[_T] = []
        failure: OcimodelError = UnavailableError(f"no mirror of {self.name} can be asked")
        for mirror in self._hosts.mirrors:
            if mirror.resolves and mirror.usable:
                try:
                    answers.append(ask(mirror.store))
                except _PASSED_OVER as error:
                    mirror.failed(error)
                    failure = error
        if not answers:
            raise failure
        return answers

    # Writing

    def put_manifest(self, raw: bytes, media_type: str, *, tag: str | None = None) -> Descriptor:
        return self._registry.put_manifest(raw, media_type, tag=tag)

    def put_blob(self, source: Source, digest: Digest | None = None, progress: Progress = no_progress) -> Digest:
        return self._registry.put_blob(source, digest, progress)

    def mount_blob(self, descriptor: Descriptor, source: str) -> bool:
        return self._registry.mount_blob(descriptor, source)

    def close(self) -> None:
        for mirror in self._hosts.mirrors:
            mirror.store.close()
        self._registry.close()

    @property
    def _registry(self) -> RegistryStore:
        return self._hosts.registry


class _Watched:
    """A mirror's stream. One that breaks off or drips is an `UnavailableError`, and the mirror is given a rest."""

    def __init__(self, stream: BlobStream, mirror: Mirror) -> None:
        self.start = stream.start
        self._stream = stream
        self._mirror = mirror
        self._waited = 0.0
        self._received = 0

    def readinto(self, buffer: memoryview) -> int:
        patience = self._mirror.patience
        began = patience.clock()
        try:
            count = self._stream.readinto(buffer)
            self._waited += patience.clock() - began
            self._received += count
            if count and self._waited > patience.document + self._received / FLOOR:
                raise UnavailableError("the blob takes too long")
        except UnavailableError as error:
            self._mirror.failed(error)
            raise
        return count
