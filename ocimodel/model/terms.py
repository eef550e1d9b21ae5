"""Names of the field, as one source spells them and as another wants them. Tables only."""

from __future__ import annotations

import re
from collections.abc import Mapping

PRECISION_OF: Mapping[str, str] = {
    # safetensors and ggml types in the words of model-spec, "precision"
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3",
    "F8_E5M2": "float8_e5m2",
    "C64": "complex64",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "BOOL": "bool",
}
PRECISIONS = frozenset(PRECISION_OF.values())

_TEXT, _IMAGE, _AUDIO, _VIDEO, _EMBEDDING = ("text",), ("image",), ("audio",), ("video",), ("embedding",)

TASKS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # Hugging Face's pipeline tags that leave no doubt: what goes in, what comes out
    "automatic-speech-recognition": (_AUDIO, _TEXT),
    "fill-mask": (_TEXT, _TEXT),
    "image-text-to-text": (("image", "text"), _TEXT),
    "image-to-image": (_IMAGE, _IMAGE),
    "image-to-text": (_IMAGE, _TEXT),
    "image-to-video": (_IMAGE, _VIDEO),
    "question-answering": (_TEXT, _TEXT),
    "sentence-similarity": (_TEXT, _EMBEDDING),
    "summarization": (_TEXT, _TEXT),
    "text-generation": (_TEXT, _TEXT),
    "text-to-audio": (_TEXT, _AUDIO),
    "text-to-image": (_TEXT, _IMAGE),
    "text-to-speech": (_TEXT, _AUDIO),
    "text-to-video": (_TEXT, _VIDEO),
    "translation": (_TEXT, _TEXT),
    "video-text-to-text": (("text", "video"), _TEXT),
}

_FORMATS = {
    "safetensors": "safetensors",
    "gguf": "gguf",
    "onnx": "onnx",
    "pt": "pt",
    "pth": "pt",
    "tflite": "tflite",
    "keras": "keras",
    "dduf": "dduf",
    "pkl": "pickle",
    "pickle": "pickle",
    "joblib": "joblib",
    "mlmodel": "coreml",
    "msgpack": "msgpack",
    "nemo": "nemo",
    "llamafile": "llamafile",
}
_TORCH = re.compile(r"pytorch_model.*\.bin|adapter_model\.bin|diffusion_pytorch_model.*\.bin")

_SPDX_NAMES = (
    "AFL-3.0 AGPL-3.0 Apache-2.0 Artistic-2.0 BSD-2-Clause BSD-3-Clause BSD-3-Clause-Clear BSL-1.0 CC0-1.0 "
    "CC-BY-2.0 CC-BY-2.5 CC-BY-3.0 CC-BY-4.0 CC-BY-NC-2.0 CC-BY-NC-3.0 CC-BY-NC-4.0 CC-BY-NC-ND-3.0 "
    "CC-BY-NC-ND-4.0 CC-BY-NC-SA-2.0 CC-BY-NC-SA-3.0 CC-BY-NC-SA-4.0 CC-BY-ND-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0 "
    "CDLA-Permissive-1.0 CDLA-Permissive-2.0 CDLA-Sharing-1.0 ECL-2.0 EPL-1.0 EPL-2.0 EUPL-1.1 EUPL-1.2 "
    "GFDL-1.3 GPL-2.0 GPL-3.0 ISC LGPL-2.1 LGPL-3.0 LPPL-1.3c MIT MPL-2.0 MS-PL NCSA ODbL-1.0 OFL-1.1 OSL-3.0 "
    "PDDL-1.0 PostgreSQL Unlicense WTFPL Zlib"
)
_SPDX = {name.lower(): name for name in _SPDX_NAMES.split()}


def weight_format(path: str) -> str:
    """The name of the format of a weight file; empty where its name does not settle it."""
    name = path.rpartition("/")[2].lower()
    if _TORCH.fullmatch(name):
        return "pt"
    _, dot, ending = name.rpartition(".")
    return _FORMATS.get(ending, "") if dot else ""


def license_expression(name: str) -> str:
    """The SPDX expression for a licence as model cards name it; empty for one that is no name.

    A licence that is not on SPDX's list is referred to in SPDX's own way, by ``LicenseRef-``.
    """
    known = _SPDX.get(name.lower())
    if known or name.lower() in ("", "other", "unknown", "unlicensed"):
        return known or ""
    return f"LicenseRef-{name}" if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,99}", name) else ""
