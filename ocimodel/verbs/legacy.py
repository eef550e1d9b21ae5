"""cosign's legacy signatures where they lie: under tags beside the artifact, or in a referrer with several layers.

Guarantees: a tag that is not there is no signature; a store that does not answer is an error (75, 77), and what
stands there but is no manifest is a damaged candidate. Layers come back as descriptors, each a candidate of its
own; the manifest that lists them is a list, and nothing in it is believed.
"""

from __future__ import annotations

from dataclasses import dataclass

from ocimodel.attest import legacy
from ocimodel.errors import IntegrityError, NotFoundError
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.stores.protocol import Store
from ocimodel.trust.evidence import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """What stands under the legacy tags of an artifact: layers to be read, and what cannot be."""

    layers: tuple[Descriptor, ...] = ()
    damaged: tuple[Candidate, ...] = ()


def tagged(store: Store, subject: Digest) -> Tagged:
    """Look under both tags. Raises UnavailableError, AuthenticationError."""
    layers: list[Descriptor] = []
    damaged: list[Candidate] = []
    for ending, kind in (
        (legacy.SIGNATURES, media.COSIGN_ARTIFACT),
        (legacy.ATTESTATIONS, media.COSIGN_ATTESTATIONS),
    ):
        tag = legacy.tag_of(subject, ending)
        entry = Descriptor(media_type=media.OCI_MANIFEST, digest=subject, size=0, artifact_type=kind)
        try:
            found, raw = store.get_manifest(tag)
            entry = Descriptor(
                media_type=found.media_type, digest=found.digest, size=found.size, artifact_type=kind
            )
            listed, malformed = legacy.layers_of(raw)
        except NotFoundError:
            continue
        except IntegrityError as error:
            damaged.append(Candidate.unreadable(entry, f"the tag {tag}: {error.message}"))
            continue
        layers += listed
        if malformed:
            damaged.append(Candidate.unreadable(entry, f"the tag {tag}: {malformed} layers are malformed"))
    return Tagged(layers=tuple(layers), damaged=tuple(damaged))
