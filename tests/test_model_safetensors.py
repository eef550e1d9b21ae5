import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.errors import FormatError
from ocimodel.model import safetensors
from ocimodel.model.header import MAX_TENSORS, Header
from ocimodel.model.safetensors import BITS, MAX_HEADER, parse
from tests.models import llama, write_safetensors


def read(data: bytes) -> Header:
    return parse(lambda offset, length: data[offset : offset + length], len(data))


def pack(header: bytes | dict[str, Any], data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


def entry(dtype: str = "U8", shape: tuple[int, ...] = (4,), offsets: tuple[int, int] = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def check(header: Header, size: int) -> None:
    """What `ocimodel.model.header` promises."""
    position = header.data_start
    for tensor in header.tensors:
        assert position <= tensor.start <= tensor.stop <= size
        position = tensor.stop
    assert len({tensor.name for tensor in header.tensors}) == len(header.tensors)


def test_what_the_library_writes(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = llama()
    write_safetensors(path, tensors)
    data = path.read_bytes()
    header = read(data)
    check(header, len(data))
    assert header.metadata == {"format": "pt"}
    assert {tensor.name for tensor in header.tensors} == set(tensors)
    for tensor in header.tensors:
        dtype, shape, content = tensors[tensor.name]
        assert (tensor.dtype, tensor.shape) == ({"float16": "F16", "float32": "F32"}[dtype], shape)
        assert data[tensor.start : tensor.stop] == content


@pytest.mark.parametrize("dtype", BITS)
def test_every_type_has_its_size(dtype: str) -> None:
    size = 8 * BITS[dtype] // 8
    assert read(pack({"t": entry(dtype, (2, 4), (0, size))}, bytes(size))).tensors[0].elements == 8
    with pytest.raises(FormatError, match="does not take"):
        read(pack({"t": entry(dtype, (2, 4), (0, size + 1))}, bytes(size + 1)))


def test_forms_that_other_writers_use() -> None:
    header = read(
        pack(
            b'\n{ "a\\u00e9" : {"shape":[ ],\t"data_offsets" : [0, 1] ,"dtype":"U8"} ,\n'
            b'"__metadata__" : { "k{}" : "v\\"}" , "l":"\xc3\xa9" }, "z\xc3\xa9":'
            b'{"dtype":"F32","shape":[0,3],"data_offsets":[1,1]}}   '.lstrip(),
            b"x",
        )
    )
    assert [(tensor.name, tensor.shape) for tensor in header.tensors] == [("aé", ()), ("zé", (0, 3))]
    assert header.metadata == {"k{}": 'v"}', "l": "é"}


@pytest.mark.parametrize("raw", [b"{}", b"{ }", b"{}    ", b'{"__metadata__":{}}', b'{"__metadata__":{ }}'])
def test_no_tensors(raw: bytes) -> None:
    assert read(pack(raw)).tensors == ()


def test_a_type_of_tomorrow_is_let_through() -> None:
    assert read(pack({"t": entry("F3_X", (5,), (0, 2))}, b"ab")).tensors[0].dtype == "F3_X"


BAD = {
    "empty": (b"", "at least 8 bytes"),
    "short": (b"1234567", "at least 8 bytes"),
    "length 2^63": ((2**63).to_bytes(8, "little") + b"{}", "claims 9223372036854775808 bytes, more than the file"),
    "length beyond the file": ((3).to_bytes(8, "little") + b"{}", "more than the file"),
    "no object": (pack(b"[]"), "not a JSON object"),
    "nothing": (pack(b""), "not a JSON object"),
    "byte order mark": (pack(b"\xef\xbb\xbf{}"), "not a JSON object"),
    "never closed": (pack(b"{"), "malformed"),
    "closed twice": (pack(b"{}}"), "malformed"),
    "more behind": (pack(b"{} {}"), "malformed"),
    "comma at the end": (pack(b'{"t":{"dtype":"U8","shape":[],"data_offsets":[0,1]},}', b"x"), "malformed"),
    "array for a tensor": (pack(b'{"t":[]}'), "malformed"),
    "number for a tensor": (pack(b'{"t":1}'), "malformed"),
    "object in a tensor": (pack(b'{"t":{"dtype":{}}}'), "malformed"),
    "unknown field": (pack({"t": {**entry(), "x": 1}}, b"1234"), "nothing else"),
    "missing field": (pack({"t": {"dtype": "U8", "shape": []}}), "must have"),
    "field twice": (pack(b'{"t":{"dtype":"U8","dtype":"U8","shape":[],"data_offsets":[0,1]}}', b"x"), "malformed"),
    "tensor twice": (
        pack(b'{"t":%b,"t":%b}' % ((json.dumps(entry("U8", (0,), (0, 0))).encode(),) * 2)),
        "stands twice",
    ),
    "tensor twice, spelt differently": (
        pack(b'{"t":%b,"\\u0074":%b}' % ((json.dumps(entry("U8", (0,), (0, 0))).encode(),) * 2)),
        "stands twice",
    ),
    "shape of a string": (pack({"t": {**entry(), "shape": "4"}}, b"1234"), "shape"),
    "shape of a truth": (pack({"t": {**entry(offsets=(0, 1)), "shape": [True]}}, b"1"), "shape is malformed"),
    "negative shape": (pack({"t": entry("U8", (-4,))}, b"1234"), "shape"),
    "fractional shape": (pack(b'{"t":{"dtype":"U8","shape":[4.0],"data_offsets":[0,4]}}', b"1234"), "malformed"),
    "leading zero": (pack(b'{"t":{"dtype":"U8","shape":[04],"data_offsets":[0,4]}}', b"1234"), "malformed"),
    "shape that wraps around": (pack({"t": entry("U8", (2**32, 2**32), (0, 0))}), "does not take"),
    "huge shape": (pack({"t": entry("U8", (2**62,), (0, 4))}, b"1234"), "absurd"),
    "many dimensions": (pack({"t": entry("U8", (1,) * 17, (0, 1))}, b"x"), "absurd"),
    "three offsets": (pack({"t": {**entry(), "data_offsets": [0, 1, 2]}}, b"1234"), "data_offsets"),
    "one offset": (pack({"t": {**entry(), "data_offsets": [0]}}, b"1234"), "data_offsets"),
    "ends before it begins": (pack({"t": entry("U8", (4,), (4, 0))}, b"1234"), "ends before"),
    "wrong length": (pack({"t": entry("F32", (2,), (0, 4))}, b"1234"), "does not take 4 bytes"),
    "out of range": (pack({"t": entry("U8", (5,), (0, 5))}, b"1234"), "end at byte"),
    "overlapping": (pack({"a": entry(), "b": entry("U8", (4,), (2, 6))}, b"123456"), "overlaps"),
    "the same range twice": (pack({"a": entry(), "b": entry()}, b"1234"), "overlaps"),
    "a gap": (pack({"a": entry(), "b": entry("U8", (4,), (5, 9))}, b"123456789"), "gap"),
    "a gap at the start": (pack({"a": entry("U8", (4,), (1, 5))}, b"12345"), "gap"),
    "a rest": (pack({"a": entry()}, b"12345"), "end at byte"),
    "dtype in small letters": (pack({"t": entry("u8")}, b"1234"), "dtype"),
    "dtype a number": (pack({"t": {**entry(), "dtype": 8}}, b"1234"), "dtype"),
    "metadata of numbers": (pack({"__metadata__": {"a": 1}}), "strings only"),
    "metadata with a rest": (pack(b'{"__metadata__":{"a":"b" "c"}}'), "strings only"),
    "metadata twice": (pack(b'{"__metadata__":{"a":"b","a":"c"}}'), "stands twice"),
    "metadata in metadata": (pack({"__metadata__": {"a": {}}}), "malformed"),
    "metadata an array": (pack(b'{"__metadata__":[]}'), "malformed"),
    "metadata within": (pack(b'{"__metadata__":{"a":"b"x}}'), "strings only"),
    "invalid UTF-8 in a name": (pack(b'{"\xff":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}', b"x"), "UTF-8"),
    "overlong UTF-8": (pack(b'{"\xc0\xaf":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}', b"x"), "UTF-8"),
    "half a surrogate": (pack(b'{"\\ud800":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}', b"x"), "malformed"),
    "control character": (pack(b'{"a\nb":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}', b"x"), "malformed"),
    "deep arrays": (
        pack(b'{"t":{"dtype":"U8","data_offsets":[0,0],"shape":' + b"[" * 400 + b"]" * 400 + b"}}"),
        "shape",
    ),
    "deeper arrays": (pack(b'{"t":{"shape":' + b"[" * 10**6 + b"}}"), "too long"),
    "deep objects": (pack(b'{"t":' * 10**6), "malformed"),
    "long name": (pack({"n" * 513: entry()}, b"1234"), "name is too long"),
    "NaN": (pack(b'{"t":{"dtype":"U8","shape":[NaN],"data_offsets":[0,1]}}', b"x"), "malformed"),
    "many digits": (pack(b'{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,%b]}}' % (b"9" * 900)), "data_offsets"),
    "a pickle": (b"\x80\x02}q\x00X\x05\x00\x00\x00modelq\x01", "claims"),
}


@pytest.mark.parametrize("name", BAD)
def test_hostile(name: str) -> None:
    data, message = BAD[name]
    with pytest.raises(FormatError, match=message):
        read(data)


def test_a_header_of_the_most_that_the_format_allows_is_not_read_beyond() -> None:
    asked: list[int] = []

    def read_at(offset: int, length: int) -> bytes:
        asked.append(length)
        return (MAX_HEADER + 1).to_bytes(8, "little") if offset == 0 else b""

    with pytest.raises(FormatError, match="the format allows"):
        parse(read_at, 2**50)
    assert asked == [8]


def test_a_file_that_is_cut_short_while_it_is_read() -> None:
    data = pack({"t": entry()}, b"1234")
    with pytest.raises(FormatError, match="cut short"):
        parse(lambda offset, length: data[offset : offset + min(length, 10)], len(data))


def many(count: int) -> bytes:
    entries = ",".join(
        f'"model.layers.{number}.mlp.experts.{number}.down_proj.weight":'
        f'{{"dtype":"BF16","shape":[1,2],"data_offsets":[{4 * number},{4 * number + 4}]}}'
        for number in range(count)
    )
    return pack(f"{{{entries}}}".encode(), bytes(4 * count))


def test_a_hundred_thousand_tensors() -> None:
    header = read(many(100_000))
    assert len(header.tensors) == 100_000
    assert header.tensors[-1].stop == header.tensors[0].start + 400_000


def repeated(form: bytes, count: int) -> bytes:
    return b",".join(form % number for number in range(count))


FLOODS: dict[str, Callable[[int], bytes]] = {
    "keys": lambda count: b"{%b}" % repeated(b'"%d":{}', count),
    "empty tensors": lambda count: (
        b"{%b}" % repeated(b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}', count)
    ),
    "metadata": lambda count: b'{"__metadata__":{%b}}' % repeated(b'"%d":""', count),
    "lists": lambda count: b'{"t":{"shape":[' + b"[]," * (10 * count) + b"0]}}",
    "a name without an end": lambda count: b'{"' + b"\\u0041" * (5 * count),
    "strings without an end": lambda count: b'{"a":{' + b'"\\\\" ' * (10 * count),
    "blanks": lambda count: b"{" + b" " * (50 * count),
}


@pytest.mark.parametrize("name", FLOODS)
def test_floods_cost_little(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a tenth of the size that is allowed: the caps hold, and one pass is all it takes."""
    monkeypatch.setattr(safetensors, "MAX_TENSORS", MAX_TENSORS // 10)
    data = pack(FLOODS[name](10**5))
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            read(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(data) + 16 * 2**20


SAMPLE = pack(
    {"__metadata__": {"format": "pt"}, "a": entry("F16", (2, 3), (0, 12)), "b": entry("I8", (5,), (12, 17))},
    bytes(17),
)


@given(st.data())
@settings(max_examples=300)
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


@given(st.binary(max_size=200), st.booleans())
def test_noise(noise: bytes, framed: bool) -> None:
    data = pack(b"{" + noise + b"}") if framed else noise
    try:
        header = read(data)
    except FormatError:
        return
    check(header, len(data))


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(["U8", "F16", "F64"]), st.lists(st.integers(0, 3), max_size=3)),
        max_size=6,
    ),
    st.booleans(),
)
def test_whatever_is_well_formed_is_read_back(tensors: dict[str, tuple[str, list[int]]], ascii_only: bool) -> None:
    document: dict[str, Any] = {}
    position = 0
    for name, (dtype, shape) in tensors.items():
        size = BITS[dtype] // 8
        for dimension in shape:
            size *= dimension
        document[name] = entry(dtype, tuple(shape), (position, position + size))
        position += size
    try:
        raw = json.dumps(document, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        return
    if any(0xD800 <= ord(letter) < 0xE000 for name in tensors for letter in name):
        return
    header = read(pack(raw, bytes(position)))
    assert {t.name: (t.dtype, list(t.shape)) for t in header.tensors} == {
        n: (d, s) for n, (d, s) in tensors.items()
    }
