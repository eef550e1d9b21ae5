"""``ocimodel lineage``: where a model comes from."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocimodel.cli import material, options, page
from ocimodel.cli.command import command
from ocimodel.cli.picture import STYLE, svg
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.text import printable

if TYPE_CHECKING:
    from ocimodel.verbs.lineage import Ancestor, Base

app = typer.Typer()

Follow = Annotated[
    list[str] | None,
    options.option("--follow", metavar="HOST", help="Ask this registry for base models as well (repeatable)."),
]
Svg = Annotated[Path | None, options.option("--svg", metavar="FILE", help="Draw it here as well.")]


@command(
    app,
    "lineage",
    examples="""
    ocimodel lineage registry.example/ml/bert-fraud:1.4 --key signing.pub
    ocimodel lineage registry.example/ml/bert-fraud:1.4 --follow hub.example --svg lineage.svg
    ocimodel lineage registry.example/ml/bert-fraud:1.4 --key signing.pub --html lineage.html
    """,
)
def lineage(
    run: Run,
    ref: options.Ref,
    key: options.VerifyKeys = None,
    policy: options.PolicyFile = None,
    follow: Follow = None,
    picture: Svg = None,
    html: page.Html = None,
) -> Answer:
    """Show the base models that a model was made from, theirs, and so on, as a tree.

    Provenances say so. An edge is verified where the artifact that states it passes the key or the policy, and the
    base is pinned by its digest. Other registries than REF's are asked only with --follow. Exits with 0 whatever is
    verified.
    """
    from ocimodel.verbs.lineage import lineage

    trust = material.trust(run, key or (), policy)
    found = lineage(run.reference(ref), access=run.access, policy=trust, follow=follow or (), now=run.now)
    if picture is not None:
        page.write(picture, svg(found))
    if html is not None:
        page.write(html, _page(found))
    return Answer(
        text="\n".join(_tree(found)),
        reference=str(found.reference),
        digest=str(found.digest),
        more={"model": _document(found)},
    )


def _page(model: "Ancestor") -> str:
    return page.page(
        f"Lineage of {model.reference}",
        page.facts(
            [("model", str(model.reference)), ("", _state(model).strip(" []") or "no key and no policy given")]
        ),
        f"<section><h2>Picture</h2>{svg(model)}</section>",
        page.table("Base models", ("model", "relation", "digest", "edge", "note"), list(_rows(model, 0))),
        picture_style=STYLE,
    )


def _rows(model: "Ancestor", level: int) -> Iterator[tuple[str, str, str, str, str]]:
    for base in model.bases:
        called = str(base.model.reference if base.model is not None else base.uri or base.name)
        edge = "verified" if base.verified else "not verified"
        yield "· " * level + called, base.relation, base.digest or "-", edge, base.note
        if base.model is not None:
            yield from _rows(base.model, level + 1)


def _tree(model: "Ancestor", indent: str = "") -> Iterator[str]:
    yield f"{printable(str(model.reference))}{_state(model)}"
    yield from _bases(model, indent)


def _bases(model: "Ancestor", indent: str) -> Iterator[str]:
    for position, base in enumerate(model.bases):
        last = position == len(model.bases) - 1
        relation = f"{printable(base.relation)} of " if base.relation else "made from "
        edge = "verified" if base.verified else "not verified"
        note = f"; {printable(base.note)}" if base.note else ""
        yield f"{indent}{'└─' if last else '├─'} {relation}{_called(base)}  [{edge}{note}]"
        if base.model is not None:
            yield from _bases(base.model, indent + ("   " if last else "│  "))


def _called(base: "Base") -> str:
    called = base.model.reference if base.model is not None else base.uri or base.name
    return printable(str(called))


def _state(model: "Ancestor") -> str:
    if model.verified is None:
        return ""
    return "  [verified]" if model.verified else f"  [not verified: {printable(model.note)}]"


def _document(model: "Ancestor") -> dict[str, Any]:
    return {
        "reference": str(model.reference),
        "digest": str(model.digest),
        "verified": model.verified,
        "note": model.note,
        "bases": [
            {
                "name": base.name,
                "uri": base.uri,
                "relation": base.relation,
                "digest": base.digest or None,
                "verified": base.verified,
                "note": base.note,
                "model": _document(base.model) if base.model is not None else None,
            }
            for base in model.bases
        ],
    }
