"""cosign's legacy signatures: tags ``sha256-<hex>.sig`` and ``.att`` beside the artifact (sigstore/cosign,
specs/SIGNATURE_SPEC.md), and the same documents as a referrer (its experimental OCI 1.1 mode).

    manifest ── layer: payload "simple signing" (JSON) ── annotation: the signature over the payload's bytes
             └─ layer: DSSE envelope (of a .att)       ── annotation: its predicate type

Guarantees: each layer stands for itself, with its own annotations; one that is malformed spoils no other. What is
signed is read from the very bytes under the signature, whose claims (``optional``) are texts: any other value is
its JSON text, so that none is lost and none is mistaken. ``docker-reference`` is written and never believed:
a signature is about a digest, wherever a copy of it lies. `payload` and `appended` are pure functions.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from ocimodel import jsonio
from ocimodel.attest import base64s
from ocimodel.attest.envelope import MAX_SIGNATURE, Envelope
from ocimodel.attest.signed import SignedStatement
from ocimodel.attest.statement import MAX_BYTES, Statement, Subject
from ocimodel.errors import FormatError, UsageError
from ocimodel.jsonio import Node
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import MAX_BYTES as MAX_MANIFEST

FORMAT = "cosign-legacy"
SIGNATURES, ATTESTATIONS = "sig", "att"
LAYERS = frozenset({media.COSIGN_PAYLOAD, media.DSSE_ENVELOPE})
"""Media types of the layers that are signatures and attestations."""

MAX_PAYLOAD = 1024 * 1024
MAX_CERTIFICATES = 16
_TYPE = "cosign container image signature"
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")


def tag_of(subject: Digest, ending: str) -> str:
    """Where cosign looks: ``sha256-<hex>.sig``, ``sha256-<hex>.att``."""
    return f"{subject.algorithm}-{subject.hex}.{ending}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacySignature:
    """A payload and the signature over it; a `ocimodel.attest.signed.Signed`."""

    message: bytes
    digest: Digest
    claims: Mapping[str, str] = field(default_factory=dict)
    signature: bytes
    certificates: tuple[bytes, ...] = ()
    timestamps: tuple[bytes, ...] = ()
    format: str = FORMAT
    algorithm: str = ""
    approves: bool = True
    predicate_type: str = ""
    statement: Statement | None = None
    expires: datetime | None = None

    @classmethod
    def from_bytes(cls, raw: bytes, annotations: Mapping[str, str]) -> Self:
        """A payload with its layer's annotations. Raises `FormatError` with the path of the bad field."""
        node = Node(jsonio.loads(raw, limit=MAX_PAYLOAD, what="payload"))
        node.only("critical", "optional")
        critical = node.get("critical")
        # What is critical has to be understood (the rule of simple signing), so nothing else may stand there.
        critical.only("identity", "image", "type")
        if critical.get("type").string() != _TYPE:
            critical.get("type").fail(f"must be {_TYPE!r}")
        identity, image = critical.get("identity"), critical.get("image")
        identity.only("docker-reference")
        identity.get("docker-reference").string()
        image.only("docker-manifest-digest")
        optional = node.find("optional")
        return cls(
            message=raw,
            digest=_digest(image.get("docker-manifest-digest")),
            claims=_claims(optional) if optional else {},
            signature=_signature(annotations),
            certificates=_certificates(annotations),
            timestamps=_timestamps(annotations),
        )

    def subjects_of(self, subject: Descriptor) -> Sequence[Subject]:
        if subject.digest != self.digest:
            return ()
        return (Subject(digest={self.digest.algorithm: self.digest.hex}, annotations=self.claims),)


def read_layer(layer: Descriptor, blob: bytes) -> LegacySignature | SignedStatement:
    """What a layer says.

    Raises:
        FormatError, DigestMismatchError: it is not what its descriptor promises, or malformed.
    """
    layer.digest.check(blob, "signature")
    if layer.media_type == media.COSIGN_PAYLOAD:
        return LegacySignature.from_bytes(blob, layer.annotations)
    envelope = Envelope.from_node(Node(jsonio.loads(blob, limit=2 * MAX_BYTES, what="envelope")))
    return SignedStatement(
        statement=Statement.from_bytes(envelope.payload),
        signature=envelope.signature,
        certificates=_certificates(layer.annotations),
        timestamps=_timestamps(layer.annotations),
        format=FORMAT,
    )


def layers_of(manifest: bytes) -> tuple[list[Descriptor], int]:
    """The signatures and attestations that a manifest lists, each once, and how many layers are malformed.

    Raises:
        FormatError: it is no manifest at all.
    """
    found: dict[tuple[Digest, tuple[tuple[str, str], ...]], Descriptor] = {}
    malformed = 0
    for item in _layers(manifest):
        try:
            layer = Descriptor.from_node(item)
        except FormatError:
            malformed += 1
            continue
        if layer.media_type in LAYERS:
            found.setdefault((layer.digest, tuple(sorted(layer.annotations.items()))), layer)
    return list(found.values()), malformed


