import struct
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.errors import FormatError
from ocimodel.model import gguf
from ocimodel.model.ggml import FILE_TYPES, TYPES
from ocimodel.model.gguf import parse
from ocimodel.model.header import Array, Header
from tests.models import weights, write_gguf


def read(data: bytes) -> Header:
    return parse(lambda offset, length: data[offset : offset + length], len(data))


def text(value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def pair(key: bytes | str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def array(kind: int, count: int, content: bytes) -> bytes:
    return struct.pack("<IQ", kind, count) + content


def described(name: bytes | str, shape: Sequence[int], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def pack(
    pairs: Sequence[bytes] = (),
    tensors: Sequence[bytes] = (),
    data: bytes = b"",
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    alignment: int = 32,
) -> bytes:
    tensor_count, pair_count = counts or (len(tensors), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, tensor_count, pair_count) + b"".join(pairs) + b"".join(tensors)
    return head + bytes(-len(head) % alignment) + data


def check(header: Header, size: int) -> None:
    position = header.data_start
    for tensor in header.tensors:
        assert position <= tensor.start <= tensor.stop <= size
        position = tensor.stop
    assert len({tensor.name for tensor in header.tensors}) == len(header.tensors)


@pytest.mark.parametrize("big_endian", [False, True])
def test_what_the_library_writes(tmp_path: Path, big_endian: bool) -> None:
    path = tmp_path / "x.gguf"
    write_gguf(path, tokens=1000, big_endian=big_endian)
    data = path.read_bytes()
    header = read(data)
    check(header, len(data))
    assert header.metadata["general.architecture"] == "llama"
    assert header.metadata["llama.context_length"] == 2048
    assert FILE_TYPES[header.metadata["general.file_type"]] == "Q8_0"
    assert header.metadata["tokenizer.ggml.tokens"] == Array("string", 1000)
    assert header.metadata["tokenizer.ggml.token_type"] == Array("int32", 1000)
    tensors = {tensor.name: tensor for tensor in header.tensors}
    norm, packed = tensors["output_norm.weight"], tensors["token_embd.weight"]
    assert (norm.dtype, norm.shape) == ("F32", (64,))
    assert (packed.dtype, packed.shape) == ("Q8_0", (1000, 64))
    assert data[packed.start : packed.stop] == weights(1000 * 68, "0/q")
    if not big_endian:
        assert data[norm.start : norm.stop] == weights(256)


def test_the_tables_are_those_of_the_library() -> None:
    from gguf.constants import GGML_QUANT_SIZES, LlamaFileType

    theirs = {kind.value: (kind.name, *sizes) for kind, sizes in GGML_QUANT_SIZES.items()}
    assert {kind: theirs[kind] for kind in TYPES if kind in theirs} == {k: TYPES[k] for k in TYPES if k in theirs}
    assert theirs.keys() <= TYPES.keys()
    names = {item.value: item.name.removeprefix("MOSTLY_").removeprefix("ALL_") for item in LlamaFileType}
    names.pop(LlamaFileType.GUESSED.value)
    assert names.items() <= FILE_TYPES.items()


def test_scalars_and_short_arrays_are_kept() -> None:
    header = read(
        pack(
            [
                pair("u8", 0, b"\xff"),
                pair("i8", 1, b"\xff"),
                pair("u16", 2, b"\1\2"),
                pair("f32", 6, struct.pack("<f", 0.5)),
                pair("bool", 7, b"\1"),
                pair("text", 8, text("é")),
                pair("u64", 10, struct.pack("<Q", 2**63)),
                pair("f64", 12, struct.pack("<d", 1e300)),
                pair("languages", 9, array(8, 2, text("en") + text("de"))),
                pair("numbers", 9, array(5, 2, struct.pack("<2i", -1, 1))),
                pair("nothing", 9, array(8, 0, b"")),
                pair("nested", 9, array(9, 2, array(0, 3, b"abc") + array(8, 1, text("x")))),
                pair("long", 9, array(0, 65, bytes(65))),
            ]
        )
    )
    assert header.metadata == {
        "u8": 255,
        "i8": -1,
        "u16": 513,
        "f32": 0.5,
        "bool": True,
        "text": "é",
        "u64": 2**63,
        "f64": 1e300,
        "languages": ("en", "de"),
        "numbers": (-1, 1),
        "nothing": (),
        "nested": Array("array", 2),
        "long": Array("uint8", 65),
    }


def test_a_vocabulary_may_hold_pieces_of_characters() -> None:
    tokens = b"".join(text(bytes([number % 256])) for number in range(100))
    assert read(pack([pair("t", 9, array(8, 100, tokens))])).metadata == {"t": Array("string", 100)}


@pytest.mark.parametrize("alignment", [8, 64, 4096])
def test_alignment(alignment: int) -> None:
    pairs = [pair("general.alignment", 4, struct.pack("<I", alignment))]
    tensors = [described("b", (4,), 24, alignment), described("a", (3,), 24, 0)]
    data = pack(pairs, tensors, bytes(alignment + 4), alignment=alignment)
    header = read(data)
    assert header.data_start % alignment == 0
    assert [(tensor.name, tensor.stop - tensor.start) for tensor in header.tensors] == [("a", 3), ("b", 4)]
    assert header.tensors[1].start == header.data_start + alignment


def test_a_type_of_tomorrow_reaches_to_the_next_tensor() -> None:
    header = read(pack((), [described("a", (7, 7), 99, 0), described("b", (1,), 24, 64)], bytes(65)))
    assert [(t.dtype, t.stop - t.start) for t in header.tensors] == [("type99", 64), ("I8", 1)]


def test_windows_end_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    write_gguf(path, tokens=60_000)
    data = path.read_bytes()
    steps: list[int] = []

    def stingy(offset: int, length: int) -> bytes:
        steps.append(length)
        return data[offset : offset + length]

    assert parse(stingy, len(data)) == read(data)
    assert len(steps) > 2
    assert max(steps) <= 1024 * 1024


one = described("a", (4,), 24, 0)
BAD = {
    "empty": (b"", "wants 4 bytes"),
    "another format": (b"GGML" + bytes(100), "does not begin with GGUF"),
    "nothing behind the magic": (b"GGUF", "wants 4 bytes"),
    "version 1": (pack(version=1), "version 1"),
    "version 4": (pack(version=4), "version 4"),
    "version 0": (pack(version=0), "version 0"),
    "2^63 tensors": (pack(counts=(2**63, 0)), "claims 9223372036854775808 tensors"),
    "2^63 pairs": (pack(counts=(0, 2**63)), "9223372036854775808 pairs"),
    "10^6 pairs": (pack(counts=(0, 10**6)), "claims"),
    "more pairs than there are": (pack([pair("a", 0, b"x")], counts=(0, 50)), "stands twice"),
    "more tensors than there are": (pack((), [one], b"1234", counts=(9, 0)), "at most 256"),
    "key twice": (pack([pair("a", 0, b"x")] * 2), "stands twice"),
    "key longer than the file": (pack([struct.pack("<Q", 10**6)]), "wants 1000000 bytes"),
    "key of 2^64-1": (pack([struct.pack("<Q", 2**64 - 1)]), "at most"),
    "key that is not UTF-8": (pack([pair(b"\xff", 0, b"x")]), "UTF-8"),
    "text longer than the file": (pack([pair("a", 8, struct.pack("<Q", 10**6))]), "wants 1000000"),
    "text that is not UTF-8": (pack([pair("a", 8, text(b"\xc3"))]), "UTF-8"),
    "unknown type": (pack([pair("a", 13, b"x")]), "unknown type 13"),
    "array of 2^63": (pack([pair("a", 9, array(0, 2**63, b""))]), "beyond"),
    "array of 2^63 eights": (pack([pair("a", 9, array(10, 2**63, b""))]), "beyond"),
    "array of 2^63 strings": (pack([pair("a", 9, array(8, 2**63, b""))]), "more than 4000000"),
    "array of strings longer than the file": (
        pack([pair("a", 9, array(8, 100, struct.pack("<Q", 2**62)))]),
        "beyond",
    ),
    "last string longer than the file": (
        pack([pair("a", 9, array(8, 65, bytes(64 * 8) + struct.pack("<Q", 2**62)))]),
        "beyond",
    ),
    "array of 2^63 arrays": (pack([pair("a", 9, array(9, 2**63, b""))]), "more than 4000000"),
    "array of unknown type": (pack([pair("a", 9, array(13, 1, b"x"))]), "unknown type"),
    "array in array in array…": (pack([pair("a", 9, array(9, 1, b"") * 10_000)]), "nested too deeply"),
    "alignment 0": (pack([pair("general.alignment", 4, bytes(4))]), "alignment"),
    "alignment 7": (pack([pair("general.alignment", 4, struct.pack("<I", 7))]), "alignment"),
    "alignment 2^32-8": (pack([pair("general.alignment", 4, struct.pack("<I", 2**32 - 8))]), "alignment"),
    "alignment a text": (pack([pair("general.alignment", 8, text("32"))]), "alignment"),
    "alignment a truth": (pack([pair("general.alignment", 7, b"\1")]), "alignment"),
    "9 dimensions": (pack((), [described("a", (1,) * 9, 24, 0)], b"x"), "dimensions"),
    "2^32-1 dimensions": (pack((), [text("a") + b"\xff" * 4]), "dimensions"),
    "shape that wraps around": (pack((), [described("a", (2**32, 2**32), 24, 0)]), "absurd"),
    "name too long": (pack((), [described("n" * 257, (1,), 24, 0)], b"x"), "at most 256"),
    "name not UTF-8": (pack((), [described(b"\xff", (1,), 24, 0)], b"x"), "UTF-8"),
    "tensor twice": (pack((), [one, described("a", (4,), 24, 32)], bytes(36)), "stands twice"),
    "offset not aligned": (pack((), [described("a", (4,), 24, 1)], bytes(36)), "multiple of 32"),
    "offset beyond the file": (pack((), [described("a", (0,), 24, 64)], b"x"), "beyond the end"),
    "offset of 2^63": (pack((), [described("a", (4,), 24, 2**63)], b"1234"), "beyond the end"),
    "data beyond the file": (pack((), [described("a", (5,), 24, 0)], b"1234"), "beyond the file"),
    "overlapping": (pack((), [described("a", (33,), 24, 0), described("b", (1,), 24, 32)], bytes(40)), "overlaps"),
    "the same range twice": (pack((), [one, described("b", (4,), 24, 0)], b"1234"), "overlaps"),
    "half a block": (pack((), [described("a", (16,), 8, 0)], bytes(34)), "multiple of the 32"),
    "half a block of each row": (pack((), [described("a", (16, 2), 8, 0)], bytes(34)), "multiple of the 32"),
}


@pytest.mark.parametrize("name", BAD)
def test_hostile(name: str) -> None:
    data, message = BAD[name]
    with pytest.raises(FormatError, match=message):
        read(data)


def many_arrays(count: int) -> bytes:
    return pack([pair("a", 9, array(9, count, array(0, 0, b"") * count))])


FLOODS: dict[str, Callable[[], bytes]] = {
    "strings": lambda: pack([pair("t", 9, array(8, 10**6, text("") * 10**6))]),
    "arrays": lambda: many_arrays(10**6),
    "kept texts": lambda: pack([pair(f"k{n}", 9, array(8, 64, text("xy") * 64)) for n in range(4100)]),
    "keys": lambda: pack([pair("k" * 4000 + str(n), 0, b"x") for n in range(5000)]),
    "a long text": lambda: pack([pair("k", 8, text(b"x" * (17 * 2**20)))]),
}


@pytest.mark.parametrize("name", FLOODS)
def test_floods_cost_little(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "MAX_ITEMS", 100_000)
    data = FLOODS[name]()
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=r"more than|at most"):
            read(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * 2**20


def test_a_hundred_thousand_tensors() -> None:
    tensors = [described(f"blk.{number}.ffn_gate.weight", (32,), 24, 32 * number) for number in range(100_000)]
    header = read(pack((), tensors, bytes(32 * 100_000)))
    assert len(header.tensors) == 100_000


SAMPLE = pack(
    [
        pair("general.architecture", 8, text("llama")),
        pair("tokenizer.ggml.tokens", 9, array(8, 70, text("x") * 70)),
        pair("n", 9, array(9, 2, array(2, 2, b"1234") + array(8, 1, text("x")))),
    ],
    [described("a", (32, 2), 8, 0), described("b", (3,), 0, 96)],
    bytes(96 + 12),
)


@given(st.data())
@settings(max_examples=400)
def test_damage_is_refused_or_harmless(data: st.DataObject) -> None:
    damaged = bytearray(SAMPLE)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))]) if data.draw(st.booleans()) else bytes(damaged)
    try:
        header = read(cut)
    except FormatError:
        return
    check(header, len(cut))


@given(st.binary(max_size=300))
def test_noise(noise: bytes) -> None:
    data = b"GGUF" + struct.pack("<IQQ", 3, 1, 2) + noise
    try:
        header = read(data)
    except FormatError:
        return
    check(header, len(data))


@given(
    st.dictionaries(
        st.text(max_size=20).filter(lambda name: not any(0xD800 <= ord(letter) < 0xE000 for letter in name)),
        st.tuples(st.sampled_from([0, 1, 8, 12]), st.integers(0, 3)),
        max_size=5,
    )
)
def test_whatever_is_well_formed_is_read_back(tensors: dict[str, tuple[int, int]]) -> None:
    parts: list[bytes] = []
    expected: dict[str, Any] = {}
    offset = 0
    for name, (kind, rows) in tensors.items():
        label, block, width = TYPES[kind]
        parts.append(described(name, (block, rows), kind, offset))
        expected[name] = (label, (rows, block), rows * width)
        offset += rows * width + -(rows * width) % 32
    header = read(pack((), parts, bytes(offset)))
    assert {t.name: (t.dtype, t.shape, t.stop - t.start) for t in header.tensors} == expected
