"""An OCI image layout on disk: the embedded default, the air-gap format, the cache.

    PATH/oci-layout             {"imageLayoutVersion":"1.0.0"}
    PATH/index.json             every manifest that was pushed; a tag is an entry's ref.name annotation
    PATH/blobs/sha256/<hex>     blobs and manifests alike
    PATH/.lock  PATH/.drafts/   ours: one writer of index.json at a time, files being written

Guarantees: nothing is ever visible half-written, neither a blob nor the index, also after a kill or a power
cut; two processes may push at once; reading takes no lock and writes nothing, so that a read-only disk will
do; no link is followed out of the layout. Entries and members of other tools stay as they are. Interchange
with oras and skopeo in both directions: an untagged manifest (a signature) is an entry without a name.
It does not collect garbage; `remove` takes away what its caller knows to be some.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from ocimodel.errors import DigestMismatchError, FormatError, IntegrityError, NotFoundError, UsageError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Checked, Digest
from ocimodel.oci.manifest import MAX_BYTES, Index
from ocimodel.oci.reference import DEFAULT_TAG, LAYOUT_PREFIX
from ocimodel.stores import files
from ocimodel.stores.facts import (
    check_tag,
    digest_of,
    examine,
    fallback_tag,
    is_fallback_tag,
    sniff,
    source_errors,
)
from ocimodel.stores.layout_index import Entry, LayoutIndex
from ocimodel.stores.locks import exclusive
from ocimodel.stores.protocol import BLOCK, BlobStream, Progress, ReferrerList, Source, Store, no_progress

MARKER = "oci-layout"
INDEX = "index.json"
LOCK = ".lock"
_MARKER_BYTES = b'{"imageLayoutVersion":"1.0.0"}'
_TRIES = 4
_SETTLED = 2.0
"""Seconds after which a file that did not change will not have changed unseen."""
_UNHINTED_BYTES = 256 * 1024 * 1024
"""The most that is read, in one list of referrers, of manifests that other tools put there."""
_OWN_NAMES = frozenset({MARKER, INDEX, LOCK, files.DRAFTS, "blobs"})


class LayoutStore:
    """The layout at ``path``. With ``create`` the first thing written makes it; reading never does."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        self.name = f"{LAYOUT_PREFIX}{path}"
        self._create = create
        self._known: tuple[tuple[int, ...] | None, LayoutIndex] | None = None
        self._ready = False

    # Manifests and tags

    def get_manifest(self, target: str | Digest) -> tuple[Descriptor, bytes]:
        entry = self._entry(target)
        try:
            raw = files.read(self.path, *_blob(entry.digest), limit=MAX_BYTES)
        except NotFoundError:
            raise IntegrityError(f"{self.name} lists {target}, but {entry.digest} is missing") from None
        checked = Checked(entry.digest, entry.size, f"{self.name} manifest {entry.digest}")
        checked.update(raw)
        checked.finish()
        return entry, raw

    def resolve(self, target: str | Digest) -> Descriptor:
        entry = self._entry(target)
        if files.size_of(self.path, *_blob(entry.digest)) is None:
            raise IntegrityError(f"{self.name} lists {target}, but {entry.digest} is missing")
        return entry

    def put_manifest(self, raw: bytes, media_type: str, *, tag: str | None = None) -> Descriptor:
        facts = examine(raw, media_type)
        if tag is not None:
            check_tag(tag)
        self._prepare()
        digest = facts.descriptor.digest
        if not self._holds(digest, raw):
            with files.Draft(self.path) as draft:
                draft.write(raw)
                draft.publish(self.path.joinpath(*_blob(digest)))
        elif (known := self._index()).with_entry(facts, tag) is known:
            return _plain(facts.descriptor)
        # Names of blobs become durable here, once, before anything refers to them.
        files.sync_folder(self.path.joinpath(*_blob(digest)).parent)
        with exclusive(self.path / LOCK):
            index = self._index(fresh=True)
            changed = index.with_entry(facts, tag)
            if changed is not index:
                files.replace(self.path, INDEX, changed.to_bytes())
        return _plain(facts.descriptor)

    def tags(self) -> list[str]:
        return sorted(tag for tag in self._index().tags() if not is_fallback_tag(tag))

    def untagged(self) -> list[Digest]:
        """`Bookkeeping`: every manifest that the layout lists, but for those that are bookkeeping themselves."""
        index = self._index()
        kept = {found.digest for tag in index.tags() if is_fallback_tag(tag) and (found := index.tagged(tag))}
        return sorted({entry.descriptor.digest for entry in index.entries} - kept, key=str)

    def referrers(self, subject: Digest, *, limit: int = 100_000) -> ReferrerList:
        """Entries of index.json whose manifest names ``subject``, and what a foreign fallback tag lists."""
        index = self._index()
        found: dict[Digest, Descriptor] = {}
        complete, unread = True, _UNHINTED_BYTES
        for entry in index.candidates(subject):
            if entry.hint is None and entry.descriptor.digest not in index.seen:
                unread -= entry.descriptor.size
            if unread < 0 or len(found) > limit:
                complete = False
                break
            if self._refers(index, entry, subject):
                found[entry.descriptor.digest] = index.as_referrer(entry)
        foreign = self._fallback(subject)
        for descriptor in foreign or ():
            found.setdefault(descriptor.digest, descriptor)
        complete = complete and foreign is not None and len(found) <= limit
        return ReferrerList(entries=tuple(found.values())[:limit], complete=complete)

    # Blobs

    def has_blob(self, descriptor: Descriptor) -> bool:
        return files.size_of(self.path, *_blob(descriptor.digest)) == descriptor.size

    def blob_size(self, digest: Digest) -> int | None:
        return files.size_of(self.path, *_blob(digest))

    def blob_path(self, digest: Digest) -> Path:
        """Where a blob stands, or would. Its bytes are not checked; they are not to be written to."""
        return self.path.joinpath(*_blob(digest))

    def open_blob(
        self, descriptor: Descriptor, start: int = 0, stop: int | None = None
    ) -> AbstractContextManager[BlobStream]:
        return self._open(descriptor, start, stop)

    @contextmanager
    def _open(self, descriptor: Descriptor, start: int, stop: int | None) -> Iterator[BlobStream]:
        handle = files.open_file(self.path, *_blob(descriptor.digest))
        try:
            yield FileStream(handle, start, stop, f"{self.name} blob {descriptor.digest}")
        finally:
            os.close(handle)

    def put_blob(self, source: Source, digest: Digest | None = None, progress: Progress = no_progress) -> Digest:
        if digest is not None and files.size_of(self.path, *_blob(digest)) == source.size:
            return digest
        self._prepare()
        hasher = (digest or Digest.of(b"")).hasher()
        total = 0
        with files.Draft(self.path) as draft:
            with source_errors(), source.open() as file:
                while total <= source.size and (block := file.read(BLOCK)):
                    total += len(block)
                    hasher.update(block)
                    draft.write(block)
                    progress(len(block))
            if total != source.size:
                actual = "more" if total > source.size else str(total)
                raise DigestMismatchError("upload", expected=f"{source.size} bytes", actual=actual)
            actual_digest = Digest(hasher.name, hasher.hexdigest())
            if digest is not None and actual_digest != digest:
                raise DigestMismatchError("upload", expected=str(digest), actual=str(actual_digest))
            draft.publish(self.path.joinpath(*_blob(actual_digest)))
        return actual_digest

    def mount_blob(self, descriptor: Descriptor, source: str) -> bool:  # noqa: ARG002
        return False

    def close(self) -> None:
        return None

    # What only a layout can

    def prepare(self) -> None:
        """Make the layout where it is missing. Raises UsageError where something else stands there."""
        self._prepare()

    def remove(self, digest: Digest) -> int:
        """Remove a blob, and its line in index.json where it has one. Returns the bytes that were freed."""
        if self._index().find(digest) is not None:
            with exclusive(self.path / LOCK):
                index = self._index(fresh=True).without(digest)
                files.replace(self.path, INDEX, index.to_bytes())
        size = files.size_of(self.path, *_blob(digest)) or 0
        with files.storage_errors(str(self.path)), suppress(FileNotFoundError):
            self.path.joinpath(*_blob(digest)).unlink()
        return size

    # The index

    def _entry(self, target: str | Digest) -> Descriptor:
        """What the index, or the blob itself, says of ``target``: media type, digest and size."""
        digest = digest_of(target)
        index = self._index()
        entry = index.find(digest) if digest else index.tagged(str(target))
        if digest is not None and (entry is None or not self._has(digest)):
            entry = self._unlisted(digest)
        if entry is None:
            raise NotFoundError(f"{self.name} has no {target}", hint=_tags_hint(self.tags()))
        return _plain(entry)

    def _holds(self, digest: Digest, raw: bytes) -> bool:
        try:
            return files.read(self.path, *_blob(digest), limit=len(raw)) == raw
        except (NotFoundError, FormatError):
            return False

    def _has(self, digest: Digest) -> bool:
        return files.size_of(self.path, *_blob(digest)) is not None

    def _unlisted(self, digest: Digest) -> Descriptor | None:
        """A manifest that index.json does not name, such as a child of an image index."""
        size = files.size_of(self.path, *_blob(digest))
        if size is None or size > MAX_BYTES:
            return None
        kind = sniff(files.read(self.path, *_blob(digest), limit=MAX_BYTES))
        return Descriptor(media_type=kind, digest=digest, size=size) if kind else None

    def _index(self, *, fresh: bool = False) -> LayoutIndex:
        """index.json as it is now; decoded again only when the file is another one, or ``fresh``."""
        for attempt in range(_TRIES):
            try:
                with open(files.open_file(self.path, INDEX), "rb") as file:
                    state = os.fstat(file.fileno())
                    stamp = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
                    if self._known is not None and self._known[0] == stamp and not fresh:
                        return self._known[1]
                    self._check_marker()
                    raw = files.read_all(file, INDEX, limit=LayoutIndex.MAX_BYTES)
            except NotFoundError:
                self._check_marker()
                return LayoutIndex.empty()
            # A file may change within one tick of the clock, and a freed inode comes back at once.
            settled = time.time() - state.st_ctime > _SETTLED
            try:
                index = LayoutIndex.from_bytes(raw, self._known[1].seen if self._known else None)
            except FormatError:
                if settled or attempt == _TRIES - 1:
                    raise
                time.sleep(0.02)  # other tools write the file in place: this may have been half of it
                continue
            self._known = (stamp if settled else None, index)
            return index
        raise AssertionError

    def _refers(self, index: LayoutIndex, entry: Entry, subject: Digest) -> bool:
        """Whether an entry is a referrer of ``subject``: by its hint, or by its manifest, which is read once."""
        if entry.hint is not None:
            return entry.hint == str(subject)
        digest = entry.descriptor.digest
        if digest not in index.seen:
            try:
                raw = files.read(self.path, *_blob(digest), limit=MAX_BYTES)
                digest.check(raw, "manifest")
                index.seen[digest] = examine(raw, entry.descriptor.media_type)
            except (NotFoundError, IntegrityError):
                return False
        return index.seen[digest].subject == subject

    def _fallback(self, subject: Digest) -> list[Descriptor] | None:
        """What another tool lists under the fallback tag; None where that cannot be read."""
        try:
            entry, raw = self.get_manifest(fallback_tag(subject))
            return [item for item in Index.from_bytes(raw, entry.media_type).manifests if item.digest != subject]
        except NotFoundError:
            return []
        except IntegrityError:
            return None

    def _check_marker(self) -> None:
        """Raises NotFoundError where there is no layout, FormatError where its version is not known."""
        try:
            raw = files.read(self.path, MARKER, limit=65_536)
        except NotFoundError:
            if self._create:
                return
            raise NotFoundError(
                f"there is no OCI image layout at {self.path}", hint="Check the path; push makes a layout."
            ) from None
        check_marker(raw)

    def _prepare(self) -> None:
        """Make the layout, if it may be made and is not there."""
        if self._ready:
            return
        if files.size_of(self.path, MARKER) is None:
            if not self._create:
                self._check_marker()
            with files.storage_errors(str(self.path)):
                try:
                    self.path.mkdir(parents=True, exist_ok=True)
                except (FileExistsError, NotADirectoryError):
                    raise UsageError(f"{self.path} is not a directory", hint="Name a directory.") from None
                foreign = sorted(set(os.listdir(self.path)) - _OWN_NAMES)
            if foreign:
                raise UsageError(
                    f"{self.path} is not an OCI image layout and not empty (it has {foreign[0]!r})",
                    hint="Name an empty or a new directory.",
                )
            with exclusive(self.path / LOCK):
                if files.size_of(self.path, MARKER) is None:
                    with files.storage_errors(str(self.path)):
                        (self.path / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
                    if files.size_of(self.path, INDEX) is None:
                        files.replace(self.path, INDEX, LayoutIndex.empty().to_bytes())
                    files.replace(self.path, MARKER, _MARKER_BYTES)
        self._check_marker()
        self._ready = True


class FileStream:
    """Bytes of a file, from ``start``."""

    def __init__(self, handle: int, start: int, stop: int | None, what: str) -> None:
        self.start = start
        self._handle = handle
        self._position = start
        self._stop = stop
        self._what = what

    def readinto(self, buffer: memoryview) -> int:
        if self._stop is not None:
            buffer = buffer[: max(0, self._stop - self._position)]
        if not buffer:
            return 0
        with files.storage_errors(self._what):
            count = os.preadv(self._handle, [buffer], self._position)
        self._position += count
        return count


def default_tag(store: Store) -> str:
    """The tag that a layout's name means where it has none: ``latest``, or the only one there is."""
    tags = store.tags()
    if DEFAULT_TAG in tags:
        return DEFAULT_TAG
    if len(tags) != 1:
        raise NotFoundError(f"{store.name} has no tag {DEFAULT_TAG!r}", hint=_tags_hint(tags))
    return tags[0]


def check_marker(raw: bytes) -> None:
    """Raises `FormatError` unless ``raw`` is the ``oci-layout`` file of image-spec v1."""
    from ocimodel.jsonio import Node, loads

    version = Node(loads(raw, limit=65_536, what=MARKER)).get("imageLayoutVersion")
    if version.string() != "1.0.0":
        version.fail(f"is {version.string()[:40]!r}; only 1.0.0 is known")


def _blob(digest: Digest) -> tuple[str, str, str]:
    return ("blobs", digest.algorithm, digest.hex)


def _plain(descriptor: Descriptor) -> Descriptor:
    return Descriptor(media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size)


def _tags_hint(tags: list[str]) -> str:
    shown = ", ".join(tags[:10]) + (", …" if len(tags) > 10 else "")
    return f"There are: {shown}." if tags else "Nothing in it is tagged."
