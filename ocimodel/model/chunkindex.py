"""The chunk index: digests of the pieces of a model's weight files (`docs/reference/chunk-index.md`).

    index   = {"algorithm": "blake3" | "sha256", "layers": [layer …], "version": 1}
    layer   = {"chunks": [[size, hex] …], "digest": "sha256:…", "size": n, "tensors": [tensor …]}
    tensor  = [name, offset, size]          it is made of whole chunks, whose digests speak for it
            | [name, offset, size, hex]     it shares a chunk with others

Chunks are contiguous from 0, so only their sizes are written; they add up to the layer's size.

Guarantees: a decoded index is well-formed, within its caps and consistent with the manifest it is given; anything
else is a `FormatError`, never an index with less in it. Encoding is canonical. It adds to a layer's SHA-256 and
never replaces it: whoever reads a whole layer computes that as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from ocimodel import jsonio
from ocimodel.errors import FormatError
from ocimodel.jsonio import Node
from ocimodel.oci import media
from ocimodel.oci.descriptor import MAX_SIZE
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest

VERSION = 1
MAX_BYTES = 32 * 1024 * 1024
MAX_CHUNK = 16 * 1024 * 1024
MIN_TENSOR = 1024 * 1024
"""Tensors smaller than this share a chunk with their neighbours."""

MAX_ENTRIES = 1_000_000
MAX_LAYERS = 20_000
MAX_NAME = 1024
ALGORITHMS = ("blake3", "sha256")
_HEX = 64


@dataclass(frozen=True, slots=True)
class Chunk:
    """The bytes [start, stop) of a layer and their digest."""

    start: int
    stop: int
    hex: str

    @property
    def size(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class TensorRange:
    """Where a tensor's bytes lie. ``hex`` is empty where whole chunks speak for it."""

    name: str
    start: int
    stop: int
    hex: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerIndex:
    """The pieces of one layer, in the order of their offsets."""

    digest: Digest
    size: int
    chunks: tuple[Chunk, ...]
    tensors: tuple[TensorRange, ...] = ()

    def at(self, start: int, stop: int) -> Iterator[Chunk]:
        """The chunks that touch [start, stop)."""
        from bisect import bisect_right

        first = max(0, bisect_right(self.chunks, start, key=lambda chunk: chunk.start) - 1)
        for position in range(first, len(self.chunks)):
            chunk = self.chunks[position]
            if chunk.start >= stop:
                return
            if chunk.stop > start:
                yield chunk

    def tensors_at(self, start: int, stop: int) -> list[str]:
        """The names of the tensors that have bytes in [start, stop)."""
        return [tensor.name for tensor in self.tensors if tensor.start < stop and tensor.stop > start]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkIndex:
    """One artifact's index. ``layers`` by the layer's digest."""

    algorithm: str
    layers: Mapping[Digest, LayerIndex]

    def to_bytes(self) -> bytes:
        """The canonical bytes. Raises `FormatError` where they exceed `MAX_BYTES`: push without an index then."""
        raw = jsonio.canonical(
            {
                "version": VERSION,
                "algorithm": self.algorithm,
                "layers": [_layer_dict(layer) for _, layer in sorted(self.layers.items())],
            }
        )
        if len(raw) > MAX_BYTES:
            raise FormatError(f"the chunk index would have {len(raw)} bytes, more than {MAX_BYTES}")
        return raw

    @classmethod
    def named_by(cls, manifest: Manifest, raw: bytes | None) -> Self | None:
        """Decode the index that ``manifest`` names; None where it names none, or ``raw`` is None.

        Raises:
            FormatError, DigestMismatchError: it is malformed, or another one than the manifest names.
        """
        named = manifest.annotations.get(media.CHUNK_INDEX_ANNOTATION)
        if raw is None or named is None:
            return None
        Digest.parse(named).check(raw, "chunk index")
        sizes: dict[Digest, int] = {}
        for position, layer in enumerate(manifest.layers):
            if sizes.setdefault(layer.digest, layer.size) != layer.size:
                raise FormatError("has the digest of another layer and another size", path=f"layers[{position}]")
        return cls.from_bytes(raw, sizes)

    @classmethod
    def from_bytes(cls, raw: bytes, sizes: Mapping[Digest, int]) -> Self:
        """Decode an index.

        Args:
            sizes: the layers of the manifest; the index may only speak of these.
        """
        node = Node(jsonio.loads(raw, limit=MAX_BYTES, what="chunk index"))
        node.only("version", "algorithm", "layers")
        version = node.get("version")
        if version.integer() != VERSION:
            version.fail(f"must be {VERSION}")
        algorithm = node.get("algorithm")
        if algorithm.string() not in ALGORITHMS:
            algorithm.fail(f"must be one of {', '.join(ALGORITHMS)}")
        layers: dict[Digest, LayerIndex] = {}
        left = MAX_ENTRIES
        for item in node.get("layers").items(limit=MAX_LAYERS):
            layer = _layer(item, left)
            left -= len(layer.chunks) + len(layer.tensors)
            if layer.digest in layers:
                item.fail("is listed twice")
            if sizes.get(layer.digest) != layer.size:
                item.fail("is not a layer of this artifact with this size")
            layers[layer.digest] = layer
        return cls(algorithm=algorithm.string(), layers=layers)


