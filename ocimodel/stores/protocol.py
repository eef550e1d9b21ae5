"""The Store protocol: one repository, wherever it is.

Guarantees that every implementation gives (`tests/test_store_contract.py` holds them to it):

* what comes back under a digest has been checked against that digest, manifests before they are returned and
  blobs by whoever reads them to the end (`read_blob`; a raw `BlobStream` is not yet checked);
* a tag moves atomically, and only by `put_manifest(tag=…)`;
* `referrers` lists what the store claims; entries are hints until their manifest's ``subject`` was checked;
* errors are `ocimodel.errors` only, with their exit codes.

It does not decide about trust, nor which files a model has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO
from typing import BinaryIO, Protocol, runtime_checkable

from ocimodel.errors import DigestMismatchError, FormatError, OcimodelError, UnavailableError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Checked, Digest

BLOCK = 128 * 1024
"""Bytes moved at a time."""


class BlobStream(Protocol):
    """The body of a blob, or of a range of it. Not checked: see `Checked`."""

    start: int
    """Offset of the first byte that comes: 0 where the store cannot serve ranges, whatever was asked for."""

    def readinto(self, buffer: memoryview) -> int:
        """Fill ``buffer`` with at least one byte; 0 at the end. Raises UnavailableError on a broken stream."""
        ...


class Memo(Protocol):
    """Room for a store's note about an upload of certain bytes to it that is not finished.

    It outlives the process, and only one upload at a time has it. What stands in it may be a secret. Never raises.
    """

    def read(self) -> bytes:
        """What an earlier process left; nothing at all where it finished, or where there was none."""
        ...

    def write(self, note: bytes) -> None: ...

    def clear(self) -> None:
        """The upload is finished, or given up."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Bytes to be uploaded. ``open`` may be called again for another try and starts at 0 each time."""

    size: int
    open: Callable[[], AbstractContextManager[BinaryIO]]
    memo: Memo | None = None

    @classmethod
    def of(cls, data: bytes) -> Source:
        return cls(size=len(data), open=lambda: BytesIO(data))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferrerList:
    """What a store lists for a subject. ``complete`` is false where a cap cut the list."""

    entries: tuple[Descriptor, ...]
    complete: bool = True


Progress = Callable[[int], None]
"""Called with the number of bytes that just moved; negative where a try is given up and begins anew."""


def no_progress(_count: int) -> None:
    """Nobody is watching."""


class Store(Protocol):
    """One repository."""

    @property
    def name(self) -> str:
        """``HOST/REPOSITORY`` or ``oci:PATH``; what messages call it."""
        ...

    def get_manifest(self, target: str | Digest) -> tuple[Descriptor, bytes]:
        """The manifest or index under a tag or a digest, its bytes checked (a tag: against what the store says).

        The descriptor has media type, digest and size only.
        Raises NotFoundError, DigestMismatchError, FormatError (over 4 MiB), UnavailableError, AuthenticationError.
        """
        ...

    def resolve(self, target: str | Digest) -> Descriptor:
        """The descriptor alone, by HEAD where that can be trusted to name a digest, else as `get_manifest`."""
        ...

    def put_manifest(self, raw: bytes, media_type: str, *, tag: str | None = None) -> Descriptor:
        """Store these very bytes, under their digest and, if given, a tag.

        A manifest with a ``subject`` is also made findable by `referrers` before this returns.
        Storing what is there already changes nothing.
        """
        ...

    def tags(self) -> list[str]:
        """All tags, sorted; without the fallback tags of the referrers tag schema."""
        ...

    def referrers(self, subject: Digest, *, limit: int = 100_000) -> ReferrerList:
        """What refers to ``subject``: of every type, without duplicates, at most ``limit`` entries."""
        ...

    def has_blob(self, descriptor: Descriptor) -> bool: ...

    def blob_size(self, digest: Digest) -> int | None:
        """What the store says the size of a blob is; None where it has no such blob, or does not say."""
        ...

    def open_blob(
        self, descriptor: Descriptor, start: int = 0, stop: int | None = None
    ) -> AbstractContextManager[BlobStream]:
        """Stream bytes ``start`` to ``stop`` (exclusive; None: to the end) of a blob.

        Raises NotFoundError; UnavailableError and AuthenticationError after retries.
        """
        ...

    def put_blob(self, source: Source, digest: Digest | None = None, progress: Progress = no_progress) -> Digest:
        """Upload, hashing what is sent; the digest is given to the store when the last byte has gone.

        Where ``digest`` is given and the bytes sent have another, nothing is stored (DigestMismatchError).
        Where the store has the blob already (``digest`` given), nothing is sent.
        """
        ...

    def mount_blob(self, descriptor: Descriptor, source: str) -> bool:
        """Take a blob over from the repository ``source`` of the same store, without bytes; False if it can't."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Arrivals(Protocol):
    """A store in which a list of referrers is written with care, and slowly, since others may write it as well."""

    def arriving(self, subjects: Iterable[Digest]) -> AbstractContextManager[None]:
        """While these artifacts come into the store, which it did not have: nobody else writes anything else."""
        ...


@runtime_checkable
class Clocked(Protocol):
    """A store behind which is another machine, with a clock."""

    @property
    def clock_offset(self) -> timedelta | None:
        """By how much that clock is ahead of this machine's; None before anything was heard."""
        ...


