"""A store whose small blobs (configs, provenance, chunk indexes, signatures) come from the cache where it has them.

Guarantees: what the store says (tags, manifests, referrers) is asked anew each time; only blobs, whose names are
their digests, are taken from the cache, and their digests are computed each time. What is fetched is checked before
it is kept; where several processes ask for the same at the same time, one fetches it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Self

from ocimodel.errors import DigestMismatchError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.stores.protocol import BlobStream, Store
from ocimodel.stores.through import Bytes, Seen, Through
from ocimodel.transfer.cache import Cache

MAX_BYTES = 32 * 1024 * 1024
"""The largest document; what is larger is left to the store."""
PATIENCE = 10.0
"""Seconds that another process's document is waited for."""


class Documents(Through):
    """``store`` seen through ``cache``."""

    def __init__(self, store: Store, cache: Cache) -> None:
        super().__init__(store)
        self._cache = cache

    def _like(self, store: Store) -> Self:
        return type(self)(store, self._cache)

    def open_blob(
        self, descriptor: Descriptor, start: int = 0, stop: int | None = None
    ) -> AbstractContextManager[BlobStream]:
        if start or stop is not None or descriptor.size > MAX_BYTES:
            return self._store.open_blob(descriptor, start, stop)
        return self._open(descriptor)

    @contextmanager
    def _open(self, descriptor: Descriptor) -> Iterator[BlobStream]:
        data = self._wait(descriptor)
        if data is not None and len(data) == descriptor.size:
            yield Bytes(data)
            return
        try:
            with self._store.open_blob(descriptor) as stream:
                yield Seen(stream, descriptor.size, lambda data: self._saw(descriptor.digest, data))
        finally:
            self._cache.flights.release(descriptor.digest)

    def _saw(self, digest: Digest, data: bytes) -> None:
        with suppress(DigestMismatchError):  # whoever reads it will say so
            digest.check(data, self.name)
            self._cache.write(digest, data)

    def _wait(self, descriptor: Descriptor) -> bytes | None:
        """What the cache has, at once or after another process has fetched it; None where it is ours to fetch."""
        until = time.monotonic() + PATIENCE
        while True:
            ours = self._cache.flights.lock(descriptor.digest)
            data = self._cache.read(descriptor.digest, limit=MAX_BYTES)
            if data is not None and ours:
                self._cache.flights.release(descriptor.digest)
            if data is not None or ours or time.monotonic() > until:
                return data
            time.sleep(0.02)

    def blob_size(self, digest: Digest) -> int | None:
        data = self._cache.read(digest, limit=MAX_BYTES)
        return self._store.blob_size(digest) if data is None else len(data)
