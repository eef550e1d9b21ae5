"""How a look into a model is told: as text, as a document, as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ocimodel.cli import page
from ocimodel.cli.text import plural, printable, size, table

if TYPE_CHECKING:
    from ocimodel.model.overview import BaseModel, Fact, TypeRow
    from ocimodel.verbs.overview import Look

_TITLES = {
    "modelClass": "class",
    "contextLength": "context",
    "tokenizerClass": "tokenizer",
    "vocabularySize": "vocabulary",
    "chatTemplate": "chat template",
}
_DECLARED = ("name", "version", "format", "param_size", "licenses")
_ALWAYS_FOUND = ("architecture", "precision", "quantization")
_INDENT = 15


def facts(look: Look) -> Iterator[tuple[str, str]]:
    """What a model is, by name: what files say before what its config says."""
    found = look.found
    yield "reference", str(found.reference)
    yield "type", f"{found.artifact_type} ({found.kind})"
    told = look.overview.facts if look.overview else {}
    for name in (*_DECLARED, *(name for name in _ALWAYS_FOUND if name not in told)):
        value = getattr(found.config, name, "")
        if value:
            yield name.replace("_", " "), ", ".join(value) if isinstance(value, tuple) else value
    for name, fact in told.items():
        yield _TITLES.get(name, name), _said(name, fact)
    if look.overview:
        declared = found.config.licenses if found.config else ()
        for license_ in look.overview.licenses:
            if license_.value not in declared:
                yield "license", f"{license_.value} ({license_.source})"
        for base in look.overview.base_models:
            yield "base model", _base(base)
    for key, value in sorted(found.annotations.items()):
        yield "annotation", f"{key}={value}"
    if found.files:
        yield "size", f"{size(found.total_bytes)} in {plural(len(found.files), 'layer')}"
    if found.nameless:
        yield "nameless", plural(len(found.nameless), "layer")
    if found.provenance is not None:
        builder = f", by {found.provenance.builder}" if found.provenance.builder else ""
        yield "provenance", f"{found.provenance.predicate_type}{builder}"
    yield "referrers", str(found.referrers)


def lines(look: Look, *, tensors: bool, width: int | None) -> Iterator[str]:
    """For a terminal of ``width`` cells, or for a program where that is None."""
    for name, value in facts(look):
        yield f"{name:<{_INDENT - 1}}{' ' if len(name) >= _INDENT - 1 else ''}{printable(value)}"
    found = look.found
    if look.overview and look.overview.types:
        yield from ("", *table(*_type_table(look), right=_type_numbers(look), width=width))
    if not look.complete:
        yield from ("", "not every tensor is counted: --whole-headers reads headers to their ends")
    if look.roles:
        yield from ("", *table(("role", "files", "size"), _roles(look), right=(1, 2), width=width))
    if found.files:
        yield from ("", *table(("file", "role", "size", "digest"), _files(look), right=(2,), width=width))
    if tensors and (rows := _tensors(look)):
        yield from ("", *table(_TENSOR_HEAD, rows, right=(3,), width=width))
    if found.manifests:
        parts = [(part.media_type, part.artifact_type or "-", str(part.digest)) for part in found.manifests]
        yield from ("", *table(("media type", "artifact type", "digest"), parts, width=width))


def html(look: Look, *, tensors: bool) -> str:
    """A page about the model."""
    found = look.found
    parts = [(part.media_type, part.artifact_type or "-", str(part.digest)) for part in found.manifests]
    types = look.overview.types if look.overview else ()
    return page.page(
        str(found.reference),
        page.remarks(look.notes, [problem.message for problem in look.problems]),
        page.facts((name, value) for name, value in facts(look) if name != "reference"),
        page.shares("Bytes by type", [(row.dtype or "?", row.nbytes, size(row.nbytes)) for row in types]),
        page.table("Types of tensors", *_type_table(look), right=_type_numbers(look)) if types else "",
        page.table("Roles", ("role", "files", "size"), _roles(look), right=(1, 2)),
        page.table("Files", ("file", "role", "size", "digest"), _files(look), right=(2,)),
        page.table("Tensors", _TENSOR_HEAD, _tensors(look), right=(3,)) if tensors else "",
        page.table("Manifests", ("media type", "artifact type", "digest"), parts),
    )


_TENSOR_HEAD = ("tensor", "type", "shape", "size", "file")


def _said(name: str, fact: Fact) -> str:
    value = f"{fact.value:,}" if isinstance(fact.value, int) else fact.value
    unit = {"contextLength": " tokens", "vocabularySize": " tokens"}.get(name, "")
    return f"{value}{unit}" if fact.source == "headers" else f"{value}{unit} ({fact.source})"


def _base(base: BaseModel) -> str:
    pinned = "" if not base.digest or base.digest in base.name else f"@{base.digest}"
    relation = f"{base.relation}, " if base.relation else ""
    return f"{base.name}{pinned} ({relation}{base.source})"


def _several(look: Look) -> bool:
    return look.overview is not None and len({row.format for row in look.overview.types}) > 1


def _type_table(look: Look) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    rows = look.overview.types if look.overview else ()
    several = _several(look)
    head = ("type", "tensors", "parameters", "size")
    body = [
        (row.dtype or "?", f"{row.tensors:,}", f"{row.elements:,}" if row.dtype else "?", size(row.nbytes))
        for row in rows
    ]
    if not several:
        return head, body
    return ("format", *head), [(row.format, *cells) for row, cells in zip(rows, body, strict=True)]


def _type_numbers(look: Look) -> tuple[int, ...]:
    return (2, 3, 4) if _several(look) else (1, 2, 3)


def _roles(look: Look) -> list[tuple[str, str, str]]:
    return [(row.role, str(row.files), size(row.nbytes)) for row in look.roles]


def _files(look: Look) -> list[tuple[str, str, str, str]]:
    return [
        (entry.path, entry.role, size(entry.descriptor.size), str(entry.descriptor.digest))
        for entry in look.found.files
    ]


def _tensors(look: Look) -> list[tuple[str, str, str, str, str]]:
    return [
        (item.name, item.dtype or "?", _shape(item.shape) if item.dtype else "?", size(item.nbytes), item.file)
        for seen in look.headers
        for item in seen.tensors
    ]


def _shape(shape: Sequence[int]) -> str:
    return str(list(shape))


# --- the document ---------------------------------------------------------------------------------------------


def document(look: Look, *, tensors: bool) -> dict[str, Any]:
    """The members that ``inspect --json`` has for a look into a model."""
    told = look.overview
    types: Sequence[TypeRow] = told.types if told else ()
    complete = look.complete
    return {
        "facts": {name: _fact(fact) for name, fact in told.facts.items()} if told else {},
        "licenses": [_fact(item) for item in told.licenses] if told else [],
        "baseModels": [
            {
                "name": base.name,
                "relation": base.relation,
                "digest": base.digest or None,
                "source": base.source,
            }
            for base in (told.base_models if told else ())
        ],
        "roles": [{"role": row.role, "files": row.files, "bytes": row.nbytes} for row in look.roles],
        "tensors": {
            "complete": complete,
            "count": sum(row.tensors for row in types),
            "bytes": sum(row.nbytes for row in types),
            "types": [
                {
                    "format": row.format,
                    "dtype": row.dtype or None,
                    "tensors": row.tensors,
                    "parameters": row.elements if row.dtype else None,
                    "bytes": row.nbytes,
                }
                for row in types
            ],
            **({"list": [_tensor(item) for seen in look.headers for item in seen.tensors]} if tensors else {}),
        },
        "headers": [
            {
                "path": seen.path,
                "format": seen.format,
                "tensors": len(seen.tensors),
                "complete": seen.complete,
                "checked": seen.checked,
                "problem": seen.problem.message if seen.problem else None,
            }
            for seen in look.headers
        ],
        "notes": list(look.notes),
    }


def _fact(fact: Fact) -> dict[str, Any]:
    return {"value": fact.value, "source": fact.source}


def _tensor(item: Any) -> dict[str, Any]:
    return {
        "name": item.name,
        "dtype": item.dtype or None,
        "shape": list(item.shape) if item.dtype else None,
        "bytes": item.nbytes,
        "file": item.file,
    }
