"""What comes of a scan: told a line at a time, counted, written down, and in the end the most serious code of all.

Each artifact is a row, the same in the JSON document, in the report and in what a report's scan goes on from. Rows
are kept only for a JSON document.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ocimodel.cli import verdicts
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.text import plural, printable
from ocimodel.errors import SEVERITY, OcimodelError, Reason, Refusal

if TYPE_CHECKING:
    from ocimodel.audit.event import Outcome
    from ocimodel.cli.scanreport import Report
    from ocimodel.oci.reference import Reference
    from ocimodel.verbs.scan import Question, Scanned

Row = dict[str, Any]


class Results:
    """``report`` is where rows are written, and where those of an earlier run stand."""

    def __init__(self, run: Run, question: Question, report: Report | None, *, failing: bool) -> None:
        self._run = run
        self._question = question
        self._report = report
        self._failing = failing
        self._rows: list[Row] = []
        self._codes: Counter[int] = Counter()
        self._would: Counter[int] = Counter()
        self._signed: Counter[tuple[str, str]] = Counter()
        self._others = 0
        self._worst: tuple[Row, OcimodelError | None] | None = None
        self._soft: Reason | None = None
        self._earlier: set[str] = set()
        run.explain = lambda _failure: self._told()
        if report is not None and report.earlier:
            run.note(f"note: goes on with the scan of {report.began}, which judged {len(report.earlier)}")
            for row in report.earlier:
                self._earlier |= {row["reference"], row["reference"].rpartition("@")[0]}
                self._count(row, None)

    def has(self, reference: Reference) -> bool:
        """Whether the scan that goes on has judged this already."""
        return str(reference) in self._earlier

    def add(self, scanned: Scanned) -> None:
        """One more. Raises `StorageError` where it cannot be written down."""
        row = _row(scanned)
        _leave_event(self._run, scanned, row)
        if self._report is not None:
            self._report.add(row)
        if self._count(row, scanned.error) and not self._run.settings.json:
            self._run.console.answer(_line(row))

    def answer(self) -> Answer:
        """All in all. Raises the most serious error, where there is one."""
        if self._report is not None:
            self._report.complete(self._counts(self._codes))
        if self._worst is None:
            return self._told()
        row, error = self._worst
        error = error or _refusal(row)
        bad = sum(count for code, count in self._codes.items() if code)
        error.message = f"{bad} of {self._codes.total()} did not pass; {row['reference']}: {error.message}"
        error.verdict = None  # this run decided about many
        raise error

    def _count(self, row: Row, error: OcimodelError | None) -> bool:
        """Whether it is listed."""
        if self._question.signed_by and not row["signedBy"] and row["outcome"] != "error":
            self._others += 1
            return False
        code = row["exitCode"]
        self._codes[code] += 1
        self._would[row["wouldExit"]] += 1
        self._signed.update(row["signedBy"].items())
        if code and (self._worst is None or _rank(code) < _rank(self._worst[0]["exitCode"])):
            self._worst = row, error
        if row["outcome"] == "warn" and self._soft is None:
            self._soft = Reason(row["class"], row["reason"], f"{row['reference']}: {row['detail']}")
        listed = not self._failing or row["outcome"] != "pass"
        if listed and self._run.settings.json:
            self._rows.append(row)
        return listed

    def _told(self) -> Answer:
        soft = self._soft
        return Answer(
            text="" if self._run.settings.json else "\n".join(self._summary()),
            outcome="warn" if soft is not None else "pass",
            would_exit=min(self._would, key=_rank, default=0),
            klass=soft.klass if soft is not None else "none",
            reasons=(soft,) if soft is not None else (),
            more={
                "artifacts": self._rows,
                "counts": self._counts(self._codes),
                "wouldCount": self._counts(self._would),
                "others": self._others,
                "signedBy": self._by(),
                "shard": str(self._question.shard),
            },
        )

    @staticmethod
    def _counts(codes: Counter[int]) -> dict[str, int]:
        return {_word(code): codes[code] for code in sorted(codes, key=_rank)}

    def _by(self) -> dict[str, dict[str, int]]:
        from ocimodel.verbs.scan_signers import keyid_of

        ways = ("verified", "claimed", "unknown")
        keys = [keyid_of(key) for key in self._question.signed_by]
        return {keyid: {how: self._signed[keyid, how] for how in ways} for keyid in keys}

    def _summary(self) -> Iterator[str]:
        counts = ", ".join(
            f"{self._codes[code]} {f'with {code}' if code else 'passed'}" for code in sorted(self._codes, key=_rank)
        )
        share = "" if self._question.shard.count == 1 else f", share {self._question.shard}"
        yield f"{plural(self._codes.total(), 'artifact')}{share}: {counts or 'nothing found'}"
        soft = self._codes[0] - self._would[0]
        if soft:
            yield f"{soft} of those that passed would be refused if everything were enforced"
        for keyid, by in self._by().items():
            told = ", ".join(f"{count} {how}" for how, count in by.items() if count) or "nothing"
            yield f"signed by {keyid}: {told}"


def _rank(code: int) -> int:
    """Refusals by their order, then what could not be judged, then what passed."""
    if code in SEVERITY:
        return SEVERITY.index(code)
    return len(SEVERITY) + (200 - code if code else 1000)


def _word(code: int) -> str:
    return "pass" if code == 0 else str(code)


def _refusal(row: Row) -> OcimodelError:
    """The refusal that a row tells of."""
    kinds = {kind.exit_code: kind for kind in Refusal.__subclasses__()}
    error = kinds.get(row["exitCode"], Refusal)(row["detail"] or "refused")
    error.reason = row["reason"] or error.reason
    error.reasons = (Reason(row["class"], error.reason, error.message),)
    return error


def _row(scanned: Scanned) -> Row:
    verdict, error = scanned.verdict, scanned.error
    outcome: Outcome
    if verdict is not None:
        outcome, reasons, klass = verdict.outcome, verdict.reasons, verdict.klass
    else:
        outcome = "fail" if isinstance(error, Refusal) else "error"
        reasons, klass = (error.reasons, error.klass) if error is not None else ((), "")
    reason = next(iter(reasons), None)
    return {
        "reference": str(scanned.reference),
        "digest": str(scanned.reference.digest) if scanned.reference.digest else None,
        "outcome": outcome,
        "exitCode": scanned.exit_code,
        "wouldExit": scanned.would_exit,
        "class": klass or "unexpected",
        "reason": reason.reason if reason is not None else None,
        "detail": reason.detail if reason is not None else None,
        "signers": verdicts.signers(verdict) if verdict is not None else [],
        "signedBy": dict(scanned.by),
    }


def _line(row: Row) -> str:
    """Columns of known widths first, since nobody knows what is yet to come."""
    by = "".join(f"  {how} {keyid[:19]}…" for keyid, how in row["signedBy"].items())
    why = f"  {printable(row['detail'])}" if row["detail"] else ""
    return f"{row['outcome']:<5}  {row['wouldExit'] or '-':>3}  {printable(row['reference'])}{by}{why}"


def _leave_event(run: Run, scanned: Scanned, row: Mapping[str, Any]) -> None:
    """One decision, as `verify` leaves one."""
    from ocimodel import __version__
    from ocimodel.audit import log, surroundings
    from ocimodel.audit.event import Event

    verdict = scanned.verdict
    reasons: Sequence[Reason] = verdict.reasons if verdict is not None else ()
    if scanned.error is not None:
        reasons = scanned.error.reasons
    event = Event(
        verb="scan",
        id=os.urandom(16).hex(),
        host=surroundings.host(),
        time=datetime.now(UTC),
        outcome=row["outcome"],
        exit_code=scanned.exit_code,
        would_exit=scanned.would_exit,
        klass=row["class"],
        reasons=reasons,
        actor=surroundings.actor(),
        tool=__version__,
        requested=row["reference"],
        name=verdict.name if verdict is not None else scanned.reference.name,
        digest=row["digest"],
        mode=verdict.ruling.mode if verdict is not None else run.mode,
        environment=(verdict.ruling.environment if verdict is not None else "") or surroundings.environment(),
        signers=row["signers"],
        policy=run.policy,
        context=run.context,
        durations={"totalMs": scanned.milliseconds},
    )
    try:
        log.append(event.line(), log.destination())
    except OcimodelError as error:
        run.warn_once(f"no audit event: {error.message}")
