"""cosign's private key files: PKCS#8 in a NaCl secretbox under a scrypt key, as JSON in PEM.

Guarantees: parameters that would take more than 1 GiB or minutes are refused before any work is done.
`cryptography` has no XSalsa20-Poly1305, so PyNaCl is needed; it is an extra.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import re
from typing import Any

from ocimodel import jsonio
from ocimodel.attest import base64s
from ocimodel.errors import FormatError, UsageError
from ocimodel.jsonio import Node

_BODY = re.compile(rb"-----BEGIN [A-Z ]+-----(.*)-----END", re.DOTALL)
_MAX_N = 2**20
_KEY_BYTES = 32
_NONCE_BYTES = 24


def decrypt(block: bytes, password: bytes, what: str) -> bytes:
    """PKCS#8 DER. Raises `UsageError`: wrong password, not such a file, or PyNaCl is missing."""
    try:
        salt, n, r, p, nonce, ciphertext = _read(block)
    except FormatError as error:
        raise UsageError(f"{what}: not a cosign key file: {error.message}") from None
    try:
        nacl: Any = importlib.import_module("nacl.secret")
        errors: Any = importlib.import_module("nacl.exceptions")
    except ImportError:
        raise UsageError(
            f"{what} is a cosign key file, which needs PyNaCl to be read",
            hint="pip install 'ocimodel[cosign]', or sign with a PKCS#8 copy of the key.",
        ) from None
    # What the computation takes (RFC 7914, section 6), and a little for OpenSSL.
    memory = 128 * r * (n + p + 2) + 2**20
    try:
        key = hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, dklen=_KEY_BYTES, maxmem=memory)
    except (ValueError, MemoryError):
        raise UsageError(
            f"{what}: its password cannot be tried here: that takes {memory >> 20} MiB of memory",
            hint="Use a machine with more, or import the key there: ocimodel key import.",
        ) from None
    try:
        return bytes(nacl.SecretBox(key).decrypt(ciphertext, nonce))
    except errors.CryptoError:
        raise UsageError(
            f"{what}: wrong password, or a damaged key", hint="Check the password and the file."
        ) from None


def _read(block: bytes) -> tuple[bytes, int, int, int, bytes, bytes]:
    match = _BODY.search(block)
    try:
        document = base64.b64decode(b"".join(match[1].split()) if match else b"", validate=True)
    except ValueError:
        raise FormatError("is not base64") from None
    node = Node(jsonio.loads(document, limit=64 * 1024, what="key file"))
    kdf, cipher = node.get("kdf"), node.get("cipher")
    if kdf.get("name").string() != "scrypt" or cipher.get("name").string() != "nacl/secretbox":
        node.fail("neither scrypt nor nacl/secretbox")
    params = kdf.get("params")
    n = params.get("N").integer(minimum=2, maximum=_MAX_N)
    if n & (n - 1):
        params.get("N").fail("must be a power of two")
    r, p = (params.get(name).integer(minimum=1, maximum=8) for name in ("r", "p"))
    nonce = base64s.decode(cipher.get("nonce"))
    if len(nonce) != _NONCE_BYTES:
        cipher.get("nonce").fail(f"must have {_NONCE_BYTES} bytes")
    return base64s.decode(kdf.get("salt")), n, r, p, nonce, base64s.decode(node.get("ciphertext"))
