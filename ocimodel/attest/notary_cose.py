"""Notary Project signatures as COSE_Sign1 (specifications, signature-envelope-cose.md; RFC 9052); only read.

Guarantees: what was decoded is one tagged COSE_Sign1 with its payload inside; a header that changes what is signed
or how cannot stand where it is not signed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from ocimodel.attest import cbor
from ocimodel.attest.notary import (
    AGENT,
    AUTHENTIC_TIME,
    EXPIRY,
    MAX_BYTES,
    MAX_CERTIFICATE,
    MAX_CERTIFICATES,
    MAX_SIGNATURE,
    MAX_TOKEN,
    SCHEME,
    TIME,
    TIMESTAMP,
    Attributes,
    NotarySignature,
    NotUnderstoodError,
    target_of,
)
from ocimodel.errors import FormatError
from ocimodel.oci import media

_SIGN1, _EPOCH = 18, 1
_ALGORITHM, _CRITICAL, _CONTENT_TYPE, _CHAIN = 1, 2, 3, 33
_ALGORITHMS: Final = {-7: "ES256", -35: "ES384", -36: "ES512", -37: "PS256", -38: "PS384", -39: "PS512"}
_SIGNED_ONLY: Final = frozenset({_ALGORITHM, _CRITICAL, _CONTENT_TYPE, SCHEME, TIME, EXPIRY, AUTHENTIC_TIME})
_LAST: Final = 253_402_300_799
"""The last second of the year 9999."""


def decode(raw: bytes) -> NotarySignature:
    """Raises `FormatError`; `NotUnderstoodError` where it may be fine elsewhere."""
    found = cbor.loads(raw, limit=MAX_BYTES, what="envelope")
    if not isinstance(found, cbor.Tagged) or found.tag != _SIGN1:
        raise FormatError("the envelope is no tagged COSE_Sign1")
    if not isinstance(found.value, list) or len(found.value) != 4:
        raise FormatError("must have four parts", path="COSE_Sign1")
    encoded = _bytes(found.value[0], "protected", MAX_BYTES)
    protected = _map(cbor.loads(encoded, limit=MAX_BYTES, what="protected"), "protected")
    unprotected = _map(found.value[1], "unprotected")
    payload = _bytes(found.value[2], "payload", MAX_BYTES)
    for label in unprotected:
        if label in _SIGNED_ONLY or label in protected:
            raise FormatError(f"{ascii(label)[:80]} stands where it is not signed", path="unprotected")
    algorithm, attributes = _protected(protected)
    token, agent = unprotected.get(TIMESTAMP), unprotected.get(AGENT)
    if agent is not None and not isinstance(agent, str):
        raise FormatError("must be text", path=AGENT)
    return NotarySignature(
        message=_to_be_signed(encoded, payload),
        signature=_bytes(found.value[3], "signature", MAX_SIGNATURE),
        algorithm=algorithm,
        target=target_of(payload),
        scheme=attributes.scheme,
        time=attributes.time,
        expires=attributes.expires,
        certificates=_certificates(unprotected.get(_CHAIN)),
        timestamps=(_bytes(token, TIMESTAMP, MAX_TOKEN),) if token is not None else (),
    )


def _to_be_signed(protected: bytes, payload: bytes) -> bytes:
    """Sig_structure (RFC 9052, section 4.4), in its deterministic encoding."""
    parts = cbor.dump_text("Signature1"), cbor.dump_bytes(protected), cbor.dump_bytes(b""), cbor.dump_bytes(payload)
    return cbor.head(4, len(parts)) + b"".join(parts)


def _protected(headers: dict[int | str, Any]) -> tuple[str, Attributes]:
    algorithm = headers.get(_ALGORITHM)
    if not isinstance(algorithm, int) or algorithm not in _ALGORITHMS:
        raise FormatError("is none of the Notary Project's", path="alg")
    if not isinstance(headers.get(_CONTENT_TYPE), str):
        raise FormatError("must be text", path="content type")
    if headers[_CONTENT_TYPE] != media.NOTARY_PAYLOAD:
        raise NotUnderstoodError(f"must be {media.NOTARY_PAYLOAD}", path="content type")
    scheme = headers.get(SCHEME)
    if not isinstance(scheme, str):
        raise FormatError("is missing, or no text", path=SCHEME)
    critical = headers.get(_CRITICAL)
    if not isinstance(critical, list) or not critical:
        raise FormatError("must list the headers that are critical", path="crit")
    for label in critical:
        if not isinstance(label, str):
            raise NotUnderstoodError(f"asks for {ascii(label)[:80]}, which is not understood", path="crit")
    return _ALGORITHMS[algorithm], Attributes.check(
        scheme=scheme,
        times={name: _time(headers[name], name) for name in (TIME, EXPIRY, AUTHENTIC_TIME) if name in headers},
        names={label for label in headers if isinstance(label, str)},
        critical=critical,
    )


def _time(value: object, path: str) -> datetime:
    if not isinstance(value, cbor.Tagged) or value.tag != _EPOCH:
        raise FormatError("must be a time (tag 1)", path=path)
    seconds = value.value
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 <= seconds <= _LAST:
        raise FormatError("must be a number of seconds", path=path)
    return datetime.fromtimestamp(seconds, UTC)


def _certificates(value: object) -> tuple[bytes, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_CERTIFICATES:
        raise FormatError(f"must hold between 1 and {MAX_CERTIFICATES} certificates", path="x5chain")
    return tuple(_bytes(item, "x5chain", MAX_CERTIFICATE) for item in value)


def _map(value: object, path: str) -> dict[int | str, Any]:
    if not isinstance(value, dict):
        raise FormatError("must be a map", path=path)
    return value


def _bytes(value: object, path: str, limit: int) -> bytes:
    if not isinstance(value, bytes) or not 0 < len(value) <= limit:
        raise FormatError(f"must have between 1 and {limit} bytes", path=path)
    return value
