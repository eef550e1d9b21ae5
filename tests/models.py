"""A model directory as people have them, made by the libraries that make real ones. Same seed, same bytes.

make_model(directory)                       some 100 KB: a card, configs, a tokenizer, shards, a GGUF, code
make_model(directory, hidden=2048)          larger weights; sizes grow with its square
weights(n, seed)                            n bytes that do not compress
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]
"""By name: dtype in the words of NumPy, shape, data."""

_WIDTH = {"float16": 2, "float32": 4, "int64": 8, "uint8": 1}

README = """\
---
license: apache-2.0
language:
- en
- de
pipeline_tag: text-generation
model_name: Tiny Llama for tests
base_model: example/tiny-llama
tags: [tests, tiny]
model-index:
- name: tiny
  results: []
---
# Tiny Llama for tests

Weights made of noise. It says nothing.
"""


def weights(size: int, seed: object = 0) -> bytes:
    """``size`` bytes that look random, the same for the same seed on every machine."""
    piece = 1024 * 1024
    parts = (
        hashlib.shake_128(f"{seed}/{number}".encode()).digest(min(piece, size - number * piece))
        for number in range(-(-size // piece))
    )
    return b"".join(parts)


def llama(*, hidden: int = 64, layers: int = 2, vocabulary: int = 128, seed: object = 0) -> Tensors:
    """The tensors of a small model of that family."""
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "lm_head.weight": ("float16", (vocabulary, hidden)),
        "model.embed_tokens.weight": ("float16", (vocabulary, hidden)),
        "model.norm.weight": ("float32", (hidden,)),
    }
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            shapes[f"{prefix}.self_attn.{name}.weight"] = ("float16", (hidden, hidden))
        shapes[f"{prefix}.mlp.down_proj.weight"] = ("float16", (hidden, 2 * hidden))
        shapes[f"{prefix}.input_layernorm.weight"] = ("float32", (hidden,))
    return {name: tensor(name, dtype, shape, seed) for name, (dtype, shape) in shapes.items()}


def tensor(name: str, dtype: str, shape: tuple[int, ...], seed: object = 0) -> tuple[str, tuple[int, ...], bytes]:
    count = _WIDTH[dtype]
    for size in shape:
        count *= size
    return dtype, shape, weights(count, f"{seed}/{name}")


def write_safetensors(path: Path, tensors: Tensors) -> None:
    import numpy as np
    from safetensors.numpy import save

    arrays = {name: np.frombuffer(data, dtype).reshape(shape) for name, (dtype, shape, data) in tensors.items()}
    path.write_bytes(save(arrays, metadata={"format": "pt"}))


def write_gguf(
    path: Path,
    *,
    hidden: int = 64,
    tokens: int = 128,
    seed: object = 0,
    big_endian: bool = False,
    name: str = "Tiny Llama for tests",
    file_type: str = "MOSTLY_Q8_0",
) -> None:
    """A model with a vocabulary, a plain tensor and a quantised one."""
    import gguf
    import numpy as np

    order = gguf.GGUFEndian.BIG if big_endian else gguf.GGUFEndian.LITTLE
    writer = gguf.GGUFWriter(str(path), "llama", endianess=order)
    writer.add_name(name)
    writer.add_license("apache-2.0")
    writer.add_context_length(2048)
    writer.add_file_type(gguf.LlamaFileType[file_type])
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"▁token{number}" for number in range(tokens)])
    writer.add_token_types([1] * tokens)
    writer.add_tensor("output_norm.weight", np.frombuffer(weights(4 * hidden, seed), dtype=np.float32))
    row = hidden // 32 * 34  # Q8_0: 32 elements in 34 bytes
    packed = np.frombuffer(weights(tokens * row, f"{seed}/q"), dtype=np.uint8).reshape(tokens, row)
    writer.add_tensor("token_embd.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_model(
    directory: Path, *, hidden: int = 64, layers: int = 2, shards: int = 2, seed: object = 0, gguf: bool = True
) -> Path:
    """Fill ``directory`` (made if need be) and return it."""
    directory.mkdir(parents=True, exist_ok=True)
    _write_shards(directory, llama(hidden=hidden, layers=layers, seed=seed), shards)
    if gguf:
        (directory / "gguf").mkdir(exist_ok=True)
        write_gguf(directory / "gguf" / "tiny-Q8_0.gguf", hidden=hidden, seed=seed)
    documents: dict[str, Any] = {
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": hidden,
            "max_position_embeddings": 2048,
            "model_type": "llama",
            "num_hidden_layers": layers,
            "rms_norm_eps": 1e-05,
            "torch_dtype": "float16",
            "vocab_size": 128,
        },
        "generation_config.json": {"bos_token_id": 1, "do_sample": True, "eos_token_id": 2, "temperature": 0.6},
        "tokenizer.json": {
            "version": "1.0",
            "model": {"type": "BPE", "vocab": {f"▁token{number}": number for number in range(128)}, "merges": []},
        },
        "tokenizer_config.json": {"model_max_length": 2048, "tokenizer_class": "LlamaTokenizer"},
    }
    for name, document in documents.items():
        _write(directory / name, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    _write(directory / "README.md", README)
    _write(directory / "LICENSE", "Made for tests; do with it what you like.\n")
    _write(directory / "modeling_tiny.py", '"""Code that comes with the weights."""\n\nANSWER = 42\n')
    return directory


def _write_shards(directory: Path, tensors: Tensors, shards: int) -> None:
    names = sorted(tensors)
    if shards == 1:
        write_safetensors(directory / "model.safetensors", tensors)
        return
    files = [f"model-{number + 1:05}-of-{shards:05}.safetensors" for number in range(shards)]
    places = {name: files[position * shards // len(names)] for position, name in enumerate(names)}
    for file in files:
        write_safetensors(directory / file, {name: tensors[name] for name in names if places[name] == file})
    total = sum(len(data) for _, _, data in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    _write(directory / "model.safetensors.index.json", json.dumps(index, indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
