"""A store seen through something: all that is not said otherwise is the store's own, mirrors and clock included.

Guarantees nothing of its own. It is for those who keep what they have seen.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Self

from ocimodel.errors import OcimodelError
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


class Through:
    """``store``, and nothing else; to be derived from."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def _like(self, store: Store) -> Self:
        """The same view of another store."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        return self._store.name

    @property
    def clock_offset(self) -> timedelta | None:
        return clock_offset(self._store)

    def nearby(self) -> Self | None:
        """`Mirrored`: what comes from a mirror is seen in the same way."""
        near = nearby(self._store)
        return self._like(near) if near is not None else None

    def doubt(self, digest: Digest, error: OcimodelError) -> bool:
        return doubt(self._store, digest, error)

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

    def blob_size(self, digest: Digest) -> int | None:
        return self._store.blob_size(digest)

    def open_blob(
        self, descriptor: Descriptor, start: int = 0, stop: int | None = None
    ) -> AbstractContextManager[BlobStream]:
        return self._store.open_blob(descriptor, start, stop)

    def put_blob(self, source: Source, digest: Digest | None = None, progress: Progress = no_progress) -> Digest:
        return self._store.put_blob(source, digest, progress)

    def mount_blob(self, descriptor: Descriptor, source: str) -> bool:
        return self._store.mount_blob(descriptor, source)

    def close(self) -> None:
        self._store.close()


class Seen:
    """A stream of ``size`` bytes, and what came of it once all has: ``done`` is told, before anybody checked it."""

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


class Bytes:
    """Bytes that are there, as a `BlobStream`."""

    start = 0

    def __init__(self, data: bytes) -> None:
        self._left = memoryview(data)

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
