"""Attest: attach signed statements to an artifact, and show those that are there.

Guarantees: as for signing, the digest is what the statement is about, and the same key and predicate add nothing
twice. An attestation says something and approves nothing: it never stands for a signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ocimodel.attest import legacy
from ocimodel.attest.predicates import predicate_type as expand
from ocimodel.attest.referrer import attach
from ocimodel.attest.statement import Statement, attestation_statement
from ocimodel.attest.testresult import OUTCOMES, outcome_of
from ocimodel.errors import ConfigurationError, FormatError, UsageError
from ocimodel.keys.public import PublicKey
from ocimodel.keys.sealing import sign_statement
from ocimodel.keys.signer import Signer, lacks_timestamp, repeats
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store, target_of
from ocimodel.stores.protocol import Store
from ocimodel.trust.attestations import attestations
from ocimodel.trust.judge import Status
from ocimodel.verbs.attaching import store_attachment
from ocimodel.verbs.evidence import gather
from ocimodel.verbs.legacy_writing import append_attestation
from ocimodel.verbs.sign import SIGSTORE, Signed

FORMATS = (SIGSTORE.format, legacy.FORMAT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """One statement. ``keyid`` is verified where ``verified`` says so, else only claimed, or empty.

    ``outcome`` is what a test result or a verification summary says of itself, as ``PASSED``; else it is empty.
    """

    digest: Digest
    predicate_type: str
    statement: Statement
    keyid: str
    status: str
    detail: str
    verified: bool

    @property
    def outcome(self) -> str:
        said = self.statement.predicate
        if self.predicate_type == media.TEST_RESULT:
            return outcome_of(said)
        if self.predicate_type == media.SLSA_SUMMARY:
            return next((word for word in OUTCOMES if said.get("verificationResult") == word), "")
        return ""


def attest(
    reference: Reference,
    predicate_type: str,
    predicate: bytes,
    signer: Signer,
    *,
    access: Access,
    format: str = SIGSTORE.format,  # noqa: A002
) -> Signed:
    """Sign ``predicate`` as a statement about what ``reference`` names, and attach it.

    Args:
        predicate_type: a URI, or one of cosign's short names.
        predicate: a JSON object; its text travels as it is written.
        format: ``sigstore``, a bundle in a referrer; or ``cosign-legacy``, under the ``.att`` tag.

    Raises:
        UsageError: the type is none, or the format.
        ConfigurationError: the predicate is not a JSON object.
    """
    kind = expand(predicate_type)
    if format not in FORMATS:
        raise UsageError(f"{format[:40]!r} is no format of statements", hint=f"Choose one of {', '.join(FORMATS)}.")
    with open_store(reference, access) as store:
        subject, _ = store.get_manifest(target_of(reference, store))
        return attest_subject(store, reference, subject, signer, kind, predicate, format=format)


def attest_subject(
    store: Store,
    reference: Reference,
    subject: Descriptor,
    signer: Signer,
    kind: str,
    predicate: bytes,
    *,
    format: str = SIGSTORE.format,  # noqa: A002
) -> Signed:
    """As `attest`, for a manifest that has been fetched, or put, already; ``kind`` is a URI."""
    try:
        statement = attestation_statement(subject.digest, kind, predicate)
    except FormatError as error:
        raise ConfigurationError(error.message, hint="The predicate must be one JSON object.") from None
    standing: Digest | None = None
    if format == SIGSTORE.format and not repeats(signer):
        standing = _standing(store, reference, subject, signer, statement)
    if standing is not None:
        manifest, created = standing, False
    elif format == legacy.FORMAT:
        manifest, created = append_attestation(store, subject, signer, kind, statement)
    else:
        bundle = sign_statement(signer, statement)
        attachment = attach(bundle, subject, predicate_type=kind, keyid=signer.public.keyid)
        manifest, created = attachment.descriptor.digest, store_attachment(store, subject, attachment)
    return Signed(
        subject=reference.at(subject.digest),
        signature=reference.tagged(None).at(manifest),
        created=created,
        keyid=signer.public.keyid,
        format=format,
    )


def _standing(
    store: Store, reference: Reference, subject: Descriptor, signer: Signer, statement: bytes
) -> Digest | None:
    """This very statement in a referrer by this key, whose signatures are random: one is enough."""
    evidence, _ = gather(store, subject, reference.name, [signer.public.keyid])
    for item in attestations(evidence, [signer.public], datetime.now(UTC)):
        found = item.candidate.statement
        ours = item.status is Status.GOOD and item.candidate.format == SIGSTORE.format
        if not ours or found is None or found.raw != statement:
            continue
        if not lacks_timestamp(signer, item.candidate.signed):
            return item.candidate.digest
    return None


def show(
    reference: Reference, *, keys: Sequence[PublicKey] = (), access: Access, now: datetime | None = None
) -> tuple[Reference, tuple[Attestation, ...]]:
    """What is said about ``reference`` (pinned, first): each statement, and what it is worth under ``keys``.

    Raises:
        NotFoundError, UnavailableError, AuthenticationError: from the store.
    """
    with open_store(reference, access, mirrors=True) as store:
        subject, _ = store.get_manifest(target_of(reference, store))
        evidence, _ = gather(store, subject, reference.name, [key.keyid for key in keys])
    found = [
        Attestation(
            digest=judged.candidate.digest,
            predicate_type=judged.candidate.statement.predicate_type,
            statement=judged.candidate.statement,
            keyid=judged.keyid,
            status=str(judged.status) if keys else "unchecked",
            detail=judged.detail,
            verified=judged.status is Status.GOOD,
        )
        for judged in attestations(evidence, keys, now or datetime.now(UTC))
        if judged.candidate.statement is not None
    ]
    return reference.at(subject.digest), tuple(found)
