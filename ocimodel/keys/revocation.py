"""What CRLs and OCSP responses have in common: the answer that they give, and the time at which they give it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes

Outcome = Literal["good", "revoked", "unknown"]

HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_Kind = TypeVar("_Kind", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``detail``: since when it is revoked, or why nothing is known. ``said``: by somebody who may say so."""

    outcome: Outcome
    detail: str = ""
    said: bool = True


UNKNOWN: Final = Answer(outcome="unknown", detail="nobody says whether it was revoked", said=False)


def nothing(detail: str) -> Answer:
    """What a document says that does not count."""
    return Answer(outcome="unknown", detail=detail, said=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """``signed``: when the signature existed, by somebody whom the signer cannot sway; None where nobody says."""

    now: datetime
    leeway: timedelta = timedelta(0)
    signed: datetime | None = None

    def within(self, since: datetime, until: datetime | None) -> str:
        """Why a document for that time does not count; empty where it does."""
        try:
            if self.now + self.leeway < since:
                return "it is not valid yet"
            return "" if until is not None and self.now - self.leeway <= until else "it is too old"
        except OverflowError:
            return "it is not of this time"


def extension(extensions: x509.Extensions, kind: type[_Kind]) -> _Kind | None:
    """Its value; None where it is not there."""
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
