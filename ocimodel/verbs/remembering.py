"""The policy of this node: the one that was given, and what the node has seen.

Guarantees: what was seen only ever raises the floor of the scope that applies. It is remembered after an enforced
pull that passed, and for policies from a file alone: plain keys name no place to remember.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.transfer import nodestate
from ocimodel.transfer.nodestate import Channel, Seen
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.verdict import Verdict


def with_floor(policy: TrustPolicy, name: str, reference: Reference, state: Path) -> TrustPolicy:
    """``policy``, with the floor of its scope for ``name`` at what this node has seen there."""
    rules = policy.rules_for(name) if policy.digest else None
    if rules is None:
        return policy
    seen = nodestate.floor(state, _channel(rules.environment, name, reference), policy.keyids)
    if seen <= rules.min_sequence:
        return policy
    return replace(
        policy,
        scopes=tuple(replace(item, min_sequence=seen) if item is rules else item for item in policy.scopes),
    )


def remember(
    policy: TrustPolicy, name: str, reference: Reference, state: Path, digest: Digest, verdict: Verdict
) -> None:
    """The model with ``digest`` was delivered after ``verdict``. Raises `StorageError`."""
    rules = policy.rules_for(name) if policy.digest else None
    if rules is None or rules.mode != "enforce" or verdict.outcome != "pass" or verdict.sequence is None:
        return
    keyids = verdict.verified.keyids if verdict.verified is not None else ()
    seen = Seen(sequence=verdict.sequence, digest=digest, keyids=keyids)
    nodestate.advance(state, _channel(rules.environment, name, reference), seen, policy.keyids)


def _channel(environment: str, name: str, reference: Reference) -> Channel:
    return Channel(environment=environment, name=name, tag=reference.tag or "")
