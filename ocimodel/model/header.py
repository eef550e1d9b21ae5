"""What a weight file says of itself before its data: which tensors it holds, and where.

Guarantees for a `Header` that a parser returned: tensors are in the order of their data; their ranges are
absolute offsets, lie within the file behind the header, and do not overlap; names are distinct.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

MAX_TENSORS = 250_000
"""The largest models that are published today have fewer than 100,000 in all of their files together."""

MAX_DIMENSIONS = 16
MAX_ELEMENTS = 2**60
MAX_NAME = 512


class Tensor(NamedTuple):
    """``dtype`` is spelt as the format does (``BF16``, ``Q4_K``); the data is the file's bytes [start, stop)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """``metadata`` has what the format allows: strings (safetensors), scalars, short lists and `Array` (GGUF)."""

    format: str
    tensors: tuple[Tensor, ...]
    metadata: Mapping[str, Any]
    data_start: int


class Enough(Exception):
    """Raised by a ``read_at`` that was to give so much and no more: what it has given stays true."""


class Array(NamedTuple):
    """An array of metadata that was passed over: what it holds and how much of it."""

    kind: str
    length: int
