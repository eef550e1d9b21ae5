"""Push: pack a directory, upload it, sign it, and move the tags last.

Guarantees: the manifest is put only when all of its blobs are there, the signature only when the manifest is, and
a tag moves only when both are; whoever pulls by tag meanwhile gets the whole old model or the whole new one.
Pushing the same directory again sends no blob, adds no signature, and gives the same digest on every target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from ocimodel.attest.testresult import Result
from ocimodel.errors import DigestMismatchError, NotFoundError, OcimodelError, UsageError
from ocimodel.keys.signer import Signer
from ocimodel.model.layers import Plan
from ocimodel.model.packing import prepare, prepare_files
from ocimodel.model.provenance import provenance_bytes
from ocimodel.model.scan import ModelFile
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest
from ocimodel.oci.reference import DEFAULT_TAG, Reference
from ocimodel.record.descriptor import described
from ocimodel.stores.facts import is_fallback_tag
from ocimodel.stores.opening import Access, open_store
from ocimodel.stores.protocol import Source, Store
from ocimodel.transfer.digests import DigestCache
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.places import usable_cache_dir
from ocimodel.transfer.pushing import Pushing
from ocimodel.transfer.upload import SMALL, Upload, upload_all
from ocimodel.verbs.attest import attest_subject
from ocimodel.verbs.examine import ScanMode, scanned
from ocimodel.verbs.indexing import Indexer, attach_index
from ocimodel.verbs.sign import SIGSTORE, Signed, Writer, checked_annotations, sign_subject

_PEEKED = 8
"""Tags whose manifests are looked at for layers that the repository has already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """``reference`` has tag and digest. ``sent_bytes`` counts only what crossed to the store."""

    reference: Reference
    digest: Digest
    files: int
    total_bytes: int
    sent_bytes: int
    signature: Signed | None
    scan: Result | None = None
    """What was found in the files, where that was asked for; ``attestation`` is the statement that says so."""
    attestation: Signed | None = None


