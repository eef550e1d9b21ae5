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
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What files say, decoded; empty where there is no such file, or it is malformed.

    ``headers`` are those of the files of the model's ``format``, by path.
    """

    format: str
    headers: Mapping[str, Header]
    card: Mapping[str, Sequence[str]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """``config.json``."""
    index: Mapping[str, Any] = field(default_factory=dict)
    """``model.safetensors.index.json``."""

    @property
    def general(self) -> dict[str, Any]:
        """The ``general.*`` values on which all GGUF files that have any agree."""
        found: dict[str, set[Any]] = {}
        for header in self.headers.values():
            for key, value in header.metadata.items():
                if key.startswith("general.") and isinstance(value, (str, int)):
                    found.setdefault(key.removeprefix("general."), set()).add(value)
        return {key: next(iter(values)) for key, values in found.items() if len(values) == 1}

    @property
    def parameters(self) -> int:
        """How many the model has, counted or stated; 0 where neither can be said."""
        method = quantization(self) if self.format == "safetensors" else ""
        if method and method != "fp8":
            # Packed integers: the number of elements is not that of parameters, but an index may state it.
            metadata = self.index.get("metadata")
            stated = metadata.get("total_parameters") if isinstance(metadata, dict) else None
            return stated if type(stated) is int and stated > 0 else 0
        return parameters(self.headers)


def describe(files: Sequence[ModelFile], headers: Mapping[str, Header]) -> ModelConfig:
    """The config of the model that ``files`` make; ``headers`` as `screening` gives them."""
    chosen = _format(files)
    readme = next((file for file in files if file.path.lower() == "readme.md"), None)
    return config_of(
        Sources(
            format=chosen,
            headers={path: header for path, header in headers.items() if header.format == chosen},
            card=front_matter(read_small(readme, _MOST)) if readme else {},
            settings=_document(files, "config.json"),
            index=_document(files, "model.safetensors.index.json"),
        )
    )


def config_of(said: Sources) -> ModelConfig:
    """The config of a model whose files say this."""
    general, card = said.general, said.card
    return ModelConfig(
        name=_text(_one(card, "model_name")) or _text(general.get("name")),
        version=_text(general.get("version")),
        family=_text(said.settings.get("model_type")),
        vendor=_text(general.get("organization")),
        authors=tuple(filter(None, [_text(general.get("author"))])),
        licenses=_licenses(card, general),
        architecture=_architecture(said.settings, general),
        format=said.format,
        param_size=size_name(said.parameters),
        precision=_precision(said),
        quantization=quantization(said),
        input_types=terms.TASKS.get(_one(card, "pipeline_tag"), ((), ()))[0],
        output_types=terms.TASKS.get(_one(card, "pipeline_tag"), ((), ()))[1],
        languages=tuple(sorted({code for code in card.get("language", ()) if re.fullmatch("[a-z]{2}", code)})),
    )


def lenient(raw: bytes) -> dict[str, Any]:
    """A JSON object that only describes; empty where it is none.

    Not `jsonio`: configs with Infinity and with comments in odd places exist.
    """
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _document(files: Iterable[ModelFile], path: str) -> dict[str, Any]:
    file = next((file for file in files if file.path == path), None)
    return lenient(read_small(file, _MOST)) if file is not None and file.size <= _MOST else {}


def _format(files: Iterable[ModelFile]) -> str:
    """That of most of the bytes."""
    sizes: Counter[str] = Counter()
    for file in files:
        if file.role == "weight" and (name := terms.weight_format(file.path)):
            sizes[name] += file.size
    return max(sorted(sizes), key=lambda name: sizes[name], default="")


def _architecture(settings: Mapping[str, Any], general: Mapping[str, Any]) -> str:
    stated = settings.get("architectures")
    first = stated[0] if isinstance(stated, list) and stated else None
    candidates = (general.get("architecture"), settings.get("model_type"), first)
    return next(filter(None, map(_text, candidates)), "")


def quantization(said: Sources) -> str:
    """The name of the method, as the file states it (GGUF: of the mixture of types)."""
    if any(header.format == "gguf" for header in said.headers.values()):
        name = FILE_TYPES.get(said.general.get("file_type", -1), "")
        return "" if name in PLAIN else name
    stated = said.settings.get("quantization_config")
    method = stated.get("quant_method") if isinstance(stated, dict) else None
    return _text(method).lower()


def _precision(said: Sources) -> str:
    """By bytes; of a quantised model what it computes in, if its config says so."""
    method = quantization(said) if said.format == "safetensors" else ""
    if method and method != "fp8":
        stated = said.settings.get("torch_dtype", said.settings.get("dtype"))
        return stated if isinstance(stated, str) and stated in terms.PRECISIONS else ""
    sizes: Counter[str] = Counter()
    for header in said.headers.values():
        for tensor in header.tensors:
            if header.format == "gguf" and tensor.dtype not in PLAIN:
                return ""
            sizes[terms.PRECISION_OF.get(tensor.dtype, "")] += tensor.stop - tensor.start
    floats = [name for name in sizes if "float" in name or "complex" in name]
    # Counters and masks beside the weights say nothing about the precision of these.
    names = floats or [name for name in sizes if name]
    return ",".join(sorted(names, key=lambda name: (-sizes[name], name)))


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
