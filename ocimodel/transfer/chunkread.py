"""Parts of a blob, read by range and checked before any byte of them is given out. Nothing touches the disk.

Guarantees: every byte that is returned belongs to a chunk whose bytes have the digest that the index names, or,
where there is no index, to a blob that was read whole and has its SHA-256. A bad chunk is fetched once more,
alone, then refused. Adjacent chunks are one request; a broken stream is taken up where it broke; memory is what
was asked for and the chunks around it.

By chunks is not by SHA-256: whoever signed the index speaks for them. So what is read here is never kept under
the blob's digest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from ocimodel.errors import DigestMismatchError, UnavailableError, UsageError
from ocimodel.model.chunkindex import Chunk, LayerIndex
from ocimodel.model.chunking import new_hasher
from ocimodel.oci.descriptor import Descriptor
from ocimodel.stores.protocol import BLOCK, BlobStream, Store, doubt, read_blob
from ocimodel.transfer.jobs import RESUMES

MAX_WHOLE = 64 * 1024 * 1024
"""A blob without an index is read whole up to this size; of one without ranges so much is passed over."""

SPAN = 16 * 1024 * 1024
"""Adjacent chunks are fetched together up to this size."""

AHEAD = 2
"""Requests that are under way while `read_in_order` waits for whoever reads."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Checked bytes: those of the blob from ``start`` on."""

    start: int
    data: memoryview

    @property
    def stop(self) -> int:
        return self.start + len(self.data)


