"""MLflow's file store: a run, and a logged model, in the form in which ``mlflow runs describe`` prints them.

Guarantees: nothing is looked for but below the directory that was named and its next parents, and of other
experiments nothing is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ocimodel.record import documents
from ocimodel.record.documents import obj, text

_MOST = 100_000
_LEVELS = 4
_NAME = re.compile(r"[0-9A-Za-z_-]{1,64}")


def run_of(directory: Path, run_id: str) -> dict[str, Any]:
    """The run whose directory this is, or whose artifact it is; empty where it lies in no store.

    Args:
        run_id: which one; any, where it is empty.
    """
    for place in (directory, *list(directory.resolve().parents)[:_LEVELS]):
        # A model of MLflow 3 lies beside the run that made it.
        beside = [place / run_id] if _NAME.fullmatch(run_id) else []
        for candidate in (place, *beside):
            meta = documents.read_yaml(candidate, "meta.yaml")
            if meta and text(meta.get("run_id")) and run_id in ("", text(meta.get("run_id"))):
                return _run(candidate, meta)
    return {}


def logged_model(directory: Path, model_id: str) -> dict[str, Any]:
    """What the store says of the model ``model_id``, whose artifacts these are."""
    for place in list(directory.resolve().parents)[:2]:
        meta = documents.read_yaml(place, "meta.yaml") or {}
        if model_id and text(meta.get("model_id")) == model_id:
            return {**meta, **_contents(place)}
    return {}


def _run(place: Path, meta: dict[str, Any]) -> dict[str, Any]:
    experiment = documents.read_yaml(place.parent, "meta.yaml") or {}
    more = {"experiment_name": text(experiment.get("name")), "workspace": text(experiment.get("workspace"))}
    return {
        "info": {**meta, **more},
        "data": _contents(place),
        "inputs": {
            "dataset_inputs": list(_datasets(place)),
            "model_inputs": list(_models(place / "inputs", "source_id")),
        },
        "outputs": {"model_outputs": list(_models(place / "outputs", "destination_id"))},
    }


def _contents(place: Path) -> dict[str, Any]:
    # time, value, step, and in some versions more; the last line is the latest
    lines = {name: value.split() for name, value in _values(place / "metrics")}
    return {
        "params": dict(_values(place / "params")),
        "tags": dict(_values(place / "tags")),
        "metrics": {name: parts[1] if len(parts) > 1 else parts[0] for name, parts in lines.items() if parts},
        "steps": {name: parts[2] for name, parts in lines.items() if len(parts) > 2},
    }


def _datasets(place: Path) -> Iterator[dict[str, Any]]:
    """A run names its datasets, which lie beside the runs of the experiment."""
    for folder in sorted((place / "inputs").glob("*")):
        link = documents.read_yaml(folder, "meta.yaml") or {}
        name = text(link.get("source_id"))
        if text(link.get("source_type")) == "DATASET" and _NAME.fullmatch(name):
            dataset = documents.read_yaml(place.parent / "datasets" / name, "meta.yaml") or {}
            yield {"dataset": dataset, "tags": obj(link.get("tags"))}


def _models(folder: Path, key: str) -> Iterator[dict[str, Any]]:
    for place in sorted(folder.glob("*")):
        link = documents.read_yaml(place, "meta.yaml") or {}
        if "MODEL" in text(link.get("source_type")) + text(link.get("destination_type")):
            yield {"model_id": text(link.get(key)), "step": text(link.get("step"))}


def _values(folder: Path) -> Iterator[tuple[str, str]]:
    names = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    for path in names[:_MOST]:
        raw = documents.read(folder, str(path.relative_to(folder))) or b""
        said = raw.decode("utf-8", "replace")
        yield str(path.relative_to(folder)), said.splitlines()[-1] if folder.name == "metrics" and said else said
