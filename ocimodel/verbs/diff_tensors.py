"""Which tensors of two models differ, by the digests of their bytes and the headers of their files.

Guarantees: a tensor that counts as unchanged or moved has the same bytes, type and shape; one that counts as
changed has not. Where no digest that both sides have can tell (a model without a chunk index, or by another
algorithm), a tensor of the same type, shape and size is undetermined, and is counted as such. Files whose tensors
are not known are compared as files, and a note says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ocimodel.model.artifact import FileEntry
from ocimodel.model.chunkindex import LayerIndex, TensorRange
from ocimodel.verbs.diff_sides import Side
from ocimodel.verbs.headers import Seen, see
from ocimodel.verbs.tensors import TensorInfo, has_tensors

Change = Literal["added", "removed", "changed", "moved"]

ALLOWANCE = 1_500_000
"""Bytes of headers that are read of each model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorChange:
    """``moved``: the same bytes in another file. Another dtype or shape is a change.

    ``dtype`` is empty where it could not be read.
    """

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
class Tensors:
    """``changes`` is None where only files could be compared."""

    changes: tuple[TensorChange, ...] | None
    unchanged: int = 0
    unchanged_bytes: int = 0
    undetermined: int = 0
    undetermined_bytes: int = 0
    headers: tuple[Mapping[str, Seen], Mapping[str, Seen]] = ({}, {})
    """Of the files that differ, by path: of the one side, and of the other."""


@dataclass(frozen=True, slots=True)
class _Known:
    info: TensorInfo
    file: str
    """The digest of its file."""
    algorithm: str
    content: tuple[str, ...] | None
    """Digests that stand for its bytes: of itself, or of the chunks it is made of. None where there are none."""


def compare_tensors(a: Side, b: Side, notes: list[str], allowance: int | None) -> Tensors:
    """Compare the tensors of all files that have any, reading so many bytes of headers of each; None: all.

    Raises:
        IntegrityError: a header is malformed, or another one than the chunk index says.
    """
    ours, theirs = _different(a, b), _different(b, a)
    if a.index and b.index and a.index.algorithm != b.index.algorithm and (ours or theirs):
        notes.append(
            f"chunk indexes by {a.index.algorithm} and {b.index.algorithm}: "
            "only types and shapes of tensors can be compared"
        )
    seen = [
        {item.path: item for item in see(side.store, entries, side.index, allowance)}
        for side, entries in ((a, ours), (b, theirs))
    ]
    headers = (seen[0], seen[1])
    for side, found in zip((a, b), seen, strict=True):
        _remark(side, found, notes)
    unknown = {path for found in seen for path, item in found.items() if not item.tensors and not item.complete}
    if any(path not in found for path in unknown for found in seen):
        # Its tensors may be anywhere in the other model: whatever is said of those would be a guess.
        return Tensors(changes=None, headers=headers)
    if unknown and all(path in unknown for found in seen for path in found):
        return Tensors(changes=None, headers=headers)
    result = _compare(_known(a, seen[0], unknown), _known(b, seen[1], unknown))
    same = [
        layer for path, entry in b.raw.items() if _is_same(a.raw.get(path), entry) and (layer := b.layer(entry))
    ]
    return Tensors(
        changes=result.changes,
        unchanged=result.unchanged + sum(len(layer.tensors) for layer in same),
        unchanged_bytes=result.unchanged_bytes
        + sum(tensor.stop - tensor.start for layer in same for tensor in layer.tensors),
        undetermined=result.undetermined,
        undetermined_bytes=result.undetermined_bytes,
        headers=headers,
    )


def _different(side: Side, other: Side) -> list[FileEntry]:
    """The files with tensors that the other does not have under the same name."""
    return [
        entry
        for entry in side.raw.values()
        if has_tensors(entry.path) and not _is_same(other.raw.get(entry.path), entry)
    ]


def _is_same(old: FileEntry | None, new: FileEntry) -> bool:
    return old is not None and old.descriptor.digest == new.descriptor.digest


