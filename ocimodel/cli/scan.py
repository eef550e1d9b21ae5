"""``ocimodel scan``."""

import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocimodel.cli import material, options, sharing
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.scanreport import Report
from ocimodel.cli.scanresults import Results
from ocimodel.cli.values import pairs
from ocimodel.errors import UsageError

if TYPE_CHECKING:
    from ocimodel.keys.public import PublicKey
    from ocimodel.trust.policy import TrustPolicy
    from ocimodel.verbs.scan import Question

app = typer.Typer()

_KEYID = re.compile(r"sha256:[0-9a-f]{64}")
_MOST_JOBS = 64

Places = Annotated[
    list[str] | None,
    options.argument(
        "REPO…", "Repositories or references; HOST or HOST/GLOB: all whose names match, as the registry lists them."
    ),
]
FromFile = Annotated[
    str | None,
    options.option("--from-file", metavar="FILE", help="Scan also what each line names; - is stdin."),
]
SignedBy = Annotated[
    list[str] | None,
    options.option(
        "--signed-by",
        metavar="KEY",
        help="Only what this key has signed: PUB, or its id (repeatable). What a stolen key touches.",
    ),
]
Untagged = Annotated[
    bool,
    options.option(
        "--untagged",
        help="Judge also what no tag names any more, as far as the store knows of it.",
    ),
]
Failing = Annotated[bool, options.option("--failing", help="List only what does not pass; all are counted.")]
Jobs = Annotated[
    int | None, options.option("--jobs", metavar="N", help="Judge N artifacts at a time (4), at most 64.")
]

ReportFile = Annotated[
    Path | None,
    options.option(
        "--report", metavar="FILE", help="Write JSON lines as it goes on; a scan that was ended goes on from there."
    ),
]


@command(
    app,
    "scan",
    event="scan.run",
    examples="""
    ocimodel scan registry.example/ml/bert registry.example/ml/fraud --policy prod.json
    ocimodel scan 'registry.example/ml/*' --policy prod.json --failing
    ocimodel scan registry.example --policy prod.json --signed-by stolen.pub --json
    ocimodel scan --from-file models.txt --policy prod.json --shard 0/4 --report share-0.jsonl
    """,
)
def scan(
    run: Run,
    places: Places = None,
    from_file: FromFile = None,
    key: options.VerifyKeys = None,
    policy: options.PolicyFile = None,
    signed_by: SignedBy = None,
    untagged: Untagged = False,
    failing: Failing = False,
    context: options.Context = None,
    enforce: options.Enforce = False,
    shard: sharing.ShardOption = None,
    shards: sharing.Shards = None,
    report: ReportFile = None,
    jobs: Jobs = None,
) -> Answer:
    """Judge every tag of repositories, as verify would, and count what comes of it.

    Prints one line an artifact as soon as it is judged, then the counts. Exits with the most serious code of all,
    or with 0. Leaves one audit event a verdict. What is named with a tag or a digest is judged alone.
    """
    from ocimodel.verbs import scan as verb

    trust = material.trust(run, key or (), policy, enforce=enforce)
    if trust is None:
        raise UsageError("scan needs a key or a policy", hint="Give --policy FILE or --key PUB.")
    run.context = pairs(context or (), "--context")
    texts = [*(places or ())]
    if from_file is not None:
        texts += [words[0] for words in sharing.lines(from_file, most=1, wanted="REPO")]
    named = [verb.Place.parse(text) for text in texts]
    if not named:
        raise UsageError("there is nothing to scan", hint="Name repositories, or --from-file FILE that does.")
    run.requested = " ".join(places or ()) or from_file
    question = verb.Question(
        policy=trust,
        context=run.context,
        signed_by=tuple(_key(text, trust) for text in signed_by or ()),
        untagged=untagged,
        shard=sharing.share(run, shard, shards),
        workers=_jobs(jobs),
    )
    with ExitStack() as stack:
        kept = None
        if report is not None:
            kept = stack.enter_context(Report(report, _said(question, texts, enforce=enforce), run.now))
        results = Results(run, question, kept, failing=failing)
        for scanned in verb.scan(named, question, access=run.access, now=run.now, skip=results.has):
            results.add(scanned)
        return results.answer()


def _said(question: "Question", places: list[str], *, enforce: bool) -> dict[str, Any]:
    """What a report must agree on, so that a scan goes on from it."""
    from ocimodel.verbs.scan_signers import keyid_of

    policy = question.policy
    return {
        "places": sorted(places),
        "policy": policy.digest or sorted(policy.keyids),
        "enforce": enforce,
        "context": dict(question.context),
        "signedBy": sorted(keyid_of(key) for key in question.signed_by),
        "untagged": question.untagged,
        "shard": str(question.shard),
    }


def _jobs(given: int | None) -> int:
    from ocimodel.verbs.scan import WORKERS

    if given is not None and not 1 <= given <= _MOST_JOBS:
        raise UsageError(f"--jobs {given} is not between 1 and {_MOST_JOBS}")
    return given or WORKERS


def _key(text: str, policy: "TrustPolicy") -> "PublicKey | str":
    if _KEYID.fullmatch(text):
        from ocimodel.verbs.scan_signers import known_key

        return known_key(policy, text)
    from ocimodel.keys.specs import load_public

    return load_public(text)
