"""Look into a model where it is: what it is, which tensors it has, of which types, without downloading weights.

Guarantees: of the files, the headers of weights and a few small documents are read, for at most `ALLOWANCE` bytes
less what manifest, config, provenance and chunk index took; what did not fit is a note. What is read has its
digest, but for headers that `Seen.checked` says ``no`` of. Files that are malformed or missing are problems, and
the rest is told. Nobody's signature is asked for: what the model says is its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ocimodel.errors import IntegrityError, NotFoundError
from ocimodel.model import overview as model
from ocimodel.model.artifact import FileEntry, ModelArtifact
from ocimodel.model.chunkindex import ChunkIndex
from ocimodel.model.facts import lenient
from ocimodel.model.frontmatter import front_matter
from ocimodel.model.overview import BaseModel, Documents, Overview
from ocimodel.model.provenance import Provenance
from ocimodel.oci import media
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store
from ocimodel.stores.protocol import Store, read_blob
from ocimodel.verbs.headers import Seen, see
from ocimodel.verbs.indexing import fetch_index
from ocimodel.verbs.inspect import Inspection, inspect_in
from ocimodel.verbs.tensors import has_tensors

ALLOWANCE = 1_900_000
"""Bytes that looking at a model moves, requests and answers' heads aside: less than 2 MiB."""
MOST_INDEX = 512 * 1024
"""Bytes of a chunk index. It tells how long headers are and what they must hash to, so it may cost so much."""
MOST_DOCUMENT = 256 * 1024
_RESERVE = 64 * 1024
_PINNED = re.compile(r"@(sha256:[0-9a-f]{64})$")

