"""Signed statements beside signatures: who said what about an artifact.

Guarantees: a statement is `Status.GOOD` here by the rules for signatures (a trusted key, this very artifact,
attached to it, not expired), and still approves nothing: signatures and attestations never stand for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ocimodel.attest.statement import Statement
from ocimodel.keys.public import PublicKey
from ocimodel.oci.digest import Digest
from ocimodel.trust.context import Deployment
from ocimodel.trust.evidence import Evidence
from ocimodel.trust.judge import Judged, Signer, Status, Terms, judge_signer
from ocimodel.trust.ring import Ring

_NO_CONTEXT: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """A statement that ``signer``, a trusted one, made about the artifact."""

    statement: Statement
    signer: Signer
    digest: Digest
    claims: Mapping[str, str]


def statements(evidence: Evidence, terms: Terms) -> tuple[Judged, ...]:
    """Every statement that is not a signature, with what it is worth under ``terms``."""
    return tuple(
        judge_signer(candidate, candidate.signed, terms)
        for candidate in evidence.candidates
        if candidate.signed is not None and not candidate.signed.approves
    )


def attestations(
    evidence: Evidence,
    keys: Iterable[PublicKey],
    now: datetime,
    context: Mapping[str, str] = _NO_CONTEXT,
) -> tuple[Judged, ...]:
    """Every statement that is not a signature, with what it is worth under ``keys``; for people to look at."""
    ring = Ring.of_keys(keys)
    terms = Terms(
        subject=evidence.subject, ring=ring, entries=ring.entries, now=now, deployment=Deployment(given=context)
    )
    return statements(evidence, terms)


def attested(
    evidence: Evidence,
    keys: Iterable[PublicKey],
    now: datetime,
    context: Mapping[str, str] = _NO_CONTEXT,
    *,
    predicate_type: str | None = None,
) -> tuple[Attested, ...]:
    """The good ones, of one predicate type where it is given; for gates to decide by."""
    return tuple(
        Attested(
            statement=item.candidate.statement,
            signer=item.signer,
            digest=item.candidate.digest,
            claims=item.claims,
        )
        for item in attestations(evidence, keys, now, context)
        if item.status is Status.GOOD and item.signer is not None and item.candidate.statement is not None
        if predicate_type in (None, item.candidate.statement.predicate_type)
    )
