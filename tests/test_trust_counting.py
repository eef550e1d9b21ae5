"""k of n, and roles: the flow fills as many places as the best assignment by hand would."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.trust.counting import ANY, Demand, Vote, most, unfilled
from ocimodel.trust.ring import ROLES, KeyEntry, Role
from tests.signers import ALICE

LINES = "abcd"
KEYS = "wxyz"


def entry(name: str, *roles: Role) -> KeyEntry:
    return KeyEntry(id=name, key=ALICE.public, roles=frozenset(roles))


def demand(threshold: int, entries: str = LINES, **roles: int) -> Demand:
    named = tuple((role, roles[role]) for role in ROLES if role in roles)
    return Demand(threshold=threshold, entries=frozenset(entries), roles=named)


def filled_by_hand(wanted: Demand, votes: list[Vote]) -> int:
    """The most places that distinct lines with distinct keys can fill, by trying everything."""
    building = {vote.keyid for vote in votes if "builder" in vote.entry.roles}

    def fits(place: str, vote: Vote) -> bool:
        if vote.entry.id not in wanted.entries:
            return False
        if place == "approver" and ("builder" in vote.entry.roles or vote.keyid in building):
            return False
        return place == ANY or place in vote.entry.roles

    def fill(places: tuple[str, ...], lines: frozenset[str], keys: frozenset[str]) -> int:
        if not places:
            return 0
        best = fill(places[1:], lines, keys)
        for vote in votes:
            if vote.entry.id not in lines and vote.keyid not in keys and fits(places[0], vote):
                best = max(best, 1 + fill(places[1:], lines | {vote.entry.id}, keys | {vote.keyid}))
        return best

    return fill(wanted.places, frozenset(), frozenset())


ENTRIES = st.fixed_dictionaries({name: st.sets(st.sampled_from(ROLES), max_size=3) for name in LINES})
EDGES = st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(KEYS)), max_size=8)


@settings(max_examples=300, deadline=None)
@given(
    ENTRIES,
    EDGES,
    st.integers(1, 4),
    st.dictionaries(st.sampled_from(ROLES), st.integers(1, 2), max_size=2),
    st.sets(st.sampled_from(LINES)),
)
def test_as_many_places_are_filled_as_can_be(
    roles: dict[str, set[Role]],
    edges: list[tuple[str, str]],
    threshold: int,
    asked: dict[Role, int],
    among: set[str],
) -> None:
    lines = {name: entry(name, *found) for name, found in roles.items()}
    votes = [Vote(lines[name], key) for name, key in edges]
    wanted = Demand(threshold=threshold, entries=frozenset(among), roles=tuple(asked.items()))
    filled = len(wanted.places) - len(unfilled(wanted, votes))
    if "approver" in asked:
        building = {vote.keyid for vote in votes if "builder" in vote.entry.roles}
        votes = [vote for vote in votes if "builder" in vote.entry.roles or vote.keyid not in building]
    assert filled == filled_by_hand(wanted, votes)


def test_the_order_of_candidates_does_not_matter() -> None:
    # Greedily, a would take the key that b needs.
    votes = [Vote(entry("a"), "w"), Vote(entry("a"), "x"), Vote(entry("b"), "w")]
    for order in permutations(votes):
        assert unfilled(demand(2), order) == ()


def test_one_line_with_two_keys_is_one_signer() -> None:
    assert unfilled(demand(2), [Vote(entry("a"), "w"), Vote(entry("a"), "x")]) == (ANY,)


def test_one_key_in_two_lines_is_one_signer() -> None:
    assert unfilled(demand(2), [Vote(entry("a"), "w"), Vote(entry("b"), "w")]) == (ANY,)


def test_an_approver_is_none_of_the_builders() -> None:
    wanted = demand(2, builder=1, approver=1)
    builder, both, approver = entry("a", "builder"), entry("b", "builder", "approver"), entry("c", "approver")
    assert unfilled(wanted, [Vote(builder, "w"), Vote(approver, "x")]) == ()
    assert unfilled(wanted, [Vote(builder, "w"), Vote(both, "x")]) == ("approver",)
    assert unfilled(wanted, [Vote(builder, "w"), Vote(approver, "w")]) == ("approver",)
    # Nor where the builder's signature is not even asked for.
    alone = Demand(threshold=1, entries=frozenset("c"), roles=(("approver", 1),))
    assert unfilled(alone, [Vote(builder, "w"), Vote(approver, "w")]) == ("approver",)


def test_places_for_roles_count_towards_the_threshold() -> None:
    assert demand(3, approver=1).places == ("approver", ANY, ANY)
    assert demand(1, approver=2).places == ("approver", "approver")


def test_what_can_never_be_met() -> None:
    assert most(demand(2, "ab"), [entry("a"), entry("b")]) == ()
    assert most(demand(1, "a", approver=1), [entry("a", "builder", "approver")]) == ("approver",)
    assert unfilled(demand(1, ""), [Vote(entry("a"), "w")]) == (ANY,)