def _layer_dict(layer: LayerIndex) -> dict[str, Any]:
    return {
        "digest": str(layer.digest),
        "size": layer.size,
        "chunks": [[chunk.size, chunk.hex] for chunk in layer.chunks],
        "tensors": [
            [tensor.name, tensor.start, tensor.stop - tensor.start, *([tensor.hex] if tensor.hex else [])]
            for tensor in layer.tensors
        ],
    }


def _layer(node: Node, limit: int) -> LayerIndex:
    node.only("digest", "size", "chunks", "tensors")
    try:
        digest = Digest.parse(node.get("digest").string())
    except FormatError as error:
        raise FormatError(error.what, path=f"{node.path}.digest") from None
    size = node.get("size").integer(maximum=MAX_SIZE)
    chunks = _chunks(node.get("chunks"), size, limit)
    tensors = _tensors(node.get("tensors"), size, chunks, limit - len(chunks))
    return LayerIndex(digest=digest, size=size, chunks=chunks, tensors=tensors)


def _chunks(node: Node, size: int, limit: int) -> tuple[Chunk, ...]:
    chunks: list[Chunk] = []
    at = 0
    for item in _rows(node, limit):
        if not isinstance(item, list) or len(item) != 2:
            node.fail(f"chunk {len(chunks)} must be [size, hex]")
        length, encoded = item
        if type(length) is not int or not 0 < length <= MAX_CHUNK or not _is_hex(encoded):
            node.fail(f"chunk {len(chunks)} must have a size of 1 to {MAX_CHUNK} and a digest of {_HEX} digits")
        chunks.append(Chunk(at, at + length, encoded))
        at += length
    if at != size:
        node.fail(f"adds up to {at} bytes, the layer has {size}")
    return tuple(chunks)


def _tensors(node: Node, size: int, chunks: Sequence[Chunk], limit: int) -> tuple[TensorRange, ...]:
    edges = {0, *(chunk.stop for chunk in chunks)}
    tensors: list[TensorRange] = []
    names: set[str] = set()
    at = 0
    for item in _rows(node, limit):
        where = f"tensor {len(tensors)}"
        if not isinstance(item, list) or len(item) not in (3, 4):
            node.fail(f"{where} must be [name, offset, size] or [name, offset, size, hex]")
        name, start, length, *rest = item
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or name in names:
            node.fail(f"{where} must have a name of its own")
        if type(start) is not int or type(length) is not int or start < at or length < 0 or start + length > size:
            node.fail(f"{where} must lie behind the one before it and within the layer")
        if rest and not _is_hex(rest[0]):
            node.fail(f"{where} must have a digest of {_HEX} digits")
        if not rest and length and (start not in edges or start + length not in edges):
            node.fail(f"{where} is not made of whole chunks, so it needs a digest")
        names.add(name)
        tensors.append(TensorRange(name, start, start + length, rest[0] if rest else ""))
        at = start + length
    return tuple(tensors)


def _rows(node: Node, limit: int) -> Sequence[Any]:
    # Not Node.items: a path for each of a million rows would cost more than the rows.
    if not isinstance(node.value, list):
        node.fail("must be an array")
    if len(node.value) > limit:
        node.fail(f"has more than {limit} entries")
    return node.value


def _is_hex(value: Any) -> bool:
    return isinstance(value, str) and len(value) == _HEX and not value.strip("0123456789abcdef")
