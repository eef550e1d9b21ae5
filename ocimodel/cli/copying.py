"""What the commands that copy have in common: who must have signed, which referrers come along, what is told."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from ocimodel.cli import material, options, verdicts
from ocimodel.cli.run import Run
from ocimodel.cli.values import pairs
from ocimodel.errors import Reason, UsageError

if TYPE_CHECKING:
    from ocimodel.transfer.closure import Wanted
    from ocimodel.trust.verdict import Verdict
    from ocimodel.verbs.copy import Copied, Judge

Referrers = Annotated[
    list[str] | None,
    options.option(
        "--referrers",
        metavar="TYPE",
        help="Of what refers to it, only artifact or predicate types like this glob (repeatable).",
    ),
]
NoReferrers = Annotated[
    bool, options.option("--no-referrers", help="Leave signatures, attestations and all other referrers behind.")
]
DryRun = Annotated[bool, options.option("--dry-run", help="Say what would be done, and write nothing.")]

_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(?:([KMGT])(i)?)?B?")


def judge(
    run: Run,
    key: Sequence[str],
    policy: str | None,
    name: str | None,
    context: Sequence[str],
    *,
    enforce: bool,
    verify: bool,
) -> "Judge | None":
    """Who must have signed, as for a pull; None: nobody, which is fine for a copy."""
    from ocimodel.verbs.copy import Judge

    trust = material.trust(run, key, policy, enforce=enforce)
    if trust is None:
        for given, option in ((verify, "--verify"), (name, "--as"), (context, "--context"), (enforce, "--enforce")):
            if given:
                raise UsageError(f"{option} needs a key or a policy", hint="Give --key PUB or --policy FILE.")
        return None
    run.context = pairs(context, "--context")
    return Judge(policy=trust, name=material.judged_as(name), context=run.context)


def filtered(types: Sequence[str], *, none: bool) -> "Wanted":
    """Which referrers come along."""
    from ocimodel.transfer.closure import ALL, NONE, Wanted

    if types and none:
        raise UsageError("--referrers and --no-referrers exclude each other", hint="Give one of them.")
    if types:
        return Wanted(tuple(types))
    return NONE if none else ALL


def judgement(run: Run, found: "Sequence[Verdict]", left_out: Sequence[str]) -> dict[str, Any]:
    """What an answer says of verdicts that let things pass, and of what was left out. A single one is audited."""
    reasons = tuple(Reason("availability", "left-out", text) for text in left_out)
    said: dict[str, Any] = {
        "outcome": "warn" if reasons else "pass",
        "klass": "availability" if reasons else "none",
        "reasons": reasons,
        "warnings": list(left_out),
    }
    for verdict in found:
        one = verdicts.answered(verdict)
        if len(found) == 1:
            run.judged(verdict)
            said["signers"] = one["signers"]
        if one["outcome"] == "warn":
            said |= {key: one[key] for key in ("outcome", "would_exit", "klass")}
        said["reasons"] = (*one["reasons"], *said["reasons"])
        said["warnings"] = [*one["warnings"], *said["warnings"]]
    return said


def copied_facts(copied: "Copied") -> dict[str, Any]:
    """One artifact in a JSON document."""
    plan, done = copied.plan, copied.done
    facts: dict[str, Any] = {
        "source": str(copied.source),
        "target": str(copied.target),
        "digest": str(copied.digest),
        "verified": copied.verdict is not None and copied.verdict.outcome == "pass",
        "manifests": len(plan.closure.pieces),
        "referrers": len(plan.closure.referrers),
        "legacyTags": [item.tag for item in plan.closure.legacy],
        "blobs": len(plan.missing) + len(plan.present),
        "presentBytes": plan.present_bytes,
        "missingBytes": plan.missing_bytes,
        "warnings": list(copied.warnings),
    }
    if done is not None:
        facts |= {
            "sentBlobs": done.sent,
            "sentBytes": done.sent_bytes,
            "mountedBlobs": done.mounted,
            "mountedBytes": done.mounted_bytes,
            "manifestsWritten": done.manifests,
            "unchanged": copied.unchanged,
        }
    return facts


def bytes_of(text: str, option: str) -> int:
    """A number of bytes: a number and a unit.

    >>> bytes_of("4GB", "--split"), bytes_of("650MiB", "--split")
    (4000000000, 681574400)
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"{option} {text[:40]!r} is no size", hint="Write 650MiB or 4GB.")
    power = "KMGT".index(match[2]) + 1 if match[2] else 0
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)
