"""One blob from a store to a store, without touching the disk.

Guarantees: bytes are hashed on the way, and the last of them leaves only when the whole agrees with the digest, so
that nothing else is ever stored under it (14). A source that breaks off is taken up again where it broke off; of a
target that does only what it did not keep is read again. Memory is a few megabytes for each blob, whatever its
size; a small one is read once, whole. Reading and writing go on at the same time.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import SEEK_SET, RawIOBase, UnsupportedOperation
from typing import TYPE_CHECKING, BinaryIO, cast

from ocimodel.errors import DigestMismatchError, UnavailableError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.stores.protocol import BlobStream, Progress, Source, Store, read_blob
from ocimodel.transfer.jobs import RESUMES

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SMALL = 1024 * 1024
"""Up to this size a blob is kept in memory: a registry's store looks at it twice before it sends it."""
PIECE = 512 * 1024
AHEAD = 8
"""Pieces that are read before they are wanted."""


def relay(source: Store, target: Store, blob: Descriptor, progress: Progress) -> None:
    """Carry ``blob`` over; nothing is sent where the target has it.

    Raises:
        DigestMismatchError: the source has other bytes; nothing was stored.
        NotFoundError: the source has no such blob.
        UnavailableError, AuthenticationError, StorageError: from either store.
    """
    what = f"blob {blob.digest} of {source.name}"
    if blob.size <= SMALL:
        target.put_blob(Source.of(read_blob(source, blob, limit=SMALL, what=what)), blob.digest, progress)
        return
    try:
        target.put_blob(Source(size=blob.size, open=lambda: open_ahead(source, blob)), blob.digest, progress)
    except DigestMismatchError as error:
        raise DigestMismatchError(
            f"{what}, on its way to {target.name}", expected=error.expected, actual=error.actual
        ) from None


@contextmanager
def open_ahead(source: Store, blob: Descriptor) -> Iterator[BinaryIO]:
    """The blob as a file; a thread reads ahead of whoever reads it, and begins anew where that one seeks."""
    flow = _Flow(source, blob)
    try:
        yield cast(BinaryIO, flow)
    finally:
        flow.close()


class _Flow(RawIOBase):
    """Pieces from a thread that reads the source. Errors of the source are raised where it is read."""

    def __init__(self, source: Store, blob: Descriptor) -> None:
        super().__init__()
        self._source = source
        self._blob = blob
        self._begin(0)

    def _begin(self, position: int) -> None:
        self._pieces: queue.Queue[bytes | BaseException] = queue.Queue(AHEAD)
        self._stop = threading.Event()
        self._rest = memoryview(b"")
        self._over = False
        self._at = position
        where = (position, self._pieces, self._stop)
        threading.Thread(target=self._run, args=where, name=f"relay {self._blob.digest}", daemon=True).start()

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        """Read on from ``offset``, which is counted from the start."""
        if whence != SEEK_SET or not 0 <= offset <= self._blob.size:
            raise UnsupportedOperation("only to a place within the blob")
        if offset != self._at:
            self._halt()
            self._begin(offset)
        return offset

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes, fewer at the edge of a piece; none at the end."""
        if size < 0:
            return self.readall()
        if not self._rest and not self._over:
            piece = self._pieces.get()
            if isinstance(piece, BaseException):
                self._over = True
                raise piece
            self._over = not piece
            self._rest = memoryview(piece)
        block, self._rest = self._rest[:size], self._rest[size:]
        self._at += len(block)
        return bytes(block)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        block = self.read(len(view))
        view[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._halt()
        super().close()

    def _halt(self) -> None:
        self._stop.set()
        with suppress(queue.Empty):  # the thread may wait for room
            while True:
                self._pieces.get_nowait()

    def _run(self, position: int, pieces: queue.Queue[bytes | BaseException], stop: threading.Event) -> None:
        def give(piece: bytes | BaseException) -> None:
            while not stop.is_set():
                with suppress(queue.Full):
                    pieces.put(piece, timeout=0.1)
                    return
            raise _Unwanted

        try:
            for piece in self._read(position, stop):
                give(piece)
            give(b"")
        except _Unwanted:
            return
        except BaseException as error:  # noqa: BLE001 - it is raised again where the bytes are wanted
            with suppress(_Unwanted):
                give(error)

    def _read(self, position: int, stop: threading.Event) -> Iterator[bytes]:
        """The blob's bytes in pieces, and one byte more than it should have where the source sends more."""
        buffer = memoryview(bytearray(PIECE))
        filled = tries = 0
        while True:
            begun = position
            try:
                with self._source.open_blob(self._blob, position) as stream:
                    _skip(stream, position - stream.start, buffer[filled:])
                    while count := stream.readinto(buffer[filled:]):
                        filled += count
                        position += count
                        if filled == PIECE:
                            yield bytes(buffer)
                            filled = 0
            except UnavailableError:
                tries = 0 if position > begun else tries + 1
                if stop.is_set() or tries > RESUMES:
                    raise
                continue
            if filled:
                yield bytes(buffer[:filled])
            return


class _Unwanted(Exception):
    """Nobody reads any more."""


def _skip(stream: BlobStream, count: int, buffer: memoryview) -> None:
    """Read past what came before, where the store cannot begin in the middle."""
    while count > 0:
        read = stream.readinto(buffer[:count])
        if not read:
            raise UnavailableError("a blob came shorter than before")
        count -= read
