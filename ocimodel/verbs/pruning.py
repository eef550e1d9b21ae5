"""Making the cache smaller.

Guarantees: nothing that is removed was needed: it costs time, never a right result. No pulled directory is touched,
and no blob is removed while a process takes it. The least recently used goes first, damaged blobs before that. The
layout lists no model any more that is not in it whole.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ocimodel.errors import OcimodelError
from ocimodel.oci.digest import Digest
from ocimodel.stores.layout import LayoutStore
from ocimodel.transfer.flights import FOLDER, Flights
from ocimodel.transfer.places import LAYOUT, USED
from ocimodel.verbs.cache import DATABASE, HALF_WRITTEN, Contents, Entry, listed, show

LOOKED_AT = 7 * 86400.0
"""Seconds for which a damaged blob is kept, for whoever wants to look at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """``removed`` are entries that are gone; ``held`` those that a process is taking; ``contents`` what is left.

    ``freed`` is of the disk: a file that a pulled directory has as well frees nothing.
    """

    removed: tuple[Entry, ...]
    held: tuple[Entry, ...]
    freed: int
    contents: Contents


def prune(directory: Path, *, max_size: int | None = None) -> Pruned:
    """Remove what is of no more use: memories of directories that are gone, what killed writers left, old damage.

    Args:
        max_size: then what was not used for longest as well, until no more bytes than this are left.
    """
    before = show(directory)
    removal = _Removal(directory)
    if not before.ignored and directory.is_dir():
        for entry in before.entries:
            old = entry.kind == "quarantine" and time.time() - entry.used > LOOKED_AT
            if not entry.exists or entry.kind == "other" or old:
                removal.remove(entry)
        if max_size is not None:
            removal.shrink(show(directory).entries, max_size)
        removal.tidy()
    after = show(directory)
    left = {entry.path: entry.size for entry in after.entries}
    freed = sum(entry.size for entry in removal.removed if not entry.links)
    freed += sum(max(0, entry.size - left[entry.path]) for entry in before.entries if entry.path in left)
    return Pruned(removed=tuple(removal.removed), held=tuple(removal.held), freed=freed, contents=after)


@dataclass(slots=True)
class _Removal:
    directory: Path
    removed: list[Entry] = field(default_factory=list)
    held: list[Entry] = field(default_factory=list)

    def remove(self, entry: Entry) -> bool:
        try:
            if entry.kind == "blob":
                self._remove_blob(entry)
            else:
                entry.path.unlink()
        except BlockingIOError:
            self.held.append(entry)
            return False
        except (OSError, OcimodelError):
            return False
        self.removed.append(entry)
        return True

    def _remove_blob(self, entry: Entry) -> None:
        """Raises BlockingIOError where somebody is taking it."""
        digest = Digest.parse(entry.subject)
        handle = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise
            except OSError:
                pass  # a file system without such locks: whoever reads goes on reading what was removed
            LayoutStore(self.directory / LAYOUT).remove(digest)
        finally:
            os.close(handle)
        (self.directory / USED / f"{digest.algorithm}-{digest.hex}").unlink(missing_ok=True)

    def shrink(self, entries: Sequence[Entry], most: int) -> None:
        """Remove the oldest files, then the oldest digests, then their database, as far as it takes."""
        left = sum(entry.size for entry in entries)
        for entry in sorted(entries, key=lambda entry: (entry.kind != "quarantine", entry.used)):
            if left > most and entry.kind != "digests" and self.remove(entry):
                left -= entry.size
        databases = [entry for entry in entries if entry.kind == "digests"]
        others = left - sum(entry.size for entry in databases)
        for entry in databases:
            if entry.path.name == DATABASE and left > most:
                _forget_oldest(entry, most - others)
        if others + sum(_size(entry.path) for entry in databases) > most:
            for entry in databases:
                self.remove(entry)

    def tidy(self) -> None:
        """What is left over of what was removed, by whomever."""
        layout = LayoutStore(self.directory / LAYOUT)
        for manifest in list(listed(layout)):
            if not all(layout.has_blob(layer) for layer in manifest.layers):
                with suppress(OcimodelError):
                    layout.remove(manifest.descriptor.digest)
        with suppress(OSError):
            for mark in (self.directory / USED).iterdir():
                algorithm, _, encoded = mark.name.partition("-")
                if not (layout.path / "blobs" / algorithm / encoded).exists():
                    mark.unlink()
        with suppress(OSError):
            for draft in (self.directory / FOLDER).glob("*.tmp"):
                if time.time() - draft.stat().st_mtime > HALF_WRITTEN:
                    draft.unlink()
        flights = Flights(self.directory)
        for _ in flights.others():
            pass  # records of pulls that were killed go while one looks
        flights.close()


def _forget_oldest(entry: Entry, room: int) -> None:
    # A page more than its rows need: the database has two at least.
    keep = max(0, entry.count * (room - 8192) // max(1, entry.size))
    with suppress(sqlite3.Error), closing(sqlite3.connect(entry.path, timeout=2, isolation_level=None)) as database:
        database.execute(
            "delete from digests where (dev, ino) not in (select dev, ino from digests order by used desc limit ?)",
            (keep,),
        )
        database.execute("vacuum")


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.lstat().st_size
    return 0
