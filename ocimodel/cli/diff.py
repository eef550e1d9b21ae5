"""``ocimodel diff``: what differs between two models. Nothing that it prints has been verified."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocimodel.cli import options
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
    """,
)
def diff(run: Run, before: A, after: B) -> Answer:
    """Show what differs between two models, down to the tensor.

    Reads manifests, configs, provenances, chunk indexes and the headers of weight files; no weights. Says as well
    how much a pull of B would fetch where A is at hand. Exits with 0 whether they differ or not.
    """
    from ocimodel.oci.reference import Reference
    from ocimodel.verbs.diff import diff

    old = Reference.parse(before)
    found = diff(old, run.reference(after), run.access)
    return Answer(
        text="\n".join(_lines(found)),
        reference=str(found.after),
        digest=str(found.after.digest),
        warnings=[printable(note) for note in found.notes],
        more=_document(found),
    )


def _lines(found: "Difference") -> Iterator[str]:
    yield f"a  {found.before}"
    yield f"b  {found.after}"
    if found.identical:
        yield "identical"
        return
    for title, changes in (
        ("config", found.config),
        ("annotation", found.annotations),
        ("provenance", found.provenance),
    ):
        if changes:
            yield from ("", *table((title, "a", "b"), [(item.name, item.before, item.after) for item in changes]))
    yield from _files(found)
    yield from _tensors(found)
    copied = f", {size(found.delta.copied)} are the same" if found.delta.copied else ""
    yield from ("", f"pulling b with a at hand fetches {size(found.delta.fetched)}{copied}")


def _files(found: "Difference") -> Iterator[str]:
    rows = [
        (item.change, _path(item.before, item.after), _size(item.before), _size(item.after)) for item in found.files
    ]
    if rows:
        yield from ("", *_table(("file", "name", "a", "b"), rows, right=(2, 3)))
    yield from ("", f"{plural(found.unchanged_files, 'file')} unchanged")


def _tensors(found: "Difference") -> Iterator[str]:
    if found.tensors is None:
        return
    rows = [
        (item.change, item.name, _kind(item.before, item.after), size(item.nbytes), _place(item.before, item.after))
        for item in found.tensors
    ]
    if rows:
        yield from ("", *_table(("tensor", "name", "type", "size", "file"), rows, right=(3,)))
    if rows or found.unchanged_tensors:
        unchanged = plural(found.unchanged_tensors, "tensor")
        yield from ("", f"{unchanged} unchanged, {size(found.unchanged_bytes)}")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int]) -> Iterator[str]:
    yield from table(head, rows[:_SHOWN], right=right)
    if len(rows) > _SHOWN:
        yield f"… and {len(rows) - _SHOWN} more; --json has all"


def _path(before: "FileEntry | None", after: "FileEntry | None") -> str:
    names = [entry.path for entry in (before, after) if entry is not None]
    return " → ".join(dict.fromkeys(names))


def _size(entry: "FileEntry | None") -> str:
    return size(entry.descriptor.size) if entry is not None else "-"


def _kind(before: "TensorInfo | None", after: "TensorInfo | None") -> str:
    kinds = [f"{info.dtype}{list(info.shape)}" for info in (before, after) if info is not None]
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
    return {"file": info.file, "dtype": info.dtype, "shape": list(info.shape), "bytes": info.nbytes}
