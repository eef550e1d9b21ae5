"""Look at an artifact: what is in it, what refers to it, which tags a repository has. `overview` looks further.

Guarantees: no layer but the provenance is fetched, and everything that is read is capped. Nothing here is
verified; what is shown is what the store says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ocimodel.errors import IntegrityError, NotFoundError
from ocimodel.model.artifact import FileEntry, ModelArtifact
from ocimodel.model.config import MAX_BYTES as MAX_CONFIG
from ocimodel.model.config import ModelConfig
from ocimodel.model.provenance import MAX_BYTES as MAX_PROVENANCE
from ocimodel.model.provenance import Provenance
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Index, Manifest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store, target_of
from ocimodel.stores.protocol import Store, read_blob
from ocimodel.verbs.legacy import Tagged, tagged

MAX_NODES = 1000
MAX_LEVELS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """One artifact, or an index of several (then ``manifests`` lists them, and there are no files)."""

    reference: Reference
    descriptor: Descriptor
    artifact_type: str
    kind: str
    annotations: dict[str, str]
    config: ModelConfig | None = None
    files: tuple[FileEntry, ...] = ()
    nameless: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] = ()
    provenance: Provenance | None = None
    referrers: int = 0

    @property
    def total_bytes(self) -> int:
        return sum(entry.descriptor.size for entry in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """An artifact and what refers to it. ``artifact_type`` is read from the manifest itself, not from a list."""

    digest: Digest
    size: int
    artifact_type: str
    predicate_type: str = ""
    keyid: str = ""
    problem: str = ""
    children: tuple[Tree, ...] = ()
    complete: bool = True


def inspect(reference: Reference, access: Access) -> Inspection:
    """What ``reference`` names.

    Raises:
        IntegrityError: the manifest is not what its digest says, or malformed.
        NotFoundError, UnavailableError, AuthenticationError: from the store.
    """
    with open_store(reference, access, mirrors=True) as store:
        return inspect_in(store, reference)[0]


def inspect_in(store: Store, reference: Reference) -> tuple[Inspection, ModelArtifact | None]:
    """As `inspect`, in a store that is open; with the model, unless it is an index."""
    descriptor, raw = store.get_manifest(target_of(reference, store))
    pinned = reference.at(descriptor.digest)
    referrers = len(store.referrers(descriptor.digest).entries)
    if descriptor.media_type in media.INDEXES:
        index = Index.from_bytes(raw, descriptor.media_type)
        return Inspection(
            reference=pinned,
            descriptor=descriptor,
            artifact_type=index.artifact_type or "",
            kind="index",
            annotations=dict(index.annotations),
            manifests=tuple(index.manifests),
            referrers=referrers,
        ), None
    artifact = ModelArtifact.of(Manifest.from_bytes(raw, descriptor.media_type))
    return Inspection(
        reference=pinned,
        descriptor=descriptor,
        artifact_type=artifact.manifest.artifact_type or artifact.manifest.config.media_type,
        kind=artifact.kind,
        annotations=dict(artifact.manifest.annotations),
        config=_config(store, artifact),
        files=artifact.files,
        nameless=artifact.nameless,
        provenance=_provenance(store, artifact),
        referrers=referrers,
    ), artifact


def _config(store: Store, artifact: ModelArtifact) -> ModelConfig | None:
    if not artifact.has_model_config:
        return None
    raw = read_blob(store, artifact.manifest.config, limit=MAX_CONFIG, what="config")
    return ModelConfig.from_bytes(raw)


def _provenance(store: Store, artifact: ModelArtifact) -> Provenance | None:
    if artifact.provenance is None:
        return None
    raw = read_blob(store, artifact.provenance, limit=MAX_PROVENANCE, what="provenance")
    return Provenance.from_bytes(raw)


def tree(reference: Reference, access: Access) -> tuple[Reference, Tree]:
    """What ``reference`` names (pinned, first) with all that refers to it, at most 1,000 nodes, 8 levels deep.

    What stands under cosign's legacy tags is among it: a node for each signature and attestation.
    """
    with open_store(reference, access, mirrors=True) as store:
        descriptor, raw = store.get_manifest(target_of(reference, store))
        left = [MAX_NODES]
        root = _node(store, descriptor, raw, left, MAX_LEVELS, {descriptor.digest})
        legacy = _legacy(tagged(store, descriptor.digest))
    complete = root.complete and len(legacy) <= left[0]
    return reference.at(descriptor.digest), replace(
        root, children=(*root.children, *legacy[: left[0]]), complete=complete
    )


def _legacy(found: Tagged) -> list[Tree]:
    layers = [
        Tree(
            digest=layer.digest,
            size=layer.size,
            artifact_type=layer.media_type,
            predicate_type=layer.annotations.get(media.COSIGN_PREDICATE_TYPE, ""),
            keyid=layer.annotations.get(media.KEY_ID, ""),
        )
        for layer in found.layers
    ]
    damaged = [
        Tree(digest=item.digest, size=item.size, artifact_type=item.format, problem=item.problem)
        for item in found.damaged
    ]
    return layers + damaged


def _node(
    store: Store, descriptor: Descriptor, raw: bytes, left: list[int], levels: int, above: set[Digest]
) -> Tree:
    artifact_type, predicate_type, keyid = _labels(descriptor, raw)
    listed = store.referrers(descriptor.digest)
    children: list[Tree] = []
    complete = listed.complete
    for entry in listed.entries:
        if not left[0] or not levels:
            complete = False
            break
        if entry.digest in above:  # a registry that lists an artifact as its own referrer
            continue
        left[0] -= 1
        children.append(_child(store, entry, descriptor.digest, left, levels - 1, above | {entry.digest}))
    return Tree(
        digest=descriptor.digest,
        size=descriptor.size,
        artifact_type=artifact_type,
        predicate_type=predicate_type,
        keyid=keyid,
        children=tuple(child for child in children if child.problem != _NOT_OURS),
        complete=complete,
    )


_NOT_OURS = "refers to something else"


def _child(
    store: Store, entry: Descriptor, parent: Digest, left: list[int], levels: int, above: set[Digest]
) -> Tree:
    try:
        descriptor, raw = store.get_manifest(entry.digest)
        subject = (
            Index.from_bytes(raw, descriptor.media_type).subject
            if descriptor.media_type in media.INDEXES
            else Manifest.from_bytes(raw, descriptor.media_type).subject
        )
        if subject is None or subject.digest != parent:
            return Tree(digest=entry.digest, size=entry.size, artifact_type="", problem=_NOT_OURS)
        return _node(store, descriptor, raw, left, levels, above)
    except (IntegrityError, NotFoundError) as error:
        kind = entry.artifact_type or ""
        return Tree(digest=entry.digest, size=entry.size, artifact_type=kind, problem=error.message)


def _labels(descriptor: Descriptor, raw: bytes) -> tuple[str, str, str]:
    if descriptor.media_type in media.INDEXES:
        return Index.from_bytes(raw, descriptor.media_type).artifact_type or media.OCI_INDEX, "", ""
    manifest = Manifest.from_bytes(raw, descriptor.media_type)
    return (
        manifest.artifact_type or manifest.config.media_type,
        manifest.annotations.get(media.BUNDLE_PREDICATE_TYPE, ""),
        manifest.annotations.get(media.KEY_ID, ""),
    )


def list_tags(reference: Reference, access: Access) -> tuple[str, ...]:
    """The tags of a repository, sorted. Raises NotFoundError where there is no such repository."""
    with open_store(reference, access, mirrors=True) as store:
        return tuple(store.tags())
