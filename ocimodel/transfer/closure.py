"""What belongs to an artifact: its blobs, the manifests of an index, and all that refers to any of them.

Guarantees: every manifest was checked against its digest, and every referrer against its own ``subject``; pieces
come in the order in which they can be stored, subjects before what refers to them; cosign's legacy tags
(``sha256-….sig``, ``.att``, ``.sbom``) are found by their names. What is read and kept is bounded. A referrer that
a store lists and does not have, or that is malformed, is left out and said: anyone who may push can list
such things. No blob is read, and nothing is verified.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ocimodel.attest import legacy
from ocimodel.errors import FormatError, NotFoundError
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Index, Manifest
from ocimodel.stores.protocol import Store

MAX_PIECES = 20_000
MAX_LEVELS = 16
"""Of indexes within indexes and referrers of referrers; more than 4 were never seen."""
KEPT_BYTES = 64 * 1024 * 1024
"""Manifests beyond this sum are read again when they are written."""
READERS = 8
LEGACY_TAGS = {
    legacy.SIGNATURES: media.COSIGN_ARTIFACT,
    legacy.ATTESTATIONS: media.COSIGN_ATTESTATIONS,
    "sbom": "application/vnd.dev.cosign.artifact.sbom.v1+json",
}
"""Endings of the tags, and the artifact types under which cosign lists the same as referrers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A manifest or an index. ``children`` are the manifests of an index; ``kinds`` are what filters look at."""

    descriptor: Descriptor
    blobs: tuple[Descriptor, ...] = ()
    children: tuple[Descriptor, ...] = ()
    subject: Digest | None = None
    kinds: tuple[str, ...] = ()

    @classmethod
    def of(cls, descriptor: Descriptor, raw: bytes) -> Piece:
        """Decode. Raises `FormatError` where it is malformed, or neither a manifest nor an index."""
        if descriptor.media_type in media.INDEXES:
            index = Index.from_bytes(raw, descriptor.media_type)
            return cls(
                descriptor=descriptor,
                children=tuple(index.manifests),
                subject=index.subject.digest if index.subject else None,
                kinds=_kinds(index.artifact_type, index.annotations.get(media.BUNDLE_PREDICATE_TYPE)),
            )
        manifest = Manifest.from_bytes(raw, descriptor.media_type)
        return cls(
            descriptor=descriptor,
            blobs=(manifest.config, *manifest.layers),
            subject=manifest.subject.digest if manifest.subject else None,
            kinds=_kinds(
                manifest.artifact_type or manifest.config.media_type,
                manifest.annotations.get(media.BUNDLE_PREDICATE_TYPE),
            ),
        )


def _kinds(*names: str | None) -> tuple[str, ...]:
    return tuple(name for name in names if name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Legacy:
    """What stands under one of cosign's tags; the tag is written after all of it."""

    tag: str
    piece: Piece


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which direct referrers of an artifact belong to it; what refers to those comes with them.

    ``types`` are artifact types or predicate types, as globs. None: every one; empty: none.
    """

    types: tuple[str, ...] | None = None

    def __call__(self, kinds: Sequence[str]) -> bool:
        if self.types is None:
            return True
        return any(fnmatchcase(kind, pattern) for pattern in self.types for kind in kinds)


ALL = Wanted()
NONE = Wanted(())


@dataclass(slots=True)
class Closure:
    """An artifact and what belongs to it.

    Attributes:
        root: what was asked for.
        pieces: manifests and indexes in the order in which they can be stored, the root among them.
        legacy: cosign's tags.
        warnings: what was left out, and why.
    """

    root: Descriptor
    pieces: list[Piece] = field(default_factory=list)
    legacy: list[Legacy] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _raw: dict[Digest, bytes] = field(default_factory=dict, repr=False)
    _kept: int = 0

    def blobs(self) -> list[Descriptor]:
        """Every blob once."""
        pieces = [*self.pieces, *(item.piece for item in self.legacy)]
        return list({blob.digest: blob for piece in pieces for blob in piece.blobs}.values())

    @property
    def referrers(self) -> list[Piece]:
        return [piece for piece in self.pieces if piece.subject is not None and piece.descriptor != self.root]

    def raw(self, store: Store, descriptor: Descriptor) -> bytes:
        """The bytes of a piece, from memory or read again."""
        known = self._raw.get(descriptor.digest)
        return store.get_manifest(descriptor.digest)[1] if known is None else known

    def keep(self, digest: Digest, raw: bytes) -> None:
        """Remember the bytes, while there is room."""
        if digest not in self._raw and self._kept + len(raw) <= KEPT_BYTES:
            self._raw[digest] = raw
            self._kept += len(raw)


def closure_of(store: Store, root: Descriptor, raw: bytes, wanted: Wanted = ALL) -> Closure:
    """Walk from ``root``, whose bytes are ``raw``, to all that belongs to it.

    Raises:
        IntegrityError: a manifest is not what its digest says, or malformed.
        NotFoundError: an index lists a manifest that is not there.
        UnavailableError, AuthenticationError: from the store.
    """
    with ThreadPoolExecutor(max_workers=READERS) as pool:
        return _Walk(store, root, wanted, pool).run(raw)


class _Walk:
    def __init__(self, store: Store, root: Descriptor, wanted: Wanted, pool: ThreadPoolExecutor) -> None:
        self._store = store
        self._wanted = wanted
        self._pool = pool
        self._found = Closure(root)
        self._seen: set[Digest] = set()
        self._lock = threading.Lock()

    def run(self, raw: bytes) -> Closure:
        found = self._found
        level = list(self._artifact(found.root, raw, 0))
        depth = 0
        while level:
            depth += 1
            if depth > MAX_LEVELS:
                found.warnings.append(f"referrers more than {MAX_LEVELS} levels deep are left out")
                break
            following: list[Piece] = []
            first = depth == 1
            tagged = [
                self._pool.submit(self._tagged, piece, ending)
                for piece in level
                if _may_be_signed(piece)
                for ending, kind in LEGACY_TAGS.items()
                if not first or self._wanted((kind,))
            ]
            for piece, entries in zip(level, self._pool.map(self._entries, level), strict=True):
                fetched = self._pool.map(lambda entry, of=piece: self._referrer(entry, of), entries)
                for other in fetched:
                    if other is not None and (not first or self._wanted(other[0].kinds)):
                        following += self._artifact(other[0].descriptor, other[1], 0)
            found.legacy += [item for future in tagged if (item := future.result()) is not None]
            level = following
        return found

    def _artifact(self, descriptor: Descriptor, raw: bytes, depth: int) -> Iterator[Piece]:
        """The pieces that make up one artifact, an index after its manifests; those that are new."""
        if descriptor.digest in self._seen:
            return
        self._seen.add(descriptor.digest)
        if len(self._seen) > MAX_PIECES:
            raise FormatError(f"more than {MAX_PIECES} manifests belong to {self._found.root.digest}")
        piece = Piece.of(descriptor, raw)
        if piece.children and depth >= MAX_LEVELS:
            raise FormatError(f"indexes within indexes, more than {MAX_LEVELS} levels deep")
        with self._lock:
            self._found.keep(descriptor.digest, raw)
        for child, (found, document) in zip(
            piece.children, self._pool.map(self._child, piece.children), strict=True
        ):
            yield from self._artifact(_typed(found, child), document, depth + 1)
        self._found.pieces.append(piece)
        yield piece

    def _child(self, entry: Descriptor) -> tuple[Descriptor, bytes]:
        if entry.digest.algorithm != "sha256":
            raise FormatError(f"an index names a manifest by {entry.digest.algorithm}, which is not supported")
        try:
            found, raw = self._store.get_manifest(entry.digest)
        except NotFoundError:
            raise NotFoundError(
                f"{self._store.name} lists {entry.digest} in an index and does not have it",
                hint="The index is sparse: copy one of its manifests by digest.",
            ) from None
        return found, raw

    def _entries(self, piece: Piece) -> list[Descriptor]:
        if self._wanted.types == ():
            return []
        listed = self._store.referrers(piece.descriptor.digest)
        if not listed.complete:
            self._warn(f"{self._store.name} lists more referrers of {piece.descriptor.digest} than are read")
        return [entry for entry in listed.entries if entry.digest not in self._seen]

    def _referrer(self, entry: Descriptor, of: Piece) -> tuple[Piece, bytes] | None:
        """A referrer of ``of``; None where it refers to something else, or is left out."""
        try:
            found, raw = self._store.get_manifest(entry.digest)
            piece = Piece.of(found, raw)
        except NotFoundError:
            self._warn(f"the referrer {entry.digest} is left out: {self._store.name} does not have it")
            return None
        except FormatError as error:
            self._warn(f"the referrer {entry.digest} is left out: {error.message}")
            return None
        return (piece, raw) if piece.subject == of.descriptor.digest else None

    def _tagged(self, piece: Piece, ending: str) -> Legacy | None:
        """What stands under one of cosign's tags for ``piece``."""
        tag = legacy.tag_of(piece.descriptor.digest, ending)
        try:
            descriptor, raw = self._store.get_manifest(tag)
            listed = Piece.of(descriptor, raw)
        except NotFoundError:
            return None
        except FormatError as error:
            self._warn(f"the tag {tag} is left out: {error.message}")
            return None
        if descriptor.digest == piece.descriptor.digest or listed.children:
            return None  # GitLab resolves such tags to the subject
        with self._lock:
            self._found.keep(descriptor.digest, raw)
        return Legacy(tag=tag, piece=listed)

    def _warn(self, text: str) -> None:
        with self._lock:
            self._found.warnings.append(text)


def _may_be_signed(piece: Piece) -> bool:
    """Signatures and chunk indexes are not signed by anyone."""
    return not any(kind.startswith(media.SIGSTORE_BUNDLE_PREFIX) or kind in _NEVER_SIGNED for kind in piece.kinds)


_NEVER_SIGNED = frozenset({media.CHUNK_INDEX, media.NOTARY_SIGNATURE, *LEGACY_TAGS.values()})


def _typed(found: Descriptor, listed: Descriptor) -> Descriptor:
    """A child as it was fetched, which must be of the size that the index says."""
    if found.size != listed.size:
        raise FormatError(f"the index says that {listed.digest} has {listed.size} bytes; it has {found.size}")
    return found
