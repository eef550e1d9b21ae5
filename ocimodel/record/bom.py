"""A model's bill of materials: CycloneDX 1.6, with a model card (ECMA-424).

Guarantees: a pure function of the artifact's config, files and provenance; what these do not say is not in it. No
time but one that is given, and a serial number that follows from the digest, so that the same model has the same
bill.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid5

from ocimodel.model.config import ModelConfig
from ocimodel.oci import media
from ocimodel.record import bills
from ocimodel.record.bills import File, Subject, as_pairs, role_of, stated
from ocimodel.record.documents import items, moment, obj, text

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


def cyclonedx(
    subject: Subject,
    config: ModelConfig,
    files: Sequence[File],
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
    reports = [obj(item) for item in items(obj(predicate.get("runDetails")).get("byproducts"))]
    components = [*_files(files), *_materials(materials), *_reports(reports)]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(_NAMESPACE, f'{media.URI}bom/{subject.digest}')}",
        "version": 1,
        "metadata": stated(timestamp=time, component=_model(subject, config, predicate, materials)),
        "components": components,
        "dependencies": [{"ref": ROOT, "dependsOn": [item["bom-ref"] for item in components]}],
        "formulation": _formulation(predicate),
    }
    return {key: value for key, value in document.items() if value}


def _model(
    subject: Subject, config: ModelConfig, predicate: Mapping[str, Any], materials: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    parameters = obj(obj(predicate.get("buildDefinition")).get("externalParameters"))
    internal = obj(obj(predicate.get("buildDefinition")).get("internalParameters"))
    model = obj(parameters.get("model"))
    people = [name for name in map(text, items(predicate.get(media.CONTRIBUTORS)) or config.authors) if name]
    supplier = text(model.get("supplier")) or config.vendor
    return stated(
        **{"type": "machine-learning-model", "bom-ref": ROOT},
        supplier={"name": supplier} if supplier else {},
        name=text(model.get("name")) or config.name or subject.name,
        version=text(model.get("version")) or config.version or subject.version,
        description=text(model.get("description")) or config.description,
        authors=[{"name": name} for name in people],
        hashes=[{"alg": "SHA-256", "content": subject.digest.hex}] if subject.packed else [],
        licenses=_licenses(bills.licenses_of(model, config)),
        purl=bills.purl_of(subject),
        modelCard=_card(config, model, predicate, materials),
        properties=as_pairs(
            [
                *bills.properties("hyperparameter", parameters.get("hyperparameters")),
                *bills.properties("environment", internal.get("environment")),
            ]
        ),
    )


def _card(
    config: ModelConfig,
    model: Mapping[str, Any],
    predicate: Mapping[str, Any],
    materials: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    approach = text(model.get("approach"))
    datasets = [item for item in materials if role_of(item).endswith("-data")]
    parameters = stated(
        approach={"type": approach} if approach in _APPROACHES else {},
        task=text(model.get("task")),
        architectureFamily=text(model.get("family")) or config.family or config.architecture,
        modelArchitecture=text(model.get("architecture")) or config.architecture,
        datasets=[_dataset(item) for item in datasets],
        inputs=[{"format": kind} for kind in config.input_types],
        outputs=[{"format": kind} for kind in config.output_types],
    )
    metrics = [
        stated(type=text(metric.get("name")), value=text(metric.get("value")), slice=bills.slice_of(metric))
        for metric in map(obj, items(predicate.get(media.METRICS)))
    ]
    return stated(
        modelParameters=parameters,
        quantitativeAnalysis={"performanceMetrics": metrics} if metrics else {},
        properties=as_pairs(bills.model_properties(config, predicate)),
    )


def _formulation(predicate: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How it was made: one workflow, its steps the preprocessing and the training."""
    parameters = obj(obj(predicate.get("buildDefinition")).get("externalParameters"))
    details, source = obj(predicate.get("runDetails")), obj(parameters.get("source"))
    run, builder = obj(details.get("metadata")), obj(details.get("builder"))
    steps = [_step(step) for step in map(obj, items(parameters.get("preprocessing")))]
    if entry := text(source.get("entryPoint")):
        steps.append(_step({"name": "training", "entryPoint": entry}))
    said = stated(
        steps=[step for number, step in enumerate(steps) if step and step not in steps[:number]],
        timeStart=moment(run.get("startedOn")),
        timeEnd=moment(run.get("finishedOn")),
        properties=as_pairs(
            [
                *bills.properties("builder", builder),
                *bills.properties("source", {key: value for key, value in source.items() if key != "entryPoint"}),
            ]
        ),
    )
    uid = text(run.get("invocationId"))
    if not said:
        return []
    workflow = {"bom-ref": "training", "uid": uid or "training", "name": "training", "taskTypes": ["build"], **said}
    return [{"bom-ref": "formula", "workflows": [workflow]}]


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    entry = text(step.get("entryPoint"))
    return stated(
        name=text(step.get("name")),
        commands=[{"executed": entry}] if entry else [],
        properties=as_pairs(list(bills.properties("parameter", step.get("parameters")))),
    )


def _dataset(item: Mapping[str, Any]) -> dict[str, Any]:
    uri, name = text(item.get("uri")), text(item.get("name"))
    return stated(type="dataset", name=name or uri, contents={"url": bills.address(uri)} if uri else {})


def _files(files: Sequence[File]) -> Iterator[dict[str, Any]]:
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
        role, uri = role_of(item), text(item.get("uri"))
        kind = "data" if role.endswith("-data") else _KINDS.get(role, "application" if role == "source" else "file")
        package = uri if uri.startswith("pkg:") else ""
        notes = obj(item.get("annotations"))
        yield stated(
            **{"type": kind, "bom-ref": f"{role}:{number}"},
            name=bills.name_of(item, f"{role}:{number}"),
            version=text(notes.get("version")) or (package.partition("@")[2] if package else ""),
            hashes=_digests(obj(item.get("digest"))),
            licenses=_licenses(items(text(notes.get("license")))),
            purl=package,
            externalReferences=[{"type": "distribution", "url": bills.address(uri)}] if uri and not package else [],
            properties=as_pairs(bills.annotations_of(item)),
        )


def _reports(reports: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for number, item in enumerate(reports):
        uri = text(item.get("uri"))
        yield stated(
            **{"type": "file", "bom-ref": f"report:{number}", "mime-type": bills.media_type_of(item)},
            name=bills.name_of(item, f"report:{number}"),
            hashes=_digests(obj(item.get("digest"))),
            externalReferences=[{"type": "quality-metrics", "url": bills.address(uri)}] if uri else [],
            properties=as_pairs(bills.annotations_of(item)),
        )


def _digests(digests: Mapping[str, Any]) -> list[dict[str, str]]:
    found = [(name, text(digests.get(algorithm))) for algorithm, name in _HASHES.items()]
    return [{"alg": name, "content": value} for name, value in found if len(value) in (64, 96, 128)]


def _licenses(names: Sequence[Any]) -> list[dict[str, Any]]:
    """One expression, or the names as they stand: the schema takes no mixture."""
    found = [name for name in map(text, names) if name]
    if len(found) == 1 and (expression := bills.expression_of(found[0])):
        return [{"expression": expression}]
    return [{"license": {"name": name}} for name in found]
