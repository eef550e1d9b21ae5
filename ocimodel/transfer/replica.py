"""An artifact and all that belongs to it, from a store to a store: the same bytes, the same digest.

Guarantees, in the order of writing: all blobs, each only where the target does not have it; manifests by digest,
those of an index before it; referrers, each after what it refers to; cosign's legacy tags; the tag last. Whoever
follows a tag therefore finds all that it points at, whenever a copy was killed; run again, it sends what is
missing. Within one registry blobs are mounted; between two they are streamed, several at a time, the largest
first. Signatures that the target has under a legacy tag stay. Nothing is packed anew, and nothing is verified but
digests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from ocimodel.errors import DigestMismatchError, NotFoundError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.stores.protocol import Arrivals, Progress, Store
from ocimodel.transfer.closure import Closure, Piece
from ocimodel.transfer.legacytags import merge
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.parallel import run_all
from ocimodel.transfer.relay import relay

WORKERS = 4
WRITERS = 8
QUESTIONS = 8
"""Blobs that are asked for at a time."""
_FOREIGN = ("nondistributable", "foreign")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """From where to where. ``mount`` is the source's repository, where both are in one registry.

    ``known``: digests that the target is known to have; `send` adds to it.
    """

    source: Store
    target: Store
    known: set[Digest]
    mount: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a copy has to do. ``missing`` are the blobs that the target does not have."""

    closure: Closure
    missing: tuple[Descriptor, ...]
    present: tuple[Descriptor, ...]

    @property
    def missing_bytes(self) -> int:
        return sum(blob.size for blob in self.missing)

    @property
    def present_bytes(self) -> int:
        return sum(blob.size for blob in self.present)


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was done."""

    sent: int = 0
    sent_bytes: int = 0
    mounted: int = 0
    mounted_bytes: int = 0
    manifests: int = 0
    legacy: int = 0


def plan(route: Route, closure: Closure) -> Plan:
    """Ask the target which blobs it has. Writes nothing.

    Raises:
        NotFoundError: a layer that is kept elsewhere ("foreign") is in neither store.
        UnavailableError, AuthenticationError: from a store.
    """
    blobs = closure.blobs()
    unknown = [blob for blob in blobs if blob.digest not in route.known]
    with ThreadPoolExecutor(max_workers=QUESTIONS) as pool:
        there = dict(zip(unknown, pool.map(route.target.has_blob, unknown), strict=True))
    missing = [blob for blob in unknown if not there[blob]]
    route.known.update(blob.digest for blob in unknown if there[blob])
    for blob in missing:
        if any(word in blob.media_type for word in _FOREIGN) and not route.source.has_blob(blob):
            raise NotFoundError(
                f"the layer {blob.digest} ({blob.media_type}) is kept outside of {route.source.name}",
                hint="A copy would not be whole. Put the layer into the source; its other address is not followed.",
            )
    absent = {blob.digest for blob in missing}
    return Plan(
        closure=closure,
        missing=tuple(missing),
        present=tuple(blob for blob in blobs if blob.digest not in absent),
    )


def send(route: Route, what: Plan, meter: Meter) -> Tally:
    """Store everything but the tag: blobs, then manifests.

    Raises: as `send_blobs` and `put_manifests`.
    """
    tally = Tally()
    send_blobs(route, what, meter, tally)
    put_manifests(route, what.closure, tally)
    return tally


def send_blobs(route: Route, what: Plan, meter: Meter, tally: Tally) -> None:
    """Store the blobs, counting them in ``tally``.

    Raises:
        DigestMismatchError: a blob of the source is not its digest.
        NotFoundError: the source does not have a blob that its manifest lists.
        UnavailableError, AuthenticationError, StorageError: from a store.
    """

    def carry(blob: Descriptor, progress: Progress) -> bool:
        if route.mount is not None and route.target.mount_blob(blob, route.mount):
            progress(blob.size)
            return False
        relay(route.source, route.target, blob, progress)
        return True

    # What several artifacts have in common came with the first of them.
    missing = [blob for blob in what.missing if blob.digest not in route.known]
    meter.begin("copying", sum(blob.size for blob in missing))
    try:
        streamed = run_all(carry, missing, size=lambda blob: blob.size, workers=WORKERS, progress=meter.advance)
    finally:
        meter.end()
    for blob, sent in zip(missing, streamed, strict=True):
        route.known.add(blob.digest)
        if sent:
            tally.sent += 1
            tally.sent_bytes += blob.size
        else:
            tally.mounted += 1
            tally.mounted_bytes += blob.size


def put_manifests(route: Route, closure: Closure, tally: Tally) -> None:
    """Store manifests by digest, then cosign's tags, counting them in ``tally``. The blobs have been stored.

    Raises:
        DigestMismatchError: the target calls a manifest otherwise.
        UnavailableError, AuthenticationError, StorageError: from a store.
    """
    arrived: set[Digest] = set()
    with ThreadPoolExecutor(max_workers=WRITERS) as pool:
        for wave in _waves(closure.pieces):
            subjects = {piece.subject for piece in wave if piece.subject is not None}
            found = pool.map(lambda subject: _listed(route.target, subject), subjects)
            listed = dict(zip(subjects, found, strict=True))
            with _arriving(route.target, arrived):
                stored = list(pool.map(lambda piece, there=listed: _store(route, closure, piece, there), wave))
            tally.manifests += sum(is_new is not None for is_new in stored)
            arrived |= {piece.descriptor.digest for piece, is_new in zip(wave, stored, strict=True) if is_new}
    for item in closure.legacy:
        raw = closure.raw(route.source, item.piece.descriptor)
        tally.legacy += merge(route.target, item.tag, raw, item.piece.descriptor)


def _waves(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """The pieces in the order of writing, those together of which none waits for another."""
    wave: list[Piece] = []
    within: set[Digest] = set()
    for piece in pieces:
        if {child.digest for child in piece.children} & within or piece.subject in within:
            yield wave
            wave, within = [], set()
        wave.append(piece)
        within.add(piece.descriptor.digest)
    if wave:
        yield wave


def _listed(target: Store, subject: Digest) -> set[Digest]:
    return {entry.digest for entry in target.referrers(subject).entries}


def _arriving(target: Store, subjects: set[Digest]) -> AbstractContextManager[None]:
    return target.arriving(subjects) if subjects and isinstance(target, Arrivals) else nullcontext()


def _store(route: Route, closure: Closure, piece: Piece, listed: Mapping[Digest, set[Digest]]) -> bool | None:
    """Put a manifest under its digest, unless it is there and, where it refers to something, listed there.

    Returns None where nothing was put; else whether the target did not have it before.
    """
    digest = piece.descriptor.digest
    if digest in route.known:
        return None
    there = is_there(route.target, digest)
    if there and (piece.subject is None or digest in listed[piece.subject]):
        route.known.add(digest)
        return None
    raw = closure.raw(route.source, piece.descriptor)
    check_same(piece.descriptor, route.target.put_manifest(raw, piece.descriptor.media_type))
    route.known.add(digest)
    return not there


def is_there(store: Store, target: str | Digest) -> bool:
    """Whether the store has a manifest under this tag or digest."""
    try:
        store.resolve(target)
    except NotFoundError:
        return False
    return True


def tag(route: Route, closure: Closure, tags: Sequence[str]) -> list[str]:
    """Move tags of the target to the artifact; which of them did move."""
    root = closure.root
    if not tags:  # a layout lists what was put; a manifest whose put was interrupted is there and not listed
        check_same(root, route.target.put_manifest(closure.raw(route.source, root), root.media_type))
    moved = []
    for name in tags:
        if _points_at(route.target, name, root.digest):
            continue
        raw = closure.raw(route.source, root)
        check_same(root, route.target.put_manifest(raw, root.media_type, tag=name))
        moved.append(name)
    return moved


def _points_at(store: Store, name: str, digest: Digest) -> bool:
    try:
        return store.resolve(name).digest == digest
    except NotFoundError:
        return False


def check_same(wanted: Descriptor, stored: Descriptor) -> None:
    """Raises `DigestMismatchError` where the target calls a manifest otherwise than the source."""
    if stored.digest != wanted.digest:
        raise DigestMismatchError("manifest as stored", expected=str(wanted.digest), actual=str(stored.digest))
