"""``hf:DIR``: a directory as the Hugging Face hub has it.

Takes from ``README.md`` (its front matter, `modelcard.md` of the hub's documentation), ``config.json``,
``generation_config.json``, ``tokenizer_config.json``, ``adapter_config.json``, the ``…_results.json`` of the
Trainer and ``.eval_results/*.yaml``. Guarantees: files only; a base model or a dataset is named by what the card
calls it, without a digest, since a card states none. What has no place of its own in the record stands in its
``settings`` (of the configurations) and ``card``, under the name that it has there, but for what `LEFT_OUT` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ocimodel.errors import ConfigurationError
from ocimodel.record import documents
from ocimodel.record.documents import items, obj, text
from ocimodel.record.record import Material, Metric, Record, report

_README = "README.md"
_MODEL = {
    "model_name": "name",
    "pipeline_tag": "task",
    "library_name": "library",
    "license": "license",
    "license_name": "licenseName",
    "license_link": "licenseLink",
}
_TAKEN = frozenset({*_MODEL, "language", "base_model", "base_model_relation", "datasets", "model-index"})
_SETTINGS = {
    "config.json": "",
    "generation_config.json": "generation.",
    "tokenizer_config.json": "tokenizer.",
    "adapter_config.json": "adapter.",
}
_RESULTS = (
    "eval_results.json",
    "test_results.json",
    "predict_results.json",
    "train_results.json",
    "all_results.json",
)
_EVALUATIONS = tuple(f"{name}_results.json" for name in ("eval", "test", "predict"))
LEFT_OUT: Mapping[str, str] = {
    "config.json: _name_or_path": "where the machine that saved the model had its predecessor: a path, or a name "
    "that the card gives as base_model",
    "tokenizer_config.json: name_or_path": "the same of the tokenizer",
    "tokenizer_config.json: chat_template": "a program, which is one of the model's files",
    "tokenizer_config.json: added_tokens_decoder*": "the vocabulary, which is one of the model's files",
    "README.md: the text below the front matter": "it is one of the model's files",
}
"""What these files state and the record does not repeat, and why."""


def collect(directory: Path) -> Record:
    """Raises `ConfigurationError` where a file is malformed, or none of them is there."""
    card = _card(directory)
    config = documents.read_json(directory, "config.json")
    adapter = documents.read_json(directory, "adapter_config.json")
    if card is None and config is None and adapter is None:
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
        materials=(*_bases(card, adapter or {}), *_datasets(card)),
        metrics=tuple(dict.fromkeys([*_index(card), *_results(directory), *_listed(directory)])),
        reports=tuple(_reports(directory)),
        settings=_settings(directory),
        card=documents.texts({key: value for key, value in card.items() if not _taken(key, value, card)}),
    )


def _taken(key: str, value: Any, card: dict[str, Any]) -> bool:
    """Whether a member of the card stands elsewhere in the record; one of an odd shape does not."""
    if key == "model-index":
        return isinstance(value, list)
    if key == "base_model_relation" and not any(map(text, items(card.get("base_model")))):
        return False
    return key in _TAKEN and all(text(item) for item in items(value))


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
    return documents.mapping(documents.parse_yaml("\n".join(lines[1:end]).encode(), where), where)


def _settings(directory: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, prefix in _SETTINGS.items():
        passed_over = {key.partition(": ")[2].rstrip("*") for key in LEFT_OUT if key.startswith(f"{name}: ")}
        document = documents.read_json(directory, name) or {}
        kept = {key: value for key, value in document.items() if key not in passed_over}
        found.update({f"{prefix}{key}": said for key, said in documents.texts(kept).items()})
    return found


def _bases(card: dict[str, Any], adapter: dict[str, Any]) -> Iterator[Material]:
    relation = text(card.get("base_model_relation"))
    for item in items(card.get("base_model")):
        if name := text(item):
            yield Material.of("base-model", name=name, uri=f"pkg:huggingface/{name}", relation=relation)
    name, revision = text(adapter.get("base_model_name_or_path")), text(adapter.get("revision"))
    if name and name not in map(text, items(card.get("base_model"))):
        # It may be a path of the machine that trained it; then it has no address.
        known = name.count("/") == 1 and not name.startswith(("/", ".", "~"))
        uri = f"pkg:huggingface/{name}" if known else ""
        yield Material.of("base-model", name=name, uri=uri, relation="adapter", revision=revision)


def _datasets(card: dict[str, Any]) -> Iterator[Material]:
    for item in items(card.get("datasets")):
        if name := text(item):
            yield Material.of("training-data", name=name, uri=f"hf://datasets/{name}")


def _index(card: dict[str, Any]) -> Iterator[Metric]:
    """``model-index``: results by task and dataset."""
    for model in map(obj, items(card.get("model-index"))):
        for result in map(obj, items(model.get("results"))):
            task, dataset, source = (obj(result.get(key)) for key in ("task", "dataset", "source"))
            for found in map(obj, items(result.get("metrics"))):
                name = text(found.get("type")) or text(found.get("name"))
                if not name or not (value := text(found.get("value"))):
                    continue
                more = {
                    "model": model.get("name"),
                    "metric": _without(found, "type", "value"),
                    "task": _without(task, "type"),
                    "dataset": _without(dataset, "type", "split"),
                    "source": _without(source, "url"),
                }
                yield Metric(
                    name=name,
                    value=value,
                    dataset=text(dataset.get("type")) or text(dataset.get("name")),
                    split=text(dataset.get("split")),
                    task=text(task.get("type")) or text(task.get("name")),
                    source=text(source.get("url")) or text(source.get("name")),
                    details=_details(more),
                )


def _without(values: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


def _details(values: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(documents.texts(values).items()))


def _results(directory: Path) -> Iterator[Metric]:
    """What the Trainer leaves behind training and evaluation; what it repeats in ``all_results.json`` once."""
    seen: set[tuple[str, str]] = set()
    for file in _RESULTS:
        for name, value in documents.texts(documents.read_json(directory, file) or {}).items():
            if (name, value) not in seen:
                seen.add((name, value))
                yield Metric(name=name, value=value, source=file)


def _reports(directory: Path) -> Iterator[Material]:
    """The files that evaluations left, by their digests."""
    for name in (*_EVALUATIONS, *(f".eval_results/{name}" for name in _listing(directory))):
        if (data := documents.read(directory, name)) is not None:
            yield report(name, data)


def _listing(directory: Path) -> list[str]:
    folder = directory / ".eval_results"
    return sorted(path.name for path in folder.glob("*.yaml")) if folder.is_dir() else []


def _listed(directory: Path) -> Iterator[Metric]:
    """``.eval_results/*.yaml``: a list of dataset, value and source."""
    for name in _listing(directory):
        raw = documents.read(directory, f".eval_results/{name}")
        for entry in items(documents.parse_yaml(raw or b"", f"{directory}/.eval_results/{name}")):
            found, dataset = obj(entry), obj(obj(entry).get("dataset"))
            if value := text(found.get("value")):
                more = {
                    **_without(found, "dataset", "value", "metric"),
                    "dataset": _without(dataset, "id", "task_id"),
                }
                yield Metric(
                    name=text(found.get("metric")) or text(dataset.get("task_id")) or "result",
                    value=value,
                    dataset=text(dataset.get("id")),
                    task=text(dataset.get("task_id")),
                    source=text(obj(found.get("source")).get("url")),
                    details=_details(more),
                )
