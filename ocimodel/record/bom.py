"""A model's bill of materials: CycloneDX 1.6, with a model card (ECMA-424).

Guarantees: a pure function of the artifact's config, files and provenance; what these do not say is not in it. No
time but one that is given, and a serial number that follows from the digest, so that the same model has the same
bill.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from ocimodel.model import terms
from ocimodel.model.config import ModelConfig
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.record.documents import items, obj, text

_HASHES = {
    "sha256": "SHA-256",
    "sha384": "SHA-384",
    "sha512": "SHA-512",
    "sha3_256": "SHA3-256",
    "blake3": "BLAKE3",
}
_APPROACHES = frozenset(
    {"supervised", "unsupervised", "reinforcement-learning", "semi-supervised", "self-supervised"}
)
_NAMESPACE = UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
"""RFC 9562's name space of URLs."""

ROOT = "model"


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


def cyclonedx(
    subject: Subject,
    config: ModelConfig,
    files: Sequence[tuple[str, Digest, int, str]],
    predicate: Mapping[str, Any],
    *,
    time: str = "",
) -> dict[str, Any]:
    """The document.

    Args:
        files: path, digest, bytes and role of each.
        predicate: of the model's SLSA provenance; empty where it has another one, or none.
        time: RFC 3339; left out where it is empty.
    """
    materials = [obj(item) for item in items(obj(predicate.get("buildDefinition")).get("resolvedDependencies"))]
    components = [*_files(files), *_materials(materials)]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(_NAMESPACE, f'{media.URI}bom/{subject.digest}')}",
        "version": 1,
        "metadata": _said(timestamp=time, component=_model(subject, config, predicate, materials)),
        "components": components,
        "dependencies": [{"ref": ROOT, "dependsOn": [item["bom-ref"] for item in components]}],
    }
    return {key: value for key, value in document.items() if value}


def _model(
    subject: Subject, config: ModelConfig, predicate: Mapping[str, Any], materials: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    parameters = obj(obj(predicate.get("buildDefinition")).get("externalParameters"))
    internal = obj(obj(predicate.get("buildDefinition")).get("internalParameters"))
    said = obj(parameters.get("model"))
    return _said(
        **{"type": "machine-learning-model", "bom-ref": ROOT},
        name=text(said.get("name")) or config.name or subject.name,
        version=text(said.get("version")) or config.version or subject.version,
        description=text(said.get("description")) or config.description,
        authors=[
            {"name": name} for name in items(predicate.get(media.CONTRIBUTORS)) or config.authors if text(name)
        ],
        hashes=[{"alg": "SHA-256", "content": subject.digest.hex}] if subject.packed else [],
        licenses=_licenses(items(text(said.get("license"))) or config.licenses),
        purl=_purl(subject),
        modelCard=_card(config, said, predicate, materials),
        properties=[
            *_properties("hyperparameter", parameters.get("hyperparameters")),
            *_properties("environment", internal.get("environment")),
        ],
    )


def _purl(subject: Subject) -> str:
    """purl-spec, type ``oci``; only where there is a registry to name."""
    if not subject.repository:
        return ""
    name = subject.repository.rpartition("/")[2].lower()
    version = str(subject.digest).replace(":", "%3A")
    return f"pkg:oci/{name}@{version}?repository_url={subject.repository}"


def _card(
    config: ModelConfig,
    said: Mapping[str, Any],
    predicate: Mapping[str, Any],
    materials: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    approach = text(said.get("approach"))
    datasets = [item for item in materials if _role(item).endswith("-data")]
    parameters = _said(
        approach={"type": approach} if approach in _APPROACHES else {},
        task=text(said.get("task")),
        architectureFamily=text(said.get("family")) or config.family or config.architecture,
        modelArchitecture=text(said.get("architecture")) or config.architecture,
        datasets=[_dataset(item) for item in datasets],
        inputs=[{"format": kind} for kind in config.input_types],
        outputs=[{"format": kind} for kind in config.output_types],
    )
    metrics = [
        _said(type=text(metric.get("name")), value=text(metric.get("value")), slice=_slice(metric))
        for metric in map(obj, items(predicate.get(media.METRICS)))
    ]
    return _said(
        modelParameters=parameters,
        quantitativeAnalysis={"performanceMetrics": metrics} if metrics else {},
        properties=[
            {"name": f"{media.PREFIX}{name}", "value": value}
            for name, value in (
                ("parameters", config.param_size),
                ("precision", config.precision),
                ("quantization", config.quantization),
                ("format", config.format),
            )
            if value
        ],
    )


def _slice(metric: Mapping[str, Any]) -> str:
    return ", ".join(said for key in ("task", "dataset", "split") if (said := text(metric.get(key))))


def _dataset(item: Mapping[str, Any]) -> dict[str, Any]:
    uri, name = text(item.get("uri")), text(item.get("name"))
    return _said(type="dataset", name=name or uri, contents={"url": uri} if uri else {})


def _files(files: Sequence[tuple[str, Digest, int, str]]) -> Iterator[dict[str, Any]]:
    for path, digest, size, role in files:
        yield {
            "type": "file",
            "bom-ref": f"file:{path}",
            "name": path,
            "hashes": _digests({digest.algorithm: digest.hex}),
            "properties": [
                {"name": f"{media.PREFIX}role", "value": role},
                {"name": f"{media.PREFIX}size", "value": str(size)},
            ],
        }


_KINDS = {"base-model": "machine-learning-model", "package": "library", "image": "container"}


def _materials(materials: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for number, item in enumerate(materials):
        role, uri = _role(item), text(item.get("uri"))
        kind = "data" if role.endswith("-data") else _KINDS.get(role, "application" if role == "source" else "file")
        name = text(item.get("name"))
        package = uri if uri.startswith("pkg:") else ""
        notes = obj(item.get("annotations"))
        yield _said(
            **{"type": kind, "bom-ref": f"{role}:{number}"},
            name=name or package.removeprefix("pkg:").partition("@")[0] or uri,
            version=text(notes.get("version")) or (package.partition("@")[2] if package else ""),
            hashes=_digests(obj(item.get("digest"))),
            licenses=_licenses(items(text(notes.get("license")))),
            purl=package,
            externalReferences=[{"type": "distribution", "url": uri}] if uri and not package else [],
            properties=_properties("annotation", {key: value for key, value in notes.items() if key != "version"}),
        )


def _role(item: Mapping[str, Any]) -> str:
    return text(obj(item.get("annotations")).get("role")) or "other"


def _digests(digests: Mapping[str, Any]) -> list[dict[str, str]]:
    found = [(name, text(digests.get(algorithm))) for algorithm, name in _HASHES.items()]
    return [{"alg": name, "content": value} for name, value in found if len(value) in (64, 96, 128)]


def _licenses(names: Sequence[Any]) -> list[dict[str, Any]]:
    """One expression, or the names as they stand: the schema takes no mixture."""
    said = [name for name in map(text, names) if name]
    if len(said) == 1 and (expression := terms.license_expression(said[0].removeprefix("LicenseRef-"))):
        return [{"expression": expression}]
    return [{"license": {"name": name}} for name in said]


def _properties(kind: str, values: Any) -> list[dict[str, str]]:
    return [
        {"name": f"{media.PREFIX}{kind}.{key}", "value": text(value)} for key, value in sorted(obj(values).items())
    ]


def _said(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}
