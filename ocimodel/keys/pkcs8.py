"""Encrypted PKCS#8 (RFC 5958, PBES2 of RFC 8018), written with a work factor of our own choosing.

`cryptography` encrypts PKCS#8 with 2,048 rounds of PBKDF2, which is nothing to a graphics card, and offers no
other number. The few lines of DER here make it 600,000; `openssl`, Go and Java read the result.
Reading is `cryptography`'s.
"""

from __future__ import annotations

import base64
import hashlib
import secrets

ROUNDS = 600_000
_SALT_BYTES = 16
_BLOCK = 16
_KEY_BYTES = 32
# Object identifiers, DER-encoded: pkcs-5 13, pkcs-5 12, digestAlgorithm 9, nistAlgorithm aes 42.
_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_PBKDF2 = bytes.fromhex("06092a864886f70d01050c")
_HMAC_SHA256 = bytes.fromhex("06082a864886f70d0209")
_AES_256_CBC = bytes.fromhex("060960864801650304012a")
_NULL = b"\x05\x00"


def encrypt(plain: bytes, password: bytes) -> bytes:
    """PEM ``ENCRYPTED PRIVATE KEY`` of plain PKCS#8 DER."""
    from ocimodel.keys import backend

    salt, iv = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_BLOCK)
    key = hashlib.pbkdf2_hmac("sha256", password, salt, ROUNDS, _KEY_BYTES)
    padding = _BLOCK - len(plain) % _BLOCK
    sealed = backend.aes_cbc(key, iv, plain + bytes([padding]) * padding)
    derivation = _sequence(_PBKDF2, _sequence(_octets(salt), _integer(ROUNDS), _sequence(_HMAC_SHA256, _NULL)))
    scheme = _sequence(_PBES2, _sequence(derivation, _sequence(_AES_256_CBC, _octets(iv))))
    return _pem(_sequence(scheme, _octets(sealed)))


def _pem(der: bytes) -> bytes:
    text = base64.b64encode(der)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join(
        (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", *lines, b"-----END ENCRYPTED PRIVATE KEY-----", b"")
    )


def _sequence(*parts: bytes) -> bytes:
    return _tagged(0x30, b"".join(parts))


def _octets(value: bytes) -> bytes:
    return _tagged(0x04, value)


def _integer(value: int) -> bytes:
    # One bit more than the value has, so that it stays positive.
    return _tagged(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _tagged(tag: int, value: bytes) -> bytes:
    size = len(value)
    if size < 0x80:
        return bytes([tag, size]) + value
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + value
