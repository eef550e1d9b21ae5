"""Verdicts: what was decided, why, and by whose signatures.

Guarantees: a `Verified` exists only because a policy passed an artifact; there is no other way to make one.
A `Verdict` lists every reason that holds, the most serious first, whose exit code it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, final

from ocimodel.errors import (
    SEVERITY,
    CertificateError,
    ContextError,
    ExpiredError,
    GateError,
    IntegrityError,
    Reason,
    Refusal,
    RevokedError,
    RollbackError,
    StaleTrustError,
    UnsignedError,
    UntrustedError,
)
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest

Outcome = Literal["pass", "warn", "fail"]

_REFUSALS: Final[dict[int, type[Refusal]]] = {
    refusal.exit_code: refusal
    for refusal in (
        UnsignedError,
        UntrustedError,
        CertificateError,
        IntegrityError,
        ExpiredError,
        RevokedError,
        ContextError,
        RollbackError,
        GateError,
        StaleTrustError,
    )
}
_SEAL: Final = object()


@final
class Verified:
    """Proof that a policy passed ``subject``. Made by `TrustPolicy.evaluate` alone."""

    __slots__ = ("claims", "keyids", "name", "subject")

    subject: Descriptor
    name: str
    keyids: tuple[str, ...]
    claims: tuple[Mapping[str, str], ...]

    def __init__(
        self,
        subject: Descriptor,
        name: str,
        keyids: tuple[str, ...],
        claims: tuple[Mapping[str, str], ...],
        *,
        seal: object,
    ) -> None:
        if seal is not _SEAL:
            raise TypeError("only a trust policy makes a Verified")
        object.__setattr__(self, "subject", subject)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "keyids", keyids)
        object.__setattr__(self, "claims", claims)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Verified does not change")

    def __init_subclass__(cls) -> None:
        raise TypeError("Verified has no subclasses")

    def __reduce__(self) -> str:
        raise TypeError("a Verified is not copied and not stored")

    def __repr__(self) -> str:
        return f"Verified({self.subject.digest}, keyids={self.keyids})"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerReport:
    """One line about one candidate. ``keyid`` is verified where ``identity`` is set, else only claimed."""

    keyid: str
    identity: str
    format: str
    status: str
    detail: str
    digest: Digest
    claims: Mapping[str, str]
    expires: datetime | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "keyid": self.keyid,
            "identity": self.identity,
            "format": self.format,
            "status": self.status,
            "detail": self.detail,
            "digest": str(self.digest),
            "claims": dict(self.claims),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One reason to refuse, with the exit code that it alone would have."""

    exit_code: int
    reason: str
    detail: str

    @property
    def public(self) -> Reason:
        return Reason(_REFUSALS[self.exit_code].klass, self.reason, self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``verified`` is set unless the outcome is ``fail``; ``would_exit`` where a softer mode let it pass."""

    outcome: Outcome
    exit_code: int
    klass: str
    reasons: tuple[Reason, ...]
    signers: tuple[SignerReport, ...]
    verified: Verified | None
    would_exit: int | None = None
    subject: Descriptor
    name: str

    def raise_if_refused(self) -> Verified:
        """Raises the `Refusal` of the most serious reason; ``reasons`` are all of them, ``verdict`` is this."""
        if self.verified is not None:
            return self.verified
        first = self.reasons[0]
        error = _REFUSALS[self.exit_code](first.detail, reason=first.reason)
        error.reasons = self.reasons
        error.verdict = self
        raise error


def passed(
    subject: Descriptor,
    name: str,
    keyids: tuple[str, ...],
    claims: tuple[Mapping[str, str], ...],
    signers: tuple[SignerReport, ...],
) -> Verdict:
    """For `ocimodel.trust.policy` alone."""
    return Verdict(
        outcome="pass",
        exit_code=0,
        klass="none",
        reasons=(),
        signers=signers,
        verified=Verified(subject, name, keyids, claims, seal=_SEAL),
        subject=subject,
        name=name,
    )


def refused(subject: Descriptor, name: str, findings: list[Finding], signers: tuple[SignerReport, ...]) -> Verdict:
    """The verdict of at least one finding."""
    ordered = sorted(findings, key=lambda finding: SEVERITY.index(finding.exit_code))
    first = ordered[0]
    return Verdict(
        outcome="fail",
        exit_code=first.exit_code,
        klass=first.public.klass,
        reasons=tuple(finding.public for finding in ordered),
        signers=signers,
        verified=None,
        subject=subject,
        name=name,
    )
