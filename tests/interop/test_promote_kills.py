"""Real processes that promote, killed at random moments before two real registries, and two of them at once."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ocimodel.oci import media
from tests.commands import run
from tests.interop.conftest import Pair, generate, pushed
from tests.interop.test_at_once import at_once, ours
from tests.interop.test_promote import write_policy
from tests.models import make_model
from tests.real import peers
from tests.real.registry import RealRegistry

pytestmark = pytest.mark.peer
KILLS = 5


class Line:
    """From a repository of builders in one registry to production in another."""

    def __init__(self, here: RealRegistry, there: RealRegistry, root: Path, key: Pair) -> None:
        self.dev, self.prod = here.fresh("dev"), there.fresh("prod")
        self.channel = f"{self.prod}:stable"
        self.key, self.promoter = key, generate(root, name="promoter")
        self.policy = write_policy(root / "policy.json", key, {"prod": (self.prod, self.promoter)})
        self.model = make_model(root / "line", gguf=False)
        self.words = ("--policy", self.policy, "--key", self.promoter.private)

    def push(self, version: int) -> str:
        (self.model / "note.txt").write_text(f"version {version}")
        (self.model / "weights.bin").write_bytes(random.Random(version).randbytes(1024 * 1024))
        return pushed(self.model, self.dev, "--key", self.key.private, tag=f"v{version}")

    def promote(self, source: str, *more: str) -> dict[str, Any]:
        ran = run("promote", source, self.channel, *self.words, *more, "--json")
        assert ran.code == 0, ran.err
        return ran.document

    def whole(self) -> str:
        """The digest of the channel, every byte of which is there and verified."""
        ran = run(
            "verify", self.channel, "--policy", self.policy, "--context", "channel=stable", "--full", "--json"
        )
        assert ran.code == 0, ran.err
        return str(ran.document["digest"])

    def summaries(self, reference: str) -> int:
        found = run("attest", "show", reference, "--key", self.promoter.public, "--json").document["attestations"]
        return sum(item["verified"] and item["predicateType"] == media.SLSA_SUMMARY for item in found)


@pytest.fixture(params=["distribution-referrers_registry", "referrers_registry-distribution"])
def line(request: pytest.FixtureRequest, tmp_path: Path, key: Pair) -> Line:
    here, there = (request.getfixturevalue(name) for name in request.param.split("-"))
    return Line(here, there, tmp_path, key)


@pytest.mark.slow
def test_killed_at_random_moments(line: Line) -> None:
    """Another seed each time: what is claimed holds for any moments. It is shown where the test fails."""
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    older = line.push(0)
    line.promote(older)
    started = time.perf_counter()
    ours("promote", line.push(1), line.channel, *line.words)
    usual = time.perf_counter() - started
    before = line.whole()
    kills = 0
    for version in range(2, 2 + KILLS):
        source = line.push(version)
        digest = source.partition("@")[2]
        command = [sys.executable, "-m", "ocimodel", "promote", source, line.channel, *map(str, line.words)]
        command += ["--version", f"1.{version}"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            time.sleep(usual * dice.uniform(0.3, 1.0))  # before that, Python begins
            process.kill()
            kills += process.wait(30) == -9
        assert line.whole() in (before, digest), seed
        started = time.perf_counter()
        document = line.promote(source, "--version", f"1.{version}")
        usual = time.perf_counter() - started  # as busy as the machine is now
        assert document["digest"] == line.whole() == digest, seed
        assert line.summaries(source_at(line, digest)) == 1, seed
        assert not line.promote(source, "--version", f"1.{version}")["promotion"]["summaryWritten"]
        for tag in ("stable", f"1.{version}"):
            assert peers.run("crane", "digest", "--insecure", f"{line.prod}:{tag}").stdout.strip() == digest
        before = digest
    assert kills, seed


def source_at(line: Line, digest: str) -> str:
    return f"{line.prod}@{digest}"


def test_two_that_promote_the_same_at_once(line: Line) -> None:
    """As a pipeline that was started twice: both are done, and the channel is what both promoted."""
    source = line.push(1)
    at_once(*(partial(ours, "promote", source, line.channel, *line.words, "--version", "1.0") for _ in range(2)))
    assert line.whole() == source.partition("@")[2]
    assert 1 <= line.summaries(f"{line.prod}@{line.whole()}") <= 2


def test_two_that_promote_different_ones_at_once(line: Line) -> None:
    """One of them may give way (19); the channel is one of the two, whole and verified."""
    sources = [line.push(version) for version in (1, 2)]
    codes: dict[str, int] = {}

    def promote(source: str) -> None:
        command = [sys.executable, "-m", "ocimodel", "promote", source, line.channel, *map(str, line.words)]
        codes[source] = subprocess.run(command, capture_output=True, check=False, timeout=60).returncode

    at_once(*(partial(promote, source) for source in sources))
    assert set(codes.values()) <= {0, 19}
    assert 0 in codes.values()
    assert line.whole() in {source.partition("@")[2] for source in sources}
