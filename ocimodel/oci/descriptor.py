"""Descriptors: a media type, a digest and a size (OCI image-spec v1.1, descriptor.md).

Guarantees: a decoded descriptor is well-formed. ``urls`` and ``data`` are never followed or used: bytes come
from the store and are checked against the digest. Unknown members are tolerated and dropped; documents keep
their original bytes elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from ocimodel.errors import FormatError
from ocimodel.jsonio import Node
from ocimodel.oci.digest import Digest

# RFC 6838, section 4.2.
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
MAX_SIZE = 2**50


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """Names bytes: what they are, how many, and their digest. ``artifact_type`` occurs in referrers lists."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str | None = None

    @classmethod
    def from_node(cls, node: Node) -> Self:
        artifact_type = node.find("artifactType")
        annotations = node.find("annotations")
        return cls(
            media_type=media_type(node.get("mediaType")),
            digest=digest(node.get("digest")),
            size=node.get("size").integer(maximum=MAX_SIZE),
            annotations=annotations.strings() if annotations else {},
            artifact_type=artifact_type.string(limit=255) or None if artifact_type else None,
        )

    def to_dict(self) -> dict[str, Any]:
        result: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.artifact_type:
            result["artifactType"] = self.artifact_type
        if self.annotations:
            result["annotations"] = dict(self.annotations)
        return result

    def __hash__(self) -> int:
        return hash((self.media_type, self.digest, self.size))


def media_type(node: Node) -> str:
    """A media type by RFC 6838; parameters are not part of a descriptor's."""
    text = node.string(limit=255)
    if _MEDIA_TYPE.fullmatch(text) is None:
        node.fail(f"{text!r} is not a media type")
    return text


def digest(node: Node) -> Digest:
    """A digest; the error names the field."""
    try:
        return Digest.parse(node.string())
    except FormatError as error:
        raise FormatError(error.what, path=node.path) from None
