"""Which files of a directory are left out: sane defaults, then ``.ocimodelignore`` in gitignore syntax.

Guarantees: the defaults stand in one table, and a later line wins, so ``!.env`` in the file takes a default
back. As in git, nothing below a directory that is left out can be taken back.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from ocimodel.errors import ConfigurationError, StorageError
from ocimodel.model.names import IGNORE_FILE

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

DEFAULTS = (
    # ours: the list itself, the provenance that other tools unpack, what a killed pull left
    f"/{IGNORE_FILE}",
    "/.ocimodel*",
    # version control, and the caches that tools keep beside a model
    ".git",
    ".svn",
    ".hg",
    ".bzr",
    ".dvc/cache",
    ".dvc/tmp",
    ".cache",
    "__pycache__",
    "*.py[cod]",
    ".ipynb_checkpoints",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".venv",
    "node_modules",
    # locks and downloads that never ended
    "*.lock",
    "*.incomplete",
    "*.part",
    "*.partial",
    "*.tmp",
    "*.crdownload",
    "*.aria2",
    # what desktops and network disks leave behind
    ".DS_Store",
    "._*",
    "Thumbs.db",
    "desktop.ini",
    ".nfs*",
    "*~",
    "*.swp",
    "lost+found",
    # secrets: a model is published, these never
    ".env",
    ".env.*",
    ".netrc",
    ".ssh",
)

MAX_BYTES = 1024 * 1024


class Ignored:
    """Tells what is left out of the directory ``root``."""

    def __init__(self, root: Path) -> None:
        self._spec = _spec([*DEFAULTS, *_lines(root / IGNORE_FILE)], root / IGNORE_FILE)

    def leaves_out(self, path: str, *, directory: bool) -> bool:
        """Whether ``path``, relative with slashes, is left out; a directory with all that is below it."""
        return bool(self._spec.match_file(f"{path}/" if directory else path))


def _spec(lines: list[str], file: Path) -> GitIgnoreSpec:
    # Only packing needs it, and it takes its time to import.
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise ConfigurationError(f"{file}: {error}") from None


def _lines(file: Path) -> list[str]:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"cannot read {file}: {error.strerror}") from None
    with open(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ConfigurationError(f"{file} is not a regular file")
        data = opened.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"{file} has more than {MAX_BYTES} bytes")
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file} is not UTF-8") from None