_FIRST = (model.CONFIG, model.CARD, model.ADAPTER)
_THEN = (model.TOKENIZER_CONFIG, model.TOKENIZER, model.INDEX)
"""Documents that are often long, so they are read from what headers leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRow:
    """The files of one role."""

    role: str
    files: int
    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """``overview`` is None for an index of several artifacts."""

    found: Inspection
    overview: Overview | None = None
    headers: tuple[Seen, ...] = ()
    roles: tuple[RoleRow, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[IntegrityError | NotFoundError, ...] = ()
    """Files that are not what they claim to be, or not there."""

    @property
    def complete(self) -> bool:
        """Whether every tensor of every file that has a header was read."""
        return all(seen.complete for seen in self.headers)


def look(reference: Reference, access: Access, *, whole_headers: bool = False) -> Look:
    """What ``reference`` names, and what is in it.

    Args:
        whole_headers: read headers to their ends, whatever they cost.

    Raises:
        what `inspect` raises.
    """
    with open_store(reference, access, mirrors=True) as store:
        found, artifact = inspect_in(store, reference)
        if artifact is None:
            return Look(found=found)
        problems: list[IntegrityError | NotFoundError] = []
        index, spent = _index(store, artifact, None if whole_headers else MOST_INDEX, problems)
        spent += artifact.manifest.descriptor.size + artifact.manifest.config.size
        spent += artifact.provenance.size if artifact.provenance else 0
        reading = _Reading(store, max(ALLOWANCE - spent, _RESERVE), problems)
        chosen = _documents(artifact)
        reading.read(chosen, _FIRST)
        weights = [entry for entry in artifact.files if entry.is_raw and has_tensors(entry.path)]
        headers = see(store, weights, index, None if whole_headers else reading.left)
        reading.left -= sum(seen.moved for seen in headers)
        reading.read(chosen, _THEN)
    documents = reading.documents()
    told = model.overview(
        {seen.path: seen.header for seen in headers if seen.problem is None},
        documents,
        found.config,
        complete=all(seen.complete for seen in headers),
    )
    return Look(
        found=found,
        overview=Overview(
            facts=told.facts,
            licenses=told.licenses,
            base_models=(*told.base_models, *_recorded(found.provenance)),
            types=told.types,
            notes=told.notes,
        ),
        headers=headers,
        roles=role_rows(artifact.files),
        notes=(*told.notes, *_remarks(headers), *reading.notes),
        problems=(*(seen.problem for seen in headers if seen.problem is not None), *problems),
    )


def role_rows(files: Sequence[FileEntry]) -> tuple[RoleRow, ...]:
    """How many files of each role there are, and their bytes; the most bytes first."""
    sizes: dict[str, list[int]] = {}
    for entry in files:
        row = sizes.setdefault(entry.role, [0, 0])
        row[0] += 1
        row[1] += entry.descriptor.size
    rows = [RoleRow(role=role, files=count, nbytes=nbytes) for role, (count, nbytes) in sizes.items()]
    return tuple(sorted(rows, key=lambda row: (-row.nbytes, row.role)))


def _remarks(headers: Sequence[Seen]) -> Iterator[str]:
    yield from (f"{seen.path}: {seen.note}" for seen in headers if seen.note)
    unchecked = sum(seen.complete and seen.checked == "no" and not seen.note for seen in headers)
    if unchecked:
        yield f"headers of files that no chunk index lists are not checked against a digest: {unchecked}"


def _documents(artifact: ModelArtifact) -> dict[str, FileEntry]:
    """The files that describe a model, by their usual names: those that lie nearest to the top."""
    found: dict[str, FileEntry] = {}
    wanted = {name.lower(): name for name in (*_FIRST, *_THEN)}
    for entry in sorted(artifact.files, key=lambda entry: (entry.path.count("/"), entry.path)):
        name = wanted.get(entry.path.rpartition("/")[2].lower())
        if name is not None and entry.is_raw:
            found.setdefault(name, entry)
    return found


@dataclass(slots=True)
class _Reading:
    """Small files, each whole and by its SHA-256."""

    store: Store
    left: int
    problems: list[IntegrityError | NotFoundError]
    raw: dict[str, bytes] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def read(self, chosen: Mapping[str, FileEntry], names: Sequence[str]) -> None:
        for name in names:
            entry = chosen.get(name)
            if entry is None:
                continue
            size = entry.descriptor.size
            # A tokenizer's settings may list every token; its vocabulary is worth less than that.
            most = self.left if name == model.TOKENIZER_CONFIG else min(MOST_DOCUMENT, self.left)
            if size > most:
                if name not in (model.TOKENIZER, model.INDEX):
                    self.notes.append(f"{entry.path} has {size} bytes: not read")
                continue
            self.left -= size
            try:
                self.raw[name] = read_blob(self.store, entry.descriptor, limit=size, what=entry.path)
                self.paths[name] = entry.path
            except (IntegrityError, NotFoundError) as error:
                self.problems.append(error)

    def documents(self) -> Documents:
        card = self.raw.pop(model.CARD, b"")
        return Documents(
            card=front_matter(card),
            json={name: lenient(raw) for name, raw in self.raw.items()},
            paths=self.paths,
        )


def _index(
    store: Store, artifact: ModelArtifact, most: int | None, problems: list[IntegrityError | NotFoundError]
) -> tuple[ChunkIndex | None, int]:
    """The chunk index, where there is one that is good and not too long, and the bytes it took."""
    try:
        raw = fetch_index(store, artifact.manifest, most=most)
        return ChunkIndex.named_by(artifact.manifest, raw), len(raw or b"")
    except (IntegrityError, NotFoundError) as error:
        problems.append(error)
        return None, MOST_INDEX


def _recorded(provenance: Provenance | None) -> tuple[BaseModel, ...]:
    """The base models that the record names."""
    if provenance is None or provenance.predicate_type != media.SLSA_PROVENANCE:
        return ()
    listed = _object(provenance.predicate.get("buildDefinition")).get("resolvedDependencies")
    found: list[BaseModel] = []
    for item in map(_object, listed if isinstance(listed, list) else []):
        notes, stated = _object(item.get("annotations")), _string(_object(item.get("digest")).get("sha256"))
        if notes.get("role") == "base-model" and len(found) < model.MAX_LISTED:
            name = _string(item.get("uri")) or _string(item.get("name"))
            pinned = _PINNED.search(name)
            found.append(
                BaseModel(
                    name=model.cut(name),
                    source="provenance",
                    relation=model.cut(_string(notes.get("relation"))),
                    digest=f"sha256:{model.cut(stated)}" if stated else pinned[1] if pinned else "",
                )
            )
    return tuple(found)


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
