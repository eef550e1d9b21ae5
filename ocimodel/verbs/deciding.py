"""From an artifact in a store to a verdict: what is said of it is gathered, judged, and judged again where needed.

Guarantees: signatures come first. The one layer that may be read before the whole verdict is the provenance, of
at most 4 MiB, and only where the policy or the context asks about what may be in it and the signatures suffice.
That it is missing or damaged decides nothing here: the policy judges what it has. Nobody but the store is asked,
except for the services of trusted certificates where the policy says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from ocimodel.errors import AuthenticationError, IntegrityError, NotFoundError, RevokedError, UnavailableError
from ocimodel.model.provenance import MAX_BYTES
from ocimodel.oci.descriptor import Descriptor
from ocimodel.stores.protocol import Store, clock_offset, nearby, read_blob
from ocimodel.transfer.receipt import Document
from ocimodel.trust.clock import blame_clock
from ocimodel.trust.evidence import Evidence
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.verdict import Verdict
from ocimodel.verbs.evidence import gather
from ocimodel.verbs.revocation import inform


def decide(
    store: Store,
    subject: Descriptor,
    manifest: bytes,
    name: str,
    policy: TrustPolicy,
    now: datetime,
    context: Mapping[str, str],
    *,
    tag: str = "",
    offline: bool = False,
) -> tuple[Verdict, Evidence, tuple[Document, ...]]:
    """The verdict on ``subject``, what it was based on, and the documents that a receipt keeps.

    Where mirrors stand before the store, what the nearest shows suffices to accept, and never to refuse: for that
    the store itself is asked.

    Args:
        manifest: the bytes of ``subject``.
        name: what was asked for, without tag and digest.
        tag: by which it was asked for, as `ocimodel.verbs.judging.asked_tag` has it.
        offline: no service of a certificate is asked, whatever the policy says.

    Raises:
        UnavailableError, AuthenticationError: from the store.
        UnavailableError: a service that says whether certificates were revoked does not answer, and nothing else
            stands against the artifact.
    """
    seen: Verdict | None = None
    if (near := nearby(store)) is not None:
        with suppress(UnavailableError, AuthenticationError):
            decided = _decide(near, subject, manifest, name, policy, now, context, tag=tag, offline=offline)
            seen = decided[0]
            if not seen.findings or seen.exit_code == RevokedError.exit_code:
                return decided
    try:
        return _decide(store, subject, manifest, name, policy, now, context, tag=tag, offline=offline)
    except UnavailableError as error:
        if seen is None:
            raise
        why = f"{error.message}; and what its mirrors show does not suffice: {seen.findings[0].detail}"
        raise UnavailableError(why, hint=error.hint) from None


def _decide(
    store: Store,
    subject: Descriptor,
    manifest: bytes,
    name: str,
    policy: TrustPolicy,
    now: datetime,
    context: Mapping[str, str],
    *,
    tag: str,
    offline: bool,
) -> tuple[Verdict, Evidence, tuple[Document, ...]]:
    found, documents = gather(store, subject, name, policy.keyids)
    informed = inform(replace(found, tag=tag, manifest=manifest), policy, now, offline=offline)
    evidence = informed.evidence
    layer = policy.wants(evidence, now, context)
    if layer is not None:
        evidence = replace(evidence, provenance=_provenance(store, layer))
    verdict = policy.evaluate(evidence, now, context)
    informed.check(verdict)
    verdict = blame_clock(verdict, policy, evidence, now, context, clock_offset(store))
    return verdict, evidence, documents


def _provenance(store: Store, layer: Descriptor) -> bytes:
    """Its bytes; none where they cannot be had as they should be, which the policy then finds out."""
    try:
        return read_blob(store, layer, limit=MAX_BYTES, what="provenance")
    except (IntegrityError, NotFoundError):
        return b""
