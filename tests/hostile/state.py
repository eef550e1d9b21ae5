"""What a registry holds. Bytes are whatever was put there: a test may damage them under their old digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from tests.hostile.messages import Body

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = {
    "mediaType": "application/vnd.oci.empty.v1+json",
    "digest": "sha256:" + hashlib.sha256(b"{}").hexdigest(),
    "size": 2,
}
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or an index."""

    raw: bytes
    media_type: str


@dataclass(slots=True)
class Repository:
    """``referrers`` maps a subject's digest to the descriptors that its list shows, oldest first."""

    blobs: dict[str, Body] = field(default_factory=dict)
    manifests: dict[str, Document] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    referrers: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    def copy(self) -> Repository:
        return Repository(
            dict(self.blobs),
            dict(self.manifests),
            dict(self.tags),
            {subject: dict(listed) for subject, listed in self.referrers.items()},
        )

    def add_blob(self, data: bytes) -> str:
        digest = digest_of(data)
        self.blobs[digest] = data
        return digest

    def add_manifest(self, raw: bytes, media_type: str = OCI_MANIFEST, *tags: str) -> str:
        """Store, list as a referrer where it has a subject, and tag."""
        digest = digest_of(raw)
        self.manifests[digest] = Document(raw, media_type)
        document = json.loads(raw)
        subject = document.get("subject") if isinstance(document, dict) else None
        if isinstance(subject, dict):
            entry = describe(raw, media_type, document)
            self.referrers.setdefault(subject["digest"], {})[digest] = entry
        for tag in tags:
            self.tags[tag] = digest
        return digest

    def resolve(self, target: str) -> str | None:
        digest = target if ":" in target else self.tags.get(target)
        return digest if digest in self.manifests else None

    def flip(self, digest: str, position: int, mask: int = 1) -> None:
        """Change bits of one byte of a blob or a manifest; its name stays."""
        document = self.manifests.get(digest)
        changed = bytearray(document.raw if document else self.blobs[digest])
        changed[position] ^= mask
        self.overwrite(digest, bytes(changed))

    def truncate(self, digest: str, size: int) -> None:
        document = self.manifests.get(digest)
        self.overwrite(digest, bytes((document.raw if document else self.blobs[digest])[:size]))

    def overwrite(self, digest: str, data: bytes) -> None:
        """Serve ``data`` under another's digest."""
        document = self.manifests.get(digest)
        if document:
            self.manifests[digest] = Document(data, document.media_type)
        else:
            self.blobs[digest] = data

    def garbage(
        self, subject: str, count: int, *, artifact_type: str = BUNDLE, real: bool = True, start: int = 0
    ) -> list[dict[str, Any]]:
        """Referrers that are worth nothing; with ``real`` their manifests can be fetched."""
        self.blobs.setdefault(EMPTY["digest"], b"{}")  # type: ignore[arg-type]
        owner = self.manifests.get(subject)
        about = {
            "mediaType": owner.media_type if owner else OCI_MANIFEST,
            "digest": subject,
            "size": len(owner.raw) if owner else 2,
        }
        listed = self.referrers.setdefault(subject, {})
        entries = []
        for number in range(start, start + count):
            document = {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "artifactType": artifact_type,
                "config": EMPTY,
                "layers": [EMPTY],
                "subject": about,
                "annotations": {"garbage": str(number)},
            }
            raw = json.dumps(document).encode()
            entry = describe(raw, OCI_MANIFEST, document)
            if real:
                self.manifests[entry["digest"]] = Document(raw, OCI_MANIFEST)
            listed[entry["digest"]] = entry
            entries.append(entry)
        return entries

    def write_fallback(self, subject: str) -> str:
        """Write what `referrers` lists into the fallback tag, as a client without the API would have."""
        raw = index_of(list(self.referrers.get(subject, {}).values()))
        return self.add_manifest(raw, OCI_INDEX, subject.replace(":", "-"))


def digest_of(data: Body, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def describe(raw: bytes, media_type: str, document: dict[str, Any]) -> dict[str, Any]:
    """The descriptor of a referrer (distribution-spec v1.1, "Listing Referrers")."""
    config = document.get("config")
    kind = document.get("artifactType") or (config.get("mediaType") if isinstance(config, dict) else None)
    entry: dict[str, Any] = {"mediaType": media_type, "digest": digest_of(raw), "size": len(raw)}
    if kind:
        entry["artifactType"] = kind
    if document.get("annotations"):
        entry["annotations"] = document["annotations"]
    return entry


def index_of(entries: list[dict[str, Any]]) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
