"""The process: how it begins and ends, whatever happens to it. Each test starts a real one."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocimodel.cli import process
from tests.commands import World, events, make_world, run
from tests.documents import check, problems
from tests.hostile import HostileRegistry, Stall

COMMAND = [sys.executable, "-m", "ocimodel"]
ROOT = Path(__file__).resolve().parents[1]
END_WITHIN = 5.0


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture
def registry() -> Iterator[HostileRegistry]:
    with HostileRegistry() as registry:
        yield registry


def ocimodel(*argv: str | Path, follow: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end. ``follow``: what stands after it on a command line, as in ``| head -0``."""
    environment = {**os.environ, **more}
    words = [*COMMAND, *(str(word) for word in argv)]
    if follow:
        script = f'set -o pipefail; "$@" {follow}'
        words = ["bash", "-c", script, "ocimodel", *words]
    return subprocess.run(words, capture_output=True, text=True, env=environment, timeout=60)


def stopped(number: signal.Signals, registry: HostileRegistry, *argv: str | Path) -> tuple[int, str, str]:
    """Start a command whose registry has fallen silent, stop it, and hold it to its time."""
    words = [*COMMAND, *(str(word) for word in argv)]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 30
        while not registry.count("GET", "blob"):
            assert time.monotonic() < deadline
            assert running.poll() is None, running.communicate()
            time.sleep(0.02)
        time.sleep(0.2)
        began = time.monotonic()
        running.send_signal(number)
        out, err = running.communicate(timeout=30)
        assert time.monotonic() - began < END_WITHIN
    finally:
        running.kill()
        running.wait()
    return running.returncode, out, err


# --- beginning ------------------------------------------------------------------------------------------------


def test_the_module_is_the_program() -> None:
    ran = ocimodel("--version")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("ocimodel ")


def test_the_answer_can_be_captured(world: World) -> None:
    ran = ocimodel("push", world.model, world.ref, "--key", world.key)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"{world.pinned()}\n", "")


def test_completion_of_commands() -> None:
    more = {"_OCIMODEL_COMPLETE": "complete_bash", "COMP_WORDS": "ocimodel pu", "COMP_CWORD": "1"}
    assert ocimodel(**more).stdout.split() == ["push", "pull"]


def test_completion_of_options() -> None:
    more = {"_OCIMODEL_COMPLETE": "complete_bash", "COMP_WORDS": "ocimodel pull --in", "COMP_CWORD": "2"}
    assert ocimodel(**more).stdout.split() == ["--include"]


# --- ending ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
    ids=["SIGINT", "SIGTERM"],
)
def test_a_signal_ends_a_pull_whose_threads_hang(
    number: signal.Signals, code: int, reason: str, world: World, registry: HostileRegistry
) -> None:
    ref = f"{registry.host}/ml/tiny:v1"
    assert run("push", world.model, ref, "--key", world.key).code == 0
    registry.requests.clear()
    registry.fail(Stall(60, sent=1000), route="blob", method="GET")
    argv = ("pull", ref, "-o", world.root / "d", "--json", "--quiet")
    ended, out, err = stopped(number, registry, *argv)
    assert ended == code
    document = check(json.loads(out))
    assert (document["exitCode"], document["outcome"]) == (code, "error")
    assert document["reasons"][0]["reason"] == reason
    assert err.splitlines() == [
        f"error: {reason}",
        "hint: Run the same command again; what was checked so far is kept.",
    ]
    assert not (world.root / "d").exists()
    event = events()[-1]
    assert problems(event, "audit-event") == []
    assert event["data"]["exitCode"] == code
    registry.closing.set()


def test_the_watchdog_ends_a_main_thread_that_hangs(tmp_path: Path) -> None:
    # A command whose body swallows the interrupt, as a library in its way might.
    script = tmp_path / "hang.py"
    script.write_text(
        "import time, sys\n"
        "from ocimodel.cli import process\n"
        "from ocimodel.cli.console import Console\n"
        "from ocimodel.cli.run import Run, Settings\n"
        "def body():\n"
        "    sys.stderr.write('ready\\n'); sys.stderr.flush()\n"
        "    while True:\n"
        "        try:\n"
        "            time.sleep(60)\n"
        "        except KeyboardInterrupt:\n"
        "            pass\n"
        "process._listen()\n"
        "run = Run('pull', Settings(json=True), Console(), event='pull')\n"
        "with process.last_words(run):\n"
        "    run.execute(body)\n"
    )
    running = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert running.stderr is not None
    assert running.stderr.readline() == "ready\n"
    time.sleep(0.5)  # until it sleeps as well
    began = time.monotonic()
    running.send_signal(signal.SIGTERM)
    out, _ = running.communicate(timeout=30)
    assert time.monotonic() - began < END_WITHIN
    assert running.returncode == 143
    assert json.loads(out)["exitCode"] == 143
    assert events()[-1]["data"]["exitCode"] == 143


