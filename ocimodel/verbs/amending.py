"""Change a policy file in its place.

Guarantees: the file is read as a policy before and after; what would not be valid is not written, and a file is
there whole or not at all. Two changes at once both happen, one after the other. Whoever distributes the policy
signed has to sign it again: a change raises the serial number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocimodel import jsonio
from ocimodel.errors import NotFoundError, UsageError
from ocimodel.transfer.alone import alone
from ocimodel.transfer.staging import write_atomically
from ocimodel.trust.amending import Amended
from ocimodel.trust.counting import most
from ocimodel.trust.document import MAX_BYTES, parse
from ocimodel.trust.files import MAX_MATERIAL, YAML, load, read
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.ring import KeyEntry
from ocimodel.verbs.policy_source import read_source


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment:
    """``policy`` as it is now; ``warnings`` say which scopes nothing can pass any more."""

    policy: TrustPolicy
    changes: tuple[str, ...]
    warnings: tuple[str, ...]


def amend(path: Path, change: Callable[[dict[str, Any], TrustPolicy], Amended]) -> Amendment:
    """Apply ``change`` to the policy in the file ``path``.

    Raises:
        UsageError: it is YAML.
        ConfigurationError: it is not valid, before or after.
        NotFoundError: it has no such key.
        StorageError: it cannot be written.
    """
    if path.suffix.lower() in YAML:
        raise UsageError(
            f"{path} is YAML, which is not rewritten", hint="Keep the policy as JSON, or edit it by hand."
        )
    path = path.resolve()  # a link is kept; what it leads to changes
    found = read_source(path)
    if found is not None:
        raise UsageError(
            f"{path} only says where the policy is: {found.place}",
            hint="Change the policy, then publish it: ocimodel policy push FILE REF --key KEY.",
        )
    with alone(path):
        before = load(path)
        data = read(path, MAX_BYTES, "policy")
        amended = change(json.loads(data), before)
        if not amended.changes:
            return Amendment(policy=before, changes=(), warnings=())
        text = jsonio.pretty(amended.document).encode() + b"\n"
        parse(text, lambda name: read(path.parent / name, MAX_MATERIAL, "file"), what=f"{path}, changed like this")
        write_atomically(path, text, mode=path.stat().st_mode & 0o777)
        after = load(path)
    return Amendment(policy=after, changes=amended.changes, warnings=tuple(_dead(after)))


def name_of(policy: TrustPolicy, said: str, keyid: str = "") -> str:
    """The line of the ring that ``said`` names: by its name, or by its key id. Raises `NotFoundError`."""
    for entry in policy.ring.entries:
        if entry.id == said or (isinstance(entry, KeyEntry) and entry.key.keyid in (said, keyid)):
            return entry.id
    known = ", ".join(entry.id for entry in policy.ring.entries) or "none"
    raise NotFoundError(f"the policy has no key {said}", hint=f"Its key ring has: {known}.")


def _dead(policy: TrustPolicy) -> Iterator[str]:
    for rules in policy.scopes:
        active = [
            entry
            for entry in policy.ring.entries
            if entry.id in rules.demand.entries and entry.standing.status == "active"
        ]
        if not active or most(rules.demand, active):
            yield f"nothing new can pass the scope {rules.match}: too few of its signers are active"
