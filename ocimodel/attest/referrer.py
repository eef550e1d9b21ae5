"""The manifest that attaches a bundle to an artifact (sigstore/cosign, specs/BUNDLE_SPEC.md; OCI image-spec v1.1).

Guarantees: `attach` is a pure function of bundle, subject and key, without a time of creation: attaching the same
signature twice gives the same digest, so a store that has it changes nothing. `signature_layer` says which blob
of a referrer is worth reading; it judges the manifest itself, since registries list referrers under wrong types
(cosign 3 writes ``application/vnd.oci.empty.v1+json`` into the fallback index).
"""

from __future__ import annotations

from dataclasses import dataclass

from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest, manifest_bytes

EMPTY = Descriptor(media_type=media.OCI_EMPTY, digest=Digest.of(media.EMPTY_JSON), size=len(media.EMPTY_JSON))
"""The config of every signature manifest; its blob, `media.EMPTY_JSON`, has to be stored too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """What has to be stored: first the blobs ``EMPTY`` and ``layer``, then ``manifest``."""

    manifest: bytes
    descriptor: Descriptor
    layer: Descriptor
    bundle: bytes


def attach(bundle: bytes, subject: Descriptor, *, predicate_type: str, keyid: str) -> Attachment:
    """The manifest that attaches ``bundle`` to ``subject``.

    Args:
        keyid: stands in the annotations, which a registry lists with the referrer: a verifier reads first what
            its own keys have signed, however much else is attached.
    """
    layer = Descriptor(media_type=media.SIGSTORE_BUNDLE, digest=Digest.of(bundle), size=len(bundle))
    raw = manifest_bytes(
        config=EMPTY,
        layers=[layer],
        artifact_type=media.SIGSTORE_BUNDLE,
        subject=subject,
        annotations={
            media.BUNDLE_CONTENT: media.BUNDLE_DSSE,
            media.BUNDLE_PREDICATE_TYPE: predicate_type,
            media.KEY_ID: keyid,
        },
    )
    return Attachment(manifest=raw, descriptor=Manifest.from_bytes(raw).descriptor, layer=layer, bundle=bundle)


_LEGACY = frozenset({media.COSIGN_ARTIFACT, media.COSIGN_ATTESTATIONS, media.COSIGN_PAYLOAD})


def signature_format(manifest: Manifest) -> str | None:
    """``sigstore``, ``notation`` or ``cosign-legacy`` for a manifest that carries such a signature, else None."""
    kinds = {manifest.artifact_type, manifest.config.media_type, *(x.media_type for x in manifest.layers[:1])}
    if any(kind and kind.startswith(media.SIGSTORE_BUNDLE_PREFIX) for kind in kinds):
        return "sigstore"
    if media.NOTARY_SIGNATURE in kinds or kinds & media.NOTARY_ENVELOPES:
        return "notation"
    return "cosign-legacy" if kinds & _LEGACY else None


def signature_layer(manifest: Manifest) -> Descriptor | None:
    """The one layer of a signature manifest, or None where this is none or has not exactly one layer.

    Each layer of a legacy one of cosign's is a signature by itself: see `ocimodel.attest.legacy`.
    """
    if signature_format(manifest) in (None, "cosign-legacy") or len(manifest.layers) != 1:
        return None
    return manifest.layers[0]
