"""Certificates of every kind, good and bad, from keys that tests make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID, ObjectIdentifier

from ocimodel.keys.signer import LocalSigner

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
UNTIL = datetime(2027, 1, 1, tzinfo=UTC)
CODE_SIGNING = "1.3.6.1.5.5.7.3.3"
TIME_STAMPING = "1.3.6.1.5.5.7.3.8"
USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
_NAMES = {
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "CN": NameOID.COMMON_NAME,
}
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@cache
def key(kind: str, number: int = 0) -> Key:
    """A key of this kind, the same for one ``number`` throughout a run."""
    curves: dict[str, ec.EllipticCurve] = {
        "p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1(), "p192": ec.SECP192R1()
    }  # fmt: skip
    del number
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind in curves:
        return ec.generate_private_key(curves[kind])
    return rsa.generate_private_key(public_exponent=65537, key_size=int(kind.removeprefix("rsa")))


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A certificate that is to be made. The defaults are a signer's own; `ca` makes them an authority's."""

    subject: tuple[tuple[str, str], ...] = (("C", "US"), ("ST", "WA"), ("O", "acme"), ("CN", "signer"))
    kind: str = "p256"
    number: int = 0
    since: datetime = SINCE
    until: datetime = UNTIL
    usage: frozenset[str] | None = frozenset({"digital_signature"})
    usage_critical: bool = True
    purposes: tuple[str, ...] | None = (CODE_SIGNING,)
    purposes_critical: bool = False
    authority: bool | None = None
    depth: int | None = None
    sha1: bool = False
    more: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    serial: int | None = None


def ca(name: str, **wishes: object) -> Wish:
    defaults: dict[str, object] = {
        "subject": (("C", "US"), ("ST", "WA"), ("O", "acme"), ("CN", name)),
        "usage": frozenset({"key_cert_sign", "crl_sign"}),
        "purposes": None,
        "authority": True,
    }
    return Wish(**{**defaults, **wishes})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Made:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: Key

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def signer(self) -> LocalSigner:
        return LocalSigner(self.key, label=self.certificate.subject.rfc4514_string())

    def write_key(self, path: Path) -> Path:
        path.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        path.chmod(0o600)
        return path


def make(wish: Wish, issuer: Made | None = None) -> Made:
    """The certificate, by ``issuer`` or by itself."""
    own = key(wish.kind, wish.number)
    by = issuer.key if issuer else own
    subject = x509.Name(
        [x509.NameAttribute(_NAMES.get(name) or ObjectIdentifier(name), value) for name, value in wish.subject]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(own.public_key())
        .serial_number(wish.serial or x509.random_serial_number())
        .not_valid_before(wish.since)
        .not_valid_after(wish.until)
    )
    if wish.usage is not None:
        usage = x509.KeyUsage(**{name: name in wish.usage for name in USAGES})
        builder = builder.add_extension(usage, critical=wish.usage_critical)
    if wish.purposes is not None:
        purposes = x509.ExtendedKeyUsage([ObjectIdentifier(item) for item in wish.purposes])
        builder = builder.add_extension(purposes, critical=wish.purposes_critical)
    if wish.authority is not None:
        builder = builder.add_extension(x509.BasicConstraints(wish.authority, wish.depth), critical=True)
    for extension, critical in wish.more:
        builder = builder.add_extension(extension, critical=critical)
    digest = None if isinstance(by, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    certificate = builder.sign(by, digest)
    return Made(_by_sha1(certificate, by) if wish.sha1 else certificate, own)


def _by_sha1(certificate: x509.Certificate, by: Key) -> x509.Certificate:
    """The same, signed in a way that no library would any more."""
    assert isinstance(by, rsa.RSAPrivateKey)
    found = asn1.Certificate.load(certificate.public_bytes(serialization.Encoding.DER))
    found["tbs_certificate"]["signature"]["algorithm"] = "sha1_rsa"
    found["signature_algorithm"]["algorithm"] = "sha1_rsa"
    found["signature_value"] = by.sign(found["tbs_certificate"].dump(), padding.PKCS1v15(), hashes.SHA1())  # noqa: S303
    return x509.load_der_x509_certificate(found.dump(force=True))


def chain(*wishes: Wish) -> tuple[Made, ...]:
    """Certificates, the root given first and the leaf last; they come back leaf first, as signatures carry them."""
    found: list[Made] = []
    for wish in wishes:
        found.append(make(wish, found[-1] if found else None))
    return tuple(reversed(found))


def good(kind: str = "p256", **wishes: object) -> tuple[Made, ...]:
    """Leaf, intermediate and root."""
    return chain(ca("root", number=1), ca("intermediate", number=2), Wish(kind=kind, **wishes))  # type: ignore[arg-type]


def pem(certificates: Sequence[Made]) -> bytes:
    return b"".join(item.pem for item in certificates)


def recent(**wishes: object) -> dict[str, object]:
    """Validity around the true present, for peers that go by the clock."""
    now = datetime.now(UTC).replace(microsecond=0)
    return {"since": now - timedelta(hours=1), "until": now + timedelta(days=30), **wishes}
