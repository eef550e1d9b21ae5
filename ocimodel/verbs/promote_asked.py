"""The gates that the section ``promotion`` of a policy asks for, and the command line beside it.

Guarantees: what an artifact says of itself (its licence, its data) is read only once its signatures suffice, and
only from bytes that its digest stands for. Each gate is judged whatever the others say. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ocimodel.errors import FormatError, IntegrityError, NotFoundError
from ocimodel.model.config import MAX_BYTES, ModelConfig
from ocimodel.model.provenance import MAX_BYTES as MAX_PROVENANCE
from ocimodel.model.provenance import Provenance
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.manifest import Manifest
from ocimodel.stores.protocol import Store, read_blob
from ocimodel.trust.claims import format_duration, format_time, parse_time
from ocimodel.trust.counting import unfilled
from ocimodel.trust.evidence import Evidence
from ocimodel.trust.policy import Assessment, TrustPolicy
from ocimodel.trust.promotion import data_problem
from ocimodel.trust.rules import Rules
from ocimodel.trust.summary import Target, held, promoters
from ocimodel.trust.verdict import Finding

_UNSURE = "what it says of itself counts only once it is verified"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked for beside the policy, which can only ask for more.

    Attributes:
        previous: the environment that must have promoted the artifact; empty: that of the source's name, if any.
        soak: for how long at least.
        remaining: how long enough signatures must still be good.
        judges: the policy of the previous environment, where that is not the target's.
        promoter: the id of the only key that may promote; empty: whom the policy names.
    """

    previous: str = ""
    soak: timedelta | None = None
    remaining: timedelta | None = None
    judges: TrustPolicy | None = None
    promoter: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One gate: it fails with ``finding``, or passes for the reason ``passed``, or is left out for ``skipped``."""

    name: str
    finding: Finding | None = None
    passed: str = ""
    skipped: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is judged, and where it lies: ``source`` is the repository as policies call it."""

    store: Store
    root: Descriptor
    raw: bytes
    source: str
    target: Target


def asked(
    subject: Subject,
    found: Assessment,
    evidence: Evidence,
    rules: Rules,
    policy: TrustPolicy,
    now: datetime,
    wanted: Wanted,
) -> Iterator[Outcome]:
    """The gates, in the order in which people are told.

    Raises:
        UnavailableError, AuthenticationError: from the store.
    """
    more = rules.promotion
    remaining = max(filter(None, (wanted.remaining, more.remaining)), default=None)
    if remaining is not None and found.lacking:
        yield Outcome(name="remaining-validity", skipped="too few signatures count as it is")
    elif remaining is not None:
        finding = _remaining(found, rules, remaining, now)
        yield Outcome(
            name="remaining-validity", finding=finding, passed="enough signatures are good for long enough"
        )
    yield from _lineage(subject, evidence, rules, policy, now, wanted)
    if more.licences is not None:
        yield _licence(subject, found, rules)
    if more.data_digests:
        yield _data(subject, found)


def _remaining(found: Assessment, rules: Rules, wanted: timedelta, now: datetime) -> Finding | None:
    lasting = [item for item in found.judged if item.expires is None or item.expires - now >= wanted]
    if not unfilled(rules.demand, (vote for item in lasting for vote in item.votes)):
        return None
    ends = [item.expires for item in found.judged if item.votes and item.expires is not None]
    when = f" (the first ends at {format_time(min(ends))})" if ends else ""
    return failing("remaining-validity", f"too few signatures are good for another {wanted}{when}")


# --- where it was before --------------------------------------------------------------------------------------


