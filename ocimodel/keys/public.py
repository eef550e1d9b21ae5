"""Public keys, and the two names that each one has.

Guarantees: a `PublicKey` holds a supported key in its one DER form, so that two spellings of one key are equal
and never count twice. `verify` answers yes or no; it takes the algorithm from the key alone.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Self

from ocimodel.errors import UsageError
from ocimodel.keys.algorithms import Algorithm
from ocimodel.keys.pem import PRIVATE, blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """``der`` is SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7); ``label`` only helps people."""

    der: bytes
    algorithm: Algorithm
    label: str = field(default="", compare=False)

    @classmethod
    def from_pem(cls, pem: bytes, *, label: str = "") -> Self:
        """The one public key of a PEM file.

        Raises:
            UsageError: there is none, there are several, it is a private key, or of a kind that is not supported.
        """
        found = blocks(pem)
        if any(PRIVATE.search(kind) for kind, _ in found):
            raise UsageError(
                f"{label or 'the key'}: that is a private key",
                hint="Verifying takes the public key, the file that ends in .pub; keep the private one secret.",
            )
        if any(kind == "CERTIFICATE" for kind, _ in found):
            raise UsageError(
                f"{label or 'the key'}: that is a certificate",
                hint="Take the key out of it (openssl x509 -pubkey -noout -in FILE), or name its root in a policy.",
            )
        publics = [block for kind, block in found if kind == "PUBLIC KEY"]
        if len(publics) != 1 or len(found) != 1:
            raise UsageError(
                f"{label or 'the key'}: not one public key in PEM",
                hint="Give a file with one block -----BEGIN PUBLIC KEY-----, one file a key.",
            )
        from ocimodel.keys import backend

        return cls.from_der(backend.public_from_pem(publics[0]), label=label)

    @classmethod
    def from_der(cls, der: bytes, *, label: str = "") -> Self:
        """Takes the DER that `ocimodel.keys.backend` made."""
        from ocimodel.keys import backend

        return cls(der=der, algorithm=backend.describe(der), label=label)

    @property
    def keyid(self) -> str:
        """What verdicts, annotations and policies call this key: ``sha256:`` and hex of the hash of its DER."""
        return f"sha256:{hashlib.sha256(self.der).hexdigest()}"

    @property
    def hint(self) -> str:
        """What Sigstore bundles call this key: base64 of the same hash."""
        return base64.b64encode(hashlib.sha256(self.der).digest()).decode("ascii")

    def verify(self, signature: bytes, message: bytes, *, pss: bool = False) -> bool:
        """Whether the holder of this key signed ``message``; with ``pss``, an RSA one by RSASSA-PSS (any salt)."""
        from ocimodel.keys import backend

        return backend.verify(self.der, signature, message, pss=pss)

    def verify_digest(self, signature: bytes, digest: bytes) -> bool:
        """As `verify`, where only the message's digest is at hand. False for Ed25519, which needs the message."""
        from ocimodel.keys import backend

        return backend.verify_digest(self.der, signature, digest)

    def to_pem(self) -> bytes:
        from ocimodel.keys import backend

        return backend.public_pem(self.der)

    def __str__(self) -> str:
        return f"{self.label} ({self.keyid})" if self.label else self.keyid


def keyid_of_hint(hint: str) -> str | None:
    """The key id that a bundle's hint stands for, or None where it is another tool's kind of hint."""
    try:
        raw = base64.b64decode(hint, validate=True)
    except ValueError:
        return None
    return f"sha256:{raw.hex()}" if len(raw) == hashlib.sha256().digest_size else None
