"""Where secrets are in memory, no memory is written to a disk: neither by a crash nor for another process.

Guarantees: after `shut`, the kernel writes no core file of this process and hands none to a crash reporter, and on
Linux no other process of the same user can attach to it or read its memory (PR_SET_DUMPABLE, prctl(2)). It stays so
until the process ends, since freed memory keeps what was in it; a program that wants core files back after it has
used a key can call prctl(2) itself.

What it does not do: keep memory out of swap (encrypt the swap), nor wipe what Python has copied.
"""

from __future__ import annotations

import sys
from contextlib import suppress

_PR_SET_DUMPABLE = 4

_shut = False


def shut() -> None:
    """Called by whatever is about to see a password, a PIN or a private key. The second call costs nothing."""
    global _shut
    if _shut:
        return
    _shut = True
    # What a system does not let us have is no reason not to sign.
    with suppress(ImportError, OSError, ValueError, AttributeError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    if sys.platform == "linux":
        with suppress(ImportError, OSError, AttributeError):
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
