"""``model.yaml``: what its makers say of a model, in one file (``schemas/model.schema.json``).

Guarantees: unknown members, values of a wrong kind and malformed digests are refused with the path of the field;
what is written there overrules every collector. YAML or JSON; every scalar stays the text that it was written as.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ocimodel.errors import ConfigurationError, FormatError
from ocimodel.jsonio import Node
from ocimodel.record import documents
from ocimodel.record.record import Material, Metric, Record

_DATA_ROLES = {"training": "training-data", "validation": "validation-data", "evaluation": "evaluation-data"}
_ALGORITHM = re.compile(r"[a-zA-Z0-9_]{1,32}")
_VALUE = re.compile(r"[0-9A-Za-z+/=_-]{1,256}")
_MODEL = (
    "name",
    "version",
    "description",
    "task",
    "library",
    "architecture",
    "family",
    "approach",
    "license",
    "supplier",
    "releasedOn",
)


def load(data: bytes, path: str) -> Record:
    """The record in the bytes of a file. Raises `ConfigurationError` with the path of the bad field."""
    suffix = Path(path).suffix.lower()
    value = documents.parse_json(data, path) if suffix == ".json" else documents.parse_yaml(data, path)
    try:
        return _record(Node(documents.mapping(value, path)))
    except FormatError as error:
        raise ConfigurationError(
            f"{path}: {error.message}", hint="docs/reference/model-yaml.md lists every field; nothing was done."
        ) from None


def _record(node: Node) -> Record:
    node.only(
        "model",
        "source",
        "hyperparameters",
        "preprocessing",
        "datasets",
        "baseModels",
        "packages",
        "image",
        "environment",
        "builder",
        "run",
        "experiment",
        "contributors",
        "metrics",
        "reports",
    )
    source, commit = _source(node)
    run = node.find("run")
    if run:
        run.only("id", "url", "startedOn", "finishedOn")
    return Record(
        model=_model(node.find("model")),
        source=source,
        hyperparameters=_texts(node.find("hyperparameters")),
        preprocessing=tuple(_step(item) for item in _items(node, "preprocessing")),
        environment=_texts(node.find("environment")),
        materials=(
            *commit,
            *(_material(item, "base-model") for item in _items(node, "baseModels")),
            *(_dataset(item) for item in _items(node, "datasets")),
            *(Material(role="package", uri=_package(item)) for item in _items(node, "packages")),
            *([_material(image, "image")] if (image := node.find("image")) else []),
        ),
        builder=_text(node, "builder"),
        invocation=(_text(run, "url") or _text(run, "id")) if run else "",
        started=_time(run, "startedOn") if run else "",
        finished=_time(run, "finishedOn") if run else "",
        reports=tuple(_material(item, "evaluation-report") for item in _items(node, "reports")),
        metrics=tuple(_metric(item) for item in _items(node, "metrics")),
        contributors=tuple(item.string(limit=1024) for item in _items(node, "contributors")),
        experiment=_texts(node.find("experiment"), "name", "id", "url"),
    )


def _model(node: Node | None) -> Mapping[str, str]:
    said = _texts(node, *_MODEL)
    released = {"releasedOn": _time(node, "releasedOn")} if node and "releasedOn" in said else {}
    return {**said, **released}


def _source(node: Node) -> tuple[Mapping[str, str], tuple[Material, ...]]:
    source = node.find("source")
    if source is None:
        return {}, ()
    source.only("repository", "ref", "commit", "entryPoint")
    said = {key: value for key in ("repository", "ref", "entryPoint") if (value := _text(source, key))}
    commit = _text(source, "commit")
    if not commit:
        return said, ()
    if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit) is None:
        source.get("commit").fail("must be a whole commit id")
    at = f"@{said['ref']}" if "ref" in said else ""
    uri = f"git+{said['repository']}{at}" if "repository" in said else ""
    return said, (Material(role="source", name="source", uri=uri, digest={"gitCommit": commit}),)


def _step(node: Node) -> dict[str, Any]:
    node.only("name", "entryPoint", "parameters")
    found: dict[str, Any] = {key: value for key in ("name", "entryPoint") if (value := _text(node, key))}
    if parameters := _texts(node.find("parameters")):
        found["parameters"] = parameters
    return found


def _dataset(node: Node) -> Material:
    role = _text(node, "role") or "training"
    if role not in _DATA_ROLES:
        node.get("role").fail(f"must be one of {', '.join(_DATA_ROLES)}")
    return _material(node, _DATA_ROLES[role], "role")


def _material(node: Node, role: str, *more: str) -> Material:
    node.only("name", "uri", "digest", "version", "license", "mediaType", "annotations", *more)
    digest = node.find("digest")
    digests = digest.strings() if digest else {}
    for algorithm, value in digests.items():
        if _ALGORITHM.fullmatch(algorithm) is None or _VALUE.fullmatch(value) is None:
            node.get("digest").fail("must map algorithms to digests")
    name, uri = _text(node, "name"), _text(node, "uri")
    if not name and not uri:
        node.fail("must have a name or a uri")
    notes = _texts(node.find("annotations"))
    if "role" in notes:
        node.get("annotations").fail("must not say a role: where it stands says that")
    return Material.of(
        role,
        name=name,
        uri=uri,
        digests=digests,
        media_type=_text(node, "mediaType"),
        annotations=notes,
        version=_text(node, "version"),
        license=_text(node, "license"),
    )


def _metric(node: Node) -> Metric:
    node.only("name", "value", "dataset", "split", "task", "source")
    return Metric(
        name=node.get("name").string(limit=1024),
        value=node.get("value").string(limit=1024),
        dataset=_text(node, "dataset"),
        split=_text(node, "split"),
        task=_text(node, "task"),
        source=_text(node, "source"),
    )


def _package(node: Node) -> str:
    uri = node.string(limit=2048)
    if not uri.startswith("pkg:"):
        node.fail("must be a package URL (pkg:pypi/torch@2.5.1)")
    return uri


def _items(node: Node, key: str) -> list[Node]:
    found = node.find(key)
    return found.items(limit=100_000) if found else []


def _text(node: Node, key: str) -> str:
    found = node.find(key)
    return found.string(limit=64 * 1024).strip() if found else ""


def _time(node: Node, key: str) -> str:
    said = _text(node, key)
    if said and not documents.moment(said):
        node.get(key).fail("must be a time in RFC 3339, with its zone")
    return documents.moment(said)


def _texts(node: Node | None, *allowed: str) -> dict[str, str]:
    if node is None:
        return {}
    if allowed:
        node.only(*allowed)
    node.object()
    return documents.texts(node.value)
