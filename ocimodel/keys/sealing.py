"""Keys meet documents: signing a statement, checking an envelope.

Guarantees: `sign_statement` adds nothing of its own (no time, no randomness), so with a deterministic signer the
same statement gives the same bundle, but for a timestamp where the signer gets one. `opens` is the one place where
anybody's signature is checked.
"""

from __future__ import annotations

from ocimodel.attest.bundle import Bundle, public_key_bundle
from ocimodel.attest.envelope import Envelope, pae
from ocimodel.attest.signed import Signed
from ocimodel.attest.statement import Statement
from ocimodel.errors import FormatError, UnavailableError
from ocimodel.keys import jose
from ocimodel.keys.public import PublicKey
from ocimodel.keys.signer import Signer, timestamps_of
from ocimodel.oci import media

_SIGSTORE_HASHES = {"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}


def sign_statement(signer: Signer, statement: bytes) -> bytes:
    """The Sigstore bundle of ``statement``, signed. Raises as `seal` and `timestamps_of` do."""
    envelope = seal(signer, statement)
    return public_key_bundle(envelope, signer.public.hint, timestamps_of(signer, envelope.signature))


def seal(signer: Signer, statement: bytes) -> Envelope:
    """The envelope of ``statement``, signed.

    Raises:
        FormatError: it is no in-toto statement; nothing malformed gets a signature.
        UnavailableError: as `sign_message`.
    """
    Statement.from_bytes(statement)
    return Envelope(payload=statement, signature=sign_message(signer, pae(media.INTOTO_PAYLOAD, statement)))


def sign_message(signer: Signer, message: bytes) -> bytes:
    """The signature over ``message``, checked.

    Raises:
        UnavailableError: the device or the service that holds the key did not answer, or answered with something
            else than a signature by that key.
    """
    signature = signer.sign(message)
    # A faulty deterministic signature can give the private key away, so none leaves unchecked.
    if not signer.public.verify(signature, message):
        raise UnavailableError(
            f"the signature does not verify under {signer.public}", hint="Check the device or the service."
        )
    return signature


def opens(key: PublicKey, signed: Signed) -> bool:
    """Whether ``key`` signed what ``signed`` says. Whether it says the right thing is the caller's to judge."""
    if signed.certificates and not _is_key_of(key, signed.certificates[0]):
        return False
    if signed.algorithm:
        return jose.verify(key, signed.algorithm, signed.signature, signed.message)
    return key.verify(signed.signature, signed.message)


def _is_key_of(key: PublicKey, certificate: bytes) -> bool:
    from ocimodel.keys import x509

    try:
        return x509.parse(certificate).public == key.der
    except FormatError:
        return False


def verify_message(bundle: Bundle, key: PublicKey, digest: bytes, algorithm: str = "sha256") -> bool:
    """Whether ``bundle`` holds a signature by ``key`` over the file with ``digest``.

    This is about files: a signature over bytes approves no OCI artifact. Ed25519 keys sign no digests (False).
    """
    message = bundle.message
    return (
        message is not None
        and _SIGSTORE_HASHES.get(message.algorithm) == algorithm
        and message.digest == digest
        and key.algorithm.scheme.hash == algorithm
        and key.verify_digest(message.signature, digest)
    )
