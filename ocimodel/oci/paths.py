"""File names as they travel in annotations and archives: relative, portable, distinct.

Guarantees: a name that passes `check_path` stays below the directory it is joined to, on every platform, and
`check_distinct` refuses two names that any platform would take for one. Names are judged, never repaired.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from ocimodel.errors import UnsafePathError

MAX_PATH = 1024
MAX_PART = 255
MAX_PARTS = 64
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(?:\..*)?", re.IGNORECASE)


def check_path(path: str) -> str:
    """Return ``path``, a slash-separated relative name. Raises `UnsafePathError` otherwise."""
    parts = path.split("/")
    if not path or len(path.encode("utf-8", "surrogatepass")) > MAX_PATH or len(parts) > MAX_PARTS:
        raise UnsafePathError(f"unsafe file name {path[:120]!r}: empty, too long or too deep")
    for part in parts:
        problem = _problem(part)
        if problem:
            raise UnsafePathError(f"unsafe file name {path[:120]!r}: {problem}")
    return path


def check_distinct(paths: Iterable[str]) -> None:
    """Refuse names that are equal, equal but for case or Unicode form, or of which one is another's directory."""
    files: dict[str, str] = {}
    directories: dict[str, str] = {}
    for path in paths:
        folded = fold(path)
        if folded in files:
            raise UnsafePathError(f"{path!r} and {files[folded]!r} are one name on some platforms")
        files[folded] = path
        parts = path.split("/")
        for count in range(1, len(parts)):
            directory = "/".join(parts[:count])
            other = directories.setdefault(fold(directory), directory)
            if other != directory:
                raise UnsafePathError(f"the directories {directory!r} and {other!r} are one on some platforms")
    for folded, path in files.items():
        if folded in directories:
            raise UnsafePathError(f"{path!r} is both a file and a directory")


def fold(path: str) -> str:
    """The form in which two names are one on a case-insensitive or Unicode-normalising file system."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", path).casefold())


def _problem(part: str) -> str | None:
    if part in ("", ".", ".."):
        return "not a plain relative path"
    if _FORBIDDEN.search(part):
        return "a character that not every platform allows"
    if len(part.encode("utf-8", "surrogatepass")) > MAX_PART:
        return "a part is longer than 255 bytes"
    if part.endswith((".", " ")) or part.startswith(" "):
        return "begins with a blank or ends with a blank or a dot"
    if _RESERVED.fullmatch(part):
        return "a reserved device name"
    if any(unicodedata.category(character) in ("Cs", "Cf", "Cc") for character in part):
        return "an invisible, control or surrogate character"
    return None
