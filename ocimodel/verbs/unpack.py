"""From a judged manifest to files: nothing is fetched without a grant.

Guarantees: `unpack` takes a `Verified`, which only a policy makes, or an `Unverified`, which says so; the wrong
order does not type-check. Destination and bytes are as `transfer.staging` and `transfer.download` promise.
It does not write the receipt: that is the caller's last step.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ocimodel.errors import NotFoundError, Refusal, UsageError
from ocimodel.model.artifact import FileEntry, ModelArtifact
from ocimodel.model.chunkindex import ChunkIndex
from ocimodel.model.group import members
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.paths import check_distinct
from ocimodel.stores.protocol import Store
from ocimodel.transfer import staging
from ocimodel.transfer.bases import Bases
from ocimodel.transfer.hashing import hash_files
from ocimodel.transfer.jobs import Job
from ocimodel.transfer.journal import claim
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.selection import Selection
from ocimodel.transfer.sharing import Alone, Sharing
from ocimodel.trust.verdict import Verified

WORTH_KEEPING = 64 * 1024 * 1024
"""Bytes in a staging area that survive a refusal."""

_ORDER = ("weight", "dataset", "code", "doc")
"""Roles in the order in which their files appear; configuration, which lets loaders begin, is last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unverified:
    """Nobody vouches for ``subject``, and the caller knows."""

    subject: Descriptor


@dataclass(slots=True, kw_only=True)
class Unpacked:
    """What stands at the destination.

    ``sizes`` has every file; ``members`` those that came in archives: SHA-256 by name, by the archive's digest.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    members: dict[str, dict[str, str]] = field(default_factory=dict)
    fetched_bytes: int = 0
    copied_bytes: int = 0
    unchanged: bool = False
    warnings: list[str] = field(default_factory=list)


def unpack(
    grant: Verified | Unverified,
    artifact: ModelArtifact,
    store: Store,
    destination: Path,
    *,
    selection: Selection,
    force: bool,
    previous: Collection[str],
    meter: Meter,
    index: ChunkIndex | None = None,
    sharing: Sharing | Alone | None = None,
    max_rate: float | None = None,
    screen: Callable[[Mapping[str, Path]], None] | None = None,
) -> Unpacked:
    """Make the selected files of ``artifact`` appear at ``destination``.

    Args:
        force: replace what stands in the way.
        previous: files that an earlier pull put there; with ``force``, those no longer in the model are removed.
        index: of the artifact's chunks, where it has one.
        sharing: finds bytes that are on this machine, or are being fetched by another pull.
        max_rate: bytes a second.
        screen: looks into the files, once they are checked and before one appears; raises a `Refusal`.

    Raises:
        Refusal: from ``screen``; nothing of it is kept.
        UsageError: the destination holds something else, and ``force`` was not given.
        IntegrityError: a byte, a name or the set of files is not what the manifest promises.
        NotFoundError: nothing matches the selection, or a blob is missing.
    """
    if grant.subject.digest != artifact.digest:
        raise ValueError("the grant is for another artifact")
    raw = [entry for entry in artifact.files if entry.is_raw and selection.wants(entry.path)]
    archives = [entry for entry in artifact.files if not entry.is_raw]
    if not raw and not archives:
        raise NotFoundError(
            "the artifact has no files" if selection.everything else "no file of the artifact is selected",
            hint="ocimodel inspect REF lists the files; see --include and --exclude.",
        )
    result = Unpacked()
    sharing = sharing or Alone(Bases())
    with staging.staging(destination, artifact.digest) as area:
        present = staging.listing(area.destination) if area.inside else {}
        kept = _matching(area.destination, {entry.path: entry.descriptor for entry in raw}, present, meter)
        if not force and not archives:
            _refuse_foreign(area.destination, present.keys() - kept)
        wanted = [entry for entry in raw if entry.path not in kept] + archives
        sharing.settle(area.parts)
        staging.check_room(
            area.root,
            _missing(area, [entry for entry in wanted if not (entry.is_raw and sharing.spares(entry.descriptor))]),
        )
        result.sizes = {entry.path: entry.descriptor.size for entry in raw}
        jobs = [_job(area, entry, selection, result, index) for entry in wanted]
        try:
            tally = sharing.fetch(store, jobs, meter, max_rate=max_rate)
            _check_names(artifact, result)
        except Refusal:
            # Good files of a large model are worth a next run; little ones are not worth what they leave behind.
            if staging.held(area) < WORTH_KEEPING:
                staging.discard(area)
            raise
        if not result.sizes:
            raise NotFoundError("no file of the artifact is selected", hint="See --include and --exclude.")
        if archives:
            kept |= _matching_members(area.destination, result, present, meter)
            if not force:
                _refuse_foreign(area.destination, present.keys() - kept)
        if screen is not None:
            _screen(area, screen, result, kept)
        for name in kept:
            area.path(name).unlink(missing_ok=True)
        result.fetched_bytes = tally.fetched
        result.copied_bytes = tally.copied
        result.unchanged = area.inside and kept == result.sizes.keys() and kept >= present.keys()
        if force and area.inside:
            _make_way(area.destination, result, present, kept, previous)
        roles: dict[str, str] = {entry.path: entry.role for entry in artifact.files}
        staging.publish(area, sorted(result.sizes, key=lambda name: _rank(roles.get(name, "doc"), name)))
    return result


def _check_names(artifact: ModelArtifact, result: Unpacked) -> None:
    """A file comes from one place: names in archives, which no manifest lists, are no other layer's either."""
    members = [name for files in result.members.values() for name in files]
    check_distinct([*(entry.path for entry in artifact.files if entry.is_raw), *members])


