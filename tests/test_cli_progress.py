"""Progress: bars on a terminal, sparse lines elsewhere, nothing where quiet was asked for."""

from __future__ import annotations

import io
import threading
import time

import pytest

from ocimodel.cli.console import Console
from ocimodel.cli.progress import Bars, Lines, meter
from ocimodel.transfer.meter import Meter


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A time that passes when a test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_meter_fits_the_stream() -> None:
    assert isinstance(meter(Console(err=Terminal()), quiet=False), Bars)
    assert isinstance(meter(Console(err=io.StringIO()), quiet=False), Lines)
    assert type(meter(Console(err=Terminal()), quiet=True)) is Meter


def test_a_log_gets_a_line_now_and_then(clock: Clock) -> None:
    err = io.StringIO()
    lines = Lines(Console(err=err), clock)
    lines.begin("pulling", 400 * 2**20)
    for moved in (100, 0, 150):
        clock.now += 10
        lines.advance(moved * 2**20)
        lines.tell()
    lines.end()
    assert err.getvalue().splitlines() == [
        "pulling: 100.0 MiB of 400.0 MiB (25%), 10.0 MiB/s",
        "pulling: 100.0 MiB of 400.0 MiB (25%), 5.0 MiB/s",
        "pulling: 250.0 MiB of 400.0 MiB (62%), 8.3 MiB/s",
        "pulling: 250.0 MiB of 400.0 MiB (62%), 8.3 MiB/s",
    ]


def test_nobody_needs_to_ask_for_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocimodel.cli.progress.LINE_EVERY", 0.02)
    err = io.StringIO()
    lines = Lines(Console(err=err))
    lines.begin("pulling", 10)
    deadline = time.monotonic() + 10
    while "pulling: 0 B of 10 B (0%), 0 B/s\n" not in err.getvalue():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lines.end()
    lines.end()


def test_what_is_over_soon_is_not_told(clock: Clock) -> None:
    err = io.StringIO()
    lines = Lines(Console(err=err), clock)
    lines.begin("pulling", 0)
    lines.advance(5)
    clock.now += 9
    lines.advance(-5)
    lines.end()
    assert err.getvalue() == ""


def test_a_bar_appears_on_a_terminal_and_goes(clock: Clock) -> None:
    err = Terminal()
    bars = Bars(Console(err=err), clock)
    bars.begin("pulling", 100)
    bars.advance(10)
    assert err.getvalue() == ""
    clock.now += 1
    bars.advance(10)
    assert "pulling" in err.getvalue()
    bars.note("a note")
    clock.now += 1
    bars.advance(80)
    bars.end()
    assert "a note\n" in err.getvalue()
    assert err.getvalue().endswith("\x1b[2K")
    bars.end()


def test_threads_may_report_at_once(clock: Clock) -> None:
    lines = Lines(Console(err=io.StringIO()), clock)
    lines.begin("pushing", 4000)

    def work() -> None:
        for _ in range(1000):
            lines.advance(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock.now += 11
    lines.advance(0)
    assert lines._done == 4000
    lines.end()
