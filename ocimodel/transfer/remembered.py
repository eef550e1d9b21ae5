"""A store whose manifests and small blobs are read once, however often they are asked for.

For what is judged and then carried over: a signature crosses the network once. Guarantees: only what is named by
its digest is remembered, once its digest was computed; tags and lists of referrers are asked anew each time. What
is remembered is bounded; beyond that it is read again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Self

from ocimodel.errors import DigestMismatchError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.stores.protocol import BlobStream, Store
from ocimodel.stores.through import Bytes, Seen, Through

LARGEST = 1024 * 1024
ALL = 32 * 1024 * 1024
"""As much as the candidates of a verdict, and their manifests, can have."""


class _Memory:
    """What was seen, by digest. Safe for several threads."""

    def __init__(self) -> None:
        self.manifests: dict[Digest, tuple[Descriptor, bytes]] = {}
        self.blobs: dict[Digest, bytes] = {}
        self._room = ALL
        self._lock = threading.Lock()

    def take(self, count: int) -> bool:
        """Whether so many bytes more may be kept."""
        with self._lock:
            fits = count <= min(self._room, LARGEST)
            self._room -= count if fits else 0
            return fits


class Remembered(Through):
    """``store``, for as long as one command takes."""

    def __init__(self, store: Store, memory: _Memory | None = None) -> None:
        super().__init__(store)
        self._memory = memory or _Memory()

    def _like(self, store: Store) -> Self:
        return type(self)(store, self._memory)

    def get_manifest(self, target: str | Digest) -> tuple[Descriptor, bytes]:
        known = self._memory.manifests.get(target) if isinstance(target, Digest) else None
        if known is not None:
            return known
        descriptor, raw = self._store.get_manifest(target)
        if descriptor.digest not in self._memory.manifests and self._memory.take(len(raw)):
            self._memory.manifests[descriptor.digest] = descriptor, raw
        return descriptor, raw

    def open_blob(
        self, descriptor: Descriptor, start: int = 0, stop: int | None = None
    ) -> AbstractContextManager[BlobStream]:
        if start or stop is not None or descriptor.size > LARGEST:
            return self._store.open_blob(descriptor, start, stop)
        data = self._memory.blobs.get(descriptor.digest)
        if data is not None and len(data) == descriptor.size:
            return nullcontext(Bytes(data))
        return self._open(descriptor)

    @contextmanager
    def _open(self, descriptor: Descriptor) -> Iterator[BlobStream]:
        with self._store.open_blob(descriptor) as stream:
            yield Seen(stream, descriptor.size, lambda data: self._saw(descriptor.digest, data))

    def _saw(self, digest: Digest, data: bytes) -> None:
        with suppress(DigestMismatchError):  # whoever reads it will say so
            digest.check(data, self.name)
            if digest not in self._memory.blobs and self._memory.take(len(data)):
                self._memory.blobs[digest] = data
