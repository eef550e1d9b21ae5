"""k of n, and roles: whether enough distinct signers have signed.

Guarantees: neither one line of the key ring nor one key ever fills two places, whichever lines recognise which
keys: the places are filled by a maximum flow (place, line, key), so that an awkward order of candidates neither
helps nor hurts. An approver is none of the builders: neither a line that may build, nor a key with which a line
that may build has signed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ocimodel.trust.ring import Role, Trusted

ANY = "any"
MAX_THRESHOLD = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """``threshold`` distinct signers among the lines ``entries``; of these, ``roles`` so many of each role.

    The roles' places count towards the threshold; where they are more, they are the threshold.
    """

    threshold: int
    entries: frozenset[str]
    roles: tuple[tuple[Role, int], ...] = ()

    @property
    def places(self) -> tuple[str, ...]:
        """One name for each signer that is asked for: a role, or ``any``."""
        named = tuple(role for role, count in self.roles for _ in range(count))
        return named + (ANY,) * max(0, self.threshold - len(named))


@dataclass(frozen=True, slots=True)
class Vote:
    """A line of the ring that counts, and the id of the key by which it was recognised."""

    entry: Trusted
    keyid: str


def unfilled(demand: Demand, votes: Iterable[Vote]) -> tuple[str, ...]:
    """The places that no distinct signer is left for; empty where the demand is met."""
    votes = list(votes)
    building = {vote.keyid for vote in votes if "builder" in vote.entry.roles}
    votes = [vote for vote in votes if vote.entry.id in demand.entries]
    if "approver" in demand.places:
        # A key with which a builder has signed is a builder's, whoever else it is recognised as.
        votes = [vote for vote in votes if "builder" in vote.entry.roles or vote.keyid not in building]
    network: dict[str, set[str]] = {}

    def link(one: str, two: str) -> None:
        network.setdefault(one, set()).add(two)
        network.setdefault(two, set())

    for vote in votes:
        line, key = f"line {vote.entry.id}", f"key {vote.keyid}"
        link(f"{line} in", f"{line} out")
        link(f"{line} out", f"{key} in")
        link(f"{key} in", f"{key} out")
        link(f"{key} out", "end")
        for place in {*demand.places}:
            if _fits(place, vote, building):
                link(f"place {place}", f"{line} in")
    # One unit for each place; a unit that has found its way is only ever rerouted, never lost.
    return tuple(place for place in demand.places if not _send(network, f"place {place}"))


def _fits(place: str, vote: Vote, building: set[str]) -> bool:
    if place == ANY:
        return True
    if place == "approver" and ("builder" in vote.entry.roles or vote.keyid in building):
        return False
    return place in vote.entry.roles


def _send(network: dict[str, set[str]], start: str) -> bool:
    """One unit from ``start`` to the end, over links of capacity one; a used link turns around."""
    came_from: dict[str, str] = {start: start}
    pending = deque([start])
    while pending:
        here = pending.popleft()
        if here == "end":
            while here != start:
                previous = came_from[here]
                network[previous].discard(here)
                network.setdefault(here, set()).add(previous)
                here = previous
            return True
        for there in sorted(network.get(here, ())):
            if there not in came_from:
                came_from[there] = here
                pending.append(there)
    return False


def most(demand: Demand, entries: Sequence[Trusted]) -> tuple[str, ...]:
    """The places that stay empty even if all of ``entries`` sign, each with a key of its own."""
    return unfilled(demand, (Vote(entry, f"of {entry.id}") for entry in entries))
