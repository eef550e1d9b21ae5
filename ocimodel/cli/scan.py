"""``ocimodel scan``."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocimodel.cli import material, options, sharing, verdicts
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.text import plural, printable
from ocimodel.cli.values import pairs
from ocimodel.errors import SEVERITY, OcimodelError, Reason, UsageError

if TYPE_CHECKING:
    from ocimodel.audit.event import Outcome
    from ocimodel.keys.public import PublicKey
    from ocimodel.trust.policy import TrustPolicy
    from ocimodel.verbs.scan import Scanned

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
Failing = Annotated[bool, options.option("--failing", help="List only what does not pass; all are counted.")]
Jobs = Annotated[
    int | None, options.option("--jobs", metavar="N", help="Judge N artifacts at a time (4), at most 64.")
]


@command(
    app,
    "scan",
    event="scan.run",
    examples="""
    ocimodel scan registry.example/ml/bert registry.example/ml/fraud --policy prod.json
    ocimodel scan 'registry.example/ml/*' --policy prod.json --failing
    ocimodel scan registry.example --policy prod.json --signed-by stolen.pub --json
    ocimodel scan --from-file models.txt --policy prod.json --shard 0/4
    """,
)
def scan(
    run: Run,
    places: Places = None,
    from_file: FromFile = None,
    key: options.VerifyKeys = None,
    policy: options.PolicyFile = None,
    signed_by: SignedBy = None,
    failing: Failing = False,
    context: options.Context = None,
    enforce: options.Enforce = False,
    shard: sharing.ShardOption = None,
    shards: sharing.Shards = None,
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
    named = [verb.Place.parse(place) for place in places or ()]
    if from_file is not None:
        named += [verb.Place.parse(words[0]) for words in sharing.lines(from_file, most=1, wanted="REPO")]
    if not named:
        raise UsageError("there is nothing to scan", hint="Name repositories, or --from-file FILE that does.")
    run.requested = " ".join(places or ()) or from_file
    question = verb.Question(
        policy=trust,
        context=run.context,
        signed_by=tuple(_key(text, trust) for text in signed_by or ()),
        shard=sharing.share(run, shard, shards),
        workers=_jobs(jobs),
    )
    found = _Found(run, question, failing=failing)
    for scanned in verb.scan(named, question, access=run.access, now=run.now):
        found.add(scanned)
    return found.answer()


def _jobs(given: int | None) -> int:
    from ocimodel.verbs.scan import WORKERS

    if given is not None and not 1 <= given <= _MOST_JOBS:
        raise UsageError(f"--jobs {given} is not between 1 and {_MOST_JOBS}")
    return given or WORKERS


def _key(text: str, policy: "TrustPolicy") -> "PublicKey | str":
    if _KEYID.fullmatch(text):
        from ocimodel.verbs.scan import known_key

        return known_key(policy, text)
    from ocimodel.keys.specs import load_public

    return load_public(text)


class _Found:
    """Told one after the other; kept only for a JSON document."""

    def __init__(self, run: Run, question: Any, *, failing: bool) -> None:
        self._run = run
        self._question = question
        self._failing = failing
        self._rows: list[dict[str, Any]] = []
        self._codes: Counter[int] = Counter()
        self._would: Counter[int] = Counter()
        self._touched: Counter[str] = Counter()
        self._worst: OcimodelError | None = None
        self._worst_of = ""
        self._softest: Reason | None = None
        run.explain = lambda _failure: self._told()

    def add(self, scanned: "Scanned") -> None:
        _leave_event(self._run, scanned)
        if self._question.signed_by and not scanned.by and scanned.verdict is not None:
            self._codes[-1] += 1
            return
        self._codes[scanned.exit_code] += 1
        self._would[scanned.would_exit] += 1
        self._touched.update(f"{keyid} {how}" for keyid, how in scanned.by.items())
        self._keep_worst(scanned)
        row = _row(scanned)
        if self._failing and row["outcome"] == "pass":
            return
        if self._run.settings.json:
            self._rows.append(row)
        else:
            self._run.console.answer(_line(row))

    def _keep_worst(self, scanned: "Scanned") -> None:
        error = scanned.error
        if scanned.verdict is not None and scanned.verdict.outcome == "fail":
            try:
                scanned.verdict.raise_if_refused()
            except OcimodelError as refusal:
                error = refusal
        elif scanned.verdict is not None and scanned.verdict.outcome == "warn":
            reason = scanned.verdict.reasons[0]
            self._softest = self._softest or reason
        if error is not None and (self._worst is None or _rank(error.exit_code) < _rank(self._worst.exit_code)):
            self._worst, self._worst_of = error, str(scanned.reference)

    def answer(self) -> Answer:
        """Raises the most serious error, where there is one."""
        if self._worst is None:
            return self._told()
        worst = self._worst
        bad = sum(count for code, count in self._codes.items() if code > 0)
        worst.message = f"{bad} of {sum(self._would.values())} did not pass; {self._worst_of}: {worst.message}"
        worst.verdict = None  # this run decided about many
        raise worst

    def _told(self) -> Answer:
        would = min(self._would, key=_rank, default=0)
        soft = self._softest
        return Answer(
            text="" if self._run.settings.json else "\n".join(self._summary()),
            outcome="warn" if soft is not None else "pass",
            would_exit=would,
            klass=soft.klass if soft is not None else "none",
            reasons=(soft,) if soft is not None else (),
            more={
                "artifacts": self._rows,
                "counts": {_word(code): count for code, count in self._counted()},
                "wouldCount": {_word(code): self._would[code] for code in sorted(self._would, key=_rank)},
                "others": self._codes[-1],
                "signedBy": self._signed(),
                "shard": str(self._question.shard),
            },
        )

    def _counted(self) -> list[tuple[int, int]]:
        return [(code, self._codes[code]) for code in sorted(self._codes, key=_rank) if code >= 0]

    def _signed(self) -> dict[str, dict[str, int]]:
        from ocimodel.verbs.scan import keyid_of

        return {
            keyid_of(key): {
                how: self._touched[f"{keyid_of(key)} {how}"] for how in ("verified", "claimed", "unknown")
            }
            for key in self._question.signed_by
        }

    def _summary(self) -> Iterator[str]:
        total = sum(self._would.values())
        counts = ", ".join(f"{count} {_named(code)}" for code, count in self._counted())
        share = "" if self._question.shard.count == 1 else f", share {self._question.shard}"
        yield f"{plural(total, 'artifact')}{share}: {counts or 'nothing found'}"
        soft = sum(count for code, count in self._would.items() if code) - sum(
            count for code, count in self._codes.items() if code > 0
        )
        if soft:
            yield f"{soft} more would be refused if everything were enforced"
        for keyid, by in self._signed().items():
            told = ", ".join(f"{count} {how}" for how, count in by.items() if count) or "nothing"
            yield f"signed by {keyid}: {told}"


def _rank(code: int) -> int:
    """Refusals by their order, then what could not be judged, then what passed."""
    if code in SEVERITY:
        return SEVERITY.index(code)
    return len(SEVERITY) + (100 - code if code else 1000)


def _named(code: int) -> str:
    return "passed" if code == 0 else f"with {code}"


def _word(code: int) -> str:
    return "pass" if code == 0 else str(code)


def _row(scanned: "Scanned") -> dict[str, Any]:
    verdict, error = scanned.verdict, scanned.error
    outcome: Outcome
    reason: Reason | None
    if verdict is not None:
        outcome, reason = verdict.outcome, next(iter(verdict.reasons), None)
    else:
        outcome, reason = _failed(error), error.reasons[0] if error is not None else None
    return {
        "reference": str(scanned.reference),
        "digest": str(scanned.reference.digest) if scanned.reference.digest else None,
        "outcome": outcome,
        "exitCode": scanned.exit_code,
        "wouldExit": scanned.would_exit,
        "class": verdict.klass if verdict is not None else (error.klass if error is not None else "none"),
        "reason": reason.reason if reason is not None else None,
        "detail": reason.detail if reason is not None else None,
        "signers": verdicts.signers(verdict) if verdict is not None else [],
        "signedBy": dict(scanned.by),
    }


def _failed(error: OcimodelError | None) -> "Outcome":
    from ocimodel.errors import Refusal

    return "fail" if isinstance(error, Refusal) else "error"


def _line(row: Mapping[str, Any]) -> str:
    """Columns of known widths first, since nobody knows what is yet to come."""
    code = row["wouldExit"] or 0
    by = "".join(f"  {how} {keyid[:19]}…" for keyid, how in row["signedBy"].items())
    why = f"  {printable(row['detail'])}" if row["detail"] else ""
    return f"{row['outcome']:<5}  {code or '-':>3}  {printable(row['reference'])}{by}{why}"


def _leave_event(run: Run, scanned: "Scanned") -> None:
    """One decision, as `verify` leaves one."""
    from ocimodel import __version__
    from ocimodel.audit import log, surroundings
    from ocimodel.audit.event import Event

    verdict, row = scanned.verdict, _row(scanned)
    reasons: Sequence[Reason] = verdict.reasons if verdict is not None else ()
    if scanned.error is not None:
        reasons = scanned.error.reasons
    try:
        event = Event(
            verb="scan",
            id=os.urandom(16).hex(),
            host=surroundings.host(),
            time=datetime.now(UTC),
            outcome=row["outcome"],
            exit_code=scanned.exit_code,
            would_exit=scanned.would_exit,
            klass=row["class"] or "unexpected",
            reasons=reasons,
            actor=surroundings.actor(),
            tool=__version__,
            requested=str(scanned.reference),
            name=verdict.name if verdict is not None else scanned.reference.name,
            digest=row["digest"],
            mode=verdict.ruling.mode if verdict is not None else run.mode,
            environment=(verdict.ruling.environment if verdict is not None else "") or surroundings.environment(),
            signers=row["signers"],
            policy=run.policy,
            context=run.context,
            durations={"totalMs": scanned.milliseconds},
        )
        log.append(event.line(), log.destination())
    except OcimodelError as error:
        run.warn_once(f"no audit event: {error.message}")
