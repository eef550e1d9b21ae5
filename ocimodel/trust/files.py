"""A policy from the disk: JSON, or YAML where the file's name says so.

Guarantees: what is read is bounded, and means the same in either spelling: see `yaml`. Files that the policy names
are looked for beside it.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from ocimodel.errors import ConfigurationError, StorageError
from ocimodel.trust.document import MAX_BYTES, parse
from ocimodel.trust.policy import TrustPolicy

YAML = frozenset({".yaml", ".yml"})
MAX_MATERIAL = 1024 * 1024


def load(path: Path) -> TrustPolicy:
    """The policy in the file ``path``.

    Raises:
        ConfigurationError: it is not valid, or it, or a file that it names, is missing.
        StorageError: it cannot be read.
    """
    data = text = read(path, MAX_BYTES, "policy")
    if path.suffix.lower() in YAML:
        from ocimodel.yamlio import to_json

        text = to_json(data, str(path))
    folder = path.parent
    policy = parse(text, lambda name: read(folder / name, MAX_MATERIAL, "file"), what=str(path))
    return replace(policy, digest=f"sha256:{hashlib.sha256(data).hexdigest()}")


def read(path: Path, limit: int, what: str) -> bytes:
    """At most ``limit`` bytes and one more, by which a reader notices that there are too many."""
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise ConfigurationError(f"there is no {what} {path}", hint="Check the path; nothing was done.") from None
    except OSError as error:
        raise StorageError(f"cannot read the {what} {path}: {error.strerror}") from error
