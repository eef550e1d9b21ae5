"""Whole processes, from their start to their end: how long they took and how much memory they held."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class DidNotRun(Exception):
    """A program that is measured failed; its figures would mean nothing."""


@dataclass(frozen=True, slots=True)
class Run:
    """One process. ``memory`` is the largest resident set, in bytes, of it and of those it waited for.

    A process inherits the mark of the one that started it (some 30 MiB here), so nothing less is ever seen.
    """

    seconds: float
    processor: float
    memory: int
    output: str


@dataclass(frozen=True, slots=True)
class Side:
    """One of two that are compared: what is run, and what is done before each run without being timed."""

    command: Sequence[str | Path]
    prepare: Callable[[], None] = lambda: None
    directory: Path | None = None


def run(side: Side, environment: Mapping[str, str]) -> Run:
    """Prepare, then run and time. Raises DidNotRun where it ends with anything but 0."""
    side.prepare()
    command = [str(word) for word in side.command]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=said,
            env=dict(environment),
            cwd=side.directory,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
        if process.returncode:
            said.seek(0)
            words = said.read().decode(errors="replace")[-2000:]
            raise DidNotRun(f"{' '.join(command[:4])} …: exit {process.returncode}\n{text[-500:]}{words}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, text)


def alternately(
    ours: Side, theirs: Side, environment: Mapping[str, str], times: int
) -> tuple[list[Run], list[Run]]:
    """A B A B …, so that whatever else the machine does meets both alike."""
    pairs = [(run(ours, environment), run(theirs, environment)) for _ in range(times)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
