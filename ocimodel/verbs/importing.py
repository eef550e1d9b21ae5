"""Import: a model that another tool keeps on this disk becomes an artifact, from where it lies.

Guarantees: nothing is copied but into the store; what the cache calls a file's SHA-256 is computed while the file
is read, and has to agree. The same files under the same names and the same record give the digest that `push` of
a directory gives. The record says where the model comes from as the cache does, and nothing of this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ocimodel.errors import UsageError
from ocimodel.model import hubcache, ollamacache
from ocimodel.model.kept import Kept
from ocimodel.record.record import Material, Record

CACHES: Mapping[str, Callable[[str], Kept]] = {"hf": hubcache.find, "ollama": ollamacache.find}


def find(source: str) -> Kept:
    """What ``hf:…`` or ``ollama:…`` names. Raises UsageError, and what `hubcache` and `ollamacache` raise."""
    kind, _, place = source.partition(":")
    if kind not in CACHES or not place:
        raise UsageError(
            f"{source[:200]!r} names no cache", hint="Write hf:DIR or hf:ORG/NAME, ollama:DIR:NAME or ollama:NAME."
        )
    return CACHES[kind](place)


def origin(kept: Kept) -> Record:
    """Where it comes from, as a record of what went into the artifact."""
    source = Material.of("source", name=kept.name, uri=kept.uri, digests=kept.digest, recorded_by=kept.keeper)
    return Record(materials=(source,))
