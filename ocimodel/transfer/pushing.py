"""What is left of pushes that were killed, so that the next one need not send everything again.

    pushing/REPOSITORY           empty; is there while a push runs
    pushing/REPOSITORY-FILE      a store's note about an upload of that very file that is not finished

Both names are hashes. Guarantees: notes are for this user's eyes (mode 0600), since an upload's address may be a
secret; a note is for a file with the device, inode, size and times that it was written for, and one upload at a
time holds it (flock), however its process ends. What a note leads to is checked by the store like any upload.
Nothing here ever fails a push.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ocimodel.transfer.digests import Identity

FOLDER = "pushing"
NOTED = 16 * 1024 * 1024
"""From this size on, an upload is worth a note."""
_MAX_NOTE = 64 * 1024
_LIFE = 7 * 24 * 3600
"""Seconds after which no registry knows of an upload any more."""
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Note:
    """A `Memo` in a file. Safe for threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file = -1
        with suppress(OSError):
            self._file = _locked(path)

    def read(self) -> bytes:
        with self._lock, suppress(OSError):
            if self._file >= 0:
                return os.pread(self._file, _MAX_NOTE, 0)
        return b""

    def write(self, note: bytes) -> None:
        # Not made durable: what a power cut loses of it is a saving.
        with self._lock, suppress(OSError):
            if self._file >= 0:
                os.pwrite(self._file, note, 0)
                os.ftruncate(self._file, len(note))

    def clear(self) -> None:
        with self._lock, suppress(OSError):
            if self._file >= 0:
                self._path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Give the note back, as it is; an empty one goes."""
        with self._lock, suppress(OSError):
            descriptor, self._file = self._file, -1
            if descriptor >= 0:
                if not os.fstat(descriptor).st_size:
                    self._path.unlink(missing_ok=True)
                os.close(descriptor)


class Pushing:
    """One push to ``repository``. ``cache`` is a directory that is ours alone; None: nothing is kept."""

    def __init__(self, cache: Path | None, repository: str) -> None:
        self._mark = cache / FOLDER / _name(repository) if cache is not None else None
        self.interrupted = self._mark is not None and self._mark.exists()
        """Whether an earlier push did not end: much of what it sent may have arrived."""

    def begin(self) -> None:
        """Leave a mark, and remove notes that are too old to be of use."""
        if self._mark is None:
            return
        with suppress(OSError):
            self._mark.parent.mkdir(mode=0o700, exist_ok=True)
            self._mark.touch(mode=0o600)
            for path in self._mark.parent.glob("*-*"):
                if path.lstat().st_mtime < time.time() - _LIFE:
                    _remove(path)

    @contextmanager
    def noting(self, identity: Identity | None, size: int) -> Iterator[Note | None]:
        """Room for a note about the upload of a file; None where it is not worth one."""
        if self._mark is None or identity is None or size < NOTED:
            yield None
            return
        what = (identity.dev, identity.ino, identity.size, identity.mtime_ns, identity.ctime_ns)
        note = Note(self._mark.with_name(f"{self._mark.name}-{_name(repr(what))}"))
        try:
            yield note
        finally:
            note.close()

    def done(self) -> None:
        """Everything has arrived: nothing is to be remembered."""
        if self._mark is not None:
            with suppress(OSError):
                self._mark.unlink(missing_ok=True)
                for path in self._mark.parent.glob(f"{self._mark.name}-*"):
                    _remove(path)


def _locked(path: Path) -> int:
    """A descriptor of the file, locked. Raises OSError where somebody else has it."""
    while True:
        descriptor = os.open(path, _FLAGS, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever had it removed it just now


def _remove(path: Path) -> None:
    """Remove a note, unless somebody holds it."""
    with suppress(OSError):
        descriptor = _locked(path)
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _name(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
