"""The files of a directory that make a model.

Guarantees: the result is sorted by the bytes of the names, whatever order the disk lists them in; every name is
safe and distinct on every platform; every entry was a regular file inside the directory when it was looked at,
and carries what identifies its content since then (`reading` holds it to that). Left out is what `ignore` says,
before anything else is asked of it. Directories without files leave no trace.

A symbolic link to a file inside the directory counts as that file. Every other link is refused, for it would
publish what the user did not name: one that leaves the directory, is absolute, dangles, or names a directory. A
cache that keeps its files elsewhere (`hubcache`) names that one folder: links may lead to files in it, not further.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from ocimodel.errors import StorageError, UnsafePathError, UsageError
from ocimodel.model.ignore import Ignored
from ocimodel.model.names import check_name
from ocimodel.model.roles import Role, role_of
from ocimodel.oci.digest import Digest
from ocimodel.oci.paths import check_distinct

_SHA256 = re.compile(r"[0-9a-f]{64}").fullmatch


class Identity(NamedTuple):
    """What changes when a file's content does, and no one can set back: the key of the digest cache."""

    dev: int
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file. ``path`` is its name in the model, ``location`` where its bytes are on this machine."""

    path: str
    size: int
    role: Role
    identity: Identity
    location: Path
    expected: Digest | None = None
    """What whoever keeps the file says it contains. A promise to be held, not a fact."""


def scan(directory: Path, *, blobs: Path | None = None) -> tuple[ModelFile, ...]:
    """The files to pack.

    Args:
        blobs: a folder, without links in its path, to whose files links may lead; those that are called by a
            SHA-256 are expected to have it.

    Raises:
        UsageError: there is no such directory, or nothing in it to pack.
        UnsafePathError: a name, a link or a special file that cannot travel; the message names it.
        StorageError: something could not be read.
        ConfigurationError: ``.ocimodelignore`` is malformed.
    """
    try:
        # A link to the directory itself is what the user named; links are judged from where it leads.
        root = Path(os.path.realpath(directory, strict=True))
    except OSError as error:
        raise UsageError(f"no such directory: {directory} ({error.strerror})", hint=_HINT) from None
    if not root.is_dir():
        raise UsageError(f"{directory} is not a directory", hint=_HINT)
    files = sorted(_walk(root, Ignored(root), blobs), key=lambda file: file.path.encode())
    if not files:
        raise UsageError(f"there is nothing to pack in {directory}", hint=_HINT)
    check_distinct(file.path for file in files)
    return tuple(files)


_HINT = "Name the directory that holds the model's files; .ocimodelignore lists what to leave out."


def _walk(root: Path, ignored: Ignored, blobs: Path | None) -> Iterator[ModelFile]:
    pending = [""]
    while pending:
        directory = pending.pop()
        try:
            with os.scandir(root / directory) as entries:
                found = list(entries)
        except OSError as error:
            raise _unreadable(directory or ".", error) from None
        for entry in found:
            path = f"{directory}/{entry.name}" if directory else entry.name
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError as error:
                raise _unreadable(path, error) from None
            is_directory = stat.S_ISDIR(status.st_mode)
            if ignored.leaves_out(path, directory=is_directory):
                continue
            _check_text(path)
            if is_directory:
                pending.append(path)
            else:
                yield _file(root, path, status, blobs)


def _file(root: Path, path: str, status: os.stat_result, blobs: Path | None) -> ModelFile:
    location = root / path
    if stat.S_ISLNK(status.st_mode):
        check_name(path)
        location, status = _follow(root, path, blobs)
    expected = Digest("sha256", location.name) if location.parent == blobs and _SHA256(location.name) else None
    return model_file(path, location, status, expected)


def model_file(path: str, location: Path, status: os.stat_result, expected: Digest | None = None) -> ModelFile:
    """The file at ``location`` as a part of a model; ``status`` is of what stands there, links not followed.

    Raises: UnsafePathError, StorageError as `scan` does.
    """
    check_name(path)
    if not stat.S_ISREG(status.st_mode):
        raise UnsafePathError(
            f"{path} is not a file but {_kind(status.st_mode)}", hint=f"Remove it, or leave it out: {_LEAVE_OUT}"
        )
    # Group and other bits say nothing about us; asking is the only way, and it spares a push that breaks off.
    if not os.access(location, os.R_OK):
        raise StorageError(f"cannot read {path}: permission denied", hint="Make it readable, or leave it out.")
    return ModelFile(
        path=path,
        size=status.st_size,
        role=role_of(path, status.st_size),
        identity=Identity.of(status),
        location=location,
        expected=expected,
    )


def _follow(root: Path, path: str, blobs: Path | None) -> tuple[Path, os.stat_result]:
    try:
        target = os.readlink(root / path)
        location = Path(os.path.realpath(root / path, strict=True))
        status = os.stat(location, follow_symlinks=False)
    except OSError as error:
        raise _bad_link(path, f"leads nowhere ({error.strerror})") from None
    if location.parent == blobs:
        return location, status
    if os.path.isabs(target):
        raise _bad_link(path, f"leads to the absolute path {target}")
    if not location.is_relative_to(root):
        raise _bad_link(path, f"leaves the directory, to {target}")
    if stat.S_ISDIR(status.st_mode):
        raise _bad_link(path, "leads to a directory")
    return location, status


_LEAVE_OUT = "name it in .ocimodelignore."


def _bad_link(path: str, what: str) -> UnsafePathError:
    hint = f"Copy the directory with its links followed (cp -rL) and push the copy, or {_LEAVE_OUT}"
    return UnsafePathError(f"the symbolic link {path} {what}", hint=hint)


def _check_text(path: str) -> None:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise UnsafePathError(f"the name {shown} is not UTF-8") from None


def _unreadable(path: str, error: OSError) -> StorageError:
    return StorageError(f"cannot read {path}: {error.strerror}", hint="Make it readable, or leave it out.")


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISBLK, "a block device"))
    return next((kind for test, kind in kinds if test(mode)), "a device")
