"""Keyless signatures: Sigstore bundles with a certificate of minutes, verified offline under a given trusted root.

Guarantees: nothing is fetched, and no root is used but the one that was given. A signer is recognised only by a
certificate that an authority of the root issued, with one identity in it, and by a signature that the
certificate's key made over these very bytes. Everything else is checked by the package `sigstore`, and what is
wrong with it is `Recognised.problem`: the chain, the certificate's own log, the time, and an entry in the
transparency log that ties digest, signature and certificate together. Beyond what that package checks, the times of
the root count: those in which a log's key and an authority were in use.

The package takes half a second to import, which happens once a certificate has been recognised and not before.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ObjectIdentifier

from ocimodel import jsonio
from ocimodel.attest import base64s
from ocimodel.attest.signed import Signed
from ocimodel.errors import ConfigurationError, FormatError, UsageError
from ocimodel.jsonio import Node
from ocimodel.keys.public import PublicKey
from ocimodel.keys.sealing import opens

if TYPE_CHECKING:
    from sigstore.verify import Verifier

MAX_ROOT = 1024 * 1024
MAX_AUTHORITIES = 256
_ISSUER = ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_ISSUER_V1 = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_USERNAME = ObjectIdentifier("1.3.6.1.4.1.57264.1.7")
_UTF8_STRING = 0x0C
_ROOT_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
# Certificates, log entries and tokens are anybody's bytes, and their parsers' failures are of many kinds.
_FAILURES = (
    ArithmeticError, AttributeError, InvalidSignature, LookupError, OSError, RuntimeError, TypeError,
    UnsupportedAlgorithm, ValueError, struct.error, x509.DuplicateExtension, x509.ExtensionNotFound,
    x509.InvalidVersion, x509.UnsupportedGeneralNameType,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """When something was in use; ``end`` None: it still is."""

    start: datetime
    end: datetime | None

    def holds(self, time: datetime) -> bool:
        return self.start <= time and (self.end is None or time <= self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """A signer that an authority of the root vouches for.

    Attributes:
        keyid: of the certificate's key, which signed once.
        time: when the signature existed, by a log or an authority of the root; None with a problem.
        problem: why it does not count all the same.
    """

    keyid: str
    subject: str
    issuer: str
    time: datetime | None = None
    problem: str = ""


@dataclass(frozen=True, eq=False)
class TrustedRoot:
    """A Sigstore ``trusted_root.json``: authorities, logs, and when each was in use."""

    raw: bytes
    authorities: tuple[tuple[x509.Certificate, Window], ...]
    logs: dict[bytes, Window]

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Raises `FormatError`; `ConfigurationError` where the package `sigstore` is not installed."""
        node = Node(jsonio.loads(raw, limit=MAX_ROOT, what="trusted root"))
        kind = node.get("mediaType")
        if kind.string() != _ROOT_TYPE:
            kind.fail("is not a trusted root of Sigstore, version 0.1")
        authorities = [
            (_certificate(item), _window(authority))
            for authority in node.get("certificateAuthorities").items(limit=MAX_AUTHORITIES)
            for item in authority.get("certChain").get("certificates").items(limit=MAX_AUTHORITIES)
        ]
        logs = {
            base64s.decode(log.get("logId").get("keyId")): _window(log.get("publicKey"))
            for log in node.get("tlogs").items(limit=MAX_AUTHORITIES)
        }
        if not authorities or not logs:
            raise FormatError("trusted root: names no certificate authority, or no transparency log")
        if find_spec("sigstore") is None:
            raise ConfigurationError(
                "keyless signatures need the package sigstore", hint="Install it: pip install 'ocimodel[keyless]'."
            )
        return cls(raw, tuple(authorities), logs)

    def recognise(self, signed: Signed, bundle: bytes, wanted: Callable[[str, str], bool]) -> Recognised | None:
        """Who signed, where ``wanted`` takes that subject and that issuer. Never raises about ``signed``.

        Args:
            bundle: the document that ``signed`` was read from.
        """
        if len(signed.certificates) != 1:
            return None
        try:
            leaf = x509.load_der_x509_certificate(signed.certificates[0])
            issued = [window for authority, window in self.authorities if _issued(leaf, authority)]
            subject, issuer = _identity(leaf)
            key = _key_of(leaf)
        except (*_FAILURES, UsageError):
            return None
        if not issued or not wanted(subject, issuer) or not opens(key, signed):
            return None
        found = Recognised(keyid=key.keyid, subject=subject, issuer=issuer)
        try:
            times = self._verified(signed, bundle, subject, issuer)
            problem = self._out_of_use(bundle, times, issued)
        except (_NotVerified, FormatError) as error:
            return replace(found, problem=str(error))
        # The latest is the one that the signer gains least by.
        return replace(found, problem=problem, time=None if problem else max(times))

    def _verified(self, signed: Signed, bundle: bytes, subject: str, issuer: str) -> list[datetime]:
        """The times that were proven, at least one. Raises `_NotVerified`."""
        from sigstore.errors import Error
        from sigstore.models import Bundle

        verifier = self._verifier
        try:
            parsed = Bundle.from_json(bundle)
            _, payload = verifier.verify_dsse(parsed, _Only(subject, issuer))
            same = parsed.signing_certificate.public_bytes(Encoding.DER) == signed.certificates[0]
            times = _times(bundle, signed.timestamps)
        except (*_FAILURES, Error) as error:
            raise _NotVerified(_sentence(error)) from None
        if not same or signed.statement is None or payload != signed.statement.raw or not times:
            raise _NotVerified("the bundle can be read in two ways")
        return times

    def _out_of_use(self, bundle: bytes, times: Sequence[datetime], issued: Sequence[Window]) -> str:
        """Why the root's times speak against it; empty where they do not."""
        if not any(all(window.holds(time) for time in times) for window in issued):
            return "its certificate authority was not in use then"
        (entry,) = _entries(bundle)
        window = self.logs.get(base64s.decode(entry.get("logId").get("keyId")))
        if window is None or not all(window.holds(time) for time in times):
            return "the key of its transparency log was not in use then"
        return ""

    @cached_property
    def _verifier(self) -> Verifier:
        import logging

        from sigstore.errors import Error
        from sigstore.models import TrustedRoot as Parsed
        from sigstore.verify import Verifier

        # It speaks of certificates that it passes over; on stderr that would stand among our own lines.
        logging.getLogger("sigstore").addHandler(logging.NullHandler())
        with tempfile.NamedTemporaryFile(prefix="ocimodel-", suffix=".json") as file:
            file.write(self.raw)
            file.flush()
            try:
                return Verifier(trusted_root=Parsed.from_file(file.name))
            except (*_FAILURES, Error) as error:
                raise ConfigurationError(f"the trusted root is not valid: {_sentence(error)}") from None


