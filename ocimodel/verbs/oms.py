"""OpenSSF model signing: write signatures that `model_signing` verifies on the pulled directory, and hand them out.

Guarantees: what is signed are the digests of the manifest's layers, which are the files' own; no file is read for
it. Only archives of small files are fetched, since nothing else tells what is in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ocimodel.attest import oms
from ocimodel.attest.referrer import attach
from ocimodel.errors import FormatError, NotFoundError, UsageError
from ocimodel.keys.sealing import seal
from ocimodel.keys.signer import Signer, timestamps_of
from ocimodel.model.artifact import ModelArtifact
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest
from ocimodel.oci.reference import Reference
from ocimodel.stores.protocol import Store
from ocimodel.transfer.receipt import Document
from ocimodel.trust.evidence import read_candidate
from ocimodel.trust.verdict import Verdict
from ocimodel.verbs.archives import members
from ocimodel.verbs.attaching import store_attachment

_UNNAMED = "model"


@dataclass(frozen=True, slots=True)
class OmsWriter:
    """OMS bundles, each in a referrer; a `ocimodel.verbs.sign.Writer`."""

    format: str = oms.FORMAT
    dated: bool = False
    certificates: tuple[bytes, ...] = ()

    def check(self, signer: Signer) -> None:
        """Raises UsageError where the key is no elliptic curve key."""
        if signer.public.algorithm.scheme.family != "ecdsa":
            raise UsageError(
                f"model signing knows ECDSA keys alone, not {signer.public.algorithm}",
                hint="Sign with a key of the type ecdsa-p256, ecdsa-p384 or ecdsa-p521.",
            )

    def attach(
        self, store: Store, reference: Reference, subject: Descriptor, signer: Signer, claims: Mapping[str, str]
    ) -> tuple[Digest, bool]:
        """See `Writer`.

        Raises:
            UsageError: the key is no elliptic curve key, or there are no files that could be signed.
        """
        self.check(signer)
        name = _UNNAMED if reference.is_layout else reference.repository.rpartition("/")[2]
        statement = oms.statement_bytes(name, _files(store, subject), subject.digest, claims)
        envelope = seal(signer, statement)
        bundle = oms.bundle_of(envelope, signer.public.to_pem(), timestamps_of(signer, envelope.signature))
        made = attach(bundle, subject, predicate_type=media.OMS_SIGNATURE, keyid=signer.public.keyid)
        return made.descriptor.digest, store_attachment(store, subject, made)

    def manifest_of(self, store: Store, subject: Descriptor, signature: Digest) -> Digest:
        del store, subject
        return signature


def bundle_among(documents: Sequence[Document], subject: Descriptor, verdict: Verdict | None) -> bytes:
    """The first OMS bundle among ``documents`` that ``verdict`` calls good; where nobody judged, the first.

    Raises:
        NotFoundError: there is none.
    """
    good = {report.digest for report in verdict.signers if report.status == "good"} if verdict else set()
    for document in documents:
        if verdict and document.descriptor.digest not in good:
            continue
        found = read_candidate(document.descriptor, document.manifest, document.blob, subject)
        if isinstance(found.signed, oms.OmsSignature):
            return document.blob
    raise NotFoundError(
        "the artifact carries no OMS signature" + (" by a trusted key" if verdict else ""),
        hint="Make one: ocimodel sign REF --format oms --key KEY.",
    )


def _files(store: Store, subject: Descriptor) -> dict[str, str]:
    _, raw = store.get_manifest(subject.digest)
    artifact = ModelArtifact.of(Manifest.from_bytes(raw, subject.media_type))
    if artifact.nameless:
        raise UsageError(
            f"{len(artifact.nameless)} layers of the artifact are no files", hint="Sign it with --format sigstore."
        )
    found: dict[str, str] = {}
    for entry in artifact.files:
        listed = {entry.path: entry.descriptor} if entry.is_raw else members(store, entry.descriptor)
        for name, descriptor in listed.items():
            if descriptor.digest.algorithm != "sha256":
                raise FormatError(f"{name} has a {descriptor.digest.algorithm} digest; model signing needs SHA-256")
            found[name] = descriptor.digest.hex
    return found
