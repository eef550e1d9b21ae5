"""The header of a safetensors file (huggingface/safetensors, README "Format").

    8 bytes N, little endian | N bytes of JSON, padded with blanks | data

Guarantees: a header is accepted only if the reference implementation would load it: each tensor's bytes are as
many as its type and shape need, and the tensors tile the data without a gap, an overlap or a rest. Refused in
time and memory that are bounded by the header's size, of which at most 100,000,000 bytes are read, as the
reference does: no part of it becomes a Python object before its shape is known to be flat.

A type that is not in the table (a newer version of the format) is let through with its range unexplained.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from ocimodel.errors import FormatError
from ocimodel.model.header import MAX_DIMENSIONS, MAX_ELEMENTS, MAX_NAME, MAX_TENSORS, Header, Tensor
from ocimodel.model.reading import ReadAt

MAX_HEADER = 100_000_000
MAX_METADATA = 8 * 1024 * 1024
MAX_TEXTS = 10_000

BITS = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}

_STRING = rb'"(?:[^"\\\x00-\x1f]++|\\.)*+"'
# A member whose value is an object without objects in it: all that a header may consist of. The quantifiers are
# possessive, so a hostile header costs one pass.
_MEMBER = re.compile(
    rb"[ \t\r\n]*+("
    + _STRING
    + rb")[ \t\r\n]*+:[ \t\r\n]*+(\{(?:"
    + _STRING
    + rb'|[^"{}]++)*+\})[ \t\r\n]*+([,}])',
    re.DOTALL,
)
_SIZE = rb"(?:0|[1-9][0-9]{0,17}+)"
_USUAL = re.compile(
    rb'\{"dtype":"([A-Z][A-Z0-9_]{0,15}+)","shape":\[((?:%b(?:,%b){0,15}+)?+)\],"data_offsets":\[(%b),(%b)\]\}'
    % (_SIZE, _SIZE, _SIZE, _SIZE)
)
_DTYPE = re.compile(r"[A-Z][A-Z0-9_]{0,15}")
_TEXT = re.compile(rb"[ \t\r\n]*+(" + _STRING + rb")[ \t\r\n]*+:[ \t\r\n]*+(" + _STRING + rb")[ \t\r\n]*+([,}])")


def parse(read_at: ReadAt, size: int) -> Header:
    """The header of the file of ``size`` bytes that ``read_at`` reads.

    Raises:
        FormatError: it is not a safetensors file, or lies about its tensors.
    """
    if size < 8:
        raise FormatError(f"a safetensors file has at least 8 bytes, this one has {size}")
    length = int.from_bytes(read_at(0, 8), "little")
    if length > min(size - 8, MAX_HEADER):
        limit = "the file" if length > size - 8 else f"the {MAX_HEADER} bytes that the format allows"
        raise FormatError(f"the safetensors header claims {length} bytes, more than {limit}")
    raw = read_at(8, length)
    if len(raw) != length:
        raise FormatError("the safetensors header is cut short")
    tensors, metadata = _members(raw, 8 + length)
    tensors.sort(key=lambda tensor: (tensor.start, tensor.stop))
    position = 8 + length
    for tensor in tensors:
        if tensor.start != position:
            _fail(tensor.name, "its data overlaps another's, or leaves a gap")
        position = tensor.stop
    if position != size:
        raise FormatError(f"the tensors end at byte {position}, the file at {size}")
    return Header(format="safetensors", tensors=tuple(tensors), metadata=metadata, data_start=8 + length)


def _members(raw: bytes, data_start: int) -> tuple[list[Tensor], dict[str, str]]:
    tensors: list[Tensor] = []
    metadata: dict[str, str] = {}
    names: set[str] = set()
    text = raw.rstrip(b" \t\r\n")
    if text[:1] != b"{":
        raise FormatError("the safetensors header is not a JSON object")
    position, separator = 1, b","
    if not text[1:].strip(b" \t\r\n}"):
        position, separator = len(text), b"}" if text.count(b"}") == 1 else b""
    while separator == b"," and (match := _MEMBER.match(text, position)):
        key, value, separator = match.groups()
        position = match.end()
        name = _text(key)
        if name in names:
            _fail(name, "it stands twice in the header")
        names.add(name)
        if len(names) > MAX_TENSORS:
            raise FormatError(f"the safetensors header has more than {MAX_TENSORS} members")
        if name == "__metadata__":
            metadata = _metadata(value)
        else:
            tensors.append(_tensor(name, value, data_start))
    if separator != b"}" or position != len(text):
        raise FormatError(f"the safetensors header is malformed at byte {8 + position}")
    return tensors, metadata


def _tensor(name: str, value: bytes, data_start: int) -> Tensor:
    if len(name) > MAX_NAME:
        _fail(name, "its name is too long")
    if len(value) > 1024:
        _fail(name, "its description is too long")
    usual = _USUAL.fullmatch(value)
    if usual:  # as the reference implementation writes it: no need for a JSON parser
        kind, dimensions, first, last = usual.groups()
        dtype, start, end = kind.decode(), int(first), int(last)
        shape = tuple(map(int, dimensions.split(b","))) if dimensions else ()
    else:
        dtype, shape, start, end = _unusual(name, _load(value, name))
    _check_size(name, dtype, shape, start, end)
    return Tensor(name, dtype, shape, data_start + start, data_start + end)


def _unusual(name: str, value: Any) -> tuple[str, tuple[int, ...], int, int]:
    if value.keys() != {"dtype", "shape", "data_offsets"}:
        _fail(name, "it must have dtype, shape and data_offsets, and nothing else")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or _DTYPE.fullmatch(dtype) is None:
        _fail(name, "its dtype is malformed")
    if not _are_sizes(shape):
        _fail(name, "its shape is malformed")
    if not _are_sizes(offsets) or len(offsets) != 2:
        _fail(name, "its data_offsets are malformed")
    return dtype, tuple(shape), offsets[0], offsets[1]


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(item) is int and 0 <= item < 2**63 for item in values)


def _check_size(name: str, dtype: str, shape: tuple[int, ...], start: int, end: int) -> None:
    if len(shape) > MAX_DIMENSIONS or max(shape, default=0) > MAX_ELEMENTS:
        _fail(name, "its shape is absurd")
    if end < start:
        _fail(name, "its data ends before it begins")
    bits = BITS.get(dtype)
    if bits is not None and math.prod(shape) * bits != (end - start) * 8:
        _fail(name, f"{dtype} in the shape {list(shape)} does not take {end - start} bytes")


def _metadata(value: bytes) -> dict[str, str]:
    """Strings by name; of an object that is nothing else, however large it claims to be."""
    found: dict[str, str] = {}
    position, separator = 1, b"," if value[1:-1].strip(b" \t\r\n") else b"}"
    while separator == b"," and (match := _TEXT.match(value, position)):
        key, text, separator = match.groups()
        position = match.end()
        name = _text(key)
        if name in found:
            _fail("__metadata__", f"{name[:80]!r} stands twice")
        found[name] = _text(text)
        if len(found) > MAX_TEXTS or position > MAX_METADATA:
            _fail("__metadata__", f"it has more than {MAX_TEXTS} members or {MAX_METADATA} bytes")
    if separator != b"}" or (found and position != len(value)):
        _fail("__metadata__", "it may hold strings only")
    return found


def _text(literal: bytes) -> str:
    """The value of a JSON string."""
    if b"\\" in literal:
        loaded = _load(literal, "a string")
        assert isinstance(loaded, str)
        return loaded
    try:
        return literal[1:-1].decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError("the safetensors header is not UTF-8") from None


def _load(data: bytes, name: str) -> Any:
    """One string, or one short object without objects in it."""
    try:
        text = data.decode("utf-8")
        value = _DECODER.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is not text
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the safetensors header is malformed at {name[:80]!r}") from error
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_no_number, parse_constant=_no_number)


def _fail(name: str, what: str) -> NoReturn:
    raise FormatError(f"tensor {name[:120]!r}: {what}")
