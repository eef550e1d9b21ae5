"""Real processes, killed at random moments before a real registry, and carried on to the right end."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks import kills
from benchmarks.files import MIB
from benchmarks.kills import FILES, pull, push, scene
from ocimodel.transfer.upload import WORKERS
from tests.real.peers import peer

SIZE = 128 * MIB


@pytest.fixture
def seed() -> int:
    """Another one each time: what is claimed holds for any moments. It is shown where the test fails."""
    return random.randrange(1 << 32)


@pytest.fixture(autouse=True)
def _peers() -> None:
    """Skips, or fails in CI, where there are none."""
    for name in ("docker-registry", "nginx"):
        peer(name)


@pytest.mark.slow
@pytest.mark.peer
def test_a_pull_that_is_killed_ten_times_costs_less_than_another_one(tmp_path: Path, seed: int) -> None:
    with scene(tmp_path, rate=kills.RATE[SIZE], seed=seed) as stage:
        outcome = pull(stage, SIZE)
    assert outcome.kills, seed
    assert outcome.extra < outcome.files, (seed, outcome)


@pytest.mark.slow
@pytest.mark.peer
def test_a_push_that_is_killed_loses_what_was_on_its_way(tmp_path: Path, seed: int) -> None:
    with scene(tmp_path, seed=seed) as stage:
        outcome = push(stage, SIZE)
    assert outcome.kills, seed
    assert outcome.extra <= len(outcome.kills) * WORKERS * SIZE / FILES + MIB, (seed, outcome)
