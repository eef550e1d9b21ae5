"""Asking a time-stamping authority (RFC 3161): the request, and what an answer has to be.

Guarantees: `Question.answer` gives back a response that was granted to this very question, with its nonce and over
the same hash of the signature, signed by a certificate that it carries. Whether anybody trusts that one is not
looked at here: see `ocimodel.keys.timestamps`. Nothing is sent.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ocimodel.errors import FormatError, UnavailableError
from ocimodel.keys import cms, timestamps
from ocimodel.keys.der import children, integer, item, span

if TYPE_CHECKING:
    from rfc3161_client import TimeStampResponse

MAX_ANSWER: Final = 64 * 1024
"""Bytes; usual ones have five thousand."""
REQUEST_TYPE: Final = "application/timestamp-query"

# SHA-2 (RFC 5754, section 2): 2.16.840.1.101.3.4.2.x. The package that checks tokens cannot ask for SHA-384.
_OIDS: Final = {
    "sha256": bytes.fromhex("608648016503040201"),
    "sha384": bytes.fromhex("608648016503040202"),
    "sha512": bytes.fromhex("608648016503040203"),
}
_DOTTED: Final = {name: f"2.16.840.1.101.3.4.2.{value[-1]}" for name, value in _OIDS.items()}
_SEQUENCE, _INTEGER, _OCTETS, _OID = 0x30, 0x02, 0x04, 0x06
_NULL, _TRUE = b"\x05\x00", b"\x01\x01\xff"
_GRANTED: Final = 0
_STATUS: Final = {1: "granted with changes", 2: "rejected", 3: "not ready", 4: "about to be revoked", 5: "revoked"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request for a token over ``imprint``, a hash by ``algorithm``."""

    algorithm: str
    imprint: bytes
    nonce: int

    @classmethod
    def about(cls, signature: bytes, algorithm: str) -> Question:
        """``algorithm``: ``sha256``, ``sha384`` or ``sha512``."""
        # The highest bit is set, so that all of these have one length.
        nonce = secrets.randbits(63) | 1 << 62
        return cls(algorithm=algorithm, imprint=hashlib.new(algorithm, signature).digest(), nonce=nonce)

    @property
    def request(self) -> bytes:
        """TimeStampReq (RFC 3161, section 2.4.1), with certReq, in DER."""
        method = item(_SEQUENCE, item(_OID, _OIDS[self.algorithm]) + _NULL)
        imprint = item(_SEQUENCE, method + item(_OCTETS, self.imprint))
        return item(_SEQUENCE, integer(1) + imprint + integer(self.nonce) + _TRUE)

    def answer(self, response: bytes) -> bytes:
        """``response``, a TimeStampResp in DER, where it is the answer.

        Raises:
            UnavailableError: the authority does not grant it.
            FormatError: it is something else.
        """
        status = _status(response)
        if status != _GRANTED:
            said = _STATUS.get(status, f"answered with the status {status}")
            raise UnavailableError(
                f"the time-stamping authority did not grant a token: {said}",
                hint="Ask who runs it whether it takes such requests, or sign without --timestamp-url.",
                reason="timestamp",
            )
        found = _read(response)
        info = found.tst_info
        if info.nonce != self.nonce:
            raise FormatError("the timestamp answers another request: its nonce is another one", hint=HINT)
        imprint = info.message_imprint
        if imprint.hash_algorithm.dotted_string != _DOTTED[self.algorithm] or imprint.message != self.imprint:
            raise FormatError("the timestamp is over something else than the signature", hint=HINT)
        wrong = cms.problem(found)
        if wrong:
            raise FormatError(f"the timestamp is not to be used: {wrong}", hint=HINT)
        return response


HINT: Final = "Nothing was written. Check --timestamp-url, and who answers there."


def token_of(response: bytes) -> bytes:
    """The TimeStampToken in a TimeStampResp, as the Notary Project wants it. Raises `FormatError`."""
    try:
        _, token = children(response, 0)
    except ValueError as error:
        raise FormatError(f"the timestamp is no response of RFC 3161: {error}", hint=HINT) from None
    return response[slice(*token)]


def is_over(token: bytes, signature: bytes) -> bool:
    """Whether ``token``, a TimeStampToken or a TimeStampResp, says that it is over ``signature``; not by whom."""
    try:
        imprint = timestamps.decode(token).tst_info.message_imprint
    except (ValueError, TypeError, LookupError, OverflowError):
        return False
    name = next((name for name, oid in _DOTTED.items() if oid == imprint.hash_algorithm.dotted_string), None)
    return name is not None and imprint.message == hashlib.new(name, signature).digest()


def _status(response: bytes) -> int:
    try:
        start, _ = children(response, 0)[0]
        first, _ = children(response, start)[0]
        begin, end = span(response, first)
        if response[first] != _INTEGER or not 0 < end - begin <= 2:
            raise ValueError("its status is no number")
        return int.from_bytes(response[begin:end], "big", signed=True)
    except (ValueError, IndexError) as error:
        raise FormatError(f"the answer is no response of RFC 3161: {error}", hint=HINT) from None


def _read(response: bytes) -> TimeStampResponse:
    try:
        if len(children(response, 0)) != 2:
            raise ValueError("it holds no token")
        if span(response, 0)[1] != len(response):
            raise ValueError("there is more behind it")
        found = timestamps.decode(response)
        _ = found.tst_info.nonce
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        said = timestamps.sentence(error)
        raise FormatError(f"the answer is no response of RFC 3161: {said}", hint=HINT) from None
    return found
