"""Who signed a TimeStampToken, by the certificates that it carries itself (CMS, RFC 5652, section 5).

Guarantees: `problem` is total. It says that a token was altered, and nothing about trust: anybody can make a
certificate. Tokens that count are verified by `ocimodel.keys.timestamps`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from ocimodel.errors import FormatError
from ocimodel.keys import x509
from ocimodel.keys.der import children, span

if TYPE_CHECKING:
    from rfc3161_client import TimeStampResponse

_HASHES: Final[dict[bytes, hashes.HashAlgorithm]] = {
    bytes.fromhex("608648016503040201"): hashes.SHA256(),
    bytes.fromhex("608648016503040202"): hashes.SHA384(),
    bytes.fromhex("608648016503040203"): hashes.SHA512(),
}
_MESSAGE_DIGEST: Final = bytes.fromhex("2a864886f70d010904")
_SET, _ATTRIBUTES = 0x31, 0xA0


def problem(response: TimeStampResponse) -> str:
    """Why the signature of the token in ``response`` is not by a certificate in it; empty where it is."""
    try:
        return _problem(response)
    except (*x509.FAILURES, FormatError, LookupError) as error:
        return f"its signature cannot be read: {type(error).__name__}"


def _problem(response: TimeStampResponse) -> str:
    (signer,) = response.signed_data.signer_infos
    carried = [x509.parse(item) for item in response.signed_data.certificates]
    leaf = next((item for item in carried if x509.is_called(item, signer.issuer, signer.serial_number)), None)
    if leaf is None:
        return "it does not carry the certificate of who signed it"
    token = response.time_stamp_token()
    signed_data, _ = children(token, children(token, 0)[1][0])[0]
    parts = children(token, signed_data)
    (info,) = children(token, parts[-1][0])
    fields = children(token, info[0])
    attributes = fields[3]
    if token[attributes[0]] != _ATTRIBUTES:
        return "it has no signed attributes"  # RFC 3161, section 2.4.2
    algorithm = _HASHES[_content(token, children(token, fields[2][0])[0][0])]
    content = children(token, children(token, parts[2][0])[1][0])
    said = _content(token, content[0][0])
    if _digest_in(token, attributes[0]) != hashlib.new(algorithm.name, said).digest():
        return "what it says is not what was signed"
    # Signed is a SET OF, whose tag stands implicitly in the token (section 5.4).
    message = bytes([_SET]) + token[attributes[0] + 1 : attributes[1]]
    good = _verifies(leaf.der, _content(token, fields[5][0]), message, algorithm)
    return "" if good else "its signature is not by the certificate that it names"


def _verifies(certificate: bytes, signature: bytes, message: bytes, algorithm: hashes.HashAlgorithm) -> bool:
    key = x509.load(certificate).public_key()
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(algorithm))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        elif isinstance(key, rsa.RSAPublicKey):
            _verify_rsa(key, signature, message, algorithm)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _verify_rsa(key: rsa.RSAPublicKey, signature: bytes, message: bytes, algorithm: hashes.HashAlgorithm) -> None:
    try:
        key.verify(signature, message, padding.PKCS1v15(), algorithm)
    except InvalidSignature:
        salted = padding.PSS(mgf=padding.MGF1(algorithm), salt_length=padding.PSS.AUTO)
        key.verify(signature, message, salted, algorithm)


def _digest_in(der: bytes, attributes: int) -> bytes:
    for start, _ in children(der, attributes):
        name, values = children(der, start)
        if _content(der, name[0]) == _MESSAGE_DIGEST:
            return _content(der, children(der, values[0])[0][0])
    raise ValueError("no message digest")


def _content(der: bytes, start: int) -> bytes:
    return der[slice(*span(der, start))]
