"""A store whose small blobs (configs, provenance, chunk indexes, signatures) come from the cache where it has them.

Guarantees: what the store says (tags, manifests, referrers) is asked anew each time; only blobs, whose names are
their digests, are taken from the cache, and their digests are computed each time. What is fetched is checked before
it is kept; where several processes ask for the same at the same time, one fetches it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta

from ocimodel.errors import DigestMismatchError, OcimodelError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.stores.protocol import (
    BlobStream,
    Progress,
    ReferrerList,
    Source,
    Store,
    clock_offset,
    doubt,
    nearby,
    no_progress,
)
from ocimodel.transfer.cache import Cache

MAX_BYTES = 32 * 1024 * 1024
"""The largest document; what is larger is left to the store."""
PATIENCE = 10.0
"""Seconds that another process's document is waited for."""


class Documents:
    """``store`` seen through ``cache``."""

    def __init__(self, store: Store, cache: Cache) -> None:
        self._store = store
        self._cache = cache

    @property
    def name(self) -> str:
        return self._store.name

    @property
    def clock_offset(self) -> timedelta | None:
        return clock_offset(self._store)

    def nearby(self) -> Store | None:
        """`Mirrored`: what comes from a mirror is kept as well."""
        near = nearby(self._store)
        return Documents(near, self._cache) if near is not None else None

    def doubt(self, digest: Digest, error: OcimodelError) -> bool:
        return doubt(self._store, digest, error)

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
            yield _Bytes(data)
            return
        try:
            with self._store.open_blob(descriptor) as stream:
                yield _Seen(stream, descriptor.size, lambda data: self._saw(descriptor.digest, data))
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

    # The store's own

    def get_manifest(self, target: str | Digest) -> tuple[Descriptor, bytes]:
        return self._store.get_manifest(target)

    def resolve(self, target: str | Digest) -> Descriptor:
        return self._store.resolve(target)

    def put_manifest(self, raw: bytes, media_type: str, *, tag: str | None = None) -> Descriptor:
        return self._store.put_manifest(raw, media_type, tag=tag)

    def tags(self) -> list[str]:
        return self._store.tags()

    def referrers(self, subject: Digest, *, limit: int = 100_000) -> ReferrerList:
        return self._store.referrers(subject, limit=limit)

    def has_blob(self, descriptor: Descriptor) -> bool:
        return self._store.has_blob(descriptor)

    def put_blob(self, source: Source, digest: Digest | None = None, progress: Progress = no_progress) -> Digest:
        return self._store.put_blob(source, digest, progress)

    def mount_blob(self, descriptor: Descriptor, source: str) -> bool:
        return self._store.mount_blob(descriptor, source)

    def close(self) -> None:
        self._store.close()


class _Seen:
    """A stream, and what came of it once all has."""

    def __init__(self, stream: BlobStream, size: int, done: Callable[[bytes], None]) -> None:
        self.start = stream.start
        self._stream = stream
        self._left = size
        self._done = done
        self._parts: list[bytes] = []

    def readinto(self, buffer: memoryview) -> int:
        count = self._stream.readinto(buffer)
        if self._left >= count > 0:
            self._parts.append(bytes(buffer[:count]))
            self._left -= count
            if not self._left:
                self._done(b"".join(self._parts))
        return count


class _Bytes:
    start = 0

    def __init__(self, data: bytes) -> None:
        self._left = memoryview(data)

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
