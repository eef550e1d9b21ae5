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

from ocimodel.attest.oms import files_only
from ocimodel.errors import ConfigurationError
from ocimodel.keys.public import PublicKey
from ocimodel.trust.counting import ANY, Demand, most, unfilled
from ocimodel.trust.evidence import Evidence
from ocimodel.trust.judge import AUTHENTIC, BROKEN, Judged, Status, Terms, judge
from ocimodel.trust.ring import Ring
from ocimodel.trust.rules import Revoked, Rules
from ocimodel.trust.scope import Glob, best, clash
from ocimodel.trust.verdict import (
    NO_SCOPE,
    Accepted,
    Finding,
    Ruling,
    SignerReport,
    Verdict,
    Verified,
    decide,
)

__all__ = ["TrustPolicy", "Verdict", "Verified"]

_NO_CONTEXT: Mapping[str, str] = {}


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

    def _check(self, demand: Demand, where: str) -> None:
        asked = [entry for entry in self.ring.entries if entry.id in demand.entries]
        if not 1 <= demand.threshold <= max(1, len(asked)):
            raise ConfigurationError(
                f"{where}: a threshold of {demand.threshold} with {len(asked)} distinct signers: "
                "it lies between 1 and their number"
            )
        if asked and (missing := most(demand, asked)):
            raise ConfigurationError(
                f"{where}: even if all {len(asked)} sign, nobody is left for {_places(missing)}",
                hint="Give more signers these roles; nobody counts twice, and an approver never builds.",
            )

    @classmethod
    def of_keys(cls, keys: Iterable[PublicKey], threshold: int = 1) -> Self:
        """A policy that wants ``threshold`` of these keys, under every name; equal keys are taken for one."""
        ring = Ring.of_keys(keys)
        ids = frozenset(entry.id for entry in ring.entries)
        everywhere = Rules(match=Glob.parse("**"), demand=Demand(threshold=threshold, entries=ids))
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
        if now.tzinfo is None:
            raise ValueError("a time without a zone decides nothing")
        rules = self.rules_for(evidence.name)
        findings = list(self._standing_orders(evidence, now, rules.leeway if rules else timedelta(0)))
        if rules is None:
            detail = f"no scope of the policy covers {evidence.name or 'an artifact without a name'}"
            findings.append(Finding(exit_code=12, reason=NO_SCOPE, detail=detail))
            return decide(evidence.subject, evidence.name, findings, Accepted(), (), Ruling())
        judged = self._judge(evidence, now, rules, context)
        findings += _signature_findings(evidence, rules, judged, self.keyids)
        findings += rules.contradictions(context)
        signers = tuple(_report(item) for item in judged if item.status is not Status.OTHER)
        ruling = rules.ruling(evidence.subject.digest, now)
        return decide(evidence.subject, evidence.name, findings, _accepted(judged, rules.demand), signers, ruling)

    def _standing_orders(self, evidence: Evidence, now: datetime, leeway: timedelta) -> Iterable[Finding]:
        """What holds whoever signed: revoked digests, and a policy that is too old."""
        revoked = self.revoked.get(str(evidence.subject.digest))
        if revoked is not None:
            yield Finding(exit_code=16, reason="revoked-digest", detail=revoked.describe(evidence.subject.digest))
        if self.expires is not None and now - leeway >= self.expires:
            when = self.expires.isoformat()
            yield Finding(exit_code=21, reason="stale-policy", detail=f"the policy was good until {when}")

    def _judge(
        self, evidence: Evidence, now: datetime, rules: Rules, context: Mapping[str, str]
    ) -> tuple[Judged, ...]:
        terms = Terms(
            subject=evidence.subject,
            ring=self.ring,
            entries=tuple(entry for entry in self.ring.entries if entry.id in rules.demand.entries),
            now=now,
            context=rules.claims_wanted(context),
            leeway=rules.leeway,
        )
        return tuple(judge(item, terms) for item in evidence.candidates)


