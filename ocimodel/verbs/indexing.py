"""The chunk index of an artifact: made while its files are pushed, read where they are pulled.

Guarantees: an index is a pure function of the files, so the manifest that names it is as well. What is kept of
earlier pushes lies beside the digest cache and is trusted as little: it must cut the file where the file is cut
today. A read index has the digest that the manifest names and speaks of its layers alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ocimodel.attest.referrer import EMPTY
from ocimodel.errors import FormatError, IntegrityError, OcimodelError
from ocimodel.model.chunkindex import MAX_BYTES, ChunkIndex, LayerIndex
from ocimodel.model.chunking import cut
from ocimodel.model.packing import Packing
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest, manifest_bytes
from ocimodel.stores.protocol import Source, Store, doubt, read_blob
from ocimodel.transfer.staging import write_atomically
from ocimodel.transfer.watching import Watched

SMALL = 1024 * 1024
"""Bytes; a file of this size is sooner read again than its pieces are looked up."""


class Indexer:
    """Watches the weight files of ``packing`` while they are read.

    Args:
        keep: a directory, checked like the digest cache's, for indexes of files that are not read again.
    """

    def __init__(self, packing: Packing, algorithm: str, keep: Path | None) -> None:
        self._algorithm = algorithm
        self._keep = keep
        self._watched: dict[int, Watched] = {}
        for position, layer in enumerate(packing.plan.layers):
            if layer.role == "weight" and not layer.is_group and layer.size:
                header = packing.headers.get(layer.path)
                self._watched[position] = Watched(
                    layer.size, header.tensors if header else (), algorithm, layer.open
                )
        self.sources = [
            Source(size=layer.size, open=watched.open if (watched := self._watched.get(position)) else layer.open)
            for position, layer in enumerate(packing.plan.layers)
        ]
        """The layers' bytes, in the plan's order; reading them is what makes the index."""

    def finish(self, digests: Sequence[Digest]) -> bytes | None:
        """The index's bytes; None for a model without weights, and where it would exceed its cap."""
        layers: dict[Digest, LayerIndex] = {}
        for position, watched in self._watched.items():
            digest = digests[position]
            if digest not in layers:
                layers[digest] = self._known(digest, watched) or self._made(digest, watched)
        if not layers:
            return None
        with suppress(FormatError):
            return ChunkIndex(algorithm=self._algorithm, layers=layers).to_bytes()
        return None

    def _made(self, digest: Digest, watched: Watched) -> LayerIndex:
        layer = watched.index(digest)
        if self._keep is not None and watched.size > SMALL:
            with suppress(OcimodelError):
                raw = ChunkIndex(algorithm=self._algorithm, layers={digest: layer}).to_bytes()
                write_atomically(self._path(self._keep, digest), raw)
        return layer

    def _known(self, digest: Digest, watched: Watched) -> LayerIndex | None:
        if self._keep is None or watched.seen or watched.size <= SMALL:
            return None
        with suppress(OSError, FormatError):
            raw = self._path(self._keep, digest).read_bytes()
            layer = ChunkIndex.from_bytes(raw, {digest: watched.size}).layers[digest]
            named = [(tensor.name, tensor.start, tensor.stop) for tensor in layer.tensors]
            wanted = [(tensor.name, tensor.start, tensor.stop) for tensor in watched.tensors]
            if [chunk.stop for chunk in layer.chunks] == cut(watched.size, watched.tensors) and named == wanted:
                return layer
        return None

    def _path(self, keep: Path, digest: Digest) -> Path:
        return keep / "chunks" / f"{self._algorithm}-{digest.hex}.json"


def attach_index(store: Store, subject: Descriptor, index: bytes) -> None:
    """Keep the index's blob alive by a referrer of the artifact. The blob has been put already."""
    layer = Descriptor(media_type=media.CHUNK_INDEX, digest=Digest.of(index), size=len(index))
    raw = manifest_bytes(config=EMPTY, layers=[layer], artifact_type=media.CHUNK_INDEX, subject=subject)
    if any(entry.digest == Digest.of(raw) for entry in store.referrers(subject.digest).entries):
        return
    store.put_blob(Source.of(media.EMPTY_JSON), EMPTY.digest)
    store.put_manifest(raw, media.OCI_MANIFEST)


def fetch_index(store: Store, manifest: Manifest, *, most: int | None = None) -> bytes | None:
    """The bytes of the index that ``manifest`` names; None where it names none, or the store does not have it.

    Args:
        most: bytes; None as well where the index has more.

    Raises:
        FormatError, DigestMismatchError: it is there, and not what the manifest promises.
    """
    named = manifest.annotations.get(media.CHUNK_INDEX_ANNOTATION)
    if named is None:
        return None
    try:
        digest = Digest.parse(named)
    except FormatError as error:
        raise FormatError(error.what, path=f"annotations.{media.CHUNK_INDEX_ANNOTATION}") from None
    size = store.blob_size(digest)
    if size is None or (most is not None and size > most):
        return None
    descriptor = Descriptor(media_type=media.CHUNK_INDEX, digest=digest, size=size)
    try:
        return read_blob(store, descriptor, limit=MAX_BYTES, what="chunk index")
    except IntegrityError as error:
        # Nothing that is signed says its size: a mirror may have said another one.
        doubt(store, digest, error)
        said = store.blob_size(digest)
        if said is None or said == size:
            raise
    descriptor = Descriptor(media_type=media.CHUNK_INDEX, digest=digest, size=said)
    return read_blob(store, descriptor, limit=MAX_BYTES, what="chunk index")
