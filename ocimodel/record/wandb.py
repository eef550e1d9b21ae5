"""``wandb:DIR``: a run's files as Weights & Biases keeps them (``wandb/run-…/files``), or as they were downloaded.

Takes from ``config.yaml``, ``wandb-summary.json``, ``wandb-metadata.json`` and ``requirements.txt``. Guarantees:
files only; host and user names stay where they are.
"""

from __future__ import annotations

from pathlib import Path

from ocimodel.errors import ConfigurationError
from ocimodel.record import documents
from ocimodel.record.documents import obj, text
from ocimodel.record.packages import requirements
from ocimodel.record.record import Material, Metric, Record


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
    about = about or {}
    git = obj(about.get("git"))
    commit, remote = text(git.get("commit")), text(git.get("remote"))
    values = {key: obj(item).get("value") for key, item in (config or {}).items() if isinstance(item, dict)}
    parameters = documents.texts({key: value for key, value in values.items() if not key.startswith("_")})
    source = {"repository": remote, "entryPoint": text(about.get("codePath")) or text(about.get("program"))}
    machine = {key: text(about.get(key)) for key in ("python", "os", "gpu", "cudaVersion")}
    packages = documents.read(place, "requirements.txt")
    commits = [
        Material.of("source", name="source", uri=f"git+{remote}" if remote else "", digests={"gitCommit": commit})
    ]
    scalars = documents.texts({key: value for key, value in (summary or {}).items() if not key.startswith("_")})
    return Record(
        source={key: value for key, value in source.items() if value},
        hyperparameters=parameters,
        environment={key: value for key, value in machine.items() if value},
        materials=(*(commits if commit else []), *(requirements(packages, "wandb") if packages else ())),
        started=documents.moment(about.get("startedAt")),
        metrics=tuple(Metric(name=key, value=value, source="wandb") for key, value in scalars.items()),
    )
