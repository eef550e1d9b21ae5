"""Notary Project signatures as flattened JSON Web Signatures (specifications, signature-envelope-jws.md; RFC 7515).

Guarantees: what was decoded holds the four members of the flattened form and no others, each encoded in its one
spelling; a header that changes what is signed or how cannot stand where it is not signed. `Draft` encodes; it is a
pure function of its arguments, and what it makes is what `notation` 1.3 verifies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ocimodel import jsonio
from ocimodel.attest import base64s
from ocimodel.attest.notary import (
    AGENT,
    ALGORITHMS,
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
    X509,
    Attributes,
    NotarySignature,
    NotUnderstoodError,
    parse_time,
    payload_of,
    target_of,
)
from ocimodel.errors import FormatError
from ocimodel.jsonio import Node
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor

_REGISTERED = frozenset({"alg", "cty", "crit"})
_SIGNED_ONLY = frozenset({"alg", "cty", "crit", "b64", SCHEME, TIME, EXPIRY, AUTHENTIC_TIME})
_MAX_CRITICAL = 32


def decode(raw: bytes) -> NotarySignature:
    """Raises `FormatError` with the path of the bad field; `NotUnderstoodError` where it may be fine elsewhere."""
    node = Node(jsonio.loads(raw, limit=MAX_BYTES, what="envelope"))
    node.only("payload", "protected", "header", "signature")
    encoded, signed = node.get("protected"), node.get("payload")
    protected = Node(jsonio.loads(base64s.decode_url(encoded), limit=MAX_BYTES, what="protected"), "protected")
    algorithm, attributes = _protected(protected)
    target = target_of(base64s.decode_url(signed))  # which refuses what is not ASCII
    signature = base64s.decode_url(node.get("signature"))
    if not 0 < len(signature) <= MAX_SIGNATURE:
        node.get("signature").fail(f"must have between 1 and {MAX_SIGNATURE} bytes")
    header = node.get("header")
    for name, member in header.members():
        if name in _SIGNED_ONLY or name in protected.object():
            member.fail("stands where it is not signed")
    token = header.find(TIMESTAMP)
    agent = header.find(AGENT)
    if agent:
        agent.string(limit=4096)
    return NotarySignature(
        message=f"{encoded.string()}.{signed.string()}".encode("ascii"),
        signature=signature,
        algorithm=algorithm,
        target=target,
        scheme=attributes.scheme,
        time=attributes.time,
        expires=attributes.expires,
        certificates=_certificates(header.get("x5c")),
        timestamps=(_bounded(token, MAX_TOKEN),) if token else (),
    )


def _protected(node: Node) -> tuple[str, Attributes]:
    algorithm, kind = node.get("alg"), node.get("cty")
    if algorithm.string() not in ALGORITHMS:
        algorithm.fail(f"must be one of {', '.join(sorted(ALGORITHMS))}")
    if kind.string() != media.NOTARY_PAYLOAD:
        raise NotUnderstoodError(f"must be {media.NOTARY_PAYLOAD}", path=kind.path)
    names = {name for name, _ in node.members()} - _REGISTERED
    times = {name: parse_time(node.get(name)) for name in (TIME, EXPIRY, AUTHENTIC_TIME) if name in names}
    return algorithm.string(), Attributes.check(
        scheme=node.get(SCHEME).string(),
        times=times,
        names=names,
        critical=[item.string() for item in node.get("crit").items(limit=_MAX_CRITICAL)],
    )


def _certificates(node: Node) -> tuple[bytes, ...]:
    found = tuple(_bounded(item, MAX_CERTIFICATE) for item in node.items(limit=MAX_CERTIFICATES))
    if not found:
        node.fail("holds no certificate")
    return found


def _bounded(node: Node, limit: int) -> bytes:
    data = base64s.decode(node)
    if not 0 < len(data) <= limit:
        raise FormatError(f"must have between 1 and {limit} bytes", path=node.path)
    return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A signature that nobody has signed yet."""

    protected: str
    payload: str

    @classmethod
    def of(
        cls,
        subject: Descriptor,
        claims: Mapping[str, str],
        *,
        algorithm: str,
        time: datetime,
        expires: datetime | None,
    ) -> Draft:
        """The signature that approves ``subject``. Times count in whole seconds. Raises `UsageError`."""
        times = {TIME: time, **({EXPIRY: expires} if expires is not None else {})}
        protected = {
            "alg": algorithm,
            "crit": [SCHEME, *([EXPIRY] if expires is not None else [])],
            "cty": media.NOTARY_PAYLOAD,
            SCHEME: X509,
            **{name: when.strftime("%Y-%m-%dT%H:%M:%SZ") for name, when in times.items()},
        }
        return cls(
            protected=base64s.encode_url(jsonio.canonical(protected)),
            payload=base64s.encode_url(payload_of(subject, claims)),
        )

    @property
    def message(self) -> bytes:
        """The bytes to sign."""
        return f"{self.protected}.{self.payload}".encode("ascii")

    def signed(self, signature: bytes, certificates: Sequence[bytes], *, agent: str, token: bytes = b"") -> bytes:
        """The envelope.

        Args:
            certificates: DER, the leaf first and the root last.
            agent: what software this is; not signed, and means nothing to a verifier.
            token: RFC 3161, over ``signature``.
        """
        header: dict[str, Any] = {"x5c": [base64s.encode(item) for item in certificates], AGENT: agent}
        if token:
            header[TIMESTAMP] = base64s.encode(token)
        return jsonio.canonical(
            {
                "payload": self.payload,
                "protected": self.protected,
                "header": header,
                "signature": base64s.encode_url(signature),
            }
        )
