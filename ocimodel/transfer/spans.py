"""One run of bytes in one file, or in several parts of it.

    FILE                       the whole, where it was not split
    FILE.000 FILE.001 …        parts, all of one size but the last
    FILE.parts.json            their names, sizes and SHA-256

Guarantees: what is written appears under its name by a rename, complete and on the disk; parts first, their list
last. Until then it stands in ``….partial``, which a later run carries on and no other run writes meanwhile. What is
read are regular files of the sizes that were promised; `check` holds each part against its digest.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING

from ocimodel import jsonio
from ocimodel.errors import (
    DigestMismatchError,
    FormatError,
    IntegrityError,
    NotFoundError,
    StorageError,
    UsageError,
)
from ocimodel.jsonio import Node
from ocimodel.oci import media
from ocimodel.oci.digest import Checked, Digest
from ocimodel.stores.files import sync_folder
from ocimodel.transfer.staging import write_atomically

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LIST = ".parts.json"
PARTIAL = ".partial"
MAX_PARTS = 1000
MIN_PART = 1024 * 1024
_LIST_BYTES = 1024 * 1024
_BLOCK = 1024 * 1024
_TYPE = f"{media.URI}bundle-parts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file, how many bytes it has, and their SHA-256 (None: nobody said)."""

    path: Path
    size: int
    digest: Digest | None = None


class Spans:
    """The bytes of some open files as one run. Threads may read and write at once."""

    def __init__(self, parts: Sequence[Part], handles: Sequence[int]) -> None:
        self.size = sum(part.size for part in parts)
        self._parts = parts
        self._handles = handles
        self._each = parts[0].size if parts else 0

    def pieces(self, offset: int, length: int) -> Iterator[tuple[int, Path, int, int]]:
        """Which files hold the run: handle, path, offset and length in each. Parts are of one size but the last."""
        while length > 0:
            number, within = divmod(offset, self._each) if self._each else (0, 0)
            count = min(length, self._parts[number].size - within)
            yield self._handles[number], self._parts[number].path, within, count
            offset += count
            length -= count

    def read(self, offset: int, length: int) -> bytes:
        """Exactly so many bytes. Raises `FormatError` where there are fewer."""
        if offset + length > self.size:
            raise FormatError("the file ends too early")
        found: list[bytes] = []
        for handle, path, within, count in self.pieces(offset, length):
            try:
                data = os.pread(handle, count, within)
            except OSError as error:
                raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
            if len(data) != count:
                raise FormatError(f"{path} became shorter while it was read")
            found.append(data)
        return found[0] if len(found) == 1 else b"".join(found)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        view = memoryview(data)
        for handle, path, within, count in self.pieces(offset, len(view)):
            left, view = view[:count], view[count:]
            try:
                while left:
                    written = os.pwrite(handle, left, within)
                    left, within = left[written:], within + written
            except OSError as error:
                raise StorageError(f"cannot write {path}: {error.strerror or error}") from error

    def file(self) -> RawIOBase:
        """The run as a file that can be read and sought in."""
        return _File(self)


class _File(RawIOBase):
    def __init__(self, spans: Spans) -> None:
        super().__init__()
        self._spans = spans
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        self._position = {SEEK_SET: 0, SEEK_CUR: self._position, SEEK_END: self._spans.size}[whence] + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._spans.size - self._position))
        view[:count] = self._spans.read(self._position, count)
        self._position += count
        return count


# --- reading ----------------------------------------------------------------------------------------------------


def find(file: Path) -> list[Part]:
    """The parts of what ``file`` names: itself, or what is listed beside it.

    Raises:
        NotFoundError: there is no such file, or a part of it is missing.
        FormatError: the list is malformed, or a part is larger or smaller than listed.
    """
    name = file.name
    if name.endswith(LIST):
        file = file.with_name(name.removesuffix(LIST))
    elif not os.path.lexists(file.with_name(name + LIST)) and len(name) > 4 and name[-3:].isdigit():
        whole = file.with_name(name[:-4])
        if name[-4] == "." and os.path.lexists(whole.with_name(whole.name + LIST)):
            file = whole
    listing = file.with_name(file.name + LIST)
    if os.path.lexists(listing) and (listing == file or not file.is_file()):
        return _listed(listing, file)
    return [Part(path=file, size=_size(file))]


def _listed(listing: Path, file: Path) -> list[Part]:
    try:
        with listing.open("rb") as stream:
            raw = stream.read(_LIST_BYTES + 1)
    except OSError as error:
        raise StorageError(f"cannot read {listing}: {error.strerror or error}") from error
    try:
        parts = _decode(raw, file)
    except FormatError as error:
        raise FormatError(f"{listing}: {error.message}") from None
    for part in parts:
        size = _size(part.path)
        if size != part.size:
            raise DigestMismatchError(
                str(part.path), expected=f"{part.size} bytes", actual=str(size), hint="Carry this part over again."
            )
    return parts


