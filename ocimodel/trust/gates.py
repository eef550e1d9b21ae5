"""Gates: the signed statements that a scope asks for beside signatures.

Guarantees: a gate is passed only by statements of its predicate type, by as many distinct signers of its own list
as it asks for, made about this very artifact, not expired, young enough, and with a predicate that satisfies its
JSON Schema. What passes a gate approves nothing, and a signature passes no gate.

A test result passes only if it says so, unless the gate has a schema of its own, which then decides.
A verification summary passes only if it says that the artifact passed, for the repository that is asked about, for
this environment, and for the tag that was asked for, as its channel or as one of its versions: the verdict of
staging is none about production, and that of one channel none about another. Where one did, and has only ended,
that is what is found (15), and no rollback.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from ocimodel.attest import summary
from ocimodel.attest.statement import Statement
from ocimodel.attest.testresult import outcome_of
from ocimodel.errors import FormatError
from ocimodel.oci import media
from ocimodel.trust.attestations import statements
from ocimodel.trust.claims import format_time, parse_time
from ocimodel.trust.counting import Demand, unfilled
from ocimodel.trust.evidence import Evidence
from ocimodel.trust.judge import Judged, Status, Terms
from ocimodel.trust.ring import Trusted
from ocimodel.trust.scope import Glob
from ocimodel.trust.verdict import Finding

TIMES: Final[Mapping[str, tuple[str, ...]]] = {
    media.SLSA_PROVENANCE: ("runDetails", "metadata", "finishedOn"),
    media.SLSA_SUMMARY: ("timeVerified",),
}
"""Where a predicate says when what it says was so, by its type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One attestation that is asked for.

    Attributes:
        name: what to call it.
        demand: whose statements count, and how many distinct signers it takes.
        schema: what the predicate must satisfy.
        max_age: how long ago it may have been made.
        time: the member of the predicate that says when; a log's time of the signature goes before it.
        resource: of a verification summary, the repositories that it may be for; None is the one asked about.
        environment: that the statement may be for, instead of the scope's.
    """

    predicate_type: str
    demand: Demand
    name: str = ""
    schema: Mapping[str, Any] | None = field(default=None, hash=False)
    max_age: timedelta | None = None
    time: tuple[str, ...] = ()
    resource: Glob | None = None
    environment: str = ""

    @property
    def title(self) -> str:
        return self.name or self.predicate_type


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """What became of one gate: the statements that pass it, and why others do not.

    ``ended``: summaries of which nothing is wrong but that, where too few pass.
    """

    gate: Gate
    passing: tuple[Judged, ...]
    failing: tuple[tuple[Judged, str], ...]
    finding: Finding | None
    ended: tuple[Judged, ...] = ()


def judge_gate(gate: Gate, evidence: Evidence, terms: Terms) -> Gated:
    """Whether the statements of ``evidence`` pass ``gate``."""
    asked = tuple(entry for entry in terms.ring.entries if entry.id in gate.demand.entries)
    own = tuple(
        item
        for item in evidence.candidates
        if item.signed is not None and item.signed.predicate_type == gate.predicate_type
    )
    judged = statements(replace(evidence, candidates=own), _terms(terms, asked, gate))
    passing: list[Judged] = []
    failing: list[tuple[Judged, str]] = []
    for item in judged:
        why = item.detail if item.status is not Status.GOOD else _problem(gate, item, terms, evidence)
        if why:
            failing.append((item, why))
        else:
            passing.append(item)
    finding: Finding | None = None
    ended: tuple[Judged, ...] = ()
    if unfilled(gate.demand, (vote for item in passing for vote in item.votes)):
        ended = tuple(item for item, _ in failing if _has_ended(gate, item, terms, evidence))
        finding = _expired(gate, ended, terms.now) if ended else _finding(gate, evidence, passing, failing)
    return Gated(gate=gate, passing=tuple(passing), failing=tuple(failing), finding=finding, ended=ended)


def _terms(terms: Terms, asked: tuple[Trusted, ...], gate: Gate) -> Terms:
    """As for signatures, but for what only signatures have to say."""
    given = dict(terms.deployment.given) | ({"environment": gate.environment} if gate.environment else {})
    if gate.predicate_type == media.SLSA_SUMMARY:
        given.pop("channel", None)  # of another repository it says nothing: see `_elsewhere`
    deployment = replace(terms.deployment, given=given, required={}, facts={})
    return replace(terms, entries=asked, deployment=deployment, needs_expiry=False, longest=None)


def _problem(gate: Gate, item: Judged, terms: Terms, evidence: Evidence) -> str:
    statement = item.candidate.statement
    if statement is None:
        return "carries no statement"
    if gate.predicate_type == media.SLSA_SUMMARY and (why := _elsewhere(gate, statement, item, terms, evidence)):
        return why
    if gate.predicate_type == media.TEST_RESULT and gate.schema is None:
        said = outcome_of(statement.predicate)
        if said != "PASSED":
            return f"says {said or 'nothing that is known'}"
    if gate.max_age is not None:
        time = _made(gate, statement, item)
        if time is None:
            return "does not say when it was made"
        if time - terms.now > terms.leeway:
            return f"says that it was made at {format_time(time)}, which is still to come"
        if terms.now - time > gate.max_age + terms.leeway:
            return f"was made at {format_time(time)}, which is too long ago"
    if gate.schema is not None:
        from ocimodel.trust.schemas import problem

        return problem(gate.schema, statement.predicate)
    return ""


def _made(gate: Gate, statement: Statement, item: Judged) -> datetime | None:
    """When the statement was made, as far as that can be told.

    A line's own time (a log's) goes first. Any other only says that it is not younger, and what is old can be
    stamped anew by anybody: the signer has to say a time as well, and the earlier one counts.
    """
    own = item.signer.opening.time if item.signer else None
    said = _time_in(statement, gate.time or TIMES.get(statement.predicate_type, ()))
    return own or (said and min(filter(None, (said, item.time))))


def _elsewhere(gate: Gate, statement: Statement, item: Judged, terms: Terms, evidence: Evidence) -> str:
    """Why a verification summary says nothing about what was asked for."""
    name, given = evidence.name, terms.deployment.given
    environment = gate.environment or given.get("environment", "")
    said = summary.read(statement.predicate)
    if said is None:
        return "does not say that it passed"
    repository = said.resource.removeprefix("oci://")
    here = gate.resource.matches(repository) if gate.resource else said.resource == summary.resource_uri(name)
    if not here:
        return f"was made for {said.resource[:256]}, not for {gate.resource or name}"
    if environment and item.claims.get(media.CLAIM_ENVIRONMENT) != environment:
        return f"was not made for the environment {environment!r}"
    channel = item.claims.get(media.CLAIM_CHANNEL, "")
    if not channel or said.resource != summary.resource_uri(name):
        return ""
    wanted = given.get("channel", "") or evidence.tag
    if not wanted or wanted == channel or ("channel" not in given and wanted in said.versions):
        return ""
    return f"was made for the channel {channel!r}, not for {wanted!r}"


def _time_in(statement: Statement, path: Iterable[str]) -> datetime | None:
    here: Any = statement.predicate
    for step in path:
        here = here.get(step) if isinstance(here, dict) else None
    try:
        return parse_time(here) if isinstance(here, str) else None
    except FormatError:
        return None


def _has_ended(gate: Gate, item: Judged, terms: Terms, evidence: Evidence) -> bool:
    """Whether it is a summary for this very place, of which nothing is wrong but that it has ended."""
    if gate.predicate_type != media.SLSA_SUMMARY or gate.resource is not None or gate.environment:
        return False
    statement = item.candidate.statement
    if item.status is not Status.EXPIRED or not item.signers or statement is None:
        return False
    return not _elsewhere(gate, statement, item, terms, evidence)


def _expired(gate: Gate, ended: Sequence[Judged], now: datetime) -> Finding:
    last = max((item.expires for item in ended if item.expires is not None and item.expires <= now), default=None)
    # Its own end, or that of its signer's key.
    why = f"was good until {format_time(last)}" if last is not None else f"does not count: {ended[0].detail}"
    detail = f"the attestation {gate.title} {why}; whoever promotes has to renew it"
    return Finding(exit_code=15, reason="expired-summary", detail=detail)


def _finding(gate: Gate, evidence: Evidence, passing: list[Judged], failing: list[tuple[Judged, str]]) -> Finding:
    if not passing and not failing:
        detail = f"no attestation {gate.title}"
        if evidence.truncated:
            detail += ", among those referrers that were read"
        return Finding(exit_code=19, reason="missing-attestation", detail=detail)
    if failing:
        ours = [(item, why) for item, why in failing if item.signers]
        item, why = (ours or failing)[0]
        who = f"by {item.signer.opening.identity}" if item.signer else f"{item.candidate.digest}"
        detail = f"the attestation {gate.title} {who} does not pass: {why}"
        reason = "attestation-fails" if ours else "missing-attestation"
        return Finding(exit_code=19, reason=reason, detail=detail)
    count = f"{len(passing)} of the {gate.demand.threshold} attestations {gate.title} that are asked for"
    return Finding(exit_code=19, reason="missing-attestation", detail=count)