def payload(subject: Digest, reference: str, claims: Mapping[str, str]) -> bytes:
    """What ``cosign sign`` signs of ``subject``, in the one order of its members that cosign has too.

    Args:
        reference: ``HOST/REPOSITORY``; informative.
        claims: ``cosign verify -a`` can check them.

    Raises:
        UsageError: a claim is not Unicode text.
    """
    document = {
        "critical": {
            "identity": {"docker-reference": reference},
            "image": {"docker-manifest-digest": str(subject)},
            "type": _TYPE,
        },
        "optional": dict(claims) or None,
    }
    try:
        return jsonio.canonical(document)
    except UnicodeEncodeError:
        raise UsageError("an annotation is not Unicode text") from None


def timestamp(response: bytes) -> str:
    """What the annotation ``dev.sigstore.cosign/rfc3161timestamp`` says of a TimeStampResp over the signature."""
    return jsonio.canonical({"SignedRFC3161Timestamp": base64s.encode(response)}).decode()


def appended(manifest: bytes | None, layers: Sequence[Descriptor]) -> tuple[bytes, bytes]:
    """``manifest`` (None: a new one) with ``layers`` at its end, and its new config. What others put there stays.

    Raises:
        FormatError: what stands there is no image manifest, or the new one would be larger than registries take.
    """
    document = _document(manifest) if manifest is not None else {}
    listed = [*document.get("layers", ()), *(layer.to_dict() for layer in layers)]
    config = _config([str(item.get("digest")) for item in listed if isinstance(item, dict)])
    descriptor = Descriptor(media_type=media.OCI_CONFIG, digest=Digest.of(config), size=len(config))
    # Not canonical, since what others wrote may hold what our encoder refuses.
    text = json.dumps(
        {**document, **_NEW, "config": descriptor.to_dict(), "layers": listed},
        ensure_ascii=False,
        separators=(",", ":"),
    )
    raw = text.encode()
    if len(raw) > MAX_MANIFEST:
        raise FormatError(
            f"the manifest of the signatures would have {len(raw)} bytes; registries take {MAX_MANIFEST}"
        )
    return raw, config


_NEW: Mapping[str, Any] = {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST}


def _document(manifest: bytes) -> Mapping[str, Any]:
    _layers(manifest)
    document: Mapping[str, Any] = jsonio.loads(manifest, limit=MAX_MANIFEST, what="manifest")
    return document


def _layers(manifest: bytes) -> list[Node]:
    node = Node(jsonio.loads(manifest, limit=MAX_MANIFEST, what="manifest"))
    return node.get("layers").items()


def _config(digests: Sequence[str]) -> bytes:
    """An image's config that fits the layers: cosign reads it before it adds a signature of its own."""
    epoch = "0001-01-01T00:00:00Z"
    return jsonio.canonical(
        {
            "architecture": "",
            "config": {},
            "created": epoch,
            "history": [{"created": epoch} for _ in digests],
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": list(digests)},
        }
    )


def _digest(node: Node) -> Digest:
    try:
        return Digest.parse(node.string(limit=160))
    except FormatError as error:
        raise FormatError(error.what, path=node.path) from None


def _claims(optional: Node) -> dict[str, str]:
    return {
        key: node.value if isinstance(node.value, str) else json.dumps(node.value, sort_keys=True)
        for key, node in optional.members()
    }


def _signature(annotations: Mapping[str, str]) -> bytes:
    node = Node(annotations.get(media.COSIGN_SIGNATURE), media.COSIGN_SIGNATURE)
    signature = base64s.decode(node)
    if not 0 < len(signature) <= MAX_SIGNATURE:
        node.fail(f"must have between 1 and {MAX_SIGNATURE} bytes")
    return signature


def _certificates(annotations: Mapping[str, str]) -> tuple[bytes, ...]:
    found: list[bytes] = []
    for key in (media.COSIGN_CERTIFICATE, media.COSIGN_CHAIN):
        for match in _CERTIFICATE.finditer(annotations.get(key, "")):
            try:
                found.append(base64.b64decode("".join(match[1].split()), validate=True))
            except binascii.Error:
                raise FormatError("is not PEM", path=key) from None
        if annotations.get(key, "").strip() and not found:
            raise FormatError("holds no certificate", path=key)
    if len(found) > MAX_CERTIFICATES:
        raise FormatError(f"has more than {MAX_CERTIFICATES} certificates", path=media.COSIGN_CHAIN)
    return tuple(found)


def _timestamps(annotations: Mapping[str, str]) -> tuple[bytes, ...]:
    text = annotations.get(media.COSIGN_TIMESTAMP)
    if text is None:
        return ()
    node = Node(jsonio.loads(text.encode("utf-8", "replace"), limit=MAX_PAYLOAD, what="timestamp"))
    return (base64s.decode(node.get("SignedRFC3161Timestamp")),)