def _accepted(judged: Sequence[Judged], demand: Demand) -> Accepted:
    good: dict[str, Judged] = {}
    for item in judged:
        if item.votes:
            good.setdefault(item.keyid, item)
    votes = [vote for item in judged for vote in item.votes]
    others = [vote for item in judged if not files_only(item.candidate.signed) for vote in item.votes]
    return Accepted(
        keyids=tuple(good),
        claims=tuple(item.claims for item in good.values()),
        files_only=not unfilled(demand, votes) and bool(unfilled(demand, others)),
    )


def _signature_findings(
    evidence: Evidence, rules: Rules, judged: Sequence[Judged], trusted: frozenset[str]
) -> Iterable[Finding]:
    """Why its signatures are not enough; nothing where they are."""
    demand = rules.demand
    good = [vote for item in judged for vote in item.votes]
    if demand.entries and not unfilled(demand, good):
        return
    signatures = [item for item in judged if item.is_signature]
    counted = frozenset(vote.keyid for vote in good)
    yield from _broken(signatures, trusted, counted)
    if evidence.truncated:
        detail = f"{evidence.listed} referrers, more than are read, and no sufficient signature among those read"
        yield Finding(exit_code=12, reason="too-many", detail=detail)
    elif not signatures:
        detail = f"{evidence.name or evidence.subject.digest} carries no signature"
        if any(item.status is Status.ATTESTATION for item in judged):
            detail += "; an attestation does not stand for one"
        yield Finding(exit_code=10, reason="unsigned", detail=detail)
    authentic = [item for item in signatures if item.status in AUTHENTIC]
    missing = unfilled(demand, (signer.vote for item in authentic for signer in item.signers))
    if not demand.entries:
        yield Finding(exit_code=12, reason="no-key", detail="the policy names no key, so it accepts nothing")
    elif signatures and missing:
        yield _too_few(demand, signatures, missing, some=bool(authentic))
    yield from (item.finding for item in signatures if item.finding and item.keyid not in counted)


def _broken(signatures: Sequence[Judged], trusted: frozenset[str], counted: frozenset[str]) -> Iterable[Finding]:
    for item in signatures:
        names = {item.keyid} if item.signer else item.candidate.names & trusted
        if item.status in BROKEN and names - counted:
            detail = f"the signature {item.candidate.digest} is damaged: {item.detail}"
            yield Finding(exit_code=14, reason=str(item.status), detail=detail)


def _too_few(demand: Demand, signatures: Sequence[Judged], missing: Sequence[str], *, some: bool) -> Finding:
    if some and demand.roles:
        detail = f"of the {len(demand.places)} trusted signatures that are asked for, {_places(missing)} is missing"
        return Finding(exit_code=12, reason="too-few", detail=detail)
    if some:
        count = len(demand.places) - len(missing)
        detail = f"{count} of the {demand.threshold} trusted signatures that are asked for"
        return Finding(exit_code=12, reason="too-few", detail=detail)
    if any(item.status is Status.OTHER_SUBJECT for item in signatures):
        detail = "signed by a trusted key, but for another artifact"
        return Finding(exit_code=12, reason="other-subject", detail=detail)
    count_text = f"{len(signatures)} signatures" if len(signatures) > 1 else "a signature"
    return Finding(exit_code=12, reason="untrusted-signer", detail=f"{count_text}, but by no trusted key")


def _places(missing: Sequence[str]) -> str:
    named = {place: missing.count(place) for place in missing}
    return ", ".join(
        f"{count} {'more signer' if place == ANY else place}{'s' if count > 1 else ''}"
        for place, count in named.items()
    )


def _report(item: Judged) -> SignerReport:
    return SignerReport(
        keyid=item.keyid,
        identity=item.signer.opening.identity if item.signer else "",
        format=item.candidate.format,
        status=str(item.status),
        detail=item.detail or ("over the files alone" if files_only(item.candidate.signed) else ""),
        digest=item.candidate.digest,
        claims=item.claims,
        expires=item.expires,
    )
