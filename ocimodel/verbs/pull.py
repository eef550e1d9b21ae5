"""Pull: judge, then fetch, check every byte, then let the directory appear.

Guarantees: the tag is resolved once. With a policy, signatures come first and no layer byte is requested before
the whole verdict has passed. What is delivered is checked, and so are the config and the provenance, which are
no files. The destination appears complete or not at all, and the receipt is written last.
Without a policy the caller gets the files and is told, by ``verdict`` being None, that nobody vouched for them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from ocimodel.errors import NotFoundError, OcimodelError, UsageError
from ocimodel.model.artifact import ModelArtifact
from ocimodel.model.chunkindex import ChunkIndex
from ocimodel.model.provenance import MAX_BYTES as MAX_PROVENANCE
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store, target_of
from ocimodel.stores.protocol import Store, nearby, read_blob
from ocimodel.transfer import receipt as receipts
from ocimodel.transfer.cache import Cache, Mode, Verify, open_cache
from ocimodel.transfer.documents import Documents
from ocimodel.transfer.earlier import local_bases, remember
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.places import state_dir, usable_cache_dir
from ocimodel.transfer.receipt import Document, Receipt
from ocimodel.transfer.selection import Selection
from ocimodel.transfer.sharing import Alone, Sharing
from ocimodel.transfer.staging import write_atomically
from ocimodel.trust.claims import format_time
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.verdict import Verdict, Verified
from ocimodel.verbs import remembering
from ocimodel.verbs.blobs import check_blob
from ocimodel.verbs.deciding import decide
from ocimodel.verbs.evidence import gather
from ocimodel.verbs.indexing import fetch_index
from ocimodel.verbs.judging import asked_tag, judged_name, signed_manifest
from ocimodel.verbs.oms import bundle_among
from ocimodel.verbs.screening import Screen
from ocimodel.verbs.unpack import Unpacked, Unverified, unpack

CacheMode = Literal[Mode, "off"]

_NO_CONTEXT: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """``verdict`` is None where nobody was asked: the files are whole, and unverified."""

    reference: Reference
    digest: Digest
    destination: Path
    verdict: Verdict | None
    files: int
    total_bytes: int
    fetched_bytes: int
    copied_bytes: int
    unchanged: bool
    receipt: Path
    warnings: tuple[str, ...]


def pull(
    reference: Reference,
    destination: Path,
    *,
    policy: TrustPolicy | None,
    access: Access,
    meter: Meter | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    force: bool = False,
    base: Sequence[Path] = (),
    cache: CacheMode = "auto",
    cache_verify: Verify = "always",
    receipt: Path | None = None,
    provenance_out: Path | None = None,
    oms_out: Path | None = None,
    name: str | None = None,
    context: Mapping[str, str] = _NO_CONTEXT,
    max_rate: float | None = None,
    now: datetime | None = None,
) -> Pulled:
    """Fetch what ``reference`` names into ``destination``.

    Args:
        policy: who must have signed; None fetches unverified.
        include, exclude: globs over the files' names (`transfer.selection`).
        base: directories pulled earlier whose bytes are used first.
        cache: how models are kept for other pulls (`transfer.cache`); ``off``: use and remember nothing.
        cache_verify: ``fast`` does not hash again a file of the cache that looks as it did when it was hashed here.
        force: replace what stands at the destination.
        receipt: also write the receipt here.
        provenance_out: write the provenance layer here.
        oms_out: write an OMS signature here, for `model_signing verify`.
        name: the name to judge under, instead of the reference's own (``--as``).
        max_rate: bytes a second.

    Raises:
        Refusal: the policy says no, or a byte is not what it should be; nothing was delivered.
        UsageError: the destination holds something else, or ``fast`` is not allowed.
        NotFoundError, UnavailableError, AuthenticationError, StorageError.
    """
    now = now or datetime.now(UTC)
    state = state_dir()
    if cache_verify == "fast" and not _allows_fast(policy, judged_name(reference, name)):
        raise UsageError(
            "the policy does not allow --cache-verify fast",
            hint='Leave it out, or let the scope of the policy say "cacheVerify": "fast".',
        )
    warnings: list[str] = []
    receipts.check_writable(state)
    with ExitStack() as stack:
        kept = stack.enter_context(_cache(cache, cache_verify, warnings))
        files = stack.enter_context(open_store(reference, access, mirrors=True))
        store = files if kept is None else Documents(files, kept)
        target = target_of(reference, store)
        subject, raw = store.get_manifest(target)
        verdict: Verdict | None = None
        grant: Verified | Unverified = Unverified(subject=subject)
        documents: tuple[Document, ...] = ()
        screen: Screen | None = None
        if policy is not None:
            asked = judged_name(reference, name)
            policy = remembering.with_floor(policy, asked, reference, state)
            verdict, _, documents = decide(
                store, subject, raw, asked, policy, now, context, tag=asked_tag(reference, target, name)
            )
            screen = Screen(policy, verdict)
            grant = verdict.raise_if_refused()
        else:
            documents = _unjudged(store, subject, reference)
        if oms_out is not None:
            write_atomically(oms_out, bundle_among(documents, subject, verdict), mode=0o644)
        artifact = _artifact(raw, subject.media_type, reference, verdict)
        index_bytes = fetch_index(store, artifact.manifest)
        index = ChunkIndex.named_by(artifact.manifest, index_bytes)
        provenance = _documents(store, artifact)
        if provenance_out is not None:
            write_atomically(provenance_out, _wanted(provenance), mode=0o644)
        selection = Selection(tuple(include), tuple(exclude))
        previous = _previous(state, destination)
        if force:
            receipts.forget(state, destination)
        place = kept.directory if kept is not None else None
        bases = partial(local_bases, place, index.algorithm if index else "blake3", base, state)
        sharing = Alone(bases()) if kept is None else Sharing(kept, bases)
        unpacked = unpack(
            grant,
            artifact,
            files,
            destination,
            selection=selection,
            force=force,
            previous=previous,
            meter=meter or Meter(),
            index=index,
            sharing=sharing,
            max_rate=max_rate,
            screen=screen.check if screen is not None else None,
        )
        verdict = screen.verdict if screen is not None else None
        pinned = reference.at(subject.digest)
        paper = Receipt(
            directory=os.path.realpath(destination),
            reference=str(pinned),
            media_type=subject.media_type,
            manifest=raw,
            index=index_bytes,
            provenance=provenance,
            referrers=documents,
            include=tuple(include),
            exclude=tuple(exclude),
            members=unpacked.members,
            pulled_at=format_time(now),
            verified=verdict is not None and verdict.outcome == "pass",
        )
        written = receipts.write(state, paper, receipt)
        remember(place, paper)
        if policy is not None and verdict is not None:
            asked = judged_name(reference, name)
            warnings += remembering.remember(policy, asked, reference, state, subject.digest, verdict)
        if kept is not None and selection.everything:
            kept.enlist(artifact.manifest)
    unpacked.warnings += warnings
    return _pulled(pinned, subject.digest, destination, verdict, unpacked, written)


def _allows_fast(policy: TrustPolicy | None, name: str) -> bool:
    rules = policy.rules_for(name) if policy is not None else None
    return rules is None or rules.cache_verify == "fast"


def _cache(mode: CacheMode, verify: Verify, warnings: list[str]) -> AbstractContextManager[Cache | None]:
    if mode == "off":
        return nullcontext()
    return open_cache(usable_cache_dir(), mode, verify, warnings)


def _pulled(
    pinned: Reference,
    digest: Digest,
    destination: Path,
    verdict: Verdict | None,
    unpacked: Unpacked,
    written: Path,
) -> Pulled:
    return Pulled(
        reference=pinned,
        digest=digest,
        destination=destination,
        verdict=verdict,
        files=len(unpacked.sizes),
        total_bytes=sum(unpacked.sizes.values()),
        fetched_bytes=unpacked.fetched_bytes,
        copied_bytes=unpacked.copied_bytes,
        unchanged=unpacked.unchanged,
        receipt=written,
        warnings=tuple(unpacked.warnings),
    )


def _artifact(raw: bytes, media_type: str, reference: Reference, verdict: Verdict | None) -> ModelArtifact:
    if media_type in media.INDEXES:
        raise NotFoundError(
            f"{reference} is an index of several artifacts, not a model",
            hint="Name one of them by its digest; ocimodel inspect REF lists them.",
        )
    return ModelArtifact.of(signed_manifest(raw, media_type, verdict))


def _unjudged(store: Store, subject: Descriptor, reference: Reference) -> tuple[Document, ...]:
    """Signatures for the receipt, so that the directory can be verified later; a pull does not fail for them."""
    for place in (store, nearby(store)):
        with suppress(OcimodelError):
            if place is not None:
                return gather(place, subject, reference.name, ())[1]
    return ()


def _documents(store: Store, artifact: ModelArtifact) -> bytes | None:
    """Check the parts of the artifact that are no files: its config, and its provenance, which is returned."""
    check_blob(store, artifact.manifest.config, "config")
    if artifact.provenance is None:
        return None
    return read_blob(store, artifact.provenance, limit=MAX_PROVENANCE, what="provenance")


def _wanted(provenance: bytes | None) -> bytes:
    if provenance is None:
        raise NotFoundError("the artifact carries no provenance", hint="Pull without --provenance-out.")
    return provenance


def _previous(state: Path, destination: Path) -> set[str]:
    """The files that the last pull put there; none where that is not known."""
    try:
        old = receipts.read(state, destination)
        artifact = ModelArtifact.of(Manifest.from_bytes(old.manifest, old.media_type))
    except OcimodelError:
        return set()
    names = {entry.path for entry in artifact.files if entry.is_raw}
    return names | {name for members in old.members.values() for name in members}
