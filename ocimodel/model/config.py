"""The config of a ModelPack artifact (model-spec v0.0.7, docs/config.md).

Guarantees: what `config_bytes` writes is canonical JSON that fits the specification's closed schema: no field
of ours, no time, no host, no directory's name; a pure function of its arguments. Reading is tolerant: a field
that is missing, unknown or of the wrong type is left out, for it only describes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from ocimodel import jsonio
from ocimodel.errors import FormatError
from ocimodel.oci.digest import Digest

MAX_BYTES = 8 * 1024 * 1024
_MODALITIES = frozenset({"text", "image", "audio", "video", "embedding", "other"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What a model says of itself; empty where it does not say."""

    name: str = ""
    version: str = ""
    family: str = ""
    vendor: str = ""
    title: str = ""
    description: str = ""
    revision: str = ""
    doc_url: str = ""
    source_url: str = ""
    authors: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    architecture: str = ""
    format: str = ""
    param_size: str = ""
    precision: str = ""
    quantization: str = ""
    input_types: tuple[str, ...] = ()
    output_types: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    flags: Mapping[str, bool] = field(default_factory=dict)
    """``reasoning``, ``toolUsage``, ``reward``, where stated."""
    diff_ids: tuple[str, ...] = ()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Raises `FormatError` only where it is no JSON object at all."""
        document = jsonio.loads(raw, limit=MAX_BYTES, what="config")
        if not isinstance(document, dict):
            raise FormatError("the config must be an object")
        descriptor, config = (_object(document.get(key)) for key in ("descriptor", "config"))
        capabilities = _object(config.get("capabilities"))
        return cls(
            **{name: _string(descriptor.get(key)) for name, key in _DESCRIPTOR.items()},
            **{name: _strings(descriptor.get(key)) for name, key in _DESCRIPTOR_LISTS.items()},
            **{name: _string(config.get(key)) for name, key in _CONFIG.items()},
            **{name: _strings(capabilities.get(key)) for name, key in _CAPABILITIES.items()},
            flags={key: capabilities[key] for key in _FLAGS if isinstance(capabilities.get(key), bool)},
            diff_ids=_strings(_object(document.get("modelfs")).get("diffIds")),
        )

    def to_bytes(self, diff_ids: Sequence[Digest]) -> bytes:
        """The blob of a model whose layers have these digests (each layer is stored as it is, uncompressed)."""
        capabilities: dict[str, Any] = self._lists(_CAPABILITIES) | dict(self.flags)
        config: dict[str, Any] = self._texts(_CONFIG)
        if capabilities:
            config["capabilities"] = capabilities
        document = {
            "descriptor": self._texts(_DESCRIPTOR) | self._lists(_DESCRIPTOR_LISTS),
            "config": config,
            "modelfs": {"type": "layers", "diffIds": [str(digest) for digest in diff_ids]},
        }
        return jsonio.canonical(document)

    def _texts(self, names: Mapping[str, str]) -> dict[str, Any]:
        return {key: value for name, key in names.items() if (value := getattr(self, name))}

    def _lists(self, names: Mapping[str, str]) -> dict[str, Any]:
        return {key: list(value) for name, key in names.items() if (value := getattr(self, name))}


_DESCRIPTOR = {
    "name": "name",
    "version": "version",
    "family": "family",
    "vendor": "vendor",
    "title": "title",
    "description": "description",
    "revision": "revision",
    "doc_url": "docURL",
    "source_url": "sourceURL",
}
_DESCRIPTOR_LISTS = {"authors": "authors", "licenses": "licenses", "datasets": "datasetsURL"}
_CONFIG = {
    "architecture": "architecture",
    "format": "format",
    "param_size": "paramSize",
    "precision": "precision",
    "quantization": "quantization",
}
_CAPABILITIES = {"input_types": "inputTypes", "output_types": "outputTypes", "languages": "languages"}
_FLAGS = ("reasoning", "toolUsage", "reward")


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(value: Any) -> Any:
    return value if isinstance(value, str) else ""


def _strings(value: Any) -> Any:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