def _screen(
    area: staging.Staging, screen: Callable[[Mapping[str, Path]], None], result: Unpacked, kept: Collection[str]
) -> None:
    places = {name: area.destination / name if name in kept else area.path(name) for name in result.sizes}
    try:
        screen(places)
    except Refusal:
        staging.discard(area)
        raise


def _rank(role: str, name: str) -> tuple[int, str]:
    return (_ORDER.index(role) if role in _ORDER else len(_ORDER), name)


def _job(
    area: staging.Staging,
    entry: FileEntry,
    selection: Selection,
    result: Unpacked,
    index: ChunkIndex | None,
) -> Job:
    def keep(part: Path) -> None:
        target = area.path(entry.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, target)

    def untar(part: Path) -> None:
        found = _extract(part, area, selection)
        result.members[str(entry.descriptor.digest)] = {name: digest for name, (_, digest) in found.items()}
        result.sizes |= {name: size for name, (size, _) in found.items() if selection.wants(name)}
        part.unlink()

    part = area.part(entry.path)
    if entry.is_raw and area.path(entry.path).exists():
        # Finished by a run that was killed: hashed once more, as a part that lacks nothing.
        part.parent.mkdir(parents=True, exist_ok=True)
        os.replace(area.path(entry.path), part)
        claim(part)
    return Job(
        descriptor=entry.descriptor,
        name=entry.path,
        part=part,
        finish=keep if entry.is_raw else untar,
        index=index.layers.get(entry.descriptor.digest) if index else None,
        algorithm=index.algorithm if index else "blake3",
        places=(area.path(entry.path), area.destination / entry.path) if entry.is_raw else (),
    )


def _extract(archive: Path, area: staging.Staging, selection: Selection) -> dict[str, tuple[int, str]]:
    """Write the selected members; the size and SHA-256 of all of them."""
    found: dict[str, tuple[int, str]] = {}
    with archive.open("rb") as file:
        for member in members(file):
            target = area.path(member.path) if selection.wants(member.path) else Path(os.devnull)
            hasher = hashlib.sha256()
            target.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(target, flags, 0o666), "wb") as out:
                for block in member.blocks():
                    hasher.update(block)
                    out.write(block)
            found[member.path] = (member.size, hasher.hexdigest())
    return found


def _missing(area: staging.Staging, entries: list[FileEntry]) -> int:
    """Bytes that have yet to come; an archive needs its size twice, packed and unpacked."""
    total = 0
    for entry in entries:
        size = entry.descriptor.size * (1 if entry.is_raw else 2)
        for path in (area.path(entry.path), area.part(entry.path)):
            if path.is_file():
                # Blocks, not length: a part is as long as its file from the beginning.
                size -= min(size, path.stat().st_blocks * 512)
        total += size
    return total


def _matching(
    directory: Path,
    wanted: Mapping[str, Descriptor],
    present: Mapping[str, os.stat_result],
    meter: Meter,
) -> set[str]:
    """Those of the wanted files that stand at the destination already, byte for byte."""
    sizes = {
        name: descriptor.size
        for name, descriptor in wanted.items()
        if name in present and stat.S_ISREG(present[name].st_mode) and present[name].st_size == descriptor.size
    }
    if not sizes:
        return set()
    digests = hash_files(directory, sizes, meter, title="comparing")
    return {name for name in sizes if digests[name] == wanted[name].digest}


def _matching_members(
    directory: Path, result: Unpacked, present: Mapping[str, os.stat_result], meter: Meter
) -> set[str]:
    wanted = {
        name: Descriptor(media_type="a/b", digest=Digest("sha256", encoded), size=result.sizes[name])
        for files in result.members.values()
        for name, encoded in files.items()
        if name in result.sizes
    }
    return _matching(directory, wanted, present, meter)


def _refuse_foreign(destination: Path, foreign: Collection[str]) -> None:
    if foreign:
        raise UsageError(
            f"{destination} is not empty: {min(foreign)} is not this model's, or was changed",
            hint="Choose another -o DIR, or replace what is there with --force.",
        )


def _make_way(
    destination: Path,
    result: Unpacked,
    present: Mapping[str, os.stat_result],
    kept: Collection[str],
    previous: Collection[str],
) -> None:
    """Remove what an earlier pull left and this model lacks, and links or files where directories must be."""
    directories = {str(parent) for name in result.sizes for parent in Path(name).parents}
    foreign = []
    for name in present.keys() - kept - result.sizes.keys():
        if name in previous or name in directories:
            (destination / name).unlink()
        else:
            foreign.append(name)
    for name in result.sizes:
        if (destination / name).is_dir() and not (destination / name).is_symlink():
            raise UsageError(f"{destination / name} is a directory, and a file in the model", hint="Remove it.")
    if foreign:
        result.warnings.append(
            f"{destination} also holds {len(foreign)} files that are not the model's, such as {min(foreign)}"
        )
