"""``--register``: telling a registry of models what was pushed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from ocimodel.cli import options
from ocimodel.cli.run import Answer, Run

if TYPE_CHECKING:
    from ocimodel.oci.reference import Reference
    from ocimodel.verbs.register import Registered, Registry

Register = Annotated[
    list[str] | None,
    options.option(
        "--register",
        metavar="KIND[:URI]",
        help="Record the digest in mlflow or kubeflow as a version (repeatable).",
    ),
]
RegisterName = Annotated[
    str | None,
    options.option("--register-name", metavar="NAME", help="Of the model there; else the repository's last part."),
]


def registries(run: Run, reference: Reference, specs: Sequence[str], name: str | None) -> list[Registry]:
    """Where to record what will be pushed. Raises UsageError before anything is sent."""
    if not specs:
        return []
    from ocimodel.verbs.register import entry, parse

    found = [parse(spec, run.access) for spec in specs]
    entry(reference, name, ())
    return found


def registered(
    run: Run, places: Sequence[Registry], reference: Reference, name: str | None, answer: Answer
) -> Answer:
    """Record what ``answer`` tells of, and add that to it. What fails changes nothing of what stdout says."""
    if not places:
        return answer
    from ocimodel.verbs.register import entry, register

    what = entry(
        reference, name, [str(signer.get("keyid") or signer.get("identity")) for signer in answer.signers or ()]
    )
    done: list[Registered] = []
    run.digest = answer.digest
    for place in places:
        told = _with(answer, done)
        run.explain = lambda _error, told=told: told  # type: ignore[misc]
        done.append(register(place, what, access=run.access))
        word = "registered" if done[-1].added else "is registered"
        run.note(f"{word} in {place.kind}: {what.name}, version {done[-1].version}")
    return _with(answer, done)


def _with(answer: Answer, done: Sequence[Registered]) -> Answer:
    return replace(answer, more={**answer.more, "registered": [_described(item) for item in done]})


def _described(item: Registered) -> dict[str, Any]:
    return {
        "kind": item.registry.kind,
        "uri": item.registry.uri,
        "name": item.name,
        "version": item.version,
        "added": item.added,
    }
