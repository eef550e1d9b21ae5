"""A blob as a file whose bytes are read before they are wanted, over several connections where one is too slow.

    one connection    the blob, in order; a range of 64 MiB after the other, so that others can join
    more              ranges of 8 MiB each, up to one for each connection in memory

Guarantees: bytes come in the blob's order, each once. A connection is added only while whoever reads waits for most
of the time, and no further one once that does not help: against a fast source nothing changes. A source that breaks
off is taken up again where it broke off; one that ignores ranges is read over one connection. Memory is bounded for
one blob and for all together. The bytes are not checked: whoever takes them does that.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import SEEK_SET, RawIOBase, UnsupportedOperation
from typing import TYPE_CHECKING, BinaryIO, cast

from ocimodel.errors import DigestMismatchError, NotFoundError, UnavailableError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.stores.protocol import BlobStream, Store
from ocimodel.transfer.jobs import RESUMES

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PIECE = 512 * 1024
AHEAD = 8
"""Pieces of a range that are read before they are wanted, while there is one connection."""
LARGE = 32 * 1024 * 1024
"""Smaller blobs come in one request."""
FIRST = 16 * 1024 * 1024
ALONE = 64 * 1024 * 1024
TOGETHER = 8 * 1024 * 1024
MAX_LANES = 6
"""Connections for one blob, and additional ones for all blobs at a time."""
WINDOW = 0.5
"""Seconds for which a number of connections is tried."""
STARVED = 0.5
"""Of the time: whoever waits for more of it would take more than comes."""
HELPED = 1.15

_additional = threading.BoundedSemaphore(MAX_LANES)


@contextmanager
def open_ahead(source: Store, blob: Descriptor) -> Iterator[BinaryIO]:
    """The blob as a file; reading ahead begins anew where it is sought in. Errors of the source come from reads."""
    file = _Ahead(source, blob)
    try:
        yield cast(BinaryIO, file)
    finally:
        file.close()


def missing(source: Store, blob: Descriptor, error: NotFoundError) -> NotFoundError:
    """What it means that a source does not have a blob that its own manifest lists."""
    return NotFoundError(
        f"{source.name} does not have {blob.digest}, which its manifest lists ({error.message})",
        hint="The source is incomplete; push the artifact again, or leave out its referrers.",
    )


class _Ahead(RawIOBase):
    def __init__(self, source: Store, blob: Descriptor) -> None:
        super().__init__()
        self._source = source
        self._blob = blob
        self._begin(0)

    def _begin(self, position: int) -> None:
        self._pass = _Pass(self._source, self._blob, position)
        self._rest = memoryview(b"")
        self._over = False
        self._failure: BaseException | None = None
        self._at = position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        """Read on from ``offset``, which is counted from the start."""
        if whence != SEEK_SET or not 0 <= offset <= self._blob.size:
            raise UnsupportedOperation("only to a place within the blob")
        if offset != self._at or self._failure is not None:
            self._pass.end()
            self._begin(offset)
        return offset

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes, fewer at the edge of a piece; none at the end."""
        if size < 0:
            return self.readall()
        if self._failure is not None:
            raise self._failure
        if not self._rest and not self._over:
            try:
                piece = self._pass.take()
            except NotFoundError as error:
                self._failure = missing(self._source, self._blob, error)
                raise self._failure from None
            except BaseException as error:
                self._failure = error
                raise
            self._over = not piece
            if len(piece) <= size:
                self._at += len(piece)
                return piece
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
        self._pass.end()
        super().close()


class _Range:
    """The bytes [start, stop) of a blob on their way, ``at`` how far; ``stop`` None: to the source's own end."""

    def __init__(self, start: int, stop: int | None, room: int) -> None:
        self.start = self.at = start
        self.stop = stop
        self.pieces: queue.Queue[bytes | BaseException] = queue.Queue(room)


class _Unwanted(Exception):
    """Nobody reads any more."""


