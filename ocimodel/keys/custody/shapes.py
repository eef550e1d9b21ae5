"""The shapes in which devices and services give keys and signatures, and the ones that are used here.

Guarantees: a public key comes out in its one DER form, or not at all. Nothing secret passes through.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils

from ocimodel.errors import UsageError
from ocimodel.keys import backend

_CURVES: dict[bytes, ec.EllipticCurve] = {
    bytes.fromhex("06082a8648ce3d030107"): ec.SECP256R1(),
    bytes.fromhex("06052b81040022"): ec.SECP384R1(),
    bytes.fromhex("06052b81040023"): ec.SECP521R1(),
}
"""By CKA_EC_PARAMS: the DER of the curve's OID."""

_ED25519 = {bytes.fromhex("06032b6570"), b"\x13\x0cedwards25519"}
"""The OID of RFC 8410, or the name that PKCS #11 v3.0 has (section 2.3.5)."""

_DIGEST_INFO = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
"""RFC 8017, section 9.2, note 1."""


def from_der(der: bytes) -> bytes:
    """A SubjectPublicKeyInfo as somebody else wrote it. Raises `UsageError`."""
    try:
        key = serialization.load_der_public_key(der)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _unsupported() from None
    return _spki(key)


def from_certificate(der: bytes) -> bytes:
    """The key of an X.509 certificate, which is not judged. Raises `UsageError`."""
    try:
        return _spki(x509.load_der_x509_certificate(der).public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _unsupported() from None


def from_rsa(n: int, e: int) -> bytes:
    """The key of modulus and exponent. Raises `UsageError`."""
    try:
        return _spki(rsa.RSAPublicNumbers(e, n).public_key())
    except ValueError:
        raise _unsupported() from None


def from_coordinates(curve: str, x: int, y: int) -> bytes:
    """The key of a point on a curve, called as `Scheme.curve` calls it. Raises `UsageError`."""
    for known in _CURVES.values():
        if known.name == curve:
            try:
                return _spki(ec.EllipticCurvePublicNumbers(x, y, known).public_key())
            except ValueError:
                break
    raise _unsupported()


def from_point(parameters: bytes, point: bytes) -> bytes:
    """CKA_EC_PARAMS and CKA_EC_POINT (PKCS #11 v3.0, section 2.3.3). Raises `UsageError`.

    The point is a DER OCTET STRING, but for modules that leave the wrapping out.
    """
    try:
        if bytes(parameters) in _ED25519:
            return from_ed25519(_unwrapped(point, 32))
        curve = _CURVES[bytes(parameters)]
        encoded = _unwrapped(point, 1 + 2 * ((curve.key_size + 7) // 8))
        return _spki(ec.EllipticCurvePublicKey.from_encoded_point(curve, encoded))
    except (KeyError, ValueError):
        raise _unsupported() from None


def from_ed25519(raw: bytes) -> bytes:
    """The key of its 32 bytes. Raises ValueError."""
    return _spki(ed25519.Ed25519PublicKey.from_public_bytes(raw))


def ecdsa_der(raw: bytes) -> bytes:
    """r and s side by side (PKCS #11, Azure, JWS) as ASN.1 DER, as Sigstore has them."""
    half = len(raw) // 2
    return utils.encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))


def digest_info(name: str, digest: bytes) -> bytes:
    """What an RSA token signs that pads by itself (CKM_RSA_PKCS)."""
    return _DIGEST_INFO[name] + digest


def _unwrapped(data: bytes, size: int) -> bytes:
    if len(data) == size:
        return data
    header = b"\x04" + (bytes([size]) if size < 0x80 else bytes([0x81, size]))
    if data[: len(header)] != header or len(data) != len(header) + size:
        raise ValueError
    return data[len(header) :]


def _spki(key: object) -> bytes:
    backend.algorithm_of(key)
    assert isinstance(key, (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, rsa.RSAPublicKey))
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _unsupported() -> UsageError:
    return UsageError("the public key is damaged or of an unknown kind", hint=backend.HINT)
