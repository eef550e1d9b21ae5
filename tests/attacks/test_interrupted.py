"""Processes that are interrupted or killed, at any moment: nothing half-written is ever taken for a model."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.attacks.scene import files_of
from tests.commands import run
from tests.hostile import HostileRegistry, Request, Stall
from tests.models import make_model, weights
from tests.test_end_to_end import Keys, make_key, ok


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return make_key(tmp_path)


SIGNALS = {signal.SIGINT: (130, -2), signal.SIGTERM: (143, -15), signal.SIGKILL: (-9,)}
"""What such an end is; a negative one, where the signal came when all was done, is the same to a shell."""


class Interruption:
    """Sends a signal to a process when the registry has seen so many of its requests."""

    def __init__(self, registry: HostileRegistry, number: int, after: int, delay: float = 0.0) -> None:
        self._number, self._left, self._delay = number, after, delay
        self._lock = threading.Lock()
        self.process: subprocess.Popen[str] | None = None
        self.ready = threading.Event()
        registry.on_request = self._on_request

    def _on_request(self, _request: Request) -> None:
        with self._lock:
            self._left -= 1
            now = self._left == 0
        if now:
            self.ready.wait(10)
            threading.Timer(self._delay, self._send).start() if self._delay else self._send()

    def _send(self) -> None:
        assert self.process is not None
        with suppress(ProcessLookupError):
            self.process.send_signal(self._number)


def interrupted(registry: HostileRegistry, number: int, after: int, delay: float, words: list[str]) -> int:
    interruption = Interruption(registry, number, after, delay)
    process = subprocess.Popen(
        [sys.executable, "-m", "ocimodel", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    interruption.process = process
    interruption.ready.set()
    process.communicate(timeout=60)
    registry.on_request = None
    return process.returncode


@pytest.fixture(scope="session")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that comes in ranges, and small ones."""
    directory = make_model(tmp_path_factory.mktemp("models") / "larger", gguf=False)
    (directory / "blob.bin").write_bytes(weights(40 * 1024 * 1024, "larger"))
    return directory


def moments(requests: int, seed: object) -> list[tuple[int, float]]:
    """After which request, and how much later: spread over the whole run, and over its end."""
    dice = random.Random(str(seed))
    at = sorted(dice.sample(range(1, requests), 2))
    return [*((number, 0.0) for number in at), (requests, dice.uniform(0.0, 0.15))]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "existing"),
    [(signal.SIGINT, False), (signal.SIGTERM, True), (signal.SIGKILL, False), (signal.SIGKILL, True)],
    ids=["SIGINT", "SIGTERM-into-an-empty-directory", "SIGKILL", "SIGKILL-into-an-empty-directory"],
)
def test_a_pull_that_is_interrupted(
    registry: HostileRegistry, larger: Path, keys: Keys, tmp_path: Path, number: signal.Signals, existing: bool
) -> None:
    """Nothing half-written is ever taken for a model; the next run ends as if there had been no other."""
    name = f"{registry.host}/models/larger:v1"
    ok(run("push", larger, name, "--key", keys.private))
    registry.forget()
    ok(run("pull", name, "-o", tmp_path / "whole", "--key", keys.public, "--no-cache"))
    requests = len(registry.requests)
    for turn, (after, delay) in enumerate(moments(requests, f"pull{number}{existing}")):
        out = tmp_path / f"out{turn}"
        if existing:
            out.mkdir()
        words = ["pull", name, "-o", str(out), "--key", str(keys.public), "--no-cache"]
        code = interrupted(registry, number, after, delay, words)
        assert code in (*SIGNALS[number], 0)
        if not existing:
            assert not out.exists() or files_of(out) == files_of(larger)
        if code and run("verify", out, "--key", keys.public).code == 0:
            assert files_of(out) == files_of(larger)
        ok(run(*words))
        assert files_of(out) == files_of(larger)
        assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".ocimodel")} == set()
        ok(run("verify", out, "--key", keys.public, "--full"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_push_that_is_interrupted(
    registry: HostileRegistry, larger: Path, keys: Keys, number: signal.Signals, isolated: Path
) -> None:
    """The tag is there with everything behind it, or it is not there."""
    registry.switches.keep_broken_sessions = False
    ok(run("push", larger, f"{registry.host}/models/reference:v1", "--key", keys.private))
    requests = len(registry.requests)
    for turn, (after, delay) in enumerate(moments(requests, f"push{number}")):
        name = f"{registry.host}/models/larger{turn}:v1"
        words = ["push", str(larger), name, "--key", str(keys.private)]
        code = interrupted(registry, number, after, delay, words)
        assert code in (*SIGNALS[number], 0)
        assert run("verify", name, "--key", keys.public, "--full").code in ((0, 11) if code else (0,))
        ok(run(*words))
        ok(run("verify", name, "--key", keys.public, "--full"))


def kept(directory: Path) -> int:
    """Bytes of the large file that are on the disk."""
    return sum(part.stat().st_blocks * 512 for part in directory.glob(".ocimodel-tmp-*.parts/blob.bin"))


def test_what_was_fetched_before_a_kill_is_not_fetched_again(
    registry: HostileRegistry, larger: Path, keys: Keys, tmp_path: Path
) -> None:
    name = f"{registry.host}/models/larger:v1"
    pushed = ok(run("push", larger, name, "--key", keys.private, "--json")).document
    files = ok(run("inspect", f"{name}@{pushed['digest']}", "--json")).document["files"]
    (large,) = (entry for entry in files if entry["path"] == "blob.bin")
    words = ["pull", name, "-o", str(tmp_path / "out"), "--key", str(keys.public), "--no-cache"]

    stalled: list[int] = []

    def stall_the_rest(request: Request) -> Stall | None:
        start = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if request.target != large["digest"] or start < 20 * 1024 * 1024:
            return None
        stalled.append(start)
        return Stall(seconds=60)

    registry.on_request = stall_the_rest
    process = subprocess.Popen([sys.executable, "-m", "ocimodel", *words], stderr=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        if stalled and kept(tmp_path) >= min(stalled) - 1024 * 1024:
            break
        time.sleep(0.01)
    process.kill()
    assert process.wait(10) == -9
    assert not (tmp_path / "out").exists()

    registry.on_request = None
    registry.forget()
    ok(run(*words))
    assert 0 < registry.sent("blob") < large["size"] - min(stalled) + 3 * 1024 * 1024
    assert files_of(tmp_path / "out") == files_of(larger)
