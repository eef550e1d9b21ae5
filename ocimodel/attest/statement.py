"""In-toto Statements (in-toto/attestation, spec/v1/statement.md; v0.1 is read as well).

Guarantees: a decoded `Statement` keeps the bytes that were signed, has at most 1024 subjects of at most 32
digests each (the limits of sigstore-go), no field that the specification does not know, and an object for a
predicate. `signature_statement` and `attestation_statement` are pure functions of their arguments: the same
arguments give the same bytes on every machine, which is what makes signing idempotent.

A statement is only as good as the signature over it: nothing here looks at one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from ocimodel import jsonio
from ocimodel.errors import FormatError, UsageError
from ocimodel.jsonio import Node
from ocimodel.oci import media
from ocimodel.oci.digest import Digest

MAX_BYTES = 6 * 1024 * 1024
"""What fits, as base64, into the largest bundle that is read."""

MAX_SUBJECTS = 1024
MAX_DIGESTS = 32
_TYPES = (media.STATEMENT_V1, media.STATEMENT_V01)
# spec/v1/resource_descriptor.md
_RESOURCE = ("name", "uri", "digest", "content", "downloadLocation", "mediaType", "annotations")
_ALGORITHM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./+-]{0,63}")
_HEX = re.compile(r"[0-9a-fA-F]{1,256}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a statement is about. ``annotations`` hold claims, as ``cosign sign -a`` writes them."""

    digest: Mapping[str, str]
    name: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_node(cls, node: Node) -> Self:
        node.only(*_RESOURCE)
        name, digest, annotations = (node.find(key) for key in ("name", "digest", "annotations"))
        return cls(
            digest=_digests(digest) if digest else {},
            name=name.string() if name else "",
            annotations=annotations.strings() if annotations else {},
        )

    def is_of(self, digest: Digest) -> bool:
        """Whether this names the artifact with ``digest``, under that digest's own algorithm."""
        return self.digest.get(digest.algorithm) == digest.hex


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A decoded statement, with the bytes it was decoded from."""

    raw: bytes
    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: Mapping[str, Any]

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Raises `FormatError` with the path of the bad field."""
        node = Node(jsonio.loads(raw, limit=MAX_BYTES, what="statement"))
        node.only("_type", "subject", "predicateType", "predicate")
        kind = node.get("_type")
        if kind.string() not in _TYPES:
            kind.fail(f"must be {media.STATEMENT_V1}")
        subjects = node.get("subject")
        found = tuple(Subject.from_node(item) for item in subjects.items(limit=MAX_SUBJECTS))
        if not found:
            subjects.fail("must name at least one subject")
        predicate_type = node.get("predicateType")
        _check_predicate_type(predicate_type)
        return cls(
            raw=raw,
            subjects=found,
            predicate_type=predicate_type.string(),
            predicate=node.get("predicate").object(),
        )

    @property
    def is_signature(self) -> bool:
        """Whether this approves its subjects. Any other predicate only says something about them."""
        return self.predicate_type == media.COSIGN_SIGN

    def subjects_of(self, digest: Digest) -> tuple[Subject, ...]:
        """The subjects that are the artifact with ``digest``. Several are ambiguous: their claims may differ."""
        return tuple(subject for subject in self.subjects if subject.is_of(digest))


def signature_statement(subject: Digest, claims: Mapping[str, str] | None = None) -> bytes:
    """The statement that approves ``subject``, to the letter as ``cosign sign`` writes it but for key order.

    Args:
        claims: annotations of the subject; ``cosign verify -a`` can check them.

    Raises:
        UsageError: a claim is not Unicode text.
    """
    return _statement(subject, media.COSIGN_SIGN, b"{}", claims)


def attestation_statement(
    subject: Digest, predicate_type: str, predicate: bytes, claims: Mapping[str, str] | None = None
) -> bytes:
    """A statement that says ``predicate``, a JSON object, about ``subject``.

    The predicate's text travels as it was written: no number is rewritten, so measured values stay exact.

    Raises:
        FormatError: the predicate is not a JSON object, or its type would pass for an approval.
    """
    _check_predicate_type(Node(predicate_type, "predicateType"))
    if predicate_type == media.COSIGN_SIGN:
        raise FormatError("an attestation needs a predicate type of its own", path="predicateType")
    Node(jsonio.loads(predicate, limit=MAX_BYTES, what="predicate"), "predicate").object()
    return _statement(subject, predicate_type, predicate.strip(b" \t\r\n"), claims)


def _statement(subject: Digest, predicate_type: str, predicate: bytes, claims: Mapping[str, str] | None) -> bytes:
    resource: dict[str, Any] = {"digest": {subject.algorithm: subject.hex}}
    if claims:
        resource["annotations"] = _claims(claims)
    # RFC 8785 order by hand, since the predicate is spliced in as text.
    return b'{"_type":%b,"predicate":%b,"predicateType":%b,"subject":%b}' % (
        jsonio.canonical(media.STATEMENT_V1),
        predicate,
        jsonio.canonical(predicate_type),
        jsonio.canonical([resource]),
    )


def _claims(claims: Mapping[str, str]) -> dict[str, str]:
    try:
        jsonio.canonical(dict(claims))
    except UnicodeEncodeError:
        raise UsageError("an annotation is not Unicode text") from None
    return dict(claims)


def _check_predicate_type(node: Node) -> None:
    # It ends up in messages and tables, so it must not be able to draw there.
    text = node.string(limit=1024)
    if not text or not text.isprintable() or " " in text:
        node.fail("must be a URI")


def _digests(node: Node) -> dict[str, str]:
    digests = node.strings()
    if len(digests) > MAX_DIGESTS:
        node.fail(f"has more than {MAX_DIGESTS} digests")
    for algorithm, value in digests.items():
        if _ALGORITHM.fullmatch(algorithm) is None or _HEX.fullmatch(value) is None:
            node.fail("must map algorithms to hexadecimal digests")
    return digests
