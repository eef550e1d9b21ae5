"""The digest cache: what a file's SHA-256 was when it was last read, so that it need not be read again.

It decides what gets signed, so it is kept like a key. Guarantees: it is used only in a directory of mode 0700 that
this user owns, else it is left alone and silent (for the rest of the cache, which is hashed before use, it suffices
that nobody else can write: `why_ignored`); an entry counts only for the very device, inode, size, mtime and
ctime it was made for; a file whose ctime lies within two seconds of its hashing is not entered, since a later
write could leave no trace; files on network file systems, whose times lie, are never entered. An entry that
turns out wrong is forgotten. The cache saves a reading; a store still checks what it is sent.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from ocimodel.errors import FormatError
from ocimodel.oci.digest import Digest

MARGIN_NS = 2_000_000_000
_LOCAL = frozenset(
    "bcachefs btrfs ext2 ext3 ext4 f2fs jfs overlay ramfs reiserfs tmpfs xfs zfs".split()  # noqa: SIM905
)
_SCHEMA = (
    "create table if not exists digests (dev integer, ino integer, size integer, mtime integer, ctime integer,"
    " sha256 text not null, used integer not null, primary key (dev, ino)) without rowid"
)
MAX_ENTRIES = 200_000


class Identity(Protocol):
    """What changes when a file's content does (`ocimodel.model.scan.Identity`)."""

    @property
    def dev(self) -> int: ...
    @property
    def ino(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def mtime_ns(self) -> int: ...
    @property
    def ctime_ns(self) -> int: ...


class DigestCache:
    """Safe for threads and processes. Whatever goes wrong with it means "not known"."""

    def __init__(self, directory: Path | None) -> None:
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._types: dict[int, str] | None = None
        if directory is None or not is_ours(directory):
            return
        with suppress(sqlite3.Error, OSError):
            path = directory / "digests.sqlite"
            database = sqlite3.connect(path, timeout=2, isolation_level=None, check_same_thread=False)
            os.chmod(path, 0o600)
            database.execute("pragma synchronous=off")
            database.execute(_SCHEMA)
            self._database = database

    @property
    def usable(self) -> bool:
        """Whether the directory is ours alone, so that what lies in it may be believed."""
        return self._database is not None

    def get(self, identity: Identity) -> Digest | None:
        """The digest of the file with this identity, if it is known."""
        rows = self._run(
            "select sha256 from digests where dev=? and ino=? and size=? and mtime=? and ctime=?", _key(identity)
        )
        if len(rows) != 1:
            return None
        with suppress(FormatError):
            return Digest.parse(f"sha256:{rows[0][0]}")
        return None

    def put(self, identity: Identity, digest: Digest, *, hashed_at_ns: int) -> None:
        """Remember a digest. ``hashed_at_ns``: when the reading began, by `time.time_ns`."""
        changed = max(identity.ctime_ns, identity.mtime_ns)
        if hashed_at_ns - changed < MARGIN_NS or not self._is_local(identity.dev):
            return
        self._run(
            "insert or replace into digests values (?,?,?,?,?,?,?)",
            (*_key(identity), digest.hex, int(time.time())),
        )

    def moved(self, before: Identity, after: Identity) -> None:
        """We changed what is said of a file, such as its number of links, and with that its ctime; not its bytes.

        Whoever writes to it from now on changes its mtime, which has to lie far enough back for that to show.
        """
        same = _key(before)[:4] == _key(after)[:4]
        if same and time.time_ns() - after.mtime_ns >= MARGIN_NS:
            self._run(
                "update digests set ctime=? where dev=? and ino=? and size=? and mtime=? and ctime=?",
                (after.ctime_ns, *_key(before)),
            )

    def forget(self, identity: Identity) -> None:
        """The entry was wrong."""
        self._run("delete from digests where dev=? and ino=?", _key(identity)[:2])

    def close(self) -> None:
        """Drop the oldest entries beyond the cap."""
        self._run(
            "delete from digests where used < (select used from digests order by used desc limit 1 offset ?)",
            (MAX_ENTRIES,),
        )
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _run(self, statement: str, values: Sequence[int | str]) -> list[tuple[str]]:
        with self._lock:
            if self._database is None:
                return []
            try:
                return self._database.execute(statement, values).fetchall()
            except sqlite3.Error:
                return []

    def _is_local(self, device: int) -> bool:
        with self._lock:
            if self._types is None:
                self._types = _file_systems()
        return self._types.get(device) in _LOCAL


def _key(identity: Identity) -> tuple[int, ...]:
    return (
        _signed(identity.dev),
        _signed(identity.ino),
        identity.size,
        identity.mtime_ns,
        identity.ctime_ns,
    )


def _signed(number: int) -> int:
    # SQLite's integers end at 2**63.
    return number - 2**64 if number >= 2**63 else number


def is_ours(directory: Path) -> bool:
    """Whether ``directory``, made where it is missing, belongs to this user and nobody else can enter it."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.lstat()
    except OSError:
        return False
    return not why_unsafe(status) and stat.S_IMODE(status.st_mode) & 0o077 == 0


def why_unsafe(status: os.stat_result) -> str:
    """Why what lies in a directory may be somebody else's work; empty where it is this user's alone."""
    if not stat.S_ISDIR(status.st_mode):
        return "it is not a directory"
    if status.st_uid != os.geteuid():
        return f"it belongs to user {status.st_uid}"
    if stat.S_IMODE(status.st_mode) & 0o022:
        return f"its mode is {stat.S_IMODE(status.st_mode):04o}, so that others may write to it; 0700 is asked for"
    return ""


def why_ignored(directory: Path) -> str:
    """Why a cache directory is not used; empty where it is, or is missing. Makes nothing."""
    try:
        return why_unsafe(directory.lstat())
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"it cannot be read: {error.strerror}"


def _file_systems() -> dict[int, str]:
    """File-system types by device (proc(5), mountinfo: field 3 is major:minor, the type follows the dash)."""
    types: dict[int, str] = {}
    with suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            left, _, right = line.partition(" - ")
            fields = left.split()
            major, _, minor = fields[2].partition(":")
            with suppress(ValueError):
                types[os.makedev(int(major), int(minor))] = right.split()[0]
    return types