class ChunkReader:
    """One blob of a store. Safe for threads as far as the store is.

    Args:
        name: what messages call it.
        index: its chunks; None: it is read whole at the first reading, and kept.
    """

    def __init__(
        self, store: Store, descriptor: Descriptor, name: str, index: LayerIndex | None, algorithm: str
    ) -> None:
        self._store = store
        self._descriptor = descriptor
        self._name = name
        self._index = index
        self._new = new_hasher(algorithm) if index else None
        self._algorithm = algorithm
        self._kept: Piece | None = None

    @property
    def size(self) -> int:
        return self._descriptor.size

    def spans(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """[start, stop) widened to whole chunks and cut into requests of about `SPAN` bytes."""
        if self._index is None:
            yield start, stop
            return
        begin = end = -1
        for chunk in self._index.at(start, stop):
            if begin >= 0 and chunk.stop - begin > SPAN:
                yield begin, end
                begin = -1
            begin, end = (chunk.start if begin < 0 else begin), chunk.stop
        if begin >= 0:
            yield begin, end

    def read(self, start: int, stop: int, what: str = "") -> memoryview:
        """The bytes [start, stop), checked.

        Args:
            what: the part that these bytes are, for messages: a tensor.

        Raises:
            DigestMismatchError: they were bad twice.
            UsageError: there is no index, and the blob is too large to be checked as a whole.
            UnavailableError: streams broke again and again.
        """
        piece = self.fetch(start, stop, what)
        return piece.data[start - piece.start : stop - piece.start]

    def fetch(self, start: int, stop: int, what: str = "") -> Piece:
        """As `read`, with all bytes that had to be checked for it."""
        if start >= stop:
            return Piece(start, memoryview(b""))
        if self._index is None:
            return self._whole()
        chunks = list(self._index.at(start, stop))
        first, last = chunks[0].start, chunks[-1].stop
        data = memoryview(bytearray(last - first))
        self._fill(first, data)
        for chunk in chunks:
            part = data[chunk.start - first : chunk.stop - first]
            if self._is_bad(chunk, part):
                doubt(self._store, self._descriptor.digest, self._refusal(chunk, what))
                self._fill(chunk.start, part)
                if self._is_bad(chunk, part):
                    raise self._refusal(chunk, what)
        return Piece(first, data)

    def read_at(self, offset: int, length: int) -> bytes:
        """As `ocimodel.model.reading.ReadAt`: fewer bytes only at the end. Keeps the last chunks it fetched."""
        stop = min(offset + length, self.size)
        kept = self._kept
        if kept is None or not kept.start <= offset <= stop <= kept.stop:
            kept = self._kept = self.fetch(offset, stop, "the header")
        return bytes(kept.data[offset - kept.start : stop - kept.start])

    @property
    def is_indexed(self) -> bool:
        return self._index is not None

    def forget(self) -> None:
        """Let go of what is kept: the chunks that `read_at` fetched, or the whole blob."""
        self._kept = None

    def _whole(self) -> Piece:
        kept = self._kept
        if kept is None:
            if self.size > MAX_WHOLE:
                raise UsageError(
                    f"{self._name} has no chunk index, and is too large to be read whole for its SHA-256",
                    hint="Pull it with ocimodel pull; or push it again, which makes an index.",
                )
            data = read_blob(self._store, self._descriptor, limit=MAX_WHOLE, what=self._name)
            kept = self._kept = Piece(0, memoryview(data))
        return kept

    def _is_bad(self, chunk: Chunk, data: memoryview) -> bool:
        assert self._new is not None
        hasher = self._new()
        hasher.update(data)
        return hasher.hexdigest() != chunk.hex

    def _refusal(self, chunk: Chunk, what: str) -> DigestMismatchError:
        names: Sequence[str] = self._index.tensors_at(chunk.start, chunk.stop)[:3] if self._index else ()
        part = what or (f"tensor {', '.join(names)}" if names else "")
        where = f"{self._name}, {part}, " if part else f"{self._name}, "
        return DigestMismatchError(
            f"{where}bytes {chunk.start} to {chunk.stop}",
            expected=f"{self._algorithm}:{chunk.hex}",
            actual="other bytes, twice",
        )

    def _fill(self, start: int, data: memoryview) -> None:
        """Fill ``data`` with the blob's bytes from ``start`` on. They are not checked here."""
        done = failures = 0
        while done < len(data):
            before, failure = done, None
            try:
                with self._store.open_blob(self._descriptor, start + done, start + len(data)) as stream:
                    self._skip(stream, start + done)
                    while done < len(data) and (count := stream.readinto(data[done : done + BLOCK])):
                        done += count
            except UnavailableError as error:
                failure = error
            failures = failures + 1 if done == before else 0
            if failures >= RESUMES:
                raise failure or UnavailableError(f"{self._name}: the store ends the stream at byte {start + done}")

    def _skip(self, stream: BlobStream, wanted: int) -> None:
        """Pass over what a store without ranges sends before the bytes that were asked for."""
        left = wanted - stream.start
        if left > MAX_WHOLE:
            raise UsageError(
                f"{self._name}: the registry serves no ranges, so its parts cannot be read alone",
                hint="Pull it with ocimodel pull.",
            )
        buffer = memoryview(bytearray(min(BLOCK, left))) if left else memoryview(b"")
        while left and (count := stream.readinto(buffer[: min(len(buffer), left)])):
            left -= count


def read_in_order(reader: ChunkReader, ranges: Sequence[tuple[int, int]]) -> Iterator[memoryview]:
    """The bytes of each range, while the next are being fetched by threads of their own.

    Memory: one range, and `AHEAD` + 1 requests of about `SPAN` bytes. Ranges are in order and do not overlap.
    """
    filled = [(start, stop) for start, stop in ranges if start < stop]
    pieces = _ahead(reader, filled[0][0], filled[-1][1]) if filled else iter(())
    piece = Piece(0, memoryview(b""))
    try:
        for start, stop in ranges:
            if piece.stop <= start < stop:
                piece = next(pieces)
            if piece.start == start and piece.stop == stop:
                yield piece.data
                continue
            whole = memoryview(bytearray(stop - start))
            at = start
            while at < stop:
                if at >= piece.stop:
                    piece = next(pieces)
                part = piece.data[at - piece.start : stop - piece.start]
                whole[at - start : at - start + len(part)] = part
                at += len(part)
            yield whole
    finally:
        if isinstance(pieces, Generator):
            pieces.close()


def _ahead(reader: ChunkReader, start: int, stop: int) -> Generator[Piece]:
    pool = ThreadPoolExecutor(AHEAD)
    waiting: deque[Future[Piece]] = deque()
    try:
        for span in reader.spans(start, stop):
            waiting.append(pool.submit(reader.fetch, *span))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
