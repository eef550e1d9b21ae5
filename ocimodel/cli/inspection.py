"""``ocimodel inspect``, ``tree`` and ``list``: what is there. Nothing that they print has been verified."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocimodel.cli import options, page
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.text import printable

if TYPE_CHECKING:
    from ocimodel.verbs.inspect import Inspection, Tree

app = typer.Typer()

Tensors = Annotated[bool, options.option("--tensors", help="List every tensor.")]


@command(
    app,
    "inspect",
    examples="""
    ocimodel inspect registry.example/ml/bert:1.4
    ocimodel inspect registry.example/ml/bert:1.4 --tensors
    ocimodel inspect oci:./models:bert --html bert.html
    """,
)
def inspect(
    run: Run,
    ref: options.Ref,
    tensors: Tensors = False,
    whole_headers: page.WholeHeaders = False,
    html: page.Html = None,
) -> Answer:
    """Show what is in an artifact: what kind of model, of which types of tensors, in which files.

    Reads the manifest, the config, the provenance, small documents, and the headers of weight files by range: less
    than 2 MiB, however large the model is. Prints facts with the places where they stand, then tables. Nothing of
    it has been verified. Exits with 0 also where a file is not what it claims to be; a warning says so.
    """
    from ocimodel.cli import overview
    from ocimodel.verbs.overview import look

    seen = look(run.reference(ref), run.access, whole_headers=whole_headers)
    if html is not None:
        page.write(html, overview.html(seen, tensors=tensors))
    return Answer(
        text="\n".join(overview.lines(seen, tensors=tensors, width=run.console.width)),
        reference=str(seen.found.reference),
        digest=str(seen.found.descriptor.digest),
        outcome="warn" if seen.problems else "pass",
        klass=seen.problems[0].klass if seen.problems else "none",
        reasons=tuple(reason for problem in seen.problems for reason in problem.reasons),
        warnings=[*(problem.message for problem in seen.problems), *seen.notes],
        more=_inspection(seen.found) | overview.document(seen, tensors=tensors),
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
