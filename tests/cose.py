"""COSE_Sign1 by hand: what the Notary Project's envelopes look like in CBOR, right and wrong ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ocimodel.attest.cbor import Tagged, dump_bytes, dump_text, head
from ocimodel.attest.notary import AGENT, EXPIRY, SCHEME, TIME, X509, payload_of
from ocimodel.keys import jose
from ocimodel.oci import media
from tests.certificates import Made
from tests.notary import NOW
from tests.signers import MODEL

ALGORITHMS = {"ES256": -7, "ES384": -35, "ES512": -36, "PS256": -37, "PS384": -38, "PS512": -39}
SECONDS = int(NOW.timestamp())


def dump(value: Any) -> bytes:
    """CBOR of any value that the reader gives back."""
    if isinstance(value, bool) or value is None:
        return bytes([0xE0 | {False: 20, True: 21, None: 22}[value]])
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return dump_bytes(value)
    if isinstance(value, str):
        return dump_text(value)
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(dump, value))
    if isinstance(value, Tagged):
        return head(6, value.tag) + dump(value.value)
    assert isinstance(value, dict)
    return head(5, len(value)) + b"".join(dump(key) + dump(item) for key, item in value.items())


def envelope(
    chain: Sequence[Made],
    *,
    protected: Mapping[int | str, Any] | None = None,
    unprotected: Mapping[int | str, Any] | None = None,
    payload: bytes | None = None,
    expires: int | None = None,
    signature: bytes | None = None,
    tag: int | None = 18,
) -> bytes:
    """By the first of ``chain``; headers replaced, or left out where they are None."""
    signer = chain[0].signer
    headers: dict[int | str, Any] = {
        1: ALGORITHMS[jose.name_of(signer.public)],
        2: [SCHEME, *([EXPIRY] if expires else [])],
        3: media.NOTARY_PAYLOAD,
        SCHEME: X509,
        TIME: Tagged(1, SECONDS),
        **({EXPIRY: Tagged(1, expires)} if expires else {}),
    }
    open_: dict[int | str, Any] = {33: [item.der for item in chain], AGENT: "tests"}
    encoded = dump(_without(headers | dict(protected or {})))
    body = payload if payload is not None else payload_of(MODEL, {"team": "risk"})
    message = dump(["Signature1", encoded, b"", body])
    parts = [
        encoded,
        _without(open_ | dict(unprotected or {})),
        body,
        signature if signature is not None else jose.sign(signer, message),
    ]
    return dump(Tagged(tag, parts) if tag is not None else parts)


def _without(headers: Mapping[int | str, Any]) -> dict[int | str, Any]:
    return {name: value for name, value in headers.items() if value is not None}
