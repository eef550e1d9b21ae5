"""What is valid in a policy, and yet worth a second look."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from ocimodel.trust.claims import format_time
from ocimodel.trust.counting import most
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.ring import Ring
from ocimodel.trust.rules import Rules

SOON = timedelta(days=14)


def remarks(policy: TrustPolicy, now: datetime) -> Iterator[str]:
    """One sentence each."""
    if not policy.scopes:
        yield "no scope: every artifact is refused"
    if policy.expires is not None and policy.expires <= now + SOON:
        word = "is too old since" if policy.expires <= now else "is good only until"
        yield f"the policy {word} {format_time(policy.expires)}"
    for entry in policy.ring.entries:
        until = entry.standing.valid_until
        if entry.standing.status == "active" and until is not None and until <= now + SOON:
            yield f"{entry.id} {'was' if until <= now else 'is'} valid until {format_time(until)}"
        if {"builder", "approver"} <= entry.roles:
            yield f"{entry.id} builds and approves: it never counts as an approver"
    used = {name for rules in policy.scopes for name in _named(rules)}
    for entry in policy.ring.entries:
        if entry.id not in used:
            yield f"{entry.id} is asked for in no scope"
    for rules in policy.scopes:
        yield from _of_scope(rules, policy.ring, now)


def _of_scope(rules: Rules, ring: Ring, now: datetime) -> Iterator[str]:
    where = f"the scope {rules.match}"
    asked = [entry for entry in ring.entries if entry.id in rules.demand.entries]
    active = [entry for entry in asked if entry.standing.status == "active"]
    if not asked:
        yield f"{where} names nobody who may sign: it accepts nothing"
    elif most(rules.demand, active):
        yield f"{where} has too few active signers: it accepts at most what a trusted time puts before their end"
    if rules.mode != "enforce":
        yield f"{where} is in mode {rules.mode}: what it refuses is let through"
    for digest, exemption in rules.exemptions.items():
        if exemption.expires <= now:
            yield f"{where}: the exemption of {digest} by {exemption.owner} has ended"


def _named(rules: Rules) -> frozenset[str]:
    return rules.demand.entries.union(*(gate.demand.entries for gate in rules.gates))
