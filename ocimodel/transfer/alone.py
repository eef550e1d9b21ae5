"""One process at a time for a small file that is read, changed and written again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ocimodel.errors import StorageError

_WAIT = 30.0
"""Seconds."""


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock of ``path``, a hidden file beside it. Raises `StorageError`, also where others keep it."""
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name}.lock"), mode=0o600, timeout=_WAIT)
    try:
        lock.acquire()
    except Timeout:
        raise StorageError(f"{path} is being changed by another process", hint="Run again.") from None
    except OSError as error:
        raise StorageError(f"cannot change {path}: {error.strerror or error}") from None
    try:
        yield
    finally:
        lock.release()
