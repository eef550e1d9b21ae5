"""Models made of noise: nothing on the way can make them smaller, and every run makes the same ones."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

KIB, MIB, GIB = 1024, 1024**2, 1024**3
_BLOCK = 4 * MIB
_NORM = 8 * KIB
# The matrices of a block of a transformer, in parts of the largest; each has a norm beside it.
_SHAPES = (16, 4, 4, 16, 12)


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    size: int
    seed: int


def noise(seed: int, size: int) -> Iterator[memoryview]:
    """``size`` bytes that belong to ``seed``."""
    stream = Cipher(AES256(seed.to_bytes(32, "big")), CTR(bytes(16))).encryptor()
    zeros, block = bytes(_BLOCK), bytearray(_BLOCK + 16)
    while size:
        count = stream.update_into(memoryview(zeros)[: min(size, _BLOCK)], block)
        yield memoryview(block)[:count]
        size -= count


def model(directory: Path, size: int, *, count: int = 1, seed: int = 1) -> Path:
    """A directory with ``count`` safetensors files of about ``size`` bytes each, and a config."""
    directory.mkdir(parents=True)
    (directory / "config.json").write_text('{"architectures": ["Noise"], "model_type": "noise"}\n')
    for number in range(count):
        name = "model" if count == 1 else f"model-{number + 1:05}-of-{count:05}"
        write_safetensors(directory / f"{name}.safetensors", tensors(size, seed * 1_000_000 + number * 10_000))
    return directory


def small_files(directory: Path, count: int, size: int) -> Path:
    """A directory with exactly ``count`` files of ``size`` bytes."""
    directory.mkdir(parents=True)
    for number in range(count):
        with (directory / f"part-{number:05}.bin").open("wb") as file:
            for block in noise(9_000_000_000 + number, size):
                file.write(block)
    return directory


def tensors(size: int, seed: int) -> list[Tensor]:
    """Tensors of together ``size`` bytes: matrices of 4 to 16 MiB (less in a model under 128 MiB), and norms."""
    scale = MIB if size >= 128 * MIB else max(size // (8 * _SHAPES[0]) // 8 * 8, 8)
    result: list[Tensor] = []
    left, number = size, 0
    while left:
        for kind, length in (("weight", _SHAPES[number % len(_SHAPES)] * scale), ("norm", _NORM)):
            length = min(length, left)
            if length:
                result.append(Tensor(f"layer.{number:04}.{kind}", length, seed + len(result)))
            left -= length
        number += 1
    return result


def fine_tuned(original: Sequence[Tensor], share: float) -> tuple[list[Tensor], int]:
    """The tensors with some matrices replaced, spread over the file: about ``share`` of all bytes, and how many."""
    wanted = share * sum(tensor.size for tensor in original)
    smallest = min(4 * MIB, original[0].size // 4)
    matrices = [index for index, tensor in enumerate(original) if tensor.size >= smallest]
    random.Random(5).shuffle(matrices)
    result, changed = list(original), 0
    while changed < wanted:
        index = matrices.pop()
        old = original[index]
        result[index] = Tensor(old.name, old.size, old.seed + 500_000_000)
        changed += old.size
    return result, changed


def write_safetensors(path: Path, content: Sequence[Tensor], note: str = "") -> None:
    """``note`` goes into the header, which grows by it, so that all tensors move."""
    header: dict[str, object] = {"__metadata__": {"format": "pt", **({"note": note} if note else {})}}
    at = 0
    for tensor in content:
        header[tensor.name] = {
            "dtype": "U8",
            "shape": [tensor.size],
            "data_offsets": [at, at + tensor.size],
        }
        at += tensor.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in content:
            for block in noise(tensor.seed, tensor.size):
                file.write(block)
