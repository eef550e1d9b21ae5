"""``ocimodel inspect``, ``tree`` and ``list``: what is there. Nothing that they print has been verified."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from ocimodel.cli import options
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.text import plural, printable, size, table

if TYPE_CHECKING:
    from ocimodel.verbs.inspect import Inspection, Tree

app = typer.Typer()

_FACTS = ("name", "version", "architecture", "format", "param_size", "precision", "quantization", "licenses")


@command(
    app,
    "inspect",
    examples="""
    ocimodel inspect registry.example/ml/bert:1.4
    ocimodel inspect oci:./models:bert --json
    """,
)
def inspect(run: Run, ref: options.Ref) -> Answer:
    """Show what is in an artifact.

    Prints its facts, then a table of its files. Reads the manifest, the config and the provenance; no file.
    """
    from ocimodel.verbs.inspect import inspect

    found = inspect(run.reference(ref), run.access)
    files = [
        (entry.path, entry.role, size(entry.descriptor.size), str(entry.descriptor.digest)) for entry in found.files
    ]
    parts = [(part.media_type, part.artifact_type or "-", str(part.digest)) for part in found.manifests]
    lines = [f"{name:<14}{printable(value)}" for name, value in _facts(found)]
    if files:
        lines += ["", *table(("file", "role", "size", "digest"), files, right=(2,))]
    if parts:
        lines += ["", *table(("media type", "artifact type", "digest"), parts)]
    return Answer(
        text="\n".join(lines),
        reference=str(found.reference),
        digest=str(found.descriptor.digest),
        more=_inspection(found),
    )


@command(app, "tree", examples="ocimodel tree registry.example/ml/bert:1.4")
def tree(run: Run, ref: options.Ref) -> Answer:
    """Show what refers to an artifact: signatures, attestations, and what refers to those.

    Nothing here has been verified: anyone who may push can attach anything.
    """
    from ocimodel.verbs.inspect import tree

    reference, root = tree(run.reference(ref), run.access)
    lines = [str(reference), *_branches(root, "")]
    return Answer(
        text="\n".join(lines), reference=str(reference), digest=str(root.digest), more={"tree": _node(root)}
    )


@command(
    app,
    "list",
    examples="""
    ocimodel list registry.example/ml/bert
    ocimodel list oci:./models
    """,
)
def list_(run: Run, repository: options.Repo) -> Answer:
    """List the tags of a repository, one a line."""
    from ocimodel.verbs.inspect import list_tags

    reference = run.reference(repository)
    tags = list_tags(reference, run.access)
    return Answer(
        text="\n".join(printable(tag) for tag in tags), reference=reference.name, more={"tags": list(tags)}
    )


def _facts(found: "Inspection") -> Iterator[tuple[str, str]]:
    yield "reference", str(found.reference)
    yield "type", f"{found.artifact_type} ({found.kind})"
    if found.config is not None:
        for name in _FACTS:
            value = getattr(found.config, name)
            text = ", ".join(value) if isinstance(value, tuple) else value
            if text:
                yield name.replace("_", " "), text
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


def _inspection(found: "Inspection") -> dict[str, Any]:
    config = found.config
    provenance = found.provenance
    return {
        "mediaType": found.descriptor.media_type,
        "artifactType": found.artifact_type,
        "kind": found.kind,
        "size": found.descriptor.size,
        "annotations": found.annotations,
        "model": _camel(asdict(config)) if config is not None else None,
        "files": [
            {
                "path": entry.path,
                "role": entry.role,
                "mediaType": entry.descriptor.media_type,
                "size": entry.descriptor.size,
                "digest": str(entry.descriptor.digest),
                "archive": not entry.is_raw,
            }
            for entry in found.files
        ],
        "manifests": [part.to_dict() for part in found.manifests],
        "provenance": {"predicateType": provenance.predicate_type, "predicate": provenance.predicate}
        if provenance is not None
        else None,
        "totalBytes": found.total_bytes,
        "referrers": found.referrers,
    }


def _camel(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that say something, named as JSON names things."""
    result = {}
    for name, value in fields.items():
        first, *others = name.split("_")
        if value:
            result[first + "".join(word.capitalize() for word in others)] = value
    return result


def _branches(node: "Tree", indent: str) -> Iterator[str]:
    for position, child in enumerate(node.children):
        last = position == len(node.children) - 1
        yield f"{indent}{'└── ' if last else '├── '}{_label(child)}"
        yield from _branches(child, indent + ("    " if last else "│   "))
    if not node.complete:
        yield f"{indent}└── … more than is shown"


def _label(node: "Tree") -> str:
    kind = node.predicate_type or node.artifact_type or "unknown"
    key = f" key {node.keyid}" if node.keyid else ""
    problem = f" ({node.problem})" if node.problem else ""
    return printable(f"{node.digest} {kind}{key}{problem}")


def _node(node: "Tree") -> dict[str, Any]:
    return {
        "digest": str(node.digest),
        "size": node.size,
        "artifactType": node.artifact_type,
        "predicateType": node.predicate_type,
        "keyid": node.keyid,
        "problem": node.problem,
        "complete": node.complete,
        "referrers": [_node(child) for child in node.children],
    }
