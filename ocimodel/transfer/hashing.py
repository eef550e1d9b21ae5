"""SHA-256 of local files, several at a time. hashlib releases the interpreter, so files go as fast as cores do."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from ocimodel.oci.digest import Digest
from ocimodel.stores.protocol import BLOCK, Progress
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.parallel import run_all
from ocimodel.transfer.staging import storage_errors


def hash_file(path: Path, progress: Progress) -> Digest:
    """Raises StorageError where it cannot be read, and where it is not a regular file."""
    hasher = hashlib.sha256()
    buffer = memoryview(bytearray(BLOCK))
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with storage_errors(f"cannot read {path}"), open(os.open(path, flags), "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(0, "not a regular file", str(path))
        while count := file.readinto(buffer):
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
