"""What every store must know of a target and of a manifest: digest or tag, and whose referrer.

Guarantees: `examine` reads only what makes a document a referrer. It does not judge the rest: whoever uses
the document decodes it with `Manifest` or `Index`, which do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ocimodel import jsonio
from ocimodel.errors import FormatError, StorageError, UsageError
from ocimodel.jsonio import Node
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor, digest, media_type
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import MAX_BYTES

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
# distribution-spec v1.1, "Referrers Tag Schema"; the endings are cosign's.
_FALLBACK_TAG = re.compile(r"sha(?:256|512)-[0-9a-f]{64}(?:\.(?:sig|att|sbom))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A document as a referrers list shows it, and what it refers to."""

    descriptor: Descriptor
    subject: Digest | None


def digest_of(target: str | Digest) -> Digest | None:
    """The digest that ``target`` is, or None where it is a tag. Raises `UsageError` where it is neither."""
    if isinstance(target, Digest):
        return target
    if ":" in target:
        try:
            return Digest.parse(target)
        except FormatError as error:
            raise UsageError(error.what) from None
    check_tag(target)
    return None


def check_tag(tag: str) -> str:
    """Return ``tag``. Raises `UsageError` unless distribution-spec v1.1 allows it."""
    if _TAG.fullmatch(tag) is None:
        raise UsageError(f"{tag[:140]!r} is not a tag")
    return tag


def is_tag(text: str) -> bool:
    """Whether distribution-spec v1.1 allows it as a tag."""
    return _TAG.fullmatch(text) is not None


def fallback_tag(subject: Digest) -> str:
    """The tag that lists the referrers of ``subject`` where there is no referrers API."""
    return f"{subject.algorithm}-{subject.hex[:64]}"


def is_fallback_tag(tag: str) -> bool:
    """Whether the tag lists referrers or is a cosign signature: bookkeeping that `Store.tags` leaves out."""
    return _FALLBACK_TAG.fullmatch(tag) is not None


def subject_of_tag(tag: str) -> Digest | None:
    """What such a tag is about; None where that cannot be told: of a longer digest the tag has only a part."""
    if not is_fallback_tag(tag) or not tag.startswith("sha256-"):
        return None
    return Digest.parse(tag.partition(".")[0].replace("-", ":", 1))


def examine(raw: bytes, kind: str) -> Facts:
    """Raises `FormatError` where ``raw`` is no JSON object of at most 4 MiB, or its subject is malformed."""
    node = Node(jsonio.loads(raw, limit=MAX_BYTES, what="manifest"))
    subject = node.find("subject")
    annotations = node.find("annotations")
    return Facts(
        subject=digest(subject.get("digest")) if subject else None,
        descriptor=Descriptor(
            media_type=media_type(Node(kind, "mediaType")),
            digest=Digest.of(raw),
            size=len(raw),
            artifact_type=_artifact_type(node),
            annotations=annotations.strings() if annotations else {},
        ),
    )


def sniff(raw: bytes) -> str | None:
    """The media type of a document that nothing else names; None where it is no manifest and no index."""
    try:
        node = Node(jsonio.loads(raw, limit=MAX_BYTES, what="manifest"))
        declared = node.find("mediaType")
        if node.object().get("schemaVersion") != 2:
            return None
    except FormatError:
        return None
    if declared is not None and isinstance(declared.value, str):
        return declared.value
    if "layers" in node.object():
        return media.OCI_MANIFEST
    return media.OCI_INDEX if "manifests" in node.object() else None


@contextmanager
def source_errors() -> Iterator[None]:
    """Bytes that are to be stored could not be read: `StorageError`."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot read what is to be stored: {error.strerror or error}") from error


def _artifact_type(node: Node) -> str | None:
    own = node.find("artifactType")
    if own is not None and own.string(limit=255):
        return own.string()
    config = node.find("config")
    kind = config.find("mediaType") if config else None
    return kind.string(limit=255) or None if kind else None
