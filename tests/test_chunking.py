"""Chunks: cut alike everywhere, at the edges of tensors, and told exactly by their index."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel import jsonio
from ocimodel.errors import FormatError
from ocimodel.model import chunkindex
from ocimodel.model.chunkindex import MAX_CHUNK, MIN_TENSOR, ChunkIndex, LayerIndex
from ocimodel.model.chunking import ChunkHasher, cut
from ocimodel.model.header import Tensor
from ocimodel.oci.digest import Digest
from tests.data.chunk_vector import content, layer
from tests.documents import problems

MIB = 1024 * 1024


def tensors_of(header: int, sizes: list[int], gap: int = 0) -> tuple[int, list[Tensor]]:
    """Tensors laid out behind a header; the size of the file."""
    at, tensors = header, []
    for number, size in enumerate(sizes):
        tensors.append(Tensor(f"t{number}", "U8", (size,), at, at + size))
        at += size + gap
    return at, tensors


sizes = st.lists(
    st.one_of(st.integers(0, 5000), st.integers(MIN_TENSOR - 2, MIN_TENSOR + 2), st.integers(0, 40 * MIB)),
    max_size=12,
)


@given(st.integers(0, 3 * MIB), sizes, st.sampled_from([0, 31]))
def test_every_byte_is_in_one_chunk_and_big_tensors_have_their_own(
    header: int, lengths: list[int], gap: int
) -> None:
    size, tensors = tensors_of(header, lengths, gap)
    ends = cut(size, tensors)
    edges = [0, *ends]
    assert edges[-1] == size
    assert all(0 < stop - start <= MAX_CHUNK for start, stop in pairwise(edges))
    for tensor in tensors:
        if tensor.stop - tensor.start >= MIN_TENSOR:
            assert tensor.start in edges
            assert tensor.stop in edges


@given(st.integers(0, 2 * MIB), st.integers(0, 2 * MIB), sizes)
def test_a_header_that_grows_moves_chunks_and_does_not_change_them(
    before: int, after: int, lengths: list[int]
) -> None:
    old_size, old = tensors_of(before + 8, lengths)
    new_size, new = tensors_of(after + 8, lengths)
    shift = after - before
    old_ends = [end for end in cut(old_size, old) if end > before + 8]
    new_ends = [end for end in cut(new_size, new) if end > after + 8]
    assert [end + shift for end in old_ends] == new_ends


def test_a_file_without_tensors_is_cut_into_equal_pieces() -> None:
    assert cut(100 * MIB, []) == [-(-100 * MIB // 7) * number for number in range(1, 7)] + [100 * MIB]
    assert cut(0, []) == []
    assert cut(1, []) == [1]


def index_of(data: bytes, tensors: list[Tensor], algorithm: str = "blake3", step: int = 70_001) -> LayerIndex:
    hasher = ChunkHasher(len(data), tensors, algorithm)
    for at in range(0, len(data), step):
        hasher.update(memoryview(data)[at : at + step])
    return hasher.index(Digest.of(data))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 3000),
    st.lists(st.one_of(st.integers(0, 5000), st.integers(MIN_TENSOR - 2, MIN_TENSOR + 2)), max_size=6),
    st.integers(30_000, 3_000_000),
    st.sampled_from(["blake3", "sha256"]),
)
def test_digests_are_those_of_the_bytes(header: int, lengths: list[int], step: int, algorithm: str) -> None:
    size, tensors = tensors_of(header, lengths)
    data = random.Random(size).randbytes(size)
    layer = index_of(data, tensors, algorithm, step)

    def digest(start: int, stop: int) -> str:
        new = blake3 if algorithm == "blake3" else hashlib.sha256
        return new(data[start:stop]).hexdigest()

    for chunk in layer.chunks:
        assert chunk.hex == digest(chunk.start, chunk.stop)
    assert [tensor.name for tensor in layer.tensors] == [tensor.name for tensor in tensors]
    for tensor in layer.tensors:
        if tensor.hex:
            assert tensor.hex == digest(tensor.start, tensor.stop)
        elif tensor.start < tensor.stop:
            parts = list(layer.at(tensor.start, tensor.stop))
            assert sum(chunk.size for chunk in parts) == tensor.stop - tensor.start
    index = ChunkIndex(algorithm=algorithm, layers={layer.digest: layer})
    assert ChunkIndex.from_bytes(index.to_bytes(), {layer.digest: size}) == index


def test_a_hundred_thousand_small_tensors() -> None:
    size, tensors = tensors_of(1000, [700] * 100_000)
    data = random.Random(7).randbytes(size)
    layer = index_of(data, tensors, step=MIB)
    index = ChunkIndex(algorithm="blake3", layers={layer.digest: layer})
    assert ChunkIndex.from_bytes(index.to_bytes(), {layer.digest: size}) == index
    assert len(layer.chunks) < 100


def test_places_are_found() -> None:
    _, tensors = tensors_of(10, [5 * MIB, 100, 100, 20 * MIB])
    data = bytes(10 + 25 * MIB + 200)
    layer = index_of(data, tensors, step=MIB)
    assert layer.tensors_at(12, 13) == ["t0"]
    assert layer.tensors_at(10 + 5 * MIB, 10 + 5 * MIB + 101) == ["t1", "t2"]
    assert [chunk.start for chunk in layer.at(0, 11)] == [0, 10]
    assert list(layer.at(len(data), len(data) + 5)) == []


A = "a" * 64
D = Digest.of(b"layer")
GOOD = {
    "digest": str(D),
    "size": 10,
    "chunks": [[4, A], [6, A]],
    "tensors": [["x", 0, 4], ["y", 4, 1, A], ["z", 9, 0]],
}


def document(**changes: object) -> bytes:
    layer = {**GOOD, **{key: value for key, value in changes.items() if key in GOOD}}
    top = {"version": chunkindex.VERSION, "algorithm": "blake3", "layers": [layer]}
    return jsonio.canonical({**top, **{key: value for key, value in changes.items() if key not in GOOD}})


def test_a_good_document_is_read() -> None:
    index = ChunkIndex.from_bytes(document(), {D: 10})
    assert [chunk.stop for chunk in index.layers[D].chunks] == [4, 10]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunks": [[4, A], [5, A]]}, "adds up to 9 bytes, the layer has 10"),
        ({"chunks": [[4, A], [7, A]]}, "adds up to 11"),
        ({"chunks": []}, "adds up to 0"),
        ({"chunks": [[0, A], [10, A]]}, "must have a size of 1"),
        ({"chunks": [[-1, A], [11, A]]}, "must have a size of 1"),
        ({"chunks": [[True, A], [9, A]]}, "must have a size of 1"),
        ({"chunks": [[10, A[:-1]]]}, "a digest of 64 digits"),
        ({"chunks": [[10, A[:-1] + "A"]]}, "a digest of 64 digits"),
        ({"chunks": [[10]]}, "must be \\[size, hex\\]"),
        ({"chunks": [[10, A, 1]]}, "must be \\[size, hex\\]"),
        ({"chunks": {"0": 1}}, "must be an array"),
        ({"size": 11}, "adds up to 10 bytes"),
        ({"digest": str(Digest.of(b"other"))}, "is not a layer of this artifact"),
        ({"digest": "sha256:0"}, "layers\\[0\\].digest"),
        ({"tensors": [["x", 0, 11, A]]}, "within the layer"),
        ({"tensors": [["x", 4, 6], ["y", 0, 4]]}, "behind the one before it"),
        ({"tensors": [["x", 0, 4], ["x", 4, 6]]}, "a name of its own"),
        ({"tensors": [["", 0, 4]]}, "a name of its own"),
        ({"tensors": [["x" * 1025, 0, 4]]}, "a name of its own"),
        ({"tensors": [["x", 1, 3]]}, "needs a digest"),
        ({"tensors": [["x", 0, 4, "zz"]]}, "a digest of 64 digits"),
        ({"tensors": [["x", -1, 4, A]]}, "behind the one before it"),
        ({"tensors": [["x", 0, 2**70, A]]}, "a number has more than 20 digits|within the layer"),
        ({"version": 99}, "version: must be 1"),
        ({"algorithm": "md5"}, "algorithm: must be one of"),
        ({"layers": [GOOD, GOOD]}, "is listed twice"),
        ({"more": 1}, "more: is not a known field"),
    ],
)
def test_a_bad_document_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        ChunkIndex.from_bytes(document(**changes), {D: 10, Digest.of(b"other"): 99})


def test_a_chunk_over_the_cap_is_refused() -> None:
    size = MAX_CHUNK + 1
    raw = document(size=size, chunks=[[size, A]], tensors=[])
    with pytest.raises(FormatError, match="must have a size of 1 to 16777216"):
        ChunkIndex.from_bytes(raw, {D: size})


def test_a_document_over_the_cap_is_refused() -> None:
    with pytest.raises(FormatError, match="more than 33554432 bytes"):
        ChunkIndex.from_bytes(b" " * (chunkindex.MAX_BYTES + 1), {})


VECTOR = json.loads((Path(__file__).parent / "data/vectors/chunk-index.json").read_text())


@pytest.mark.parametrize("algorithm", ["blake3", "sha256"])
def test_the_published_vector(algorithm: str) -> None:
    """Frozen: where this fails, the format has changed, and its version with it."""
    published = VECTOR["indexes"][algorithm]
    layers = [layer(recipe, algorithm) for recipe in VECTOR["files"]]
    raw = ChunkIndex(algorithm=algorithm, layers={item.digest: item for item in layers}).to_bytes()
    assert raw.decode() == published["document"]
    assert str(Digest.of(raw)) == published["digest"]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("algorithm", "digest"), [("blake3", lambda data: blake3(data).hexdigest()), ("sha256", sha256)]
)
def test_the_published_vector_is_what_it_says(algorithm: str, digest: Callable[[bytes], str]) -> None:
    """Read with nothing of ours."""
    document = json.loads(VECTOR["indexes"][algorithm]["document"])
    assert problems(document, "chunk-index") == []
    contents = {f"sha256:{sha256(raw)}": raw for raw in map(content, VECTOR["files"])}
    assert [found["digest"] for found in document["layers"]] == sorted(contents)
    for found in document["layers"]:
        raw = contents[found["digest"]]
        assert found["size"] == len(raw)
        at, edges = 0, {0}
        for size, hexadecimal in found["chunks"]:
            assert digest(raw[at : at + size]) == hexadecimal
            at += size
            edges.add(at)
        assert at == len(raw)
        for _, start, size, *own in found["tensors"]:
            if own:
                assert digest(raw[start : start + size]) == own[0]
            else:
                assert {start, start + size} <= edges or not size
