"""The tensors of an artifact's files, told by their headers, which are read by range and checked by their chunks.

Guarantees: a header that is returned was parsed from checked bytes, and the chunk index names no tensor that the
header places elsewhere; a contradiction is a `FormatError`. Only headers are fetched, never weights (but for a
small file without an index, which has to be read whole to be checked).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from ocimodel.errors import FormatError
from ocimodel.model.artifact import FileEntry
from ocimodel.model.chunkindex import ChunkIndex, LayerIndex
from ocimodel.model.header import Header, Tensor
from ocimodel.model.reading import ReadAt
from ocimodel.model.screening import PARSERS
from ocimodel.stores.protocol import Store
from ocimodel.transfer.chunkread import ChunkReader


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """A tensor of a model: the bytes [start, stop) of ``file``. ``dtype`` is spelt as the format does."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    start: int
    stop: int
    big_endian: bool = False

    @property
    def nbytes(self) -> int:
        return self.stop - self.start


def has_tensors(path: str) -> bool:
    """Whether a file of this name has a header that tells its tensors."""
    return PurePosixPath(path).suffix.lower() in PARSERS


def reader_of(store: Store, entry: FileEntry, index: ChunkIndex | None) -> ChunkReader:
    """A reader of one file's bytes."""
    layer = index.layers.get(entry.descriptor.digest) if index else None
    return ChunkReader(store, entry.descriptor, entry.path, layer, index.algorithm if index else "")


def read_tensors(reader: ChunkReader, path: str, layer: LayerIndex | None) -> tuple[TensorInfo, ...]:
    """The tensors of the file ``path`` in the order of their data; none where it has no header that we read.

    Raises:
        FormatError: the header is malformed, or another one than the index speaks of.
        DigestMismatchError, UnavailableError, UsageError: as `ChunkReader.read`.
    """
    if not has_tensors(path):
        return ()
    header, big_endian = header_of(reader, path, layer)
    return tensor_infos(path, header.tensors, big_endian=big_endian)


def tensor_infos(path: str, tensors: Iterable[Tensor], *, big_endian: bool) -> tuple[TensorInfo, ...]:
    """The tensors of the file ``path``."""
    return tuple(
        TensorInfo(
            name=tensor.name,
            dtype=tensor.dtype,
            shape=tensor.shape,
            file=path,
            start=tensor.start,
            stop=tensor.stop,
            big_endian=big_endian,
        )
        for tensor in tensors
    )


def header_of(reader: ChunkReader, path: str, layer: LayerIndex | None) -> tuple[Header, bool]:
    """The header of a file that has one, and whether its numbers are big endian. Raises as `read_tensors`."""
    parse = PARSERS[PurePosixPath(path).suffix.lower()]
    read_at = _before(reader.read_at, layer.tensors[0].start) if layer and layer.tensors else reader.read_at
    try:
        header = parse(read_at, reader.size)
        # A small version number whose low half is empty was written the other way round (docs/gguf.md).
        big_endian = header.format == "gguf" and not int.from_bytes(read_at(4, 4), "little") & 0xFFFF
    except FormatError as error:
        raise FormatError(error.what, path=path) from None
    finally:
        if reader.is_indexed:
            reader.forget()
    if layer is not None:
        _hold_against(header, layer, path)
    return header, big_endian


def _before(read_at: ReadAt, edge: int) -> ReadAt:
    """Reads no further than to the first tensor: a parser that looks ahead, or is led on, fetches no weights."""

    def read(offset: int, length: int) -> bytes:
        if offset >= edge:
            raise FormatError("the chunk index has tensors where the header is")
        return read_at(offset, min(length, edge - offset))

    return read


def _hold_against(header: Header, layer: LayerIndex, path: str) -> None:
    places = {tensor.name: (tensor.start, tensor.stop) for tensor in header.tensors}
    for tensor in layer.tensors:
        if places.get(tensor.name) != (tensor.start, tensor.stop):
            raise FormatError(
                f"the chunk index has tensor {tensor.name[:120]!r} elsewhere than the header", path=path
            )
