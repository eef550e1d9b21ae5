"""What the cache directory holds, and making it smaller.

    digests.sqlite    SHA-256 of files that were read before (`transfer.digests`)
    chunks/           chunk indexes of files that were pushed (`verbs.indexing`)
    pulled/           where earlier pulls put what, to take bytes from (`transfer.earlier`)

Guarantees: nothing in it is needed; whatever is removed costs time, never a right result. No model's files are in
it and none are ever removed: what ``pulled`` remembers stays where it is. A directory that others could write to
is used by no command; it is reported, and not touched. Looking makes nothing.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from ocimodel.errors import OcimodelError
from ocimodel.oci.digest import Digest
from ocimodel.transfer.receipt import Receipt

DATABASE = "digests.sqlite"
CHUNKS = "chunks"
PULLED = "pulled"
_HALF_WRITTEN = 3600.0
"""Seconds after which a temporary file was left by a writer that is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of the cache. ``kind`` is ``digests``, ``chunk-index``, ``pulled`` or ``other``.

    ``subject`` is what it is about: the layer of a chunk index, the directory of a pull. ``reference`` and
    ``exists`` are of pulls: what was pulled, and whether the directory is still there. ``count`` is of digests.
    """

    kind: str
    path: Path
    size: int
    used: float
    subject: str = ""
    reference: str = ""
    exists: bool = True
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """``ignored`` says why no command uses the directory; empty where one may."""

    directory: Path
    ignored: str
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """``removed`` are entries that are gone; ``contents`` what is left."""

    removed: tuple[Entry, ...]
    freed: int
    contents: Contents


def show(directory: Path) -> Contents:
    """What is in the cache; nothing where it does not exist. Never raises about what lies in it."""
    ignored = why_ignored(directory)
    entries = () if ignored else tuple(_entries(directory))
    return Contents(directory=directory, ignored=ignored, entries=entries)


def prune(directory: Path, *, max_size: int | None = None) -> Pruned:
    """Remove what is of no more use: memories of directories that are gone, and what killed writers left.

    Args:
        max_size: then the oldest as well, until no more bytes than this are left.
    """
    before = show(directory)
    useless = [entry for entry in before.entries if not entry.exists or entry.kind == "other"]
    removed = [entry for entry in useless if _remove(entry)]
    if max_size is not None:
        removed += _shrink(show(directory).entries, max_size)
    after = show(directory)
    return Pruned(removed=tuple(removed), freed=max(0, before.size - after.size), contents=after)


def why_ignored(directory: Path) -> str:
    """Why no command uses the directory, by the rules of `transfer.digests`; empty where it is used, or missing."""
    try:
        status = directory.lstat()
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if not stat.S_ISDIR(status.st_mode):
        return "it is not a directory"
    if status.st_uid != os.geteuid():
        return f"it belongs to user {status.st_uid}"
    if stat.S_IMODE(status.st_mode) & 0o077:
        return f"its mode is {stat.S_IMODE(status.st_mode):04o}, so that others may enter it; 0700 is asked for"
    return ""


def _entries(directory: Path) -> Iterator[Entry]:
    for path, status in _files(directory):
        if path.name.startswith(DATABASE):
            count = _count(path) if path.name == DATABASE else 0
            yield Entry(kind="digests", path=path, size=status.st_size, used=status.st_mtime, count=count)
    for path, status in _files(directory / CHUNKS):
        algorithm, _, encoded = path.name.removesuffix(".json").partition("-")
        if path.suffix == ".json" and algorithm and len(encoded) == len(Digest.of(b"").hex):
            subject = f"sha256:{encoded}"
            yield Entry(kind="chunk-index", path=path, size=status.st_size, used=status.st_mtime, subject=subject)
        else:
            yield from _left_over(path, status)
    for path, status in _files(directory / PULLED):
        if path.suffix == ".json":
            yield _pull(path, status)
        else:
            yield from _left_over(path, status)


def _files(directory: Path) -> list[tuple[Path, os.stat_result]]:
    found: list[tuple[Path, os.stat_result]] = []
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_file(follow_symlinks=False):
                    found.append((Path(entry.path), entry.stat(follow_symlinks=False)))
    return sorted(found, key=lambda item: item[0].name)


def _left_over(path: Path, status: os.stat_result) -> Iterator[Entry]:
    """A temporary file, once whoever wrote it must be gone."""
    if path.name.endswith(".tmp") and time.time() - status.st_mtime > _HALF_WRITTEN:
        yield Entry(kind="other", path=path, size=status.st_size, used=status.st_mtime)


def _pull(path: Path, status: os.stat_result) -> Entry:
    subject = reference = ""
    exists = False  # one that cannot be read is of no use either
    with suppress(OSError, OcimodelError):
        receipt = Receipt.from_bytes(path.read_bytes())
        subject, reference = receipt.directory, receipt.reference
        exists = Path(subject).is_dir()
    return Entry(
        kind="pulled",
        path=path,
        size=status.st_size,
        used=status.st_mtime,
        subject=subject,
        reference=reference,
        exists=exists,
    )


def _count(path: Path) -> int:
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=2)) as database,
    ):
        return int(database.execute("select count(*) from digests").fetchone()[0])
    return 0


def _shrink(entries: tuple[Entry, ...], most: int) -> list[Entry]:
    """Remove the oldest files, then the oldest digests, then their database, as far as it takes."""
    left = sum(entry.size for entry in entries)
    removed: list[Entry] = []
    for entry in sorted(entries, key=lambda entry: entry.used):
        if left > most and entry.kind != "digests" and _remove(entry):
            left -= entry.size
            removed.append(entry)
    databases = [entry for entry in entries if entry.kind == "digests"]
    others = left - sum(entry.size for entry in databases)
    for entry in databases:
        if entry.path.name == DATABASE and left > most:
            _forget_oldest(entry, most - others)
    if others + sum(_size(entry.path) for entry in databases) > most:
        removed += [entry for entry in databases if _remove(entry)]
    return removed


def _forget_oldest(entry: Entry, room: int) -> None:
    # A page more than its rows need: the database has two at least.
    keep = max(0, entry.count * (room - 8192) // max(1, entry.size))
    with suppress(sqlite3.Error), closing(sqlite3.connect(entry.path, timeout=2, isolation_level=None)) as database:
        database.execute(
            "delete from digests where (dev, ino) not in (select dev, ino from digests order by used desc limit ?)",
            (keep,),
        )
        database.execute("vacuum")


def _remove(entry: Entry) -> bool:
    try:
        entry.path.unlink()
    except OSError:
        return False
    return True


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.lstat().st_size
    return 0
