"""What is to be fetched: a blob, where its bytes gather, and what happens to the checked file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ocimodel.model.chunkindex import LayerIndex
from ocimodel.oci.descriptor import Descriptor

RESUMES = 5
"""How often a broken stream is taken up again without a new byte having come, before the store counts as gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One blob. ``finish`` is called with the part once its bytes are checked; ``name`` is for messages.

    ``index`` tells its chunks, whose digests are made by ``algorithm``, where the artifact has an index.
    ``places`` is where the file lies from then on, one after the other; empty where it is unpacked and removed.
    """

    descriptor: Descriptor
    name: str
    part: Path
    finish: Callable[[Path], None]
    index: LayerIndex | None = None
    algorithm: str = "blake3"
    places: tuple[Path, ...] = ()
