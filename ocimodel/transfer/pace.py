"""How fast connections are, against each other and against a limit.

A connection that runs at less than a quarter of the others' median for some seconds is given up, so that its rest
is asked for again over a new one. ``max_rate`` bounds the sum of all.
"""

from __future__ import annotations

import statistics
import threading
import time

WINDOW = 4.0
SHARE = 0.25


class Pace:
    """Shared by all connections of one operation.

    Args:
        max_rate: bytes a second for all connections together; None: no limit.
    """

    def __init__(self, max_rate: float | None = None) -> None:
        self._lock = threading.Lock()
        self._active: dict[Watch, float] = {}
        self._max_rate = max_rate
        self._free_at = time.monotonic()

    def watch(self) -> Watch:
        """Begin to measure a connection."""
        watch = Watch(self)
        with self._lock:
            self._active[watch] = 0.0
        return watch

    def _report(self, watch: Watch, rate: float) -> bool:
        with self._lock:
            self._active[watch] = rate
            others = [other for key, other in self._active.items() if key is not watch and other]
        return len(others) >= 2 and rate < SHARE * statistics.median(others)

    def _leave(self, watch: Watch) -> None:
        with self._lock:
            self._active.pop(watch, None)

    def throttle(self, count: int) -> None:
        """Sleep as long as ``count`` more bytes need under the limit."""
        if self._max_rate is None:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self._max_rate
            delay = self._free_at - now
        if delay > 0:
            time.sleep(delay)


class Watch:
    """One connection's speed, window by window."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._began = time.monotonic()
        self._count = 0

    def too_slow(self, count: int) -> bool:
        """Report ``count`` more bytes. True: give this connection up."""
        self._pace.throttle(count)
        self._count += count
        elapsed = time.monotonic() - self._began
        if elapsed < WINDOW:
            return False
        rate, self._count, self._began = self._count / elapsed, 0, self._began + elapsed
        return self._pace._report(self, rate)

    def done(self) -> None:
        """The connection is not used any more."""
        self._pace._leave(self)