class _NotVerified(Exception):
    """A certificate that was recognised, and something about it that is wrong."""


class _Only:
    """A `sigstore.verify.policy.VerificationPolicy`: this very identity."""

    def __init__(self, subject: str, issuer: str) -> None:
        self._expected = (subject, issuer)

    def verify(self, cert: x509.Certificate) -> None:
        from sigstore.errors import VerificationError

        if _identity(cert) != self._expected:
            raise VerificationError("the certificate has another identity")


def _certificate(node: Node) -> x509.Certificate:
    raw = node.get("rawBytes")
    try:
        return x509.load_der_x509_certificate(base64s.decode(raw))
    except ValueError:
        raw.fail("is not a certificate")


def _window(node: Node) -> Window:
    valid = node.get("validFor")
    end = valid.find("end")
    return Window(start=_time(valid.get("start")), end=_time(end) if end else None)


def _time(node: Node) -> datetime:
    try:
        found = datetime.fromisoformat(node.string(limit=64))
    except ValueError:
        node.fail("is not a time")
    if found.tzinfo is None:
        node.fail("is a time without a zone")
    return found


def _issued(leaf: x509.Certificate, authority: x509.Certificate) -> bool:
    if leaf.issuer != authority.subject:
        return False
    try:
        leaf.verify_directly_issued_by(authority)
    except _FAILURES:
        return False
    return True


def _key_of(leaf: x509.Certificate) -> PublicKey:
    spki = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey.from_der(spki)


def _identity(leaf: x509.Certificate) -> tuple[str, str]:
    """The one subject, and the issuer of its token (sigstore/fulcio, docs/oid-info.md)."""
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (name,) = names
    if isinstance(name, x509.OtherName):
        subject = _utf8(name.value) if name.type_id == _USERNAME else ""
    elif isinstance(name, x509.RFC822Name | x509.UniformResourceIdentifier):
        subject = name.value
    else:
        subject = ""
    issuer = _issuer(leaf)
    if not subject or not (subject + issuer).isprintable():
        raise ValueError("a kind of name that identifies nobody")
    return subject, issuer


def _issuer(leaf: x509.Certificate) -> str:
    found = {item.oid: item.value for item in leaf.extensions if item.oid in (_ISSUER, _ISSUER_V1)}
    values = {oid: value.value for oid, value in found.items() if isinstance(value, x509.UnrecognizedExtension)}
    texts = {_utf8(value) if oid == _ISSUER else value.decode() for oid, value in values.items()}
    (issuer,) = texts
    return issuer


def _utf8(der: bytes) -> str:
    """A DER UTF8String of less than 64 KiB."""
    if der[0] != _UTF8_STRING:
        raise ValueError("no UTF8String")
    size, start = der[1], 2
    if size >= 0x80:
        count = size - 0x80
        if count not in (1, 2):
            raise ValueError("no definite length")
        size, start = int.from_bytes(der[2 : 2 + count], "big"), 2 + count
    if len(der) != start + size:
        raise ValueError("a length that is none")
    return der[start:].decode()


def _entries(bundle: bytes) -> list[Node]:
    from ocimodel.attest.bundle import MAX_BYTES, MAX_ENTRIES

    node = Node(jsonio.loads(bundle, limit=MAX_BYTES, what="bundle"))
    return node.get("verificationMaterial").get("tlogEntries").items(limit=MAX_ENTRIES)


def _times(bundle: bytes, tokens: Sequence[bytes]) -> list[datetime]:
    """The times in a bundle that was verified: at least one of them counted, and none is earlier than the earliest.

    A log's time counts only where it signed it (``inclusionPromise``).
    """
    from rfc3161_client import decode_timestamp_response

    found = [decode_timestamp_response(token).tst_info.gen_time for token in tokens]
    for entry in _entries(bundle):
        time = entry.find("integratedTime")
        if time is not None and entry.find("inclusionPromise") is not None and int(time.value):
            found.append(datetime.fromtimestamp(int(time.value), UTC))
    return found


def _sentence(error: BaseException) -> str:
    """What an error of another library says, in one line that cannot draw."""
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return text if text.isprintable() else ascii(text)
