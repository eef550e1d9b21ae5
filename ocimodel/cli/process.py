"""Where the process begins and ends: signals, streams, the exit code.

Guarantees: SIGINT ends it with 130 and SIGTERM with 143 within five seconds, also where a thread hangs in a read:
the run tells its end (the audit event first), the streams are flushed, and nobody waits for the others. A reader
of stdout that went away changes nothing but the output.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn, Protocol

from ocimodel.cli.failures import INTERRUPTED, TERMINATED, Stop

GRACE = 2.5
"""Seconds that the main thread has after a signal to end by itself."""

LAST_WORDS = 1.5
"""Seconds that telling the end may take after that."""

_COLLECTIONS = (50_000, 20, 50)
"""Reference cycles are few here; with Python's own numbers a tenth of a start goes into looking for them."""


class Running(Protocol):
    """A run that can be told that it failed."""

    def failed(self, error: BaseException) -> int: ...


_running: list[Running] = []
_stops: list[int] = []
"""The exit code that a signal asked for, once one has."""


@contextmanager
def last_words(run: Running) -> Iterator[None]:
    """While the body runs, ``run`` is what a signal ends."""
    _running.append(run)
    try:
        yield
    finally:
        _running.pop()


def start(argv: Sequence[str]) -> NoReturn:
    """Run a command line in this process and end the process."""
    gc.set_threshold(*_COLLECTIONS)
    try:
        _open_streams()
        _listen()
        from ocimodel.cli.app import run

        code = run(argv)
    except KeyboardInterrupt:  # before there was a run, or while it told its end
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001 - even reporting an error can have a bug, which ends in two lines as well
        from ocimodel.cli.console import Console
        from ocimodel.cli.run import Run, Settings

        code = Run("", Settings(debug="--debug" in argv), Console(), event=None).failed(error)
    end(code)


def end(code: int) -> NoReturn:
    """Flush and exit, without the interpreter's taking itself apart, which takes longer than many a command.

    What libraries want done at the end is done, unless threads are still at work or a signal came.
    """
    _flush()
    if not _stops and threading.active_count() == 1:
        with suppress(BaseException):  # a signal that comes now is in _stops
            atexit._run_exitfuncs()
        _flush()
    os._exit(_stops[0] if _stops else code)


def _open_streams() -> None:
    """Whoever started us with a stream closed wants nothing there, and no file of ours in its place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _listen() -> None:
    for number, code in ((signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)):
        # Whoever started us with a signal ignored (nohup, a background job) meant it.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handler(code))


def _handler(code: int) -> Callable[[int, FrameType | None], None]:
    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if _stops:
            return  # ends in seconds anyway, and what it is writing should be whole
        _stops.append(code)
        threading.Thread(target=_watch, args=(code,), daemon=True).start()
        raise Stop(code)

    return on_signal


def _watch(code: int) -> None:
    """Ends the process for a main thread that does not."""
    time.sleep(GRACE)
    if _running:
        teller = threading.Thread(target=_running[-1].failed, args=(Stop(code),), daemon=True)
        teller.start()
        teller.join(LAST_WORDS)
    os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
