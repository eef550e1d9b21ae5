"""Sending blobs to a store: several at a time, the largest first, each at most once.

Guarantees: what is returned as a digest was computed from the very bytes that the store was given or already
has; a file that changes while it is read fails the push. Memory is constant: one block for each worker. The
caller puts the manifest only after this has returned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.stores.protocol import BLOCK, Progress, Source, Store
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.parallel import run_all

WORKERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of one source. ``sent`` is false where the store had the blob already."""

    digest: Digest
    size: int
    sent: bool


def digest_of(source: Source) -> Digest:
    """Read a source once for its SHA-256."""
    hasher = hashlib.sha256()
    with source.open() as file:
        while block := file.read(BLOCK):
            hasher.update(block)
    return Digest("sha256", hasher.hexdigest())


def upload_all(store: Store, sources: Sequence[Source], meter: Meter, *, workers: int = WORKERS) -> list[Sent]:
    """Upload what the store does not have. The results are in the order of ``sources``."""

    def upload(source: Source, progress: Progress) -> Sent:
        digest = digest_of(source)
        known = Descriptor(media_type="application/octet-stream", digest=digest, size=source.size)
        if store.has_blob(known):
            progress(source.size)
            return Sent(digest=digest, size=source.size, sent=False)
        store.put_blob(source, digest, progress)
        return Sent(digest=digest, size=source.size, sent=True)

    meter.begin("pushing", sum(source.size for source in sources))
    try:
        return run_all(upload, sources, size=lambda source: source.size, workers=workers, progress=meter.advance)
    finally:
        meter.end()
