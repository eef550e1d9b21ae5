"""What earlier pulls left on this machine, as bases for the next one.

The cache keeps no second copy of a model: it remembers where copies are. Guarantees: only the user's own cache
directory (mode 0700, as for the digest cache) and directories that the user names are looked at, the latest
first and at most 32 of them. Whatever is wrong with one of them, it is passed over: a base only saves transfers,
and whoever takes its bytes hashes them.
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
from ocimodel.oci.manifest import Manifest
from ocimodel.transfer import receipt as receipts
from ocimodel.transfer.bases import Bases
from ocimodel.transfer.digests import is_ours
from ocimodel.transfer.receipt import Receipt
from ocimodel.transfer.staging import write_atomically

MAX_REMEMBERED = 32
_PLACE = "pulled"


def remember(cache: Path | None, receipt: Receipt) -> None:
    """Note that a directory holds this artifact. Best effort."""
    if cache is None or not is_ours(cache):
        return
    data = jsonio.canonical(replace(receipt, referrers=()).to_dict())
    name = hashlib.sha256(os.fsencode(receipt.directory)).hexdigest()[:32]
    with suppress(OcimodelError):
        write_atomically(cache / _PLACE / f"{name}.json", data)
        for path in _latest(cache)[MAX_REMEMBERED:]:
            path.unlink(missing_ok=True)


def local_bases(cache: Path | None, algorithm: str, named: Sequence[Path], state: Path) -> Bases:
    """Everything that earlier pulls offer.

    Args:
        cache: the cache directory; None: only what is named.
        named: directories with receipts in ``state``; they come first.
    """
    bases = Bases(algorithm=algorithm)
    for directory in named:
        with suppress(OcimodelError):
            _add(bases, receipts.read(state, directory))
    if cache is not None and is_ours(cache):
        for path in _latest(cache)[:MAX_REMEMBERED]:
            with suppress(OcimodelError, OSError):
                _add(bases, Receipt.from_bytes(path.read_bytes()))
    return bases


def _latest(cache: Path) -> list[Path]:
    with suppress(OSError):
        found = [(path.stat().st_mtime_ns, path) for path in (cache / _PLACE).glob("*.json")]
        return [path for _, path in sorted(found, reverse=True)]
    return []


def _add(bases: Bases, receipt: Receipt) -> None:
    manifest = Manifest.from_bytes(receipt.manifest, receipt.media_type)
    index = ChunkIndex.named_by(manifest, receipt.index)
    for entry in ModelArtifact.of(manifest).files:
        if entry.is_raw:
            path = Path(receipt.directory) / entry.path
            bases.add(path, entry.descriptor.digest, entry.descriptor.size, index)
