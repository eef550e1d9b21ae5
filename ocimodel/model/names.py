"""Names of files in a model: portable, and none of our own.

Guarantees: a name that passes `check_name` stays below the directory it is joined to on every platform
(`oci.paths`), and meets none of the names that ocimodel itself uses in a directory: the provenance of an
artifact, a staging directory of a running pull.
"""

from __future__ import annotations

from ocimodel.errors import UnsafePathError
from ocimodel.oci.paths import check_path, fold

RESERVED = ".ocimodel"
"""What begins with this, in the top directory, is ours; but for the list of files to leave out."""

IGNORE_FILE = ".ocimodelignore"


def check_name(path: str) -> str:
    """Return ``path``. Raises `UnsafePathError` where it is unsafe anywhere, or reserved."""
    check_path(path)
    first = fold(path.partition("/")[0])
    if first.startswith(RESERVED) and first != IGNORE_FILE:
        raise UnsafePathError(f"{path[:120]!r} is a name that ocimodel keeps for itself")
    return path
