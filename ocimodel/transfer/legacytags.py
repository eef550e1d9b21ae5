"""cosign's legacy tags of an artifact on their way to a store that may have such tags as well.

Guarantees: what the target lists stays, in its order; what it lacks is added behind it. Where it has none, it gets
the very bytes of the source. The blobs of the source's manifest have been stored already. The tag has no lock:
whoever finds that his layers are gone, since somebody wrote at the same time, adds them again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from ocimodel.attest import legacy
from ocimodel.errors import NotFoundError, UnavailableError
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest
from ocimodel.stores.protocol import Source, Store

_ROUNDS = 10
_SETTLE = 0.25
"""Seconds in which somebody who had read the tag before we wrote it will have written."""


def merge(target: Store, tag: str, raw: bytes, descriptor: Descriptor) -> bool:
    """Make ``tag`` of the target list all that the manifest ``raw`` lists; whether anything was written.

    Raises:
        FormatError: the target's tag holds something else than an image manifest.
        UnavailableError: others keep overwriting the tag.
    """
    ours = Manifest.from_bytes(raw, descriptor.media_type).layers
    for round_ in range(_ROUNDS):
        there = _read(target, tag)
        if there is None:
            target.put_manifest(raw, descriptor.media_type, tag=tag)
            return True
        found, listed = there
        lacking = [layer for layer in ours if layer not in listed]
        if found == descriptor.digest or not lacking:
            return round_ > 0
        if all(layer in ours for layer in listed):
            target.put_manifest(raw, descriptor.media_type, tag=tag)
        else:
            document, config = legacy.appended(target.get_manifest(found)[1], lacking)
            target.put_blob(Source.of(config), Digest.of(config))
            target.put_manifest(document, media.OCI_MANIFEST, tag=tag)
        time.sleep(_SETTLE * random.random() * min(2**round_, 16))  # noqa: S311
    raise UnavailableError(f"{target.name}: others keep overwriting the tag {tag}")


def _read(target: Store, tag: str) -> tuple[Digest, Sequence[Descriptor]] | None:
    try:
        found, raw = target.get_manifest(tag)
    except NotFoundError:
        return None
    return found.digest, Manifest.from_bytes(raw, found.media_type).layers
