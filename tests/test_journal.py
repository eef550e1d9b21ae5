"""Written ranges: a set of offsets that survives a kill and never claims too much."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimodel.transfer.journal import Journal, Ranges

SIZE = 40
steps = st.lists(
    st.tuples(st.booleans(), st.integers(0, SIZE), st.integers(0, SIZE)).map(
        lambda step: (step[0], min(step[1:]), max(step[1:]))
    ),
    max_size=30,
)


@given(steps)
def test_ranges_are_a_set_of_offsets(actions: list[tuple[bool, int, int]]) -> None:
    ranges, model = Ranges(), set[int]()
    for adds, start, stop in actions:
        if adds:
            ranges.add(start, stop)
            model |= set(range(start, stop))
        else:
            ranges.remove(start, stop)
            model -= set(range(start, stop))
    missing = {offset for start, stop in ranges.gaps(SIZE) for offset in range(start, stop)}
    assert missing == set(range(SIZE)) - model
    assert ranges.covered() == len(model)
    assert ranges.frontier() == next(offset for offset in range(SIZE + 1) if offset not in model)


@given(steps, st.integers(0, SIZE), st.integers(0, SIZE))
def test_what_is_there_around_an_offset(actions: list[tuple[bool, int, int]], one: int, other: int) -> None:
    ranges, model = Ranges(), set[int]()
    for _, start, stop in actions:
        ranges.add(start, stop)
        model |= set(range(start, stop))
    offset, stop = min(one, other), max(one, other)
    until, again = ranges.around(offset, stop)
    assert until == next((at for at in range(offset, stop) if at not in model), stop)
    if until == offset:
        assert again == next((at for at in range(offset, stop) if at in model), stop)


def open_journal(part: Path) -> Journal:
    return Journal.open(part, 100)


def test_what_was_written_is_known_after_a_kill(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(bytes(100))
    journal = open_journal(part)
    journal.wrote(10, 20)
    journal.wrote(0, 10)
    # No close: a killed process does not get that far.
    assert open_journal(part).gaps() == [(20, 100)]


def test_without_its_part_a_journal_says_nothing(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(bytes(100))
    open_journal(part).wrote(0, 50)
    part.unlink()
    assert open_journal(part).gaps() == [(0, 100)]


@pytest.mark.parametrize(
    "text",
    [b"0 50\n5", b"0 50\nx y\n60 70\n", b"0 50\n60 1000\n", b"0 50\n70 60\n", b"0 50\n60 70 80\n", b"0 50\n60 ?\n"],
)
def test_a_damaged_journal_counts_up_to_the_damage(tmp_path: Path, text: bytes) -> None:
    part = tmp_path / "part"
    part.write_bytes(bytes(100))
    (tmp_path / "part.journal").write_bytes(text)
    assert open_journal(part).gaps() == [(50, 100)]


def test_lost_ranges_come_again(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(bytes(100))
    journal = open_journal(part)
    journal.wrote(0, 100)
    journal.lost(30, 40)
    assert journal.gaps() == [(30, 40)]
    assert open_journal(part).gaps() == [(30, 40)]


def test_what_was_noted_is_for_the_next_run_and_is_no_frontier(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(bytes(100))
    journal = open_journal(part)
    journal.wrote(0, 10)
    journal.note(10, 30)
    journal.note(50, 60)
    assert journal.noted(10, 100) == (10, 100)
    again = open_journal(part)
    assert again.gaps() == [(10, 100)]
    assert again.noted(10, 100) == (30, 100)
    assert again.noted(30, 100) == (30, 50)
    assert again.noted(50, 55) == (55, 55)
    again.lost(10, 20)
    assert open_journal(part).noted(10, 100) == (10, 20)
    again.adopt()
    assert again.gaps() == [(10, 20), (30, 50), (60, 100)]


def test_a_complete_part_leaves_no_journal(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(bytes(100))
    journal = open_journal(part)
    journal.wrote(0, 100)
    journal.close(forget=True)
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


def test_what_comes_after_the_last_byte_is_not_noted(tmp_path: Path) -> None:
    """The one who hashes may close the journal between a worker's last write and its note."""
    part = tmp_path / "part"
    part.write_bytes(bytes(10))
    journal = Journal.open(part, 10)
    journal.wrote(0, 10)
    journal.close(forget=True)
    journal.note(0, 10)
    assert list(tmp_path.iterdir()) == [part]
