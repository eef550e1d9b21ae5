"""Sending blobs to a store: several at a time, the largest first, each at most once.

Guarantees: what is returned as a digest was computed from the very bytes that the store was given, or already
has; a file that changes while it is read fails the push. A file is read once: hashed while it is sent, with the
digest in the closing request. It is hashed first only where that may save the sending: where the digest cache
knows it, or where the repository has a layer of that size already. Memory is constant: one block for each worker.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from ocimodel.errors import DigestMismatchError
from ocimodel.oci.digest import Digest
from ocimodel.stores.protocol import BLOCK, Memo, Progress, Source, Store
from ocimodel.transfer.digests import DigestCache, Identity
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.parallel import run_all
from ocimodel.transfer.pushing import Pushing

WORKERS = 3
SMALL = 1024 * 1024
"""Up to this size a file is always hashed first: asking for it costs less than sending it in vain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One blob to be. ``identity`` is set where it is one local file, unchanged."""

    source: Source
    identity: Identity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of one source. ``sent`` is false where the store had the blob already."""

    digest: Digest
    size: int
    sent: bool


def upload_all(
    store: Store,
    uploads: Sequence[Upload],
    meter: Meter,
    *,
    cache: DigestCache,
    likely: Collection[int] = (),
    pushing: Pushing | None = None,
    workers: int = WORKERS,
) -> list[Sent]:
    """Upload what the store does not have. The results are in the order of ``uploads``.

    Args:
        pushing: where notes about unfinished uploads are kept.
        likely: sizes of blobs that the store has; a file of such a size is hashed before it is sent.
    """
    pushing = pushing or Pushing(None, "")

    def upload(item: Upload, progress: Progress) -> Sent:
        with pushing.noting(item.identity, item.source.size) as memo:
            return noted(item if memo is None else _with(item, memo), progress)

    def noted(item: Upload, progress: Progress) -> Sent:
        digest = cache.get(item.identity) if item.identity else None
        if digest is None and (item.source.size <= SMALL or item.source.size in likely):
            digest = _hash(item, cache)
        if digest is not None:
            try:
                return _send(store, item, digest, progress)
            except DigestMismatchError:
                if item.identity is None or cache.get(item.identity) is None:
                    raise
                cache.forget(item.identity)
        began = time.time_ns()
        digest = store.put_blob(item.source, None, progress)
        if item.identity:
            cache.put(item.identity, digest, hashed_at_ns=began)
        return Sent(digest=digest, size=item.source.size, sent=True)

    meter.begin("pushing", sum(item.source.size for item in uploads))
    try:
        return run_all(upload, uploads, size=lambda item: item.source.size, workers=workers, progress=meter.advance)
    finally:
        meter.end()


def _with(item: Upload, memo: Memo) -> Upload:
    return replace(item, source=replace(item.source, memo=memo))


def _send(store: Store, item: Upload, digest: Digest, progress: Progress) -> Sent:
    moved = 0

    def count(more: int) -> None:
        nonlocal moved
        moved += more
        progress(more)

    store.put_blob(item.source, digest, count)
    if not moved:
        progress(item.source.size)
    return Sent(digest=digest, size=item.source.size, sent=moved > 0)


def _hash(item: Upload, cache: DigestCache) -> Digest:
    began = time.time_ns()
    digest = digest_of(item.source)
    if item.identity:
        cache.put(item.identity, digest, hashed_at_ns=began)
    return digest


def digest_of(source: Source) -> Digest:
    """Read a source once for its SHA-256."""
    hasher = hashlib.sha256()
    with source.open() as file:
        while block := file.read(BLOCK):
            hasher.update(block)
    return Digest("sha256", hasher.hexdigest())
