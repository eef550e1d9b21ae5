"""Which blobs processes of this machine are fetching just now, so that one of them fetches and the others wait.

    flights/locks        one byte a blob; whoever fetches the blob has locked it
    flights/HEX.json     what one pull is about, and where it puts it

Guarantees: locks are those of open files (``F_OFD_SETLK``, fcntl(2)): they go with their holder, however it ends.
Nothing here waits, and whoever waits for a lock must hold none, so nobody can wait in a circle. Where a system or
a file system has no such locks, everybody gets every lock: then nothing is shared, and nothing is wrong.
What a record says is a hint: bytes found where it points are hashed by whoever takes them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ocimodel import jsonio
from ocimodel.errors import FormatError
from ocimodel.jsonio import Node
from ocimodel.oci.digest import Digest

FOLDER = "flights"
_LOCKS = "locks"
_MAX_RECORD = 16 * 1024 * 1024
_MAX_RECORDS = 256
_BEAT = 1.0
_HELD = frozenset({errno.EAGAIN, errno.EACCES})
_SET = getattr(fcntl, "F_OFD_SETLK", None)
"""Linux has it; elsewhere nothing is shared."""
_FLOCK = "@hhqqi0q"
"""``struct flock``: type, whence, start, length, pid."""
_ASKED = 1 << 59
"""Where the bytes begin by which blobs are asked for; those of the blobs themselves begin at 0."""
_OWN = 1 << 60
"""Where the bytes begin that stand for pulls."""
_PRESENCE = 1 << 61
"""The byte that everybody shares who has the file open."""
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_TRIES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """Where a blob's file will lie: ``part`` until it is checked, then each of ``places`` in turn.

    ``kept``: it will be in the cache.
    """

    name: str
    size: int
    kept: bool
    part: Path
    places: tuple[Path, ...]

    def found(self) -> bool:
        """Whether the checked file is there, for us to see."""
        return any(_size(path) == self.size for path in self.places)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """What another pull has announced.

    ``identity`` is of the folder of its parts: a process that sees another folder there lives in another container.
    """

    path: Path
    process: str
    folder: Path
    identity: str
    landings: Mapping[Digest, Landing] = field(default_factory=dict)

    def visible(self) -> bool:
        """Whether this process sees the folder that the other one writes to."""
        with suppress(OSError):
            return _identity(self.folder) == self.identity
        return False

    def beat(self) -> int:
        """Changes while the other pull moves bytes."""
        with suppress(OSError):
            return self.path.stat().st_mtime_ns
        return 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "process": self.process,
            "folder": str(self.folder),
            "identity": self.identity,
            "blobs": {
                str(digest): [item.name, item.size, item.kept, str(item.part), *map(str, item.places)]
                for digest, item in self.landings.items()
            },
        }

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises FormatError, OSError."""
        node = Node(jsonio.loads(path.read_bytes()[: _MAX_RECORD + 1], limit=_MAX_RECORD, what="flight"))
        landings: dict[Digest, Landing] = {}
        for digest, item in node.get("blobs").members():
            name, size, kept, part, *places = item.items()
            landings[Digest.parse(digest)] = Landing(
                name=name.string(),
                size=size.integer(),
                kept=kept.boolean(),
                part=Path(part.string()),
                places=tuple(Path(place.string()) for place in places),
            )
        return cls(
            path=path,
            process=node.get("process").string(),
            folder=Path(node.get("folder").string()),
            identity=node.get("identity").string(),
            landings=landings,
        )


