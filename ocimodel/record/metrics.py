"""What was measured, from where evaluations write it: ``--metrics FILE`` or ``--metrics KIND:DIR``.

Understood in a file: a JSON object of numbers, nested ones under dotted names (`eval_results.json` of the Hugging
Face Trainer, `mlflow.evaluate`); ``results`` by task (lm-evaluation-harness); a run as ``mlflow runs describe``
prints it. A directory is read by the collectors of `--from` (``hf``, ``mlflow``, ``wandb``).

Guarantees: every number stays the text that it was written as; a metric that several sources state has all of
their values. What is not a number is left out, except NaN and infinities, which hold no threshold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ocimodel import yamlio
from ocimodel.attest.testresult import Threshold, number
from ocimodel.errors import ConfigurationError, FormatError
from ocimodel.record import documents
from ocimodel.record.documents import items, obj, text
from ocimodel.record.sources import COLLECTORS, gather

MAX_METRICS = 10_000
_NO_NUMBER = re.compile(r"[-+]?(?:nan|inf(?:inity)?)", re.IGNORECASE)
HINT = 'Write thresholds as "accuracy >= 0.9": a metric, one of >= <= > < == !=, and a number.'


def is_directory(source: str) -> bool:
    """Whether ``source`` is ``KIND:DIR``, and not a file."""
    kind, _, place = source.partition(":")
    return kind in COLLECTORS and bool(place)


def of_directory(source: str) -> dict[str, tuple[str, ...]]:
    """The metrics that a directory states. Raises as `gather` does."""
    return _collected(((item.name, item.value) for item in gather([source]).metrics), source)


def of_file(data: bytes, name: str) -> dict[str, tuple[str, ...]]:
    """The metrics in a JSON document. Raises `ConfigurationError`."""
    document = documents.parse_json(data, name)
    run = obj(document.get("data")).get("metrics")
    if run is not None and "info" in document:
        return _collected(_of_run(run), name)
    results = obj(document.get("results"))
    tasks = bool(results) and all(isinstance(item, dict) for item in results.values())
    return _collected(documents.texts(results if tasks else document).items(), name)


def _of_run(metrics: Any) -> Iterable[tuple[str, str]]:
    """A mapping, or the REST API's list of ``{"key": …, "value": …}``."""
    if isinstance(metrics, dict):
        return documents.texts(metrics).items()
    return [(text(obj(item).get("key")), text(obj(item).get("value"))) for item in items(metrics)]


def _collected(pairs: Iterable[tuple[str, str]], what: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        if name and (number(value) is not None or _NO_NUMBER.fullmatch(value)):
            values = found.setdefault(name, [])
            values += [value] if value not in values else []
    if not found:
        raise ConfigurationError(f"there is no metric in {what}", hint='Write them as {"accuracy": 0.93}.')
    if len(found) > MAX_METRICS:
        raise ConfigurationError(f"{what} has more than {MAX_METRICS} metrics")
    return {name: tuple(values) for name, values in found.items()}


def thresholds_of_file(data: bytes, name: str) -> tuple[list[Threshold], list[Threshold]]:
    """Those in a YAML or JSON document of two lists: ``require``, and ``warn``. Raises `ConfigurationError`."""
    document: Mapping[str, Any] = documents.mapping(yamlio.load(data, name, text=True), name)
    for key in document:
        if key not in ("require", "warn"):
            raise ConfigurationError(
                f"{name}: {key[:80]!r} is not a known field", hint="There are require and warn."
            )
    required, wished = (_listed(document.get(key), f"{name}: {key}") for key in ("require", "warn"))
    return required, wished


def _listed(value: Any, what: str) -> list[Threshold]:
    found = items(value)
    if not all(isinstance(item, str) for item in found):
        raise ConfigurationError(f"{what} must be a list of thresholds", hint=HINT)
    try:
        return [Threshold.parse(item) for item in found]
    except FormatError as error:
        raise ConfigurationError(f"{what}: {error.what}", hint=HINT) from None
