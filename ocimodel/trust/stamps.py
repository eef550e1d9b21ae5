"""Time-stamping authorities: who is believed about when a signature existed.

    "timestampAuthorities": {"acme-tsa": {"rootsFile": "tsa.pem"}}

Each is a `ocimodel.trust.ring.Witness` for every kind of signer and every format that carries tokens (RFC 3161).

Guarantees: `proven` and `Authority.time_of` are pure and total, and nothing is fetched. A token counts that was
made over this very signature, whose chain ends in a trusted root and was valid all the while that the token leaves
open, by the Notary Project's rules for those who stamp, and that is not from the future. It proves that the
signature is not younger, and never that it is not older. Nobody looks whether the authority was revoked.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from ocimodel.attest.signed import Signed
from ocimodel.errors import ConfigurationError, FormatError, UsageError
from ocimodel.jsonio import Node
from ocimodel.trust import chains
from ocimodel.trust.claims import format_time
from ocimodel.trust.fields import Reader, name

if TYPE_CHECKING:
    from ocimodel.keys.timestamps import Stamp

MAX_TOKENS: Final = 32
"""As many as a Sigstore bundle may carry; further ones are not looked at."""
MAX_AUTHORITIES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A line of ``timestampAuthorities``; ``roots`` are DER."""

    id: str
    roots: frozenset[bytes] = field(repr=False)

    def time_of(self, signed: Signed, now: datetime, leeway: timedelta) -> datetime | None:
        """See `ocimodel.trust.ring.Witness`."""
        times = []
        for token in dict.fromkeys(signed.timestamps[:MAX_TOKENS]):
            stamp, _ = proven(token, signed.signature, self.roots, chains.shift(now, leeway))
            times += [stamp.latest] if stamp is not None else []
        return min(times, default=None)


def proven(token: bytes, signature: bytes, roots: Collection[bytes], now: datetime) -> tuple[Stamp | None, str]:
    """What ``token`` proves of ``signature``; else why it proves nothing.

    Args:
        now: later than which no token can have been made.
    """
    from ocimodel.keys import timestamps

    try:
        stamp = timestamps.check(token, signature, sorted(roots))
        chain = chains.read(stamp.chain)
    except FormatError as error:
        return None, error.message
    wrong = chains.broken(chain, "timestamping") or chains.outside(chain, stamp.earliest, stamp.latest)
    if wrong:
        return None, f"the timestamp's certificates are not in order: {wrong}"
    if stamp.earliest > now:
        return None, f"the timestamp is of {format_time(stamp.earliest)}, which has not come yet"
    return stamp, ""


def authorities(node: Node | None, read: Reader) -> tuple[Authority, ...]:
    """Those of a policy file. Raises `FormatError`; `ConfigurationError` where tokens cannot be checked here."""
    if node is None:
        return ()
    can_stamp(node)
    found = [_authority(name(item, given), item, read) for given, item in node.members()]
    if len(found) > MAX_AUTHORITIES:
        node.fail(f"has more than {MAX_AUTHORITIES} authorities")
    return tuple(found)


def can_stamp(node: Node) -> None:
    """Raises `ConfigurationError` where the package that verifies tokens is not installed."""
    from ocimodel.keys import timestamps

    try:
        timestamps.available()
    except ConfigurationError as error:
        raise ConfigurationError(f"{node.path}: {error.message}", hint=error.hint) from None


def roots_of(pem: bytes, where: Node) -> frozenset[bytes]:
    """The certificates of authorities in ``pem``, DER. Raises `FormatError`."""
    from ocimodel.keys import x509

    try:
        found = x509.read_pem(pem, "")
        for certificate in chains.read(found):
            # The rule of notation's trust stores: what is put there by mistake is mostly somebody's leaf.
            if not certificate.authority and not x509.issued(certificate, certificate):
                where.fail(f"{certificate.name} is neither an authority's nor signed by itself")
    except UsageError as error:
        raise FormatError(error.message.removeprefix(": "), path=where.path) from None
    return frozenset(found)


def _authority(given: str, node: Node, read: Reader) -> Authority:
    node.only("roots", "rootsFile")
    here, there = node.find("roots"), node.find("rootsFile")
    if (here is None) == (there is None):
        node.fail("needs either roots or rootsFile")
    if here is not None:
        return Authority(id=given, roots=roots_of(here.string().encode(), here))
    assert there is not None
    return Authority(id=given, roots=roots_of(read(there.string(limit=4096)), there))
