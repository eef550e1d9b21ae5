"""Blobs that are read for nothing but to be checked: their bytes go no further."""

from __future__ import annotations

from ocimodel.errors import DigestMismatchError, UnavailableError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Checked
from ocimodel.stores.protocol import BLOCK, Progress, Store, blocks, doubt, no_progress


def check_blob(store: Store, descriptor: Descriptor, what: str, progress: Progress = no_progress) -> None:
    """Read a blob to its end. Raises DigestMismatchError where it is not what its descriptor says."""
    read = 0

    def count(moved: int) -> None:
        nonlocal read
        read += moved
        progress(moved)

    try:
        _check(store, descriptor, what, count)
    except (DigestMismatchError, UnavailableError) as error:
        if not doubt(store, descriptor.digest, error):
            raise
        progress(-read)
        _check(store, descriptor, what, progress)


def _check(store: Store, descriptor: Descriptor, what: str, progress: Progress) -> None:
    checked = Checked(descriptor.digest, descriptor.size, what)
    with store.open_blob(descriptor) as stream:
        for block in blocks(stream, memoryview(bytearray(min(BLOCK, descriptor.size + 1)))):
            checked.update(block)
            progress(len(block))
    checked.finish()
