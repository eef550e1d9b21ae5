"""Certificate authorities as lines of the key ring: whoever has a chain to one of these roots, under these names.

    "certificates": {"acme": {"rootsFile": "acme-root.pem",
                              "subjects": ["C=US, ST=WA, O=acme, OU=models"],
                              "timestampRootsFile": "tsa.pem", "timestamp": "afterExpiry"}}

The rules are those of the Notary Project at level strict. Its signatures are opened, and no others: a chain in
another format has no rules that its writers agree on.

Guarantees: those of `ring`. A chain is trusted where a root of the line is part of it, byte for byte, and the chain
is in order; the leaf's subject has to match. Every certificate of the chain has to be valid: now, or all the while
that a time-stamping authority whose root is in the line leaves open for the moment of signing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, get_args

from ocimodel.attest.notary import AUTHORITY, X509, NotarySignature
from ocimodel.attest.signed import Signed
from ocimodel.errors import FormatError, UsageError
from ocimodel.jsonio import Node
from ocimodel.keys.public import PublicKey
from ocimodel.keys.sealing import opens
from ocimodel.trust import chains, revocation, stamps, subjects
from ocimodel.trust.evidence import thumbprint_name
from ocimodel.trust.fields import strings, word
from ocimodel.trust.revocation import Question, Revocation
from ocimodel.trust.ring import ALWAYS, Opening, Role, Standing, Trusted
from ocimodel.trust.verdict import Finding

if TYPE_CHECKING:
    from ocimodel.keys.timestamps import Stamp
    from ocimodel.keys.x509 import Certificate
    from ocimodel.trust.kinds import Line

Kind = Literal["ca", "signingAuthority"]
Timestamp = Literal["always", "afterExpiry"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
TIMESTAMPS: Final[tuple[Timestamp, ...]] = get_args(Timestamp)
_SCHEMES: Final = {"ca": X509, "signingAuthority": AUTHORITY}
_STAMPS: Final = ("timestampRoots", "timestampRootsFile")
ANYBODY: Final = "*"
_REVOKED: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateEntry:
    """A line of ``certificates``; a `ocimodel.trust.ring.Trusted`.

    Attributes:
        roots: DER.
        subjects: patterns, of which a leaf has to match one; None takes every leaf.
        kind: whose roots these are. A signing authority states itself when a signature was made, and is believed.
        stamps: roots of time-stamping authorities, DER; where there are none, tokens are not looked at.
        timestamp: whether each signature needs a token, or those alone whose certificates have expired.
        revocation: what has to be known of the certificates.
    """

    id: str
    roots: frozenset[bytes] = field(repr=False)
    subjects: tuple[subjects.Subject, ...] | None
    kind: Kind = "ca"
    stamps: frozenset[bytes] = field(default=frozenset(), repr=False)
    timestamp: Timestamp = "always"
    revocation: Revocation = revocation.OFF
    roles: frozenset[Role] = frozenset()
    standing: Standing = field(default=ALWAYS)

    @property
    def keyids(self) -> frozenset[str]:
        return frozenset(thumbprint_name(root) for root in self.roots)

    def opens(self, signed: Signed, now: datetime, leeway: timedelta) -> Opening | None:
        chain = self._chain(signed)
        if chain is None or not isinstance(signed, NotarySignature):
            return None
        leaf = chain[0]
        who = f"{self.id}: {leaf.name}"
        wrong = chains.broken(chain)
        if wrong:
            detail = f"the certificate chain of {who} is not in order: {wrong}"
            problem: Finding | None = Finding(exit_code=13, reason="certificate", detail=detail)
            return Opening(keyid=leaf.keyid, identity=who, problem=problem)
        if not _made(leaf, signed):
            return Opening(keyid=leaf.keyid, identity=who, forged=True)
        time, problem = self._validity(chain, signed, now, leeway)
        revoked = revocation.problem(chain, signed, self.revocation, now=now, leeway=leeway, time=time)
        if revoked is not None and (problem is None or revoked.exit_code == _REVOKED):
            problem = revoked
        return Opening(keyid=leaf.keyid, identity=who, time=time, problem=problem)

    def asks(self, signed: Signed, now: datetime, leeway: timedelta) -> Iterable[Question]:
        """What has to be found out before `opens` can tell; nothing about chains to which nobody here trusts.

        The services that are asked are those that a trusted authority has put into a certificate.
        """
        chain = self._chain(signed)
        if self.revocation.mode == "off" or chain is None or not isinstance(signed, NotarySignature):
            return
        if chains.broken(chain) or not _made(chain[0], signed):
            return
        yield from revocation.questions(chain, self.revocation)
        stamp, _ = _stamp(signed, self.stamps, chains.shift(now, leeway)) if self.stamps else (None, "")
        if stamp is not None:
            yield from revocation.questions(chains.read(stamp.chain), self.revocation)

    def _chain(self, signed: Signed) -> tuple[Certificate, ...] | None:
        """The chain of a signature by somebody whom this line trusts, as far as certificates tell."""
        if not isinstance(signed, NotarySignature) or signed.scheme != _SCHEMES[self.kind]:
            return None
        if self.roots.isdisjoint(signed.certificates):
            return None
        try:
            chain = chains.read(signed.certificates)
        except FormatError:
            return None
        mine = self.subjects is None or any(subjects.matches(item, chain[0]) for item in self.subjects)
        return chain if mine else None

    def _validity(
        self, chain: Sequence[Certificate], signed: NotarySignature, now: datetime, leeway: timedelta
    ) -> tuple[datetime | None, Finding | None]:
        """When the signature existed, if somebody trusted says so; and what that makes of its certificates."""
        if self.kind == "signingAuthority":
            return signed.time, _outside(chain, signed.time, signed.time, "made")
        expired = chains.expired(chain, now, leeway)
        if not self.stamps:
            return None, expired
        stamp, wrong = _stamp(signed, self.stamps, chains.shift(now, leeway))
        if stamp is not None:
            above = chains.read(stamp.chain)
            revoked = revocation.problem(above, signed, self.revocation, now=now, leeway=leeway, time=None)
            stamp, wrong = (None, f"of the timestamp: {revoked.detail}") if revoked else (stamp, "")
        if stamp is not None:
            outside = _outside(chain, stamp.earliest, stamp.latest, "timestamped")
            if outside is None or expired or self.timestamp == "always":
                return stamp.latest, outside
            return None, None
        if expired:
            return None, replace(expired, detail=f"{expired.detail}, and {wrong}")
        return None, Finding(exit_code=13, reason="timestamp", detail=wrong) if self.timestamp == "always" else None


def _outside(chain: Sequence[Certificate], earliest: datetime, latest: datetime, done: str) -> Finding | None:
    wrong = chains.outside(chain, earliest, latest)
    if not wrong:
        return None
    detail = f"the signature was {done} when a certificate was not valid: {wrong}"
    return Finding(exit_code=15, reason="certificate-expired", detail=detail)


def _stamp(signed: NotarySignature, roots: frozenset[bytes], now: datetime) -> tuple[Stamp | None, str]:
    """What its token proves; else why it proves nothing."""
    if not signed.timestamps:
        return None, "the signature carries no timestamp"
    return stamps.proven(signed.timestamps[0], signed.signature, roots, now)


def _made(leaf: Certificate, signed: Signed) -> bool:
    try:
        return opens(PublicKey.from_der(leaf.public), signed)
    except UsageError:
        return False


def entry(line: Line) -> Trusted:
    """The line that a section of a policy file describes. Raises `FormatError`."""
    from ocimodel.trust.kinds import STANDING

    node = line.node
    node.only("roots", "rootsFile", "subjects", "kind", *_STAMPS, "timestamp", "revocation", *STANDING)
    kind, timestamp = node.find("kind"), node.find("timestamp")
    stamped = any(node.find(name) for name in _STAMPS)
    if stamped:
        _can_stamp(node, kind)
    elif timestamp is not None:
        timestamp.fail(f"needs {' or '.join(_STAMPS)}: whose timestamps count")
    return CertificateEntry(
        id=line.id,
        roots=stamps.roots_of(*line.material("roots", "rootsFile")),
        subjects=_subjects(node.get("subjects")),
        kind=word(kind, KINDS) if kind else "ca",
        stamps=stamps.roots_of(*line.material(*_STAMPS)) if stamped else frozenset(),
        timestamp=word(timestamp, TIMESTAMPS) if timestamp else "always",
        revocation=revocation.parse(node.find("revocation"), line.read),
        roles=line.roles,
        standing=line.standing,
    )


def _can_stamp(node: Node, kind: Node | None) -> None:
    if kind is not None and kind.value == "signingAuthority":
        kind.fail("a signing authority states the time itself: leave the roots of timestamps out")
    stamps.can_stamp(node)


def _subjects(node: Node) -> tuple[subjects.Subject, ...] | None:
    given = strings(node)
    if given == (ANYBODY,):
        return None
    found = []
    for position, text in enumerate(given):
        try:
            found.append(subjects.parse(text))
        except FormatError as error:
            raise FormatError(error.what, path=f"{node.path}[{position}]") from None
    if not found:
        node.fail(f'must name at least one; ["{ANYBODY}"] takes whomever the authorities certify')
    if subjects.overlap(found):
        node.fail("has a subject that another one covers already")
    return tuple(found)
