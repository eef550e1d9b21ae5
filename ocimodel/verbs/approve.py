"""Approve: a person's signed yes to one digest, which a policy can ask for beside the builder's signature.

Guarantees: the digest is what is approved, never the tag. An approval is a statement of the type
``https://ocimodel.github.io/spec/v1/approval``: it passes a gate of a policy and stands for no signature. The same
key and comment add nothing to an approval that still holds (with an expiry: that has more than half of it left).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ocimodel import jsonio
from ocimodel.attest.referrer import attach
from ocimodel.attest.statement import attestation_statement
from ocimodel.errors import UsageError
from ocimodel.keys.sealing import sign_statement
from ocimodel.keys.signer import Signer, lacks_timestamp
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store, target_of
from ocimodel.stores.protocol import Store
from ocimodel.trust.attestations import attestations
from ocimodel.trust.claims import format_time
from ocimodel.trust.judge import Status
from ocimodel.trust.summary import approves
from ocimodel.verbs.attaching import store_attachment
from ocimodel.verbs.evidence import gather
from ocimodel.verbs.sign import SIGSTORE, Signed

MAX_COMMENT = 4096


def approve(
    reference: Reference,
    signer: Signer,
    *,
    access: Access,
    comment: str = "",
    expires: timedelta | None = None,
    now: datetime | None = None,
) -> Signed:
    """Attach an approval of what ``reference`` names.

    Args:
        comment: is signed along.
        expires: how long it is good for; None: without end.

    Raises:
        UsageError: an expiry that is not in the future, or too long a comment.
        NotFoundError, UnavailableError, AuthenticationError, IntegrityError: from the store.
    """
    now = now or datetime.now(UTC)
    if expires is not None and expires <= timedelta(0):
        raise UsageError("an approval cannot expire before it is made", hint="Write --expires 90d.")
    if len(comment) > MAX_COMMENT:
        raise UsageError(f"the comment has more than {MAX_COMMENT} characters", hint="Link to the longer text.")
    with open_store(reference, access) as store:
        subject, _ = store.get_manifest(target_of(reference, store))
        manifest = _standing(store, reference, subject, signer, comment, expires, now)
        created = manifest is None
        if manifest is None:
            said = {"approvedOn": format_time(now), **({"comment": comment} if comment else {})}
            claims = {media.CLAIM_EXPIRES: format_time(now + expires)} if expires is not None else {}
            statement = attestation_statement(subject.digest, media.APPROVAL, jsonio.canonical(said), claims)
            bundle = sign_statement(signer, statement)
            attachment = attach(bundle, subject, predicate_type=media.APPROVAL, keyid=signer.public.keyid)
            created = store_attachment(store, subject, attachment)
            manifest = attachment.descriptor.digest
    return Signed(
        subject=reference.at(subject.digest),
        signature=reference.tagged(None).at(manifest),
        created=created,
        keyid=signer.public.keyid,
        format=SIGSTORE.format,
    )


def _standing(
    store: Store,
    reference: Reference,
    subject: Descriptor,
    signer: Signer,
    comment: str,
    expires: timedelta | None,
    now: datetime,
) -> Digest | None:
    """An approval by this key that says the same and holds."""
    evidence, _ = gather(store, subject, reference.name, [signer.public.keyid])
    for item in attestations(evidence, [signer.public], now):
        statement = item.candidate.statement
        if statement is None or statement.predicate_type != media.APPROVAL or item.status is not Status.GOOD:
            continue
        if not approves(statement.predicate, comment) or (item.expires is None) != (expires is None):
            continue
        if lacks_timestamp(signer, item.candidate.signed):
            continue
        if item.expires is None or expires is None or item.expires - now > expires / 2:
            return item.candidate.digest
    return None
