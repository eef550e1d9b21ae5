"""One of the two models that are compared, opened: its documents, and where its files are."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from ocimodel.errors import NotFoundError
from ocimodel.model.artifact import FileEntry, ModelArtifact
from ocimodel.model.chunkindex import ChunkIndex, LayerIndex
from ocimodel.model.config import MAX_BYTES as MAX_CONFIG
from ocimodel.model.config import ModelConfig
from ocimodel.model.provenance import MAX_BYTES as MAX_PROVENANCE
from ocimodel.model.provenance import Provenance
from ocimodel.oci import media
from ocimodel.oci.manifest import Manifest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store, target_of
from ocimodel.stores.protocol import Store, read_blob
from ocimodel.verbs.indexing import fetch_index


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A model. ``raw`` are its files that are layers of their own, by path."""

    reference: Reference
    store: Store
    artifact: ModelArtifact
    config: ModelConfig
    provenance: Provenance | None
    index: ChunkIndex | None
    raw: Mapping[str, FileEntry]

    def layer(self, entry: FileEntry) -> LayerIndex | None:
        return self.index.layers.get(entry.descriptor.digest) if self.index else None


def open_side(reference: Reference, access: Access, stack: ExitStack) -> Side:
    """Raises what `ocimodel.verbs.diff.diff` raises. ``stack`` closes the store."""
    store = stack.enter_context(open_store(reference, access, mirrors=True))
    subject, raw = store.get_manifest(target_of(reference, store))
    if subject.media_type in media.INDEXES:
        raise NotFoundError(
            f"{reference} is an index of several artifacts, not a model",
            hint="Name one of them by its digest; ocimodel inspect REF lists them.",
        )
    artifact = ModelArtifact.of(Manifest.from_bytes(raw, subject.media_type))
    config, provenance = ModelConfig(), None
    if artifact.has_model_config:
        blob = read_blob(store, artifact.manifest.config, limit=MAX_CONFIG, what="config")
        config = ModelConfig.from_bytes(blob)
    if artifact.provenance is not None:
        blob = read_blob(store, artifact.provenance, limit=MAX_PROVENANCE, what="provenance")
        provenance = Provenance.from_bytes(blob)
    return Side(
        reference=reference.at(subject.digest),
        store=store,
        artifact=artifact,
        config=config,
        provenance=provenance,
        index=ChunkIndex.named_by(artifact.manifest, fetch_index(store, artifact.manifest)),
        raw={entry.path: entry for entry in artifact.files if entry.is_raw},
    )