def _remark(side: Side, found: Mapping[str, Seen], notes: list[str]) -> None:
    without = 0
    for path, seen in found.items():
        indexed = side.layer(side.raw[path]) is not None
        without += not indexed
        if seen.problem is not None:
            if indexed:
                raise seen.problem
            notes.append(f"{side.reference}: {seen.problem.message}: compared as a file")
        elif seen.note:
            notes.append(f"{path} of {side.reference}: {seen.note}")
    if without and side.index is None:
        notes.append(f"{side.reference} has no chunk index: only types and shapes of tensors can be compared")
    elif without:
        notes.append(f"{side.reference}: {without} of its files are not in the chunk index")


def _known(side: Side, found: Mapping[str, Seen], unknown: set[str]) -> dict[tuple[str, str], _Known]:
    """The tensors by file and name."""
    known: dict[tuple[str, str], _Known] = {}
    algorithm = side.index.algorithm if side.index else ""
    for path, seen in found.items():
        if path in unknown:
            continue
        entry = side.raw[path]
        layer = side.layer(entry)
        ranges = {tensor.name: tensor for tensor in layer.tensors} if layer else {}
        for info in seen.tensors:
            content = _content(layer, ranges[info.name]) if layer and info.name in ranges else None
            known[path, info.name] = _Known(info, str(entry.descriptor.digest), algorithm, content)
    return known


def _content(layer: LayerIndex, tensor: TensorRange) -> tuple[str, ...]:
    if tensor.start == tensor.stop:
        return ()
    # A tensor that is one whole chunk has the chunk's digest, so that it compares with one that shares its chunk.
    return (tensor.hex,) if tensor.hex else tuple(chunk.hex for chunk in layer.at(tensor.start, tensor.stop))


def _compare(before: Mapping[tuple[str, str], _Known], after: Mapping[tuple[str, str], _Known]) -> Tensors:
    elsewhere: dict[str, list[_Known]] = {}
    for key, known in before.items():
        if key not in after:
            elsewhere.setdefault(known.info.name, []).append(known)
    changes: list[TensorChange] = []
    same: list[int] = []
    open_: list[int] = []
    for key, new in after.items():
        old = before.get(key)
        moved = old is None
        if old is None:
            old = _same_first(elsewhere.get(new.info.name, []), new)
        equal = _equal(old, new) if old is not None else False
        if equal is None or (equal and not moved):
            (open_ if equal is None else same).append(new.info.nbytes)
            continue
        change: Change = "added" if old is None else "moved" if equal else "changed"
        changes.append(
            TensorChange(name=new.info.name, change=change, before=old.info if old else None, after=new.info)
        )
    changes += [
        TensorChange(name=known.info.name, change="removed", before=known.info, after=None)
        for left in elsewhere.values()
        for known in left
    ]
    return Tensors(
        changes=tuple(changes),
        unchanged=len(same),
        unchanged_bytes=sum(same),
        undetermined=len(open_),
        undetermined_bytes=sum(open_),
    )


def _same_first(candidates: list[_Known], new: _Known) -> _Known | None:
    """Take the tensor of this name that was in another file: one with the same bytes, else any."""
    if not candidates:
        return None
    order: Sequence[bool | None] = [_equal(old, new) for old in candidates]
    position = order.index(True) if True in order else order.index(None) if None in order else 0
    return candidates.pop(position)


def _equal(old: _Known, new: _Known) -> bool | None:
    """Whether they are the same; None where nothing tells."""
    known = old.info.dtype and new.info.dtype
    if known and (old.info.dtype, old.info.shape, old.info.big_endian) != (
        new.info.dtype,
        new.info.shape,
        new.info.big_endian,
    ):
        return False
    if old.info.nbytes != new.info.nbytes:
        return False
    if not old.info.nbytes or (old.file, old.info.start) == (new.file, new.info.start):
        return True
    if old.content is None or new.content is None or old.algorithm != new.algorithm:
        return None
    return old.content == new.content
