"""The section ``scopes`` of a policy file: each item becomes `Rules`."""

from __future__ import annotations

from datetime import timedelta

from ocimodel.errors import FormatError
from ocimodel.jsonio import Node
from ocimodel.trust.counting import MAX_THRESHOLD, Demand
from ocimodel.trust.fields import digest, duration, names, text, time, word
from ocimodel.trust.ring import ROLES, Ring, Role
from ocimodel.trust.rules import Exemption, Rules
from ocimodel.trust.scope import Glob
from ocimodel.trust.verdict import ALWAYS_ENFORCED, MODES, SOFTENABLE, Mode

LEEWAY = timedelta(seconds=60)
MAX_LEEWAY = timedelta(hours=1)
MAX_EXEMPTIONS = 10_000


def rules(node: Node, ring: Ring) -> Rules:
    """Raises `FormatError`."""
    node.only("match", "environment", "mode", "checks", "signatures", "freshness", "exemptions")
    mode = node.find("mode")
    return Rules(
        match=_glob(node.get("match")),
        demand=_demand(node.get("signatures"), ring),
        environment=text(node.find("environment"), limit=256),
        mode=word(mode, MODES) if mode else "enforce",
        checks=_checks(node.find("checks")),
        leeway=_leeway(node.find("freshness")),
        exemptions=_exemptions(node.find("exemptions")),
    )


def _glob(node: Node) -> Glob:
    try:
        return Glob.parse(node.string())
    except FormatError as error:
        raise FormatError(error.what, path=node.path) from None


def _checks(node: Node | None) -> dict[str, Mode]:
    found: dict[str, Mode] = {}
    for name, value in node.members() if node else ():
        if name not in SOFTENABLE and name not in ALWAYS_ENFORCED:
            value.fail(f"is no check; there are {', '.join(SOFTENABLE)}")
        found[name] = word(value, MODES)
        if name in ALWAYS_ENFORCED and found[name] != "enforce":
            value.fail("is enforced in every mode")
    return found


def _demand(node: Node, ring: Ring) -> Demand:
    node.only("threshold", "from", "roles")
    ids = frozenset(entry.id for entry in ring.entries)
    listed, roles, threshold = node.find("from"), node.find("roles"), node.find("threshold")
    if listed is None and roles is None:
        node.fail("needs from, roles, or both: who is to sign")
    asked = _roles(roles)
    wanted = names(listed, ids, "line of the key ring") if listed else ring.having(role for role, _ in asked)
    least = sum(count for _, count in asked) or 1
    return Demand(
        threshold=threshold.integer(minimum=1, maximum=MAX_THRESHOLD) if threshold else least,
        entries=wanted,
        roles=asked,
    )


def _roles(node: Node | None) -> tuple[tuple[Role, int], ...]:
    found: list[tuple[Role, int]] = []
    for name, count in node.members() if node else ():
        role = next((role for role in ROLES if role == name), None)
        if role is None:
            count.fail(f"is no role; there are {', '.join(ROLES)}")
        found.append((role, count.integer(minimum=1, maximum=MAX_THRESHOLD)))
    return tuple(found)


def _leeway(node: Node | None) -> timedelta:
    if node is None:
        return LEEWAY
    node.only("clockLeeway")
    given = node.find("clockLeeway")
    if given is None:
        return LEEWAY
    if given.value == "0s":
        return timedelta(0)
    found = duration(given)
    if found > MAX_LEEWAY:
        given.fail("is more than an hour: a clock that is so wrong is to be set")
    return found


def _exemptions(node: Node | None) -> dict[str, Exemption]:
    found: dict[str, Exemption] = {}
    for item in node.items(limit=MAX_EXEMPTIONS) if node else ():
        item.only("digest", "reason", "owner", "expires")
        which = digest(item.get("digest"))
        if which in found:
            item.get("digest").fail("is exempted twice")
        found[which] = Exemption(
            reason=_said(item.get("reason")), owner=_said(item.get("owner")), expires=time(item.get("expires"))
        )
    return found


def _said(node: Node) -> str:
    found = text(node)
    if not found.strip():
        node.fail("must not be empty")
    return found
