"""One candidate at a time: what it is worth.

Guarantees: `judge` is pure and total. `Status.GOOD` means: a signature that a line of the key ring recognises and
that counts at its time, over a statement whose one matching subject is this very artifact, attached to it, not
expired, and not made for another context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from ocimodel.attest.oms import files_only
from ocimodel.attest.signed import Signed
from ocimodel.errors import SEVERITY, FormatError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.trust import chains
from ocimodel.trust import claims as claiming
from ocimodel.trust.context import Deployment
from ocimodel.trust.counting import Vote
from ocimodel.trust.evidence import Candidate
from ocimodel.trust.ring import KeyEntry, Opening, Ring, Testimony, Trusted, in_order
from ocimodel.trust.verdict import Finding


class Status(StrEnum):
    """What became of a candidate; all but ``GOOD`` are ignored."""

    GOOD = "good"
    EXPIRED = "expired"
    NOT_YET = "not-yet-valid"
    REVOKED = "revoked"
    CERTIFICATE = "certificate"
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


AUTHENTIC = frozenset(
    {Status.GOOD, Status.EXPIRED, Status.NOT_YET, Status.REVOKED, Status.CERTIFICATE, Status.CONTEXT}
)
"""By a signer that the ring recognises and for this artifact, whatever else is wrong."""

BROKEN = frozenset({Status.AMBIGUOUS, Status.BAD_CLAIM, Status.BAD_SIGNATURE, Status.MALFORMED})
"""Not what it claims to be; serious only where it names, or is by, a trusted key."""

_BY_CODE = {13: Status.CERTIFICATE, 15: Status.EXPIRED, 16: Status.REVOKED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A line of the ring that recognised the signer.

    ``time`` is when the signature existed, by somebody whom the signer cannot sway; ``witness`` is the authority of
    the policy that says so, where it is one; ``problem`` is why it does not count.
    """

    entry: Trusted
    opening: Opening
    time: datetime | None = None
    witness: str = ""
    problem: Finding | None = None

    @property
    def vote(self) -> Vote:
        return Vote(self.entry, self.opening.keyid)

    @property
    def dated(self) -> str:
        """Which authority of the policy says that the signature is not younger than when; empty: none."""
        if self.time is None or not self.witness:
            return ""
        return f"timestamped {claiming.format_time(self.time)} by {self.witness}"

    @property
    def name(self) -> str:
        """As messages say it: what people call the signer, and the key's id."""
        identity, keyid = self.opening.identity, self.opening.keyid
        return f"{identity} ({keyid})" if identity and identity != keyid else keyid


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """``signers`` are there once lines of the ring were found to recognise the signature, and not before.

    ``finding`` is the reason that it gives to refuse, where nothing else suffices.
    """

    candidate: Candidate
    status: Status
    detail: str = ""
    signers: tuple[Signer, ...] = ()
    claims: Mapping[str, str] = field(default_factory=dict)
    expires: datetime | None = None
    finding: Finding | None = None

    @property
    def signer(self) -> Signer | None:
        """The one that reports show: one whose word counts, where there is one."""
        return min(self.signers, key=lambda signer: signer.problem is not None, default=None)

    @property
    def time(self) -> datetime | None:
        """A trusted time at which the signature existed."""
        return self.signer.time if self.signer else None

    @property
    def keyid(self) -> str:
        """The signer's key id where that was verified, else the one that is claimed, if any."""
        return self.signer.opening.keyid if self.signer else min(self.candidate.names, default="")

    @property
    def votes(self) -> tuple[Vote, ...]:
        """Whose word counts; none unless it is good."""
        good = self.status is Status.GOOD
        return tuple(signer.vote for signer in self.signers if good and signer.problem is None)

    @property
    def is_signature(self) -> bool:
        """Whether this counts as "there is a signature", good or not."""
        return self.candidate.signature_like and self.status not in (Status.ATTESTATION, Status.OTHER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What every candidate is held against.

    Attributes:
        entries: the lines of the ring that are asked.
        deployment: where the artifact is to be deployed, compared with what was signed.
        leeway: by how much this machine's clock may be wrong.
        needs_expiry: whether a signature without an end counts for nothing.
        longest: how far off the end of a signature may lie.
        seen: times at which candidates are known to have existed, by their digests.
    """

    subject: Descriptor
    ring: Ring
    entries: tuple[Trusted, ...]
    now: datetime
    deployment: Deployment = field(default_factory=Deployment)
    leeway: timedelta = timedelta(0)
    needs_expiry: bool = False
    longest: timedelta | None = None
    seen: Mapping[str, datetime] = field(default_factory=dict)


def judge(candidate: Candidate, terms: Terms) -> Judged:
    """What ``candidate`` is worth as a signature."""
    signed = candidate.signed
    if signed is None:
        return Judged(candidate=candidate, status=_unread(candidate), detail=candidate.problem)
    judged = judge_signer(candidate, signed, terms)
    # Where the manifest calls it a trusted key's signature and the bytes don't verify, damage may have made
    # the text say something else; everywhere else the statement says what it is.
    damaged = candidate.signature_like and judged.status is Status.BAD_SIGNATURE
    if signed.approves or damaged:
        return judged
    detail = f"says {signed.predicate_type}, which approves nothing"
    return Judged(candidate=candidate, status=Status.ATTESTATION, detail=detail, signers=judged.signers)


def judge_signer(candidate: Candidate, signed: Signed, terms: Terms) -> Judged:
    """What ``signed`` is worth as something that somebody of the ring said about the subject, whatever it says."""
    if candidate.problem:
        return Judged(candidate=candidate, status=_unread(candidate), detail=candidate.problem)
    signers, forged = _signers(candidate, signed, terms)
    if signers:
        return _judge_claims(candidate, signed, signers, terms)
    # A root that it names may have certified others, too: only its line can tell.
    keys = (entry for entry in terms.entries if isinstance(entry, KeyEntry))
    if forged or any(entry.keyids & candidate.names for entry in keys):
        detail = "names a trusted key, which has not signed these bytes"
        return Judged(candidate=candidate, status=Status.BAD_SIGNATURE, detail=detail)
    detail = (
        f"by {chains.leaf_of(signed)}, which nothing here trusts" if signed.certificates else "by no trusted key"
    )
    return Judged(candidate=candidate, status=Status.UNTRUSTED, detail=detail)


def _judge_claims(candidate: Candidate, signed: Signed, signers: tuple[Signer, ...], terms: Terms) -> Judged:
    matching = signed.subjects_of(terms.subject)
    attached = candidate.subject is not None and candidate.subject.digest == terms.subject.digest
    if not matching or not attached:
        detail = "made for another artifact" if not matching else "attached to another artifact"
        return Judged(candidate=candidate, status=Status.OTHER_SUBJECT, detail=detail, signers=signers)
    if len(matching) > 1:
        detail = "names this artifact more than once, so its claims contradict each other"
        return Judged(candidate=candidate, status=Status.AMBIGUOUS, detail=detail, signers=signers)
    claims = matching[0].annotations
    try:
        expires = min(filter(None, (claiming.expiry(claims), signed.expires)), default=None)
    except FormatError as error:
        bad = Status.BAD_CLAIM
        return Judged(candidate=candidate, status=bad, detail=error.message, signers=signers, claims=claims)
    # What covers the files alone does not cover the provenance.
    deployment = replace(terms.deployment, facts={}) if files_only(signed) else terms.deployment
    finding = _worst(_problems(signers, claims, expires, replace(terms, deployment=deployment)))
    return Judged(
        candidate=candidate,
        status=_status(finding),
        detail=finding.detail if finding else "",
        signers=signers,
        claims=claims,
        expires=expires,
        finding=finding,
    )


def _problems(
    signers: Sequence[Signer], claims: Mapping[str, str], expires: datetime | None, terms: Terms
) -> list[Finding]:
    who = signers[0].name
    found = []
    if all(signer.problem for signer in signers):
        found += [signer.problem for signer in signers if signer.problem]
    if expires is not None and terms.now - expires >= terms.leeway:
        detail = f"the signature by {who} expired at {claiming.format_time(expires)}"
        found.append(Finding(exit_code=15, reason="expired", detail=detail))
    elif (terms.needs_expiry or terms.longest is not None) and expires is None:
        detail = f"the signature by {who} has no end (sign it with --expires), and one is asked for"
        found.append(Finding(exit_code=15, reason="no-expiry", detail=detail))
    elif expires is not None and terms.longest is not None and expires - terms.now > terms.leeway + terms.longest:
        detail = f"the signature by {who} ends at {claiming.format_time(expires)}, later than is taken"
        found.append(Finding(exit_code=15, reason="expiry-too-far", detail=detail))
    mismatch = terms.deployment.mismatch(claims)
    if mismatch:
        found.append(Finding(exit_code=17, reason="metadata-mismatch", detail=f"{who}: {mismatch}"))
    return found


def _worst(findings: Sequence[Finding]) -> Finding | None:
    return min(findings, key=lambda finding: SEVERITY.index(finding.exit_code), default=None)


def _status(finding: Finding | None) -> Status:
    if finding is None:
        return Status.GOOD
    if finding.reason.endswith("not-yet-valid"):
        return Status.NOT_YET
    return _BY_CODE.get(finding.exit_code, Status.CONTEXT)


def _signers(candidate: Candidate, signed: Signed, terms: Terms) -> tuple[tuple[Signer, ...], bool]:
    """Every line that recognises it, but for plain keys, of which at most one can have made a signature.

    And whether a line says that it is forged.
    """
    found: list[Signer] = []
    forged = False
    seen = terms.seen.get(str(candidate.digest))
    stamped: Testimony | None = None
    for entry in in_order(terms.entries, candidate.names):
        if isinstance(entry, KeyEntry) and any(isinstance(signer.entry, KeyEntry) for signer in found):
            continue
        opening = entry.opens(signed, terms.now, terms.leeway)
        if opening is None or opening.forged:
            forged = forged or opening is not None
            continue
        if not found:
            # Only now: what strangers attach costs no look at tokens.
            stamped = terms.ring.time_of(signed, terms.now, terms.leeway)
        if stamped is not None and isinstance(entry, KeyEntry) and opening.problem is not None:
            # A chain may end after a token, as under a line of `certificates`.
            opening = entry.opens(signed, stamped.time, terms.leeway) or opening
        time = min(filter(None, (opening.time, seen, stamped.time if stamped else None)), default=None)
        standing = entry.standing.problem(opening.identity, time, terms.now, terms.leeway)
        problem = _worst([item for item in (standing, opening.problem) if item])
        witness = stamped.by if stamped is not None and stamped.time == time else ""
        found.append(Signer(entry=entry, opening=opening, time=time, witness=witness, problem=problem))
    return tuple(found), forged


def _unread(candidate: Candidate) -> Status:
    if candidate.damaged:
        return Status.MALFORMED
    return Status.UNSUPPORTED if candidate.format else Status.OTHER
