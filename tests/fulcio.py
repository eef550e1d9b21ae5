"""A Sigstore of our own, for one process: an authority, its certificate log, a transparency log.

    sigstore = Sigstore()
    bundle = sigstore.sign(statement, subject="alice@example.org", issuer="https://login.example.org")
    sigstore.trusted_root()

Everything can be made wrong that somebody without one of the keys could make wrong, and what a mistaken authority
could: see the arguments of `Sigstore.sign`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from ocimodel.attest.envelope import pae
from ocimodel.jsonio import canonical
from ocimodel.oci import media

BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
END = datetime(2040, 1, 1, tzinfo=UTC)
SIGNED = datetime(2026, 2, 1, 12, 0, tzinfo=UTC)
"""When things are signed, unless told otherwise."""

ISSUER = "https://login.example.org"
ALICE = "alice@example.org"
_SCT_LIST = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_ISSUER = ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_ISSUER_V1 = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ORIGIN = "log.example.org - 1"

Key = ec.EllipticCurvePrivateKey


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def spki(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def sign(key: Key, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def log_id(key: Key) -> bytes:
    return hashlib.sha256(spki(key)).digest()


@dataclass
class Sigstore:
    """Its keys, and its certificates."""

    root_key: Key = field(default_factory=new_key)
    ca_key: Key = field(default_factory=new_key)
    ct_key: Key = field(default_factory=new_key)
    log_key: Key = field(default_factory=new_key)

    def __post_init__(self) -> None:
        self.root = _authority("root", self.root_key, "root", self.root_key)
        self.ca = _authority("intermediate", self.ca_key, "root", self.root_key)

    def trusted_root(
        self, *, authority: tuple[datetime, datetime] = (BEGIN, END), log: tuple[datetime, datetime] = (BEGIN, END)
    ) -> bytes:
        """``trusted_root.json``; the times say when the authority and the log's key were in use."""
        chain = [{"rawBytes": b64(item.public_bytes(Encoding.DER))} for item in (self.ca, self.root)]
        document = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [_log(self.log_key, *log)],
            "certificateAuthorities": [
                {
                    "subject": {"organization": "example.org", "commonName": "ours"},
                    "uri": "https://fulcio.example.org",
                    "certChain": {"certificates": chain},
                    "validFor": _valid(*authority),
                }
            ],
            "ctlogs": [_log(self.ct_key, BEGIN, END)],
            "timestampAuthorities": [],
        }
        return json.dumps(document).encode()

    def certificate(
        self,
        key: Key,
        *,
        subject: str = ALICE,
        issuer: str = ISSUER,
        start: datetime = SIGNED - timedelta(minutes=1),
        subjects: int = 1,
        usage: ObjectIdentifier = ExtendedKeyUsageOID.CODE_SIGNING,
        sct_key: Key | None = None,
        old_issuer: bool = False,
    ) -> x509.Certificate:
        """A leaf, good for ten minutes, with the proof of its certificate log."""

        def build(proof: bytes) -> x509.Certificate:
            names: list[x509.GeneralName] = [
                x509.RFC822Name(subject) if "://" not in subject else x509.UniformResourceIdentifier(subject)
            ]
            names += [x509.RFC822Name(f"other-{number}@example.org") for number in range(1, subjects)]
            oid, value = (_ISSUER_V1, issuer.encode()) if old_issuer else (_ISSUER, _utf8(issuer))
            builder = (
                x509.CertificateBuilder()
                .subject_name(x509.Name([]))
                .issuer_name(self.ca.subject)
                .public_key(key.public_key())
                .serial_number(int.from_bytes(hashlib.sha256(spki(key)).digest()[:8], "big"))
                .not_valid_before(start)
                .not_valid_after(start + timedelta(minutes=10))
                .add_extension(_key_usage(digital_signature=True), critical=True)
                .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
                .add_extension(x509.SubjectAlternativeName(names), critical=True)
                .add_extension(_ski(key), critical=False)
                .add_extension(_aki(self.ca_key), critical=False)
                .add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
                .add_extension(x509.UnrecognizedExtension(_SCT_LIST, _octets(proof)), critical=False)
            )
            return builder.sign(self.ca_key, hashes.SHA256())

        stamp = int(start.timestamp() * 1000)
        entry = _precertificate(build(_sct_list(b"\0" * 32, stamp, b"\0" * 70)), spki(self.ca_key), stamp)
        log = sct_key or self.ct_key
        return build(_sct_list(log_id(self.ct_key), stamp, sign(log, entry)))

    def sign(
        self,
        statement: bytes,
        *,
        at: datetime = SIGNED,
        key: Key | None = None,
        certificate: x509.Certificate | None = None,
        log_key: Key | None = None,
        promise_key: Key | None = None,
        logged: Callable[[dict[str, Any]], None] = lambda _body: None,
        changed: Callable[[dict[str, Any]], None] = lambda _bundle: None,
        **identity: Any,
    ) -> bytes:
        """A bundle of ``statement``.

        Args:
            at: when the log took it.
            log_key, promise_key: sign the log's head, and its promise, instead of the log's own.
            logged: changes what the log is told.
            changed: changes the bundle at the end.
            identity: arguments of `certificate`.
        """
        key = key or new_key()
        leaf = certificate or self.certificate(key, **identity)
        signature = sign(key, pae(media.INTOTO_PAYLOAD, statement))
        body = {
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(b"").hexdigest()},
                "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(statement).hexdigest()},
                "signatures": [{"signature": b64(signature), "verifier": b64(leaf.public_bytes(Encoding.PEM))}],
            },
        }
        logged(body)
        bundle = {
            "mediaType": media.SIGSTORE_BUNDLE,
            "verificationMaterial": {
                "certificate": {"rawBytes": b64(leaf.public_bytes(Encoding.DER))},
                "tlogEntries": [self._entry(canonical(body), at, log_key, promise_key)],
            },
            "dsseEnvelope": {
                "payload": b64(statement),
                "payloadType": media.INTOTO_PAYLOAD,
                "signatures": [{"sig": b64(signature)}],
            },
        }
        changed(bundle)
        return json.dumps(bundle).encode()

    def _entry(
        self, body: bytes, at: datetime, log_key: Key | None = None, promise_key: Key | None = None
    ) -> dict[str, Any]:
        """The first and only entry of the log, with the promise and the proof that it is there."""
        time, name = int(at.timestamp()), log_id(self.log_key)
        promise = {"body": b64(body), "integratedTime": time, "logID": name.hex(), "logIndex": 0}
        head = hashlib.sha256(b"\0" + body).digest()
        note = f"{_ORIGIN}\n1\n{b64(head)}\n"
        signed = b64(name[:4] + sign(log_key or self.log_key, note.encode()))
        return {
            "logIndex": "0",
            "logId": {"keyId": b64(name)},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(time),
            "inclusionPromise": {
                "signedEntryTimestamp": b64(sign(promise_key or self.log_key, canonical(promise)))
            },
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": b64(head),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": f"{note}\n\u2014 log.example.org {signed}\n"},
            },
            "canonicalizedBody": b64(body),
        }


