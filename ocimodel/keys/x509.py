"""X.509 certificates (RFC 5280), as far as trust in a signer hangs on them.

Guarantees: a `Certificate` is parsed to the end, and one that cannot be is none. `issued` says whether the key of
one certificate signed another. Nothing here knows which certificates are trusted, nor what time it is: see
`ocimodel.trust.chains`. Extensions other than those of `Certificate` are not honoured, critical or not, as the
Notary Project demands (signature-specification.md, "Other requirements").
"""

from __future__ import annotations

import hashlib
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID

from ocimodel.errors import FormatError, UsageError
from ocimodel.keys.pem import blocks

MAX_BYTES: Final = 64 * 1024
MAX_PEM: Final = 1024 * 1024

DIGITAL_SIGNATURE, CERT_SIGN = "digital_signature", "key_cert_sign"
_USAGES = (
    DIGITAL_SIGNATURE,
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    CERT_SIGN,
    "crl_sign",
)
_WITH_AGREEMENT = ("encipher_only", "decipher_only")
FAILURES: Final = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises about documents that it cannot read."""

_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_SPECIAL = re.compile(r'[,+"\\<>;=]')
_ESCAPE = r"\\\g<0>"
_MAX_NAME = 256
_SHORT = {"2.5.4.5": "SERIALNUMBER", "2.5.4.17": "POSTALCODE"}
"""Names of RFC 4519 and of Go's certificates, beyond those of RFC 4514."""

_LOCK = threading.RLock()
"""Warnings are the whole process's: two threads that restore them would restore each other's."""

