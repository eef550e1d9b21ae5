"""``ocimodel policy init | check | explain | simulate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocimodel.cli import material, options, policy_push, verdicts
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.text import plural, printable, table
from ocimodel.cli.values import one_of, pairs
from ocimodel.errors import UsageError

if TYPE_CHECKING:
    from ocimodel.trust.policy import TrustPolicy
    from ocimodel.verbs.policy import Simulated

app = typer.Typer(help="Write, check and try out trust policies.")

MODES = ("enforce", "warn", "audit")

File = Annotated[Path, options.argument("FILE", "A trust policy: JSON, or YAML where its name ends so.")]
Keys = Annotated[
    list[str] | None,
    options.option("--key", metavar="PUB", help="A key that has to sign (repeatable)."),
]
Scopes = Annotated[
    list[str] | None,
    options.option("--scope", metavar="GLOB", help="Names it is for: HOST/REPO with * or ** (repeatable)."),
]
Threshold = Annotated[int, options.option("--threshold", metavar="N", help="How many of the keys have to sign.")]
Attestations = Annotated[
    list[str] | None,
    options.option("--require-attestation", metavar="TYPE", help="Ask for this kind of statement (repeatable)."),
]
Evaluators = Annotated[
    list[str] | None,
    options.option("--evaluator", metavar="PUB", help="Whose statements are asked for; else --key's (repeatable)."),
]
Promoters = Annotated[
    list[str] | None,
    options.option("--promoter", metavar="PUB", help="Ask for a promotion by this key (repeatable)."),
]
Environment = Annotated[str, options.option("--environment", metavar="NAME", help="What the scopes are: prod, …")]
Mode = Annotated[str | None, options.option("--mode", metavar="MODE", help="enforce (the default), warn or audit.")]
Refs = Annotated[list[str] | None, options.argument("[REF]…", "What to judge.")]
FromAudit = Annotated[
    Path | None,
    options.option("--from-audit", metavar="LOG", help="Judge all that this audit log has verified or pulled."),
]
Against = Annotated[
    Path | None,
    options.option(
        "--against",
        metavar="FILE",
        variable=None,
        help=f"The policy as it is. {options.READ_BY_COMMAND}{options.POLICY}]",
    ),
]


@command(
    app,
    "init",
    called="policy init",
    network=False,
    examples="""
    ocimodel policy init --key ci.pub --scope 'registry.example/ml-prod/**' --environment prod > prod.json
    ocimodel policy init --key a.pub --key b.pub --threshold 2 --mode warn > policy.json
    ocimodel policy init --key ci.pub --evaluator eva.pub --require-attestation test-result > policy.json
    """,
)
def init(
    run: Run,
    key: Keys = None,
    scope: Scopes = None,
    threshold: Threshold = 1,
    require_attestation: Attestations = None,
    evaluator: Evaluators = None,
    promoter: Promoters = None,
    environment: Environment = "",
    mode: Mode = None,
) -> Answer:
    """Print a first policy, to be kept and changed by hand.

    It holds the public keys themselves. Without --key it accepts nothing; without --scope it is for every name.
    """
    from ocimodel import jsonio
    from ocimodel.keys.specs import load_public
    from ocimodel.trust.document import parse
    from ocimodel.trust.drafting import Draft, draft

    document = draft(
        Draft(
            keys=[load_public(spec) for spec in key or ()],
            promoters=[load_public(spec) for spec in promoter or ()],
            scopes=scope or (),
            threshold=threshold,
            evaluators=[load_public(spec) for spec in evaluator or ()],
            attestations=require_attestation or (),
            environment=environment,
            mode=one_of(MODES, mode, "--mode"),  # type: ignore[arg-type]
            issued=run.now,
        )
    )
    text = jsonio.pretty(document)
    policy = parse(text.encode(), _reads_nothing, what="the policy")
    return Answer(text=text, warnings=_remarks(policy, run), more={"policy": document})


@command(
    app,
    "check",
    called="policy check",
    network=False,
    examples="""
    ocimodel policy check prod.json
    ocimodel policy check prod.yaml --json
    """,
)
def check(run: Run, file: File) -> Answer:
    """Check a policy, and show what it says.

    Exits with 3 if it is not valid: the message names the field.
    """
    policy = material.policy_file(run, file)
    scopes = [
        (
            str(rules.match),
            rules.environment or "-",
            rules.mode,
            f"{len(rules.demand.places)} of {len(rules.demand.entries)}" if rules.demand.entries else "nobody",
            str(len(rules.gates)),
        )
        for rules in policy.scopes
    ]
    ring = [
        (entry.id, ",".join(sorted(entry.roles)) or "-", entry.standing.status, min(entry.keyids, default="-"))
        for entry in policy.ring.entries
    ]
    lines = [f"valid  {file}  {policy.digest}"]
    lines += ["", *table(("scope", "environment", "mode", "signers", "attestations"), scopes)] if scopes else []
    lines += ["", *table(("signer", "roles", "status", "key"), ring)] if ring else []
    dating = [(witness.id,) for witness in policy.ring.witnesses]
    lines += ["", *table(("time-stamping authority",), dating)] if dating else []
    return Answer(text="\n".join(lines), warnings=_remarks(policy, run), more=_summary(policy))


@command(
    app,
    "explain",
    called="policy explain",
    examples="""
    ocimodel policy explain prod.json registry.example/ml/bert:1.4
    ocimodel policy explain prod.json oci:./models:bert --as registry.example/ml/bert
    """,
)
def explain(
    run: Run,
    file: File,
    ref: options.Ref,
    name: options.As = None,
    context: options.Context = None,
    enforce: options.Enforce = False,
) -> Answer:
    """Say for each check what was looked at, what was found, and what would make it pass.

    Exits with 0 whatever the verdict is; it is the last line, and wouldExit.
    """
    reference = run.reference(ref)
    policy = material.policy_file(run, file, enforce=enforce)
    run.context = pairs(context or (), "--context")
    from ocimodel.verbs.policy import explain_artifact

    found = explain_artifact(
        reference,
        policy,
        access=run.access,
        now=run.now,
        context=run.context,
        name=material.judged_as(name),
    )
    lines = []
    for item in found.checks:
        lines += [
            f"{item.outcome:<4}  {item.check}",
            f"      looked at  {printable(item.looked)}",
            f"      found      {printable(item.found)}",
        ]
        lines += [f"      to pass    {printable(item.remedy)}"] if item.remedy else []
    verdict = found.verdict
    told = verdicts.answered(verdict)
    return Answer(
        text="\n".join([*lines, verdicts.verdict_line(verdict, str(found.reference))]),
        reference=str(found.reference),
        digest=str(found.digest),
        **{**told, "warnings": ()},
        more={"checks": [item.to_dict() for item in found.checks], "scope": verdict.ruling.scope or None},
    )


@command(
    app,
    "simulate",
    called="policy simulate",
    examples="""
    ocimodel policy simulate next.json registry.example/ml/bert:1.4 --against prod.json
    ocimodel policy simulate next.json --from-audit audit.jsonl
    """,
)
def simulate(
    run: Run,
    file: File,
    refs: Refs = None,
    from_audit: FromAudit = None,
    against: Against = None,
    context: options.Context = None,
) -> Answer:
    """Show what a policy would change: each artifact under it, and under the one that holds now.

    Judges as if both were enforced. Exits with 0; wouldExit is the most serious refusal that would be new.
    """
    from ocimodel.errors import SEVERITY
    from ocimodel.oci.reference import Reference
    from ocimodel.verbs import policy as verbs

    policy = material.policy_file(run, file)
    current = material.current_policy(run, against)
    run.context = pairs(context or (), "--context")
    given = [Reference.parse(ref) for ref in refs or ()]
    given += verbs.judged_before(from_audit) if from_audit is not None else ()
    if not given:
        raise UsageError("there is nothing to judge", hint="Name REFs, or --from-audit LOG that has some.")
    found = verbs.simulate(given, policy, current, access=run.access, now=run.now, context=run.context)
    rows = [_row(item) for item in found]
    refused = [item for item in found if item.change == "refused"]
    codes = {item.after.would_exit for item in refused if item.after is not None}
    failed = sum(item.change == "error" for item in found)
    summary = (
        f"{plural(len(found), 'artifact')}: {len(refused)} would be refused anew, {failed} could not be judged"
    )
    names = ("reference", "now", "then", "change", "why")
    return Answer(
        text="\n".join([*table(names, [tuple(row[key] or "-" for key in names) for row in rows]), "", summary]),
        outcome="warn" if codes or failed else "pass",
        would_exit=next((code for code in SEVERITY if code in codes), 0),
        klass=next((item.after.klass for item in refused if item.after), "availability" if failed else "none"),
        reasons=tuple(item.after.reasons[0] for item in refused if item.after is not None),
        more={"artifacts": rows, "refused": len(refused), "failed": failed},
    )


def _row(item: "Simulated") -> dict[str, str | None]:
    why = item.error.message if item.error is not None else ""
    if item.after is not None and item.after.reasons:
        why = item.after.reasons[0].detail
    return {
        "reference": item.reference,
        "now": _word(item.before.would_exit) if item.before is not None else None,
        "then": _word(item.after.would_exit) if item.after is not None else None,
        "change": item.change,
        "why": why or None,
    }


def _word(code: int) -> str:
    return "pass" if code == 0 else str(code)


def _summary(policy: "TrustPolicy") -> dict[str, Any]:
    return {
        "policy": {"id": policy.id or None, "serial": policy.serial, "digest": policy.digest},
        "scopes": [
            {
                "match": str(rules.match),
                "environment": rules.environment or None,
                "mode": rules.mode,
                "signatures": len(rules.demand.places),
                "signers": sorted(rules.demand.entries),
                "attestations": [gate.title for gate in rules.gates],
            }
            for rules in policy.scopes
        ],
        "ring": [
            {
                "name": entry.id,
                "roles": sorted(entry.roles),
                "status": entry.standing.status,
                "keyids": sorted(entry.keyids),
            }
            for entry in policy.ring.entries
        ],
        "timestampAuthorities": [witness.id for witness in policy.ring.witnesses],
    }


def _remarks(policy: "TrustPolicy", run: Run) -> list[str]:
    """What is valid, and yet worth a word."""
    from ocimodel.trust.remarks import remarks

    return [printable(remark) for remark in remarks(policy, run.now)]


def _reads_nothing(name: str) -> bytes:
    raise UsageError(f"a new policy names no files, such as {name}")


app.add_typer(policy_push.app)
