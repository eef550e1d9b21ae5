"""Notary Project signatures, whichever envelope they come in (specifications, signature-specification.md).

    payload       {"targetArtifact": descriptor}: what is signed; its annotations are the signer's claims
    protected     algorithm, content type, signing scheme, times, and which of these are critical
    unprotected   the certificates, leaf first; an RFC 3161 token over the signature; what software made it

Guarantees: a decoded `NotarySignature` is one that this version understands to the end: an algorithm of the
specification's six, a known signing scheme, and no unknown header among those that are critical or begin with
``io.cncf.notary``. What it says is read from the very bytes under the signature. Certificates and token are carried
along, as bytes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from ocimodel import jsonio
from ocimodel.attest.statement import Statement, Subject
from ocimodel.errors import FormatError, UsageError
from ocimodel.jsonio import Node
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor

FORMAT: Final = "notation"
MAX_BYTES: Final = 4 * 1024 * 1024
MAX_CERTIFICATES: Final = 16
MAX_CERTIFICATE: Final = 64 * 1024
MAX_TOKEN: Final = 256 * 1024
MAX_SIGNATURE: Final = 4096

SCHEME, TIME, EXPIRY, AUTHENTIC_TIME = (
    f"{media.NOTARY_PREFIX}.{name}" for name in ("signingScheme", "signingTime", "expiry", "authenticSigningTime")
)
TIMESTAMP, AGENT = (f"{media.NOTARY_PREFIX}.{name}" for name in ("timestampSignature", "signingAgent"))
X509: Final = "notary.x509"
AUTHORITY: Final = "notary.x509.signingAuthority"
ALGORITHMS: Final = frozenset({"PS256", "PS384", "PS512", "ES256", "ES384", "ES512"})

_KNOWN = frozenset({SCHEME, TIME, EXPIRY, AUTHENTIC_TIME})
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)


class NotUnderstoodError(FormatError):
    """It asks for something that this version does not know; nothing says that it is damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotarySignature:
    """A `ocimodel.attest.signed.Signed`.

    Attributes:
        target: the artifact that it approves; all of media type, digest and size are signed.
        scheme: ``notary.x509``, or ``notary.x509.signingAuthority``, whose signer vouches for `time`.
        time: when it was made, as the signer says.
        responses, crls: what was found out about its certificates (OCSP responses and CRLs, DER); no part of it.
    """

    message: bytes
    signature: bytes
    algorithm: str
    target: Descriptor
    scheme: str
    time: datetime
    expires: datetime | None = None
    certificates: tuple[bytes, ...] = ()
    timestamps: tuple[bytes, ...] = ()
    responses: tuple[bytes, ...] = field(default=(), repr=False)
    crls: tuple[bytes, ...] = field(default=(), repr=False)
    format: str = FORMAT
    approves: bool = True
    predicate_type: str = ""
    statement: Statement | None = field(default=None)

    def subjects_of(self, subject: Descriptor) -> Sequence[Subject]:
        mine = self.target
        if (subject.media_type, subject.digest, subject.size) != (mine.media_type, mine.digest, mine.size):
            return ()
        return (Subject(digest={mine.digest.algorithm: mine.digest.hex}, annotations=mine.annotations),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What the protected headers say, checked."""

    scheme: str
    time: datetime
    expires: datetime | None

    @classmethod
    def check(
        cls,
        *,
        scheme: str,
        times: Mapping[str, datetime],
        names: Collection[str],
        critical: Sequence[str],
    ) -> Attributes:
        """Hold the protected headers against the specification.

        Args:
            times: those headers that are times.
            names: of all protected headers that are no registered ones of the envelope.
            critical: what must be understood.

        Raises:
            NotUnderstoodError: a header that has to be understood is not.
            FormatError: one is missing, not marked as critical, or does not belong to the signing scheme.
        """
        if scheme not in (X509, AUTHORITY):
            raise NotUnderstoodError(f"{scheme[:80]!r} is not a known signing scheme", path=SCHEME)
        made = AUTHENTIC_TIME if scheme == AUTHORITY else TIME
        must = {SCHEME, *({made} if scheme == AUTHORITY else ()), *({EXPIRY} if EXPIRY in times else ())}
        for name in (*critical, *(name for name in names if name.startswith(media.NOTARY_PREFIX))):
            if name not in _KNOWN:
                raise NotUnderstoodError(f"asks for {name[:80]!r}, which is not understood", path="crit")
        if len(set(critical)) != len(critical) or set(critical) != must:
            raise FormatError(f"must list {', '.join(sorted(must))}, and nothing else", path="crit")
        if made not in times:
            raise FormatError("is missing", path=made)
        if {TIME, AUTHENTIC_TIME} - {made} & times.keys():
            raise FormatError(f"has a time that does not belong to {scheme}", path=SCHEME)
        expires = times.get(EXPIRY)
        if expires is not None and expires <= times[made]:
            raise FormatError("is not after the time of signing", path=EXPIRY)
        return cls(scheme=scheme, time=times[made], expires=expires)


def target_of(payload: bytes) -> Descriptor:
    """The artifact that a payload names. Raises `FormatError`."""
    node = Node(jsonio.loads(payload, limit=MAX_BYTES, what="payload"))
    node.only("targetArtifact")
    return Descriptor.from_node(node.get("targetArtifact"))


def payload_of(subject: Descriptor, claims: Mapping[str, str]) -> bytes:
    """What approves ``subject``.

    Args:
        claims: ``notation verify --user-metadata`` can check them.

    Raises:
        UsageError: a claim is not Unicode text, or has a name that the Notary Project keeps for itself.
    """
    for key in claims:
        if key.startswith(media.NOTARY_PREFIX):
            raise UsageError(f"the annotation {key} is reserved by the Notary Project", hint="Use another key.")
    target = Descriptor(
        media_type=subject.media_type, digest=subject.digest, size=subject.size, annotations=dict(claims)
    )
    try:
        return jsonio.canonical({"targetArtifact": target.to_dict()})
    except UnicodeEncodeError:
        raise UsageError("an annotation is not Unicode text") from None


def parse_time(node: Node) -> datetime:
    """RFC 3339 with any offset; fractions of a second are dropped. Raises `FormatError`."""
    match = _TIME.fullmatch(node.string(limit=64))
    if match is None:
        node.fail("is not a time in RFC 3339")
    try:
        return datetime.fromisoformat(match[1] + match[2]).astimezone(UTC)
    except (ValueError, OverflowError):
        node.fail("is not a time in RFC 3339")
