"""Sigstore bundles, version 0.3 (sigstore/protobuf-specs, sigstore_bundle.proto), as cosign 3 writes them.

Guarantees: `public_key_bundle` is a pure function. A decoded `Bundle` has one content and one kind of
verification material, and no field that protobuf's JSON mapping would refuse. Log entries and timestamps are
kept and not judged: nothing here, and nothing above, claims that a signature was logged because an entry is there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from ocimodel import jsonio
from ocimodel.attest import base64s
from ocimodel.attest.envelope import MAX_SIGNATURE, Envelope
from ocimodel.jsonio import Node
from ocimodel.oci import media

MAX_BYTES = 8 * 1024 * 1024 + 64 * 1024
MAX_ENTRIES = 32
MAX_CERTIFICATES = 16
# The two spellings of version 0.3. What a later version means is not known, so none is taken.
_MEDIA_TYPES = re.compile(r"application/vnd\.dev\.sigstore\.bundle(?:\.v0\.3\+json|\+json;\s*version=0\.3)")

_Shape = dict[str, "_Shape | None"]
_LOG_ENTRY: _Shape = {
    "logIndex": None,
    "logId": {"keyId": None},
    "kindVersion": {"kind": None, "version": None},
    "integratedTime": None,
    "inclusionPromise": {"signedEntryTimestamp": None},
    "inclusionProof": {
        "logIndex": None,
        "rootHash": None,
        "treeSize": None,
        "hashes": None,
        "checkpoint": {"envelope": None},
    },
    "canonicalizedBody": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSignature:
    """A signature over a file's bytes, with the digest that it claims for them."""

    algorithm: str
    digest: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Exactly one of ``envelope`` and ``message``; exactly one of ``hint`` (a public key) and ``certificates``.

    ``raw`` are the bytes it was decoded from.
    """

    envelope: Envelope | None = None
    message: MessageSignature | None = None
    hint: str | None = None
    certificates: tuple[bytes, ...] = ()
    log_entries: int = 0
    timestamps: tuple[bytes, ...] = ()
    raw: bytes = field(default=b"", repr=False, compare=False)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Raises `FormatError` with the path of the bad field."""
        node = Node(jsonio.loads(raw, limit=MAX_BYTES, what="bundle"))
        node.only("mediaType", "verificationMaterial", "dsseEnvelope", "messageSignature")
        kind = node.get("mediaType")
        if _MEDIA_TYPES.fullmatch(kind.string()) is None:
            kind.fail(f"{kind.string()[:120]!r} is not {media.SIGSTORE_BUNDLE}")
        envelope, message = node.find("dsseEnvelope"), node.find("messageSignature")
        if (envelope is None) == (message is None):
            node.fail("must hold either dsseEnvelope or messageSignature")
        material = node.get("verificationMaterial")
        hint, certificates = _identity(material)
        entries = material.find("tlogEntries")
        logged = entries.items(limit=MAX_ENTRIES) if entries else []
        for entry in logged:
            _check_shape(entry, _LOG_ENTRY)
        return cls(
            envelope=Envelope.from_node(envelope) if envelope else None,
            message=_message(message) if message else None,
            hint=hint,
            certificates=certificates,
            log_entries=len(logged),
            timestamps=_timestamps(material),
            raw=raw,
        )


def public_key_bundle(envelope: Envelope, hint: str, timestamps: Sequence[bytes] = ()) -> bytes:
    """The bundle of an envelope that a plain key signed.

    Args:
        hint: the key's `ocimodel.keys.public.PublicKey.hint`; readers may look the key up by it, none trusts it.
        timestamps: over the envelope's signature, each a TimeStampResp (RFC 3161) in DER.
    """
    material: dict[str, Any] = {"publicKey": {"hint": hint}}
    if timestamps:
        stamped = [{"signedTimestamp": base64s.encode(item)} for item in timestamps]
        material["timestampVerificationData"] = {"rfc3161Timestamps": stamped}
    return jsonio.canonical(
        {
            "mediaType": media.SIGSTORE_BUNDLE,
            "verificationMaterial": material,
            "dsseEnvelope": envelope.to_dict(),
        }
    )


def _identity(material: Node) -> tuple[str | None, tuple[bytes, ...]]:
    material.only("publicKey", "certificate", "x509CertificateChain", "tlogEntries", "timestampVerificationData")
    given = [
        (key, node)
        for key in ("publicKey", "certificate", "x509CertificateChain")
        if (node := material.find(key)) is not None
    ]
    if len(given) != 1:
        material.fail("must hold exactly one of publicKey, certificate and x509CertificateChain")
    ((key, node),) = given
    if key == "publicKey":
        node.only("hint")
        hint = node.find("hint")
        return (hint.string(limit=1024) if hint else ""), ()
    if key == "certificate":
        return None, (_certificate(node),)
    node.only("certificates")
    chain = tuple(_certificate(item) for item in node.get("certificates").items(limit=MAX_CERTIFICATES))
    if not chain:
        node.fail("must hold a certificate")
    return None, chain


def _certificate(node: Node) -> bytes:
    node.only("rawBytes")
    return base64s.decode(node.get("rawBytes"))


def _message(node: Node) -> MessageSignature:
    node.only("messageDigest", "signature")
    digest = node.get("messageDigest")
    digest.only("algorithm", "digest")
    signature = base64s.decode(node.get("signature"))
    if not 0 < len(signature) <= MAX_SIGNATURE:
        node.get("signature").fail(f"must have between 1 and {MAX_SIGNATURE} bytes")
    return MessageSignature(
        algorithm=digest.get("algorithm").string(limit=64),
        digest=base64s.decode(digest.get("digest")),
        signature=signature,
    )


def _timestamps(material: Node) -> tuple[bytes, ...]:
    data = material.find("timestampVerificationData")
    if data is None:
        return ()
    data.only("rfc3161Timestamps")
    tokens = data.find("rfc3161Timestamps")
    result: list[bytes] = []
    for token in tokens.items(limit=MAX_ENTRIES) if tokens else ():
        token.only("signedTimestamp")
        result.append(base64s.decode(token.get("signedTimestamp")))
    return tuple(result)


def _check_shape(node: Node, shape: _Shape) -> None:
    node.only(*shape)
    for key, inner in shape.items():
        member = node.find(key)
        if member is not None and inner is not None:
            _check_shape(member, inner)
