"""``wandb:DIR``: a run's files as Weights & Biases keeps them (``wandb/run-…/files``), or as they were downloaded.

Takes from ``config.yaml``, ``wandb-summary.json``, ``wandb-metadata.json`` and ``requirements.txt``. Guarantees:
files only; who and where stays out of the record (`LEFT_OUT`), and everything else is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ocimodel.errors import ConfigurationError
from ocimodel.record import documents
from ocimodel.record.documents import obj, text
from ocimodel.record.packages import requirements
from ocimodel.record.record import Material, Metric, Record

_PERSONAL = ("host", "username", "email", "executable", "root", "disk", "memory")
LEFT_OUT: Mapping[str, str] = {
    **{f"wandb-metadata.json: {name}*": "who, and which machine" for name in _PERSONAL},
    "config.yaml: _*": "about the client of Weights & Biases",
    "wandb-summary.json: _*": "the same",
}
"""What these files state and the record does not repeat, and why."""

_MACHINE = ("python", "os", "gpu", "gpu_count", "cpu_count", "cudaVersion")


def collect(directory: Path) -> Record:
    """Raises `ConfigurationError` where a file is malformed, or none of them is there."""
    place = directory / "files" if (directory / "files").is_dir() else directory
    config = documents.read_yaml(place, "config.yaml")
    summary = documents.read_json(place, "wandb-summary.json")
    about = documents.read_json(place, "wandb-metadata.json")
    if config is None and summary is None and about is None:
        raise ConfigurationError(
            f"{directory} has no files of a run", hint="Name wandb/run-…, or its files directory."
        )
    about, config = about or {}, _own(config or {})
    git = obj(about.get("git"))
    commit, remote = text(git.get("commit")), text(git.get("remote"))
    values = {key: item.get("value") for key, item in config.items() if isinstance(item, dict)}
    notes = {f"{key}.desc": text(item.get("desc")) for key, item in config.items() if isinstance(item, dict)}
    code, program = text(about.get("codePath")), text(about.get("program"))
    source = {"repository": remote, "entryPoint": code or program}
    machine = {key: text(about.get(key)) for key in _MACHINE}
    packages = documents.read(place, "requirements.txt")
    commits = [
        Material.of("source", name="source", uri=f"git+{remote}" if remote else "", digests={"gitCommit": commit})
    ]
    taken = {"git", "startedAt", *_MACHINE, *_PERSONAL, "codePath" if code else "program"}
    return Record(
        source={key: value for key, value in source.items() if value},
        hyperparameters=documents.texts(values),
        environment={key: value for key, value in machine.items() if value},
        materials=(*(commits if commit else []), *(requirements(packages, "wandb") if packages else ())),
        started=documents.moment(about.get("startedAt")),
        metrics=tuple(
            Metric(name=key, value=value, source="wandb")
            for key, value in documents.texts(_own(summary or {})).items()
        ),
        experiment=documents.texts({key: value for key, value in about.items() if key not in taken}),
        settings={key: value for key, value in notes.items() if value},
    )


def _own(values: dict[str, Any]) -> dict[str, Any]:
    """What is the run's, not the client's."""
    return {key: value for key, value in values.items() if not key.startswith("_")}
