"""The policy file: one JSON document (`schemas/policy.schema.json`) that says whom to believe, and where.

Guarantees: unknown members, values of another kind, names that nothing stands for and rules that cannot be met are
each a `ConfigurationError` with the path of the bad field; what a policy does not say is never guessed in a way
that accepts more. Pure: files that it names are read by the caller.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ocimodel import jsonio
from ocimodel.errors import ConfigurationError, FormatError
from ocimodel.jsonio import Node
from ocimodel.trust.fields import Reader, digest, optional_time, text
from ocimodel.trust.keyring import entries
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.ring import Ring
from ocimodel.trust.rules import Revoked
from ocimodel.trust.sections import rules
from ocimodel.trust.stamps import authorities

MAX_BYTES: Final = 4 * 1024 * 1024
VERSION: Final = 1
MAX_SCOPES: Final = 1024
HINT: Final = "Correct the file, then try ocimodel policy check FILE; nothing was done."


def parse(data: bytes, read: Reader, *, what: str = "the policy") -> TrustPolicy:
    """The policy of ``data``, JSON text.

    Args:
        read: gives the bytes of a file that the policy names.
        what: what to call the policy in errors.

    Raises:
        ConfigurationError: it is not valid; the message has the path of the field.
        OcimodelError: from ``read``.
    """
    try:
        return _policy(Node(jsonio.loads(data, limit=MAX_BYTES, what="it")), read)
    except (FormatError, ConfigurationError) as error:
        own = isinstance(error, ConfigurationError) and error.hint != ConfigurationError.hint
        raise ConfigurationError(f"{what}: {error.message}", hint=error.hint if own else HINT) from None


def _policy(node: Node, read: Reader) -> TrustPolicy:
    node.only(
        "$schema",
        "version",
        "id",
        "serial",
        "issued",
        "expires",
        "keys",
        "certificates",
        "identities",
        "timestampAuthorities",
        "revoked",
        "scopes",
    )
    version = node.get("version")
    if version.integer() != VERSION:
        version.fail(f"must be {VERSION}; this version of ocimodel reads no other")
    ring = Ring(entries=tuple(entries(node, read)), witnesses=authorities(node.find("timestampAuthorities"), read))
    scopes = node.get("scopes")
    serial = node.find("serial")
    return TrustPolicy(
        ring=ring,
        scopes=tuple(rules(item, ring) for item in scopes.items(limit=MAX_SCOPES)),
        revoked=dict(_revoked(node.find("revoked"))),
        id=text(node.find("id"), limit=256),
        serial=serial.integer() if serial else 0,
        issued=optional_time(node.find("issued")),
        expires=optional_time(node.find("expires")),
    )


def _revoked(node: Node | None) -> Iterator[tuple[str, Revoked]]:
    if node is None:
        return
    node.only("digests")
    seen = set()
    for item in node.get("digests").items():
        item.only("digest", "reason", "replacedBy")
        found = digest(item.get("digest"))
        if found in seen:
            item.get("digest").fail("is revoked twice")
        seen.add(found)
        yield found, Revoked(reason=text(item.get("reason")), replaced_by=text(item.find("replacedBy")))