def push(
    directory: Path | Sequence[ModelFile],
    reference: Reference,
    *,
    access: Access,
    meter: Meter | None = None,
    signer: Signer | None = None,
    annotations: Mapping[str, str] | None = None,
    expires: timedelta | None = None,
    writer: Writer = SIGSTORE,
    provenance: bytes | None = None,
    extra_tags: Sequence[str] = (),
    rehash: bool = False,
    chunk_algorithm: str = "blake3",
    attest_scan: ScanMode | None = None,
    now: datetime | None = None,
) -> Pushed:
    """Pack ``directory`` and push it.

    Args:
        directory: or files that were found elsewhere; what they are expected to be, they have to be.
        annotations: claims of the signature; they need a signer.
        writer: of which format the signature is.
        provenance: an in-toto Statement or a SLSA predicate; a minimal one is made otherwise.
        extra_tags: more tags that move to the artifact.
        rehash: read every file, whatever the digest cache says.
        chunk_algorithm: of the chunk index, ``blake3`` or ``sha256``; it is part of the artifact.
        attest_scan: attach what a look into the files finds, by the same signer; ``refuse`` sends nothing where
            that is FAILED.

    Raises:
        UsageError: a reference with a digest, a directory without files, annotations without a key.
        UnsafePathError, IntegrityError: a file that cannot travel, that changes while it is read, or that is not
            what it is expected to be.
        ConfigurationError: the provenance is malformed.
        GateError: the files failed the scan, and ``refuse`` was asked for.
    """
    if reference.digest:
        raise UsageError("a digest cannot be pushed to", hint="Write HOST/REPOSITORY:TAG.")
    if (annotations or expires or attest_scan) and signer is None:
        raise UsageError("annotations, an expiry and a scan are signed", hint="Add --sign --key KEY.")
    checked_annotations(annotations or {})
    tags = [reference.tag or DEFAULT_TAG, *extra_tags]
    for tag in tags:
        reference.tagged(tag)
        if is_fallback_tag(tag):
            raise UsageError(
                f"the tag {tag} is where registries list what refers to a manifest", hint="Choose another tag."
            )
    if signer is not None:
        writer.check(signer)
    provenance_bytes([], provenance)  # what is malformed is refused before a byte moves
    packing = prepare(directory) if isinstance(directory, Path) else prepare_files(directory)
    packing = replace(packing, config=described(packing.config, provenance))
    found = scanned(packing.plan.files, attest_scan) if attest_scan else None
    place = None if rehash else usable_cache_dir()
    cache = DigestCache(place)
    indexer = Indexer(packing, chunk_algorithm, place if cache.usable else None)
    with open_store(reference, access, create=True) as store:
        uploads = [
            Upload(source=source, identity=None if layer.is_group else layer.files[0].identity)
            for layer, source in zip(packing.plan.layers, indexer.sources, strict=True)
        ]
        wanted = {item.source.size for item in uploads if item.source.size > SMALL}
        pushing = Pushing(place if cache.usable else None, reference.name)
        likely = wanted if pushing.interrupted else _sizes_there(store, tags[0], wanted)
        try:
            pushing.begin()
            sent = upload_all(store, uploads, meter or Meter(), cache=cache, likely=likely, pushing=pushing)
        finally:
            cache.close()
        digests = [item.digest for item in sent]
        _check_promises(packing.plan, digests)
        index = indexer.finish(digests)
        packed = packing.finish(digests, provenance=provenance, annotations=_naming(index))
        store.put_blob(Source.of(packed.provenance), Digest.of(packed.provenance))
        store.put_blob(Source.of(packed.config), Digest.of(packed.config))
        if index is not None:
            store.put_blob(Source.of(index), Digest.of(index))
        subject = store.put_manifest(packed.manifest, media.OCI_MANIFEST)
        if index is not None:
            attach_index(store, subject, index)
        signature = attestation = None
        if signer is not None:
            if found is not None:
                attestation = attest_subject(
                    store, reference, subject, signer, media.TEST_RESULT, found.predicate()
                )
            signature = sign_subject(
                store,
                reference,
                subject,
                signer,
                annotations=annotations,
                expires=expires,
                writer=writer,
                now=now,
            )
        for tag in dict.fromkeys(reversed(tags)):
            store.put_manifest(packed.manifest, media.OCI_MANIFEST, tag=tag)
    pushing.done()
    return Pushed(
        reference=reference.tagged(tags[0]).at(subject.digest),
        digest=subject.digest,
        files=len(packing.plan.files),
        total_bytes=sum(item.size for item in sent),
        sent_bytes=sum(item.size for item in sent if item.sent),
        signature=signature,
        scan=found,
        attestation=attestation,
    )


def _check_promises(plan: Plan, digests: Sequence[Digest]) -> None:
    """Nothing is named, signed or tagged before every file is what its keeper says it is."""
    for name, expected, digest in plan.promises(digests):
        if digest != expected:
            raise DigestMismatchError(
                f"{name} is not what its cache says it is",
                expected=str(expected),
                actual=str(digest),
                hint="The cache is damaged: remove the model from it and fetch it again.",
            )


def _naming(index: bytes | None) -> dict[str, str]:
    return {} if index is None else {media.CHUNK_INDEX_ANNOTATION: str(Digest.of(index))}


def _sizes_there(store: Store, tag: str, wanted: set[int]) -> set[int]:
    """Sizes of layers that the repository has, as far as a few of its tags tell. A guess, and free to be wrong."""
    if not wanted:
        return set()
    found: set[int] = set()
    with suppress(OcimodelError):
        _collect(store, tag, found)
        if wanted <= found:
            return found
        for other in [name for name in store.tags() if name != tag][-_PEEKED:]:
            _collect(store, other, found)
    return found


def _collect(store: Store, tag: str, found: set[int]) -> None:
    with suppress(NotFoundError):
        descriptor, raw = store.get_manifest(tag)
        if descriptor.media_type in media.MANIFESTS:
            found |= {layer.size for layer in Manifest.from_bytes(raw, descriptor.media_type).layers}
