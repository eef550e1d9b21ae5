"""Write Notary Project signatures that `notation verify` accepts.

Guarantees: nothing is signed with a chain that the Notary Project's rules refuse, or that is another key's. The
manifest is a pure function of envelope and subject.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ocimodel import __version__
from ocimodel.attest import notary
from ocimodel.attest.notary_jws import Draft
from ocimodel.attest.referrer import EMPTY, Attachment
from ocimodel.errors import CertificateError, ExpiredError, FormatError, UsageError
from ocimodel.keys import jose, x509
from ocimodel.keys.signer import Signer, timestamps_of
from ocimodel.keys.stamping import token_of
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest, manifest_bytes
from ocimodel.oci.reference import Reference
from ocimodel.stores.protocol import Store
from ocimodel.trust import chains
from ocimodel.trust.claims import expiry
from ocimodel.verbs.attaching import store_attachment


@dataclass(frozen=True, slots=True, kw_only=True)
class NotationWriter:
    """Notary Project signatures as JWS, each in a referrer; a `ocimodel.verbs.sign.Writer`.

    Attributes:
        certificates: DER, the signer's first and the root last.
        now: the time of signing, which stands in each signature.
    """

    certificates: tuple[bytes, ...]
    now: datetime
    format: str = notary.FORMAT
    dated: bool = True

    def check(self, signer: Signer) -> None:
        """Raises as `attach`, but for claims."""
        jose.name_of(signer.public)
        chain = self._chain()
        if chain[0].public != signer.public.der:
            raise UsageError(
                "the first certificate is another key's",
                hint="Give the chain of the key that signs, its own first.",
            )
        _check(chain, self.now)

    def attach(
        self, store: Store, reference: Reference, subject: Descriptor, signer: Signer, claims: Mapping[str, str]
    ) -> tuple[Digest, bool]:
        """See `Writer`.

        Raises:
            UsageError: the Notary Project has no signatures by such keys, the certificate is another key's, or a
                claim has a name that is reserved.
            CertificateError, ExpiredError: the chain breaks the Notary Project's rules.
        """
        del reference
        self.check(signer)
        draft = Draft.of(
            subject,
            {key: value for key, value in claims.items() if key != media.CLAIM_EXPIRES},
            algorithm=jose.name_of(signer.public),
            time=self.now,
            expires=expiry(claims),
        )
        signature = jose.sign(signer, draft.message)
        tokens = [token_of(response) for response in timestamps_of(signer, signature, pss=True)]
        agent = f"ocimodel/{__version__}"
        envelope = draft.signed(signature, self.certificates, agent=agent, token=b"".join(tokens[:1]))
        made = _attachment(envelope, subject, self.certificates, signer.public.keyid)
        return made.descriptor.digest, store_attachment(store, subject, made)

    def _chain(self) -> tuple[x509.Certificate, ...]:
        try:
            return chains.read(self.certificates)
        except FormatError as error:
            raise UsageError(error.message, hint="Give the chain of the key that signs, its own first.") from None

    def manifest_of(self, store: Store, subject: Descriptor, signature: Digest) -> Digest:
        del store, subject
        return signature


def _check(chain: Sequence[x509.Certificate], now: datetime) -> None:
    wrong = chains.broken(chain)
    if wrong:
        raise CertificateError(
            f"the certificate chain is not in order: {wrong}",
            hint="Give the key's own certificate first and the root last; ocimodel key certificate makes one.",
        )
    late = chains.expired(chain, now, timedelta(0))
    if late is not None:
        raise ExpiredError(late.detail, hint="Sign with a certificate that is valid now.", reason=late.reason)


def _attachment(envelope: bytes, subject: Descriptor, certificates: tuple[bytes, ...], keyid: str) -> Attachment:
    layer = Descriptor(media_type=media.NOTARY_JWS, digest=Digest.of(envelope), size=len(envelope))
    raw = manifest_bytes(
        config=EMPTY,
        layers=[layer],
        artifact_type=media.NOTARY_SIGNATURE,
        subject=subject,
        annotations={
            media.NOTARY_THUMBPRINTS: json.dumps([x509.parse(item).thumbprint for item in certificates]),
            media.KEY_ID: keyid,
        },
    )
    return Attachment(manifest=raw, descriptor=Manifest.from_bytes(raw).descriptor, layer=layer, bundle=envelope)