def _decode(raw: bytes, file: Path) -> list[Part]:
    node = Node(jsonio.loads(raw, limit=_LIST_BYTES, what="the list"))
    node.only("type", "size", "parts")
    if node.get("type").string() != _TYPE:
        node.get("type").fail(f"must be {_TYPE}")
    parts: list[Part] = []
    for number, item in enumerate(node.get("parts").items(limit=MAX_PARTS)):
        item.only("name", "size", "digest")
        if item.get("name").string() != f"{file.name}.{number:03}":
            item.get("name").fail(f"must be {file.name}.{number:03}")
        part = Part(
            path=file.with_name(f"{file.name}.{number:03}"),
            size=item.get("size").integer(minimum=1, maximum=2**50),
            digest=Digest.parse(item.get("digest").string()),
        )
        if parts and (part.size > parts[0].size or parts[-1].size != parts[0].size):
            item.get("size").fail("must be that of the first, but for the last")
        parts.append(part)
    if not parts or sum(part.size for part in parts) != node.get("size").integer(maximum=2**50):
        node.get("size").fail("must be the sum of the parts")
    if _encode(parts) != raw:
        raise FormatError("it is not as it was written")
    return parts


def _encode(parts: Sequence[Part]) -> bytes:
    return jsonio.canonical(
        {
            "type": _TYPE,
            "size": sum(part.size for part in parts),
            "parts": [{"name": part.path.name, "size": part.size, "digest": str(part.digest)} for part in parts],
        }
    )


def _size(path: Path) -> int:
    try:
        state = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"there is no file {path}", hint="Check the path; all parts must be there.") from None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    if not stat.S_ISREG(state.st_mode):
        raise UsageError(f"{path} is not a file", hint="Name the file that bundle save wrote.")
    return state.st_size


@contextmanager
def reading(parts: Sequence[Part]) -> Iterator[Spans]:
    """The parts, open to be read."""
    handles: list[int] = []
    try:
        for part in parts:
            try:
                handles.append(os.open(part.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
            except OSError as error:
                raise StorageError(f"cannot open {part.path}: {error.strerror or error}") from error
        yield Spans(parts, handles)
    finally:
        for handle in handles:
            os.close(handle)


def check(spans: Spans, parts: Sequence[Part]) -> None:
    """Hold each part against its digest, so that a damaged one is named.

    Raises:
        DigestMismatchError: a part is another one than was written.
    """
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(lambda number: _check(spans, parts, number), range(len(parts))))


def _check(spans: Spans, parts: Sequence[Part], number: int) -> None:
    part = parts[number]
    if part.digest is None:
        return
    checked = Checked(part.digest, part.size, str(part.path))
    for block in _blocks(spans, sum(other.size for other in parts[:number]), part.size):
        checked.update(block)
    try:
        checked.finish()
    except DigestMismatchError as error:
        error.hint = "Carry this part over again."
        raise


def _blocks(spans: Spans, offset: int, length: int) -> Iterator[bytes]:
    while length:
        block = spans.read(offset, min(_BLOCK, length))
        yield block
        offset += len(block)
        length -= len(block)


# --- writing ----------------------------------------------------------------------------------------------------


@contextmanager
def writing(file: Path, size: int, each: int | None) -> Iterator[Spans]:
    """Files of ``size`` bytes together, which get their names when the block ends without an error.

    What an earlier run left in them is still there: whoever writes may look whether it is what he would write.

    Args:
        each: the size of a part; None: one file.

    Raises:
        UsageError: there would be too many parts, or another program writes the same file.
        StorageError: the disk is full, or the directory cannot be written to.
    """
    parts = _planned(file, size, each)
    handles: list[int] = []
    try:
        for part in parts:
            handles.append(_open(part))  # noqa: PERF401 - those that are open are closed if one is not
        spans = Spans(parts, handles)
        yield spans
        if each is not None:
            parts = _hashed(spans, parts)
        for handle, part in zip(handles, parts, strict=True):
            _publish(handle, part)
        if each is not None:
            write_atomically(file.with_name(file.name + LIST), _encode(parts), mode=0o644)
        sync_folder(file.parent)
    finally:
        for handle in handles:
            os.close(handle)


def _planned(file: Path, size: int, each: int | None) -> list[Part]:
    if each is None:
        return [Part(path=file, size=size)]
    if each < MIN_PART:
        raise UsageError("a part has at least 1 MiB", hint="Give --split a larger size.")
    count = -(-size // each)
    if count > MAX_PARTS:
        raise UsageError(f"{count} parts are more than {MAX_PARTS}", hint="Give --split a larger size.")
    return [
        Part(path=file.with_name(f"{file.name}.{number:03}"), size=min(each, size - number * each))
        for number in range(count)
    ]


def _open(part: Part) -> int:
    path = part.path.with_name(part.path.name + PARTIAL)
    if part.path.is_dir():
        raise UsageError(f"{part.path} is a directory", hint="Name the file that is to be written.")
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise IntegrityError(f"{path} is not a regular file")
            os.ftruncate(handle, part.size)
        except BaseException:
            os.close(handle)
            raise
    except FileNotFoundError:
        raise UsageError(f"there is no directory {path.parent}", hint="Make it first.") from None
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
            raise UsageError(f"another program writes {part.path} just now", hint="Wait for it.") from None
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
    return handle


def _hashed(spans: Spans, parts: Sequence[Part]) -> list[Part]:
    def digest_of(number: int) -> Part:
        hasher = hashlib.sha256()
        for block in _blocks(spans, sum(other.size for other in parts[:number]), parts[number].size):
            hasher.update(block)
        digest = Digest("sha256", hasher.hexdigest())
        return Part(path=parts[number].path, size=parts[number].size, digest=digest)

    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(digest_of, range(len(parts))))


def _publish(handle: int, part: Part) -> None:
    try:
        os.fsync(handle)
        os.replace(part.path.with_name(part.path.name + PARTIAL), part.path)
    except OSError as error:
        raise StorageError(f"cannot write {part.path}: {error.strerror or error}") from error
