"""OCSP (RFC 6960): what to ask, and what an answer is worth.

Guarantees: `by_response` is pure and total. A response counts only if the certificate's own issuer signed it, or
somebody whom that issuer certified for it, by an algorithm that is not broken; if it is about this very
certificate; and if now lies between its thisUpdate and its nextUpdate, which has to be there. What does not count
never says "good". Requests have no nonce: responders keep their answers ready, and nextUpdate bounds their age.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from ocimodel.errors import FormatError
from ocimodel.keys.crls import by_lists
from ocimodel.keys.revocation import HASHES, UNKNOWN, Answer, Times, extension, nothing
from ocimodel.keys.x509 import FAILURES, Certificate, issued, load, parse, quiet

MAX_BYTES: Final = 64 * 1024
_MAX_RESPONDERS = 8
_PKCS1 = frozenset(
    {
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
    }
)
_DER = serialization.Encoding.DER


@quiet()
def request(certificate: Certificate, issuer: Certificate) -> bytes:
    """An OCSP request. It names the issuer by SHA-1, which is no secret and no proof: responders know no other."""
    builder = ocsp.OCSPRequestBuilder().add_certificate(load(certificate.der), load(issuer.der), hashes.SHA1())  # noqa: S303
    return builder.build().public_bytes(_DER)


@quiet()
def by_response(
    certificate: Certificate, issuer: Certificate, raw: bytes, crls: Sequence[bytes], times: Times
) -> Answer:
    """What a response (DER) says about ``certificate``; ``crls`` may speak of who signed it."""
    try:
        return _judged(certificate, issuer, raw, crls, times)
    except FAILURES:
        return nothing("the OCSP response cannot be read")


def _judged(
    certificate: Certificate, issuer: Certificate, raw: bytes, crls: Sequence[bytes], times: Times
) -> Answer:
    if len(raw) > MAX_BYTES:
        return nothing(f"the OCSP response has more than {MAX_BYTES} bytes")
    response = ocsp.load_der_ocsp_response(raw)
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        return nothing(f"the OCSP responder says {response.response_status.name.lower()}")
    single = next((item for item in response.responses if _is_about(item, certificate, issuer)), None)
    if single is None:
        return UNKNOWN  # about another one
    late = times.within(single.this_update_utc, single.next_update_utc)
    if late:
        return nothing(f"the OCSP response: {late}")
    if any(item.critical for item in response.extensions):
        return nothing("the OCSP response has an extension that is not known")
    wrong = _unauthorised(response, issuer, crls, times)
    if wrong:
        return nothing(f"the OCSP response: {wrong}")
    status = single.certificate_status
    if status is ocsp.OCSPCertStatus.GOOD:
        return Answer(outcome="good")
    if status is ocsp.OCSPCertStatus.UNKNOWN:
        return Answer(outcome="unknown", detail="its issuer's OCSP responder does not know it")
    when = single.revocation_time_utc
    return Answer(outcome="revoked", detail=f"{f'since {when:%Y-%m-%d}, ' if when else ''}by OCSP")


def _is_about(single: ocsp.OCSPSingleResponse, certificate: Certificate, issuer: Certificate) -> bool:
    if single.serial_number != certificate.serial:
        return False
    asked = (
        ocsp.OCSPRequestBuilder()
        .add_certificate(load(certificate.der), load(issuer.der), single.hash_algorithm)
        .build()
    )
    return (single.issuer_name_hash, single.issuer_key_hash) == (asked.issuer_name_hash, asked.issuer_key_hash)


def _unauthorised(response: ocsp.OCSPResponse, issuer: Certificate, crls: Sequence[bytes], times: Times) -> str:
    """Why whoever signed a response must not speak for ``issuer``; empty where he may."""
    if _signed_response(response, issuer):
        return ""
    for item in response.certificates[:_MAX_RESPONDERS]:
        try:
            responder = parse(item.public_bytes(_DER))
        except FormatError:
            continue
        if not _signed_response(response, responder):
            continue
        return _undelegated(responder, issuer, crls, times)
    return "neither the issuer nor anybody in it has signed it"


def _undelegated(responder: Certificate, issuer: Certificate, crls: Sequence[bytes], times: Times) -> str:
    if responder.weak or not issued(responder, issuer):
        return "who signed it was not certified by the issuer"
    if ExtendedKeyUsageOID.OCSP_SIGNING.dotted_string not in (responder.purposes or ()):
        return "who signed it is not certified for that"
    if responder.usage is not None and "digital_signature" not in responder.usage:
        return "who signed it must not sign"
    if times.within(responder.not_before, responder.not_after):
        return "the certificate of who signed it is not valid now"
    unchecked = extension(load(responder.der).extensions, x509.OCSPNoCheck) is not None
    if not unchecked and by_lists(responder, issuer, crls, times).outcome == "revoked":
        return "the certificate of who signed it was revoked"
    return ""


def _signed_response(response: ocsp.OCSPResponse, by: Certificate) -> bool:
    algorithm = response.signature_hash_algorithm
    key = load(by.der).public_key()
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(response.signature, response.tbs_response_bytes)
            return True
        if not isinstance(algorithm, HASHES):
            return False
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(algorithm))
            return True
        if isinstance(key, rsa.RSAPublicKey) and response.signature_algorithm_oid in _PKCS1:
            key.verify(response.signature, response.tbs_response_bytes, padding.PKCS1v15(), algorithm)
            return True
    except (InvalidSignature, *FAILURES):
        return False
    return False
