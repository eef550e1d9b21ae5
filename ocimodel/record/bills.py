"""What bills of materials of every format have in common: what they are of, and how its parts are called."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ocimodel.model import terms
from ocimodel.model.config import ModelConfig
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.record.documents import obj, text

_ELSEWHERE = frozenset(
    {"name", "version", "description", "license", "task", "approach", "architecture", "family", "supplier"}
)
"""What both formats have a property of their own for."""

_MEDIA_TYPE = re.compile(r"[-+a-z0-9.]{1,127}/[-+a-z0-9.]{1,127}")
_NAMES_NOTHING_HERE = frozenset({"gitCommit", "dirHash"})
"""Digests that are not of a file's bytes."""

File = tuple[str, Digest, int, str]
"""Path, digest, bytes and role."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What the bill is of. ``digest`` is the manifest's; ``repository`` is where it was found.

    Of a model that is no artifact yet ``repository`` is empty, and ``digest`` stands for its files.
    """

    name: str
    version: str
    digest: Digest
    repository: str = ""
    packed: bool = True


def purl_of(subject: Subject) -> str:
    """purl-spec, type ``oci``; only where there is a registry to name."""
    if not subject.repository:
        return ""
    name = subject.repository.rpartition("/")[2].lower()
    version = str(subject.digest).replace(":", "%3A")
    return f"pkg:oci/{name}@{version}?repository_url={subject.repository}"


def role_of(item: Mapping[str, Any]) -> str:
    """What a dependency was to the model; see `record.ROLES`."""
    return text(obj(item.get("annotations")).get("role")) or "other"


def name_of(item: Mapping[str, Any], otherwise: str) -> str:
    """What a dependency is called: its name, its package, its address, its digest, or ``otherwise``."""
    uri, digests = text(item.get("uri")), obj(item.get("digest"))
    package = uri.removeprefix("pkg:").partition("@")[0] if uri.startswith("pkg:") else ""
    known = [f"{algorithm}:{value}" for algorithm, value in sorted(digests.items()) if text(value)]
    return text(item.get("name")) or package or uri or (known[0] if known else otherwise)


def address(value: str) -> str:
    """Text of somebody's as the URI that a property wants."""
    return quote(value, safe="!#$%&'()*+,/:;=?@[]~")


def media_type_of(item: Mapping[str, Any]) -> str:
    """The media type that was stated, where it is one."""
    found = text(item.get("mediaType")).lower()
    return found if _MEDIA_TYPE.fullmatch(found) else ""


def slice_of(metric: Mapping[str, Any]) -> str:
    """What a figure was measured on."""
    return ", ".join(found for key in ("task", "dataset", "split") if (found := text(metric.get(key))))


def expression_of(name: str) -> str:
    """The SPDX licence expression that ``name`` stands for; empty for a text that is none."""
    return terms.license_expression(name.removeprefix("LicenseRef-"))


def licenses_of(model: Mapping[str, Any], config: ModelConfig) -> list[str]:
    """The licences as they are called; one that a card calls "other" by the name that it has."""
    said = text(model.get("license"))
    if said.lower() == "other":
        said = text(model.get("licenseName")) or said
    return [said] if said else [name for name in config.licenses if name]


def step_text(step: Mapping[str, Any]) -> str:
    """A step of preprocessing in one line."""
    parameters = ", ".join(f"{key}={text(value)}" for key, value in obj(step.get("parameters")).items())
    words = ": ".join(filter(None, (text(step.get("name")), text(step.get("entryPoint")))))
    return f"{words} ({parameters})" if parameters else words


def annotations_of(item: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The remarks about a dependency, weak digests among them, and digests that bills have no name for."""
    notes = {key: value for key, value in obj(item.get("annotations")).items() if key != "version"}
    digests = {key: value for key, value in obj(item.get("digest")).items() if key in _NAMES_NOTHING_HERE}
    return [*properties("annotation", notes), *properties("digest", digests)]


def model_properties(config: ModelConfig, predicate: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of a model and has no property of its own: by our names, sorted within each kind."""
    parameters = obj(obj(predicate.get("buildDefinition")).get("externalParameters"))
    model = {key: value for key, value in obj(parameters.get("model")).items() if key not in _ELSEWHERE}
    counted = (
        ("parameters", config.param_size),
        ("precision", config.precision),
        ("quantization", config.quantization),
        ("format", config.format),
    )
    return [
        *((f"{media.PREFIX}{name}", value) for name, value in counted if value),
        *properties("model", model),
        *properties("settings", predicate.get(media.SETTINGS)),
        *properties("card", predicate.get(media.CARD)),
        *properties("experiment", predicate.get(media.EXPERIMENT)),
    ]


def properties(kind: str, values: Any) -> Iterator[tuple[str, str]]:
    """The texts of a mapping as properties of ours."""
    for key, value in sorted(obj(values).items()):
        if found := text(value):
            yield f"{media.PREFIX}{kind}.{key}", found


def stated(**values: Any) -> dict[str, Any]:
    """Those that say something."""
    return {key: value for key, value in values.items() if value}


def as_pairs(values: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """Properties as CycloneDX writes them."""
    return [{"name": name, "value": value} for name, value in values]
