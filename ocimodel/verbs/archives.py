"""What is in an archive of small files, by fetching it."""

from __future__ import annotations

import hashlib
import tempfile
from typing import IO

from ocimodel.errors import DigestMismatchError, UnavailableError
from ocimodel.model import group
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Checked, Digest
from ocimodel.stores.protocol import BLOCK, Store, blocks, doubt


def members(store: Store, archive: Descriptor) -> dict[str, Descriptor]:
    """The files of an archive by name, each with its size and SHA-256.

    Raises:
        DigestMismatchError: the archive is another one than its descriptor promises.
        FormatError, UnsafePathError: it is no archive that we unpack.
        NotFoundError, UnavailableError, AuthenticationError: from the store.
    """
    with tempfile.TemporaryFile() as file:
        try:
            _fetch(store, archive, file)
        except (DigestMismatchError, UnavailableError) as error:
            if not doubt(store, archive.digest, error):
                raise
            file.seek(0)
            file.truncate()
            _fetch(store, archive, file)
        found: dict[str, Descriptor] = {}
        for member in group.members(file):
            hasher = hashlib.sha256()
            for content in member.blocks():
                hasher.update(content)
            digest = Digest("sha256", hasher.hexdigest())
            found[member.path] = Descriptor(media_type=archive.media_type, digest=digest, size=member.size)
        return found


def _fetch(store: Store, archive: Descriptor, file: IO[bytes]) -> None:
    checked = Checked(archive.digest, archive.size, "archive")
    with store.open_blob(archive) as stream:
        for block in blocks(stream, memoryview(bytearray(BLOCK))):
            checked.update(block)
            file.write(block)
    checked.finish()
