"""One blob from a store to a store, without touching the disk.

Guarantees: bytes are hashed on the way, and the last of them leaves only when the whole agrees with the digest, so
that nothing else is ever stored under it (14). A source that breaks off is taken up again where it broke off; of a
target that does only what it did not keep is read again. Memory is a few megabytes for each blob, whatever its
size, and some more where one connection to the source is too slow (`ahead`); a small blob is read once, whole.
"""

from __future__ import annotations

from ocimodel.errors import DigestMismatchError, NotFoundError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.stores.protocol import Progress, Source, Store, doubt, read_blob
from ocimodel.transfer.ahead import missing, open_ahead

SMALL = 1024 * 1024
"""Up to this size a blob is kept in memory: a registry's store looks at it twice before it sends it."""


def relay(source: Store, target: Store, blob: Descriptor, progress: Progress) -> None:
    """Carry ``blob`` over; nothing is sent where the target has it.

    Raises:
        DigestMismatchError: the source has other bytes; nothing was stored.
        NotFoundError: the source has no such blob.
        UnavailableError, AuthenticationError, StorageError: from either store.
    """
    what = f"blob {blob.digest} of {source.name}"
    if blob.size <= SMALL:
        target.put_blob(Source.of(read_small(source, blob)), blob.digest, progress)
        return
    carried = Source(size=blob.size, open=lambda: open_ahead(source, blob))
    try:
        try:
            target.put_blob(carried, blob.digest, progress)
        except DigestMismatchError as error:
            if not doubt(source, blob.digest, error):
                raise
            target.put_blob(carried, blob.digest, progress)
    except DigestMismatchError as error:
        raise DigestMismatchError(
            f"{what}, on its way to {target.name}", expected=error.expected, actual=error.actual
        ) from None


def read_small(source: Store, blob: Descriptor) -> bytes:
    """A blob of at most `SMALL` bytes, checked. Raises as `relay`."""
    try:
        return read_blob(source, blob, limit=SMALL, what=f"blob {blob.digest} of {source.name}")
    except NotFoundError as error:
        raise missing(source, blob, error) from None
