"""Verdicts: what was decided, why, and by whose signatures.

Guarantees: a `Verified` exists only because a policy passed an artifact; there is no other way to make one.
A `Verdict` lists every reason that holds, the most serious first. Those that its mode enforces refuse; what is
wrong with the bytes and what is revoked refuses in every mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal, final, get_args

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
Mode = Literal["enforce", "warn", "audit"]

MODES: Final[tuple[Mode, ...]] = get_args(Mode)
"""From the one that refuses to the one that only writes down."""

CHECKS: Final[dict[int, str]] = {
    10: "signature",
    12: "signature",
    13: "certificate",
    14: "integrity",
    15: "expiry",
    16: "revocation",
    17: "metadata",
    18: "rollback",
    19: "attestations",
    21: "freshness",
}
"""Which check an exit code belongs to; ``formats`` shares 19."""

FORMATS = "formats"
CLOCK = "clock"
FORMAT_DENIED = "format-denied"
NO_SCOPE = "no-scope"
RETIRED = "retired-key"
NOT_A_PROMOTER = "not-a-promoter"
ROLLED_BACK = "rollback-gate"
VERSION_TAKEN = "version-taken"
SELF_APPROVED = "self-approved"
_HINTS: Final = {
    NO_SCOPE: "Add a scope whose glob matches that name to the policy; for a copy, name its original: --as.",
    RETIRED: "Sign it again with the key that counts now: ocimodel resign REPO --old-key OLD.pub --key KEY.",
    NOT_A_PROMOTER: "Promote with the key of somebody whom the policy, and the chain, let promote there.",
    ROLLED_BACK: "Only what was promoted there before can be put back: --rollback --reason TEXT.",
    VERSION_TAKEN: "Choose another --version: the tag of a version never moves.",
    SELF_APPROVED: "Have somebody approve it who did not build it: ocimodel approve REF --key KEY.",
}
"""What to do, where it depends on more than the class of a refusal."""
ALWAYS_ENFORCED = frozenset({"integrity", "revocation"})
SOFTENABLE: Final = tuple(sorted(({*CHECKS.values(), FORMATS}) - ALWAYS_ENFORCED))

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
    """Proof that a policy passed ``subject``. Made by `TrustPolicy.evaluate` alone.

    ``files_only``: it took signatures that cover the files and nothing else of the manifest; read that through
    `ocimodel.trust.recognition.signed_part`.
    """

    __slots__ = ("claims", "files_only", "keyids", "name", "subject")

    subject: Descriptor
    name: str
    keyids: tuple[str, ...]
    claims: tuple[Mapping[str, str], ...]
    files_only: bool

    def __init__(
        self,
        subject: Descriptor,
        name: str,
        keyids: tuple[str, ...],
        claims: tuple[Mapping[str, str], ...],
        *,
        files_only: bool = False,
        seal: object,
    ) -> None:
        if seal is not _SEAL:
            raise TypeError("only a trust policy makes a Verified")
        object.__setattr__(self, "subject", subject)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "keyids", keyids)
        object.__setattr__(self, "claims", claims)
        object.__setattr__(self, "files_only", files_only)

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
    def check(self) -> str:
        """The name of the check that found it."""
        return FORMATS if self.reason == FORMAT_DENIED else CHECKS[self.exit_code]

    @property
    def public(self) -> Reason:
        return Reason(_REFUSALS[self.exit_code].klass, self.reason, self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """Under which rules it was decided, and how hard they are.

    Attributes:
        scope: the glob that applied; empty where none did.
        checks: a mode for single checks, instead of ``mode``.
        exempted: by whom and until when the policy lets this artifact pass all the same; empty where it does not.
    """

    scope: str = ""
    environment: str = ""
    mode: Mode = "enforce"
    checks: Mapping[str, Mode] = field(default_factory=dict)
    exempted: str = ""

    def level(self, finding: Finding) -> Mode:
        """How hard ``finding`` is here."""
        if finding.check in ALWAYS_ENFORCED or finding.reason == NO_SCOPE:
            return "enforce"
        return "warn" if self.exempted else self.checks.get(finding.check, self.mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What `TrustPolicy.evaluate` decided. ``verified`` is set unless the outcome is ``fail``.

    Attributes:
        findings: every reason that holds, the most serious first.
        sequence: the highest sequence number that somebody whose word counts has signed.
        sequence_by: who has, as `ocimodel.trust.ring.mark` calls them.
        clock: by how much another clock is ahead of this machine's, where that explains all findings.
    """

    findings: tuple[Finding, ...]
    signers: tuple[SignerReport, ...]
    verified: Verified | None
    subject: Descriptor
    name: str
    ruling: Ruling
    sequence: int | None = None
    sequence_by: tuple[str, ...] = ()
    clock: timedelta | None = None

    @property
    def refusing(self) -> Finding | None:
        """The most serious finding of those that are enforced."""
        return next((finding for finding in self.findings if self.ruling.level(finding) == "enforce"), None)

    @property
    def outcome(self) -> Outcome:
        if self.refusing:
            return "fail"
        return "warn" if self.findings else "pass"

    @property
    def exit_code(self) -> int:
        return self.refusing.exit_code if self.refusing else 0

    @property
    def would_exit(self) -> int:
        """What it would have been if everything were enforced; differs from ``exit_code`` in softer modes."""
        return self.findings[0].exit_code if self.findings else 0

    @property
    def klass(self) -> str:
        worst = self.refusing or next(iter(self.findings), None)
        return self._labelled(worst.public).klass if worst else "none"

    @property
    def reasons(self) -> tuple[Reason, ...]:
        return tuple(self._labelled(finding.public) for finding in self.findings)

    def _labelled(self, reason: Reason) -> Reason:
        return replace(reason, klass=CLOCK) if self.clock is not None else reason

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user is to be told although it passed."""
        why = f"; {self.ruling.exempted}" if self.ruling.exempted else ""
        return tuple(f"{item.detail}{why}" for item in self.findings if self.ruling.level(item) == "warn")

    def with_finding(self, finding: Finding) -> Verdict:
        """The verdict with one more reason against the artifact, found after it was judged; never a better one."""
        refused = self.ruling.level(finding) == "enforce"
        findings = _in_order([*self.findings, finding])
        return replace(self, findings=findings, verified=None if refused else self.verified)

    def raise_if_refused(self) -> Verified:
        """Raises the `Refusal` of the most serious reason; ``reasons`` are all of them, ``verdict`` is this."""
        if self.verified is not None:
            return self.verified
        first = self.refusing or self.findings[0]
        error = _REFUSALS[first.exit_code](first.detail, reason=first.reason, hint=remedy(first.reason))
        error.reasons = self.reasons
        error.verdict = self
        if self.clock is not None:
            error.hint = _of_clock(self.clock)
        raise error


def remedy(reason: str) -> str | None:
    """What to do about a finding of this reason; None: what the class of the refusal says."""
    return _HINTS.get(reason)


def _of_clock(offset: timedelta) -> str:
    seconds = int(abs(offset).total_seconds())
    minutes, hours = seconds // 60 % 60, seconds // 3600
    far = f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"
    side = "behind" if offset > timedelta(0) else "ahead of"
    return f"By the registry's clock it would pass: this machine's is {far} {side} it. Set it, and run again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The signatures that count: a key id and the claims of each; ``files_only`` as in `Verified`."""

    keyids: tuple[str, ...] = ()
    claims: tuple[Mapping[str, str], ...] = ()
    files_only: bool = False


def decide(
    subject: Descriptor,
    name: str,
    findings: Iterable[Finding],
    accepted: Accepted,
    signers: tuple[SignerReport, ...],
    ruling: Ruling,
    sequence: int | None = None,
    sequence_by: tuple[str, ...] = (),
) -> Verdict:
    """For `ocimodel.trust.policy` alone: what ``findings`` come to under ``ruling``."""
    verdict = Verdict(
        findings=_in_order(findings),
        signers=signers,
        verified=None,
        subject=subject,
        name=name,
        ruling=ruling,
        sequence=sequence,
        sequence_by=sequence_by,
    )
    if verdict.refusing:
        return verdict
    keyids, claims = accepted.keyids, accepted.claims
    verified = Verified(subject, name, keyids, claims, files_only=accepted.files_only, seal=_SEAL)
    return replace(verdict, verified=verified)


def _in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda finding: SEVERITY.index(finding.exit_code)))
