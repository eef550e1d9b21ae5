"""``ocimodel promote SRC DST``, ``promote MODEL --from ENV --to ENV`` and ``promote status [MODEL]``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ocimodel.cli import environments, material, options, stamping, verdicts
from ocimodel.cli.command import command
from ocimodel.cli.promoted import status_answer
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.text import plural, size, table
from ocimodel.cli.values import duration, from_environment, pairs
from ocimodel.errors import UsageError

if TYPE_CHECKING:
    from datetime import timedelta

    from ocimodel.verbs.promote import Promoted
    from ocimodel.verbs.promote_asked import Wanted
    from ocimodel.verbs.promote_gates import Gates
    from ocimodel.verbs.promote_status import Standing

RUN = "run"
_AUDITED = frozenset({"sequence", "summary", "summaryWritten", "expires", "keyid", "movedTags"})


class DefaultsToRun(TyperGroup):
    """``promote SRC DST`` is ``promote run SRC DST``: no reference is the name of a subcommand."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [RUN, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=DefaultsToRun,
    help="Move a model to the next environment, or show what runs where: promote SRC DST, promote status [MODEL].",
)

Src = Annotated[
    str, options.argument("SRC|MODEL", "What is promoted; without DST, the name of a model, perhaps with :TAG.")
]
Dst = Annotated[
    str | None, options.argument("[DST]", "Where to: its tag is the channel, latest where it has none.")
]
To = Annotated[
    str | None,
    options.option("--to", metavar="ENV", help="The environment to promote MODEL to, as the chain calls it."),
]
Model = Annotated[str | None, options.argument("[MODEL]", "A model's name; else those that the chain lists.")]
VersionTag = Annotated[
    str | None,
    options.option("--version", metavar="TAG", help="A tag of DST as well, which never moves again."),
]
DryRun = Annotated[bool, options.option("--dry-run", help="Judge every gate, and write nothing.")]
Renew = Annotated[bool, options.option("--renew", help="Write a new summary although one still holds.")]
Rollback = Annotated[bool, options.option("--rollback", help="Put back an older artifact, which needs a --reason.")]
ReasonText = Annotated[
    str | None, options.option("--reason", metavar="TEXT", help="Why; signed along with a --rollback.")
]
From = Annotated[
    str | None,
    options.option("--from", metavar="ENV", help="The environment that must have promoted it before."),
]
Soak = Annotated[
    str | None,
    options.option("--soak", metavar="24h", help="How long the previous environment must have had it, at least."),
]
Remaining = Annotated[
    str | None,
    options.option("--min-remaining", metavar="30d", help="How long enough signatures must still be good."),
]
Validity = Annotated[
    str | None, options.option("--validity", metavar="7d", help="How long the summary is good for (7d unless set).")
]


@command(
    app,
    RUN,
    called="promote",
    event="promote",
    examples="""
    ocimodel promote fraud --from staging --to prod --key promoter.key --version 1.4.0
    ocimodel promote registry.example/staging/fraud:rc registry.example/prod/fraud:stable --policy prod.json \\
        --key promoter.key --version 1.4.0 --dry-run
    ocimodel promote registry.example/prod/fraud:1.3.0 registry.example/prod/fraud:stable --policy prod.json \\
        --key promoter.key --rollback --reason "1.4.0 rejects valid cards"
    """,
)
def promote(
    run: Run,
    src: Src,
    dst: Dst = None,
    to: To = None,
    chain: environments.Environments = None,
    policy: options.PolicyFile = None,
    key: options.SigningKey = None,
    password_file: options.PasswordFile = None,
    version: VersionTag = None,
    dry_run: DryRun = False,
    renew: Renew = False,
    rollback: Rollback = False,
    reason: ReasonText = None,
    previous: From = None,
    soak: Soak = None,
    min_remaining: Remaining = None,
    validity: Validity = None,
    timestamp_url: stamping.Url = None,
    timestamp_root: stamping.Root = None,
    name: options.As = None,
    context: options.Context = None,
) -> Answer:
    """Judge an artifact under the policy of DST, copy it there, vouch for it, and move the channel last.

    promote SRC DST, or promote MODEL --from ENV --to ENV where environments.yaml names the chain. Prints
    DST@DIGEST. Every gate is judged before anything is written. Run again, it changes nothing while the signed
    summary still holds under the same policy.
    """
    from ocimodel.verbs import promote as verb

    if rollback != (reason is not None):
        raise UsageError("--rollback and --reason belong together", hint="Give both, or neither.")
    run.context = pairs(context or (), "--context")
    asked = _Asked(run, src, dst, previous, to, chain, policy, key, password_file, name)
    wish = verb.Wish(
        source=asked.source,
        target=asked.target,
        policy=asked.policy,
        signer=stamping.stamped(run, asked.signer, timestamp_url, timestamp_root),
        name=material.judged_as(name),
        version=version,
        validity=duration(validity) if validity is not None else verb.VALIDITY,
        renew=renew,
        rollback=reason,
        wanted=asked.wanted(
            soak=duration(soak) if soak is not None else None,
            remaining=duration(min_remaining) if min_remaining is not None else None,
        ),
        context=run.context,
    )

    run.promotion = {
        "source": str(wish.source),
        "channel": str(wish.target),
        "version": version,
        "dryRun": dry_run,
        "reason": reason,
    }

    def report(gates: "Gates") -> None:
        run.judged(gates.verdict)
        run.gates = _gates(gates)
        run.partial |= {"dryRun": dry_run, "gates": run.gates}
        run.explain = lambda _failure: Answer(
            text="\n".join(_table(gates)), signers=verdicts.signers(gates.verdict)
        )

    done = verb.promote(wish, access=run.access, now=run.now, dry_run=dry_run, meter=run.meter, report=report)
    said = verdicts.answered(done.gates.verdict)
    document = _promotion(done)
    run.promotion |= {key: value for key, value in document.items() if key in _AUDITED}
    text = "\n".join(_would(done)) if dry_run else str(done.target)
    return Answer(
        text=text, reference=str(done.target), digest=str(done.digest), **said, more={"promotion": document}
    )


