"""Whether it pays to ask a registry for a blob before sending it.

Asking costs about as much as sending a few kilobytes. Guarantees: large blobs are asked for, small ones as long as
one in a while is found there; what was just seen to be missing is not asked for again. It is a matter of speed
alone: a blob that is sent in vain is the same blob.
"""

from __future__ import annotations

import threading

from ocimodel.oci.digest import Digest

SMALL = 256 * 1024
"""Bytes; from here on it is always asked."""
_MISSES = 8
_EVERY = 16


class Asking:
    """What came of asking so far, in one repository. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._misses = 0
        self._missing: set[Digest] = set()

    def missing(self, digest: Digest) -> None:
        """The registry has just said that it does not have it."""
        with self._lock:
            self._missing.add(digest)

    def pays(self, size: int, digest: Digest) -> bool:
        """Whether to ask for a blob of ``size`` bytes. After some misses in a row only now and then.

        What is known to be missing is sent without a question once: the next time somebody may have it.
        """
        with self._lock:
            if digest in self._missing:
                self._missing.remove(digest)
                return False
            if size > SMALL or self._misses < _MISSES:
                return True
            self._misses += 1
            return self._misses % _EVERY == 0

    def found(self, there: bool) -> None:
        """What the registry said."""
        with self._lock:
            self._misses = 0 if there else self._misses + 1
