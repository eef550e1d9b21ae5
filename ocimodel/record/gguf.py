"""``gguf:FILE`` or ``gguf:DIR``: what GGUF files say of themselves in their headers (ggml-org/ggml, docs/gguf.md).

Takes the metadata: ``general.*`` into the record's own fields, base models and datasets among the dependencies,
everything else into ``settings`` under its key. Guarantees: headers only, within the bounds of `model.gguf`; what
the files of a directory do not agree about stands under the name of the file. An array that is too long to repeat,
such as a vocabulary, is told by its length and type; the file that has it is one of the model's.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ocimodel.errors import ConfigurationError, FormatError, StorageError
from ocimodel.model.gguf import parse
from ocimodel.model.header import Array, Header
from ocimodel.record.record import Material, Record

LEFT_OUT: Mapping[str, str] = {
    "*.gguf: tokenizer.chat_template*": "a program, which is in the file",
    "*.gguf: general.*.count": "how many base models and datasets there are, which are listed",
    "*.gguf: the elements of long arrays": "vocabularies and the like, which are in the file; their number is told",
}
"""What the headers state and the record does not repeat, and why."""

_MOST = 1000
_MODEL = {
    "general.name": "name",
    "general.version": "version",
    "general.description": "description",
    "general.architecture": "architecture",
    "general.license": "license",
    "general.license.name": "licenseName",
    "general.license.link": "licenseLink",
    "general.organization": "supplier",
    "general.languages": "languages",
}
_INPUT = re.compile(r"general\.(base_model|dataset)\.(\d{1,4})\.(\w+)")
_COUNT = re.compile(r"general\.(?:base_model|dataset)\.count")
_ROLES = {"base_model": "base-model", "dataset": "training-data"}


def collect(place: Path) -> Record:
    """Raises `ConfigurationError` where a file is none of this format, or none is there."""
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*.gguf") if path.is_file())[:_MOST]
    if not files:
        raise ConfigurationError(f"{place} has no *.gguf", hint="Name a file, or the directory that has it.")
    said = _agreed({file.name: _metadata(file) for file in files})
    authors = [said[key] for key in ("general.author",) if key in said]
    taken = {*_MODEL, "general.author"}
    return Record(
        model={name: said[key] for key, name in _MODEL.items() if key in said},
        contributors=tuple(authors),
        materials=tuple(_inputs(said)),
        settings={
            key: value
            for key, value in said.items()
            if key not in taken and not _INPUT.fullmatch(key) and not _COUNT.fullmatch(key)
        },
    )


def _metadata(path: Path) -> dict[str, str]:
    header = _header(path)
    kept = {key: value for key, value in header.metadata.items() if not key.startswith("tokenizer.chat_template")}
    return {key: said for key, value in kept.items() if (said := _text(value))}


def _header(path: Path) -> Header:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:

            def read_at(offset: int, length: int) -> bytes:
                return os.pread(file.fileno(), length, offset)

            return parse(read_at, os.fstat(file.fileno()).st_size)
    except FormatError as error:
        raise ConfigurationError(f"{path}: {error.message}", hint="Name a file of the format GGUF.") from None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from None


def _agreed(files: Mapping[str, dict[str, str]]) -> dict[str, str]:
    """What the files say; where they differ, each under its own name."""
    found: dict[str, set[str]] = {}
    for metadata in files.values():
        for key, value in metadata.items():
            found.setdefault(key, set()).add(value)
    merged = {key: next(iter(values)) for key, values in found.items() if len(values) == 1}
    for name, metadata in files.items():
        merged.update({f"{name}:{key}": value for key, value in metadata.items() if key not in merged})
    return merged


def _inputs(said: Mapping[str, str]) -> Iterator[Material]:
    found: dict[tuple[str, int], dict[str, str]] = {}
    for key, value in said.items():
        if match := _INPUT.fullmatch(key):
            found.setdefault((match[1], int(match[2])), {})[match[3]] = value
    for (kind, _), item in sorted(found.items()):
        uri = item.pop("repo_url", "") or item.pop("url", "")
        name = item.pop("name", "")
        yield Material.of(_ROLES[kind], name=name, uri=uri, recorded_by="gguf", annotations=item)


def _text(value: Any) -> str:
    if isinstance(value, Array):
        return f"{value.length} values of {value.kind}"
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    return str(value).strip()


def _number(value: float) -> str:
    """The shortest text that means this number, in the 32 bits that most of them have."""
    for digits in range(1, 10):
        short = f"{value:.{digits}g}"
        try:
            if struct.unpack("<f", struct.pack("<f", float(short)))[0] == value:
                return repr(float(short))
        except (OverflowError, ValueError):
            break
    return repr(value)
