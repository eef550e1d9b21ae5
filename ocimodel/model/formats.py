"""Formats of weight files: by name, by declared type, and whether one may run code when it is loaded.

Guarantees: pure functions of what they are given. A name settles a format only where its loaders go by it; what no
rule knows has no format (an empty string). ``pickle`` is every format whose loader unpickles: PyTorch's and
Lightning's checkpoints, joblib, NeMo, Paddle. What is in a file, `pickles` tells.
"""

from __future__ import annotations

import re
from typing import Final

PICKLE: Final = "pickle"
_BY_FORMAT: Final = {
    PICKLE: "pkl pickle pck pcl dill cloudpickle joblib pt pth ptl ckpt mar nemo pdparams pdopt distcp",
    "safetensors": "safetensors",
    "gguf": "gguf",
    "ggml": "ggml ggmf ggjt",
    "onnx": "onnx ort",
    "hdf5": "h5 hdf hdf5",
    "keras": "keras",
    "tensorflow": "pb",
    "tflite": "tflite",
    "numpy": "npy npz",
    "coreml": "mlmodel mlpackage mil",
    "msgpack": "msgpack",
    "tensorrt": "engine plan trt",
    "dduf": "dduf",
    "llamafile": "llamafile",
    "skops": "skops",
    "torch-export": "pt2 pte",
    "xgboost": "ubj xgb",
    "catboost": "cbm",
}
_ENDINGS: Final = {ending: name for name, endings in _BY_FORMAT.items() for ending in endings.split()}
FORMATS: Final = tuple(sorted(_BY_FORMAT))
"""Every name that a policy may allow or deny."""

_COMPRESSED = frozenset({"gz", "bz2", "xz", "lzma", "z", "lz4", "zst"})
_TORCH = re.compile(
    r"(?:pytorch_model|adapter_model|diffusion_pytorch_model|training_args|optimizer|scheduler|consolidated)[^/]*\.bin"
)
_SHARD = re.compile(r"(?:data-\d+-of-\d+|\d+|part-?\d+)")
_TYPES: Final = ("safetensors", "gguf", "onnx")
_PICKLE_TYPES: Final = ("pickle", "joblib", "pytorch")


def format_of_name(path: str) -> str:
    """What the loaders of a file of this name take it for."""
    name = path.rpartition("/")[2].lower()
    if _TORCH.fullmatch(name):
        return PICKLE
    words = name.split(".")
    while len(words) > 2 and (words[-1] in _COMPRESSED or _SHARD.fullmatch(words[-1])):
        words.pop()
    return _ENDINGS.get(words[-1], "") if len(words) > 1 else ""


def format_of_type(media_type: str) -> str:
    """What a layer's media type declares."""
    kind = media_type.lower()
    if any(word in kind for word in _PICKLE_TYPES):
        return PICKLE
    return next((word for word in _TYPES if word in kind), "")


def is_weight(path: str, size: int, media_type: str = "") -> bool:
    """Whether a file counts among the model's weights: the layer says so, or its name does."""
    from ocimodel.model.roles import role_of, role_of_type

    declared = role_of_type(media_type)
    return "weight" in (declared, role_of(path, size))
