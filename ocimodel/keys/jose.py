"""Signatures by the names of JOSE and COSE (RFC 7518, section 3; RFC 9053): ES256 … ES512, PS256 … PS512.

Guarantees: a name never chooses how a signature is checked, it is only compared with the one that the key has: one
for each supported kind and size, as the Notary Project's table has it. ECDSA signatures are r and s, each of the
curve's size, and nothing else.
"""

from __future__ import annotations

from ocimodel.errors import UnavailableError, UsageError
from ocimodel.keys.algorithms import Algorithm
from ocimodel.keys.public import PublicKey
from ocimodel.keys.signer import Signer

_NAMES = {
    Algorithm.ECDSA_P256: "ES256",
    Algorithm.ECDSA_P384: "ES384",
    Algorithm.ECDSA_P521: "ES512",
    Algorithm.RSA_2048: "PS256",
    Algorithm.RSA_3072: "PS384",
    Algorithm.RSA_4096: "PS512",
}
_BYTES = {"ES256": 32, "ES384": 48, "ES512": 66}


def name_of(key: PublicKey) -> str:
    """Under which name ``key`` signs. Raises `UsageError` where there is none."""
    name = _NAMES.get(key.algorithm)
    if name is None:
        raise UsageError(
            f"the Notary Project has no signatures by {key.algorithm} keys",
            hint="Sign with an ECDSA or an RSA key, or with --format sigstore.",
        )
    return name


def sign(signer: Signer, message: bytes) -> bytes:
    """The signature over ``message``, checked.

    Raises:
        UsageError: the key, or the place where it lives, does not sign in that way.
        UnavailableError: the device or the service did not answer with a signature by that key.
    """
    name = name_of(signer.public)
    signature = signer.sign(message, pss=True)
    # A faulty deterministic signature can give the private key away, so none leaves unchecked.
    if not signer.public.verify(signature, message, pss=True):
        raise UnavailableError(
            f"the signature does not verify under {signer.public}", hint="Check the device or the service."
        )
    size = _BYTES.get(name)
    return signature if size is None else _raw(signature, size)


def verify(key: PublicKey, name: str, signature: bytes, message: bytes) -> bool:
    """Whether ``key`` made ``signature``, and ``name`` is the name for that."""
    if not name or _NAMES.get(key.algorithm) != name:
        return False
    size = _BYTES.get(name)
    if size is None:
        return key.verify(signature, message, pss=True)
    return len(signature) == 2 * size and key.verify(_der(signature, size), message)


def _der(raw: bytes, size: int) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import utils

    return utils.encode_dss_signature(int.from_bytes(raw[:size], "big"), int.from_bytes(raw[size:], "big"))


def _raw(der: bytes, size: int) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import utils

    r, s = utils.decode_dss_signature(der)
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")
