"""The policy of this node: the one that was given, and what the node has seen.

Guarantees: what was seen only ever raises the floor of the scope that applies. It is remembered after an enforced
pull that passed, and for policies alone: plain keys name no place to remember. Where it cannot be written down, the
policy's own floor is what remains, and the user is told. Counting starts anew once nobody by whose word the number
counted is trusted: the key was revoked, or is no longer in the policy. So a stolen key cannot end all releases.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ocimodel.errors import StorageError
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import DEFAULT_TAG, Reference
from ocimodel.transfer import nodestate
from ocimodel.transfer.nodestate import Channel, Seen
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.ring import mark
from ocimodel.trust.verdict import Verdict


def with_floor(policy: TrustPolicy, name: str, reference: Reference, state: Path) -> TrustPolicy:
    """``policy``, with the floor of its scope for ``name`` at what this node has seen there."""
    rules = policy.rules_for(name) if policy.digest else None
    if rules is None:
        return policy
    seen = nodestate.floor(state, _channel(rules.environment, name, reference), _trusted(policy))
    if seen <= rules.min_sequence:
        return policy
    return replace(
        policy,
        scopes=tuple(replace(item, min_sequence=seen) if item is rules else item for item in policy.scopes),
    )


def remember(
    policy: TrustPolicy, name: str, reference: Reference, state: Path, digest: Digest, verdict: Verdict
) -> tuple[str, ...]:
    """The model with ``digest`` was delivered after ``verdict``. Returns warnings."""
    rules = policy.rules_for(name) if policy.digest else None
    if rules is None or rules.mode != "enforce" or verdict.outcome != "pass" or verdict.sequence is None:
        return ()
    seen = Seen(sequence=verdict.sequence, digest=digest, by=verdict.sequence_by)
    try:
        nodestate.advance(state, _channel(rules.environment, name, reference), seen, _trusted(policy))
    except StorageError as error:
        return (f"this node cannot remember that it took sequence number {seen.sequence}: {error.message}",)
    return ()


def _trusted(policy: TrustPolicy) -> frozenset[str]:
    """Every line that was not revoked."""
    return frozenset(mark(entry) for entry in policy.ring.entries if entry.standing.status != "revoked")


def _channel(environment: str, name: str, reference: Reference) -> Channel:
    named = reference.digest is not None or reference.is_layout
    return Channel(environment=environment, name=name, tag=reference.tag or ("" if named else DEFAULT_TAG))
