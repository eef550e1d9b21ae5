"""Before signing: what must have been attested about the very digest that is to be signed.

Guarantees: a tag is resolved once, and the reference that is given back names that digest: what was looked at is
what is then signed. No layer is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store, target_of
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.requiring import Requirement, require
from ocimodel.verbs.evidence import gather
from ocimodel.verbs.judging import judged_name
from ocimodel.verbs.revocation import inform


def require_attestations(
    reference: Reference,
    wanted: Sequence[str],
    policy: TrustPolicy,
    *,
    access: Access,
    of_keys: bool = False,
    now: datetime | None = None,
) -> tuple[Reference, Requirement]:
    """Make sure of every attestation that is ``wanted``. ``reference`` pinned, and what was found.

    Args:
        wanted: names of gates of the policy, predicate types, or ``scan``.
        policy: whose word counts; it is enforced, whatever mode it says.
        of_keys: it was made of keys, any of which may attest.

    Raises:
        GateError: one is missing, or says that it failed. RevokedError, StaleTrustError, UntrustedError: by the
            policy, whatever is attested.
        NotFoundError, UnavailableError, AuthenticationError, IntegrityError: from the store.
    """
    now = now or datetime.now(UTC)
    with open_store(reference, access) as store:
        subject, raw = store.get_manifest(target_of(reference, store))
        evidence, _ = gather(store, subject, judged_name(reference), policy.keyids)
    evidence = inform(replace(evidence, manifest=raw), policy, now).evidence
    found = require(wanted, evidence, policy, now, of_keys=of_keys)
    return reference.at(subject.digest), found
