"""What earlier pulls left on this machine, as bases for the next one.

Guarantees: only receipts in the state directory and directories that the user names are looked at, the latest
first and at most 32. Whatever is wrong with one of them, it is passed over: a base only saves transfers.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ocimodel.errors import OcimodelError
from ocimodel.model.artifact import ModelArtifact
from ocimodel.model.chunkindex import ChunkIndex
from ocimodel.oci.manifest import Manifest
from ocimodel.transfer import receipt as receipts
from ocimodel.transfer.bases import Bases
from ocimodel.transfer.receipt import Receipt

MAX_RECEIPTS = 32


def local_bases(state: Path, algorithm: str, named: Sequence[Path] = ()) -> Bases:
    """Everything that earlier pulls offer. ``named`` directories come first; they need receipts, too."""
    bases = Bases(algorithm=algorithm)
    for directory in named:
        with suppress(OcimodelError):
            _add(bases, receipts.read(state, directory))
    for path in _latest(state):
        with suppress(OcimodelError, OSError):
            _add(bases, Receipt.from_bytes(path.read_bytes()))
    return bases


def _latest(state: Path) -> list[Path]:
    with suppress(OSError):
        found = [(path.stat().st_mtime_ns, path) for path in (state / "receipts").glob("*.json")]
        return [path for _, path in sorted(found, reverse=True)[:MAX_RECEIPTS]]
    return []


def _add(bases: Bases, receipt: Receipt) -> None:
    manifest = Manifest.from_bytes(receipt.manifest, receipt.media_type)
    index = ChunkIndex.named_by(manifest, receipt.index)
    for entry in ModelArtifact.of(manifest).files:
        if entry.is_raw:
            path = Path(receipt.directory) / entry.path
            bases.add(path, entry.descriptor.digest, entry.descriptor.size, index)
