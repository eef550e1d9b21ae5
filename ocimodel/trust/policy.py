"""The decision: one pure function from evidence, time and context to a verdict.

Guarantees: `TrustPolicy.evaluate` does no I/O, reads no clock and never raises about evidence; it passes an
artifact only with good signatures by ``threshold`` distinct trusted keys. There is no default that accepts: a
policy without keys accepts nothing. A candidate that is not good spoils nothing: it is listed, and its faults
count only where no sufficient set of good ones was found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from ocimodel.errors import ConfigurationError
from ocimodel.keys.public import PublicKey
from ocimodel.trust.evidence import Evidence
from ocimodel.trust.judge import AUTHENTIC, BROKEN, Judged, Status, judge
from ocimodel.trust.verdict import Finding, SignerReport, Verdict, Verified, passed, refused

__all__ = ["TrustPolicy", "Verdict", "Verified"]

_NO_CONTEXT: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustPolicy:
    """Who must have signed: ``threshold`` of ``keys``, which are distinct, so that no key counts twice.

    Raises:
        ConfigurationError: a key that stands there twice, fewer keys than the threshold, or a threshold under 1.
    """

    keys: tuple[PublicKey, ...]
    threshold: int = 1

    def __post_init__(self) -> None:
        if len(self.keyids) != len(self.keys):
            raise ConfigurationError("a key stands in the policy twice")
        if not 1 <= self.threshold <= max(1, len(self.keys)):
            raise ConfigurationError(
                f"a threshold of {self.threshold} with {len(self.keys)} distinct keys: "
                "it lies between 1 and their number"
            )

    @classmethod
    def of_keys(cls, keys: Iterable[PublicKey], threshold: int = 1) -> Self:
        """A policy that wants ``threshold`` of these keys, for every artifact; equal keys are taken for one."""
        return cls(keys=tuple({key.keyid: key for key in keys}.values()), threshold=threshold)

    @property
    def keyids(self) -> frozenset[str]:
        """What candidates may name to be read first."""
        return frozenset(key.keyid for key in self.keys)

    def evaluate(self, evidence: Evidence, now: datetime, context: Mapping[str, str] = _NO_CONTEXT) -> Verdict:
        """Judge the artifact.

        Args:
            now: an aware time; a signature is expired from its very instant of expiry on.
            context: where the artifact is to be deployed, compared with what its signers said.
        """
        if now.tzinfo is None:
            raise ValueError("a time without a zone decides nothing")
        judged = self._judge(evidence, now, context)
        signers = tuple(_report(item) for item in judged if item.status is not Status.OTHER)
        good: dict[str, Judged] = {}
        for item in judged:
            if item.status is Status.GOOD:
                good.setdefault(item.keyid, item)
        if self.keys and len(good) >= self.threshold:
            claims = tuple(item.claims for item in good.values())
            return passed(evidence.subject, evidence.name, tuple(good), claims, signers)
        findings = list(_findings(self, evidence, judged, frozenset(good)))
        return refused(evidence.subject, evidence.name, findings, signers)

    def _judge(self, evidence: Evidence, now: datetime, context: Mapping[str, str]) -> list[Judged]:
        return [judge(item, evidence.subject, self.keys, now, context) for item in evidence.candidates]


def _findings(
    policy: TrustPolicy, evidence: Evidence, judged: Sequence[Judged], good: frozenset[str]
) -> Iterable[Finding]:
    """Why the artifact is not accepted; at least one reason."""
    signatures = [item for item in judged if item.is_signature]
    yield from _broken(policy, signatures, good)
    if evidence.truncated:
        detail = f"{evidence.listed} referrers, more than are read, and no sufficient signature among those read"
        yield Finding(exit_code=12, reason="too-many", detail=detail)
    elif not signatures:
        detail = f"{evidence.name or evidence.subject.digest} carries no signature"
        if any(item.status is Status.ATTESTATION for item in judged):
            detail += "; an attestation does not stand for one"
        yield Finding(exit_code=10, reason="unsigned", detail=detail)
    authentic = {item.keyid for item in signatures if item.status in AUTHENTIC}
    if not policy.keys:
        yield Finding(exit_code=12, reason="no-key", detail="the policy names no key, so it accepts nothing")
    elif signatures and len(authentic) < policy.threshold:
        yield _too_few(policy, signatures, len(authentic))
    for item in signatures:
        if item.keyid not in good and item.status is Status.EXPIRED:
            yield Finding(exit_code=15, reason="expired", detail=f"the signature by {item.key} {item.detail}")
        elif item.keyid not in good and item.status is Status.CONTEXT:
            yield Finding(exit_code=17, reason="metadata-mismatch", detail=f"{item.key}: {item.detail}")


def _broken(policy: TrustPolicy, signatures: Sequence[Judged], good: frozenset[str]) -> Iterable[Finding]:
    for item in signatures:
        names = {item.keyid} if item.key else item.candidate.names & policy.keyids
        if item.status in BROKEN and names - good:
            detail = f"the signature {item.candidate.digest} is damaged: {item.detail}"
            yield Finding(exit_code=14, reason=str(item.status), detail=detail)


def _too_few(policy: TrustPolicy, signatures: Sequence[Judged], authentic: int) -> Finding:
    if authentic:
        detail = f"{authentic} of the {policy.threshold} trusted signatures that are asked for"
        return Finding(exit_code=12, reason="too-few", detail=detail)
    if any(item.status is Status.OTHER_SUBJECT for item in signatures):
        detail = "signed by a trusted key, but for another artifact"
        return Finding(exit_code=12, reason="other-subject", detail=detail)
    count = f"{len(signatures)} signatures" if len(signatures) > 1 else "a signature"
    return Finding(exit_code=12, reason="untrusted-signer", detail=f"{count}, but by no trusted key")


def _report(item: Judged) -> SignerReport:
    return SignerReport(
        keyid=item.keyid,
        identity=str(item.key.label or item.key.keyid) if item.key else "",
        format=item.candidate.format,
        status=str(item.status),
        detail=item.detail,
        digest=item.candidate.digest,
        claims=item.claims,
        expires=item.expires,
    )