class _Pass:
    """From a position to the end of the blob. One thread calls `take`; lanes fetch ranges."""

    def __init__(self, source: Store, blob: Descriptor, position: int) -> None:
        self._source = source
        self._blob = blob
        self._next: int | None = position
        self._changed = threading.Condition()
        self._ranges: deque[_Range] = deque()
        self._stop = threading.Event()
        self._lanes = 0
        self._ranged: bool | None = None
        """Whether the source can begin in the middle; None: that is not known yet."""
        self._growing = blob.size - position > LARGE
        self._since = time.monotonic()
        self._waited = 0.0
        self._came = 0  # from the source, taken or not
        self._rate = 0.0
        self._add_lane(additional=False)

    def take(self) -> bytes:
        """The next piece; none at the end. Raises what the source raised."""
        while True:
            began = time.monotonic()
            with self._changed:
                self._changed.wait_for(lambda: self._ranges)
                front = self._ranges[0]
            piece = front.pieces.get()
            if isinstance(piece, BaseException):
                raise piece
            if piece:
                self._judge(time.monotonic() - began)
                return piece
            if front.stop is None:
                front.pieces.put(b"")  # whoever asks again is at the end again
                return b""
            with self._changed:
                self._ranges.popleft()
                self._changed.notify_all()

    def end(self) -> None:
        """What was not taken is not wanted. Lanes end by themselves."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    # Growing

    def _judge(self, waited: float) -> None:
        self._waited += waited
        elapsed = time.monotonic() - self._since
        if not self._growing or elapsed < WINDOW:
            return
        with self._changed:
            rate, self._came = self._came / elapsed, 0
        starved = self._waited > STARVED * elapsed
        self._since, self._waited = time.monotonic(), 0.0
        if self._lanes > 1 and rate < HELPED * self._rate:
            self._growing = False
        elif starved and self._ranged and self._lanes < MAX_LANES and _additional.acquire(blocking=False):
            self._rate = rate
            with self._changed:
                self._cut_short()
            self._add_lane(additional=True)

    def _cut_short(self) -> None:
        """End the range that is on its way soon, if it was meant for one connection, so that others can help."""
        last = self._ranges[-1]
        stop = last.at + TOGETHER
        if last.stop is not None and stop < last.stop:
            last.stop = self._next = stop

    def _add_lane(self, *, additional: bool) -> None:
        self._lanes += 1
        threading.Thread(
            target=self._lane, args=(additional,), name=f"ahead {self._blob.digest}", daemon=True
        ).start()

    # Lanes

    def _lane(self, additional: bool) -> None:
        try:
            while (wanted := self._begin_range()) is not None:
                try:
                    for piece in self._read(wanted):
                        self._give(wanted, piece)
                    self._give(wanted, b"")
                except _Unwanted:
                    return
                except BaseException as error:  # noqa: BLE001 - it is raised again where the bytes are wanted
                    with suppress(_Unwanted):
                        self._give(wanted, error)
                    return
        finally:
            if additional:
                _additional.release()

    def _begin_range(self) -> _Range | None:
        """The next range, once there is room for it; None where there is none."""
        with self._changed:
            self._changed.wait_for(lambda: self._stop.is_set() or len(self._ranges) <= self._lanes)
            if self._next is None or self._stop.is_set():
                return None
            stop = self._next + self._length(self._next)
            wanted = _Range(self._next, None if stop >= self._blob.size else stop, self._room)
            self._next = wanted.stop
            self._ranges.append(wanted)
            self._changed.notify_all()
            return wanted

    def _length(self, start: int) -> int:
        if self._lanes > 1:
            return TOGETHER
        if self._blob.size - start <= LARGE or self._ranged is False:
            return self._blob.size
        return FIRST if self._ranged is None else ALONE

    @property
    def _room(self) -> int:
        return AHEAD if self._lanes == 1 else TOGETHER // PIECE + 1

    def _give(self, wanted: _Range, piece: bytes | BaseException) -> None:
        while not self._stop.is_set():
            with suppress(queue.Full):
                wanted.pieces.put(piece, timeout=0.1)
                return
        raise _Unwanted

    def _read(self, wanted: _Range) -> Iterator[bytes]:
        """A range in pieces. Raises DigestMismatchError where the source ends within it."""
        buffer = memoryview(bytearray(PIECE))
        position, filled, tries = wanted.start, 0, 0
        while True:
            begun = position
            try:
                with self._source.open_blob(self._blob, position, wanted.stop) as stream:
                    if position and self._ranged is None:
                        self._ranged = stream.start == position
                    _skip(stream, position - stream.start, buffer[filled:])
                    while wanted.stop is None or position < wanted.stop:
                        left = PIECE if wanted.stop is None else wanted.stop - position
                        count = stream.readinto(buffer[filled : filled + left])
                        if not count:
                            break
                        filled += count
                        position = wanted.at = position + count
                        with self._changed:
                            self._came += count
                        if filled == PIECE:
                            yield bytes(buffer)
                            filled = 0
            except UnavailableError:
                tries = 0 if position > begun else tries + 1
                if self._stop.is_set() or tries > RESUMES:
                    raise
                continue
            if wanted.stop is not None and position < wanted.stop:
                raise DigestMismatchError(
                    f"blob {self._blob.digest} of {self._source.name}",
                    expected=f"{self._blob.size} bytes",
                    actual=str(position),
                )
            if filled:
                yield bytes(buffer[:filled])
            return


def _skip(stream: BlobStream, count: int, buffer: memoryview) -> None:
    """Read past what came before, where the store cannot begin in the middle."""
    while count > 0:
        read = stream.readinto(buffer[:count])
        if not read:
            raise UnavailableError("a blob came shorter than before")
        count -= read
