"""Signers for tests, whose private keys everybody knows: those of the RFCs' own examples."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from ocimodel.attest.envelope import Envelope
from ocimodel.attest.referrer import Attachment, attach
from ocimodel.attest.statement import signature_statement
from ocimodel.keys.public import PublicKey
from ocimodel.keys.sealing import sign_statement
from ocimodel.keys.signer import LocalSigner, Signer
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.trust.evidence import Candidate, Evidence, read_candidate

P256 = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
"""RFC 6979, A.2.5."""
P384 = int(
    "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5",
    16,
)
"""RFC 6979, A.2.6."""
ED25519 = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
"""RFC 8032, 7.1, test 1."""

ALICE = LocalSigner(ec.derive_private_key(P256, ec.SECP256R1()), label="alice")
BOB = LocalSigner(ed25519.Ed25519PrivateKey.from_private_bytes(ED25519), label="bob")
CAROL = LocalSigner(ec.derive_private_key(P384, ec.SECP384R1()), label="carol")
MALLORY = LocalSigner(ec.derive_private_key(P256 - 1, ec.SECP256R1()), label="mallory")

MODEL = Descriptor(media_type=media.OCI_MANIFEST, digest=Digest.of(b"a model"), size=7)
OTHER = Descriptor(media_type=media.OCI_MANIFEST, digest=Digest.of(b"another model"), size=13)


def attachment(
    signer: Signer,
    claims: dict[str, str] | None = None,
    *,
    statement: bytes | None = None,
    about: Descriptor = MODEL,
    to: Descriptor = MODEL,
    predicate_type: str = media.COSIGN_SIGN,
    keyid: str | None = None,
) -> Attachment:
    """A signature of ``about``, attached to ``to``, as `ocimodel sign` makes it but where told otherwise."""
    signed = sign_statement(signer, statement or signature_statement(about.digest, claims))
    named = signer.public.keyid if keyid is None else keyid
    return attach(signed, to, predicate_type=predicate_type, keyid=named)


def opens(key: PublicKey, envelope: Envelope) -> bool:
    return key.verify(envelope.signature, envelope.signed)


def read(found: Attachment) -> Candidate:
    return read_candidate(found.descriptor, found.manifest, found.bundle)


def evidence(*candidates: Candidate | Attachment, truncated: bool = False) -> Evidence:
    """What was found beside ``MODEL``."""
    parsed = tuple(read(item) if isinstance(item, Attachment) else item for item in candidates)
    return Evidence(
        subject=MODEL,
        name="registry.example.org/model",
        candidates=parsed,
        listed=len(parsed),
        truncated=truncated,
    )
