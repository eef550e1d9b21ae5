"""A directory held against the manifest that it was pulled by.

Guarantees: every file is accounted for, in both directions. A file counts only when it is a regular file with
the size and SHA-256 of its layer; files that came in an archive count when the archive, made again from them,
has its layer's digest. What a receipt says of single files only helps to name the bad one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ocimodel.errors import IntegrityError, NotFoundError, Reason
from ocimodel.model.artifact import FileEntry, ModelArtifact
from ocimodel.model.chunkindex import ChunkIndex, LayerIndex
from ocimodel.model.scan import Identity, ModelFile
from ocimodel.model.tarball import archive_size, open_archive
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.stores.protocol import Source
from ocimodel.transfer.hashing import check_chunks, hash_files
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.selection import Selection
from ocimodel.transfer.staging import listing
from ocimodel.transfer.upload import digest_of
from ocimodel.verbs.judging import Check

MAX_NAMED = 100
"""Problems that are named one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a directory should hold.

    ``files`` are layers of their own. ``archives`` have each the claimed SHA-256 of their files by name. The
    chunks of ``index`` may stand for the SHA-256 of a layer; the signature covers both. ``left_out`` are files of
    the artifact that were not selected, as far as is known; nothing but the receipt says so.
    """

    files: Mapping[str, Descriptor]
    archives: Mapping[Digest, Mapping[str, str]]
    index: ChunkIndex | None = None
    left_out: tuple[str, ...] = ()

    @property
    def names(self) -> set[str]:
        return set(self.files) | {name for members in self.archives.values() for name in members}


def expected_files(
    artifact: ModelArtifact,
    selection: Selection,
    members: Mapping[str, Mapping[str, str]],
    index: ChunkIndex | None,
) -> Expected:
    """What the files of ``artifact`` should be.

    Args:
        members: the files of each archive, by its digest, with their SHA-256: claims, not facts.

    Raises:
        NotFoundError: it cannot be told, since only parts of an archive were pulled.
    """
    archives = [entry for entry in artifact.files if not entry.is_raw]
    for entry in archives:
        known = members.get(str(entry.descriptor.digest))
        wanted = [name for name in known or () if selection.wants(name)]
        if not known or not entry.is_ours or len(wanted) not in (0, len(known)):
            raise NotFoundError(
                f"the files of {entry.path} cannot be checked without that archive",
                hint="Name what the directory was pulled from: ocimodel verify DIR --ref HOST/REPOSITORY@DIGEST.",
            )
    return Expected(
        files={
            entry.path: entry.descriptor for entry in artifact.files if entry.is_raw and selection.wants(entry.path)
        },
        archives={
            entry.descriptor.digest: chosen
            for entry in archives
            if (chosen := _selected(entry, members, selection))
        },
        index=index,
        left_out=left_out(
            [
                *(entry.path for entry in artifact.files if entry.is_raw),
                *(name for entry in archives for name in members[str(entry.descriptor.digest)]),
            ],
            selection,
        ),
    )


def left_out(names: Iterable[str], selection: Selection) -> tuple[str, ...]:
    """Those of ``names`` that were not asked for."""
    return tuple(name for name in names if not selection.wants(name))


def _selected(entry: FileEntry, members: Mapping[str, Mapping[str, str]], selection: Selection) -> dict[str, str]:
    found = members[str(entry.descriptor.digest)]
    return {name: digest for name, digest in found.items() if selection.wants(name)}


def check_directory(directory: Path, expected: Expected, meter: Meter, *, full: bool) -> list[Check]:
    """Hold ``directory`` against what it should be.

    Args:
        full: compute the SHA-256 of every file, and hold the index against the files as well.

    Raises:
        IntegrityError: its ``reasons`` name each file that is extra, missing, changed or not a file.
    """
    present = listing(directory)
    names = expected.names
    problems = [_problem("extra-file", name, "is not the model's") for name in sorted(present.keys() - names)]
    problems += [_problem("missing-file", name, "is missing") for name in sorted(names - present.keys())]
    sizes: dict[str, int] = {}
    for name in sorted(names & present.keys()):
        mode, size = present[name].st_mode, present[name].st_size
        wanted = expected.files.get(name)
        if not stat.S_ISREG(mode):
            problems.append(_problem("not-a-file", name, _kind(mode)))
        elif wanted is not None and wanted.size != size:
            problems.append(_problem("changed-file", name, f"has {size} bytes instead of {wanted.size}"))
        else:
            sizes[name] = size
    chunked = _chunked(expected, sizes)
    problems += _bad_chunks(directory, expected, chunked, meter)
    whole = {name: size for name, size in sizes.items() if full or name not in chunked}
    digests = hash_files(directory, whole, meter, title="verifying")
    for name in whole:
        wanted = expected.files.get(name)
        if wanted is not None and digests[name] != wanted.digest:
            problems.append(_problem("changed-file", name, f"has {digests[name]} instead of {wanted.digest}"))
    for digest, members in expected.archives.items():
        problems += _check_archive(directory, digest, members, digests)
    if problems:
        raise _refusal(directory, problems)
    checks = [*_passed(sizes, whole, chunked, expected), Check("set", "pass", "nothing missing, nothing extra")]
    if expected.left_out:
        names_left = ", ".join(expected.left_out[:MAX_NAMED])
        how = f"not pulled, so not looked for: {len(expected.left_out)} of the artifact's files ({names_left})"
        checks.append(Check("selection", "skip", how))
    return checks


def _chunked(expected: Expected, sizes: Mapping[str, int]) -> dict[str, LayerIndex]:
    """The files whose chunks can speak for them."""
    if expected.index is None:
        return {}
    layers = expected.index.layers
    return {
        name: layers[expected.files[name].digest]
        for name in sizes
        if name in expected.files and expected.files[name].digest in layers
    }


def _bad_chunks(
    directory: Path, expected: Expected, chunked: Mapping[str, LayerIndex], meter: Meter
) -> list[Reason]:
    if expected.index is None or not chunked:
        return []
    problems: list[Reason] = []
    for name, chunks in sorted(check_chunks(directory, chunked, expected.index.algorithm, meter).items()):
        first = chunks[0]
        tensors = chunked[name].tensors_at(first.start, first.stop)
        where = f" (tensor {', '.join(tensors[:3])})" if tensors else ""
        more = f", and {len(chunks) - 1} more places" if len(chunks) > 1 else ""
        problems.append(
            _problem("changed-file", name, f"was changed in bytes {first.start} to {first.stop}{where}{more}")
        )
    return problems


def _passed(
    sizes: Mapping[str, int],
    whole: Mapping[str, int],
    chunked: Mapping[str, LayerIndex],
    expected: Expected,
) -> list[Check]:
    checks: list[Check] = []
    if chunked and expected.index is not None:
        total = sum(sizes[name] for name in chunked)
        count = sum(len(layer.chunks) for layer in chunked.values())
        how = f"{len(chunked)} files, {total} bytes, by {count} chunks ({expected.index.algorithm})"
        checks.append(Check("chunks", "pass", how))
    if whole:
        how = f"{len(whole)} files, {sum(whole.values())} bytes, each by its SHA-256"
        checks.append(Check("files", "pass", how))
    return checks


def _check_archive(
    directory: Path, digest: Digest, members: Mapping[str, str], digests: Mapping[str, Digest]
) -> list[Reason]:
    if not members.keys() <= digests.keys():
        return []  # what is wrong has been named already
    changed = [name for name, claimed in members.items() if digests[name].hex != claimed]
    if changed:
        return [_problem("changed-file", name, f"has {digests[name]}") for name in sorted(changed)]
    files = [_as_packed(directory, name) for name in sorted(members, key=str.encode)]
    source = Source(size=archive_size(files), open=lambda: open_archive(files))
    if digest_of(source) != digest:
        return [Reason("integrity", "changed-group", f"files that came in the layer {digest} are not those of it")]
    return []


def _as_packed(directory: Path, name: str) -> ModelFile:
    status = os.lstat(directory / name)
    return ModelFile(
        path=name,
        size=status.st_size,
        role="doc",
        identity=Identity.of(status),
        location=directory / name,
    )


def _problem(reason: str, name: str, what: str) -> Reason:
    return Reason("integrity", reason, f"{name} {what}")


def _kind(mode: int) -> str:
    return "is a symbolic link" if stat.S_ISLNK(mode) else "is not a regular file"


def _refusal(directory: Path, problems: list[Reason]) -> IntegrityError:
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    error = IntegrityError(
        f"{directory} is not what was signed: {problems[0].detail}{more}",
        reason=problems[0].reason,
        hint="Pull it again into another directory, and find out who changed this one.",
    )
    error.reasons = tuple(problems[:MAX_NAMED])
    return error