class Flights:
    """This pull among the others that use the same cache directory. Safe for threads."""

    def __init__(self, cache: Path) -> None:
        self._folder = cache / FOLDER
        self._name = secrets.token_hex(7)
        self._record = self._folder / f"{self._name}.json"
        self._beaten = 0.0
        self._announced = False
        self._read: dict[tuple[str, int], Flight] = {}
        self._file = -1
        if _SET is None:
            return
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            for _ in range(_TRIES):
                self._file = os.open(self._folder / _LOCKS, _FLAGS, 0o600)
                # Whoever leaves last takes the file away: it may be another one than stands there now.
                if self._lock(_PRESENCE, fcntl.F_RDLCK) and self._is_current():
                    break
                os.close(self._file)
                self._file = -1
            self._lock(_own(self._name))

    def lock(self, digest: Digest) -> bool:
        """Try to become the one who fetches a blob; False while another pull does."""
        return self._lock(_byte(digest))

    def release(self, digest: Digest) -> None:
        """The blob can be had elsewhere now, or is not coming."""
        self._lock(_byte(digest), fcntl.F_UNLCK)
        self._lock(_ASKED + _byte(digest), fcntl.F_UNLCK)

    def ask(self, digest: Digest) -> None:
        """Ask whoever fetches a blob to leave it in the cache: what else it does with it is out of our reach."""
        self._lock(_ASKED + _byte(digest), fcntl.F_RDLCK)

    def asked(self, digest: Digest) -> bool:
        """Whether another pull asks for a blob in the cache."""
        if self._lock(_ASKED + _byte(digest)):
            self._lock(_ASKED + _byte(digest), fcntl.F_UNLCK)
            return False
        return True

    def announce(self, folder: Path, landings: Mapping[Digest, Landing]) -> None:
        """Tell the others what this pull has locked, and where it will be found. Best effort."""
        if self._file < 0:
            return
        with suppress(OSError, FormatError):
            flight = Flight(
                path=self._record,
                process=f"{os.getpid()} on {socket.gethostname()}",
                folder=folder,
                identity=_identity(folder),
                landings=landings,
            )
            # Nothing to be made durable: a record means something while its writer lives.
            draft = self._record.with_suffix(".tmp")
            draft.write_bytes(jsonio.canonical(flight.to_dict()))
            os.replace(draft, self._record)
            self._announced = True

    def beat(self) -> None:
        """Bytes have moved: whoever waits for this pull may go on waiting."""
        now = time.monotonic()
        if self._announced and now - self._beaten > _BEAT:
            self._beaten = now
            with suppress(OSError):
                os.utime(self._record)

    def others(self) -> Iterator[Flight]:
        """What other pulls have announced; also those that were killed, whose checked files may be left."""
        for path in _latest(self._folder.glob("*.json")):
            if path != self._record:
                with suppress(OSError, FormatError, ValueError):
                    # A record is replaced, never written to.
                    key = (path.name, path.stat().st_ino)
                    flight = self._read.get(key) or Flight.read(path)
                    self._read[key] = flight
                    if self._lives(path.stem) or any(item.found() for item in flight.landings.values()):
                        yield flight
                    else:
                        path.unlink()

    def close(self) -> None:
        """Give back every lock, and take the record away."""
        if self._file >= 0:
            with suppress(OSError):
                self._record.unlink(missing_ok=True)
                if self._lock(_PRESENCE) and self._is_current():
                    (self._folder / _LOCKS).unlink()
            os.close(self._file)
            self._file = -1

    def _is_current(self) -> bool:
        here = os.fstat(self._file)
        with suppress(FileNotFoundError):
            there = (self._folder / _LOCKS).lstat()
            return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
        return False

    def _lives(self, name: str) -> bool:
        try:
            byte = _own(name)
        except ValueError:
            return False
        if not self._lock(byte):
            return True
        self._lock(byte, fcntl.F_UNLCK)
        return False

    def _lock(self, byte: int, kind: int = fcntl.F_WRLCK) -> bool:
        if self._file < 0 or _SET is None:
            return True
        try:
            fcntl.fcntl(self._file, _SET, struct.pack(_FLOCK, kind, os.SEEK_SET, byte, 1, 0))
        except OSError as error:
            return error.errno not in _HELD
        return True


def _latest(paths: Iterable[Path]) -> list[Path]:
    found: list[tuple[int, Path]] = []
    for path in paths:
        with suppress(OSError):
            found.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(found, reverse=True)[:_MAX_RECORDS]]


def _byte(digest: Digest) -> int:
    """Two blobs with one byte in common would only wait for each other."""
    return int(digest.hex[:14], 16)


def _own(name: str) -> int:
    return _OWN + int(name, 16)


def _identity(folder: Path) -> str:
    status = folder.stat()
    return f"{status.st_dev}:{status.st_ino}"


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return -1
