"""Promotions under a policy: who may promote, which gate waits for it, and which summaries hold for a target.

Guarantees: all of it is pure. A summary holds only where its signer counts at this time, it is about this very
artifact and not expired, and it was made for the repository, environment and channel that are asked about: one of
another environment, or of another repository, holds nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ocimodel.attest import summary as documents
from ocimodel.attest.summary import Summary
from ocimodel.keys.public import PublicKey
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.trust.attestations import statements
from ocimodel.trust.claims import sequence
from ocimodel.trust.context import Deployment
from ocimodel.trust.counting import unfilled
from ocimodel.trust.evidence import Evidence
from ocimodel.trust.gates import Gate
from ocimodel.trust.judge import Judged, Status, Terms
from ocimodel.trust.policy import Assessment, TrustPolicy
from ocimodel.trust.ring import KeyEntry, Ring, Trusted
from ocimodel.trust.rules import Rules
from ocimodel.trust.verdict import SELF_APPROVED, Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a promotion leads: the repository as policies call it, the environment, the channel (empty: any)."""

    name: str
    environment: str
    channel: str

    def claims(self, number: int, expires: str) -> dict[str, str]:
        """What the subject of its summary says."""
        found = {media.CLAIM_CHANNEL: self.channel, media.CLAIM_SEQUENCE: str(number), media.CLAIM_EXPIRES: expires}
        return found | ({media.CLAIM_ENVIRONMENT: self.environment} if self.environment else {})

    def fits(self, summary: Summary, claims: Mapping[str, str]) -> bool:
        return (
            summary.resource == documents.resource_uri(self.name)
            and (not self.channel or claims.get(media.CLAIM_CHANNEL) == self.channel)
            and claims.get(media.CLAIM_ENVIRONMENT, "") == self.environment
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A summary that was made for a target. ``good``: its signer counts, and it is not expired."""

    digest: Digest
    keyid: str
    summary: Summary
    sequence: int
    expires: datetime | None
    good: bool


def promoters(rules: Rules, ring: Ring) -> tuple[Trusted, ...]:
    """The lines with the role promoter that the scope names, for signatures or for statements."""
    asked = rules.demand.entries.union(*(gate.demand.entries for gate in rules.gates))
    return tuple(entry for entry in ring.entries if entry.id in asked and "promoter" in entry.roles)


def line_of(key: PublicKey, entries: Iterable[Trusted]) -> Trusted | None:
    """The plain line among ``entries`` that holds ``key``."""
    return next((entry for entry in entries if isinstance(entry, KeyEntry) and entry.key.keyid == key.keyid), None)


def waits_for(gate: Gate, line: Trusted | None) -> bool:
    """Whether a summary by ``line`` is among what this gate asks for."""
    return line is not None and gate.predicate_type == media.SLSA_SUMMARY and line.id in gate.demand.entries


def before(policy: TrustPolicy, rules: Rules, line: Trusted | None) -> TrustPolicy:
    """The policy without what only the promotion itself brings: its summary, and with it the sequence number."""
    gates = tuple(gate for gate in rules.gates if not waits_for(gate, line))
    lesser = replace(rules, gates=gates, min_sequence=0) if len(gates) < len(rules.gates) else rules
    return replace(policy, scopes=tuple(lesser if item is rules else item for item in policy.scopes))


def held(evidence: Evidence, target: Target, ring: Ring, entries: Sequence[Trusted], now: datetime) -> list[Held]:
    """The summaries by one of ``entries`` that were made for ``target``, the highest number first."""
    terms = Terms(subject=evidence.subject, ring=ring, entries=tuple(entries), now=now, deployment=Deployment())
    found = []
    for item in statements(evidence, terms):
        statement = item.candidate.statement
        if statement is None or statement.predicate_type != media.SLSA_SUMMARY:
            continue
        said, number = documents.read(statement.predicate), sequence(item.claims)
        if said is None or number is None or item.status not in (Status.GOOD, Status.EXPIRED):
            continue
        if target.fits(said, item.claims):
            found.append(_held(item, said, number))
    return sorted(found, key=lambda one: one.sequence, reverse=True)


def _held(item: Judged, said: Summary, number: int) -> Held:
    return Held(
        digest=item.candidate.digest,
        keyid=item.keyid,
        summary=said,
        sequence=number,
        expires=item.expires,
        good=item.status is Status.GOOD,
    )


def self_approved(found: Assessment) -> Iterable[Finding]:
    """Approval gates that are passed only because somebody who built the artifact approved it too."""
    votes = [vote for item in found.judged for vote in item.votes]
    building = {vote.keyid for vote in votes if "builder" in vote.entry.roles}
    for gated in found.gated:
        if gated.gate.predicate_type != media.APPROVAL or gated.finding is not None:
            continue
        given = [vote for item in gated.passing for vote in item.votes]
        others = [vote for vote in given if vote.keyid not in building and "builder" not in vote.entry.roles]
        if missing := unfilled(gated.gate.demand, others):
            detail = (
                f"gate {gated.gate.title}: without those who built it, "
                f"{len(gated.gate.demand.places) - len(missing)} of {len(gated.gate.demand.places)} approvals"
            )
            yield Finding(exit_code=19, reason=SELF_APPROVED, detail=detail)


def used(found: Assessment) -> tuple[Digest, ...]:
    """The signatures and statements that a passing verdict rests on."""
    items = [item for item in found.judged if item.votes] + [item for gate in found.gated for item in gate.passing]
    return tuple(dict.fromkeys(item.candidate.digest for item in items))


def approves(predicate: Mapping[str, Any], comment: str) -> bool:
    """Whether an approval says just that."""
    return bool(predicate.get("comment", "") == comment)
