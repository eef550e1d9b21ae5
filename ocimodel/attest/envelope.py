"""DSSE envelopes (secure-systems-lab/dsse v1.0), as Sigstore bundles carry them.

Guarantees: a decoded envelope holds exactly one signature over an in-toto payload, as sigstore clients demand;
the payload is kept as the very bytes that were signed. No key is known here: see `ocimodel.keys.sealing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from ocimodel.attest import base64s
from ocimodel.jsonio import Node
from ocimodel.oci import media

MAX_SIGNATURE = 4096
"""Bytes; RSA-4096 needs 512."""


def pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: what is really signed (dsse, protocol.md). Lengths count bytes.

    >>> pae("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One payload and one signature over `signed`."""

    payload: bytes
    signature: bytes
    payload_type: str = media.INTOTO_PAYLOAD

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Raises `FormatError`. A ``keyid`` is allowed and says nothing: the trusted key decides, never a hint."""
        node.only("payload", "payloadType", "signatures")
        kind = node.get("payloadType")
        if kind.string() != media.INTOTO_PAYLOAD:
            kind.fail(f"must be {media.INTOTO_PAYLOAD}")
        signatures = node.get("signatures")
        # Several signatures in one envelope invite counting one signer twice; sigstore clients refuse them too.
        if len(signatures.items()) != 1:
            signatures.fail("must hold exactly one signature")
        (entry,) = signatures.items()
        entry.only("sig", "keyid")
        keyid = entry.find("keyid")
        if keyid:
            keyid.string(limit=1024)
        signature = base64s.decode(entry.get("sig"))
        if not 0 < len(signature) <= MAX_SIGNATURE:
            entry.get("sig").fail(f"must have between 1 and {MAX_SIGNATURE} bytes")
        return cls(payload=base64s.decode(node.get("payload")), signature=signature)

    @property
    def signed(self) -> bytes:
        """The bytes under the signature."""
        return pae(self.payload_type, self.payload)

    def to_dict(self) -> dict[str, Any]:
        return {
            "payload": base64s.encode(self.payload),
            "payloadType": self.payload_type,
            # No keyid: where it is set, it has to equal the bundle's hint, and it tells nothing more.
            "signatures": [{"sig": base64s.encode(self.signature)}],
        }
