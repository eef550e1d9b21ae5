"""Base64 that has one spelling for each value.

Guarantees: what `decode` takes, `encode` gives back to the letter, and so for the URL pair. Padding bits that are
not zero, line breaks, and padding and alphabet of the other kind are refused: a document must not be changeable
without its bytes changing.
"""

from __future__ import annotations

import base64
import binascii

from ocimodel.jsonio import Node

MAX_CHARACTERS = 8 * 1024 * 1024


def encode(data: bytes) -> str:
    """RFC 4648, section 4, padded."""
    return base64.b64encode(data).decode("ascii")


def decode(node: Node) -> bytes:
    """Raises `FormatError` with the field's path."""
    text = node.string(limit=MAX_CHARACTERS)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        node.fail("is not base64 (RFC 4648, section 4)")
    if encode(data) != text:
        node.fail("is not base64 in its one canonical spelling")
    return data


def encode_url(data: bytes) -> str:
    """RFC 4648, section 5, without padding, as JWS has it (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_url(node: Node) -> bytes:
    """Raises `FormatError` with the field's path."""
    text = node.string(limit=MAX_CHARACTERS)
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        node.fail("is not base64url (RFC 4648, section 5)")
    if encode_url(data) != text:
        node.fail("is not base64url in its one spelling, without padding")
    return data
