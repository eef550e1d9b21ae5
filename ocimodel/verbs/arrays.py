"""Bytes of a tensor as an array of NumPy or a tensor of torch. Both are imported only here, only when asked for.

Guarantees: an array has the very values that the file has, in the machine's words for its type, is writable and
owns its memory. A type that NumPy has no word for (BF16 and FP8 without ``ml_dtypes``, quantised blocks) is an
error that says so, never an array of something else, unless the caller asks for the ``bits``: unsigned integers
of the same width, or plain bytes where a block holds several elements.
"""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

from ocimodel.errors import UsageError
from ocimodel.model.safetensors import BITS
from ocimodel.verbs.tensors import TensorInfo

if TYPE_CHECKING:
    import numpy as np

_NUMPY = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "u2",
    "I16": "i2",
    "F16": "f2",
    "U32": "u4",
    "I32": "i4",
    "F32": "f4",
    "U64": "u8",
    "I64": "i8",
    "F64": "f8",
    "C64": "c8",
}
_ML_DTYPES = {
    "BF16": "bfloat16",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}
_TORCH = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "F16": "float16",
    "BF16": "bfloat16",
    "U32": "uint32",
    "I32": "int32",
    "F32": "float32",
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
    "C64": "complex64",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}


def to_numpy(tensor: TensorInfo, data: memoryview, *, bits: bool = False) -> np.ndarray[Any, Any]:
    """Raises UsageError where NumPy is not installed, or has no word for the type and ``bits`` was not given."""
    numpy = _library("numpy", "NumPy")
    order = ">" if tensor.big_endian else "<"
    owned = _owned(data)
    array: np.ndarray[Any, Any]
    if bits:
        width = BITS.get(tensor.dtype, 0)
        if width % 8 or not width:
            array = numpy.frombuffer(owned, numpy.uint8).reshape(_in_bytes(tensor))
        else:
            array = _native(numpy.frombuffer(owned, f"{order}u{width // 8}")).reshape(tensor.shape)
    elif plain := _NUMPY.get(tensor.dtype):
        array = _native(numpy.frombuffer(owned, order + plain)).reshape(tensor.shape)
    else:
        kind = _of_ml_dtypes(tensor)
        words = numpy.frombuffer(owned, f"{order}u{BITS[tensor.dtype] // 8}")
        array = _native(words).view(kind).reshape(tensor.shape)
    return array


def _of_ml_dtypes(tensor: TensorInfo) -> Any:
    name = _ML_DTYPES.get(tensor.dtype)
    if name is None:
        raise _no_word(tensor, "it is not an array of numbers")
    try:
        return getattr(importlib.import_module("ml_dtypes"), name)
    except (ImportError, AttributeError):
        raise _no_word(tensor, "NumPy itself has no such type, the package ml_dtypes has") from None


def to_torch(tensor: TensorInfo, data: memoryview) -> Any:
    """Raises UsageError where torch is not installed, or has no word for the type."""
    torch = _library("torch", "torch")
    kind = getattr(torch, _TORCH.get(tensor.dtype, ""), None)
    if kind is None or tensor.big_endian:
        raise _no_word(tensor, "torch has no such type")
    if not data:
        return torch.empty(tensor.shape, dtype=kind)
    return torch.frombuffer(_owned(data), dtype=kind).reshape(tensor.shape)


def _owned(data: memoryview) -> bytearray | memoryview:
    """The bytes in writable memory of their own: no view that keeps a whole chunk alive."""
    base = data.obj
    if isinstance(base, bytearray) and len(base) == len(data):
        return data
    return bytearray(data)


def _native(array: Any) -> Any:
    """In the byte order of this machine; without a copy where it is so already."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _in_bytes(tensor: TensorInfo) -> tuple[int, ...]:
    """The shape in bytes: the last dimension, along which blocks lie, is as long as its bytes."""
    rows = math.prod(tensor.shape[:-1])
    if tensor.shape and rows and not tensor.nbytes % rows:
        return (*tensor.shape[:-1], tensor.nbytes // rows)
    return (tensor.nbytes,)


def _library(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UsageError(f"{name} is not installed", hint=f"pip install {module}") from None


def _no_word(tensor: TensorInfo, why: str) -> UsageError:
    return UsageError(
        f"tensor {tensor.name!r} is {tensor.dtype}: {why}",
        hint="Install what has it, ask for its bits (bits=True), or for its bytes.",
    )