def _authority(name: str, key: Key, issuer: str, issuer_key: Key) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGIN)
        .not_valid_after(END)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(_ski(key), critical=False)
        .add_extension(_aki(issuer_key), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _ski(key: Key) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def _aki(key: Key) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _key_usage(**on: bool) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: on.get(name, False) for name in names})


def _utf8(text: str) -> bytes:
    return b"\x0c" + _length(len(text.encode())) + text.encode()


def _octets(data: bytes) -> bytes:
    return b"\x04" + _length(len(data)) + data


def _length(size: int) -> bytes:
    if size < 0x80:
        return bytes([size])
    return bytes([0x81, size]) if size < 0x100 else b"\x82" + size.to_bytes(2, "big")


def _sct_list(name: bytes, stamp: int, signature: bytes) -> bytes:
    """RFC 6962, section 3.3: a list of one; SHA-256 with ECDSA."""
    sct = b"\0" + name + struct.pack("!QH", stamp, 0) + b"\x04\x03" + struct.pack("!H", len(signature)) + signature
    return struct.pack("!HH", len(sct) + 2, len(sct)) + sct


def _precertificate(certificate: x509.Certificate, issuer: bytes, stamp: int) -> bytes:
    """What a certificate log signs (RFC 6962, section 3.2)."""
    body = certificate.tbs_precertificate_bytes
    head = struct.pack("!BBQH", 0, 0, stamp, 1) + hashlib.sha256(issuer).digest()
    return head + len(body).to_bytes(3, "big") + body + struct.pack("!H", 0)


def _log(key: Key, start: datetime, end: datetime) -> dict[str, Any]:
    return {
        "baseUrl": "https://log.example.org",
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": b64(spki(key)),
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": _valid(start, end),
        },
        "logId": {"keyId": b64(log_id(key))},
    }


def _valid(start: datetime, end: datetime) -> dict[str, str]:
    return {"start": start.strftime("%Y-%m-%dT%H:%M:%SZ"), "end": end.strftime("%Y-%m-%dT%H:%M:%S.999Z")}
