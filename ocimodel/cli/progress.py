"""Progress on stderr: bars on a terminal, a line now and then when it is piped, nothing with ``--quiet``.

`rich` is imported when the first bar appears, which a short transfer never does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ocimodel.cli.console import Console
from ocimodel.cli.text import size
from ocimodel.transfer.meter import Meter

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

BAR_AFTER = 0.4
"""Seconds before a bar appears: what is over by then needs none."""

LINE_EVERY = 10.0
"""Seconds between two lines in a log."""


class _Counting(Meter):
    """Counts, and keeps one phase at a time."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._lock = threading.RLock()
        self._title = ""
        self._total = 0
        self._done = 0
        self._began = 0.0

    def begin(self, title: str, total: int) -> None:
        with self._lock:
            self._title, self._total, self._done = title, total, 0
            self._began = self._clock()
            self._started()

    def advance(self, count: int) -> None:
        with self._lock:
            self._done += count
            self._moved(self._clock())

    def end(self) -> None:
        with self._lock:
            self._ended()

    def note(self, text: str) -> None:
        self._console.line(text)

    def _started(self) -> None: ...

    def _moved(self, now: float) -> None: ...

    def _ended(self) -> None: ...


class Lines(_Counting):
    """A line every ten seconds, also where nothing moves, and one at the end of what took longer."""

    _told = False
    _over: threading.Event | None = None

    def _started(self) -> None:
        self._told = False
        over = self._over = threading.Event()
        threading.Thread(target=self._tell_now_and_then, args=(over,), daemon=True).start()

    def _tell_now_and_then(self, over: threading.Event) -> None:
        while not over.wait(LINE_EVERY):
            self.tell()

    def tell(self) -> None:
        """One line about how far it is."""
        with self._lock:
            self._told = True
            self._say(self._clock())

    def _ended(self) -> None:
        if self._over is not None:
            self._over.set()
            self._over = None
            if self._told:
                self._say(self._clock())

    def _say(self, now: float) -> None:
        seconds = max(now - self._began, 0.001)
        share = f" ({100 * self._done // self._total}%)" if self._total else ""
        speed = size(int(self._done / seconds))
        self._console.line(f"{self._title}: {size(self._done)} of {size(self._total)}{share}, {speed}/s")


class Bars(_Counting):
    """One bar a phase, gone when the phase is over."""

    _progress: Progress | None = None
    _task: TaskID | None = None

    def _moved(self, now: float) -> None:
        if self._progress is None:
            if now - self._began < BAR_AFTER:
                return
            self._appear()
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=self._done)

    def _appear(self) -> None:
        from rich.console import Console as Terminal
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

        self._progress = Progress(
            "{task.description}",
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Terminal(file=self._console.err),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task(self._title, total=self._total)
        self._progress.start()

    def _ended(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = self._task = None

    def note(self, text: str) -> None:
        with self._lock:
            progress, self._progress = self._progress, None
            if progress is not None:
                progress.stop()
            self._console.line(text)


def meter(console: Console, *, quiet: bool) -> Meter:
    """The meter that fits where stderr goes."""
    if quiet:
        return Meter()
    return Bars(console) if console.err.isatty() else Lines(console)
