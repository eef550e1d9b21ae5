"""What a bundle for a closed network says of itself: ``bundle.json``, and the index of its layout.

    blobs/sha256/<hex>   blobs and manifests, as in any OCI image layout
    bundle.json          this document: the artifacts, what was left out, the digests of the other files
    index.json           every manifest; a tag is an entry's ref.name annotation
    oci-layout
    trust/<name>         policies and public keys that were given along

Guarantees: the documents are pure functions of the artifacts, so that the same artifacts make the same bundle; a
document that is not exactly as it would have been written is refused. Nothing here makes what came in a bundle
trusted: whoever can change the artifacts can change the policy beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from ocimodel import jsonio
from ocimodel.errors import FormatError, UsageError
from ocimodel.jsonio import Node
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor, digest, media_type
from ocimodel.oci.digest import Digest
from ocimodel.oci.paths import check_path
from ocimodel.oci.reference import Reference
from ocimodel.stores.facts import Facts, is_tag
from ocimodel.stores.layout_index import LayoutIndex

DOCUMENT, INDEX, MARKER, TRUST, BLOBS = "bundle.json", "index.json", "oci-layout", "trust/", "blobs/"
MARKER_BYTES = b'{"imageLayoutVersion":"1.0.0"}'
MAX_BYTES = 64 * 1024 * 1024
MAX_ARTIFACTS = 10_000
MAX_TRUST_FILES = 64
MAX_TRUST_BYTES = 1024 * 1024
TYPE = f"{media.URI}bundle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One that was asked for.

    ``reference`` is what it was called where it was saved, without digest. ``tag`` is its tag there, ``name`` the
    tag that it has in the bundle's layout: another one where two artifacts have the same.
    """

    reference: str
    tag: str | None
    name: str | None
    root: Descriptor

    @property
    def repository(self) -> str:
        """Its repository without the host; empty where it was saved from a layout."""
        return Reference.parse(self.reference).repository

    def to_dict(self) -> dict[str, Any]:
        return {
            "reference": self.reference,
            "tag": self.tag,
            "name": self.name,
            "mediaType": self.root.media_type,
            "digest": str(self.root.digest),
            "size": self.root.size,
        }

    @classmethod
    def from_node(cls, node: Node) -> Self:
        node.only("reference", "tag", "name", "mediaType", "digest", "size")
        reference = node.get("reference").string(limit=4096)
        try:
            parsed = Reference.parse(reference)
        except UsageError as error:
            node.get("reference").fail(error.message)
        if parsed.digest is not None or parsed.tag is not None:
            node.get("reference").fail("must be without tag and digest")
        return cls(
            reference=reference,
            tag=_tag(node.find("tag")),
            name=_tag(node.find("name")),
            root=Descriptor(
                media_type=media_type(node.get("mediaType")),
                digest=digest(node.get("digest")),
                size=node.get("size").integer(),
            ),
        )


def _tag(node: Node | None) -> str | None:
    if node is not None and not is_tag(node.string(limit=128)):
        node.fail("is not a tag")
    return node.string() if node else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """``absent`` are blobs that were left out, by size; ``files`` digests of the other members."""

    artifacts: Sequence[Artifact]
    absent: Mapping[Digest, int] = field(default_factory=dict)
    files: Mapping[str, Digest] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        document: dict[str, Any] = {
            "type": TYPE,
            "artifacts": [artifact.to_dict() for artifact in self.artifacts],
            "absent": [{"digest": str(named), "size": size} for named, size in sorted(self.absent.items())],
            "files": {name: str(named) for name, named in self.files.items()},
        }
        # Against accidents: names and tags stand nowhere else. Who wants to change them can change this as well.
        return jsonio.canonical({**document, "self": str(Digest.of(jsonio.canonical(document)))})

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Raises `FormatError` with the path of the bad field."""
        try:
            found = cls._from_node(Node(jsonio.loads(raw, limit=MAX_BYTES, what="it")))
        except FormatError as error:
            raise FormatError(f"{DOCUMENT}: {error.message}") from None
        if found.to_bytes() != raw:
            raise FormatError(f"{DOCUMENT}: it is not as it was written (its own digest differs, or its form)")
        return found

    @classmethod
    def _from_node(cls, node: Node) -> Self:
        if node.get("type").string() != TYPE:
            node.get("type").fail(f"must be {TYPE}; a newer version of ocimodel may read it")
        node.only("type", "artifacts", "absent", "files", "self")
        artifacts = tuple(Artifact.from_node(item) for item in node.get("artifacts").items(limit=MAX_ARTIFACTS))
        if not artifacts:
            node.get("artifacts").fail("must not be empty")
        absent: dict[Digest, int] = {}
        for item in node.get("absent").items():
            item.only("digest", "size")
            absent[digest(item.get("digest"))] = item.get("size").integer()
        files = {}
        for name, value in node.get("files").members():
            if name not in (INDEX, MARKER):
                if not name.startswith(TRUST):
                    value.fail("is not a file of a bundle")
                check_trust_name(name.removeprefix(TRUST))
            files[name] = digest(value)
        if not {INDEX, MARKER} <= files.keys():
            node.get("files").fail(f"must have {INDEX} and {MARKER}")
        return cls(artifacts=artifacts, absent=absent, files=files)


def check_trust_name(name: str) -> str:
    """A plain name of a file. Raises `UnsafePathError`, or `FormatError` where it names a directory."""
    check_path(name)
    if "/" in name or name.startswith("."):
        raise FormatError(f"{name[:120]!r} is not a plain name of a file")
    return name


def index_of(manifests: Iterable[Facts], tags: Mapping[str, Digest]) -> bytes:
    """index.json: every manifest once, by digest, and each tag."""
    index = LayoutIndex.empty()
    by_digest = {facts.descriptor.digest: facts for facts in manifests}
    for name, tagged in sorted(tags.items()):
        index = index.with_entry(by_digest[tagged], name)
    for named in sorted(by_digest):
        index = index.with_entry(by_digest[named], None)
    return index.to_bytes()


def blob_name(named: Digest) -> str:
    """Where a blob stands in the archive."""
    return f"{BLOBS}{named.algorithm}/{named.hex}"


def named_blob(name: str) -> Digest | None:
    """The digest of a blob's place; None for a file that is none. Raises `FormatError` below ``blobs/``."""
    if not name.startswith(BLOBS):
        return None
    return Digest.parse(name.removeprefix(BLOBS).replace("/", ":", 1))
