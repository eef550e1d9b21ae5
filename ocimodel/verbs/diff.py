"""What differs between two models, down to the tensor, from what describes them: weights are not downloaded.

Guarantees: read are the manifests, configs, provenances, chunk indexes, small documents that differ, and the
headers of weight files that differ, all of them capped and, but for headers of files without a chunk index, checked
against their digests. `diff_tensors` says when a tensor counts as unchanged. What could not be compared is told by
`Difference.notes`. Nobody's signature is asked for: what the models say is theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from ocimodel.model.artifact import FileEntry
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access
from ocimodel.transfer.download import WORTH_A_DELTA
from ocimodel.verbs.diff_fields import (
    FieldChange,
    annotation_fields,
    changed,
    config_fields,
    document_fields,
    header_fields,
    provenance_fields,
)
from ocimodel.verbs.diff_sides import Side, open_side
from ocimodel.verbs.diff_tensors import ALLOWANCE, Change, TensorChange, compare_tensors

__all__ = ["Change", "Delta", "Difference", "FieldChange", "FileChange", "TensorChange", "diff"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """``moved``: the same bytes under another name."""

    change: Change
    before: FileEntry | None
    after: FileEntry | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What pulling the second model would move where the first is at hand: bytes of files."""

    fetched: int
    copied: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """``tensors`` is None where only files could be compared; ``notes`` says why.

    ``config`` is the artifact's, ``metadata`` what stands in the files: their JSON documents and headers.
    Tensors of the same type and shape whose bytes nothing tells apart are ``undetermined``.
    """

    before: Reference
    after: Reference
    config: tuple[FieldChange, ...]
    annotations: tuple[FieldChange, ...]
    provenance: tuple[FieldChange, ...]
    metadata: tuple[FieldChange, ...]
    files: tuple[FileChange, ...]
    unchanged_files: int
    tensors: tuple[TensorChange, ...] | None
    unchanged_tensors: int
    unchanged_bytes: int
    undetermined_tensors: int
    undetermined_bytes: int
    delta: Delta
    notes: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Whether both are one artifact."""
        return self.before.digest == self.after.digest


def diff(before: Reference, after: Reference, access: Access, *, whole_headers: bool = False) -> Difference:
    """Compare two models, each in a registry or a layout.

    Args:
        whole_headers: read headers to their ends, whatever they cost.

    Raises:
        NotFoundError: one of them does not exist, or is an index of several artifacts.
        IntegrityError: a document is not what its digest says, or malformed.
        UnavailableError, AuthenticationError.
    """
    with ExitStack() as stack:
        a, b = (open_side(reference, access, stack) for reference in (before, after))
        notes: list[str] = []
        files = list(_files(a, b))
        tensors = compare_tensors(a, b, notes, None if whole_headers else ALLOWANCE)
        ours, theirs = tensors.headers
        return Difference(
            before=a.reference,
            after=b.reference,
            config=changed(config_fields(a.config), config_fields(b.config)),
            annotations=changed(annotation_fields(a), annotation_fields(b)),
            provenance=changed(provenance_fields(a), provenance_fields(b)),
            metadata=changed(
                document_fields(a, b, notes) | header_fields(ours, theirs),
                document_fields(b, a, notes) | header_fields(theirs, ours),
            ),
            files=tuple(files),
            unchanged_files=len(b.artifact.files) - sum(item.after is not None for item in files),
            tensors=tensors.changes,
            unchanged_tensors=tensors.unchanged,
            unchanged_bytes=tensors.unchanged_bytes,
            undetermined_tensors=tensors.undetermined,
            undetermined_bytes=tensors.undetermined_bytes,
            delta=_delta(a, b),
            notes=tuple(notes),
        )


def _files(a: Side, b: Side) -> Iterator[FileChange]:
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


def _delta(a: Side, b: Side) -> Delta:
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
