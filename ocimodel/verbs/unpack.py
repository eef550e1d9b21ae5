"""From a judged manifest to files: nothing is fetched without a grant.

Guarantees: `unpack` takes a `Verified`, which only a policy makes, or an `Unverified`, which says so; the wrong
order does not type-check. Destination and bytes are as `transfer.staging` and `transfer.download` promise.
It does not write the receipt: that is the caller's last step.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ocimodel.errors import NotFoundError, OcimodelError, UsageError
from ocimodel.model.artifact import FileEntry, ModelArtifact
from ocimodel.model.group import members
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.paths import check_distinct
from ocimodel.stores.protocol import Store
from ocimodel.transfer import staging
from ocimodel.transfer.download import Job, fetch_all
from ocimodel.transfer.hashing import hash_files
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.selection import Selection
from ocimodel.trust.policy import Verified

_LAST = ("weight", "dataset", "code", "doc")
"""Roles in the order in which files appear at a destination; configuration, which makes loaders start, is last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unverified:
    """Nobody vouches for ``subject``, and the caller knows."""

    subject: Descriptor


@dataclass(slots=True, kw_only=True)
class Unpacked:
    """What stands at the destination. ``members``: files of grouped layers, by layer digest, with SHA-256."""

    files: int = 0
    total_bytes: int = 0
    fetched_bytes: int = 0
    unchanged: bool = False
    members: dict[str, dict[str, str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def unpack(
    grant: Verified | Unverified,
    artifact: ModelArtifact,
    store: Store,
    destination: Path,
    *,
    selection: Selection,
    force: bool,
    previous: Mapping[str, int],
    meter: Meter,
) -> Unpacked:
    """Make the selected files of ``artifact`` appear at ``destination``.

    Args:
        force: replace what stands in the way.
        previous: files that an earlier pull put there; with ``force`` those no longer in the model are removed.

    Raises:
        UsageError: the destination holds something else, and ``force`` was not given.
        IntegrityError: a byte, a name or the set of files is not what the manifest promises.
        NotFoundError: nothing matches the selection, or a blob is missing.
    """
    assert grant.subject.digest == artifact.digest
    raw = [entry for entry in artifact.files if entry.is_raw and selection.wants(entry.path)]
    groups = [entry for entry in artifact.files if not entry.is_raw]
    if not raw and not groups:
        raise NotFoundError(
            "the artifact has no such files" if not selection.everything else "the artifact has no files",
            hint="ocimodel inspect REF lists them; see --include and --exclude.",
        )
    result = Unpacked()
    with staging.staging(destination, artifact.digest) as area:
        present = staging.listing(area.destination) if area.inside else {}
        kept = _matching(area.destination, raw, present, meter) if present else {}
        if present and not groups and not force:
            _refuse_foreign(area.destination, set(present) - set(kept))
        wanted = [entry for entry in raw if entry.path not in kept]
        staging.check_room(area.root, _missing(area, [*wanted, *groups]))
        jobs = [_job(area, entry, result) for entry in groups + wanted]
        fetch_all(store, jobs, meter)
        names = _all_names(raw, result)
        check_distinct(names)
        if present and groups and not force:
            kept |= _matching_members(area.destination, result, present)
            _refuse_foreign(area.destination, set(present) - set(kept))
        for name in kept:
            area.path(name).unlink(missing_ok=True)
        result.files = len(names)
        result.total_bytes = sum(names.values())
        result.fetched_bytes = sum(job.descriptor.size for job in jobs)
        result.unchanged = bool(present) and set(kept) == set(names)
        if force and area.inside:
            _make_way(area.destination, names, present, previous)
            foreign = set(present) - set(names) - set(previous)
            if foreign:
                result.warnings.append(
                    f"{len(foreign)} files in {destination} are not the model's; left alone"
                )
        roles = {entry.path: entry.role for entry in artifact.files}
        staging.publish(area, sorted(names, key=lambda name: _appears(name, roles)))
    return result


def _appears(name: str, roles: Mapping[str, str]) -> tuple[int, str]:
    role = roles.get(name, "doc")
    return (_LAST.index(role) if role in _LAST else len(_LAST), name)


def _job(area: staging.Staging, entry: FileEntry, result: Unpacked) -> Job:
    def keep(part: Path) -> None:
        target = area.path(entry.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, target)

    def untar(part: Path) -> None:
        result.members[str(entry.descriptor.digest)] = _extract(part, area)
        part.unlink()

    name = entry.path if entry.is_raw else f"{entry.descriptor.digest.hex}.tar"
    part = area.part(name)
    if entry.is_raw and area.path(name).exists():
        # Finished by a run that was killed: its bytes are hashed once more, as a part that lacks nothing.
        part.parent.mkdir(parents=True, exist_ok=True)
        os.replace(area.path(name), part)
    return Job(descriptor=entry.descriptor, name=name, part=part, finish=keep if entry.is_raw else untar)


def _extract(archive: Path, area: staging.Staging) -> dict[str, str]:
    found: dict[str, str] = {}
    with archive.open("rb") as file:
        for member in members(file):
            target = area.path(member.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            hasher = hashlib.sha256()
            with target.open("wb") as out:
                for block in member.blocks():
                    hasher.update(block)
                    out.write(block)
            found[member.path] = hasher.hexdigest()
    return found


def _missing(area: staging.Staging, entries: list[FileEntry]) -> int:
    total = 0
    for entry in entries:
        size = entry.descriptor.size
        for path in (area.path(entry.path), area.part(entry.path)) if entry.is_raw else ():
            if path.exists():
                size -= min(size, path.stat().st_size)
        total += size
    return total


def _all_names(raw: list[FileEntry], result: Unpacked) -> dict[str, int]:
    names = {entry.path: entry.descriptor.size for entry in raw}
    for files in result.members.values():
        ...
    return names


def _matching(
    directory: Path, entries: list[FileEntry], present: Mapping[str, os.stat_result], meter: Meter
) -> set[str]:
    """The names of those files that stand at the destination already, byte for byte."""
    sizes = {
        entry.path: entry.descriptor.size
        for entry in entries
        if entry.path in present
        and stat.S_ISREG(present[entry.path].st_mode)
        and present[entry.path].st_size == entry.descriptor.size
    }
    digests = hash_files(directory, sizes, meter, title="comparing")
    return {entry.path for entry in entries if digests.get(entry.path) == entry.descriptor.digest}


def _refuse_foreign(destination: Path, foreign: set[str]) -> None:
    if foreign:
        name = min(foreign)
        raise UsageError(
            f"{destination} is not empty: {name} is not this model's, or was changed",
            hint="Choose another -o DIR, or replace what is there with --force.",
        )
