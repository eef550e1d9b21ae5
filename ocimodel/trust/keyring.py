"""The sections of a policy file that make up its key ring: ``keys``, ``certificates``, ``identities``."""

from __future__ import annotations

from collections.abc import Iterator

from ocimodel.errors import FormatError, UsageError
from ocimodel.jsonio import Node
from ocimodel.keys.public import PublicKey
from ocimodel.trust.fields import Reader, name, optional_time, text, word, words
from ocimodel.trust.kinds import STANDING, Line, certificate_entry, identity_entry
from ocimodel.trust.ring import ROLES, STATUSES, KeyEntry, Standing, Trusted

MAX_LINES = 1024


def entries(policy: Node, read: Reader) -> Iterator[Trusted]:
    """All lines. Raises `FormatError`, and `ConfigurationError` for kinds that are not understood."""
    seen: dict[str, str] = {}
    for section, make in (("keys", _key), ("certificates", certificate_entry), ("identities", identity_entry)):
        found = policy.find(section)
        for given, node in found.members() if found else ():
            if given in seen:
                node.fail(f"this name stands in {seen[given]} as well")
            seen[given] = section
            if len(seen) > MAX_LINES:
                node.fail(f"the key ring has more than {MAX_LINES} lines")
            yield make(_line(given, node, read))


def _line(given: str, node: Node, read: Reader) -> Line:
    return Line(
        id=name(node, given),
        node=node,
        roles=frozenset(words(node.find("roles"), ROLES)),
        standing=_standing(node),
        read=read,
    )


def _standing(node: Node) -> Standing:
    status = node.find("status")
    found = Standing(
        status=word(status, STATUSES) if status else "active",
        valid_from=optional_time(node.find("validFrom")),
        valid_until=optional_time(node.find("validUntil")),
        retired_at=optional_time(node.find("retiredAt")),
        compromised_since=optional_time(node.find("compromisedSince")),
        replaced_by=text(node.find("replacedBy")),
        reason=text(node.find("reason")),
    )
    if found.status == "retired" and found.retired_at is None:
        node.fail("a retired line needs retiredAt: only what a trusted time puts before it counts")
    if found.retired_at is not None and found.status == "active":
        node.get("retiredAt").fail('the status is "active"; make it "retired", or leave this out')
    if found.compromised_since is not None and found.status != "revoked":
        node.get("compromisedSince").fail(f'the status is "{found.status}"; make it "revoked", or leave this out')
    if found.valid_from is not None and found.valid_until is not None and found.valid_from >= found.valid_until:
        node.get("validUntil").fail("is not after validFrom")
    return found


def _key(line: Line) -> Trusted:
    line.node.only("publicKey", "publicKeyFile", *STANDING)
    pem, where = line.material("publicKey", "publicKeyFile")
    try:
        key = PublicKey.from_pem(pem, label=line.id)
    except UsageError as error:
        raise FormatError(error.message.removeprefix(f"{line.id}: "), path=where.path) from None
    return KeyEntry(id=line.id, key=key, roles=line.roles, standing=line.standing)
