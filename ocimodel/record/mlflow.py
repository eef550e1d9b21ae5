"""``mlflow:DIR``: a model that MLflow logged, a run of its file store, or a run as ``mlflow runs describe`` prints
it.

Takes from ``MLmodel``, ``requirements.txt``, ``python_env.yaml``, ``conda.yaml``; from a run and from a logged
model of the file store ``meta.yaml``, ``params``, ``metrics``, ``tags``, ``inputs`` and ``outputs``; from
``run.json``, the output of ``mlflow runs describe --run-id …``. Guarantees: files only; MLflow's dataset digests
have eight characters and are annotations. What has no place of its own in the record stands in its ``settings``
(of the model) and ``experiment`` (of the run), under MLflow's name, but for what `LEFT_OUT` says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ocimodel.errors import ConfigurationError
from ocimodel.record import documents
from ocimodel.record.documents import epoch, items, obj, text
from ocimodel.record.mlflow_store import logged_model, run_of
from ocimodel.record.packages import conda, requirement, requirements
from ocimodel.record.record import Material, Metric, Record

LEFT_OUT: Mapping[str, str] = {
    "MLmodel: artifact_path": "where one machine kept the files, if it is a path; else it is told",
    "meta.yaml: artifact_uri": "the same",
    "meta.yaml: artifact_location": "the same",
    "run.json: info.artifact_uri": "the same",
    "*: lifecycle_stage": "whether the store shows it",
    "run.json: info.lifecycle_stage": "the same",
    "meta.yaml: source_*": "the tags mlflow.source.* say it",
    "meta.yaml: entry_point_name": "the tag mlflow.project.entryPoint says it",
    "meta.yaml: destination_*": "how the store's own files hang together",
    "meta.yaml: step": "when a model was linked to the run",
    "meta.yaml: creation_time*": "of the store's own files",
    "meta.yaml: last_update*": "the same",
    "meta.yaml: status": "of a model: that it is complete; of a run it is told",
    "metrics/*: earlier lines, and times": "the last value counts, with its step; the history stays with MLflow",
    "tags/mlflow.log-model.history": "MLmodel says the same of the model that is here",
    "conda.yaml: name": "what an environment is called on one machine",
}
"""What these files state and the record does not repeat, and why."""

_TAKEN = frozenset(
    {"name", "model_uuid", "model_id", "utc_time_created", "mlflow_version", "run_id", "artifact_path"}
)
_TAGS = frozenset(
    {
        "mlflow.user",
        "mlflow.runName",
        "mlflow.source.git.commit",
        "mlflow.source.git.repoURL",
        "mlflow.source.git.branch",
        "mlflow.source.name",
        "mlflow.project.entryPoint",
        "mlflow.log-model.history",
    }
)
_STATUS = {"1": "RUNNING", "2": "SCHEDULED", "3": "FINISHED", "4": "FAILED", "5": "KILLED"}
"""The numbers of ``RunStatus`` in the file store."""
_ROLES = {
    "training": "training-data",
    "train": "training-data",
    "validation": "validation-data",
    "": "training-data",
}


def collect(directory: Path) -> Record:
    """Raises `ConfigurationError` where a file is malformed, or none of them is there."""
    model = documents.read_yaml(directory, "MLmodel")
    described = documents.read_json(directory, "run.json")
    run = described or run_of(directory, text((model or {}).get("run_id")))
    if model is None and not run:
        raise ConfigurationError(
            f"{directory} has no MLmodel, no run.json and no meta.yaml of a run",
            hint="Name the directory of a logged model, or of a run.",
        )
    record = _of_run(run) if run else Record()
    if model is None:
        return record
    logged = logged_model(directory, text(model.get("model_id")))
    return record.under(_of_logged(logged)).under(_of_model(directory, model))


def _of_model(directory: Path, model: dict[str, Any]) -> Record:
    said = {
        "name": text(model.get("name")),
        "mlflowModel": text(model.get("model_uuid")) or text(model.get("model_id")),
        "flavors": ", ".join(sorted(obj(model.get("flavors")))),
        "created": _utc(model.get("utc_time_created")),
    }
    settings = {key: value for key, value in model.items() if key not in _TAKEN}
    if said["mlflowModel"] != text(model.get("model_id")):
        settings["model_id"] = model.get("model_id")
    if not _local(path := text(model.get("artifact_path"))):
        settings["artifact_path"] = path
    environment = {"mlflow": text(model.get("mlflow_version"))}
    for name, flavor in sorted(obj(model.get("flavors")).items()):
        for key, value in documents.texts(flavor).items():
            if key.endswith("version"):
                environment[key.removesuffix("_version") if key != "version" else name] = value
    python = documents.read_yaml(directory, "python_env.yaml") or {}
    environment["python"] = text(python.get("python")) or environment.get("python", "")
    run_id = text(model.get("run_id"))
    return Record(
        model=_said(said),
        environment=_said(environment),
        invocation=f"mlflow:run/{run_id}" if run_id else "",
        materials=tuple(_packages(directory, python)),
        settings=documents.texts(settings),
    )


def _packages(directory: Path, python: dict[str, Any]) -> Iterator[Material]:
    if packages := documents.read(directory, "requirements.txt"):
        yield from requirements(packages, "mlflow")
    for entry in items(python.get("build_dependencies")):
        if (material := requirement(text(entry), "mlflow", scope="build")) is not None:
            yield material
    for entry in items(python.get("dependencies")):
        if (material := requirement(text(entry), "mlflow")) is not None:
            yield material
    yield from conda(documents.read_yaml(directory, "conda.yaml") or {}, "mlflow")


def _of_logged(logged: dict[str, Any]) -> Record:
    """A model of MLflow 3 with parameters, metrics and tags of its own."""
    more = {
        **{f"tags.{key}": value for key, value in obj(logged.get("tags")).items() if key not in _TAGS},
        "model_type": logged.get("model_type"),
        "status_message": logged.get("status_message"),
    }
    return Record(
        model=_said({"name": text(logged.get("name"))}),
        hyperparameters=_said({key: text(value) for key, value in obj(logged.get("params")).items()}),
        metrics=tuple(_metrics(logged.get("metrics"), obj(logged.get("steps")))),
        settings=documents.texts(more),
    )


def _of_run(run: dict[str, Any]) -> Record:
    info, data = obj(run.get("info")), obj(run.get("data"))
    tags = {key: text(value) for key, value in _pairs(data.get("tags"))}
    user = tags.get("mlflow.user", "") or text(info.get("user_id"))
    commit, repository = tags.get("mlflow.source.git.commit", ""), tags.get("mlflow.source.git.repoURL", "")
    source = Material.of(
        "source",
        name="source",
        uri=f"git+{repository}" if repository else "",
        digests={"gitCommit": commit},
        recorded_by="mlflow",
    )
    run_id = text(info.get("run_id")) or text(info.get("run_uuid"))
    return Record(
        source=_said(
            {
                "repository": repository,
                "ref": tags.get("mlflow.source.git.branch", ""),
                "entryPoint": tags.get("mlflow.project.entryPoint", "") or tags.get("mlflow.source.name", ""),
            }
        ),
        hyperparameters=_said({key: text(value) for key, value in _pairs(data.get("params"))}),
        materials=(*([source] if commit else []), *_inputs(run)),
        invocation=f"mlflow:run/{run_id}" if run_id else "",
        started=epoch(info.get("start_time")),
        finished=epoch(info.get("end_time")),
        metrics=tuple(_metrics(data.get("metrics"), obj(data.get("steps")))),
        contributors=(user,) if user else (),
        experiment=_experiment(run, info, tags),
    )


def _experiment(run: dict[str, Any], info: dict[str, Any], tags: Mapping[str, str]) -> dict[str, str]:
    status, place = text(info.get("status")), text(info.get("artifact_uri"))
    found = {
        "id": text(info.get("experiment_id")),
        "name": text(info.get("experiment_name")),
        "run": text(info.get("run_name")) or tags.get("mlflow.runName", ""),
        "status": _STATUS.get(status, status),
        "artifacts": "" if _local(place) else place,
        "workspace": text(info.get("workspace")),
    }
    if tags.get("mlflow.project.entryPoint"):
        found["sourceName"] = tags.get("mlflow.source.name", "")
    for kind in ("inputs", "outputs"):
        models = [obj(item) for item in items(obj(run.get(kind)).get(f"model_{kind}"))]
        found[f"{kind}.models"] = ", ".join(filter(None, (text(item.get("model_id")) for item in models)))
    return _said({**found, **{f"tags.{key}": value for key, value in tags.items() if key not in _TAGS}})


def _metrics(values: Any, steps: Mapping[str, Any]) -> Iterator[Metric]:
    for key, value in _pairs(values):
        if said := text(value):
            step = text(steps.get(key))
            yield Metric(name=key, value=said, source="mlflow", details=(("step", step),) if step else ())


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
        context = tags.pop("mlflow.data.context", "")
        place, more = _place(dataset)
        yield Material.of(
            _ROLES.get(context, "evaluation-data"),
            name=text(dataset.get("name")),
            uri=place,
            digests={"digest": text(dataset.get("digest"))},
            recorded_by="mlflow",
            context=context,
            sourceType=text(dataset.get("source_type")),
            schema=text(dataset.get("schema")),
            profile=text(dataset.get("profile")),
            annotations={
                **{f"source.{key}": value for key, value in more.items()},
                **{f"tags.{key}": value for key, value in tags.items()},
            },
        )


def _place(dataset: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """The URI in a dataset's source, which is JSON in a string, and what else that says."""
    said = text(dataset.get("source"))
    try:
        source = json.loads(said or "{}", parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError):
        return "", {"text": said}
    found = documents.texts(source)
    key = next((key for key in ("uri", "url", "path") if key in found), "")
    return found.pop(key, ""), found


def _utc(value: Any) -> str:
    said = text(value)
    return documents.moment(said) or documents.moment(f"{said}Z")


def _local(path: str) -> bool:
    """Whether it is a path of some machine."""
    return not path or path.startswith(("file:", "/", "~", "./", "../")) or path[1:2] == ":"


def _said(values: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}
