"""The headers of an artifact's weight files, where they are, for no more bytes than were allowed.

Guarantees: never more bytes are asked for than the allowance, whatever a header or an index claims, and none that
the index knows for weights. Which bytes are read depends on the files alone, not on who was faster. What comes
back says how far it can be relied on (`Seen.checked`), and what could not be read (`Seen.note`). A header that is
malformed is a `Seen` with a problem, so that the rest can still be looked at.

    with a chunk index    the header's chunk, checked by its digest; where it is longer than allowed, the metadata
                          at its beginning and (GGUF) the tensors at its end, which must lie where the index says;
                          else the tensors' names and places as the index has them
    without               by range, from the beginning; nothing says whether these are the right bytes
    a small file          whole, by its SHA-256
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, Literal

from ocimodel.errors import FormatError, IntegrityError, NotFoundError, UnavailableError
from ocimodel.model import gguf
from ocimodel.model.artifact import FileEntry
from ocimodel.model.chunkindex import ChunkIndex, LayerIndex
from ocimodel.model.header import Enough, Header, Tensor
from ocimodel.model.screening import PARSERS
from ocimodel.stores.protocol import BLOCK, Store
from ocimodel.verbs.tensors import TensorInfo, header_of, reader_of, tensor_infos

Checked = Literal["chunks", "file", "no"]

READERS = 4
SMALL = 128 * 1024
"""Bytes; a file without an index is read whole up to this size."""
FIRST = 16 * 1024
"""Bytes of the first request where nothing tells how long a header is."""
FRONT = 192 * 1024
"""Bytes of the beginning of a header that is longer than allowed."""
_LEAST = 8 * 1024
_RESUMES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was read of one file. ``format`` is ``safetensors`` or ``gguf``."""

    path: str
    format: str
    tensors: tuple[TensorInfo, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    checked: Checked = "no"
    """Against which digests: of the index's chunks, of the file, or none."""
    complete: bool = False
    """Every tensor is there, with its type and its shape."""
    metadata_complete: bool = True
    """Where false, ``metadata`` is only its beginning."""
    note: str = ""
    problem: IntegrityError | NotFoundError | None = None
    moved: int = 0
    """Bytes that were asked for."""

    @property
    def header(self) -> Header:
        tensors = tuple(Tensor(item.name, item.dtype, item.shape, item.start, item.stop) for item in self.tensors)
        return Header(format=self.format, tensors=tensors, metadata=self.metadata, data_start=0)


def see(
    store: Store, entries: Sequence[FileEntry], index: ChunkIndex | None, allowance: int | None
) -> tuple[Seen, ...]:
    """What the headers of ``entries`` say: files that have tensors, by their names.

    Args:
        allowance: bytes for all of them together; None: as many as there are.

    Raises:
        UnavailableError, AuthenticationError: from the store.
    """
    if not entries:
        return ()
    count = len(entries) if allowance is None else min(len(entries), max(allowance // _LEAST, 1))
    share = None if allowance is None else allowance // count
    looks = [_Look(store, entry, index, share if number < count else 0) for number, entry in enumerate(entries)]
    with ThreadPoolExecutor(READERS) as pool:
        seen = list(pool.map(_Look.see, looks))
    if allowance is None:
        return tuple(seen)
    # What some did not need, others may have, in their order.
    left = allowance - sum(look.moved for look in looks)
    for position, found in enumerate(seen):
        if found.complete or found.problem is not None or left <= (share or 0):
            continue
        again = _Look(store, entries[position], index, left).see()
        seen[position] = replace(again, moved=found.moved + again.moved)
        left -= again.moved
    return tuple(seen)


class _Look:
    """One file, and how many of its bytes have been asked for."""

    def __init__(self, store: Store, entry: FileEntry, index: ChunkIndex | None, allowance: int | None) -> None:
        self._store = store
        self._entry = entry
        self._index = index
        self._layer = index.layers.get(entry.descriptor.digest) if index else None
        self._allowance = allowance
        self._windows: list[tuple[int, bytes]] = []
        self.moved = 0

    def see(self) -> Seen:
        path = self._entry.path
        seen = Seen(path=path, format=PurePosixPath(path).suffix.lower().removeprefix("."))
        try:
            seen = self._look(seen)
        except Enough:
            seen = self._by_index(seen)
        except FormatError as error:
            seen = replace(seen, problem=FormatError(error.what, path=error.path or path))
        except (IntegrityError, NotFoundError) as error:
            seen = replace(seen, problem=error)
        return replace(seen, moved=self.moved)

    def _look(self, seen: Seen) -> Seen:
        layer, size = self._layer, self._entry.descriptor.size
        if layer is None and not (size <= SMALL and self._fits(size)):
            return self._unchecked(seen)
        cost = sum(chunk.size for chunk in layer.at(0, _edge(layer))) if layer else size
        if not self._fits(cost):
            return self._around(seen, layer) if layer and seen.format == "gguf" else self._by_index(seen)
        self.moved += cost
        header, big_endian = header_of(reader_of(self._store, self._entry, self._index), seen.path, layer)
        return replace(
            seen,
            tensors=tensor_infos(seen.path, header.tensors, big_endian=big_endian),
            metadata=header.metadata,
            checked="chunks" if layer else "file",
            complete=True,
        )

    def _unchecked(self, seen: Seen) -> Seen:
        """From the beginning, with nothing that tells how long the header is."""
        if seen.format == "gguf":
            part = gguf.parse_part(self._as_far, self._entry.descriptor.size)
            header = part.header
            if header is None:
                return replace(self._by_index(seen), metadata=part.metadata, metadata_complete=False)
        else:
            header = PARSERS["." + seen.format](self.read_at, self._entry.descriptor.size)
            part = None
        return replace(
            seen,
            tensors=tensor_infos(seen.path, header.tensors, big_endian=part is not None and part.order == ">"),
            metadata=header.metadata,
            complete=True,
        )

    def _around(self, seen: Seen, layer: LayerIndex) -> Seen:
        """The metadata before a long vocabulary, and the tensors behind it."""
        part = gguf.parse_part(self._front, self._entry.descriptor.size)
        found = self._table(layer, part)
        if not found:
            return replace(self._by_index(seen), metadata=part.metadata, metadata_complete=False)
        return replace(
            seen,
            tensors=tensor_infos(seen.path, found, big_endian=part.order == ">"),
            metadata=part.metadata,
            metadata_complete=False,
            complete=True,
            note="its header is longer than is read here: what stands behind the vocabulary is left out",
        )

    def _by_index(self, seen: Seen) -> Seen:
        layer, note = self._layer, "its header is longer than is read here"
        seen = replace(seen, metadata_complete=False)
        if layer is None or not layer.tensors:
            return replace(seen, note=f"{note}: nothing is known of its tensors")
        return replace(
            seen,
            tensors=tuple(
                TensorInfo(name=item.name, dtype="", shape=(), file=seen.path, start=item.start, stop=item.stop)
                for item in layer.tensors
            ),
            note=f"{note}: the chunk index has its tensors' names and sizes, not their types and shapes",
        )

    def _as_far(self, offset: int, length: int) -> bytes:
        """As `read_at`; fewer bytes as well where no more are left."""
        left = length if self._allowance is None else self._allowance - self.moved
        return self.read_at(offset, left if FIRST <= left < length else length)

    def _front(self, offset: int, length: int) -> bytes:
        if offset + length > FRONT:
            raise Enough
        return self.read_at(offset, length)

    def _table(self, layer: LayerIndex, part: gguf.Part) -> tuple[Tensor, ...]:
        edge = _edge(layer)
        # A description has four numbers and up to eight sizes beside the name.
        wanted = sum(len(tensor.name.encode()) + 88 for tensor in layer.tensors) + 64 * 1024
        start = max(0, edge - wanted)
        try:
            raw = self.read_at(start, edge - start)
        except Enough:
            return ()
        places = {tensor.name: (tensor.start, tensor.stop) for tensor in layer.tensors}
        return gguf.parse_table(raw, edge, self._entry.descriptor.size, places, part)

    def _fits(self, count: int) -> bool:
        return self._allowance is None or count <= self._allowance - self.moved

    # --- bytes ----------------------------------------------------------------------------------------------

    def read_at(self, offset: int, length: int) -> bytes:
        """Unchecked bytes; fewer only at the end. Raises `Enough` rather than ask for more than is allowed."""
        stop = min(offset + length, self._entry.descriptor.size)
        kept = b""
        for start, data in self._windows:
            if start <= offset <= start + len(data):
                kept = data[offset - start : stop - start]
                break
        begin = offset + len(kept)
        if begin >= stop:
            return kept
        if not self._windows:
            first = FIRST if self._allowance is None else min(FIRST, self._allowance // 4)
            stop = max(stop, min(first, self._entry.descriptor.size))
        if not self._fits(stop - begin):
            raise Enough
        self.moved += stop - begin
        data = kept + self._fetch(begin, stop)
        # The first, which says what the file is, and the last.
        self._windows = [*self._windows[:1], (offset, data)]
        return data[:length]

    def _fetch(self, start: int, stop: int) -> bytes:
        data = bytearray(stop - start)
        view = memoryview(data)
        done = failures = 0
        while done < len(data):
            before, failure = done, None
            try:
                with self._store.open_blob(self._entry.descriptor, start + done, stop) as stream:
                    self._skip(stream.readinto, start + done - stream.start)
                    while done < len(data) and (count := stream.readinto(view[done : done + BLOCK])):
                        done += count
            except UnavailableError as error:
                failure = error
            failures = failures + 1 if done == before else 0
            if failures >= _RESUMES:
                raise failure or UnavailableError(
                    f"{self._entry.path}: the store ends the stream at {start + done}"
                )
        return bytes(data)

    def _skip(self, readinto: Callable[[memoryview], int], left: int) -> None:
        """Pass over what a store without ranges sends first: it was moved, too."""
        if left <= 0:
            return
        if not self._fits(left):
            raise Enough
        self.moved += left
        buffer = memoryview(bytearray(min(BLOCK, left)))
        while left and (count := readinto(buffer[: min(len(buffer), left)])):
            left -= count


def _edge(layer: LayerIndex) -> int:
    """Where the header ends, as the index has it."""
    return layer.tensors[0].start if layer.tensors else layer.size
