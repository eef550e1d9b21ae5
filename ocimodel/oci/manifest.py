"""Manifests and indexes (OCI image-spec v1.1, manifest.md and image-index.md).

Guarantees: a decoded document keeps the very bytes it came from, so its digest and signatures stay true; it
is one kind and not two (``layers`` together with ``manifests`` is refused, CVE-2021-41190); its ``mediaType``
agrees with what the store said. Nothing is fetched, and no layer's own media type is judged here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from ocimodel import jsonio
from ocimodel.errors import FormatError
from ocimodel.jsonio import Node
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest

MAX_BYTES = 4 * 1024 * 1024
"""The size that registries accept, and the most that is read of any manifest or index."""

MAX_LAYERS = 20_000
MAX_MANIFESTS = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One artifact: a config and layers, or a referrer of another manifest (``subject``)."""

    raw: bytes
    media_type: str
    config: Descriptor
    layers: Sequence[Descriptor]
    artifact_type: str | None = None
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_bytes(cls, raw: bytes, media_type: str | None = None) -> Self:
        """Decode. ``media_type`` is what the store said it is, if it said so.

        Raises:
            FormatError: with the path of the bad field.
        """
        node = _document(raw, media_type, media.MANIFESTS, media.OCI_MANIFEST, "manifests")
        artifact_type, subject, annotations = (node.find(key) for key in ("artifactType", "subject", "annotations"))
        return cls(
            raw=raw,
            media_type=_declared(node, media_type, media.OCI_MANIFEST),
            config=Descriptor.from_node(node.get("config")),
            layers=tuple(Descriptor.from_node(item) for item in node.get("layers").items(limit=MAX_LAYERS)),
            artifact_type=artifact_type.string(limit=255) or None if artifact_type else None,
            subject=Descriptor.from_node(subject) if subject else None,
            annotations=annotations.strings() if annotations else {},
        )

    @property
    def descriptor(self) -> Descriptor:
        """What a referrers list should say of it (distribution-spec v1.1, "Listing Referrers")."""
        return Descriptor(
            media_type=self.media_type,
            digest=Digest.of(self.raw),
            size=len(self.raw),
            annotations=self.annotations,
            artifact_type=self.artifact_type or self.config.media_type,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A list of manifests."""

    raw: bytes
    media_type: str
    manifests: Sequence[Descriptor]
    artifact_type: str | None = None
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_bytes(cls, raw: bytes, media_type: str | None = None, *, limit: int = MAX_BYTES) -> Self:
        node = _document(raw, media_type, media.INDEXES, media.OCI_INDEX, "layers", limit=limit)
        artifact_type, subject, annotations = (node.find(key) for key in ("artifactType", "subject", "annotations"))
        return cls(
            raw=raw,
            media_type=_declared(node, media_type, media.OCI_INDEX),
            manifests=tuple(
                Descriptor.from_node(item) for item in node.get("manifests").items(limit=MAX_MANIFESTS)
            ),
            artifact_type=artifact_type.string(limit=255) or None if artifact_type else None,
            subject=Descriptor.from_node(subject) if subject else None,
            annotations=annotations.strings() if annotations else {},
        )


def manifest_bytes(
    *,
    config: Descriptor,
    layers: Sequence[Descriptor],
    artifact_type: str | None = None,
    subject: Descriptor | None = None,
    annotations: Mapping[str, str] | None = None,
) -> bytes:
    """The canonical bytes of an OCI manifest. Raises `FormatError` where they exceed `MAX_BYTES`."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": config.to_dict(),
        "layers": [layer.to_dict() for layer in layers],
    }
    if artifact_type:
        document["artifactType"] = artifact_type
    if subject:
        plain = Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size)
        document["subject"] = plain.to_dict()
    if annotations:
        document["annotations"] = dict(annotations)
    raw = jsonio.canonical(document)
    if len(raw) > MAX_BYTES:
        raise FormatError(f"the manifest would have {len(raw)} bytes; registries take {MAX_BYTES}")
    return raw


def index_bytes(manifests: Sequence[Descriptor], annotations: Mapping[str, str] | None = None) -> bytes:
    """The bytes of an OCI image index, entries in the order given."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media.OCI_INDEX,
        "manifests": [entry.to_dict() for entry in manifests],
    }
    if annotations:
        document["annotations"] = dict(annotations)
    return jsonio.canonical(document)


def _document(
    raw: bytes,
    media_type: str | None,
    family: frozenset[str],
    default: str,
    foreign: str,
    *,
    limit: int = MAX_BYTES,
) -> Node:
    node = Node(jsonio.loads(raw, limit=limit, what="manifest"))
    node.object()
    version = node.get("schemaVersion")
    if version.integer() != 2:
        version.fail("must be 2")
    if foreign in node.object():
        raise FormatError("a document is a manifest or an index, never both", path=foreign)
    declared = node.find("mediaType")
    kind = _declared(node, media_type, default)
    if kind not in family:
        raise FormatError(f"{kind!r} is not a media type of this kind of document", path="mediaType")
    if declared and media_type and declared.string() != media_type:
        declared.fail(f"is {declared.string()!r}, but the store calls it {media_type!r}")
    return node


def _declared(node: Node, media_type: str | None, default: str) -> str:
    declared = node.find("mediaType")
    return declared.string(limit=255) if declared else media_type or default
