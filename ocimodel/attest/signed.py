"""What every format of signature has in common, once it is parsed.

Guarantees: `Signed` computes the bytes under the signature from the very bytes that its subjects were read from,
so nothing is ever believed that was not signed. Nothing in it is to be believed before a trusted key has opened it
(`ocimodel.keys.sealing.opens`); certificates and timestamps are carried along and not judged here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from ocimodel.attest.envelope import pae
from ocimodel.attest.statement import Statement, Subject
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor


class Signed(Protocol):
    """A signature of any format."""

    @property
    def format(self) -> str:
        """``sigstore``, ``notation``, ``cosign-legacy`` …: what verdicts call it."""
        ...

    @property
    def message(self) -> bytes:
        """The bytes under the signature."""
        ...

    @property
    def signature(self) -> bytes: ...

    @property
    def algorithm(self) -> str:
        """The JOSE name that the format states (``ES256``, ``PS384`` …), which the key has to confirm; empty where
        the key alone decides: ECDSA in DER, RSA PKCS #1 v1.5, Ed25519.
        """
        ...

    @property
    def approves(self) -> bool:
        """Whether this is a signature, and not an attestation."""
        ...

    @property
    def predicate_type(self) -> str:
        """What kind of statement it is; empty where the format knows only approvals."""
        ...

    @property
    def statement(self) -> Statement | None:
        """The in-toto statement, where the format carries one."""
        ...

    def subjects_of(self, subject: Descriptor) -> Sequence[Subject]:
        """The signed subjects that are ``subject``, in all that the format signs of it, with their claims."""
        ...

    @property
    def expires(self) -> datetime | None:
        """An end that the format itself states, beside the claim of ours."""
        ...

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """DER, the leaf first; empty where a plain key signed."""
        ...

    @property
    def timestamps(self) -> tuple[bytes, ...]:
        """RFC 3161 tokens, DER."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedStatement:
    """An in-toto statement in a DSSE envelope: what Sigstore bundles carry."""

    statement: Statement
    signature: bytes
    certificates: tuple[bytes, ...] = ()
    timestamps: tuple[bytes, ...] = ()
    bundle: bytes = field(default=b"", repr=False, compare=False)
    """The document it was read from, for what else that may prove; empty where it was no Sigstore bundle."""
    format: str = "sigstore"
    algorithm: str = ""
    expires: datetime | None = field(default=None)

    @property
    def message(self) -> bytes:
        return pae(media.INTOTO_PAYLOAD, self.statement.raw)

    @property
    def approves(self) -> bool:
        return self.statement.is_signature

    @property
    def predicate_type(self) -> str:
        return self.statement.predicate_type

    def subjects_of(self, subject: Descriptor) -> Sequence[Subject]:
        return self.statement.subjects_of(subject.digest)
