"""One candidate at a time: what it is worth.

Guarantees: `judge` is pure and total. `Status.GOOD` means: a signature, by a trusted key, over a statement whose
one matching subject is this very artifact, attached to it, not expired, and not made for another context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from ocimodel.attest.signed import Signed
from ocimodel.errors import FormatError
from ocimodel.keys.public import PublicKey
from ocimodel.keys.sealing import opens
from ocimodel.oci.descriptor import Descriptor
from ocimodel.trust import claims as claiming
from ocimodel.trust.evidence import Candidate


class Status(StrEnum):
    """What became of a candidate; all but ``GOOD`` are ignored."""

    GOOD = "good"
    EXPIRED = "expired"
    CONTEXT = "metadata-mismatch"
    OTHER_SUBJECT = "other-subject"
    AMBIGUOUS = "ambiguous-subject"
    BAD_CLAIM = "bad-claim"
    BAD_SIGNATURE = "bad-signature"
    MALFORMED = "malformed"
    UNTRUSTED = "untrusted"
    UNSUPPORTED = "unsupported"
    ATTESTATION = "attestation"
    OTHER = "other"


AUTHENTIC = frozenset({Status.GOOD, Status.EXPIRED, Status.CONTEXT})
"""By a trusted key and for this artifact, whatever else is wrong."""

BROKEN = frozenset({Status.AMBIGUOUS, Status.BAD_CLAIM, Status.BAD_SIGNATURE, Status.MALFORMED})
"""Not what it claims to be; serious only where it names, or is by, a trusted key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """``key`` is set once a trusted key was found to have signed the statement, and not before."""

    candidate: Candidate
    status: Status
    detail: str = ""
    key: PublicKey | None = None
    claims: Mapping[str, str] = field(default_factory=dict)
    expires: datetime | None = None

    @property
    def keyid(self) -> str:
        """The signer's key id where that was verified, else the one that is claimed, if any."""
        return self.key.keyid if self.key else min(self.candidate.names, default="")

    @property
    def is_signature(self) -> bool:
        """Whether this counts as "there is a signature", good or not."""
        return self.candidate.signature_like and self.status not in (Status.ATTESTATION, Status.OTHER)


def judge(
    candidate: Candidate,
    subject: Descriptor,
    keys: Sequence[PublicKey],
    now: datetime,
    context: Mapping[str, str],
) -> Judged:
    """What ``candidate`` is worth as a signature of ``subject``."""
    signed = candidate.signed
    if signed is None:
        return Judged(candidate=candidate, status=_unread(candidate), detail=candidate.problem)
    judged = judge_signer(candidate, signed, subject, keys, now, context)
    # Where the manifest calls it a trusted key's signature and the bytes don't verify, damage may have made
    # the text say something else; everywhere else the statement says what it is.
    damaged = candidate.signature_like and judged.status is Status.BAD_SIGNATURE
    if signed.approves or damaged:
        return judged
    detail = f"says {signed.predicate_type}, which approves nothing"
    return Judged(candidate=candidate, status=Status.ATTESTATION, detail=detail, key=judged.key)


def judge_signer(
    candidate: Candidate,
    signed: Signed,
    subject: Descriptor,
    keys: Sequence[PublicKey],
    now: datetime,
    context: Mapping[str, str],
) -> Judged:
    """What ``signed`` is worth as something that one of ``keys`` said about ``subject``, whatever it says."""
    if candidate.problem:
        return Judged(candidate=candidate, status=_unread(candidate), detail=candidate.problem)
    key = signer_of(candidate, signed, keys)
    if key is not None:
        return _judge_claims(candidate, signed, key, subject, now, context)
    if any(key.keyid in candidate.names for key in keys):
        detail = "names a trusted key, which has not signed these bytes"
        return Judged(candidate=candidate, status=Status.BAD_SIGNATURE, detail=detail)
    return Judged(candidate=candidate, status=Status.UNTRUSTED, detail="by no trusted key")


def _judge_claims(
    candidate: Candidate,
    signed: Signed,
    key: PublicKey,
    subject: Descriptor,
    now: datetime,
    context: Mapping[str, str],
) -> Judged:
    matching = signed.subjects_of(subject)
    attached = candidate.subject is not None and candidate.subject.digest == subject.digest
    if not matching or not attached:
        detail = "made for another artifact" if not matching else "attached to another artifact"
        return Judged(candidate=candidate, status=Status.OTHER_SUBJECT, detail=detail, key=key)
    if len(matching) > 1:
        detail = "names this artifact more than once, so its claims contradict each other"
        return Judged(candidate=candidate, status=Status.AMBIGUOUS, detail=detail, key=key)
    claims = matching[0].annotations
    try:
        expires = min(filter(None, (claiming.expiry(claims), signed.expires)), default=None)
    except FormatError as error:
        return Judged(candidate=candidate, status=Status.BAD_CLAIM, detail=error.message, key=key, claims=claims)
    status, detail = Status.GOOD, ""
    mismatch = claiming.mismatch(claims, context)
    if mismatch:
        status, detail = Status.CONTEXT, mismatch
    if expires is not None and now >= expires:
        status, detail = Status.EXPIRED, f"expired at {claiming.format_time(expires)}"
    return Judged(candidate=candidate, status=status, detail=detail, key=key, claims=claims, expires=expires)


def signer_of(candidate: Candidate, signed: Signed, keys: Sequence[PublicKey]) -> PublicKey | None:
    """The key that signed it. The one that the candidate names is tried first; the name proves nothing."""
    for key in sorted(keys, key=lambda key: key.keyid not in candidate.names):
        if opens(key, signed):
            return key
    return None


def _unread(candidate: Candidate) -> Status:
    if candidate.damaged:
        return Status.MALFORMED
    return Status.UNSUPPORTED if candidate.format else Status.OTHER
