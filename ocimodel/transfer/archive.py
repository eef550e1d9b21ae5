"""A bundle as a `Store` that can only be read: what `bundle load` copies from.

Guarantees: before the store is there, every byte of the archive that is no content was checked (`layouttar`), and
so were the documents against each other. Contents are checked when they are read, as in every store; `check_rest`
reads those that nobody wanted. The archive is not unpacked, and nothing in it can name a place on the disk.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from ocimodel.errors import FormatError, NotFoundError, UsageError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import MAX_BYTES
from ocimodel.stores.facts import Facts, digest_of, examine, is_fallback_tag, sniff
from ocimodel.stores.layout_index import LayoutIndex
from ocimodel.stores.protocol import BlobStream, Progress, ReferrerList, Source, no_progress
from ocimodel.transfer import bundle, layouttar, spans
from ocimodel.transfer.bundle import DOCUMENT, INDEX, MARKER, TRUST, Bundle, named_blob
from ocimodel.transfer.closure import Closure
from ocimodel.transfer.layouttar import Member
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.parallel import run_all
from ocimodel.transfer.spans import Part, Spans

_WORKERS = 2


@contextmanager
def open_archive(file: Path) -> Iterator[Archive]:
    """The bundle in ``file``, or in the parts beside it.

    Raises:
        IntegrityError: it is not as it was written; nothing of it was used.
        NotFoundError: it, or a part of it, is missing.
        StorageError: it cannot be read.
    """
    parts = spans.find(file)
    with spans.reading(parts) as run:
        yield Archive(file, run, parts)


class Archive:
    """One bundle. ``document`` says what is in it, ``trust`` which trust material."""

    def __init__(self, file: Path, run: Spans, parts: list[Part]) -> None:
        self.name = f"bundle {file}"
        self._run = run
        spans.check(run, parts)
        try:
            members = layouttar.read(run)
        except FormatError as error:
            raise FormatError(f"{file} is not a bundle: {error.message}", hint=_HINT) from None
        if DOCUMENT not in members:
            raise FormatError(f"{file} is not a bundle: it has no {DOCUMENT}", hint=_HINT)
        try:
            self.document = Bundle.from_bytes(self._read(members[DOCUMENT], bundle.MAX_BYTES))
        except FormatError as error:
            raise FormatError(f"{self.name}: {error.message}") from None
        self._others = {name: member for name, member in members.items() if not name.startswith(bundle.BLOBS)}
        self._blobs = _blobs(members)
        self._check_files()
        raw = self._read(members[INDEX], LayoutIndex.MAX_BYTES)
        self._index = LayoutIndex.from_bytes(raw)
        self._facts = self._examine()

    # What only a bundle has

    @property
    def blobs(self) -> Mapping[Digest, int]:
        """Everything that it holds, manifests included, by size."""
        return {digest: member.size for digest, member in self._blobs.items()}

    @property
    def trust(self) -> Mapping[str, Digest]:
        """Names and digests of the trust material. That it is here does not make it trusted."""
        return {
            name.removeprefix(TRUST): digest
            for name, digest in self.document.files.items()
            if name.startswith(TRUST)
        }

    def trust_file(self, name: str) -> bytes:
        return self._read(self._others[f"{TRUST}{name}"], bundle.MAX_TRUST_BYTES)

    def check_whole(self, closures: Collection[Closure]) -> None:
        """Hold what is in it against what should be: nothing missing, nothing that nobody asked for.

        Raises:
            FormatError: something is missing, hides in it, or is listed otherwise than it was saved.
        """
        wanted: dict[Digest, int] = {}
        manifests: set[Digest] = set()
        tags = {a.name: a.root.digest for a in self.document.artifacts if a.name is not None}
        for closure in closures:
            pieces = [*closure.pieces, *(item.piece for item in closure.legacy)]
            manifests.update(piece.descriptor.digest for piece in pieces)
            tags |= {item.tag: item.piece.descriptor.digest for item in closure.legacy}
            wanted |= {blob.digest: blob.size for blob in closure.blobs()}
        absent = self.document.absent
        for digest, size in wanted.items():
            there = self._blobs.get(digest)
            if (absent.get(digest) if there is None else there.size) != size:
                raise FormatError(f"{self.name}: {digest} is not in it, and was not left out")
        surplus = (self._blobs.keys() | absent.keys()) - wanted.keys() - manifests
        if surplus or absent.keys() & self._blobs.keys():
            raise FormatError(f"{self.name}: {min(surplus or absent)} belongs to no artifact in it")
        known = [self._facts[digest] for digest in manifests]
        if bundle.index_of(known, tags) != self._read(self._others[INDEX], LayoutIndex.MAX_BYTES):
            raise FormatError(f"{self.name}: {INDEX} is not as it was written")

    def check_rest(self, read: Collection[Digest], meter: Meter) -> None:
        """Check the blobs that nobody has ``read``. Raises `DigestMismatchError`."""
        rest = [(digest, member) for digest, member in self._blobs.items() if digest not in read]

        def one(item: tuple[Digest, Member], progress: Progress) -> None:
            layouttar.check(self._run, item[1], item[0], progress)

        meter.begin("checking", sum(member.size for _, member in rest))
        try:
            run_all(one, rest, size=lambda item: item[1].size, workers=_WORKERS, progress=meter.advance)
        finally:
            meter.end()

    # A store

    def get_manifest(self, target: str | Digest) -> tuple[Descriptor, bytes]:
        digest = digest_of(target)
        entry = self._index.find(digest) if digest else self._index.tagged(str(target))
        if entry is None or entry.digest not in self._blobs:
            raise NotFoundError(f"{self.name} has no {target}")
        raw = self._manifest(entry.digest)
        return Descriptor(media_type=entry.media_type, digest=entry.digest, size=len(raw)), raw

    def resolve(self, target: str | Digest) -> Descriptor:
        return self.get_manifest(target)[0]

    def tags(self) -> list[str]:
        return sorted(tag for tag in self._index.tags() if not is_fallback_tag(tag))

    def referrers(self, subject: Digest, *, limit: int = 100_000) -> ReferrerList:
        found = [facts.descriptor for facts in self._facts.values() if facts.subject == subject]
        return ReferrerList(entries=tuple(found[:limit]), complete=len(found) <= limit)

    def has_blob(self, descriptor: Descriptor) -> bool:
        return self.blob_size(descriptor.digest) == descriptor.size

    def blob_size(self, digest: Digest) -> int | None:
        member = self._blobs.get(digest)
        return None if member is None else member.size

    def open_blob(
        self, descriptor: Descriptor, start: int = 0, stop: int | None = None
    ) -> AbstractContextManager[BlobStream]:
        return self._open(descriptor, start, stop)

    @contextmanager
    def _open(self, descriptor: Descriptor, start: int, stop: int | None) -> Iterator[BlobStream]:
        member = self._blobs.get(descriptor.digest)
        if member is None:
            raise NotFoundError(f"{self.name} has no blob {descriptor.digest}")
        yield _Stream(self._run, member, start, member.size if stop is None else min(stop, member.size))

    def put_manifest(self, raw: bytes, media_type: str, *, tag: str | None = None) -> Descriptor:  # noqa: ARG002
        raise UsageError(f"{self.name} can only be read")

    def put_blob(
        self,
        source: Source,  # noqa: ARG002
        digest: Digest | None = None,  # noqa: ARG002
        progress: Progress = no_progress,  # noqa: ARG002
    ) -> Digest:
        raise UsageError(f"{self.name} can only be read")

    def mount_blob(self, descriptor: Descriptor, source: str) -> bool:  # noqa: ARG002
        return False

    def close(self) -> None:
        return None

    # The rest is ours

    def _read(self, member: Member, limit: int) -> bytes:
        if member.size > limit:
            raise FormatError(f"{self.name}: {member.name} has {member.size} bytes, more than {limit}")
        return self._run.read(member.content, member.size)

    def _manifest(self, digest: Digest) -> bytes:
        raw = self._read(self._blobs[digest], MAX_BYTES)
        digest.check(raw, f"{self.name} manifest {digest}")
        return raw

    def _check_files(self) -> None:
        listed = self.document.files
        surplus = self._others.keys() ^ {DOCUMENT, *listed}
        if surplus:
            raise FormatError(f"{self.name}: {min(surplus)} is not what {DOCUMENT} lists")
        for name, digest in listed.items():
            digest.check(self._read(self._others[name], bundle.MAX_BYTES), f"{self.name}: {name}")
        if self._read(self._others[MARKER], 1024) != bundle.MARKER_BYTES:
            raise FormatError(f"{self.name}: {MARKER} is not as it was written")

    def _examine(self) -> dict[Digest, Facts]:
        found: dict[Digest, Facts] = {}
        for entry in self._index.entries:
            digest = entry.descriptor.digest
            if digest not in self._blobs:
                raise FormatError(f"{self.name}: {INDEX} lists {digest}, which is not in it")
            if digest not in found:
                raw = self._manifest(digest)
                if sniff(raw) not in (None, entry.descriptor.media_type):
                    raise FormatError(f"{self.name}: {INDEX} calls {digest} {entry.descriptor.media_type}")
                found[digest] = examine(raw, entry.descriptor.media_type)
        return found


_HINT = "bundle load reads what bundle save wrote; unpack any other layout, and name it as oci:PATH."


def _blobs(members: Mapping[str, Member]) -> dict[Digest, Member]:
    found: dict[Digest, Member] = {}
    for name, member in members.items():
        digest = named_blob(name)
        if digest is not None:
            found[digest] = member
    return found


class _Stream:
    def __init__(self, run: Spans, member: Member, start: int, stop: int) -> None:
        self.start = start
        self._run = run
        self._position = member.content + start
        self._stop = member.content + stop

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), self._stop - self._position)
        if count <= 0:
            return 0
        buffer[:count] = self._run.read(self._position, count)
        self._position += count
        return count
