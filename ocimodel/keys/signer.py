"""Who signs: the protocol that every kind of custody fulfils, and the key in a PEM file.

Guarantees: a `Signer` tells its public key before it is asked to sign, so that everything about a signature but
its bytes is known beforehand. Private bytes never leave a signer: neither `repr` nor an error shows them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ocimodel.keys.public import PublicKey

if TYPE_CHECKING:
    from ocimodel.attest.signed import Signed
    from ocimodel.keys.backend import PrivateHandle


class Signer(Protocol):
    """A private key, wherever it lives."""

    @property
    def public(self) -> PublicKey: ...

    def sign(self, message: bytes, *, pss: bool = False) -> bytes:
        """The signature over ``message`` by the scheme of ``public.algorithm``; ECDSA's as ASN.1 DER.

        Args:
            pss: RSA keys sign by RSASSA-PSS, with the hash of `Scheme.pss_hash`, MGF1 of the same hash and a salt
                of its length, as the Notary Project has it. Other keys know one scheme and do not mind.

        Raises:
            UsageError: the place where the key lives does not sign in that way.
            AuthenticationError: it does not let us.
            UnavailableError: the device or the service that holds the key did not answer.
        """
        ...


def repeats(signer: Signer) -> bool:
    """Whether a message is known to give the same signature each time; devices and services promise nothing."""
    return isinstance(signer, LocalSigner)


class Stamper(Protocol):
    """Somebody who dates signatures: a time-stamping authority (RFC 3161)."""

    def stamp(self, signature: bytes, hash_name: str) -> bytes:
        """The TimeStampResp over ``signature``, DER.

        Args:
            hash_name: by which the signature is hashed: ``sha256``, ``sha384`` or ``sha512``.

        Raises:
            UnavailableError: the authority does not answer, or does not grant it.
            UsageError, AuthenticationError, IntegrityError, CertificateError: what answers is no authority, does
                not let us, does not answer what it was asked, or is none that is trusted.
        """
        ...

    def has_stamped(self, signed: Signed) -> bool:
        """Whether ``signed`` carries a token that is as good as what `stamp` would give."""
        ...


class StampedSigner:
    """A signer whose signatures get a timestamp, in whatever format they are written: see `timestamps_of`."""

    __slots__ = ("signer", "stamper")

    def __init__(self, signer: Signer, stamper: Stamper) -> None:
        self.signer = signer
        self.stamper = stamper

    @property
    def public(self) -> PublicKey:
        return self.signer.public

    def sign(self, message: bytes, *, pss: bool = False) -> bytes:
        return self.signer.sign(message, pss=pss)

    def __repr__(self) -> str:
        return f"StampedSigner({self.signer!r})"


def timestamps_of(signer: Signer, signature: bytes, *, pss: bool = False) -> tuple[bytes, ...]:
    """The timestamps that are to go with ``signature``, each a TimeStampResp; none where nobody asked for one.

    The hash is the one by which the key signs; SHA-512 for Ed25519. Raises as `Stamper.stamp`.
    """
    if not isinstance(signer, StampedSigner):
        return ()
    return (signer.stamper.stamp(signature, signer.public.algorithm.scheme.hash_for(pss=pss) or "sha512"),)


def lacks_timestamp(signer: Signer, signed: Signed | None) -> bool:
    """Whether ``signed``, which stands already, has no timestamp as good as what ``signer``'s would have."""
    return isinstance(signer, StampedSigner) and (signed is None or not signer.stamper.has_stamped(signed))


class LocalSigner:
    """A private key in this process's memory."""

    __slots__ = ("_handle", "_public")

    def __init__(self, handle: PrivateHandle, *, label: str = "") -> None:
        from ocimodel.keys import backend, guard

        guard.shut()
        self._handle = handle
        self._public = PublicKey.from_der(backend.public_of(handle), label=label)

    @property
    def public(self) -> PublicKey:
        return self._public

    def sign(self, message: bytes, *, pss: bool = False) -> bytes:
        from ocimodel.keys import backend

        return backend.sign(self._handle, message, pss=pss)

    def private_pem(self, password: bytes | None) -> bytes:
        """PKCS#8 PEM, encrypted where there is a password; for `ocimodel.keys.files` alone."""
        from ocimodel.keys import backend, pkcs8

        if not password:
            return backend.private_pem(self._handle)
        return pkcs8.encrypt(backend.private_der(self._handle), password)

    def __repr__(self) -> str:
        return f"LocalSigner({self._public.keyid})"
