"""``python -m tests.fuzz.make_seeds``: the inputs that fuzzing begins with. A rerun changes nothing."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from ocimodel.model.chunkindex import Chunk, ChunkIndex, LayerIndex, TensorRange
from ocimodel.oci.digest import Digest

SEEDS = Path(__file__).parent / "seeds"
_DIGEST = Digest.of(b"")


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def _safetensors(header: object, size: int) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + bytes(size)


def _gguf(order: str = "<") -> bytes:
    def text(value: str) -> bytes:
        return struct.pack(f"{order}Q", len(value.encode())) + value.encode()

    def pair(key: str, kind: int, value: bytes) -> bytes:
        return text(key) + struct.pack(f"{order}I", kind) + value

    def array(kind: int, count: int, content: bytes) -> bytes:
        return struct.pack(f"{order}IQ", kind, count) + content

    pairs = [
        pair("general.architecture", 8, text("llama")),
        pair("llama.context_length", 4, struct.pack(f"{order}I", 2048)),
        pair("tokenizer.ggml.tokens", 9, array(8, 70, text("x") * 70)),
        pair("scores", 9, array(6, 2, struct.pack(f"{order}2f", 0.5, 1.5))),
        pair("nested", 9, array(9, 2, array(2, 2, b"1234") + array(8, 1, text("y")))),
    ]
    tensors = [
        text("a") + struct.pack(f"{order}IQQIQ", 2, 32, 2, 8, 0),
        text("b") + struct.pack(f"{order}IQIQ", 1, 3, 0, 96),
    ]
    head = b"GGUF" + struct.pack(f"{order}IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs + tensors)
    return head + bytes(-len(head) % 32) + bytes(96 + 12)


def seeds() -> dict[str, bytes]:
    """By target and name."""
    tensors = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]},
        "é": {"dtype": "I8", "shape": [5], "data_offsets": [12, 17]},
    }
    layer = LayerIndex(
        digest=_DIGEST,
        size=1000,
        chunks=(Chunk(0, 400, "0" * 64), Chunk(400, 1000, "1" * 64)),
        tensors=(TensorRange("a", 0, 400), TensorRange("b", 400, 500, "2" * 64)),
    )
    model = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": {"mediaType": "application/vnd.cncf.model.config.v1+json", "digest": str(_DIGEST), "size": 0},
        "layers": [
            {
                "mediaType": "application/vnd.cncf.model.weight.v1.raw",
                "digest": str(_DIGEST),
                "size": 0,
                "annotations": {"org.cncf.model.filepath": "a/m.gguf"},
            }
        ],
    }
    config = {
        "architectures": ["LlamaForCausalLM"],
        "max_position_embeddings": 2048,
        "quantization_config": {"quant_method": "gptq", "bits": 4},
        "tokenizer_class": "X",
        "text_config": {"vocab_size": 9},
        "list": [{"name": "a", "value": [1, 2]}, {"name": "a"}],
        "descriptor": {"name": "n", "licenses": ["MIT"]},
        "config": {"paramSize": "7B", "precision": "int8", "architecture": "bert"},
    }
    table = struct.pack("<Q", 1) + b"a" + struct.pack("<IQQIQ", 2, 32, 1, 0, 0)
    table += struct.pack("<Q", 1) + b"b" + struct.pack("<IQIQ", 1, 3, 0, 128)
    hostile = "\x1b[2J\x07<script>alert(1)</script>\u202e\u2028'\"><img src=x onerror=alert(1)>模型e\u0301"
    return {
        "safetensors/two": _safetensors(tensors, 17),
        "safetensors/empty": _safetensors(b"{}   ", 0),
        "safetensors/huge": (2**63).to_bytes(8, "little") + b"{}",
        "safetensors/deep": _safetensors(b'{"t":{"shape":' + b"[" * 300, 0),
        "gguf/little": _gguf(),
        "gguf/big": _gguf(">"),
        "gguf/strings": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + _text("t") + struct.pack("<IIQ", 9, 8, 2**62),
        "gguf/nested": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + _text("t") + struct.pack("<I", 9)
        + struct.pack("<IQ", 9, 1) * 50,
        "gguf-table/two": table + bytes(-len(table) % 32),
        "chunk-index/one": ChunkIndex(algorithm="sha256", layers={_DIGEST: layer}).to_bytes(),
        "manifest/model": json.dumps(model).encode(),
        "documents/config": json.dumps(config).encode(),
        "documents/card": b"---\nlicense: mit\nbase_model: [a/b, c]\n---\n# x\n",
        "documents/hostile": json.dumps({"architectures": [hostile], hostile: hostile}).encode(),
        "documents/gguf": _gguf(),
        "looks/hostile": hostile.encode(),
        "json/config": json.dumps(config).encode(),
        "json/deep": b"[" * 200 + b"]" * 200,
    }  # fmt: skip


def main() -> None:
    for name, data in seeds().items():
        path = SEEDS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    main()
