"""Revocation of certificates: what is to be found out about a chain, and what it comes to once it was.

    "revocation": {"mode": "online", "crlFiles": ["acme.crl"]}

    off       nothing is asked, and nothing is looked at (the default)
    offline   CRLs that the policy names, and what is kept from earlier times, decide
    online    the services that the certificates name are asked as well: OCSP first, else CRLs

Guarantees: pure. A revocation that counts beats every other word. A certificate that names no service, and that no
given CRL is about, cannot be revoked; of every other one somebody has to say that it is good. The root is not asked
about: nobody stands above it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal, get_args

from ocimodel.attest.notary import NotarySignature
from ocimodel.errors import FormatError, UsageError
from ocimodel.jsonio import Node
from ocimodel.trust.fields import Reader, strings, word
from ocimodel.trust.verdict import Finding

if TYPE_CHECKING:
    from ocimodel.keys.x509 import Certificate

Mode = Literal["off", "offline", "online"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
UNKNOWN: Final = "revocation-unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """What a line of the key ring demands. ``crls`` are DER."""

    mode: Mode = "off"
    crls: tuple[bytes, ...] = ()


OFF: Final = Revocation()


@dataclass(frozen=True, slots=True)
class Question:
    """Whether ``certificate`` was revoked; ``online``: its services may be asked."""

    certificate: Certificate
    issuer: Certificate
    online: bool


def questions(chain: Sequence[Certificate], demanded: Revocation) -> Iterable[Question]:
    """What has to be found out, for certificates that name services."""
    if demanded.mode == "off":
        return
    for certificate, issuer in pairwise(chain):
        if certificate.ocsp or certificate.crls:
            yield Question(certificate, issuer, demanded.mode == "online")


def problem(
    chain: Sequence[Certificate],
    signed: NotarySignature,
    demanded: Revocation,
    *,
    now: datetime,
    leeway: timedelta,
    time: datetime | None,
) -> Finding | None:
    """What stands against ``chain``: a revocation (16), or that nobody knows (13).

    Args:
        time: when the signature existed, where somebody trusted says so.
    """
    if demanded.mode == "off":
        return None
    from ocimodel.keys.crls import by_lists, covered
    from ocimodel.keys.ocsp import by_response
    from ocimodel.keys.revocation import Times

    times = Times(now=now, leeway=leeway, signed=time)
    lists = (*signed.crls, *demanded.crls)
    unknown: Finding | None = None
    for certificate, issuer in reversed(list(pairwise(chain))):
        found = [by_response(certificate, issuer, raw, lists, times) for raw in signed.responses]
        found.append(by_lists(certificate, issuer, lists, times))
        revoked = next((item for item in found if item.outcome == "revoked"), None)
        if revoked:
            detail = f"the certificate {certificate.name} is revoked {revoked.detail}"
            return Finding(exit_code=16, reason="revoked-certificate", detail=detail)
        asked = certificate.ocsp or certificate.crls or covered(issuer, demanded.crls)
        if asked and unknown is None and not any(item.outcome == "good" for item in found):
            why = "; ".join(dict.fromkeys(item.detail for item in found))
            detail = f"whether the certificate {certificate.name} is revoked is not known: {why}"
            unknown = Finding(exit_code=13, reason=UNKNOWN, detail=detail)
    return unknown


def parse(node: Node | None, read: Reader) -> Revocation:
    """The member ``revocation`` of a line. Raises `FormatError`."""
    if node is None:
        return OFF
    node.only("mode", "crlFiles")
    mode, files = node.get("mode"), node.find("crlFiles")
    found = []
    for position, name in enumerate(strings(files)):
        from ocimodel.keys import crls

        try:
            found.append(crls.read_file(read(name), name))
        except UsageError as error:
            raise FormatError(error.message, path=f"{node.path}.crlFiles[{position}]") from None
    wanted = word(mode, MODES)
    if files is not None and wanted == "off":
        files.fail("is given and not looked at: the mode is off")
    return Revocation(mode=wanted, crls=tuple(found))
