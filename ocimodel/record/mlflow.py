"""``mlflow:DIR``: a model that MLflow logged, a run of its file store, or a run as ``mlflow runs describe`` prints
it.

Takes from ``MLmodel``, ``requirements.txt``, ``python_env.yaml``; from a run's ``meta.yaml``, ``params``,
``metrics``, ``tags`` and ``inputs``; from ``run.json``, the output of ``mlflow runs describe --run-id …``.
Guarantees: files only; MLflow's dataset digests have eight characters and are annotations.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ocimodel.errors import ConfigurationError
from ocimodel.record import documents
from ocimodel.record.documents import epoch, items, obj, text
from ocimodel.record.packages import requirements
from ocimodel.record.record import Material, Metric, Record

_MOST = 100_000


def collect(directory: Path) -> Record:
    """Raises `ConfigurationError` where a file is malformed, or none of them is there."""
    model = documents.read_yaml(directory, "MLmodel")
    described = documents.read_json(directory, "run.json")
    run = described or _run_of(directory, text((model or {}).get("run_id")))
    if model is None and not run:
        raise ConfigurationError(
            f"{directory} has no MLmodel, no run.json and no meta.yaml of a run",
            hint="Name the directory of a logged model, or of a run.",
        )
    record = _of_run(run) if run else Record()
    return record.under(_of_model(directory, model)) if model else record


def _of_model(directory: Path, model: dict[str, Any]) -> Record:
    said = {
        "name": text(model.get("name")),
        "mlflowModel": text(model.get("model_uuid")) or text(model.get("model_id")),
        "flavors": ", ".join(sorted(obj(model.get("flavors")))),
        "created": _utc(model.get("utc_time_created")),
    }
    environment = {"mlflow": text(model.get("mlflow_version"))}
    for name, flavor in sorted(obj(model.get("flavors")).items()):
        for key, value in documents.texts(flavor).items():
            if key.endswith("version"):
                environment[key.removesuffix("_version") if key != "version" else name] = value
    python = documents.read_yaml(directory, "python_env.yaml") or {}
    environment["python"] = text(python.get("python")) or environment.get("python", "")
    run_id = text(model.get("run_id"))
    packages = documents.read(directory, "requirements.txt")
    return Record(
        model={key: value for key, value in said.items() if value},
        environment={key: value for key, value in environment.items() if value},
        invocation=f"mlflow:run/{run_id}" if run_id else "",
        materials=tuple(requirements(packages, "mlflow")) if packages else (),
    )


def _utc(value: Any) -> str:
    said = text(value)
    return documents.moment(said) or documents.moment(f"{said}Z")


def _of_run(run: dict[str, Any]) -> Record:
    info, data = obj(run.get("info")), obj(run.get("data"))
    tags = {key: text(value) for key, value in _pairs(data.get("tags"))}
    user = tags.get("mlflow.user", "") or text(info.get("user_id"))
    commit, repository = tags.get("mlflow.source.git.commit", ""), tags.get("mlflow.source.git.repoURL", "")
    said = {
        "repository": repository,
        "ref": tags.get("mlflow.source.git.branch", ""),
        "entryPoint": tags.get("mlflow.project.entryPoint", "") or tags.get("mlflow.source.name", ""),
    }
    source = Material.of(
        "source",
        name="source",
        uri=f"git+{repository}" if repository else "",
        digests={"gitCommit": commit},
        recorded_by="mlflow",
    )
    experiment = {"id": text(info.get("experiment_id")), "name": text(info.get("experiment_name"))}
    experiment["run"] = text(info.get("run_name")) or tags.get("mlflow.runName", "")
    run_id = text(info.get("run_id")) or text(info.get("run_uuid"))
    return Record(
        source={key: value for key, value in said.items() if value},
        hyperparameters={key: text(value) for key, value in _pairs(data.get("params")) if text(value)},
        materials=(*([source] if commit else []), *_inputs(run)),
        invocation=f"mlflow:run/{run_id}" if run_id else "",
        started=epoch(info.get("start_time")),
        finished=epoch(info.get("end_time")),
        metrics=tuple(
            Metric(name=key, value=text(value), source="mlflow") for key, value in _pairs(data.get("metrics"))
        ),
        contributors=(user,) if user else (),
        experiment={key: value for key, value in experiment.items() if value},
    )


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """A mapping, or the REST API's list of ``{"key": …, "value": …}``."""
    if isinstance(value, dict):
        yield from sorted(value.items())
    for item in value if isinstance(value, list) else ():
        yield text(obj(item).get("key")), obj(item).get("value")


def _inputs(run: dict[str, Any]) -> Iterator[Material]:
    for item in items(obj(run.get("inputs")).get("dataset_inputs")):
        dataset = obj(obj(item).get("dataset"))
        tags = {key: text(value) for key, value in _pairs(obj(item).get("tags"))}
        context = tags.get("mlflow.data.context", "")
        role = {"training": "training-data", "validation": "validation-data"}.get(context, "evaluation-data")
        yield Material.of(
            "training-data" if not context else role,
            name=text(dataset.get("name")),
            uri=_place(dataset),
            digests={"digest": text(dataset.get("digest"))},
            recorded_by="mlflow",
            context=context,
            sourceType=text(dataset.get("source_type")),
        )


def _place(dataset: dict[str, Any]) -> str:
    """The URI in a dataset's source, which is JSON in a string; empty where it has none."""
    try:
        source = json.loads(text(dataset.get("source")) or "{}")
    except ValueError:
        return ""
    return next((said for key in ("uri", "url", "path") if (said := text(obj(source).get(key)))), "")


def _run_of(directory: Path, run_id: str) -> dict[str, Any]:
    """The run's directory of the file store: this one, or the one whose artifact it is."""
    for place in (directory, *list(directory.resolve().parents)[:4]):
        meta = documents.read_yaml(place, "meta.yaml")
        if meta and text(meta.get("run_id")) and run_id in ("", text(meta.get("run_id"))):
            return _stored(place, meta)
    return {}


def _stored(place: Path, meta: dict[str, Any]) -> dict[str, Any]:
    experiment = documents.read_yaml(place.parent, "meta.yaml") or {}
    metrics = {name: (value.split() or ["", ""]) for name, value in _values(place / "metrics")}
    return {
        "info": {**meta, "experiment_name": text(experiment.get("name"))},
        "data": {
            "params": dict(_values(place / "params")),
            "tags": dict(_values(place / "tags")),
            # time, value, step; the last line is the latest
            "metrics": {name: parts[-2] if len(parts) > 2 else parts[-1] for name, parts in metrics.items()},
        },
        "inputs": {"dataset_inputs": list(_stored_inputs(place))},
    }


def _stored_inputs(place: Path) -> Iterator[dict[str, Any]]:
    """A run names its datasets, which lie beside the runs of the experiment."""
    for folder in sorted((place / "inputs").glob("*")):
        link = documents.read_yaml(folder, "meta.yaml") or {}
        name = text(link.get("source_id"))
        if text(link.get("source_type")) == "DATASET" and re.fullmatch(r"[0-9A-Za-z_-]{1,64}", name):
            dataset = documents.read_yaml(place.parent / "datasets" / name, "meta.yaml") or {}
            yield {"dataset": dataset, "tags": obj(link.get("tags"))}


def _values(folder: Path) -> Iterator[tuple[str, str]]:
    names = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    for path in names[:_MOST]:
        raw = documents.read(folder, str(path.relative_to(folder))) or b""
        said = raw.decode("utf-8", "replace")
        yield str(path.relative_to(folder)), said.splitlines()[-1] if folder.name == "metrics" and said else said
