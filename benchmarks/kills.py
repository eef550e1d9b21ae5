"""What it costs to be killed: ``python -m benchmarks.kills`` pulls and pushes, and ends the processes by SIGKILL.

A pull of one file, and a push of eight, are killed ten times at random moments and then carried on to their end. A
proxy counts what crosses the wire, what nobody was left to read included.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.files import MIB, model
from benchmarks.servers import Proxy, program, proxy, registry

OCIMODEL = (sys.executable, "-m", "ocimodel")
KILLS = 10
FILES = 8
RATE = {128 * MIB: "6m", 1024 * MIB: "40m"}
"""Of each connection of the pull: over loopback alone there would be little to interrupt."""
_END_WITHIN = 30.0


@dataclass(slots=True)
class Outcome:
    """``files`` bytes had to cross; ``kills`` says how many had, at each of them, and ``wire`` at the end."""

    files: int
    kills: list[int] = field(default_factory=list)
    wire: int = 0

    @property
    def extra(self) -> int:
        """Bytes that crossed in vain."""
        return self.wire - self.files


class Scene:
    """A registry, a proxy before it, and a home."""

    def __init__(self, root: Path, wire: Proxy, seed: int) -> None:
        self.root = root
        self.wire = wire
        self.dice = random.Random(seed)
        home = root / "home"
        home.mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OCIMODEL_AUDIT_LOG": str(home / "audit.jsonl"),
        }

    def run(self, *words: str | Path) -> float:
        """To the end; the seconds that took."""
        began = time.perf_counter()
        subprocess.run([*OCIMODEL, *map(str, words)], env=self.environment, check=True, capture_output=True)
        return time.perf_counter() - began

    def killed(self, *words: str | Path, after: float) -> bool:
        """Run and kill; False where it had ended by then."""
        command = [*OCIMODEL, *map(str, words)]
        with subprocess.Popen(
            command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                return process.wait(after) != 0
            except subprocess.TimeoutExpired:
                process.kill()
                return process.wait(_END_WITHIN) == -9

    def again_and_again(
        self,
        outcome: Outcome,
        count: Callable[[], int],
        *words: str | Path,
        start: float,
        within: float,
        kills: int,
    ) -> Outcome:
        """Kill at random moments of the ``within`` seconds after the first ``start``, then let it end.

        The first moment is an early one, so that there is a kill at all.
        """
        before = self.settled(count)
        while len(outcome.kills) < kills:
            after = self.dice.uniform(0, within if outcome.kills else within / 4)
            if not self.killed(*words, after=start + after):
                break
            outcome.kills.append(self.settled(count) - before)
        self.run(*words)
        outcome.wire = self.settled(count) - before
        return outcome

    def settled(self, count: Callable[[], int]) -> int:
        """The count once the proxy has noticed the end of every connection."""
        last = -1
        while (now := count()) != last:
            last = now
            time.sleep(0.3)
        return now


@contextmanager
def scene(root: Path, *, rate: str = "0", seed: int = 1) -> Iterator[Scene]:
    """Everything that `pull` and `push` need, in ``root``, until the block is left."""
    server, nginx = program("docker-registry"), program("nginx")
    if server is None or nginx is None:
        raise FileNotFoundError("docker-registry and nginx are needed: run make peers")
    with registry(root / "registry", server) as storage, proxy(root / "proxy", nginx, storage.host, rate) as wire:
        yield Scene(root, wire, seed)


def pull(stage: Scene, size: int, kills: int = KILLS) -> Outcome:
    """One file of ``size`` bytes. Raises AssertionError where what arrives is not what was sent."""
    source, target = model(stage.root / "model", size), stage.root / "pulled"
    reference = f"{stage.wire.host}/killed:v1"
    stage.run("push", source, reference)
    words = ("pull", reference, "-o", target, "--no-cache")
    start = stage.run("inspect", reference)
    usual = stage.run(*words) - start
    shutil.rmtree(target)
    files = sum(path.stat().st_size for path in source.iterdir())
    outcome = stage.again_and_again(
        Outcome(files), stage.wire.sent, *words, start=start, within=usual * 2 / kills, kills=kills
    )
    _same(source, target)
    return outcome


def push(stage: Scene, size: int, kills: int = KILLS) -> Outcome:
    """`FILES` files of together ``size`` bytes. Raises AssertionError where what arrives is not what was sent."""
    source, target = model(stage.root / "model", size // FILES, count=FILES), stage.root / "pulled"
    usual = stage.run("push", source, f"{stage.wire.host}/usual:v1")
    start = stage.run("inspect", f"{stage.wire.host}/usual:v1")
    # Files that were written just now are not remembered, so another repository is all it takes to begin anew.
    reference = f"{stage.wire.host}/killed:v1"
    files = sum(path.stat().st_size for path in source.iterdir())
    outcome = stage.again_and_again(
        Outcome(files), stage.wire.received, "push", source, reference, start=start, within=usual * 0.6, kills=kills
    )
    stage.run("pull", reference, "-o", target, "--no-cache")
    _same(source, target)
    return outcome


def _same(source: Path, target: Path) -> None:
    for path in source.iterdir():
        if _digest(path) != _digest(target / path.name):
            raise AssertionError(f"{path.name} arrived with other bytes")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what came of it, as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="1 GiB; otherwise 128 MiB")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--scratch", type=Path, help="a directory to work in")
    options = parser.parse_args(arguments)
    size = (1024 if options.full else 128) * MIB
    results: Mapping[str, tuple[Callable[[Scene, int], Outcome], str]] = {
        "pull": (pull, RATE[size]),
        "push": (push, "0"),
    }
    for name, (what, rate) in results.items():
        with (
            tempfile.TemporaryDirectory(prefix="ocimodel-kills-", dir=options.scratch) as root,
            scene(Path(root), rate=rate, seed=options.seed) as stage,
        ):
            outcome = what(stage, size)
        print(
            json.dumps(
                {
                    "what": name,
                    "bytes": outcome.files,
                    "kills": len(outcome.kills),
                    "crossedAtKills": outcome.kills,
                    "crossed": outcome.wire,
                    "extra": outcome.extra,
                    "extraShare": round(outcome.extra / outcome.files, 3),
                }
            ),
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
