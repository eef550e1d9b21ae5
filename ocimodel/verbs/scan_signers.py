"""What a key has signed, whoever trusts it: the question after a key was stolen.

Guarantees: ``verified`` is said only where the signature was checked with that very key and is over that very
artifact, whether it counts or not (it may have expired, or the key may be revoked). ``claimed``: a document only
names the key, which anyone who may push can have written; or only the key's identifier was given, and nothing here
knows the key. ``unknown``: there are more documents than are read. Nothing is decided.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Literal

from ocimodel.keys.public import PublicKey
from ocimodel.oci.descriptor import Descriptor
from ocimodel.stores.protocol import Store
from ocimodel.trust.evidence import Candidate, Evidence
from ocimodel.trust.judge import Status
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.ring import KeyEntry
from ocimodel.trust.verdict import Verdict
from ocimodel.verbs.evidence import gather

By = Literal["verified", "claimed", "unknown"]


def signed_by(
    store: Store,
    evidence: Evidence,
    verdict: Verdict,
    key: PublicKey | str,
    trusted: Collection[str],
    now: datetime,
) -> By | None:
    """Whether ``key`` has signed what ``verdict`` is about; None: it has not, and no document says so.

    Args:
        trusted: identifiers of keys whose documents are among ``evidence`` however many others there are.
    """
    keyid = keyid_of(key)
    if evidence.truncated and keyid not in trusted:
        evidence, _ = gather(store, evidence.subject, evidence.name, {keyid})
    if isinstance(key, str):
        # Of an attestation nothing here says whether it is about this very artifact.
        shown = [report for report in verdict.signers if report.keyid == keyid and report.identity]
        if any(report.status not in (Status.OTHER_SUBJECT, Status.ATTESTATION) for report in shown):
            return "verified"
        claimed = any(keyid in candidate.names for candidate in evidence.candidates)
    else:
        judged = TrustPolicy.of_keys([key]).assess(evidence, now).judged
        if any(item.signers and _is_about(item.candidate, evidence.subject) for item in judged):
            return "verified"
        claimed = any(keyid in item.candidate.names and not item.signers for item in judged)
    if claimed:
        return "claimed"
    return "unknown" if evidence.truncated else None


def _is_about(candidate: Candidate, subject: Descriptor) -> bool:
    attached = candidate.subject is not None and candidate.subject.digest == subject.digest
    return attached and candidate.signed is not None and bool(candidate.signed.subjects_of(subject))


def keyid_of(key: PublicKey | str) -> str:
    """What was looked for, by its identifier."""
    return key if isinstance(key, str) else key.keyid


def known_key(policy: TrustPolicy, keyid: str) -> PublicKey | str:
    """The key of the policy's ring that has this identifier; else the identifier, by which less can be told."""
    for entry in policy.ring.entries:
        if isinstance(entry, KeyEntry) and entry.key.keyid == keyid:
            return entry.key
    return keyid
