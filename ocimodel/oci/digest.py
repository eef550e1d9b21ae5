"""Content digests (OCI image-spec v1.1, descriptor.md "Digests").

Guarantees: a `Digest` is always well-formed; SHA-256 and SHA-512 are the only algorithms, since the
specification registers no other that all registries take. It does not read files: see `Checked`, which any
stream can be fed through.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Self

from ocimodel.errors import DigestMismatchError, FormatError

_HEX = {"sha256": re.compile(r"[0-9a-f]{64}"), "sha512": re.compile(r"[0-9a-f]{128}")}


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """``algorithm:hex``, as in ``sha256:44136fa3…``."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `FormatError` for anything but ``sha256:`` or ``sha512:`` and lower-case hex of its length."""
        algorithm, _, encoded = text.partition(":")
        pattern = _HEX.get(algorithm)
        if pattern is None or pattern.fullmatch(encoded) is None:
            raise FormatError(f"{text[:160]!r} is not a SHA-256 or SHA-512 digest")
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, data: bytes) -> Self:
        """The SHA-256 digest of ``data``."""
        return cls("sha256", hashlib.sha256(data).hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    def hasher(self) -> hashlib._Hash:
        """A fresh hash object of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def check(self, data: bytes, what: str) -> None:
        """Raises `DigestMismatchError` unless ``data`` has this digest."""
        checked = Checked(self, len(data), what)
        checked.update(data)
        checked.finish()


class Checked:
    """Size and digest of a stream that arrives in pieces.

    Guarantees: `update` raises as soon as one byte more than ``size`` arrives; `finish` raises unless exactly
    the promised bytes came. Nothing may be used as checked before `finish` has returned.
    """

    __slots__ = ("_digest", "_hash", "_size", "_what", "count")

    def __init__(self, digest: Digest, size: int, what: str) -> None:
        self._digest = digest
        self._size = size
        self._what = what
        self._hash = digest.hasher()
        self.count = 0

    def update(self, data: bytes | bytearray | memoryview) -> None:
        self.count += len(data)
        if self.count > self._size:
            raise DigestMismatchError(self._what, expected=f"{self._size} bytes", actual="more")
        self._hash.update(data)

    def finish(self) -> None:
        if self.count != self._size:
            raise DigestMismatchError(self._what, expected=f"{self._size} bytes", actual=str(self.count))
        actual = self._hash.hexdigest()
        if actual != self._digest.hex:
            raise DigestMismatchError(
                self._what, expected=str(self._digest), actual=f"{self._digest.algorithm}:{actual}"
            )
