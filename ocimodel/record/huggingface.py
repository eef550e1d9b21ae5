"""``hf:DIR``: a directory as the Hugging Face hub has it.

Takes from ``README.md`` (its front matter, `modelcard.md` of the hub's documentation), ``config.json``,
``eval_results.json`` and ``.eval_results/*.yaml``. Guarantees: files only; a base model or a dataset is named by
what the card calls it, without a digest, since a card states none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ocimodel import yamlio
from ocimodel.errors import ConfigurationError
from ocimodel.record import documents
from ocimodel.record.documents import items, obj, text
from ocimodel.record.record import Material, Metric, Record

_README = "README.md"
_MODEL = {
    "model_name": "name",
    "pipeline_tag": "task",
    "library_name": "library",
    "license": "license",
    "license_name": "licenseName",
    "license_link": "licenseLink",
}


def collect(directory: Path) -> Record:
    """Raises `ConfigurationError` where a file is malformed, or none of them is there."""
    card = _card(directory)
    config = documents.read_json(directory, "config.json")
    results = documents.read_json(directory, "eval_results.json")
    if card is None and config is None:
        raise ConfigurationError(
            f"{directory} has neither README.md nor config.json", hint="Name a model's directory."
        )
    card, config = card or {}, config or {}
    model = {name: said for key, name in _MODEL.items() if (said := ", ".join(map(text, items(card.get(key)))))}
    if languages := [said for item in items(card.get("language")) if (said := text(item))]:
        model["languages"] = ", ".join(languages)
    if architectures := [said for item in items(config.get("architectures")) if (said := text(item))]:
        model["architecture"] = ", ".join(architectures)
    if family := text(config.get("model_type")):
        model["family"] = family
    transformers = text(config.get("transformers_version"))
    return Record(
        model=model,
        environment={"transformers": transformers} if transformers else {},
        materials=(*_bases(card), *_datasets(card)),
        metrics=(*_index(card), *_results(results or {}), *_listed(directory)),
    )


def _card(directory: Path) -> dict[str, Any] | None:
    raw = documents.read(directory, _README)
    if raw is None:
        return None
    lines = raw.decode("utf-8-sig", "replace").splitlines()
    if not lines or lines[0].rstrip() != "---":
        return {}
    end = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), None)
    if end is None:
        raise ConfigurationError(f"{directory / _README}: its front matter has no end")
    where = f"{directory / _README} (front matter)"
    return documents.mapping(yamlio.load("\n".join(lines[1:end]).encode(), where, text=True), where)


def _bases(card: dict[str, Any]) -> Iterator[Material]:
    relation = text(card.get("base_model_relation"))
    for item in items(card.get("base_model")):
        if name := text(item):
            yield Material.of("base-model", name=name, uri=f"pkg:huggingface/{name}", relation=relation)


def _datasets(card: dict[str, Any]) -> Iterator[Material]:
    for item in items(card.get("datasets")):
        if name := text(item):
            yield Material.of("training-data", name=name, uri=f"hf://datasets/{name}")


def _index(card: dict[str, Any]) -> Iterator[Metric]:
    """``model-index``: results by task and dataset."""
    for model in items(card.get("model-index")):
        for result in items(obj(model).get("results")):
            task, dataset = obj(obj(result).get("task")), obj(obj(result).get("dataset"))
            source = obj(obj(result).get("source"))
            for metric in items(obj(result).get("metrics")):
                found = obj(metric)
                name = text(found.get("type")) or text(found.get("name"))
                if name and (value := text(found.get("value"))):
                    yield Metric(
                        name=name,
                        value=value,
                        dataset=text(dataset.get("type")) or text(dataset.get("name")),
                        split=text(dataset.get("split")),
                        task=text(task.get("type")) or text(task.get("name")),
                        source=text(source.get("url")) or text(source.get("name")),
                    )


def _results(results: dict[str, Any]) -> Iterator[Metric]:
    """What the Trainer leaves behind its evaluation."""
    for name, value in documents.texts(results).items():
        yield Metric(name=name, value=value, source="eval_results.json")


def _listed(directory: Path) -> Iterator[Metric]:
    """``.eval_results/*.yaml``: a list of dataset, value and source."""
    folder = directory / ".eval_results"
    names = sorted(path.name for path in folder.glob("*.yaml")) if folder.is_dir() else []
    for name in names:
        raw = documents.read(directory, f".eval_results/{name}")
        for entry in items(yamlio.load(raw or b"", str(folder / name), text=True)):
            found, dataset = obj(entry), obj(obj(entry).get("dataset"))
            if value := text(found.get("value")):
                yield Metric(
                    name=text(found.get("metric")) or text(dataset.get("task_id")) or "result",
                    value=value,
                    dataset=text(dataset.get("id")),
                    task=text(dataset.get("task_id")),
                    source=text(obj(found.get("source")).get("url")),
                )