def test_an_ignored_interrupt_stays_ignored(world: World) -> None:
    ran = ocimodel("verify", world.ref, "--key", world.pub, follow="& wait $!")
    assert ran.returncode == 0


def test_grace_and_last_words_fit_into_the_time() -> None:
    assert process.GRACE + process.LAST_WORDS < END_WITHIN


def test_a_failure_does_not_wait_for_threads_that_hang(world: World, registry: HostileRegistry) -> None:
    ref = f"{registry.host}/ml/tiny:v1"
    assert run("push", world.model, ref).code == 0
    weights = max((world.model).iterdir(), key=lambda path: path.stat().st_size).read_bytes()
    blobs = registry.repositories["ml/tiny"].blobs
    for path in world.model.iterdir():
        digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        if path.read_bytes() == weights:
            registry.fail(Stall(60, sent=1000), route="blob", method="GET", target=digest)
        else:
            blobs[digest] = bytes(len(path.read_bytes()))
    began = time.monotonic()
    assert ocimodel("pull", ref, "-o", world.root / "d").returncode == 14
    assert time.monotonic() - began < 20
    registry.closing.set()


# --- streams --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["inspect", "tree", "list"])
def test_a_reader_that_went_away_is_no_error(command: str, world: World) -> None:
    ran = ocimodel(command, world.ref, follow="| true")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_verdict_survives_a_reader_that_went_away(world: World) -> None:
    ran = ocimodel("verify", world.ref, "--key", world.stranger, follow="| true")
    assert ran.returncode == 12


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_an_answer_that_cannot_be_written_is_74(world: World) -> None:
    ran = ocimodel("list", world.ref, follow="> /dev/full")
    assert ran.returncode == 74
    assert ran.stderr.splitlines()[0] == "error: cannot write to stdout: No space left on device"
    assert len(ran.stderr.splitlines()) == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("asked", [("--version",), ("--help",), ("push", "--help")], ids=" ".join)
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["", "unbuffered"])
def test_what_a_program_says_of_itself_ends_as_an_answer_does(asked: tuple[str, ...], unbuffered: str) -> None:
    for follow, code in (("> /dev/full", 74), ("| true", 0), (">&-", 0)):
        ran = ocimodel(*asked, follow=follow, PYTHONUNBUFFERED=unbuffered)
        assert (ran.returncode, "Traceback" in ran.stderr) == (code, False), ran.stderr


def test_a_closed_stderr_changes_nothing(world: World) -> None:
    assert ocimodel("verify", world.ref, "--key", world.stranger, follow="2>&-").returncode == 12


def test_names_in_any_locale(world: World) -> None:
    ran = ocimodel("list", f"oci:{world.root}/naïve", LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert ran.returncode == 11
    assert len(ran.stderr.splitlines()) == 2


# --- what went wrong ------------------------------------------------------------------------------------------


def test_a_traceback_only_with_debug(world: World) -> None:
    plain = ocimodel("verify", world.ref, "--key", world.stranger)
    assert "Traceback" not in plain.stderr
    debug = ocimodel("verify", world.ref, "--key", world.stranger, "--debug")
    assert "Traceback" in debug.stderr
    assert debug.returncode == plain.returncode == 12
    assert debug.stdout == plain.stdout


def test_a_full_disk_is_74(world: World) -> None:
    sealed = world.root / "sealed"
    sealed.mkdir(mode=0o500)
    if os.access(sealed, os.W_OK):
        pytest.skip("this user may write everywhere")
    assert ocimodel("pull", world.ref, "-o", sealed / "d").returncode == 74


def test_a_registry_that_is_not_there_is_75(world: World) -> None:
    ran = ocimodel("list", "127.0.0.1:1/ml/tiny", "--json")
    assert ran.returncode == 75
    document = check(json.loads(ran.stdout))
    assert (document["class"], document["outcome"]) == ("availability", "error")
    assert len(ran.stderr.splitlines()) == 2
