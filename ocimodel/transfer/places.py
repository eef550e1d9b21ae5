"""Where things are kept on this machine: state and cache.

``OCIMODEL_STATE_DIR`` and ``OCIMODEL_CACHE_DIR`` decide; else the XDG base directories. A process without a home
directory (a random user in a container) must say where.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ocimodel.errors import StorageError

LAYOUT = "layout"
"""In the cache directory: blobs, as an OCI image layout."""
CHUNKS = "chunks"
"""Chunk indexes of single blobs: ``ALGORITHM-HEX.json``."""
PULLED = "pulled"
"""What earlier pulls put where."""
REVOCATION = "revocation"
"""What was heard of certificates: OCSP responses and CRLs."""
QUARANTINE = "quarantine"
"""Blobs that were found damaged."""
USED = "used"
"""Empty files ``ALGORITHM-HEX``, as old as the last use of the blob."""


def state_dir() -> Path:
    """Receipts and what this node has seen. Default ``$XDG_STATE_HOME/ocimodel``."""
    return _place("OCIMODEL_STATE_DIR", "XDG_STATE_HOME", ".local/state")


def cache_dir() -> Path:
    """Digest cache and blobs. Default ``$XDG_CACHE_HOME/ocimodel``."""
    return _place("OCIMODEL_CACHE_DIR", "XDG_CACHE_HOME", ".cache")


def usable_cache_dir() -> Path | None:
    """The cache directory; None for a user who has no home and named none: then nothing is cached."""
    with suppress(StorageError):
        return cache_dir()
    return None


def _place(variable: str, xdg: str, default: str) -> Path:
    if given := os.environ.get(variable):
        return Path(os.path.abspath(given))
    # XDG base directory specification: relative paths are to be ignored.
    base = os.environ.get(xdg, "")
    if os.path.isabs(base):
        return Path(base) / "ocimodel"
    home = os.path.expanduser("~")
    if not os.path.isabs(home) or home == "/":
        raise StorageError("this user has no home directory", hint=f"Set {variable} to a directory.")
    return Path(home) / default / "ocimodel"