def _lineage(
    subject: Subject, evidence: Evidence, rules: Rules, policy: TrustPolicy, now: datetime, wanted: Wanted
) -> Iterator[Outcome]:
    """Whether the environment that the source lies in has promoted the artifact; nothing where nobody asks."""
    soak = max(filter(None, (wanted.soak, rules.promotion.soak)), default=None)
    if subject.source == subject.target.name and not (wanted.previous or wanted.soak):
        if rules.promotion.previous or rules.promotion.soak:
            yield _here(evidence, subject, rules, policy, now)
        return
    judges = wanted.judges or policy
    own = judges.rules_for(subject.source)
    names = dict.fromkeys(filter(None, (wanted.previous, rules.promotion.previous)))
    allowed = promoters(own, judges.ring) if own is not None and own is not rules else ()
    if own is None or not allowed:
        if names or soak:
            yield Outcome(name="lineage", finding=failing("lineage", f"no promoter is named for {subject.source}"))
        return
    where = own.environment or subject.source
    if other := next((name for name in names if own.environment != name), None):
        detail = f"{subject.source} is {own.environment or 'no environment'}, not {other}"
        yield Outcome(name="lineage", finding=failing("lineage", detail))
        return
    here = Target(name=subject.source, environment=own.environment, channel="")
    summaries = held(evidence, here, judges.ring, allowed, now)
    if not any(item.good for item in summaries):
        detail = f"no promoter of {where} vouches for it there"
        yield Outcome(name="lineage", finding=failing("lineage", detail))
        return
    verdict = judges.evaluate(replace(evidence, name=subject.source), now)
    problem = f"under the rules of {subject.source}: {verdict.refusing.detail}" if verdict.refusing else ""
    since = min(parse_time(item.summary.time) for item in summaries)
    told = f"in {where} since {format_time(since)}"
    yield Outcome(name="lineage", finding=failing("lineage", problem) if problem else None, passed=told)
    if soak is not None:
        short = now - since < soak
        finding = failing("soak", f"it is {told}, and that is less than {format_duration(soak)}") if short else None
        yield Outcome(name="soak", finding=finding, passed=f"{told}: {format_duration(soak)} have passed")


def _here(evidence: Evidence, subject: Subject, rules: Rules, policy: TrustPolicy, now: datetime) -> Outcome:
    """What goes back, or goes to another channel, came here by a promotion: its way is not asked about again."""
    known = held(evidence, replace(subject.target, channel=""), policy.ring, promoters(rules, policy.ring), now)
    if known:
        return Outcome(name="lineage", passed=f"promoted here before, at {known[-1].summary.time}")
    return Outcome(name="lineage", finding=failing("lineage", "it lies here, and nobody promoted it"))


# --- what it says of itself -----------------------------------------------------------------------------------


def _licence(subject: Subject, found: Assessment, rules: Rules) -> Outcome:
    if found.lacking:
        return Outcome(name="licence", skipped=_UNSURE)
    try:
        config = Manifest.from_bytes(subject.raw, subject.root.media_type).config
        stated: tuple[str, ...] = ()
        if config.media_type == media.MODEL_CONFIG:
            stated = ModelConfig.from_bytes(
                read_blob(subject.store, config, limit=MAX_BYTES, what="config")
            ).licenses
    except (IntegrityError, NotFoundError) as error:
        return Outcome(name="licence", finding=failing("licence", error.message))
    problem = rules.promotion.licence_problem(stated)
    return Outcome(
        name="licence", finding=failing("licence", problem) if problem else None, passed=", ".join(stated)
    )


def _data(subject: Subject, found: Assessment) -> Outcome:
    """By the provenance that travels with the artifact, and those that passed a gate."""
    if found.lacking:
        return Outcome(name="data-digests", skipped=_UNSURE)
    predicates: list[Mapping[str, Any]] = [
        item.candidate.statement.predicate
        for gated in found.gated
        for item in gated.passing
        if gated.gate.predicate_type == media.SLSA_PROVENANCE and item.candidate.statement is not None
    ]
    try:
        layer = found.content.provenance or _layer(subject)
        if layer is not None:
            raw = read_blob(subject.store, layer, limit=MAX_PROVENANCE, what="provenance")
            document = Provenance.from_bytes(raw)
            predicates += [document.predicate] if document.predicate_type == media.SLSA_PROVENANCE else []
    except (IntegrityError, NotFoundError) as error:
        return Outcome(name="data-digests", finding=failing("data-digests", error.message))
    problem = data_problem(predicates)
    return Outcome(
        name="data-digests",
        finding=failing("data-digests", problem) if problem else None,
        passed="strong digests pin all data that the provenance names",
    )


def _layer(subject: Subject) -> Descriptor | None:
    try:
        layers = Manifest.from_bytes(subject.raw, subject.root.media_type).layers
    except FormatError:
        return None
    return next((item for item in layers if item.media_type == media.PROVENANCE_LAYER), None)


def failing(gate: str, why: str) -> Finding:
    """19, and the gate's name."""
    return Finding(exit_code=19, reason=gate, detail=f"gate {gate}: {why}")
