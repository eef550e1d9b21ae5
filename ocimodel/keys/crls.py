"""Certificate revocation lists (RFC 5280, section 5), as they lie before us.

Guarantees: pure and total. A CRL counts only if the certificate's own issuer signed it, by an algorithm that is not
broken; if the certificate is in its scope; and if now lies between its thisUpdate and its nextUpdate, which has to
be there. One that points to deltas counts together with one. Indirect CRLs, and those of some reasons only, do not
count. What does not count never says "good".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ocimodel.errors import UsageError
from ocimodel.keys.pem import blocks
from ocimodel.keys.revocation import HASHES, UNKNOWN, Answer, Times, extension, nothing
from ocimodel.keys.x509 import FAILURES, Certificate, load, quiet

MAX_BYTES: Final = 32 * 1024 * 1024
_CRITICAL = frozenset({x509.IssuingDistributionPoint.oid, x509.DeltaCRLIndicator.oid})
_KEYS = (rsa.RSAPublicKey, ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey)
_DER = serialization.Encoding.DER
_Crl = x509.CertificateRevocationList


@quiet()
def covered(issuer: Certificate, crls: Sequence[bytes]) -> bool:
    """Whether one of ``crls`` is of ``issuer``, good or not."""
    return any(found is not None and _name(found) == issuer.subject_der for found in map(_read_crl, crls))


@quiet()
def is_one(raw: bytes) -> bool:
    """Whether these bytes are a CRL that can be read."""
    return _read_crl(raw) is not None


@quiet()
def deltas(crl: bytes) -> tuple[str, ...]:
    """Where the deltas of a CRL are; empty where it has none, or is none."""
    found = _read_crl(crl)
    if found is None:
        return ()
    points = extension(found.extensions, x509.FreshestCRL)
    names = (name for point in points or () for name in point.full_name or ())
    return tuple(name.value for name in names if isinstance(name, x509.UniformResourceIdentifier))


@quiet()
def read_file(data: bytes, what: str) -> bytes:
    """The CRL in a file, DER or PEM, as DER. Raises `UsageError`."""
    found: bytes | None = data
    if b"-----BEGIN" in data[:4096]:
        listed = [block for kind, block in blocks(data, limit=2 * MAX_BYTES) if kind == "X509 CRL"]
        found = _from_pem(listed[0]) if len(listed) == 1 else None
    if found is None or _read_crl(found) is None:
        raise UsageError(f"{what}: not one CRL, in DER or PEM")
    return found


@quiet()
def by_lists(certificate: Certificate, issuer: Certificate, crls: Sequence[bytes], times: Times) -> Answer:
    """What these CRLs (DER) say about ``certificate``; a revocation that counts beats every "good"."""
    lists = [found for found in map(_read_crl, crls) if found is not None and _name(found) == issuer.subject_der]
    answers = [_by_list(certificate, issuer, found, lists, times) for found in lists if _base_number(found) is None]
    revoked = next((item for item in answers if item.outcome == "revoked"), None)
    return revoked or next((item for item in answers if item.outcome == "good"), (answers or [UNKNOWN])[-1])


def _by_list(
    certificate: Certificate, issuer: Certificate, crl: _Crl, lists: Sequence[_Crl], times: Times
) -> Answer:
    try:
        return _listed(certificate, issuer, crl, lists, times)
    except FAILURES:
        return nothing(f"the CRL of {issuer.name} cannot be read")


def _listed(
    certificate: Certificate, issuer: Certificate, crl: _Crl, lists: Sequence[_Crl], times: Times
) -> Answer:
    wrong = _unfit(certificate, issuer, crl, times)
    if wrong:
        return nothing(f"the CRL of {issuer.name}: {wrong}")
    used = [crl]
    if extension(crl.extensions, x509.FreshestCRL) is not None:
        delta = next((item for item in lists if _completes(item, crl, certificate, issuer, times)), None)
        if delta is None:
            return nothing(f"the CRL of {issuer.name} comes with a delta, which is missing")
        used.insert(0, delta)
    for found in used:
        entry = found.get_revoked_certificate_by_serial_number(certificate.serial)
        if entry is not None:
            return _by_entry(entry, times)
    return Answer(outcome="good")


def _unfit(certificate: Certificate, issuer: Certificate, crl: _Crl, times: Times) -> str:
    """Why a CRL by the issuer's name says nothing about ``certificate``; empty where it does."""
    if issuer.usage is not None and "crl_sign" not in issuer.usage:
        return "its issuer must not sign any"
    if not _signed_crl(crl, issuer):
        return "the signature does not verify"
    late = times.within(crl.last_update_utc, crl.next_update_utc)
    if late:
        return late
    for item in crl.extensions:
        if item.critical and item.oid not in _CRITICAL:
            return f"it has the extension {item.oid.dotted_string}, which is not known"
    return _out_of_scope(certificate, extension(crl.extensions, x509.IssuingDistributionPoint))


