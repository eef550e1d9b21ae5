"""How many parameters a model has, counted from the headers of its weight files.

Guarantees: counted once, or not at all. A directory may hold the same weights twice (in two precisions, whole
and in shards, quantised in several ways); where that is so, and the copies disagree, there is no number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ocimodel.model.header import Header

_SHARD = re.compile(r"(.*?)[-_.]?\d{5}-of-\d{5}(\.[^./]*)")


def parameters(headers: Mapping[str, Header]) -> int:
    """Elements of all tensors of the files in ``headers`` (by path); 0 where that would be a guess."""
    sets: dict[str, dict[str, int]] = {}
    for path, header in sorted(headers.items()):
        shard = _SHARD.fullmatch(path)
        tensors = sets.setdefault(shard[1] + shard[2] if shard else path, {})
        for tensor in header.tensors:
            if tensor.name in tensors:
                return 0
            tensors[tensor.name] = tensor.elements
    names = [name for tensors in sets.values() for name in tensors]
    counts = [sum(tensors.values()) for tensors in sets.values() if tensors]
    if len(set(names)) == len(names):
        return sum(counts)
    return counts[0] if len(set(counts)) == 1 else 0


def size_name(count: int) -> str:
    """``6.7B``: at most one decimal, and a letter of K, M, B, T, Q (model-spec, "paramSize"); empty for too few."""
    for power, letter in enumerate("KMBTQ", start=1):
        scale = 1000**power
        tenths = (count * 10 + scale // 2) // scale
        if tenths < 10_000 or letter == "Q":  # 999,960 is 1M, not 1000K
            whole, tenth = divmod(tenths, 10)
            return (f"{whole}.{tenth}{letter}" if tenth else f"{whole}{letter}") if tenths else ""
    return ""