_Kind = TypeVar("_Kind", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What one certificate says.

    Attributes:
        public: SubjectPublicKeyInfo in DER, as `ocimodel.keys.public.PublicKey` has it.
        subject: names with their values, in the certificate's order; a name's OID where it has no short form.
        several: some part of the subject has more than one name (RFC 4514: ``OU=a+CN=b``).
        authority: basicConstraints says that it is a CA; None where it has no basicConstraints.
        depth: how many CAs may stand below it; None does not limit.
        usage: what its key may do; None where it does not say.
        purposes: OIDs of extendedKeyUsage; None where it does not say.
        usage_critical, purposes_critical: whether these two are marked so.
        weak: why its key or its signature is not to be trusted, whoever made it; empty where nothing is.
    """

    der: bytes = field(repr=False)
    public: bytes = field(repr=False)
    subject: tuple[tuple[str, str], ...]
    several: bool
    subject_der: bytes = field(repr=False)
    issuer_der: bytes = field(repr=False)
    serial: int
    not_before: datetime
    not_after: datetime
    authority: bool | None
    depth: int | None
    usage: frozenset[str] | None
    purposes: tuple[str, ...] | None
    usage_critical: bool
    purposes_critical: bool
    weak: str
    ocsp: tuple[str, ...] = ()
    crls: tuple[str, ...] = ()

    @property
    def thumbprint(self) -> str:
        """SHA-256 of the certificate, as Notary Project manifests name it."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def keyid(self) -> str:
        """What `ocimodel.keys.public.PublicKey` calls its key."""
        return f"sha256:{hashlib.sha256(self.public).hexdigest()}"

    @property
    def name(self) -> str:
        """The subject as policies write it: bounded, and fit for printing whatever it holds."""
        text = ", ".join(f"{key}={_SPECIAL.sub(_ESCAPE, value)}" for key, value in self.subject)
        shown = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
        return f"{shown[:_MAX_NAME]}…" if len(shown) > _MAX_NAME else shown or "(no name)"


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings of the library: that a name is too long, or a serial number zero, is no news to who verifies."""
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@lru_cache(maxsize=256)
@quiet()
def parse(der: bytes) -> Certificate:
    """Raises `FormatError`."""
    if len(der) > MAX_BYTES:
        raise FormatError(f"the certificate has more than {MAX_BYTES} bytes")
    try:
        return _read(load(der))
    except FAILURES as error:
        raise FormatError(f"the certificate cannot be read: {_short(error)}") from None


@quiet()
def read_pem(pem: bytes, what: str) -> tuple[bytes, ...]:
    """All certificates of a PEM file as DER, in its order; of a DER file, the one. Raises `UsageError`."""
    if pem.startswith(b"\x30\x82"):
        return (_canonical(pem, what),)
    found = []
    for kind, block in blocks(pem, limit=MAX_PEM):
        if kind != "CERTIFICATE":
            raise UsageError(f"{what}: holds a {kind.lower()}", hint="Give certificates in PEM, and nothing else.")
        found.append(_canonical(block, what))
    if not found:
        raise UsageError(
            f"{what}: no certificate in PEM",
            hint="Give a file with blocks -----BEGIN CERTIFICATE-----, the signer's own first.",
        )
    return tuple(found)


def to_pem(der: bytes) -> bytes:
    """A certificate as PEM."""
    return load(der).public_bytes(serialization.Encoding.PEM)


def _canonical(data: bytes, what: str) -> bytes:
    try:
        return (x509.load_pem_x509_certificate if data.startswith(b"-----") else load)(data).public_bytes(
            serialization.Encoding.DER
        )
    except FAILURES:
        raise UsageError(f"{what}: a certificate in it is damaged") from None


def issued(child: Certificate, issuer: Certificate) -> bool:
    """Whether ``issuer``'s key signed ``child``, and ``child`` names it as its issuer."""
    if child.issuer_der != issuer.subject_der:
        return False
    return _signed(child.der, issuer.der)


def is_called(certificate: Certificate, issuer: x509.Name, serial: int) -> bool:
    """Whether these are its issuer and serial number, by which CMS names the certificate of a signer."""
    return certificate.serial == serial and certificate.issuer_der == issuer.public_bytes()


@lru_cache(maxsize=256)
@quiet()
def _signed(child: bytes, issuer: bytes) -> bool:
    try:
        load(child).verify_directly_issued_by(load(issuer))
    except (InvalidSignature, *FAILURES):
        return False
    return True


@lru_cache(maxsize=256)
def load(der: bytes) -> x509.Certificate:
    """As the library has it; for this package alone. Raises what the library raises."""
    with quiet():
        return x509.load_der_x509_certificate(der)


def _read(found: x509.Certificate) -> Certificate:
    extensions = found.extensions
    basic = _extension(extensions, x509.BasicConstraints)
    usage = _extension(extensions, x509.KeyUsage)
    purposes = _extension(extensions, x509.ExtendedKeyUsage)
    key = found.public_key()
    return Certificate(
        der=found.public_bytes(serialization.Encoding.DER),
        public=key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        subject=tuple((_name(item), _text(item.value)) for item in found.subject),
        several=any(len(list(part)) > 1 for part in found.subject.rdns),
        subject_der=found.subject.public_bytes(),
        issuer_der=found.issuer.public_bytes(),
        serial=found.serial_number,
        not_before=found.not_valid_before_utc,
        not_after=found.not_valid_after_utc,
        authority=basic.ca if basic else None,
        depth=basic.path_length if basic else None,
        usage=_usage(usage) if usage else None,
        purposes=tuple(item.dotted_string for item in purposes) if purposes else None,
        usage_critical=_critical(extensions, x509.KeyUsage),
        purposes_critical=_critical(extensions, x509.ExtendedKeyUsage),
        weak=_weakness(found, key),
        ocsp=_ocsp(extensions),
        crls=_crls(extensions),
    )


def _extension(extensions: x509.Extensions, kind: type[_Kind]) -> _Kind | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _critical(extensions: x509.Extensions, kind: type[x509.ExtensionType]) -> bool:
    return any(item.critical for item in extensions if item.oid == kind.oid)


def _usage(usage: x509.KeyUsage) -> frozenset[str]:
    # The library has no answer for these two where there is no key agreement that they could restrict.
    names = (*_USAGES, *(_WITH_AGREEMENT if usage.key_agreement else ()))
    return frozenset(name for name in names if getattr(usage, name))


def _name(attribute: x509.NameAttribute[str | bytes]) -> str:
    oid = attribute.oid.dotted_string
    return _SHORT.get(oid) or attribute.rfc4514_attribute_name


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else f"#{value.hex()}"


def _weakness(found: x509.Certificate, key: object) -> str:
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < 2048:
            return f"its RSA key has {key.key_size} bits"
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if key.key_size < 256:
            return f"its key is on a curve of {key.key_size} bits"
    elif not isinstance(key, ed25519.Ed25519PublicKey):
        return "its key is of a kind that is not supported"
    algorithm = found.signature_hash_algorithm
    if algorithm is not None and not isinstance(algorithm, _HASHES):
        return f"it is signed by way of {algorithm.name}"
    return ""


def _ocsp(extensions: x509.Extensions) -> tuple[str, ...]:
    access = _extension(extensions, x509.AuthorityInformationAccess)
    where = (item for item in access or () if item.access_method == AuthorityInformationAccessOID.OCSP)
    return tuple(item.access_location.value for item in where if _is_uri(item.access_location))


def _crls(extensions: x509.Extensions) -> tuple[str, ...]:
    points = _extension(extensions, x509.CRLDistributionPoints)
    names = (name for point in points or () for name in point.full_name or ())
    return tuple(name.value for name in names if _is_uri(name))


def _is_uri(name: x509.GeneralName) -> bool:
    return isinstance(name, x509.UniformResourceIdentifier)


def _short(error: Exception) -> str:
    """The library's own words, which may quote the certificate."""
    text = " ".join(str(error).split())
    return ascii(text[:120])[1:-1] or type(error).__name__
