"""The published test vector of the chunk index: files by recipe, and the index that they have.

A recipe needs no file of ours: ``header`` is a safetensors header, as text, behind its length in eight bytes,
little endian; ``data`` are that many bytes of SHAKE128 of the ASCII text.
"""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

from ocimodel.model import safetensors
from ocimodel.model.chunkindex import ChunkIndex, LayerIndex
from ocimodel.model.chunking import ChunkHasher
from ocimodel.model.reading import ReadAt
from ocimodel.oci.digest import Digest

MIB = 1024 * 1024
SIZES = {
    "embed": 17 * MIB + 4,
    "empty": 0,
    "norm.bias": 640,
    "norm.weight": 1280,
    "odd": MIB - 1,
    "small": 12,
    "whole": MIB,
}
"""Bytes of each tensor, in the order of their data: above a chunk's cap, empty, small, at the edge of small."""


def recipes() -> list[dict[str, Any]]:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, size in SIZES.items():
        header[name] = {"dtype": "U8", "shape": [size], "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":"))
    return [
        {"name": "model.safetensors", "header": text, "data": {"shake128": "ocimodel chunk index 1", "length": at}},
        {"name": "weights.bin", "data": {"shake128": "ocimodel chunk index 2", "length": 33 * MIB + 1}},
    ]


def content(recipe: dict[str, Any]) -> bytes:
    data = shake(recipe["data"]["shake128"], recipe["data"]["length"])
    if "header" not in recipe:
        return data
    header = str(recipe["header"]).encode("utf-8")
    return len(header).to_bytes(8, "little") + header + data


def shake(text: str, length: int) -> bytes:
    return hashlib.shake_128(text.encode("ascii")).digest(length)


def layer(recipe: dict[str, Any], algorithm: str) -> LayerIndex:
    raw = content(recipe)
    tensors = safetensors.parse(reader(raw), len(raw)).tensors if "header" in recipe else ()
    hasher = ChunkHasher(len(raw), tensors, algorithm)
    hasher.update(memoryview(raw))
    return hasher.index(Digest.of(raw))


def reader(raw: bytes) -> ReadAt:
    def read_at(offset: int, length: int) -> bytes:
        stream = io.BytesIO(raw)
        stream.seek(offset)
        return stream.read(length)

    return read_at


def vector() -> dict[str, Any]:
    found: dict[str, Any] = {"version": 1, "files": recipes(), "indexes": {}}
    for algorithm in ("blake3", "sha256"):
        layers = [layer(recipe, algorithm) for recipe in found["files"]]
        raw = ChunkIndex(algorithm=algorithm, layers={item.digest: item for item in layers}).to_bytes()
        found["indexes"][algorithm] = {"digest": str(Digest.of(raw)), "document": raw.decode("utf-8")}
    return found
