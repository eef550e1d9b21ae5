"""A repository in memory: the simplest store that keeps the promises of `Store`.

Guarantees: safe for threads; what is put under a digest has that digest. It forgets everything when it goes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from ocimodel.errors import DigestMismatchError, NotFoundError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.stores.facts import Facts, check_tag, digest_of, examine, is_fallback_tag, source_errors
from ocimodel.stores.protocol import BLOCK, BlobStream, Progress, ReferrerList, Source, no_progress


class MemoryStore:
    """One repository, in dictionaries."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._blobs: dict[Digest, bytes] = {}
        self._manifests: dict[Digest, tuple[Facts, bytes]] = {}
        self._tags: dict[str, Digest] = {}

    def get_manifest(self, target: str | Digest) -> tuple[Descriptor, bytes]:
        digest = digest_of(target) or self._tags.get(str(target))
        facts, raw = self._manifests.get(digest, (None, b"")) if digest else (None, b"")
        if facts is None:
            raise NotFoundError(f"{self.name} has no {target}")
        plain = facts.descriptor
        return Descriptor(media_type=plain.media_type, digest=plain.digest, size=plain.size), raw

    def resolve(self, target: str | Digest) -> Descriptor:
        return self.get_manifest(target)[0]

    def put_manifest(self, raw: bytes, media_type: str, *, tag: str | None = None) -> Descriptor:
        facts = examine(raw, media_type)
        digest = facts.descriptor.digest
        with self._lock:
            self._manifests[digest] = (facts, raw)
            if tag is not None:
                self._tags[check_tag(tag)] = digest
        return self.resolve(digest)

    def tags(self) -> list[str]:
        with self._lock:
            return sorted(tag for tag in self._tags if not is_fallback_tag(tag))

    def referrers(self, subject: Digest, *, limit: int = 100_000) -> ReferrerList:
        with self._lock:
            found = [facts.descriptor for facts, _ in self._manifests.values() if facts.subject == subject]
        return ReferrerList(entries=tuple(found[:limit]), complete=len(found) <= limit)

    def has_blob(self, descriptor: Descriptor) -> bool:
        data = self._blobs.get(descriptor.digest)
        return data is not None and len(data) == descriptor.size

    def blob_size(self, digest: Digest) -> int | None:
        data = self._blobs.get(digest)
        return None if data is None else len(data)

    def open_blob(
        self, descriptor: Descriptor, start: int = 0, stop: int | None = None
    ) -> AbstractContextManager[BlobStream]:
        return self._open(descriptor, start, stop)

    @contextmanager
    def _open(self, descriptor: Descriptor, start: int, stop: int | None) -> Iterator[BlobStream]:
        data = self._blobs.get(descriptor.digest)
        if data is None:
            raise NotFoundError(f"{self.name} has no blob {descriptor.digest}")
        yield _Slice(memoryview(data)[start:stop], start)

    def put_blob(self, source: Source, digest: Digest | None = None, progress: Progress = no_progress) -> Digest:
        if digest is not None and digest in self._blobs:
            return digest
        parts: list[bytes] = []
        with source_errors(), source.open() as file:
            while block := file.read(BLOCK):
                parts.append(block)
                progress(len(block))
        data = b"".join(parts)
        if len(data) != source.size:
            raise DigestMismatchError("upload", expected=f"{source.size} bytes", actual=str(len(data)))
        if digest is not None:
            digest.check(data, "upload")
        digest = digest or Digest.of(data)
        with self._lock:
            self._blobs.setdefault(digest, data)
        return digest

    def mount_blob(self, descriptor: Descriptor, source: str) -> bool:  # noqa: ARG002
        return False

    def close(self) -> None:
        return None


class _Slice:
    def __init__(self, data: memoryview, start: int) -> None:
        self.start = start
        self._data = data

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._data))
        buffer[:count] = self._data[:count]
        self._data = self._data[count:]
        return count
