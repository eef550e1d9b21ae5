"""``ocimodel diff``: what differs between two models. Nothing that it prints has been verified."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocimodel.cli import options, page
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.text import plural, printable, size, table

if TYPE_CHECKING:
    from ocimodel.model.artifact import FileEntry
    from ocimodel.verbs.diff import Difference, FieldChange
    from ocimodel.verbs.tensors import TensorInfo

app = typer.Typer()

A = Annotated[str, options.argument("A", "A reference: the model as it was.")]
B = Annotated[str, options.argument("B", "A reference: the model as it is now.")]

_SHOWN = 40
"""Rows of a table for people; the document has all."""


@command(
    app,
    "diff",
    examples="""
    ocimodel diff registry.example/ml/bert:1.4 registry.example/ml/bert:1.5
    ocimodel diff registry.example/ml/bert:1.4 oci:./models:bert --json
    ocimodel diff registry.example/ml/bert:1.4 registry.example/ml/bert:1.5 --html changes.html
    """,
)
def diff(run: Run, before: A, after: B, whole_headers: page.WholeHeaders = False, html: page.Html = None) -> Answer:
    """Show what differs between two models, down to the tensor.

    Reads manifests, configs, provenances, chunk indexes, small documents and the headers of weight files; no
    weights. Says as well how much a pull of B would fetch where A is at hand. Of artifacts without a chunk index,
    which other tools made, types and shapes are compared. Exits with 0 whether they differ or not.
    """
    from ocimodel.oci.reference import Reference
    from ocimodel.verbs.diff import diff

    old = Reference.parse(before)
    found = diff(old, run.reference(after), run.access, whole_headers=whole_headers)
    if html is not None:
        page.write(html, _page(found))
    return Answer(
        text="\n".join(_lines(found, run.console.width)),
        reference=str(found.after),
        digest=str(found.after.digest),
        warnings=[printable(note) for note in found.notes],
        more=_document(found),
    )


def _lines(found: "Difference", width: int | None) -> Iterator[str]:
    yield f"a  {found.before}"
    yield f"b  {found.after}"
    if found.identical:
        yield "identical"
        return
    for title, changes in _documents(found):
        if changes:
            yield from ("", *_table((title, "a", "b"), _field_rows(changes), width=width))
    if rows := _file_rows(found):
        yield from ("", *_table(_FILE_HEAD, rows, right=(2, 3), width=width))
    yield from ("", f"{plural(found.unchanged_files, 'file')} unchanged")
    if tensors := _tensor_rows(found):
        yield from ("", *_table(_TENSOR_HEAD, tensors, right=(3,), width=width))
    if said := _tensor_sum(found):
        yield from ("", said)
    copied = f", {size(found.delta.copied)} are the same" if found.delta.copied else ""
    yield from ("", f"pulling b with a at hand fetches {size(found.delta.fetched)}{copied}")


def _page(found: "Difference") -> str:
    changed = sum(item.nbytes for item in found.tensors or () if item.change in ("added", "changed"))
    shares = [
        ("unchanged", found.unchanged_bytes, size(found.unchanged_bytes)),
        ("changed or added", changed, size(changed)),
        ("undetermined", found.undetermined_bytes, size(found.undetermined_bytes)),
    ]
    sums = [f"{plural(found.unchanged_files, 'file')} unchanged", _tensor_sum(found)]
    return page.page(
        "What differs",
        page.remarks(found.notes),
        page.facts(
            [
                ("a", str(found.before)),
                ("b", str(found.after)),
                ("", "identical" if found.identical else "; ".join(filter(None, sums))),
                ("pull of b", f"fetches {size(found.delta.fetched)}, {size(found.delta.copied)} are in a"),
            ]
        ),
        page.shares("Bytes of tensors", [row for row in shares if row[1]]),
        *(page.table(title, ("field", "a", "b"), _field_rows(changes)) for title, changes in _documents(found)),
        page.table("Files", _FILE_HEAD, _file_rows(found), right=(2, 3), kind=0),
        page.table("Tensors", _TENSOR_HEAD, _tensor_rows(found), right=(3,), kind=0),
    )


_FILE_HEAD = ("file", "name", "a", "b")
_TENSOR_HEAD = ("tensor", "name", "type", "size", "file")


def _documents(found: "Difference") -> tuple[tuple[str, Sequence["FieldChange"]], ...]:
    return (
        ("config", found.config),
        ("annotation", found.annotations),
        ("provenance", found.provenance),
        ("metadata", found.metadata),
    )


def _field_rows(changes: Sequence["FieldChange"]) -> list[tuple[str, str, str]]:
    return [(item.name, item.before or "-", item.after or "-") for item in changes]


def _file_rows(found: "Difference") -> list[tuple[str, str, str, str]]:
    return [
        (item.change, _path(item.before, item.after), _size(item.before), _size(item.after)) for item in found.files
    ]


def _tensor_rows(found: "Difference") -> list[tuple[str, str, str, str, str]]:
    return [
        (item.change, item.name, _kind(item.before, item.after), size(item.nbytes), _place(item.before, item.after))
        for item in found.tensors or ()
    ]


def _tensor_sum(found: "Difference") -> str:
    said = []
    if found.unchanged_tensors or found.tensors:
        said.append(f"{plural(found.unchanged_tensors, 'tensor')} unchanged, {size(found.unchanged_bytes)}")
    if found.undetermined_tensors:
        said.append(
            f"{plural(found.undetermined_tensors, 'tensor')} of the same type and shape, "
            f"{size(found.undetermined_bytes)}, whose bytes nothing compares"
        )
    return "; ".join(said)


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None, right: Sequence[int] = ()
) -> Iterator[str]:
    yield from table(head, rows[:_SHOWN], right=right, width=width)
    if len(rows) > _SHOWN:
        yield f"… and {len(rows) - _SHOWN} more; --json has all"


def _path(before: "FileEntry | None", after: "FileEntry | None") -> str:
    names = [entry.path for entry in (before, after) if entry is not None]
    return " → ".join(dict.fromkeys(names))


def _size(entry: "FileEntry | None") -> str:
    return size(entry.descriptor.size) if entry is not None else "-"


def _kind(before: "TensorInfo | None", after: "TensorInfo | None") -> str:
    kinds = [f"{info.dtype}{list(info.shape)}" if info.dtype else "?" for info in (before, after) if info]
    return " → ".join(dict.fromkeys(kinds))


def _place(before: "TensorInfo | None", after: "TensorInfo | None") -> str:
    return " → ".join(dict.fromkeys(info.file for info in (before, after) if info is not None))


# --- the document ---------------------------------------------------------------------------------------------


def _document(found: "Difference") -> dict[str, Any]:
    return {
        "before": {"reference": str(found.before), "digest": str(found.before.digest)},
        "after": {"reference": str(found.after), "digest": str(found.after.digest)},
        "identical": found.identical,
        "config": _fields(found.config),
        "annotations": _fields(found.annotations),
        "provenance": _fields(found.provenance),
        "metadata": _fields(found.metadata),
        "files": [
            {"change": item.change, "before": _file(item.before), "after": _file(item.after)}
            for item in found.files
        ],
        "unchangedFiles": found.unchanged_files,
        "tensors": None
        if found.tensors is None
        else [
            {
                "name": item.name,
                "change": item.change,
                "bytes": item.nbytes,
                "before": _tensor(item.before),
                "after": _tensor(item.after),
            }
            for item in found.tensors
        ],
        "unchangedTensors": found.unchanged_tensors,
        "unchangedTensorBytes": found.unchanged_bytes,
        "undeterminedTensors": found.undetermined_tensors,
        "undeterminedTensorBytes": found.undetermined_bytes,
        "delta": {"fetchedBytes": found.delta.fetched, "copiedBytes": found.delta.copied},
        "notes": list(found.notes),
    }


def _fields(changes: Sequence["FieldChange"]) -> list[dict[str, str]]:
    return [{"name": item.name, "before": item.before, "after": item.after} for item in changes]


def _file(entry: "FileEntry | None") -> dict[str, Any] | None:
    if entry is None:
        return None
    return {"path": entry.path, "size": entry.descriptor.size, "digest": str(entry.descriptor.digest)}


def _tensor(info: "TensorInfo | None") -> dict[str, Any] | None:
    if info is None:
        return None
    return {
        "file": info.file,
        "dtype": info.dtype or None,
        "shape": list(info.shape) if info.dtype else None,
        "bytes": info.nbytes,
    }
