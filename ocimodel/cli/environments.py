"""The chain of environments for commands: where its file is, and what it makes of a model's name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ocimodel.cli import material, options
from ocimodel.cli.run import Run
from ocimodel.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from ocimodel.oci.reference import Reference
    from ocimodel.trust.environments import Chain, Environment
    from ocimodel.trust.policy import TrustPolicy

Environments = Annotated[
    str | None,
    options.option(
        "--environments", metavar="FILE", help="The chain of environments; environments.yaml here unless set."
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """From where to where a model is promoted, by the chain.

    Attributes:
        previous: the environment that must have promoted it before; empty where none has.
        judges: that environment's own policy, if it has one.
    """

    source: Reference
    target: Reference
    environment: Environment
    previous: str
    judges: TrustPolicy | None


def chain(given: str | None) -> Chain:
    """The chain that was named, or the one that lies here."""
    from ocimodel.trust import environments

    if given is not None and not given.strip():
        raise UsageError("--environments is empty", hint="Check that the variable in it is set.")
    path = Path(given or environments.FILE)
    if given is None and not path.exists():
        raise UsageError(
            f"there is no {environments.FILE} here",
            hint="Give --environments FILE; docs/reference/environments-yaml.md says what stands in it. "
            "promote takes SRC and DST as well.",
        )
    return environments.load(path)


def way(run: Run, found: Chain, model: str, start: str | None, end: str | None) -> Way:
    """Which artifact goes where. Raises `UsageError` where an environment would be skipped."""
    from ocimodel.oci.reference import Reference
    from ocimodel.trust.environments import split_model

    if end is None:
        raise UsageError("where is it to go?", hint="Give --to ENV, or SRC and DST.")
    name, rest = split_model(model)
    there = found.named(end)
    before = found.before(there)
    here = found.named(start) if start is not None else before
    if here is None:
        raise UsageError(f"{there.name} is the first environment", hint="Give --from, or push to it.")
    if here not in (before, there):
        first = before.name if before is not None else there.name
        raise UsageError(
            f"{found.what}: {here.name} is not right before {there.name}", hint=f"Promote to {first} first."
        )
    place = here.of(name)
    source = Reference.parse(f"{place.tagged(None)}{rest}") if rest else place
    # Nobody promotes into the first environment, nor anew into the one where it is already.
    promoted = here is not there and found.before(here) is not None
    judges = policy_of(run, here) if promoted and here.policy else None
    return Way(
        source=source,
        target=there.of(name),
        environment=there,
        previous=here.name if promoted else "",
        judges=judges,
    )


def policy_of(run: Run, environment: Environment) -> TrustPolicy:
    """The policy of an environment, enforced."""
    return material.load_policy(run, (), environment.policy).enforced()


def models(found: Chain, given: str | None) -> tuple[str, ...]:
    """The model that was named, else those that the chain lists."""
    from ocimodel.trust.environments import split_model

    if given is not None:
        return (split_model(given, plain=True)[0],)
    if not found.models:
        raise UsageError(f"{found.what} lists no models", hint="Name one: ocimodel promote status MODEL.")
    return found.models


def check_name(found: Chain, environment: Environment, policy: TrustPolicy, name: str) -> None:
    """Raises `ConfigurationError` where the policy calls the environment otherwise: its summaries would not fit."""
    rules = policy.rules_for(name)
    if rules is not None and rules.environment != environment.name:
        called = repr(rules.environment) if rules.environment else "nothing"
        raise ConfigurationError(
            f"{found.what}: {environment.name} is called {called} in the policy, by the scope {rules.match}",
            hint=f'Write "environment": "{environment.name}" in that scope, or call it the same here.',
        )
