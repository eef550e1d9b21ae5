"""Certificate authorities as lines of the key ring: whoever has a chain to one of these roots, under these names.

    "certificates": {"acme": {"rootsFile": "acme-root.pem",
                              "subjects": ["C=US, ST=WA, O=acme, OU=models"]}}

The rules are those of the Notary Project at level strict. Its signatures are opened, and no others: a chain in
another format has no rules that its writers agree on.

Guarantees: those of `ring`. A chain is trusted where a root of the line is part of it, byte for byte, and the chain
is in order; the leaf's subject has to match. Every certificate of the chain has to be valid: now, or at a trusted
time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, get_args

from ocimodel.attest.notary import AUTHORITY, X509, NotarySignature
from ocimodel.attest.signed import Signed
from ocimodel.errors import FormatError, UsageError
from ocimodel.jsonio import Node
from ocimodel.keys.public import PublicKey
from ocimodel.keys.sealing import opens
from ocimodel.trust import chains, subjects
from ocimodel.trust.evidence import thumbprint_name
from ocimodel.trust.fields import strings, word
from ocimodel.trust.ring import ALWAYS, Opening, Role, Standing, Trusted
from ocimodel.trust.verdict import Finding

if TYPE_CHECKING:
    from ocimodel.keys.x509 import Certificate
    from ocimodel.trust.kinds import Line

Kind = Literal["ca", "signingAuthority"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_SCHEMES: Final = {"ca": X509, "signingAuthority": AUTHORITY}
ANYBODY: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateEntry:
    """A line of ``certificates``; a `ocimodel.trust.ring.Trusted`.

    Attributes:
        roots: DER.
        subjects: patterns, of which a leaf has to match one; None takes every leaf.
        kind: whose roots these are. A signing authority states itself when a signature was made, and is believed.
    """

    id: str
    roots: frozenset[bytes] = field(repr=False)
    subjects: tuple[subjects.Subject, ...] | None
    kind: Kind = "ca"
    roles: frozenset[Role] = frozenset()
    standing: Standing = field(default=ALWAYS)

    @property
    def keyids(self) -> frozenset[str]:
        return frozenset(thumbprint_name(root) for root in self.roots)

    def opens(self, signed: Signed, now: datetime, leeway: timedelta) -> Opening | None:
        if not isinstance(signed, NotarySignature) or signed.scheme != _SCHEMES[self.kind]:
            return None
        if self.roots.isdisjoint(signed.certificates):
            return None
        try:
            chain = chains.read(signed.certificates)
        except FormatError:
            return None
        leaf = chain[0]
        if self.subjects is not None and not any(subjects.matches(item, leaf) for item in self.subjects):
            return None
        who = f"{self.id}: {leaf.name}"
        wrong = chains.broken(chain)
        if wrong:
            detail = f"the certificate chain of {who} is not in order: {wrong}"
            return Opening(
                keyid=leaf.keyid,
                identity=who,
                problem=Finding(exit_code=13, reason="certificate", detail=detail),
            )
        if not _made(leaf, signed):
            return Opening(keyid=leaf.keyid, identity=who, forged=True)
        moment = signed.time if self.kind == "signingAuthority" else None
        problem = self._validity(chain, moment, now, leeway)
        return Opening(keyid=leaf.keyid, identity=who, time=moment, problem=problem)

    def _validity(
        self, chain: Sequence[Certificate], moment: datetime | None, now: datetime, leeway: timedelta
    ) -> Finding | None:
        if moment is None:
            return chains.expired(chain, now, leeway)
        wrong = chains.outside(chain, moment, moment)
        if not wrong:
            return None
        detail = f"the signature was made when its certificates were not valid: {wrong}"
        return Finding(exit_code=15, reason="certificate-expired", detail=detail)


def _made(leaf: Certificate, signed: Signed) -> bool:
    try:
        return opens(PublicKey.from_der(leaf.public), signed)
    except UsageError:
        return False


def entry(line: Line) -> Trusted:
    """The line that a section of a policy file describes. Raises `FormatError`."""
    from ocimodel.trust.kinds import STANDING

    node = line.node
    node.only("roots", "rootsFile", "subjects", "kind", *STANDING)
    pem, where = line.material("roots", "rootsFile")
    kind = node.find("kind")
    return CertificateEntry(
        id=line.id,
        roots=_roots(pem, where),
        subjects=_subjects(node.get("subjects")),
        kind=word(kind, KINDS) if kind else "ca",
        roles=line.roles,
        standing=line.standing,
    )


def _roots(pem: bytes, where: Node) -> frozenset[bytes]:
    from ocimodel.keys import x509

    try:
        found = x509.read_pem(pem, "")
        for certificate in chains.read(found):
            # The rule of notation's trust stores: what is put there by mistake is mostly somebody's leaf.
            if not certificate.authority and not x509.issued(certificate, certificate):
                where.fail(f"{certificate.name} is neither an authority's nor signed by itself")
    except UsageError as error:
        raise FormatError(error.message.removeprefix(": "), path=where.path) from None
    return frozenset(found)


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
