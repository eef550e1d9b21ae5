"""Append to cosign's legacy tags: signatures and attestations, one layer each.

Guarantees: what others put under the tag stays, in its order; the same signature is not added twice. The tag has
no lock: whoever finds that his layer is gone, since somebody wrote at the same time, adds it again, and with it
what he had seen before. It returns once the layer stood there when the tag was read again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

from ocimodel.attest import base64s, legacy
from ocimodel.errors import FormatError, NotFoundError, UnavailableError, UsageError
from ocimodel.jsonio import canonical
from ocimodel.keys.sealing import seal, sign_message
from ocimodel.keys.signer import Signer, StampedSigner, timestamps_of
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.stores.protocol import Source, Store

_ROUNDS = 20
_SETTLE = 0.25
"""Seconds in which somebody who had read the tag before we wrote it will have written."""


@dataclass(frozen=True, slots=True)
class LegacyWriter:
    """Signatures under ``.sig`` tags; a `ocimodel.verbs.sign.Writer`."""

    format: str = legacy.FORMAT
    dated: bool = False
    certificates: tuple[bytes, ...] = ()

    def check(self, signer: Signer) -> None:
        """Any key will do."""

    def attach(
        self, store: Store, reference: Reference, subject: Descriptor, signer: Signer, claims: Mapping[str, str]
    ) -> tuple[Digest, bool]:
        """See `Writer`.

        Raises:
            UsageError: a claim is not Unicode text.
            FormatError: the tag holds something else than an image manifest, or too many signatures.
            UnavailableError: others keep overwriting the tag, or the key's device does not answer.
        """
        # Where a layout lies is nobody's business, and would make one signature many.
        payload = legacy.payload(subject.digest, "" if reference.is_layout else reference.name, claims)
        signature = sign_message(signer, payload)
        annotations = {media.COSIGN_SIGNATURE: base64s.encode(signature), media.KEY_ID: signer.public.keyid}
        for response in timestamps_of(signer, signature):
            annotations[media.COSIGN_TIMESTAMP] = legacy.timestamp(response)
        layer = _layer(media.COSIGN_PAYLOAD, payload, annotations)
        return _append(store, legacy.tag_of(subject.digest, legacy.SIGNATURES), layer, payload)

    def manifest_of(self, store: Store, subject: Descriptor, signature: Digest) -> Digest:
        del signature  # a layer, by which nobody can fetch anything
        return store.resolve(legacy.tag_of(subject.digest, legacy.SIGNATURES)).digest


def append_attestation(
    store: Store, subject: Descriptor, signer: Signer, predicate_type: str, statement: bytes
) -> tuple[Digest, bool]:
    """Put ``statement``, signed, under the ``.att`` tag: what the tag names then, and whether anything is new.

    Raises:
        FormatError, UnavailableError: as `LegacyWriter.attach`.
        UsageError: the signer's signatures get timestamps, which these do not carry.
    """
    if isinstance(signer, StampedSigner):
        raise UsageError(
            "statements in cosign's legacy format get no timestamp", hint="Leave --format out, or --timestamp-url."
        )
    envelope = canonical(seal(signer, statement).to_dict())
    annotations = {
        media.COSIGN_SIGNATURE: "",
        media.COSIGN_PREDICATE_TYPE: predicate_type,
        media.KEY_ID: signer.public.keyid,
    }
    layer = _layer(media.DSSE_ENVELOPE, envelope, annotations)
    return _append(store, legacy.tag_of(subject.digest, legacy.ATTESTATIONS), layer, envelope)


def _layer(kind: str, data: bytes, annotations: Mapping[str, str]) -> Descriptor:
    return Descriptor(media_type=kind, digest=Digest.of(data), size=len(data), annotations=annotations)


def _append(store: Store, tag: str, layer: Descriptor, data: bytes) -> tuple[Digest, bool]:
    seen: list[Descriptor] = []
    added = False
    for round_ in range(_ROUNDS):
        raw, listed = _read(store, tag)
        if raw is not None and any(_same(layer, other) for other in listed):
            return Digest.of(raw), added
        lost = [other for other in seen if other not in listed]
        seen += [other for other in listed if other not in seen]
        store.put_blob(Source.of(data), layer.digest)
        document, config = legacy.appended(raw, [*lost, layer])
        store.put_blob(Source.of(config), Digest.of(config))
        store.put_manifest(document, media.OCI_MANIFEST, tag=tag)
        added = True
        time.sleep(_SETTLE * (1 + random.random() * min(2**round_, 16)))  # noqa: S311
    raise UnavailableError(f"{store.name}: others keep overwriting the tag {tag}")


def _read(store: Store, tag: str) -> tuple[bytes | None, list[Descriptor]]:
    try:
        _, raw = store.get_manifest(tag)
        return raw, legacy.layers_of(raw)[0]
    except NotFoundError:
        return None, []
    except FormatError as error:
        raise FormatError(
            f"{store.name}: the tag {tag} holds something else than signatures: {error.message}",
            hint="It is reserved for cosign's signatures; delete it, or sign with --format sigstore.",
        ) from None


def _same(one: Descriptor, other: Descriptor) -> bool:
    """The same signature over the same bytes, with the timestamp that ``one`` has, whatever else is noted of it."""
    noted = [key for key in (media.COSIGN_SIGNATURE, media.COSIGN_TIMESTAMP) if key in one.annotations]
    return one.digest == other.digest and all(one.annotations[key] == other.annotations.get(key) for key in noted)
