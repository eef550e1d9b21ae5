"""Notary signatures of ``MODEL``, right and wrong ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from ocimodel.attest import base64s
from ocimodel.attest.notary_jws import Draft
from ocimodel.attest.referrer import EMPTY
from ocimodel.jsonio import Node
from ocimodel.keys import jose
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest, manifest_bytes
from ocimodel.trust.evidence import Candidate, read_candidate
from tests.certificates import SINCE, Made
from tests.signers import MODEL

NOW = SINCE + timedelta(days=60)


def envelope(
    chain: Sequence[Made],
    claims: Mapping[str, str] | None = None,
    *,
    about: Descriptor = MODEL,
    time: datetime = NOW,
    expires: datetime | None = None,
    token: bytes = b"",
    carried: Sequence[Made] | None = None,
) -> bytes:
    """A JWS by the first of ``chain``; ``carried`` are other certificates that it carries instead."""
    signer = chain[0].signer
    draft = Draft.of(about, claims or {}, algorithm=jose.name_of(signer.public), time=time, expires=expires)
    return draft.signed(
        jose.sign(signer, draft.message), [item.der for item in carried or chain], agent="tests", token=token
    )


def altered(
    chain: Sequence[Made],
    *,
    protected: Mapping[str, Any] | None = None,
    payload: bytes | None = None,
    resign: bool = True,
    **members: Any,
) -> bytes:
    """A JWS with other protected headers (None leaves one out) or another payload; signed anew unless told not."""
    document = json.loads(envelope(chain))
    headers = json.loads(base64s.decode_url(Node(document["protected"]))) | dict(protected or {})
    headers = {name: value for name, value in headers.items() if value is not None}
    document["protected"] = base64s.encode_url(json.dumps(headers).encode())
    if payload is not None:
        document["payload"] = base64s.encode_url(payload)
    if resign:
        message = f"{document['protected']}.{document['payload']}".encode()
        document["signature"] = base64s.encode_url(jose.sign(chain[0].signer, message))
    document |= members
    return json.dumps({name: value for name, value in document.items() if value is not None}).encode()


def manifest(
    blob: bytes,
    *,
    kind: str = media.NOTARY_JWS,
    to: Descriptor = MODEL,
    annotations: Mapping[str, str] | None = None,
) -> bytes:
    layer = Descriptor(media_type=kind, digest=Digest.of(blob), size=len(blob))
    return manifest_bytes(
        config=EMPTY, layers=[layer], artifact_type=media.NOTARY_SIGNATURE, subject=to, annotations=annotations
    )


def candidate(
    blob: bytes,
    *,
    kind: str = media.NOTARY_JWS,
    to: Descriptor = MODEL,
    annotations: Mapping[str, str] | None = None,
) -> Candidate:
    """What becomes of an envelope that is attached to ``to``."""
    raw = manifest(blob, kind=kind, to=to, annotations=annotations)
    return read_candidate(Manifest.from_bytes(raw).descriptor, raw, blob)