@runtime_checkable
class Mirrored(Protocol):
    """A store in front of which mirrors may stand.

    What is named by its digest comes from them, what changes from the store itself, as long as it can be asked.
    """

    def nearby(self) -> Store | None:
        """The same store, whose lists of referrers are as a mirror shows them, without asking further.

        They may be old, or empty: good enough to accept by, never to refuse by. None: there is no such mirror.
        """
        ...

    def doubt(self, digest: Digest, error: OcimodelError) -> bool:
        """What was given for ``digest`` was of no use, as ``error`` says. True: it is worth asking once more."""
        ...


@runtime_checkable
class Bookkeeping(Protocol):
    """A store that knows of artifacts which no tag names."""

    def untagged(self) -> list[Digest]:
        """What lists of referrers, signatures and indexes are about, as far as the store can say. A hint."""
        ...


def nearby(store: Store) -> Store | None:
    """As `Mirrored` says; None of a store without mirrors."""
    return store.nearby() if isinstance(store, Mirrored) else None


def doubt(store: Store, digest: Digest, error: OcimodelError) -> bool:
    """As `Mirrored` says; False of a store without mirrors."""
    return isinstance(store, Mirrored) and store.doubt(digest, error)


def clock_offset(store: Store) -> timedelta | None:
    """As `Clocked` says; None of a store on this machine."""
    return store.clock_offset if isinstance(store, Clocked) else None


def read_blob(store: Store, descriptor: Descriptor, *, limit: int, what: str = "blob") -> bytes:
    """A small blob, whole and checked. Raises FormatError where it is larger than ``limit`` bytes."""
    if descriptor.size > limit:
        raise FormatError(f"{what} has {descriptor.size} bytes, more than {limit}")
    try:
        return _read(store, descriptor, what)
    except (DigestMismatchError, UnavailableError) as error:
        if not doubt(store, descriptor.digest, error):
            raise
    return _read(store, descriptor, what)


def _read(store: Store, descriptor: Descriptor, what: str) -> bytes:
    checked = Checked(descriptor.digest, descriptor.size, what)
    parts: list[bytes] = []
    with store.open_blob(descriptor) as stream:
        for block in blocks(stream, memoryview(bytearray(min(BLOCK, descriptor.size + 1)))):
            checked.update(block)
            parts.append(bytes(block))
    checked.finish()
    return b"".join(parts)


def blocks(stream: BlobStream, buffer: memoryview) -> Iterator[memoryview]:
    """The stream in pieces, each a view into ``buffer`` that the next one overwrites."""
    while count := stream.readinto(buffer):
        yield buffer[:count]
