"""What of a part has been written already: a list of ranges that survives a kill.

    START STOP      these bytes lie in the part file
    START STOP ?    these do too, but their chunk was not complete, so that nobody has checked it

A line is appended after the bytes were written, so that it never claims more than the page cache holds. It saves
transfers, not checks: whatever it says, the bytes are hashed before they are believed, and a journal that disagrees
with its part is thrown away.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Self

_MAX_BYTES = 64 * 1024 * 1024


class Ranges:
    """A set of byte offsets, kept as sorted, disjoint ranges. Not safe for threads by itself."""

    __slots__ = ("_ranges",)

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []

    def add(self, start: int, stop: int) -> None:
        """Add [start, stop)."""
        if start >= stop:
            return
        before = [item for item in self._ranges if item[1] < start]
        after = [item for item in self._ranges if item[0] > stop]
        touching = self._ranges[len(before) : len(self._ranges) - len(after)]
        if touching:
            start, stop = min(start, touching[0][0]), max(stop, touching[-1][1])
        self._ranges = [*before, (start, stop), *after]

    def remove(self, start: int, stop: int) -> None:
        """Take [start, stop) out."""
        kept: list[tuple[int, int]] = []
        for low, high in self._ranges:
            kept += [item for item in ((low, min(high, start)), (max(low, stop), high)) if item[0] < item[1]]
        self._ranges = kept

    def gaps(self, size: int) -> list[tuple[int, int]]:
        """What of [0, size) is missing, in order."""
        result: list[tuple[int, int]] = []
        at = 0
        for low, high in self._ranges:
            if low > at:
                result.append((at, min(low, size)))
            at = max(at, high)
        if at < size:
            result.append((at, size))
        return [item for item in result if item[0] < item[1]]

    def around(self, offset: int, stop: int) -> tuple[int, int]:
        """How far the bytes from ``offset`` on are there, and from where on they are again; at most ``stop``."""
        for low, high in self._ranges:
            if low <= offset < high:
                return min(high, stop), stop
            if offset < low < stop:
                return offset, low
        return offset, stop

    def frontier(self) -> int:
        """How many bytes from 0 on are there without a gap."""
        return self._ranges[0][1] if self._ranges and self._ranges[0][0] == 0 else 0

    def covered(self) -> int:
        """How many bytes are there."""
        return sum(high - low for low, high in self._ranges)


class Journal:
    """The written ranges of one part file, safe for threads; `wait` follows the contiguous frontier."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self._ranges = Ranges()
        self._notes = Ranges()
        """What an earlier run noted. What this one notes is of no use to itself, and may be bad by now."""
        self._changed = threading.Condition()
        self._file = -1

    @classmethod
    def open(cls, part: Path, size: int) -> Self:
        """Continue the journal beside ``part``; start anew where either is missing or they disagree."""
        journal = cls(_beside(part), size)
        journal._load(part)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        journal._file = os.open(journal._path, flags, 0o600)
        return journal

    def _load(self, part: Path) -> None:
        try:
            length = part.stat().st_size
            text = self._path.read_bytes()[:_MAX_BYTES]
        except OSError:
            self._path.unlink(missing_ok=True)
            return
        for line in text.split(b"\n")[:-1]:
            numbers = line.split()
            noted = numbers[2:] == [b"?"]
            if (len(numbers) != 2 and not noted) or not all(number.isdigit() for number in numbers[:2]):
                break
            start, stop = (int(number) for number in numbers[:2])
            if not start < stop <= min(length, self._size):
                break
            (self._notes if noted else self._ranges).add(start, stop)

    def wrote(self, start: int, stop: int) -> int:
        """The bytes [start, stop) have been written to the part; returns how many of them are new."""
        with self._changed:
            before = self._ranges.covered()
            os.write(self._file, b"%d %d\n" % (start, stop))
            self._ranges.add(start, stop)
            self._changed.notify_all()
            return self._ranges.covered() - before

    def note(self, start: int, stop: int) -> None:
        """The bytes [start, stop) have been written, for a later run to check, should this one be killed.

        Where the journal is closed the part is complete already, and there is nothing to be noted.
        """
        with self._changed:
            if self._file >= 0:
                os.write(self._file, b"%d %d ?\n" % (start, stop))

    def noted(self, offset: int, stop: int) -> tuple[int, int]:
        """How far an earlier run noted the bytes from ``offset`` on, and from where on again; at most ``stop``."""
        with self._changed:
            return self._notes.around(offset, stop)

    def adopt(self) -> None:
        """There are no chunks to check: what was noted is as good as what was written."""
        with self._changed:
            for low, high in self._notes._ranges:
                self._ranges.add(low, high)
            self._notes = Ranges()

    def lost(self, start: int, stop: int) -> None:
        """The bytes [start, stop) turned out to be bad and must come again."""
        with self._changed:
            self._ranges.remove(start, stop)
            self._notes.remove(start, stop)
            os.ftruncate(self._file, 0)
            for low, high in self._ranges._ranges:
                os.write(self._file, b"%d %d\n" % (low, high))
            for low, high in self._notes._ranges:
                os.write(self._file, b"%d %d ?\n" % (low, high))

    def gaps(self) -> list[tuple[int, int]]:
        with self._changed:
            return self._ranges.gaps(self._size)

    def covered(self) -> int:
        with self._changed:
            return self._ranges.covered()

    def wait(self, beyond: int, timeout: float) -> int:
        """Wait until the frontier lies beyond an offset, or time is up; returns the frontier."""
        with self._changed:
            self._changed.wait_for(lambda: self._ranges.frontier() > beyond, timeout)
            return self._ranges.frontier()

    def close(self, *, forget: bool) -> None:
        """``forget``: the part is complete, and the journal of no more use."""
        with self._changed:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
        if forget:
            self._path.unlink(missing_ok=True)


def claim(part: Path) -> None:
    """Say that ``part`` lacks nothing, so that it is hashed and not fetched."""
    _beside(part).write_bytes(b"0 %d\n" % part.stat().st_size)


def _beside(part: Path) -> Path:
    return part.with_name(part.name + ".journal")