class _Asked:
    """What is promoted, where to, under which policy and with which key: as typed, or by the chain."""

    def __init__(
        self,
        run: Run,
        src: str,
        dst: str | None,
        start: str | None,
        end: str | None,
        chain: str | None,
        policy: str | None,
        key: str | None,
        password_file: Path | None,
        name: str | None,
    ) -> None:
        from ocimodel.oci.reference import Reference

        self._way: environments.Way | None = None
        self._previous = start or ""
        if dst is not None:
            if end is not None:
                raise UsageError("DST and --to both say where it is to go", hint="Give SRC DST, or MODEL --to ENV.")
            self.source, self.target = Reference.parse(src), run.reference(dst)
            self.policy = material.policy_file(run, _policy(policy), enforce=True)
        else:
            found = environments.chain(chain)
            self._way = environments.way(run, found, src, start, end)
            environment = self._way.environment
            self._previous = self._way.previous
            self.source, self.target = self._way.source, run.reference(str(self._way.target))
            path = _policy(policy if policy is not None else environment.policy or None)
            self.policy = material.policy_file(run, path, enforce=True)
            judged = material.judged_as(name) or material.judged_as(str(self.target))
            environments.check_name(found, environment, self.policy, judged or "")
            key = key if key is not None or from_environment(options.SIGNING_KEY) else environment.key or None
        self.signer = material.signer(run, key, password_file, command="promote")

    def wanted(self, *, soak: "timedelta | None", remaining: "timedelta | None") -> "Wanted":
        from ocimodel.verbs.promote_asked import Wanted

        promoter = self._way.environment.promoter if self._way is not None else None
        return Wanted(
            previous=self._previous,
            soak=soak,
            remaining=remaining,
            judges=self._way.judges if self._way is not None else None,
            promoter=promoter.keyid if promoter is not None else "",
        )


def _policy(given: str | None) -> Path:
    if given is not None and not given.strip():
        raise UsageError("--policy is empty", hint="Check that the variable in it is set.")
    found = [given] if given is not None else from_environment(options.POLICY)
    if len(found) != 1:
        raise UsageError("promote needs a policy, the one of DST", hint="Give --policy FILE.")
    return Path(found[0])


def _table(gates: "Gates") -> list[str]:
    rows = [(line.name, line.outcome, line.detail) for line in gates.lines]
    return table(("gate", "outcome", "detail"), rows)


def _would(done: "Promoted") -> list[str]:
    summary = "a new summary" if done.written else "a summary that still holds"
    sending = f"{plural(len(done.plan.missing), 'blob')} ({size(done.plan.missing_bytes)}) to copy"
    return [*_table(done.gates), f"dry run: {done.target}: {sending}, {summary}; nothing written"]


def _gates(gates: "Gates") -> list[dict[str, Any]]:
    return [
        {"name": line.name, "outcome": line.outcome, "exitCode": line.exit_code, "detail": line.detail}
        for line in gates.lines
    ]


def _promotion(done: "Promoted") -> dict[str, Any]:
    from ocimodel.trust.claims import format_time

    return {
        "source": str(done.source),
        "target": str(done.target),
        "summary": str(done.summary) if done.summary else None,
        "summaryWritten": done.written and not done.dry_run,
        "sequence": done.sequence,
        "expires": format_time(done.expires),
        "keyid": done.keyid,
        "movedTags": list(done.moved),
        "blobsToCopy": len(done.plan.missing),
        "bytesToCopy": done.plan.missing_bytes,
    }


@command(
    app,
    "status",
    called="promote status",
    event="promote.status",
    examples="""
    ocimodel promote status
    ocimodel promote status fraud --environments deploy/environments.yaml --json
    """,
)
def status(run: Run, model: Model = None, chain: environments.Environments = None) -> Answer:
    """Show what runs where, since when and by whom, as each environment's own promoter says.

    One row an environment. It exits with 0 whatever it finds, but for a registry that does not answer (75, 77);
    what a node there would exit with is in the document.
    """
    from ocimodel.verbs.promote_status import Place, standing

    found = environments.chain(chain)
    policies = {item: environments.policy_of(run, item) if item.policy else None for item in found.environments}
    rows: list[Standing] = []
    for name in environments.models(found, model):
        for item in found.environments:
            channel, policy = item.of(name), policies[item]
            if policy is not None:
                environments.check_name(found, item, policy, material.judged_as(str(channel)) or "")
            place = Place(model=name, environment=item.name, channel=channel, policy=policy, promoter=item.promoter)
            rows.append(standing(place, access=run.access, now=run.now))
    answer = status_answer(rows)
    failed = next((row.error for row in rows if row.error is not None), None)
    if failed is not None:
        run.partial |= answer.more
        run.explain = lambda _failure: Answer(text=answer.text)
        raise failed
    return answer
