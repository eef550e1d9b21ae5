"""What two models say of themselves, field by field.

Guarantees: documents become fields with a path and a text each, of bounded number, depth and length. Two texts are
equal only if they are: of a long one its length and a digest are told, never just its beginning. Only documents
that differ, and are small, are read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ocimodel.errors import NotFoundError
from ocimodel.model.artifact import FileEntry
from ocimodel.model.config import ModelConfig
from ocimodel.model.facts import lenient
from ocimodel.model.frontmatter import front_matter
from ocimodel.model.header import Array
from ocimodel.oci import media
from ocimodel.stores.protocol import read_blob
from ocimodel.verbs.diff_sides import Side
from ocimodel.verbs.headers import Seen

MAX_FIELDS = 5_000
MAX_DOCUMENT = 64 * 1024
MAX_DOCUMENTS = 256 * 1024
"""Bytes of the documents that are read of each model."""

_DEPTH = 12
_LONG = 160
_SHOWN = 60
_SHORT_LIST = 16
_PLAIN = re.compile(r"[A-Za-z0-9_/@:+-][A-Za-z0-9_/@:+ -]{0,99}")
_NAMES = ("name", "uri", "id", "type")
_UNSAID = frozenset({"diff_ids"})
"""Fields of the config that only repeat the digests of files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """``name`` of a field of some document. Empty where one side says nothing."""

    name: str
    before: str
    after: str


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[FieldChange, ...]:
    """The fields that are not the same on both sides, by name."""
    return tuple(
        FieldChange(name=name, before=before.get(name, ""), after=after.get(name, ""))
        for name in sorted(before.keys() | after.keys())
        if before.get(name, "") != after.get(name, "")
    )


def config_fields(config: ModelConfig) -> dict[str, str]:
    """The artifact's config."""
    return {
        item.name: text
        for item in fields(config)
        if item.name not in _UNSAID and (text := _config_text(getattr(config, item.name)))
    }


def annotation_fields(side: Side) -> dict[str, str]:
    """The manifest's annotations."""
    # The index's digest differs wherever a tensor does: that is told tensor by tensor.
    said = side.artifact.manifest.annotations
    return {key: _text(value) for key, value in said.items() if key != media.CHUNK_INDEX_ANNOTATION}


def provenance_fields(side: Side) -> dict[str, str]:
    """The record: who made it, from what, with which parameters."""
    if side.provenance is None:
        return {}
    return {"predicateType": side.provenance.predicate_type, **flatten(side.provenance.predicate)}


def document_fields(side: Side, other: Side, notes: list[str]) -> dict[str, str]:
    """The small JSON documents and the model card, where the other side has others under the same names."""
    found: dict[str, str] = {}
    left = MAX_DOCUMENTS
    for path, entry in sorted(side.raw.items()):
        theirs = other.raw.get(path)
        if theirs is None or theirs.descriptor.digest == entry.descriptor.digest or not _is_document(entry):
            continue
        if max(entry.descriptor.size, theirs.descriptor.size) > min(left, MAX_DOCUMENT):
            continue
        left -= max(entry.descriptor.size, theirs.descriptor.size)
        try:
            raw = read_blob(side.store, entry.descriptor, limit=MAX_DOCUMENT, what=path)
        except NotFoundError as error:
            notes.append(f"{path} of {side.reference}: {error.message}")
            continue
        said = lenient(raw) if path.lower().endswith(".json") else _card(raw)
        found |= {f"{path}: {name}": text for name, text in flatten(said).items()}
    return found


def header_fields(ours: Mapping[str, Seen], theirs: Mapping[str, Seen]) -> dict[str, str]:
    """The metadata of weight files that both sides have, or of the one that each has.

    Where one side's was not read to its end, only what both have is told.
    """
    found: dict[str, str] = {}
    alone = len(ours) == len(theirs) == 1
    for path, seen in ours.items():
        other = next(iter(theirs.values())) if alone else theirs.get(path)
        if other is None:
            continue
        both = seen.metadata.keys() & other.metadata.keys()
        complete = seen.metadata_complete and other.metadata_complete
        for key, value in seen.metadata.items():
            if (complete or key in both) and len(found) < MAX_FIELDS:
                found[f"{'header' if alone else path}: {_clipped(key)}"] = _text(_plain(value))
    return found


def flatten(value: Mapping[str, Any]) -> dict[str, str]:
    """A document as fields: ``a.b[name].c`` and what stands there. At most `MAX_FIELDS` of them."""
    found: dict[str, str] = {}
    for name, text in _walk(value, "", _DEPTH):
        if len(found) >= MAX_FIELDS:
            found["…"] = f"more than {MAX_FIELDS} fields; all of it: {_digest(_json(value))}"
            break
        # Two members whose paths read alike are told apart, for one must not hide the other.
        number = 2
        unique = name
        while unique in found:
            unique, number = f"{name} ({number})", number + 1
        found[unique] = text
    return found


def _walk(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value and depth:
        for key, member in value.items():
            yield from _walk(member, f"{path}.{_name(key)}" if path else _name(key), depth - 1)
    elif isinstance(value, (list, tuple)) and depth and not _is_short(value):
        for position, item in enumerate(value):
            yield from _walk(item, f"{path}[{_label(item, position)}]", depth - 1)
    elif path:
        yield path, _text(value)


def _is_short(items: Any) -> bool:
    return len(items) <= _SHORT_LIST and not any(isinstance(item, (dict, list)) for item in items)


def _label(item: Any, position: int) -> str:
    """Lists of things that have names are compared by name: one more at the front changes no other."""
    if isinstance(item, dict):
        for key in _NAMES:
            if isinstance(name := item.get(key), str) and name:
                return _clipped(name)
    return str(position)


def _clipped(key: str) -> str:
    return key if len(key) <= 100 else f"{key[:80]}… {_digest(key)}"


def _name(key: str) -> str:
    shown = _clipped(key)
    return shown if _PLAIN.fullmatch(shown) else json.dumps(shown, ensure_ascii=False)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else _json(value)
    if len(text) <= _LONG:
        return text
    return f"{text[:_SHOWN]}… ({len(text)} characters, {_digest(text)})"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def _plain(value: Any) -> Any:
    if isinstance(value, Array):
        return f"{value.length} of {value.kind}"
    return list(value) if isinstance(value, tuple) else value


def _config_text(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={str(said).lower()}" for key, said in sorted(value.items()))
    return _text(", ".join(value)) if isinstance(value, tuple) else ""


def _card(raw: bytes) -> dict[str, Any]:
    return {key: said[0] if len(said) == 1 else said for key, said in front_matter(raw).items()}


def _is_document(entry: FileEntry) -> bool:
    name = entry.path.lower()
    return name.endswith(".json") or name.rpartition("/")[2] == "readme.md"
