"""What can be said of a model from its files: the fields of its config (model-spec, docs/config.md).

Guarantees: every value is stated by one of the files (headers, ``config.json``, the model card) or counted from
headers. Where they are silent, ambiguous or malformed, the field is left out; nothing is guessed, nothing comes
from a path, a clock or a host, and no user's file can make packing fail here.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ocimodel.model import terms
from ocimodel.model.config import ModelConfig
from ocimodel.model.counting import parameters, size_name
from ocimodel.model.frontmatter import front_matter
from ocimodel.model.ggml import FILE_TYPES, PLAIN
from ocimodel.model.header import Header
from ocimodel.model.reading import read_small
from ocimodel.model.scan import ModelFile

_MOST = 4 * 1024 * 1024
_MODEL_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ /+-]{0,99}")


def describe(files: Sequence[ModelFile], headers: Mapping[str, Header]) -> ModelConfig:
    """The config of the model that ``files`` make; ``headers`` as `screening` gives them."""
    card = _card(files)
    settings = _document(files, "config.json")
    chosen = _format(files)
    own = {path: header for path, header in headers.items() if header.format == chosen}
    general = _general(own)
    quantization = _quantization(settings, own)
    method = quantization if chosen == "safetensors" else ""
    return ModelConfig(
        name=_text(_one(card, "model_name")) or _text(general.get("name")),
        version=_text(general.get("version")),
        family=_text(settings.get("model_type")),
        vendor=_text(general.get("organization")),
        authors=tuple(filter(None, [_text(general.get("author"))])),
        licenses=_licenses(card, general),
        architecture=_architecture(settings, general),
        format=chosen,
        param_size=size_name(_parameters(files, own, method)),
        precision=_precision(own, settings, method),
        quantization=quantization,
        input_types=terms.TASKS.get(_one(card, "pipeline_tag"), ((), ()))[0],
        output_types=terms.TASKS.get(_one(card, "pipeline_tag"), ((), ()))[1],
        languages=tuple(sorted({code for code in card.get("language", ()) if re.fullmatch("[a-z]{2}", code)})),
    )


def _card(files: Sequence[ModelFile]) -> dict[str, tuple[str, ...]]:
    readme = next((file for file in files if file.path.lower() == "readme.md"), None)
    return front_matter(read_small(readme, _MOST)) if readme else {}


def _document(files: Iterable[ModelFile], path: str) -> dict[str, Any]:
    file = next((file for file in files if file.path == path), None)
    if file is None or file.size > _MOST:
        return {}
    try:
        # Not `jsonio`: configs with Infinity and with comments in odd places exist, and only describe.
        document = json.loads(read_small(file, _MOST))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _format(files: Iterable[ModelFile]) -> str:
    """That of most of the bytes."""
    sizes: Counter[str] = Counter()
    for file in files:
        if file.role == "weight" and (name := terms.weight_format(file.path)):
            sizes[name] += file.size
    return max(sorted(sizes), key=lambda name: sizes[name], default="")


def _general(own: Mapping[str, Header]) -> dict[str, Any]:
    """The ``general.*`` values on which all GGUF files that have any agree."""
    found: dict[str, set[Any]] = {}
    for header in own.values():
        for key, value in header.metadata.items():
            if key.startswith("general.") and isinstance(value, (str, int)):
                found.setdefault(key.removeprefix("general."), set()).add(value)
    return {key: next(iter(values)) for key, values in found.items() if len(values) == 1}


def _architecture(settings: Mapping[str, Any], general: Mapping[str, Any]) -> str:
    stated = settings.get("architectures")
    first = stated[0] if isinstance(stated, list) and stated else None
    candidates = (general.get("architecture"), settings.get("model_type"), first)
    return next(filter(None, map(_text, candidates)), "")


def _quantization(settings: Mapping[str, Any], own: Mapping[str, Header]) -> str:
    if any(header.format == "gguf" for header in own.values()):
        general = _general(own)
        name = FILE_TYPES.get(general.get("file_type", -1), "")
        return "" if name in PLAIN else name
    stated = settings.get("quantization_config")
    method = stated.get("quant_method") if isinstance(stated, dict) else None
    return _text(method).lower()


def _precision(own: Mapping[str, Header], settings: Mapping[str, Any], method: str) -> str:
    """By bytes; of a quantised model what it computes in, if its config says so."""
    if method and method != "fp8":
        stated = settings.get("torch_dtype", settings.get("dtype"))
        return stated if stated in terms.PRECISIONS else ""
    sizes: Counter[str] = Counter()
    for header in own.values():
        for tensor in header.tensors:
            if header.format == "gguf" and tensor.dtype not in PLAIN:
                return ""
            sizes[terms.PRECISION_OF.get(tensor.dtype, "")] += tensor.stop - tensor.start
    floats = [name for name in sizes if "float" in name or "complex" in name]
    # Counters and masks beside the weights say nothing about the precision of these.
    names = floats or [name for name in sizes if name]
    return ",".join(sorted(names, key=lambda name: (-sizes[name], name)))


def _parameters(files: Sequence[ModelFile], own: Mapping[str, Header], method: str) -> int:
    if method and method != "fp8":
        # Packed integers: the number of elements is not that of parameters, but an index may state it.
        index = _document(files, "model.safetensors.index.json")
        metadata = index.get("metadata")
        stated = metadata.get("total_parameters") if isinstance(metadata, dict) else None
        return stated if type(stated) is int and stated > 0 else 0
    return parameters(own)


def _licenses(card: Mapping[str, Sequence[str]], general: Mapping[str, Any]) -> tuple[str, ...]:
    stated = list(card.get("license", ())) or [_text(general.get("license"))]
    if stated == ["other"]:
        stated = list(card.get("license_name", ()))
    return tuple(sorted({expression for name in stated if (expression := terms.license_expression(name))}))


def _one(card: Mapping[str, Sequence[str]], key: str) -> str:
    values = card.get(key, ())
    return values[0] if len(values) == 1 else ""


def _text(value: Any) -> str:
    """A short plain name, and no path of anybody's disk."""
    if not isinstance(value, str) or _MODEL_TYPE.fullmatch(value) is None or value.count("/") > 1:
        return ""
    return value.strip()
