"""RFC 3161 tokens: that a signature existed at some time, by a time-stamping authority whose root is trusted.

Guarantees: what `check` returns was signed, over this very message, by a certificate that its chain certifies and
that was valid at the token's time, by way of OpenSSL (the package `rfc3161-client`). The chain is given back for
rules to be applied to it, which are those of `ocimodel.trust.chains`. Nothing is fetched.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ocimodel.errors import ConfigurationError, FormatError
from ocimodel.keys import x509
from ocimodel.keys.der import children, item

if TYPE_CHECKING:
    from rfc3161_client import TimeStampResponse
    from rfc3161_client.tsp import Accuracy

MAX_BYTES: Final = 256 * 1024
MAX_CERTIFICATES: Final = 16
_BASELINE: Final = "0.4.0.2023.1.1"
"""ETSI EN 319 421: whose tokens that name no accuracy are good to a second."""

_SEQUENCE, _CERTIFICATES = 0x30, 0xA0
_WORST: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """The message existed at ``latest``, and the token was made after ``earliest``. ``chain``: DER, root last."""

    earliest: datetime
    latest: datetime
    chain: tuple[bytes, ...]


def available() -> None:
    """Raises `ConfigurationError` where the package that verifies tokens is not installed."""
    if importlib.util.find_spec("rfc3161_client") is None:
        raise ConfigurationError(
            "timestamps need the package rfc3161-client", hint="Install it: pip install 'ocimodel[x509]'."
        )


@x509.quiet()
def check(token: bytes, message: bytes, roots: Sequence[bytes]) -> Stamp:
    """What ``token``, a TimeStampToken or a TimeStampResp (DER), proves of ``message``.

    Args:
        roots: DER, of the authorities that are trusted.

    Raises:
        FormatError: it proves nothing; the message says why.
    """
    from cryptography import x509 as library
    from rfc3161_client import VerificationError, VerifierBuilder

    if len(token) > MAX_BYTES:
        raise FormatError(f"the timestamp has more than {MAX_BYTES} bytes")
    try:
        response = decode(token)
        chain = _chain(response, roots)  # first, since strangers' tokens are found out cheaply by it
        builder = VerifierBuilder(roots=[library.load_der_x509_certificate(root) for root in roots])
        builder.build().verify_message(response, message)
        earliest, latest = _times(response)
    except (VerificationError, ValueError, TypeError, LookupError, OverflowError) as error:
        raise FormatError(f"the timestamp does not verify: {sentence(error)}") from None
    return Stamp(earliest=earliest, latest=latest, chain=chain)


def decode(token: bytes) -> TimeStampResponse:
    """``token``, a TimeStampToken or a TimeStampResp. Raises ValueError, and what else `check` catches."""
    from rfc3161_client import decode_timestamp_response

    parts = children(token, 0)
    if len(parts) == 2 and token[parts[0][0]] == _SEQUENCE:  # a response: its status, and the token
        status, token = token[slice(*parts[0])], token[slice(*parts[1])]
    else:
        status = b"\x30\x03\x02\x01\x00"  # what the response said that a bare token was taken from: granted
    return decode_timestamp_response(item(_SEQUENCE, status + _sorted(token)))


def _sorted(token: bytes) -> bytes:
    """``token`` with its certificates in the order that DER demands of a set (X.690, section 11.6).

    Some authorities do not sort them, and the package refuses that. They are no part of what is signed.
    """
    content = children(token, children(token, 0)[1][0])  # ContentInfo: the type, and [0] what is of it
    for start, end in children(token, content[0][0]):  # SignedData
        if token[start] == _CERTIFICATES:
            found = [token[slice(*one)] for one in children(token, start)]
            return token[: end - sum(map(len, found))] + b"".join(sorted(found)) + token[end:]
    return token


def _chain(response: TimeStampResponse, roots: Sequence[bytes]) -> tuple[bytes, ...]:
    """From who signed to a root, along what the token carries."""
    carried = response.signed_data.certificates
    if len(carried) > MAX_CERTIFICATES:
        raise ValueError(f"more than {MAX_CERTIFICATES} certificates")
    known = [x509.parse(item) for item in (*sorted(carried), *roots)]
    (signer,) = response.signed_data.signer_infos
    first = next((item for item in known if x509.is_called(item, signer.issuer, signer.serial_number)), None)
    found = [first] if first else []
    while found and found[-1].der not in roots:
        above = next((item for item in known if item not in found and x509.issued(found[-1], item)), None)
        if above is None:
            break
        found.append(above)
    if not found or found[-1].der not in roots:
        raise ValueError("no chain from who made it to a trusted root")
    return tuple(item.der for item in found)


def _times(response: TimeStampResponse) -> tuple[datetime, datetime]:
    info = response.tst_info
    time = info.gen_time.astimezone(UTC)
    accuracy = timedelta(0)
    parts: Accuracy | None = info.accuracy
    if parts is not None:
        accuracy = timedelta(
            seconds=parts.seconds or 0, milliseconds=parts.millis or 0, microseconds=parts.micros or 0
        )
    elif info.policy.dotted_string == _BASELINE:
        accuracy = timedelta(seconds=1)
    if not timedelta(0) <= accuracy <= _WORST:
        raise ValueError("it is not accurate to the hour")
    return time - accuracy, time + accuracy


def sentence(error: Exception) -> str:
    """What another library's error says, in one line that cannot draw."""
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return text if text.isprintable() else ascii(text)
