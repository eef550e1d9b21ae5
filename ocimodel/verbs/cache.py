"""What the cache directory holds.

    digests.sqlite    SHA-256 of files that were read before (`transfer.digests`)
    chunks/           chunk indexes of files that were pushed, or are in the layout (`verbs.indexing`)
    pulled/           where earlier pulls put what, to take bytes from (`transfer.earlier`)
    layout/           blobs, as an OCI image layout (`transfer.cache`)
    quarantine/       blobs that were found damaged

Guarantees: looking makes nothing, and never fails about what lies there. A directory that others could write to is
used by no command; it is reported, and not read.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from ocimodel.errors import OcimodelError
from ocimodel.model.artifact import ModelArtifact
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest
from ocimodel.stores.files import DRAFTS
from ocimodel.stores.layout import INDEX, LayoutStore
from ocimodel.stores.layout_index import LayoutIndex
from ocimodel.transfer.digests import why_ignored
from ocimodel.transfer.places import CHUNKS, LAYOUT, PULLED, QUARANTINE, USED
from ocimodel.transfer.receipt import Receipt

DATABASE = "digests.sqlite"
HALF_WRITTEN = 3600.0
"""Seconds after which a temporary file was left by a writer that is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of the cache.

    ``kind`` is ``blob``, ``digests``, ``chunk-index``, ``pulled``, ``quarantine`` or ``other``. ``subject`` is what
    it is about: a blob's digest, the layer of a chunk index, the directory of a pull. ``reference`` is what was
    pulled, ``name`` a blob's file in that. ``used`` is when a blob was last used, or another file written.
    ``links`` are other names of the file, in pulled directories. ``exists`` is of pulls: whether the directory is
    still there. ``count`` is of digests.
    """

    kind: str
    path: Path
    size: int
    used: float
    subject: str = ""
    reference: str = ""
    name: str = ""
    exists: bool = True
    count: int = 0
    links: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """``ignored`` says why no command uses the directory, ``open_to`` who may read it; empty where all is well."""

    directory: Path
    ignored: str
    open_to: str
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)


def show(directory: Path) -> Contents:
    """What is in the cache; nothing where it does not exist. Never raises about what lies in it."""
    ignored = why_ignored(directory)
    entries = () if ignored else tuple(_entries(directory))
    return Contents(directory=directory, ignored=ignored, open_to=_open_to(directory), entries=entries)


def _open_to(directory: Path) -> str:
    """Others may enter: digests, which decide what is signed, are neither read from there nor written."""
    with suppress(OSError):
        mode = stat.S_IMODE(directory.lstat().st_mode)
        if mode & 0o077:
            return f"its mode is {mode:04o}"
    return ""


def _entries(directory: Path) -> Iterator[Entry]:
    for path, status in _files(directory):
        if path.name.startswith(DATABASE):
            count = _count(path) if path.name == DATABASE else 0
            yield Entry(kind="digests", path=path, size=status.st_size, used=status.st_mtime, count=count)
    for path, status in _files(directory / CHUNKS):
        algorithm, _, encoded = path.name.removesuffix(".json").partition("-")
        if path.suffix == ".json" and algorithm and len(encoded) == len(Digest.of(b"").hex):
            subject = f"sha256:{encoded}"
            yield Entry(kind="chunk-index", path=path, size=status.st_size, used=status.st_mtime, subject=subject)
        else:
            yield from _left_over(path, status)
    receipts: list[Receipt] = []
    for path, status in _files(directory / PULLED):
        if path.suffix == ".json":
            yield _pull(path, status, receipts)
        else:
            yield from _left_over(path, status)
    yield from _blobs(directory, _about(directory, receipts))
    for path, status in _files(directory / QUARANTINE):
        subject = path.name.partition(".")[0].replace("-", ":")
        yield Entry(kind="quarantine", path=path, size=status.st_size, used=status.st_mtime, subject=subject)
    for path, status in _files(directory / LAYOUT / DRAFTS):
        if time.time() - status.st_mtime > HALF_WRITTEN:
            yield Entry(kind="other", path=path, size=status.st_size, used=status.st_mtime)


def _blobs(directory: Path, about: Mapping[str, tuple[str, str]]) -> Iterator[Entry]:
    for algorithm in ("sha256", "sha512"):
        for path, status in _files(directory / LAYOUT / "blobs" / algorithm):
            used = status.st_mtime
            with suppress(OSError):
                used = (directory / USED / f"{algorithm}-{path.name}").stat().st_mtime
            reference, name = about.get(f"{algorithm}:{path.name}", ("", ""))
            yield Entry(
                kind="blob",
                path=path,
                size=status.st_size,
                used=used,
                subject=f"{algorithm}:{path.name}",
                reference=reference,
                name=name,
                links=status.st_nlink - 1,
            )


def _about(directory: Path, receipts: Sequence[Receipt]) -> dict[str, tuple[str, str]]:
    """What the blobs are: of which model, and which file of it."""
    manifests = [("", manifest) for manifest in listed(LayoutStore(directory / LAYOUT))]
    for receipt in receipts:
        with suppress(OcimodelError):
            manifests.insert(0, (receipt.reference, Manifest.from_bytes(receipt.manifest, receipt.media_type)))
    found: dict[str, tuple[str, str]] = {}
    for reference, manifest in manifests:
        with suppress(OcimodelError):
            artifact = ModelArtifact.of(manifest)
            names = {str(entry.descriptor.digest): entry.path for entry in artifact.files}
            if artifact.provenance is not None:
                names[str(artifact.provenance.digest)] = "provenance"
            names[str(manifest.config.digest)] = "config"
            names[manifest.annotations.get(media.CHUNK_INDEX_ANNOTATION, "")] = "chunk index"
            names[str(artifact.digest)] = "manifest"
            for digest, name in names.items():
                found.setdefault(digest, (reference, name))
    return found


def listed(layout: LayoutStore) -> Iterator[Manifest]:
    """The manifests that the layout lists, as far as they can be read."""
    with suppress(OSError, OcimodelError):
        index = LayoutIndex.from_bytes((layout.path / INDEX).read_bytes())
        for entry in index.entries:
            with suppress(OcimodelError):
                descriptor, raw = layout.get_manifest(entry.descriptor.digest)
                yield Manifest.from_bytes(raw, descriptor.media_type)


def _files(directory: Path) -> list[tuple[Path, os.stat_result]]:
    found: list[tuple[Path, os.stat_result]] = []
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_file(follow_symlinks=False):
                    found.append((Path(entry.path), entry.stat(follow_symlinks=False)))
    return sorted(found, key=lambda item: item[0].name)


def _left_over(path: Path, status: os.stat_result) -> Iterator[Entry]:
    """A temporary file, once whoever wrote it must be gone."""
    if path.name.endswith(".tmp") and time.time() - status.st_mtime > HALF_WRITTEN:
        yield Entry(kind="other", path=path, size=status.st_size, used=status.st_mtime)


def _pull(path: Path, status: os.stat_result, receipts: list[Receipt]) -> Entry:
    subject = reference = ""
    exists = False  # one that cannot be read is of no use either
    with suppress(OSError, OcimodelError):
        receipt = Receipt.from_bytes(path.read_bytes())
        receipts.append(receipt)
        subject, reference = receipt.directory, receipt.reference
        exists = Path(subject).is_dir()
    return Entry(
        kind="pulled",
        path=path,
        size=status.st_size,
        used=status.st_mtime,
        subject=subject,
        reference=reference,
        exists=exists,
    )


def _count(path: Path) -> int:
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=2)) as database,
    ):
        return int(database.execute("select count(*) from digests").fetchone()[0])
    return 0
