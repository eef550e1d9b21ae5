"""Collects what is said about an artifact, for the policy to judge.

Guarantees: at most 128 candidates and 16 MiB of them are read, those whose descriptor names a trusted key first;
one that is missing, damaged or too large is kept as evidence of just that and spoils nothing. A store that does
not answer (75, 77) is an error, never "unsigned". It decides nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from ocimodel.attest.referrer import signature_layer
from ocimodel.errors import FormatError, IntegrityError, NotFoundError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.manifest import Manifest
from ocimodel.stores.protocol import Store, read_blob
from ocimodel.transfer.receipt import Document
from ocimodel.trust.evidence import FAIR_SHARE, MAX_TOTAL_BYTES, Candidate, Evidence, order, read_candidate

_READERS = 4


def gather(
    store: Store, subject: Descriptor, name: str, trusted: Collection[str]
) -> tuple[Evidence, tuple[Document, ...]]:
    """Fetch the candidates that refer to ``subject``, and the documents a receipt keeps of them.

    Args:
        name: the name that was asked for, without tag and digest.
        trusted: identifiers of trusted keys; only an order of reading, no judgement.
    """
    listed = store.referrers(subject.digest)
    chosen, truncated = order(listed.entries, trusted)
    fetched = _fetch_all(store, chosen)
    left = MAX_TOTAL_BYTES
    candidates: list[Candidate] = []
    documents: list[Document] = []
    for entry, found in zip(chosen, fetched, strict=True):
        if isinstance(found, Manifest):  # too large to be fetched along with the others
            found = _with_blob(store, entry, found, left)
        if isinstance(found, str):
            candidates.append(Candidate.unreadable(entry, found))
            continue
        left -= len(found.manifest) + len(found.blob)
        documents.append(found)
        candidates.append(read_candidate(entry, found.manifest, found.blob))
    evidence = Evidence(
        subject=subject,
        name=name,
        candidates=tuple(candidates),
        listed=len(listed.entries),
        truncated=truncated or not listed.complete,
    )
    return evidence, tuple(documents)


def again(subject: Descriptor, name: str, documents: Sequence[Document]) -> Evidence:
    """The evidence of a receipt: the same documents, read anew."""
    candidates = tuple(read_candidate(item.descriptor, item.manifest, item.blob) for item in documents)
    return Evidence(subject=subject, name=name, candidates=candidates, listed=len(candidates))


def _fetch_all(store: Store, entries: Sequence[Descriptor]) -> list[Document | Manifest | str]:
    """A document each; a manifest whose layer exceeds its fair share; or what is wrong with it."""
    if len(entries) < 2:
        return [_fetch(store, entry) for entry in entries]
    with ThreadPoolExecutor(max_workers=_READERS) as pool:
        return list(pool.map(lambda entry: _fetch(store, entry), entries))


def _fetch(store: Store, entry: Descriptor) -> Document | Manifest | str:
    try:
        _, raw = store.get_manifest(entry.digest)
        manifest = Manifest.from_bytes(raw)
        layer = signature_layer(manifest)
        if layer is not None and len(raw) + layer.size > FAIR_SHARE:
            return manifest
        blob = read_blob(store, layer, limit=FAIR_SHARE, what="signature") if layer else b""
    except (IntegrityError, NotFoundError) as error:
        return error.message
    return Document(descriptor=entry, manifest=raw, blob=blob)


def _with_blob(store: Store, entry: Descriptor, manifest: Manifest, left: int) -> Document | str:
    layer = signature_layer(manifest)
    try:
        if layer is None or len(manifest.raw) + layer.size > left:
            raise FormatError(f"does not fit into the {MAX_TOTAL_BYTES} bytes that are read of all candidates")
        blob = read_blob(store, layer, limit=left, what="signature")
    except (IntegrityError, NotFoundError) as error:
        return error.message
    return Document(descriptor=entry, manifest=manifest.raw, blob=blob)
