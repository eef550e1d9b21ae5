"""What differs between two models, down to the tensor, from what describes them: weights are not downloaded.

Guarantees: read are the manifests, configs, provenances, chunk indexes, and the headers of weight files that
differ, all of them checked against their digests and capped. Tensors are compared by digests of their bytes, so
one that counts as unchanged is. Where that cannot be done (no index, or indexes of two algorithms) files are
compared alone, and `Difference.notes` says so. Nobody's signature is asked for: what the models say is theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, fields
from typing import Literal

from ocimodel.errors import NotFoundError
from ocimodel.model.artifact import FileEntry, ModelArtifact
from ocimodel.model.chunkindex import ChunkIndex, LayerIndex, TensorRange
from ocimodel.model.config import MAX_BYTES as MAX_CONFIG
from ocimodel.model.config import ModelConfig
from ocimodel.model.provenance import MAX_BYTES as MAX_PROVENANCE
from ocimodel.model.provenance import Provenance
from ocimodel.oci import media
from ocimodel.oci.manifest import Manifest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store, target_of
from ocimodel.stores.protocol import Store, read_blob
from ocimodel.transfer.download import WORTH_A_DELTA
from ocimodel.verbs.indexing import fetch_index
from ocimodel.verbs.tensors import TensorInfo, has_tensors, read_tensors, reader_of

Change = Literal["added", "removed", "changed", "moved"]

_READERS = 4
_UNSAID = frozenset({"diff_ids"})
"""Fields of the config that only repeat the digests of files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """``name`` of the config, of the annotations or of the provenance. Empty where one side says nothing."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """``moved``: the same bytes under another name."""

    change: Change
    before: FileEntry | None
    after: FileEntry | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorChange:
    """``moved``: the same bytes in another file. Another dtype or shape is a change."""

    name: str
    change: Change
    before: TensorInfo | None
    after: TensorInfo | None

    @property
    def nbytes(self) -> int:
        """Its bytes as it is afterwards; of one that is gone, as it was."""
        info = self.after or self.before
        return info.nbytes if info else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What pulling the second model would move where the first is at hand: bytes of files."""

    fetched: int
    copied: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """``tensors`` is None where only files could be compared; ``notes`` says why."""

    before: Reference
    after: Reference
    config: tuple[FieldChange, ...]
    annotations: tuple[FieldChange, ...]
    provenance: tuple[FieldChange, ...]
    files: tuple[FileChange, ...]
    unchanged_files: int
    tensors: tuple[TensorChange, ...] | None
    unchanged_tensors: int
    unchanged_bytes: int
    delta: Delta
    notes: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Whether both are one artifact."""
        return self.before.digest == self.after.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    reference: Reference
    store: Store
    artifact: ModelArtifact
    config: ModelConfig
    provenance: Provenance | None
    index: ChunkIndex | None
    raw: Mapping[str, FileEntry]

    def layer(self, entry: FileEntry) -> LayerIndex | None:
        return self.index.layers.get(entry.descriptor.digest) if self.index else None


def diff(before: Reference, after: Reference, access: Access) -> Difference:
    """Compare two models, each in a registry or a layout.

    Raises:
        NotFoundError: one of them does not exist, or is an index of several artifacts.
        IntegrityError: a document is not what its digest says, or malformed.
        UnavailableError, AuthenticationError.
    """
    with ExitStack() as stack:
        a, b = (_open(reference, access, stack) for reference in (before, after))
        notes: list[str] = []
        files = list(_files(a, b))
        tensors, same, same_bytes = _tensors(a, b, notes)
        return Difference(
            before=a.reference,
            after=b.reference,
            config=_fields(_config(a.config), _config(b.config)),
            annotations=_fields(_annotations(a), _annotations(b)),
            provenance=_fields(_provenance(a), _provenance(b)),
            files=tuple(files),
            unchanged_files=len(b.artifact.files) - sum(item.after is not None for item in files),
            tensors=tensors,
            unchanged_tensors=same,
            unchanged_bytes=same_bytes,
            delta=_delta(a, b),
            notes=tuple(notes),
        )


def _open(reference: Reference, access: Access, stack: ExitStack) -> _Side:
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
    return _Side(
        reference=reference.at(subject.digest),
        store=store,
        artifact=artifact,
        config=config,
        provenance=provenance,
        index=ChunkIndex.named_by(artifact.manifest, fetch_index(store, artifact.manifest)),
        raw={entry.path: entry for entry in artifact.files if entry.is_raw},
    )


# --- what they say of themselves ------------------------------------------------------------------------------


def _fields(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[FieldChange, ...]:
    return tuple(
        FieldChange(name=name, before=before.get(name, ""), after=after.get(name, ""))
        for name in sorted(before.keys() | after.keys())
        if before.get(name, "") != after.get(name, "")
    )


def _config(config: ModelConfig) -> dict[str, str]:
    return {
        item.name: text
        for item in fields(config)
        if item.name not in _UNSAID and (text := _text(getattr(config, item.name)))
    }


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={str(said).lower()}" for key, said in sorted(value.items()))
    return ", ".join(value) if isinstance(value, tuple) else ""


def _annotations(side: _Side) -> dict[str, str]:
    # The index's digest differs wherever a tensor does: that is told tensor by tensor.
    said = side.artifact.manifest.annotations
    return {key: value for key, value in said.items() if key != media.CHUNK_INDEX_ANNOTATION}


def _provenance(side: _Side) -> dict[str, str]:
    if side.provenance is None:
        return {}
    return {"predicateType": side.provenance.predicate_type, "builder": side.provenance.builder}


# --- files ----------------------------------------------------------------------------------------------------


def _files(a: _Side, b: _Side) -> Iterator[FileChange]:
    before = {entry.path: entry for entry in a.artifact.files}
    after = {entry.path: entry for entry in b.artifact.files}
    gone = {entry.descriptor.digest: entry for path, entry in before.items() if path not in after}
    moved: set[str] = set()
    for path, entry in after.items():
        old = before.get(path)
        if old is None:
            old = gone.pop(entry.descriptor.digest, None)
            if old is not None:
                moved.add(old.path)
            yield FileChange(change="moved" if old else "added", before=old, after=entry)
        elif old.descriptor.digest != entry.descriptor.digest:
            yield FileChange(change="changed", before=old, after=entry)
    for path, entry in before.items():
        if path not in after and path not in moved:
            yield FileChange(change="removed", before=entry, after=None)


def _is_same(old: FileEntry | None, new: FileEntry) -> bool:
    return old is not None and old.descriptor.digest == new.descriptor.digest


def _delta(a: _Side, b: _Side) -> Delta:
    """As `transfer.download` goes about it: whole blobs first, then chunks, then the registry."""
    blobs = {entry.descriptor.digest for entry in a.raw.values()}
    comparable = a.index is not None and b.index is not None and a.index.algorithm == b.index.algorithm
    layers = [layer for entry in a.raw.values() if (layer := a.layer(entry))] if comparable else []
    chunks = {(chunk.hex, chunk.size) for layer in layers for chunk in layer.chunks}
    fetched = total = 0
    for entry in b.artifact.files:
        size = entry.descriptor.size
        total += size
        if entry.is_raw and entry.descriptor.digest in blobs:
            continue
        layer = b.layer(entry)
        if layer is None or not chunks or size < WORTH_A_DELTA:
            fetched += size
        else:
            fetched += sum(chunk.size for chunk in layer.chunks if (chunk.hex, chunk.size) not in chunks)
    return Delta(fetched=fetched, copied=total - fetched)


# --- tensors --------------------------------------------------------------------------------------------------


def _tensors(a: _Side, b: _Side, notes: list[str]) -> tuple[tuple[TensorChange, ...] | None, int, int]:
    """The tensors that differ; how many do not, and their bytes."""
    with_tensors = [[entry for entry in side.raw.values() if has_tensors(entry.path)] for side in (a, b)]
    if not any(with_tensors):
        return (), 0, 0
    for side, entries in zip((a, b), with_tensors, strict=True):
        if entries and side.index is None:
            notes.append(f"{side.reference} has no chunk index: files are compared, tensors are not")
    if a.index and b.index and a.index.algorithm != b.index.algorithm:
        notes.append(f"chunk indexes by {a.index.algorithm} and {b.index.algorithm}: tensors cannot be compared")
    if notes:
        return None, 0, 0
    # Of a file that both have under one name, the index alone says all that is asked.
    same = [
        layer
        for path, entry in b.raw.items()
        if (old := a.raw.get(path))
        and old.descriptor.digest == entry.descriptor.digest
        and (layer := b.layer(entry))
    ]
    changes, count, total = _compare(_described(a, b, notes), _described(b, a, notes))
    count += sum(len(layer.tensors) for layer in same)
    total += sum(tensor.stop - tensor.start for layer in same for tensor in layer.tensors)
    return changes, count, total


@dataclass(frozen=True, slots=True)
class _Known:
    info: TensorInfo
    content: tuple[str, ...]
    """Digests that stand for its bytes: of itself, or of the chunks it is made of."""


def _described(side: _Side, other: _Side, notes: list[str]) -> dict[tuple[str, str], _Known]:
    """The tensors of a model by file and name, but for files that the other has as well.

    Files that the index does not speak of are noted.
    """
    entries: list[tuple[FileEntry, LayerIndex]] = []
    for entry in side.raw.values():
        if _is_same(other.raw.get(entry.path), entry):
            continue
        layer = side.layer(entry)
        if layer is not None and layer.tensors:
            entries.append((entry, layer))
        elif has_tensors(entry.path) and layer is None:
            notes.append(f"{entry.path} of {side.reference} is not in the chunk index: compared as a file")

    def describe(item: tuple[FileEntry, LayerIndex]) -> list[tuple[str, _Known]]:
        entry, layer = item
        ranges = {tensor.name: tensor for tensor in layer.tensors}
        infos = read_tensors(reader_of(side.store, entry, side.index), entry.path, layer)
        return [
            (entry.path, _Known(info, _content(layer, ranges[info.name]))) for info in infos if info.name in ranges
        ]

    with ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(describe, entries))
    return {(path, known.info.name): known for file in found for path, known in file}


def _content(layer: LayerIndex, tensor: TensorRange) -> tuple[str, ...]:
    if tensor.start == tensor.stop:
        return ()
    # A tensor that is one whole chunk has the chunk's digest, so that it compares with one that shares its chunk.
    return (tensor.hex,) if tensor.hex else tuple(chunk.hex for chunk in layer.at(tensor.start, tensor.stop))


def _compare(
    before: Mapping[tuple[str, str], _Known], after: Mapping[tuple[str, str], _Known]
) -> tuple[tuple[TensorChange, ...], int, int]:
    elsewhere: dict[str, list[_Known]] = {}
    for key, known in before.items():
        if key not in after:
            elsewhere.setdefault(known.info.name, []).append(known)
    changes: list[TensorChange] = []
    same = same_bytes = 0
    for key, new in after.items():
        old = before.get(key)
        moved = old is None
        if old is None:
            old = _same_first(elsewhere.get(new.info.name, []), new)
        change: Change
        if old is None:
            change = "added"
        elif not _equal(old, new):
            change = "changed"
        elif moved:
            change = "moved"
        else:
            same += 1
            same_bytes += new.info.nbytes
            continue
        changes.append(
            TensorChange(name=new.info.name, change=change, before=old.info if old else None, after=new.info)
        )
    changes += [
        TensorChange(name=known.info.name, change="removed", before=known.info, after=None)
        for left in elsewhere.values()
        for known in left
    ]
    return tuple(changes), same, same_bytes


def _same_first(candidates: list[_Known], new: _Known) -> _Known | None:
    """Take the tensor of this name that was in another file: one with the same bytes, else any."""
    if not candidates:
        return None
    position = next((number for number, old in enumerate(candidates) if _equal(old, new)), 0)
    return candidates.pop(position)


def _equal(old: _Known, new: _Known) -> bool:
    return (old.content, old.info.dtype, old.info.shape, old.info.big_endian) == (
        new.content,
        new.info.dtype,
        new.info.shape,
        new.info.big_endian,
    )
