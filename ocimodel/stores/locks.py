"""One writer at a time, across threads and processes.

Guarantees: the lock goes with its holder, however that ends (it is an ``flock``; where a file system has
none, a lock file that names its holder). Waiting is bounded. Reading never takes it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ocimodel.errors import StorageError

PATIENCE = 120.0
"""Seconds to wait; a holder needs milliseconds."""

_guard = threading.Lock()
_threads: dict[str, threading.Lock] = {}


@contextmanager
def exclusive(path: Path, *, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock file ``path``. Raises `StorageError` where it cannot be taken."""
    from filelock import FileLock, Timeout  # 30 ms that readers need not wait for

    with _guard:
        # Threads queue here and not on the file, which is polled.
        ours = _threads.setdefault(str(path), threading.Lock())
    with ours:
        lock = FileLock(path, timeout=patience, poll_interval=0.005)
        try:
            lock.acquire()
        except Timeout:
            raise StorageError(f"{path} has been locked by another process for {patience:.0f} s") from None
        except OSError as error:
            raise StorageError(f"cannot lock {path}: {error.strerror or error}") from error
        try:
            yield
        finally:
            lock.release()
