"""``dvc:DIR``: a repository whose pipeline DVC ran (``dvc.lock``, schema 2.0) and whose data it tracks (``*.dvc``).

Guarantees: files only. DVC's digests are md5, so they are annotations. Which dependency is data is known of those
that DVC tracks; the others are called "other". What stages made is among the by-products, as "output". What
`LEFT_OUT` says is not repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ocimodel.errors import ConfigurationError
from ocimodel.record import documents
from ocimodel.record.documents import items, obj, text
from ocimodel.record.record import Material, Metric, Record, report

LEFT_OUT: Mapping[str, str] = {
    "dvc.lock: schema": "the version of the file's format",
    "*.dvc: outs.cache": "how DVC keeps it",
    "*.dvc: outs.push": "the same",
    "*.dvc: outs.persist": "the same",
    "*.dvc: frozen": "that DVC does not look for a newer one",
    "*.dvc: md5": "of this very file, not of data",
}
"""What these files state and the record does not repeat, and why."""

_FILES = 10_000


def collect(directory: Path) -> Record:
    """Raises `ConfigurationError` where a file is malformed, or none of them is there."""
    lock = documents.read_yaml(directory, "dvc.lock")
    tracked = dict(_tracked(directory))
    if lock is None and not tracked:
        raise ConfigurationError(
            f"{directory} has neither dvc.lock nor *.dvc", hint="Name the repository's directory."
        )
    stages = {name: obj(stage) for name, stage in obj((lock or {}).get("stages")).items()}
    made = {text(obj(out).get("path")) for stage in stages.values() for out in items(stage.get("outs"))}
    used: dict[str, Material] = dict(tracked)
    for stage in stages.values():
        for dependency in map(obj, items(stage.get("deps"))):
            path = text(dependency.get("path"))
            if path and path not in made and path not in used:
                used[path] = _material("other", path, dependency)
    pipeline = documents.read_yaml(directory, "dvc.yaml") or {}
    return Record(
        preprocessing=tuple(_step(name, stage) for name, stage in stages.items()),
        hyperparameters=_parameters(stages),
        materials=tuple(used.values()),
        metrics=tuple(_metrics(directory, pipeline)),
        reports=(
            *(
                report(name, data)
                for name in _measured(pipeline)
                if (data := documents.read(directory, name)) is not None
            ),
            *(
                _material("output", path, out)
                for stage in stages.values()
                for out in map(obj, items(stage.get("outs")))
                if (path := text(out.get("path"))) and path not in tracked
            ),
        ),
    )


def _tracked(directory: Path) -> Iterator[tuple[str, Material]]:
    for path in sorted(directory.rglob("*.dvc"))[:_FILES]:
        if not path.is_file() or ".git" in path.parts:
            continue
        name = str(path.relative_to(directory))
        document = documents.read_yaml(directory, name) or {}
        notes = documents.texts({key: document.get(key) for key in ("meta", "desc")})
        origin = [obj(item) for item in items(document.get("deps"))]
        for out in map(obj, items(document.get("outs"))):
            local = str(Path(name).parent / text(out.get("path")))
            yield local, _material("training-data", local, out, origin[0] if len(origin) == 1 else {}, notes)


def _material(
    role: str,
    path: str,
    said: dict[str, Any],
    origin: dict[str, Any] | None = None,
    notes: Mapping[str, str] | None = None,
) -> Material:
    """What is at ``path``; where it was imported from, and the version that was locked there."""
    digests = {"md5": text(said.get("md5")), "etag": text(said.get("etag"))}
    if kind := text(said.get("hash")):
        digests[kind] = text(said.get(kind))
    repository, known = obj((origin or {}).get("repo")), documents.texts(origin or {})
    uri = f"git+{text(repository.get('url'))}" if repository.get("url") else known.pop("path", "")
    known.pop("repo.url", "")
    rest = {key: value for key, value in said.items() if key not in ("md5", "etag", "hash", "path", kind, *_KEPT)}
    return Material.of(
        role,
        name=path,
        uri=uri,
        digests={key: value for key, value in digests.items() if value},
        recorded_by="dvc",
        annotations={
            **{f"imported.{key}": value for key, value in known.items()},
            **(notes or {}),
            **documents.texts(rest),
        },
    )


_KEPT = ("cache", "push", "persist")


def _step(name: str, stage: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name}
    if command := "\n".join(text(line) for line in items(stage.get("cmd"))):
        found["entryPoint"] = command
    if parameters := dict(_of(stage)):
        found["parameters"] = parameters
    return found


def _of(stage: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for values in obj(stage.get("params")).values():
        yield from documents.texts(values).items()


def _parameters(stages: dict[str, dict[str, Any]]) -> dict[str, str]:
    """By their names; where two stages differ about one, by stage and name."""
    found: dict[str, str] = {}
    clashing = {
        key
        for one in stages.values()
        for other in stages.values()
        for key, value in _of(one)
        if dict(_of(other)).get(key, value) != value
    }
    for name, stage in stages.items():
        found.update({f"{name}:{key}" if key in clashing else key: value for key, value in _of(stage)})
    return found


def _measured(pipeline: dict[str, Any]) -> list[str]:
    """The metrics files that a pipeline names."""
    listed = [*items(pipeline.get("metrics"))]
    for stage in obj(pipeline.get("stages")).values():
        listed += items(obj(stage).get("metrics"))
    names = [text(next(iter(item))) if isinstance(item, dict) and item else text(item) for item in listed]
    return list(dict.fromkeys(filter(None, names)))


def _metrics(directory: Path, pipeline: dict[str, Any]) -> Iterator[Metric]:
    for name in _measured(pipeline):
        reader = documents.read_json if name.endswith(".json") else documents.read_yaml
        for key, value in documents.texts(reader(directory, name)).items():
            yield Metric(name=key, value=value, source=name)
