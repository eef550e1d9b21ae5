"""A small model of the shape that Hugging Face gives them, made on the spot: the same bytes each time.

The safetensors file is written by hand (its format: eight bytes of length, a JSON header, the tensors), so that
the library is not needed to see the program work.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

_HIDDEN = 128
_LAYERS = 4
_VOCABULARY = 2048
_CONFIG = {
    "architectures": ["BertForSequenceClassification"],
    "hidden_size": _HIDDEN,
    "model_type": "bert",
    "num_hidden_layers": _LAYERS,
    "torch_dtype": "float32",
    "vocab_size": _VOCABULARY,
}
_CARD = """---
license: apache-2.0
---
# A tiny classifier

Made by `ocimodel demo`. It classifies nothing.
"""


def write(directory: Path) -> Path:
    """Write the model into a new ``directory``."""
    directory.mkdir()
    (directory / "model.safetensors").write_bytes(_safetensors(_tensors()))
    (directory / "config.json").write_text(json.dumps(_CONFIG, indent=2) + "\n")
    words = {f"word{number}": number for number in range(64)}
    (directory / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordPiece", "vocab": words}}) + "\n")
    (directory / "README.md").write_text(_CARD)
    return directory


def _tensors() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"embeddings.word_embeddings.weight": (_VOCABULARY, _HIDDEN)}
    for layer in range(_LAYERS):
        for part in ("query", "key", "value", "output"):
            shapes[f"encoder.layer.{layer}.attention.{part}.weight"] = (_HIDDEN, _HIDDEN)
    shapes["classifier.weight"] = (2, _HIDDEN)
    return shapes


def _safetensors(shapes: dict[str, tuple[int, ...]]) -> bytes:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * _product(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    noise = random.Random(20_260_101).randbytes(end)  # noqa: S311 - weights, no secret
    return len(text).to_bytes(8, "little") + text + noise


def _product(shape: tuple[int, ...]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count
