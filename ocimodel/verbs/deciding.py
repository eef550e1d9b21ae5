"""From an artifact in a store to a verdict: what is said of it is gathered, judged, and judged again where needed.

Guarantees: signatures come first. The one layer that may be read before the whole verdict is the provenance, of
at most 4 MiB, and only where the policy or the context asks about what may be in it and the signatures suffice.
That it is missing or damaged decides nothing here: the policy judges what it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from ocimodel.errors import IntegrityError, NotFoundError
from ocimodel.model.provenance import MAX_BYTES
from ocimodel.oci.descriptor import Descriptor
from ocimodel.stores.protocol import Store, read_blob
from ocimodel.transfer.receipt import Document
from ocimodel.trust.evidence import Evidence
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.verdict import Verdict
from ocimodel.verbs.evidence import gather


def decide(
    store: Store,
    subject: Descriptor,
    manifest: bytes,
    name: str,
    policy: TrustPolicy,
    now: datetime,
    context: Mapping[str, str],
) -> tuple[Verdict, Evidence, tuple[Document, ...]]:
    """The verdict on ``subject``, what it was based on, and the documents that a receipt keeps.

    Args:
        manifest: the bytes of ``subject``.
        name: what was asked for, without tag and digest.

    Raises:
        UnavailableError, AuthenticationError: from the store.
    """
    found, documents = gather(store, subject, name, policy.keyids)
    evidence = replace(found, manifest=manifest)
    layer = policy.wants(evidence, now, context)
    if layer is not None:
        evidence = replace(evidence, provenance=_provenance(store, layer))
    return policy.evaluate(evidence, now, context), evidence, documents


def _provenance(store: Store, layer: Descriptor) -> bytes:
    """Its bytes; none where they cannot be had as they should be, which the policy then finds out."""
    try:
        return read_blob(store, layer, limit=MAX_BYTES, what="provenance")
    except (IntegrityError, NotFoundError):
        return b""
