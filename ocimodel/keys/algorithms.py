"""The algorithms, by the names that users and verdicts see.

Sigstore's registry of algorithms decides which hash goes with which key, and that no other RSA size exists. The
algorithm of a signature always follows from the trusted key, never from the document that is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Algorithm(StrEnum):
    """Kind and size of a key, and with it the signature scheme and its hash."""

    ECDSA_P256 = "ecdsa-p256"
    ECDSA_P384 = "ecdsa-p384"
    ECDSA_P521 = "ecdsa-p521"
    ED25519 = "ed25519"
    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"

    @property
    def scheme(self) -> Scheme:
        return _SCHEMES[self]


DEFAULT = Algorithm.ECDSA_P256
"""What every peer verifies without being told anything."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """``hash``: of the message; None where the scheme hashes by itself (Ed25519, RFC 8032, pure).

    ``pss_hash``: what goes with an RSA key in RSASSA-PSS, by the Notary Project's table (signature specification,
    "Signature Algorithm Requirements").
    """

    family: str
    hash: str | None
    bits: int = 0
    curve: str = ""
    pss_hash: str = ""

    def hash_for(self, *, pss: bool) -> str | None:
        """The message's hash; ``pss`` only concerns RSA."""
        return self.pss_hash if pss and self.pss_hash else self.hash


_SCHEMES = {
    Algorithm.ECDSA_P256: Scheme("ecdsa", "sha256", curve="secp256r1"),
    Algorithm.ECDSA_P384: Scheme("ecdsa", "sha384", curve="secp384r1"),
    Algorithm.ECDSA_P521: Scheme("ecdsa", "sha512", curve="secp521r1"),
    Algorithm.ED25519: Scheme("ed25519", None),
    # RSASSA-PKCS1-v1_5 with SHA-256 for each size, as cosign has it.
    Algorithm.RSA_2048: Scheme("rsa", "sha256", bits=2048, pss_hash="sha256"),
    Algorithm.RSA_3072: Scheme("rsa", "sha256", bits=3072, pss_hash="sha384"),
    Algorithm.RSA_4096: Scheme("rsa", "sha256", bits=4096, pss_hash="sha512"),
}
