"""``ocimodel promote`` and ``ocimodel approve``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocimodel.cli import material, options, verdicts
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.sign import attached
from ocimodel.cli.text import plural, size, table
from ocimodel.cli.values import duration, from_environment, pairs
from ocimodel.errors import UsageError

if TYPE_CHECKING:
    from ocimodel.verbs.promote import Promoted
    from ocimodel.verbs.promote_gates import Gates

app = typer.Typer()

Src = Annotated[str, options.argument("SRC", "What is promoted.")]
Dst = Annotated[str, options.argument("DST", "Where to: its tag is the channel, latest where it has none.")]
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
Comment = Annotated[str, options.option("--comment", metavar="TEXT", help="Is signed along.")]


@command(
    app,
    "promote",
    event="promote",
    examples="""
    ocimodel promote registry.example/staging/fraud:rc registry.example/prod/fraud:stable --policy prod.json \\
        --key promoter.key --version 1.4.0 --dry-run
    ocimodel promote registry.example/prod/fraud:1.3.0 registry.example/prod/fraud:stable --policy prod.json \\
        --key promoter.key --rollback --reason "1.4.0 rejects valid cards"
    """,
)
def promote(
    run: Run,
    src: Src,
    dst: Dst,
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
    name: options.As = None,
    context: options.Context = None,
) -> Answer:
    """Judge an artifact under the policy of DST, copy it there, vouch for it, and move the channel last.

    Prints DST@DIGEST. Every gate is judged before anything is written. Run again, it changes nothing while the
    signed summary still holds under the same policy.
    """
    from ocimodel.oci.reference import Reference
    from ocimodel.verbs import promote as verb
    from ocimodel.verbs.promote_gates import Wanted

    target = run.reference(dst)
    if rollback != (reason is not None):
        raise UsageError("--rollback and --reason belong together", hint="Give both, or neither.")
    run.context = pairs(context or (), "--context")
    wish = verb.Wish(
        source=Reference.parse(src),
        target=target,
        policy=material.policy_file(run, _policy(policy), enforce=True),
        signer=material.signer(run, key, password_file, command="promote"),
        name=material.judged_as(name),
        version=version,
        validity=duration(validity) if validity is not None else verb.VALIDITY,
        renew=renew,
        rollback=reason,
        wanted=Wanted(
            previous=previous or "",
            soak=duration(soak) if soak is not None else None,
            remaining=duration(min_remaining) if min_remaining is not None else None,
        ),
        context=run.context,
    )

    def report(gates: "Gates") -> None:
        run.judged(gates.verdict)
        run.partial |= {"dryRun": dry_run, "gates": _gates(gates)}
        run.explain = lambda _failure: Answer(
            text="\n".join(_table(gates)), signers=verdicts.signers(gates.verdict)
        )

    done = verb.promote(wish, access=run.access, now=run.now, dry_run=dry_run, meter=run.meter, report=report)
    said = verdicts.answered(done.gates.verdict)
    text = "\n".join(_would(done)) if dry_run else str(done.target)
    return Answer(
        text=text, reference=str(done.target), digest=str(done.digest), **said, more={"promotion": _promotion(done)}
    )


@command(
    app,
    "approve",
    event="approve",
    examples="""
    ocimodel approve registry.example/staging/fraud@sha256:… --key alice.key --comment "bias report read"
    """,
)
def approve(
    run: Run,
    ref: options.Ref,
    key: options.SigningKey = None,
    password_file: options.PasswordFile = None,
    comment: Comment = "",
    expires: options.Expires = None,
) -> Answer:
    """Attach a person's signed approval, which a policy can ask for.

    Prints REPO@DIGEST of the approval. It is not a signature that pull or verify would accept.
    """
    from ocimodel.verbs.approve import approve

    reference = run.reference(ref)
    signer = material.signer(run, key, password_file, command="approve")
    ends = duration(expires) if expires is not None else None
    return attached(approve(reference, signer, access=run.access, comment=comment, expires=ends, now=run.now))


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
