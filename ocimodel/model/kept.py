"""Models that other tools keep on this disk: what is found of one, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ocimodel.model.scan import ModelFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One version of a model in a cache.

    ``name``, ``uri`` and ``digest`` say where it comes from, as its cache does; nothing of this machine is in them.
    """

    files: tuple[ModelFile, ...] = field(repr=False)
    name: str
    uri: str
    digest: Mapping[str, str]
    version: str
    keeper: str
