"""Sign: attach a detached signature to an artifact, where it is.

Guarantees: the tag is resolved once and the digest is what is signed; the manifest's bytes were checked against
it. Signing is idempotent: the same key and claims give the same signature, which is not stored twice; of a key
whose signatures are random, and of a format whose signatures state a time, none is added to a good one with the
same claims; with an expiry, nothing is added while a signature with the same other claims has more than half of its
life left. Where signatures get a timestamp, only one that has one as good is such a signature.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from ocimodel.attest.referrer import attach
from ocimodel.attest.statement import signature_statement
from ocimodel.errors import UsageError
from ocimodel.keys.sealing import sign_statement
from ocimodel.keys.signer import Signer, lacks_timestamp, repeats
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store, target_of
from ocimodel.stores.protocol import Store
from ocimodel.trust.claims import format_time
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.release import NOTHING, Release
from ocimodel.verbs.attaching import store_attachment
from ocimodel.verbs.evidence import gather


class Writer(Protocol):
    """Writes signatures of one format."""

    @property
    def format(self) -> str:
        """As verdicts call it."""
        ...

    @property
    def dated(self) -> bool:
        """Whether each signature states when it was made, so that no two are the same."""
        ...

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """Those that each signature carries, as DER; none where a plain key signs."""
        ...

    def check(self, signer: Signer) -> None:
        """Refuse a signer whose signatures this format cannot hold. Raises as `attach`."""
        ...

    def attach(
        self, store: Store, reference: Reference, subject: Descriptor, signer: Signer, claims: Mapping[str, str]
    ) -> tuple[Digest, bool]:
        """Sign ``subject`` and store that: the manifest with the signature, and whether it is new.

        Args:
            reference: what was named; its tag and digest say nothing here.
            claims: what the user said, and `media.CLAIM_EXPIRES` where the signature ends.
        """
        ...

    def manifest_of(self, store: Store, subject: Descriptor, signature: Digest) -> Digest:
        """The manifest with the signature that verdicts call ``signature``. Raises NotFoundError."""
        ...


@dataclass(frozen=True, slots=True)
class SigstoreWriter:
    """Sigstore bundles, each in a referrer."""

    format: str = "sigstore"
    dated: bool = False
    certificates: tuple[bytes, ...] = ()

    def check(self, signer: Signer) -> None:
        """Any key will do."""

    def attach(
        self, store: Store, reference: Reference, subject: Descriptor, signer: Signer, claims: Mapping[str, str]
    ) -> tuple[Digest, bool]:
        del reference
        bundle = sign_statement(signer, signature_statement(subject.digest, claims))
        attachment = attach(bundle, subject, predicate_type=media.COSIGN_SIGN, keyid=signer.public.keyid)
        return attachment.descriptor.digest, store_attachment(store, subject, attachment)

    def manifest_of(self, store: Store, subject: Descriptor, signature: Digest) -> Digest:
        del store, subject
        return signature


SIGSTORE: Writer = SigstoreWriter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """``subject`` is what was signed, pinned; ``signature`` names the signature's manifest, ``REPO@DIGEST``.

    ``created`` is false where the store had this signature, or a good one with the same claims, already.
    """

    subject: Reference
    signature: Reference
    created: bool
    keyid: str
    format: str = SIGSTORE.format


def sign(
    reference: Reference,
    signer: Signer,
    *,
    access: Access,
    annotations: Mapping[str, str] | None = None,
    expires: timedelta | None = None,
    release: Release = NOTHING,
    writer: Writer = SIGSTORE,
    now: datetime | None = None,
) -> Signed:
    """Sign what ``reference`` names.

    Args:
        annotations: claims, as ``cosign sign -a`` writes them; none may begin with ``io.github.ocimodel.``.
        expires: how long the signature is good for.
        release: where it is meant to go.
        writer: of which format.
        now: from when ``expires`` counts; the clock unless given.

    Raises:
        NotFoundError, UnavailableError, AuthenticationError, IntegrityError: from the store.
        UsageError: a reserved annotation, or an expiry that is not in the future.
    """
    writer.check(signer)
    with open_store(reference, access) as store:
        subject, _ = store.get_manifest(target_of(reference, store))
        return sign_subject(
            store,
            reference,
            subject,
            signer,
            annotations=annotations,
            expires=expires,
            release=release,
            writer=writer,
            now=now,
        )


def sign_subject(
    store: Store,
    reference: Reference,
    subject: Descriptor,
    signer: Signer,
    *,
    annotations: Mapping[str, str] | None = None,
    expires: timedelta | None = None,
    release: Release = NOTHING,
    writer: Writer = SIGSTORE,
    now: datetime | None = None,
) -> Signed:
    """As `sign`, for a manifest that has been fetched, or put, already."""
    claims = checked_annotations(annotations or {}) | release.claims()
    now = now or datetime.now(UTC)
    if expires is not None:
        if expires <= timedelta(0):
            raise UsageError("a signature cannot expire before it is made", hint="Write --expires 90d.")
        found = _still_good(store, reference, subject, signer, claims, writer, now, expires / 2)
        if found is not None:
            manifest = writer.manifest_of(store, subject, found)
            return _signed(reference, subject, manifest, signer, writer, created=False)
        claims[media.CLAIM_EXPIRES] = format_time(now + expires)
    elif writer.dated or not repeats(signer):
        found = _still_good(store, reference, subject, signer, claims, writer, now, None)
        if found is not None:
            manifest = writer.manifest_of(store, subject, found)
            return _signed(reference, subject, manifest, signer, writer, created=False)
    manifest, created = writer.attach(store, reference, subject, signer, claims)
    return _signed(reference, subject, manifest, signer, writer, created=created)


def checked_annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    """Raises UsageError for a key that is ours to write."""
    for key in annotations:
        if key.startswith(media.PREFIX):
            raise UsageError(
                f"the annotation {key} is reserved", hint="Use a key that does not begin with io.github.ocimodel."
            )
    return dict(annotations)


def _still_good(
    store: Store,
    reference: Reference,
    subject: Descriptor,
    signer: Signer,
    claims: Mapping[str, str],
    writer: Writer,
    now: datetime,
    remaining: timedelta | None,
) -> Digest | None:
    """A signature as this one would be that is good for more than ``remaining``; None: without end."""
    policy = TrustPolicy.of_keys([signer.public])
    evidence, _ = gather(store, subject, reference.name, policy.keyids)
    for item in policy.assess(evidence, now).judged:
        signed = item.candidate.signed
        others = {key: value for key, value in item.claims.items() if key != media.CLAIM_EXPIRES}
        good = bool(item.votes) and item.candidate.format == writer.format and others == claims
        if (
            not good
            or signed is None
            or signed.certificates != writer.certificates
            or (item.expires is None) != (remaining is None)
            or lacks_timestamp(signer, signed)
        ):
            continue
        if item.expires is None or remaining is None or item.expires - now > remaining:
            return item.candidate.digest
    return None


def _signed(
    reference: Reference, subject: Descriptor, signature: Digest, signer: Signer, writer: Writer, *, created: bool
) -> Signed:
    return Signed(
        subject=reference.at(subject.digest),
        signature=reference.tagged(None).at(signature),
        created=created,
        keyid=signer.public.keyid,
        format=writer.format,
    )
