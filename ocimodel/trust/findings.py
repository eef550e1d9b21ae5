"""From judged candidates to the reasons that the signatures of an artifact give to refuse it.

Guarantees: there are none exactly where the demand is met by good signatures. A candidate that is not good gives a
reason only where the good ones do not suffice, and none about a key that counts already.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ocimodel.attest.oms import files_only
from ocimodel.trust.counting import ANY, Demand, unfilled
from ocimodel.trust.evidence import Evidence
from ocimodel.trust.judge import AUTHENTIC, BROKEN, Judged, Status
from ocimodel.trust.verdict import Accepted, Finding, SignerReport


def accepted(judged: Sequence[Judged], demand: Demand) -> Accepted:
    """The signatures that count, one for each key."""
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


def signature_findings(
    evidence: Evidence, demand: Demand, judged: Sequence[Judged], trusted: frozenset[str]
) -> Iterable[Finding]:
    """Why its signatures are not enough; nothing where they are."""
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
        detail = f"of the {len(demand.places)} trusted signatures that are asked for, {places(missing)} is missing"
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


def places(missing: Sequence[str]) -> str:
    """Places that nobody fills, as messages say it."""
    named = {place: missing.count(place) for place in missing}
    return ", ".join(
        f"{count} {'more signer' if place == ANY else place}{'s' if count > 1 else ''}"
        for place, count in named.items()
    )


def report(item: Judged) -> SignerReport:
    """The line about one candidate."""
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
