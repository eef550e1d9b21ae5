"""What earlier pulls left on this machine, as bases for the next one.

The cache remembers where copies of models are, and may hold blobs of its own (`transfer.cache`). Guarantees: only
the cache directory that the caller has checked, and directories that the user names are looked at, the latest first
and at most 32 of them, and at most 256 blobs. Whatever is wrong with one of them, it is passed over: a base only
saves transfers, and whoever takes its bytes hashes them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ocimodel import jsonio
from ocimodel.errors import OcimodelError
from ocimodel.model.artifact import ModelArtifact
from ocimodel.model.chunkindex import ChunkIndex
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest
from ocimodel.stores.layout import LayoutStore
from ocimodel.transfer import receipt as receipts
from ocimodel.transfer.bases import Bases
from ocimodel.transfer.cache import kept_index
from ocimodel.transfer.places import CHUNKS, LAYOUT, PULLED
from ocimodel.transfer.receipt import Receipt
from ocimodel.transfer.staging import write_atomically

MAX_REMEMBERED = 32
MAX_BLOBS = 256


def remember(cache: Path | None, receipt: Receipt) -> None:
    """Note that a directory holds this artifact. Best effort."""
    if cache is None:
        return
    data = jsonio.canonical(replace(receipt, referrers=()).to_dict())
    name = hashlib.sha256(os.fsencode(receipt.directory)).hexdigest()[:32]
    with suppress(OcimodelError):
        write_atomically(cache / PULLED / f"{name}.json", data)
        for path in _latest(cache)[MAX_REMEMBERED:]:
            path.unlink(missing_ok=True)


def local_bases(cache: Path | None, algorithm: str, named: Sequence[Path], state: Path) -> Bases:
    """Everything that earlier pulls offer.

    Args:
        cache: the cache directory, ours and nobody else's; None: only what is named.
        named: directories with receipts in ``state``; they come first.
    """
    bases = Bases(algorithm=algorithm)
    for directory in named:
        with suppress(OcimodelError):
            _add(bases, receipts.read(state, directory))
    if cache is not None:
        for path in _latest(cache)[:MAX_REMEMBERED]:
            with suppress(OcimodelError, OSError):
                _add(bases, Receipt.from_bytes(path.read_bytes()))
        _add_cached(bases, cache)
    return bases


def _latest(cache: Path) -> list[Path]:
    with suppress(OSError):
        found = [(path.stat().st_mtime_ns, path) for path in (cache / PULLED).glob("*.json")]
        return [path for _, path in sorted(found, reverse=True)]
    return []


def _add_cached(bases: Bases, cache: Path) -> None:
    """The chunks of blobs in the cache whose indexes were kept."""
    layout = LayoutStore(cache / LAYOUT)
    used: list[tuple[int, Path]] = []
    for path in (cache / CHUNKS).glob(f"{bases.algorithm}-*.json"):
        with suppress(OSError):
            used.append((path.stat().st_mtime_ns, path))
    for _, path in sorted(used, reverse=True)[:MAX_BLOBS]:
        with suppress(OcimodelError, OSError):
            digest = Digest.parse(f"sha256:{path.stem.rpartition('-')[2]}")
            blob = layout.blob_path(digest)
            layer = kept_index(cache, digest, blob.lstat().st_size, bases.algorithm)
            if layer is not None:
                bases.add_chunks(blob, layer)


def _add(bases: Bases, receipt: Receipt) -> None:
    manifest = Manifest.from_bytes(receipt.manifest, receipt.media_type)
    index = ChunkIndex.named_by(manifest, receipt.index)
    for entry in ModelArtifact.of(manifest).files:
        if entry.is_raw:
            path = Path(receipt.directory) / entry.path
            bases.add(path, entry.descriptor.digest, entry.descriptor.size, index)
