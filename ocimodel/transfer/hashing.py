"""Digests of local files, several at a time: SHA-256 of whole files, or those of an index, chunk by chunk.

hashlib and blake3 release the interpreter, so files go as fast as the cores do; one file's SHA-256 has one core,
its chunks have all of them.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ocimodel.model.chunkindex import Chunk, LayerIndex
from ocimodel.model.chunking import new_hasher
from ocimodel.oci.digest import Digest
from ocimodel.stores.protocol import BLOCK, Progress
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.parallel import run_all
from ocimodel.transfer.staging import storage_errors

SPAN = 64 * 1024 * 1024
"""Bytes of a file that one core checks at a time; a chunk belongs to the span that it begins in."""


def hash_file(path: Path, progress: Progress) -> Digest:
    """Raises StorageError where it cannot be read, and where it is not a regular file."""
    hasher = hashlib.sha256()
    buffer = memoryview(bytearray(BLOCK))
    with regular(path) as handle:
        while count := os.readv(handle, [buffer]):
            hasher.update(buffer[:count])
            progress(count)
    return Digest("sha256", hasher.hexdigest())


def hash_files(directory: Path, sizes: Mapping[str, int], meter: Meter, *, title: str) -> dict[str, Digest]:
    """The digests of the files named in ``sizes`` (their sizes only order the work)."""
    names = list(sizes)
    meter.begin(title, sum(sizes.values()))
    try:
        digests = run_all(
            lambda name, progress: hash_file(directory / name, progress),
            names,
            size=lambda name: sizes[name],
            workers=os.cpu_count() or 1,
            progress=meter.advance,
        )
    finally:
        meter.end()
    return dict(zip(names, digests, strict=True))


def check_chunks(
    directory: Path, layers: Mapping[str, LayerIndex], algorithm: str, meter: Meter
) -> dict[str, list[Chunk]]:
    """The bad chunks of each file, found on all cores at once; a file is cut into spans for that.

    Sizes have to agree with the index already. Files without a bad chunk are left out.
    """
    spans = [
        (name, layer, start, min(start + SPAN, layer.size))
        for name, layer in layers.items()
        for start in range(0, layer.size, SPAN)
    ]
    new = new_hasher(algorithm)

    def check(item: tuple[str, LayerIndex, int, int], progress: Progress) -> list[tuple[str, Chunk]]:
        name, layer, start, stop = item
        mine = [chunk for chunk in layer.at(start, stop) if start <= chunk.start < stop]
        bad: list[tuple[str, Chunk]] = []
        buffer = memoryview(bytearray(BLOCK))
        with regular(directory / name) as handle:
            for chunk in mine:
                hasher, at = new(), chunk.start
                while at < chunk.stop and (count := os.preadv(handle, [buffer[: min(BLOCK, chunk.stop - at)]], at)):
                    hasher.update(buffer[:count])
                    at += count
                progress(chunk.size)
                if hasher.hexdigest() != chunk.hex:
                    bad.append((name, chunk))
        return bad

    meter.begin("verifying", sum(layer.size for layer in layers.values()))
    try:
        found = run_all(
            check,
            spans,
            size=lambda item: item[3] - item[2],
            workers=os.cpu_count() or 1,
            progress=meter.advance,
        )
    finally:
        meter.end()
    result: dict[str, list[Chunk]] = {}
    for name, chunk in (pair for pairs in found for pair in pairs):
        result.setdefault(name, []).append(chunk)
    return result


@contextmanager
def regular(path: Path) -> Iterator[int]:
    """A descriptor of a regular file, opened without following a link. Raises StorageError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with storage_errors(f"cannot read {path}"):
        handle = os.open(path, flags)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(0, "not a regular file", str(path))
            yield handle
        finally:
            os.close(handle)
