"""The decision: one pure function from evidence, time and context to a verdict.

Guarantees: `TrustPolicy.evaluate` does no I/O, reads no clock and never raises about evidence. In mode enforce it
passes an artifact only with good signatures by as many distinct trusted signers as its scope asks for, in the roles
that it asks for. There is no default that accepts: a policy that names no key accepts nothing, and neither does one
without a scope for the name. A candidate that is not good spoils nothing: it is listed, and its faults count only
where no sufficient set of good ones was found. What is revoked is refused in every mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Self

from ocimodel.errors import ConfigurationError
from ocimodel.keys.public import PublicKey
from ocimodel.oci.descriptor import Descriptor
from ocimodel.trust.claims import format_time, sequence
from ocimodel.trust.content import Content
from ocimodel.trust.context import Deployment
from ocimodel.trust.counting import Demand, most
from ocimodel.trust.evidence import Evidence
from ocimodel.trust.findings import accepted, places, report, signature_findings
from ocimodel.trust.gates import Gated, judge_gate
from ocimodel.trust.judge import Judged, Status, Terms, judge
from ocimodel.trust.ring import Ring, mark
from ocimodel.trust.rules import Revoked, Rules
from ocimodel.trust.scope import Glob, best, clash
from ocimodel.trust.verdict import NO_SCOPE, Accepted, Finding, Ruling, Verdict, Verified, decide
from ocimodel.trust.vouching import vouched

__all__ = ["TrustPolicy", "Verdict", "Verified"]

_NO_CONTEXT: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What a policy finds out about an artifact, before that becomes a verdict.

    Attributes:
        rules: the scope that applies; None where none does.
        lacking: of the findings, those that the signatures give.
        judged: each candidate as a signature.
        gated: each gate of the scope.
        newest: the highest sequence number that somebody whose word counts has signed.
        newest_by: who has, as `ocimodel.trust.ring.mark` calls them.
    """

    rules: Rules | None
    content: Content
    findings: tuple[Finding, ...]
    lacking: tuple[Finding, ...] = ()
    judged: tuple[Judged, ...] = ()
    gated: tuple[Gated, ...] = ()
    newest: int | None = None
    newest_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustPolicy:
    """Whose word counts (``ring``), and what is asked for under which name (``scopes``).

    Attributes:
        revoked: digests that are refused whoever signed them.
        digest: of the file that it was read from; empty where it was made of keys.
        expires: from when on it is too old to decide with.

    Raises:
        ConfigurationError: two scopes tie for a name, or a scope asks for what its signers can never meet.
    """

    ring: Ring
    scopes: tuple[Rules, ...]
    revoked: Mapping[str, Revoked] = field(default_factory=dict)
    id: str = ""
    serial: int = 0
    digest: str = ""
    issued: datetime | None = None
    expires: datetime | None = None

    def __post_init__(self) -> None:
        tied = clash([rules.match for rules in self.scopes])
        if tied is not None:
            one, two = (self.scopes[position].match for position in tied)
            raise ConfigurationError(
                f"scopes[{tied[0]}] and scopes[{tied[1]}] both apply to some name: {one} and {two}",
                hint="Give one of them a longer part before its first star, so that it wins.",
            )
        for position, rules in enumerate(self.scopes):
            self._check(rules.demand, f"scopes[{position}].signatures")
            if rules.max_age is not None and self.issued is None:
                raise ConfigurationError(
                    f"scopes[{position}].freshness.maxAge: the policy does not say when it was issued"
                )

    def _check(self, demand: Demand, where: str) -> None:
        asked = [entry for entry in self.ring.entries if entry.id in demand.entries]
        if not 1 <= demand.threshold <= max(1, len(asked)):
            raise ConfigurationError(
                f"{where}: a threshold of {demand.threshold} with {len(asked)} distinct signers: "
                "it lies between 1 and their number"
            )
        if asked and (missing := most(demand, asked)):
            raise ConfigurationError(
                f"{where}: even if all {len(asked)} sign, nobody is left for {places(missing)}",
                hint="Give more signers these roles; nobody counts twice, and an approver never builds.",
            )

    @classmethod
    def of_keys(cls, keys: Iterable[PublicKey], threshold: int = 1) -> Self:
        """A policy that wants ``threshold`` of these keys, under every name; equal keys are taken for one."""
        ring = Ring.of_keys(keys)
        ids = frozenset(entry.id for entry in ring.entries)
        demand = Demand(threshold=threshold, entries=ids)
        everywhere = Rules(match=Glob.parse("**"), demand=demand, cache_verify="fast")
        return cls(ring=ring, scopes=(everywhere,))

    @property
    def keyids(self) -> frozenset[str]:
        """What candidates may name to be read first."""
        return self.ring.keyids

    def enforced(self) -> Self:
        """The same policy with every scope and every check in mode enforce."""
        return replace(self, scopes=tuple(replace(rules, mode="enforce", checks={}) for rules in self.scopes))

    def rules_for(self, name: str) -> Rules | None:
        """The one scope that applies to ``name``."""
        position = best([rules.match for rules in self.scopes], name)
        return None if position is None else self.scopes[position]

    def evaluate(self, evidence: Evidence, now: datetime, context: Mapping[str, str] = _NO_CONTEXT) -> Verdict:
        """Judge the artifact.

        Args:
            now: an aware time; a signature is expired from its very instant of expiry on, but for the leeway.
            context: where the artifact is to be deployed, compared with what its signers said.
        """
        found = self.assess(evidence, now, context)
        return decide(
            evidence.subject,
            evidence.name,
            found.findings,
            accepted(found.judged, found.rules.demand) if found.rules else Accepted(),
            tuple(report(item) for item in found.judged if item.status is not Status.OTHER),
            found.rules.ruling(evidence.subject.digest, now) if found.rules else Ruling(),
            found.newest,
            found.newest_by,
        )

    def assess(self, evidence: Evidence, now: datetime, context: Mapping[str, str] = _NO_CONTEXT) -> Assessment:
        """All that `evaluate` decides by, check by check. It decides nothing itself."""
        if now.tzinfo is None:
            raise ValueError("a time without a zone decides nothing")
        rules = self.rules_for(evidence.name)
        content = Content.of(evidence)
        findings = list(self._standing_orders(evidence, now, rules))
        if rules is None:
            detail = f"no scope of the policy covers {evidence.name or 'an artifact without a name'}"
            findings.append(Finding(exit_code=12, reason=NO_SCOPE, detail=detail))
            return Assessment(rules=None, content=content, findings=tuple(findings))
        terms = self._terms(evidence, rules, now, _deployment(rules, content, context))
        terms = replace(terms, seen=vouched(evidence, rules, terms))
        judged, lacking = self._signatures(evidence, rules, terms)
        if lacking and content.unread:
            # Nobody reads the provenance of what is not signed well enough; what it lacks then is signatures alone.
            rest = replace(terms, deployment=replace(terms.deployment, required={}))
            others, without = self._signatures(evidence, rules, rest)
            judged, lacking = (others, without) if without else (judged, lacking)
        gated = tuple(judge_gate(gate, evidence, terms) for gate in rules.gates)
        newest, newest_by = _sequence(judged, gated)
        findings += lacking
        findings += content.problems if rules.needs_manifest or terms.deployment.hangs_on_provenance else ()
        findings += rules.contradictions(context)
        findings += (item.finding for item in gated if item.finding)
        findings += rules.formats.declared(content.layers)
        findings += rules.rollback(_ended(gated) if newest is None else newest) if not lacking else ()
        return Assessment(
            rules=rules,
            content=content,
            findings=tuple(findings),
            lacking=lacking,
            judged=judged,
            gated=gated,
            newest=newest,
            newest_by=newest_by,
        )

    def wants(
        self, evidence: Evidence, now: datetime, context: Mapping[str, str] = _NO_CONTEXT
    ) -> Descriptor | None:
        """The provenance layer, where the verdict hangs on what is in it and nobody has read it yet.

        Only once the signatures suffice, but for what the provenance may say: until then no layer is read.
        """
        rules = self.rules_for(evidence.name)
        content = Content.of(evidence)
        if rules is None or not content.unread:
            return None
        deployment = _deployment(rules, content, context)
        if not deployment.hangs_on_provenance:
            return None
        terms = self._terms(evidence, rules, now, replace(deployment, required={}))
        terms = replace(terms, seen=vouched(evidence, rules, terms))
        _, lacking = self._signatures(evidence, rules, terms)
        return None if lacking else content.provenance

    def _signatures(
        self, evidence: Evidence, rules: Rules, terms: Terms
    ) -> tuple[tuple[Judged, ...], tuple[Finding, ...]]:
        """Each candidate, and what they lack together."""
        judged = tuple(judge(item, terms) for item in evidence.candidates)
        return judged, tuple(signature_findings(evidence, rules.demand, judged, self.keyids))

    def _standing_orders(self, evidence: Evidence, now: datetime, rules: Rules | None) -> Iterable[Finding]:
        """What holds whoever signed: revoked digests, and a policy that is too old."""
        leeway = rules.leeway if rules else timedelta(0)
        revoked = self.revoked.get(str(evidence.subject.digest))
        if revoked is not None:
            yield Finding(exit_code=16, reason="revoked-digest", detail=revoked.describe(evidence.subject.digest))
        if self.expires is not None and now - self.expires >= leeway:
            detail = f"the policy was good until {format_time(self.expires)}"
            yield Finding(exit_code=21, reason="stale-policy", detail=detail)
        oldest = rules.max_age if rules else None
        if oldest is not None and (self.issued is None or now - self.issued > oldest + leeway):
            when = format_time(self.issued) if self.issued else "at a time that it does not say"
            yield Finding(exit_code=21, reason="stale-policy", detail=f"the policy was issued {when}: too long ago")

    def _terms(self, evidence: Evidence, rules: Rules, now: datetime, deployment: Deployment) -> Terms:
        return Terms(
            subject=evidence.subject,
            ring=self.ring,
            entries=tuple(entry for entry in self.ring.entries if entry.id in rules.demand.entries),
            now=now,
            deployment=deployment,
            leeway=rules.leeway,
            needs_expiry=rules.needs_expiry,
            longest=rules.longest,
        )


def _deployment(rules: Rules, content: Content, context: Mapping[str, str]) -> Deployment:
    """What is given, the scope's own environment, and what the scope asks for."""
    given = {**context, "environment": rules.environment} if rules.environment else context
    return Deployment(given=given, required=rules.context, facts=content.facts)


def _ended(gated: Sequence[Gated]) -> int | None:
    """The highest number of summaries that have only ended: that is a reason of its own, and no rollback."""
    numbers = (sequence(item.claims) for gate in gated for item in gate.ended)
    return max((number for number in numbers if number is not None), default=None)


def _sequence(judged: Sequence[Judged], gated: Sequence[Gated]) -> tuple[int | None, tuple[str, ...]]:
    """The highest number that a signature which counts, or a statement that passes a gate, says, and who does."""
    counting = [item for item in judged if item.votes] + [item for gate in gated for item in gate.passing]
    newest = max((number for item in counting if (number := sequence(item.claims)) is not None), default=None)
    if newest is None:
        return None, ()
    by = {mark(vote.entry) for item in counting if sequence(item.claims) == newest for vote in item.votes}
    return newest, tuple(sorted(by))
