"""Keys as `securesystemslib` calls them; it does the signing with the clouds' own libraries.

Guarantees: the scheme follows from the key and from what was asked for, never from a default of the library's
(which prefers RSASSA-PSS). What the libraries log goes nowhere unless a program that embeds us asks for it.
"""

from __future__ import annotations

import logging

from securesystemslib.signer import Signer as Custodian
from securesystemslib.signer import SSlibKey

from ocimodel.keys.public import PublicKey

_CURVES = {"secp256r1": "nistp256", "secp384r1": "nistp384", "secp521r1": "nistp521"}

# They log a failed call before they raise it, and what nobody handles goes to stderr.
for _library in ("securesystemslib", "azure", "google"):
    logging.getLogger(_library).addHandler(logging.NullHandler())
# securesystemslib prints by a handler of its own, which it adds when it is imported.
for _handler in list(logging.getLogger("securesystemslib").handlers):
    if type(_handler) is logging.StreamHandler:
        logging.getLogger("securesystemslib").removeHandler(_handler)


def scheme_of(public: PublicKey, *, pss: bool) -> str:
    """The name of the signature scheme; none for Ed25519, which the clouds' signers there do not know."""
    scheme = public.algorithm.scheme
    if scheme.family == "ecdsa":
        return f"ecdsa-sha2-{_CURVES[scheme.curve]}"
    return f"{'rsassa-pss' if pss else 'rsa-pkcs1v15'}-{scheme.hash_for(pss=pss)}"


def key_of(public: PublicKey, *, pss: bool) -> SSlibKey:
    """The key, bound to the scheme that it is to sign by."""
    kind = public.algorithm.scheme.family
    pem = public.to_pem().decode("ascii")
    return SSlibKey(public.keyid, kind, scheme_of(public, pss=pss), {"public": pem})


def signed(custodian: Custodian, message: bytes) -> bytes:
    """The signature over ``message``, which is hashed here. Raises what the cloud's library does."""
    return bytes.fromhex(custodian.sign(message).signature)
