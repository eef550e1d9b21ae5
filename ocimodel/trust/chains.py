"""Certificate chains, by the rules of the Notary Project (signature-specification.md, "Certificate Requirements").

    leaf ── intermediates ── root       each issued by the next; the root is part of the chain
    leaf                                alone, by itself: a leaf's rules hold, not a root's

Guarantees: everything here is pure and total. `broken` says what is wrong whatever time it is, `outside` when a
certificate was not valid; whoever trusts a chain asks for both, of every certificate in it. Neither says that a
chain is trusted, nor that none of it was revoked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from ocimodel.attest.notary import NotarySignature
from ocimodel.attest.signed import Signed
from ocimodel.errors import FormatError
from ocimodel.trust.claims import format_time
from ocimodel.trust.verdict import Finding

if TYPE_CHECKING:
    from ocimodel.keys.x509 import Certificate

Purpose = Literal["signing", "timestamping"]

TIME_STAMPING: Final = "1.3.6.1.5.5.7.3.8"
_NOT_FOR_SIGNING: Final = {
    "2.5.29.37.0": "any purpose",
    "1.3.6.1.5.5.7.3.1": "TLS servers",
    "1.3.6.1.5.5.7.3.2": "TLS clients",
    "1.3.6.1.5.5.7.3.4": "e-mail",
    TIME_STAMPING: "timestamps",
    "1.3.6.1.5.5.7.3.9": "OCSP responses",
}
_LEAF_MAY: Final = frozenset({"digital_signature", "content_commitment"})


def read(certificates: Sequence[bytes]) -> tuple[Certificate, ...]:
    """Raises `FormatError` where one of them cannot be read."""
    from ocimodel.keys import x509

    return tuple(x509.parse(item) for item in certificates)


def broken(chain: Sequence[Certificate], purpose: Purpose = "signing") -> str:
    """What is wrong with ``chain``, leaf first; empty where nothing is."""
    from ocimodel.keys import x509

    if not chain:
        return "there is no certificate"
    for position, certificate in enumerate(chain):
        last = position == len(chain) - 1
        itself = x509.issued(certificate, certificate)
        if last and not itself:
            return f"it does not end in a root: {certificate.name} is not signed by itself"
        if not last and itself:
            return f"{certificate.name} is signed by itself and is not the last"
        if not last and not x509.issued(certificate, chain[position + 1]):
            return f"{certificate.name} was not issued by {chain[position + 1].name}"
        if certificate.weak:
            return f"{certificate.name}: {certificate.weak}"
        wrong = _authority(certificate, position - 1, purpose) if position else _leaf(certificate, purpose)
        if wrong:
            return f"{certificate.name}: {wrong}"
    return ""


def outside(
    chain: Sequence[Certificate], earliest: datetime, latest: datetime, leeway: timedelta = timedelta(0)
) -> str:
    """Which of ``chain`` was not valid at every moment from ``earliest`` to ``latest``; empty where all were."""
    for certificate in chain:
        if shift(earliest, leeway) < certificate.not_before:
            return f"{certificate.name} is valid only from {format_time(certificate.not_before)} on"
        if shift(latest, -leeway) > certificate.not_after:
            return f"{certificate.name} was valid until {format_time(certificate.not_after)}"
    return ""


def leaf_of(signed: Signed) -> str:
    """What to call the certificate of a signature; nothing of it was checked."""
    try:
        return f"the certificate of {read(signed.certificates[:1])[0].name}"
    except FormatError:
        return "a certificate"


def problem(signed: Signed, now: datetime, leeway: timedelta) -> Finding | None:
    """What is wrong with the chain of a Notary signature, for those who trust the key itself; None: nothing."""
    if not isinstance(signed, NotarySignature):
        return None
    try:
        chain = read(signed.certificates)
    except FormatError as error:
        return Finding(exit_code=13, reason="certificate", detail=error.message)
    wrong = broken(chain)
    if wrong:
        return Finding(exit_code=13, reason="certificate", detail=f"the certificate chain is not in order: {wrong}")
    return expired(chain, now, leeway)


def expired(chain: Sequence[Certificate], now: datetime, leeway: timedelta) -> Finding | None:
    """Whether one of ``chain`` is not valid now."""
    wrong = outside(chain, now, now, leeway)
    if not wrong:
        return None
    early = any(shift(now, leeway) < certificate.not_before for certificate in chain)
    reason = "certificate-not-yet-valid" if early else "certificate-expired"
    return Finding(exit_code=15, reason=reason, detail=f"the certificate {wrong}")


def _leaf(certificate: Certificate, purpose: Purpose) -> str:
    if certificate.authority:
        return "it is an authority's, and authorities do not sign artifacts"
    usage = _usage(certificate, purpose)
    if usage:
        return usage
    uses = certificate.usage or frozenset()
    if "digital_signature" not in uses:
        return "its keyUsage is not for digital signatures"
    if not uses <= _LEAF_MAY:
        return f"its keyUsage has more than digital signatures: {', '.join(sorted(uses - _LEAF_MAY))}"
    purposes = certificate.purposes
    if purpose == "timestamping":
        return "" if purposes == (TIME_STAMPING,) and certificate.purposes_critical else "it is not for timestamps"
    others = [_NOT_FOR_SIGNING[item] for item in purposes or () if item in _NOT_FOR_SIGNING]
    return f"its extendedKeyUsage is for {', '.join(others)}" if others else ""


def _authority(certificate: Certificate, below: int, purpose: Purpose) -> str:
    if not certificate.authority:
        return "it is no authority's (basicConstraints), and has issued another"
    if certificate.depth is not None and certificate.depth < below:
        return f"it allows {certificate.depth} authorities below it, and there are {below}"
    usage = _usage(certificate, purpose)
    if usage:
        return usage
    return "" if "key_cert_sign" in (certificate.usage or ()) else "its keyUsage is not for issuing certificates"


def _usage(certificate: Certificate, purpose: Purpose) -> str:
    if certificate.usage is None:
        return "it has no keyUsage"
    if purpose == "signing" and not certificate.usage_critical:
        return "its keyUsage is not marked as critical"
    return ""


def shift(moment: datetime, by: timedelta) -> datetime:
    """``moment + by``, or ``moment`` where time ends before."""
    try:
        return moment + by
    except OverflowError:
        return moment
