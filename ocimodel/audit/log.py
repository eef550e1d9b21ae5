"""Appends events to the audit log: ``OCIMODEL_AUDIT_LOG``, else ``audit.jsonl`` in the state directory.

Guarantees: a line stands there whole and on the disk, or not at all; writers of several processes take turns;
a file that is made here is readable by its owner only. ``-`` is stderr, for read-only roots whose collector
reads the streams (stdout belongs to the command's answer).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path

from ocimodel.errors import StorageError
from ocimodel.transfer.places import state_dir

VARIABLE = "OCIMODEL_AUDIT_LOG"
STREAM = "-"
PATIENCE = 5.0
"""Seconds to wait for another writer; each needs milliseconds."""


def destination() -> Path | None:
    """The file that events go to, None for stderr. Raises `StorageError` where no place is known."""
    given = os.environ.get(VARIABLE)
    if given == STREAM:
        return None
    return Path(given) if given else state_dir() / "audit.jsonl"


def append(line: bytes, path: Path | None) -> None:
    """Write one line, its newline included. Raises `StorageError`."""
    try:
        if path is None:
            sys.stderr.write(line.decode("utf-8"))
            sys.stderr.flush()
        else:
            _append(line, path)
    except OSError as error:
        raise StorageError(
            f"cannot write the audit log {path or 'to stderr'}: {error.strerror or error}"
        ) from error


def _append(line: bytes, path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Non-blocking: a named pipe without a reader is an error here and not a wait without end.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    handle = os.open(path, flags, 0o600)
    try:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            _lock(handle)
            _write_whole(handle, path, line)
        else:
            _write(handle, line)
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise OSError(errno.EAGAIN, "another process holds its lock") from None
        except OSError as error:
            if error.errno in (errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS):
                return None  # no locks here; O_APPEND alone keeps short lines apart
            raise
        time.sleep(0.005)


def _write_whole(handle: int, path: Path, line: bytes) -> None:
    size = os.fstat(handle).st_size
    if size and _last_byte(path) not in (b"\n", b""):
        line = b"\n" + line  # somebody else's torn line must not swallow ours
    try:
        _write(handle, line)
        os.fsync(handle)
    except OSError:
        with suppress(OSError):  # where a file may only grow, the next writer ends the torn line
            os.ftruncate(handle, size)
        raise


def _last_byte(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1)
    except OSError:
        return b""  # we may append to it, but not read it


def _write(handle: int, line: bytes) -> None:
    view = memoryview(line)
    while view:
        view = view[os.write(handle, view) :]
