"""PEM blocks by label (RFC 7468), so that a file is judged by what it says it is before anything decodes it."""

from __future__ import annotations

import re

from ocimodel.errors import UsageError

MAX_BYTES = 64 * 1024
PRIVATE = re.compile(r"PRIVATE KEY")
ENCRYPTED_PKCS8 = "ENCRYPTED PRIVATE KEY"
COSIGN = ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY")
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,64})-----\r?\n(.*?)-----END \1-----", re.DOTALL)


def blocks(data: bytes, *, limit: int = MAX_BYTES) -> list[tuple[str, bytes]]:
    """Label and whole text of each block. Text around blocks is allowed and ignored.

    Raises:
        UsageError: the file is larger than ``limit``: than what a key may have, unless that is given.
    """
    if len(data) > limit:
        raise UsageError(f"a file of keys or certificates has at most {limit} bytes")
    return [(match[1].decode("ascii"), match[0] + b"\n") for match in _BLOCK.finditer(data)]


def is_encrypted(kind: str, block: bytes) -> bool:
    """Whether a private key's block needs a password."""
    return kind == ENCRYPTED_PKCS8 or kind in COSIGN or b"Proc-Type: 4,ENCRYPTED" in block
