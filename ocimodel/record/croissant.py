"""``croissant:DIR``: a dataset described by MLCommons Croissant 1.0 (``croissant.json``).

Guarantees: the file only; a distribution's SHA-256 is its digest, its md5 an annotation. What the dataset and each
of its files are said to be besides stands among the annotations, but for what `LEFT_OUT` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ocimodel.errors import ConfigurationError
from ocimodel.record import documents
from ocimodel.record.documents import items, obj, text
from ocimodel.record.record import Material, Record

LEFT_OUT: Mapping[str, str] = {
    "croissant.json: @context*": "how the words of the file are to be read",
    "croissant.json: @type": "that it is a dataset",
    "croissant.json: recordSet*": "how the data is laid out",
}
"""What the file states and the record does not repeat, and why."""

_APART = frozenset({"@context", "@type", "recordSet", "distribution", "name", "url", "version", "license"})
_FILE = frozenset({"name", "contentUrl", "sha256", "md5", "encodingFormat"})


def collect(directory: Path) -> Record:
    """Raises `ConfigurationError` where the file is malformed, or not there."""
    name = "croissant.json"
    if directory.is_file():
        directory, name = directory.parent, directory.name
    found = documents.read_json(directory, name)
    if found is None:
        raise ConfigurationError(f"{directory} has no croissant.json", hint="Name the file, or its directory.")
    return Record(materials=tuple(_materials(found)))


def _materials(found: dict[str, Any]) -> Iterator[Material]:
    dataset = text(found.get("name"))
    yield Material.of(
        "training-data",
        name=dataset,
        uri=text(found.get("url")) or text(found.get("@id")),
        recorded_by="croissant",
        version=text(found.get("version")),
        license=", ".join(filter(None, (text(item) for item in items(found.get("license"))))),
        annotations=documents.texts({key: value for key, value in found.items() if key not in _APART}),
    )
    for item in map(obj, items(found.get("distribution"))):
        name = text(item.get("name")) or text(item.get("@id"))
        digests = {key: text(item.get(key)) for key in ("sha256", "md5") if text(item.get(key))}
        uri = text(item.get("contentUrl"))
        if name or uri:
            yield Material.of(
                "training-data",
                name=f"{dataset}/{name}" if name else dataset,
                uri=uri,
                digests=digests,
                recorded_by="croissant",
                media_type=text(item.get("encodingFormat")),
                annotations=documents.texts({key: value for key, value in item.items() if key not in _FILE}),
            )
