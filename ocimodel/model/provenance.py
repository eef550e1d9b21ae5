"""The provenance that travels with a model: an in-toto Statement, by default with a SLSA v1 predicate.

Guarantees: what is written is a pure function of its arguments: without a document of the user's a record that
says only what is true of every push, namely that these files were packed by a tool on some machine; no time, no
host, no user, no level of assurance. A document of the user's keeps its bytes, numbers included; it is refused
where it says of one of the files something else than is packed.

in-toto/attestation spec/v1/statement.md; SLSA spec v1.0 provenance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from ocimodel import jsonio
from ocimodel.errors import ConfigurationError, DigestMismatchError, FormatError
from ocimodel.jsonio import Node
from ocimodel.oci import media
from ocimodel.oci.digest import Digest

MAX_BYTES = 4 * 1024 * 1024
MAX_SUBJECTS = 50_000
_TYPES = (media.STATEMENT_V1, media.STATEMENT_V01)
_HINT = "Give an in-toto Statement or a SLSA v1 provenance predicate, as JSON; nothing was done."


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """A provenance document, read. ``raw`` is what was stored; ``subjects`` has a name and its digests each."""

    raw: bytes
    predicate_type: str
    predicate: Mapping[str, Any]
    subjects: tuple[tuple[str, Mapping[str, str]], ...]

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Raises `FormatError` with the path of the bad field."""
        node = Node(jsonio.loads(raw, limit=MAX_BYTES, what="provenance"))
        node.only("_type", "subject", "predicateType", "predicate")
        kind = node.get("_type")
        if kind.string() not in _TYPES:
            kind.fail(f"must be {media.STATEMENT_V1}")
        subjects = node.get("subject")
        found = tuple(_subject(item) for item in subjects.items(limit=MAX_SUBJECTS))
        if not found:
            subjects.fail("must name at least one subject")
        predicate_type = node.get("predicateType").string(limit=2048)
        if not predicate_type:
            node.get("predicateType").fail("must not be empty")
        predicate = node.get("predicate").object()
        if predicate_type == media.SLSA_PROVENANCE:
            _check_slsa(node.get("predicate"))
        return cls(raw=raw, predicate_type=predicate_type, predicate=predicate, subjects=found)

    @property
    def builder(self) -> str:
        """Who says so, by SLSA's ``builder.id``; empty for other predicates. Self-declared unless signed."""
        if self.predicate_type != media.SLSA_PROVENANCE:
            return ""
        return Node(self.predicate).get("runDetails").get("builder").get("id").string()


def provenance_bytes(
    files: Sequence[tuple[str, Digest]],
    given: bytes | None = None,
    *,
    members: Sequence[tuple[str, Digest]] = (),
) -> bytes:
    """The document to store for ``files``.

    Args:
        files: what the document is to speak of, with digests; see `Plan.subjects`.
        given: the user's own, a whole Statement or the predicate of one.
        members: further files, of which ``given`` may speak as well; see `Plan.members`.

    Raises:
        ConfigurationError: ``given`` is neither; the message names the field.
        DigestMismatchError: it has another digest for one of the files.
    """
    if given is None:
        return _statement(files, jsonio.canonical(_MINIMAL))
    try:
        node = Node(jsonio.loads(given, limit=MAX_BYTES, what="the document"))
        if "_type" in node.object():
            _check_subjects(Provenance.from_bytes(given), dict([*members, *files]))
            return given
        if "payload" in node.object() or "dsseEnvelope" in node.object():
            raise FormatError("it is signed already; attach it with ocimodel attest, or give its statement here")
        _check_slsa(node)
    except FormatError as error:
        raise ConfigurationError(f"provenance: {error.message}", hint=_HINT) from None
    return _statement(files, given.strip(b" \t\r\n"))


_MINIMAL: Mapping[str, Any] = {
    "buildDefinition": {"buildType": media.BUILD_TYPE, "externalParameters": {}},
    "runDetails": {"builder": {"id": media.BUILDER_LOCAL}},
}


def _statement(files: Sequence[tuple[str, Digest]], predicate: bytes) -> bytes:
    subjects = [{"digest": {digest.algorithm: digest.hex}, "name": name} for name, digest in files]
    # RFC 8785 order by hand, since the predicate is spliced in as text: numbers stay as they were written.
    raw = b'{"_type":%b,"predicate":%b,"predicateType":%b,"subject":%b}' % (
        jsonio.canonical(media.STATEMENT_V1),
        predicate,
        jsonio.canonical(media.SLSA_PROVENANCE),
        jsonio.canonical(subjects),
    )
    if len(raw) > MAX_BYTES:
        raise ConfigurationError(f"the provenance would have {len(raw)} bytes, more than {MAX_BYTES}")
    return raw


def _check_slsa(node: Node) -> None:
    """The required fields of SLSA v1; what else is in it is the user's."""
    definition = node.get("buildDefinition")
    definition.get("buildType").string()
    definition.get("externalParameters").object()
    if dependencies := definition.find("resolvedDependencies"):
        for item in dependencies.items():
            item.object()
    node.get("runDetails").get("builder").get("id").string()


def _check_subjects(document: Provenance, files: Mapping[str, Digest]) -> None:
    for name, digests in document.subjects:
        digest = files.get(name.removeprefix("./"))
        if digest is None:
            continue
        said = digests.get(digest.algorithm)
        if said is not None and said.lower() != digest.hex:
            raise DigestMismatchError(
                f"the provenance speaks of another {name}",
                expected=f"{digest.algorithm}:{said}",
                actual=str(digest),
                hint="Give the provenance of this very version, or none.",
            )


def _subject(node: Node) -> tuple[str, Mapping[str, str]]:
    name = node.find("name")
    digests = node.get("digest").strings()
    if not digests:
        node.get("digest").fail("must not be empty")
    return (name.string() if name else "", digests)