def _out_of_scope(certificate: Certificate, point: x509.IssuingDistributionPoint | None) -> str:
    if point is None:
        return ""
    if point.indirect_crl or point.only_contains_attribute_certs or point.only_some_reasons:
        return "it is an indirect one, or not about all reasons"
    if point.only_contains_ca_certs and not certificate.authority:
        return "it is about authorities alone"
    if point.only_contains_user_certs and certificate.authority:
        return "it is not about authorities"
    if point.relative_name is not None:
        return "it names where it belongs in a way that is not known"
    names = {name.value for name in point.full_name or () if isinstance(name, x509.UniformResourceIdentifier)}
    # One part of several by the same issuer would say "good" of all that stands in the others.
    return "" if point.full_name is None or names & set(certificate.crls) else "it is about other certificates"


def _completes(delta: _Crl, base: _Crl, certificate: Certificate, issuer: Certificate, times: Times) -> bool:
    """Whether ``delta`` and ``base`` make one CRL (RFC 5280, section 5.2.4)."""
    least, number, newer = _base_number(delta), _number(base), _number(delta)
    if least is None or number is None or newer is None or not least <= number <= newer:
        return False
    same = extension(delta.extensions, x509.IssuingDistributionPoint) == extension(
        base.extensions, x509.IssuingDistributionPoint
    )
    return same and not _unfit(certificate, issuer, delta, times)


def _by_entry(entry: x509.RevokedCertificate, times: Times) -> Answer:
    for item in entry.extensions:
        if item.critical and item.oid not in (x509.CRLReason.oid, x509.InvalidityDate.oid):
            return nothing("its entry in the CRL has an extension that is not known")
    reason = extension(entry.extensions, x509.CRLReason)
    if reason is not None and reason.reason is x509.ReasonFlags.remove_from_crl:
        return Answer(outcome="good")
    invalid = extension(entry.extensions, x509.InvalidityDate)
    if invalid is not None and times.signed is not None and times.signed < invalid.invalidity_date_utc:
        return Answer(outcome="good")
    said = f" ({reason.reason.value})" if reason is not None else ""
    return Answer(outcome="revoked", detail=f"since {entry.revocation_date_utc:%Y-%m-%d}{said}, by a CRL")


@lru_cache(maxsize=8)
def _read_crl(raw: bytes) -> _Crl | None:
    """A CRL of which everything can be read; None where it is none."""
    if len(raw) > MAX_BYTES:
        return None
    try:
        found = x509.load_der_x509_crl(raw)
        _ = found.extensions, found.last_update_utc, found.next_update_utc, found.issuer.public_bytes()
    except FAILURES:
        return None
    return found


def _from_pem(block: bytes) -> bytes | None:
    try:
        return x509.load_pem_x509_crl(block).public_bytes(_DER)
    except FAILURES:
        return None


def _name(crl: _Crl) -> bytes:
    return crl.issuer.public_bytes()


def _number(crl: _Crl) -> int | None:
    found = extension(crl.extensions, x509.CRLNumber)
    return found.crl_number if found else None


def _base_number(crl: _Crl) -> int | None:
    """Of a delta, the least number of a CRL that it completes."""
    found = extension(crl.extensions, x509.DeltaCRLIndicator)
    return found.crl_number if found else None


def _signed_crl(crl: _Crl, issuer: Certificate) -> bool:
    algorithm = crl.signature_hash_algorithm
    if algorithm is not None and not isinstance(algorithm, HASHES):
        return False
    key = load(issuer.der).public_key()
    return isinstance(key, _KEYS) and crl.is_signature_valid(key)
