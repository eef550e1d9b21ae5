"""A certificate for a key that has none: signed by itself, and such as the Notary Project takes for a signer's.

Guarantees: what is made keeps to the rules of `ocimodel.trust.chains` for a leaf that stands alone: keyUsage is
critical and says digitalSignature, extendedKeyUsage says codeSigning, and it is no authority's. It is a function of
its arguments alone where the key's signatures are. Any signer will do, also one whose key nobody can take out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from ocimodel.errors import UsageError
from ocimodel.keys import jose
from ocimodel.keys.algorithms import Algorithm
from ocimodel.keys.sealing import sign_message
from ocimodel.keys.signer import Signer
from ocimodel.keys.x509 import FAILURES

_NAMES = {
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "STREET": NameOID.STREET_ADDRESS,
    "POSTALCODE": NameOID.POSTAL_CODE,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "DC": NameOID.DOMAIN_COMPONENT,
    "UID": NameOID.USER_ID,
    "SERIALNUMBER": NameOID.SERIAL_NUMBER,
    "CN": NameOID.COMMON_NAME,
}
"""In the order in which they stand in a subject."""

_RSA = "1.2.840.113549.1.1.11"  # sha256WithRSAEncryption
_SIGNATURES = {
    Algorithm.ECDSA_P256: "1.2.840.10045.4.3.2",  # ecdsa-with-SHA256
    Algorithm.ECDSA_P384: "1.2.840.10045.4.3.3",
    Algorithm.ECDSA_P521: "1.2.840.10045.4.3.4",
    Algorithm.RSA_2048: _RSA,
    Algorithm.RSA_3072: _RSA,
    Algorithm.RSA_4096: _RSA,
}
_NULL = b"\x05\x00"
_SEQUENCE, _INTEGER, _BIT_STRING, _OCTETS, _OID, _BOOLEAN = 0x30, 0x02, 0x03, 0x04, 0x06, 0x01


def certificate(signer: Signer, subject: Sequence[tuple[str, str]], since: datetime, until: datetime) -> bytes:
    """The certificate, DER.

    Args:
        subject: names as RFC 4514 has them, with their values.

    Raises:
        UsageError: the Notary Project has no signatures by such keys, or the subject cannot be written.
        UnavailableError: the device or the service that holds the key does not answer.
    """
    jose.name_of(signer.public)
    name = _name(subject)
    algorithm = _SIGNATURES[signer.public.algorithm]
    identifier = _der(_SEQUENCE, _oid(algorithm) + (_NULL if algorithm == _RSA else b""))
    validity = _der(_SEQUENCE, _time(since) + _time(until))
    # Positive, and the same for the same certificate (RFC 5280, section 4.1.2.2).
    serial = b"\x01" + hashlib.sha256(signer.public.der + name + validity).digest()[:15]
    signed = _der(
        _SEQUENCE,
        _der(0xA0, _der(_INTEGER, b"\x02"))  # version 3
        + _der(_INTEGER, serial)
        + identifier
        + name
        + validity
        + name
        + signer.public.der
        + _der(0xA3, _der(_SEQUENCE, b"".join(_extension(*item) for item in _EXTENSIONS))),
    )
    signature = _der(_BIT_STRING, b"\0" + sign_message(signer, signed))
    return _der(_SEQUENCE, signed + identifier + signature)


_EXTENSIONS: tuple[tuple[x509.ExtensionType, bool], ...] = (
    (x509.BasicConstraints(ca=False, path_length=None), True),
    (
        x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=False,
            crl_sign=False,
            encipher_only=False,
            decipher_only=False,
        ),
        True,
    ),
    (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False),
)


def _name(subject: Sequence[tuple[str, str]]) -> bytes:
    given = dict(subject)
    unknown = sorted(given.keys() - _NAMES.keys())
    if unknown:
        raise UsageError(f"a subject here has no {unknown[0]}", hint=f"Known are {', '.join(_NAMES)}.")
    try:
        parts = [x509.NameAttribute(oid, given[name]) for name, oid in _NAMES.items() if name in given]
        return x509.Name(parts).public_bytes()
    except FAILURES as error:
        raise UsageError(f"the subject cannot be written: {error}", hint="C is a country's two letters.") from None


def _extension(value: x509.ExtensionType, critical: bool) -> bytes:
    marked = _der(_BOOLEAN, b"\xff") if critical else b""
    return _der(_SEQUENCE, _oid(value.oid.dotted_string) + marked + _der(_OCTETS, value.public_bytes()))


def _time(moment: datetime) -> bytes:
    """UTCTime through 2049, then GeneralizedTime (RFC 5280, section 4.1.2.5)."""
    text = moment.strftime("%Y%m%d%H%M%SZ")
    return _der(0x17, text[2:].encode()) if moment.year < 2050 else _der(0x18, text.encode())


def _oid(dotted: str) -> bytes:
    first, second, *rest = (int(part) for part in ObjectIdentifier(dotted).dotted_string.split("."))
    encoded = bytearray([first * 40 + second])
    for number in rest:
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.insert(0, number & 0x7F | 0x80)
        encoded += bytes(groups)
    return _der(_OID, bytes(encoded))


def _der(tag: int, content: bytes) -> bytes:
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8 or 1, "big")
    return bytes([tag]) + (size if len(content) < 0x80 else bytes([0x80 | len(size)]) + size) + content
