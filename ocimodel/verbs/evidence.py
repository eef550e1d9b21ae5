"""Collects what is said about an artifact, for the policy to judge: its referrers, and cosign's legacy tags.

Guarantees: at most 128 candidates and 16 MiB of them are read, those whose descriptor names a trusted key first,
each layer of a legacy manifest counting for itself; one that is missing, damaged or too large is kept as evidence
of just that and spoils nothing. A store that does not answer (75, 77) is an error, never "unsigned". It decides
nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ocimodel.attest import legacy
from ocimodel.attest.referrer import signature_format, signature_layer
from ocimodel.errors import FormatError, IntegrityError, NotFoundError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.manifest import Manifest
from ocimodel.stores.protocol import Store, read_blob
from ocimodel.transfer.receipt import Document
from ocimodel.trust.evidence import (
    FAIR_SHARE,
    MAX_CANDIDATES,
    MAX_TOTAL_BYTES,
    Candidate,
    Evidence,
    order,
    read_candidate,
)
from ocimodel.trust.recognition import needs_files, recognise
from ocimodel.verbs.legacy import tagged

_READERS = 4


@dataclass(frozen=True, slots=True)
class _Large:
    """A candidate that exceeds its fair share, and is read where room is left at the end."""

    manifest: bytes
    layer: Descriptor


@dataclass(frozen=True, slots=True)
class _Layers:
    """A legacy manifest: its layers are the candidates."""

    layers: Sequence[Descriptor]


_Fetched = Document | _Large | _Layers | str
"""What was fetched, or what is wrong with it."""


def gather(
    store: Store, subject: Descriptor, name: str, trusted: Collection[str]
) -> tuple[Evidence, tuple[Document, ...]]:
    """Fetch the candidates that refer to ``subject``, and the documents a receipt keeps of them.

    Args:
        name: the name that was asked for, without tag and digest.
        trusted: identifiers of trusted keys; only an order of reading, no judgement.
    """
    with ThreadPoolExecutor(max_workers=1) as beside:
        # Most artifacts have no legacy tags: nobody is to wait for the answer that there are none.
        by_tag = beside.submit(tagged, store, subject.digest)
        listed = store.referrers(subject.digest)
        found = by_tag.result()
    chosen, truncated = order([*listed.entries, *found.layers], trusted)
    fetched = list(zip(chosen, _fetch_all(store, chosen, subject), strict=True))
    more = _further(fetched, found.layers)
    fetched = [pair for pair in fetched if not isinstance(pair[1], _Layers)]
    room = MAX_CANDIDATES - len(fetched)
    further, _ = order(more, trusted)
    further = further[:room]
    fetched += zip(further, _fetch_all(store, further, subject), strict=True)
    candidates, documents = _read(store, fetched, subject)
    if needs_files(candidates):
        candidates = recognise(candidates, store.get_manifest(subject.digest)[1])
    evidence = Evidence(
        subject=subject,
        name=name,
        candidates=(*found.damaged, *candidates),
        listed=len(listed.entries) + len(found.layers),
        truncated=truncated or not listed.complete or len(more) > room,
    )
    return evidence, tuple(documents)


def again(subject: Descriptor, name: str, documents: Sequence[Document], manifest: bytes) -> Evidence:
    """The evidence of a receipt: the same documents, read anew.

    Args:
        manifest: the bytes of ``subject``.
    """
    found = [read_candidate(item.descriptor, item.manifest, item.blob, subject) for item in documents]
    candidates = tuple(recognise(found, manifest))
    return Evidence(subject=subject, name=name, candidates=candidates, listed=len(candidates))


def _read(
    store: Store, fetched: Sequence[tuple[Descriptor, _Fetched]], subject: Descriptor
) -> tuple[list[Candidate], list[Document]]:
    left = MAX_TOTAL_BYTES
    candidates: list[Candidate] = []
    documents: list[Document] = []
    for entry, what in fetched:
        found = _with_blob(store, entry, what, left) if isinstance(what, _Large) else what
        if isinstance(found, Document):
            left -= _size(found.manifest, entry) + len(found.blob)
            documents.append(found)
            candidates.append(read_candidate(entry, found.manifest, found.blob, subject))
        elif isinstance(found, str):
            candidates.append(Candidate.unreadable(entry, found))
    return candidates, documents


def _further(fetched: Sequence[tuple[Descriptor, _Fetched]], known: Sequence[Descriptor]) -> list[Descriptor]:
    """Layers of legacy referrers, each once: cosign repeats there what stands under the tag."""
    seen = list(known)
    for _, what in fetched:
        if isinstance(what, _Layers):
            seen += [layer for layer in what.layers if layer not in seen]
    return seen[len(known) :]


def _fetch_all(store: Store, entries: Sequence[Descriptor], subject: Descriptor) -> list[_Fetched]:
    if len(entries) < 2:
        return [_fetch(store, entry, subject) for entry in entries]
    with ThreadPoolExecutor(max_workers=_READERS) as pool:
        return list(pool.map(lambda entry: _fetch(store, entry, subject), entries))


def _fetch(store: Store, entry: Descriptor, subject: Descriptor) -> _Fetched:
    try:
        if entry.media_type in legacy.LAYERS:
            raw, layer = b"", entry
        else:
            _, raw = store.get_manifest(entry.digest)
            manifest = Manifest.from_bytes(raw)
            if signature_format(manifest) == legacy.FORMAT and _is_of(manifest, subject):
                return _Layers(legacy.layers_of(raw)[0])
            found = signature_layer(manifest)
            if found is None:
                return Document(descriptor=entry, manifest=raw, blob=b"")
            layer = found
        if _size(raw, entry) + layer.size > FAIR_SHARE:
            return _Large(raw, layer)
        blob = read_blob(store, layer, limit=FAIR_SHARE, what="signature")
    except (IntegrityError, NotFoundError) as error:
        return error.message
    return Document(descriptor=entry, manifest=raw, blob=blob)


def _with_blob(store: Store, entry: Descriptor, found: _Large, left: int) -> Document | str:
    try:
        if _size(found.manifest, entry) + found.layer.size > left:
            raise FormatError(f"does not fit into the {MAX_TOTAL_BYTES} bytes that are read of all candidates")
        blob = read_blob(store, found.layer, limit=left, what="signature")
    except (IntegrityError, NotFoundError) as error:
        return error.message
    return Document(descriptor=entry, manifest=found.manifest, blob=blob)


def _size(manifest: bytes, entry: Descriptor) -> int:
    """Bytes of what says where the signature is: a manifest, or the annotations of a legacy layer."""
    return len(manifest) or sum(len(key) + len(value) for key, value in entry.annotations.items())


def _is_of(manifest: Manifest, subject: Descriptor) -> bool:
    return manifest.subject is not None and manifest.subject.digest == subject.digest
