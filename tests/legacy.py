"""cosign's legacy signatures for tests, made by hand."""

from __future__ import annotations

import base64
import json
from typing import Any

from ocimodel.attest import legacy
from ocimodel.keys.signer import Signer
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.trust.evidence import Candidate, read_candidate
from tests.signers import MODEL


def document(about: Descriptor = MODEL, claims: dict[str, Any] | None = None) -> dict[str, Any]:
    """The payload, as cosign writes it."""
    return {
        "critical": {
            "identity": {"docker-reference": "registry.example.org/model"},
            "image": {"docker-manifest-digest": str(about.digest)},
            "type": "cosign container image signature",
        },
        "optional": claims,
    }


def signed_layer(
    signer: Signer, payload: bytes | None = None, *, claims: dict[str, Any] | None = None, **annotations: str
) -> tuple[Descriptor, bytes]:
    """A layer that ``signer`` signed, and its blob; annotations by the last part of their names."""
    data = json.dumps(document(claims=claims)).encode() if payload is None else payload
    names = {"keyid": media.KEY_ID, "certificate": media.COSIGN_CERTIFICATE, "timestamp": media.COSIGN_TIMESTAMP}
    signature = base64.b64encode(signer.sign(data)).decode()
    return (
        Descriptor(
            media_type=media.COSIGN_PAYLOAD,
            digest=Digest.of(data),
            size=len(data),
            annotations={
                media.COSIGN_SIGNATURE: signature,
                **{names[key]: text for key, text in annotations.items()},
            },
        ),
        data,
    )


def read(layer: Descriptor, data: bytes) -> Candidate:
    """The layer, found under the tag of ``MODEL``."""
    return read_candidate(layer, b"", data, MODEL)


def manifest(*layers: Descriptor) -> tuple[bytes, bytes]:
    """A ``.sig`` manifest and its config."""
    return legacy.appended(None, layers)
