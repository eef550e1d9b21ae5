"""Upload sessions. Bytes over 16 MiB wait in a file, so that large blobs do not need memory."""

from __future__ import annotations

import hashlib
import mmap
import secrets
import tempfile
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

from tests.hostile.messages import Body

_IN_MEMORY = 16 * 1024 * 1024


@dataclass(slots=True, weakref_slot=True)
class Session:
    repository: str
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    offset: int = 0
    first_chunk: int = 0
    ended: bool = False
    """A piece came that only the last one may be."""
    _file: IO[bytes] = field(
        default_factory=lambda: tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
    )
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        weakref.finalize(self, self._file.close)  # an upload that nobody finishes is no leak

    def take(self, blocks: Iterator[bytes]) -> int:
        count = 0
        for block in blocks:
            self._file.write(block)
            self._hash.update(block)
            self.offset += len(block)
            count += len(block)
        self.first_chunk = self.first_chunk or self.offset
        return count

    def forget(self) -> None:
        """Lose the bytes, and not what is said of them."""
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()

    @property
    def state(self) -> str:
        """What a Location of this moment carries; worth nothing after more bytes came."""
        return f"{self.id}.{self.offset}"

    def finish(self) -> tuple[str, Body]:
        """The SHA-256 digest and the bytes."""
        digest = f"sha256:{self._hash.hexdigest()}"
        if self.offset <= _IN_MEMORY:
            self._file.seek(0)
            data: Body = self._file.read()
        else:
            self._file.flush()
            data = memoryview(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ))
        self._file.close()
        return digest, data
