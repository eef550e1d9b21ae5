"""The section ``scopes`` of a policy file: each item becomes `Rules`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ocimodel.attest.predicates import predicate_type
from ocimodel.errors import FormatError, UsageError
from ocimodel.jsonio import Node
from ocimodel.model.formats import FORMATS, PICKLE
from ocimodel.oci import media
from ocimodel.trust.context import Requirement
from ocimodel.trust.counting import MAX_THRESHOLD, Demand
from ocimodel.trust.fields import digest, duration, names, optional_duration, strings, text, time, word, words
from ocimodel.trust.formats import Formats
from ocimodel.trust.gates import Gate
from ocimodel.trust.promotion import promotion
from ocimodel.trust.ring import ROLES, Ring, Role
from ocimodel.trust.rules import CACHE_VERIFY, Exemption, Rules
from ocimodel.trust.scope import Glob
from ocimodel.trust.verdict import ALWAYS_ENFORCED, MODES, SOFTENABLE, Mode

LEEWAY = timedelta(seconds=60)
MAX_LEEWAY = timedelta(hours=1)
MAX_EXEMPTIONS = 10_000
MAX_GATES = 64
MAX_CONTEXT = 64
SECTIONS = (
    "match",
    "environment",
    "mode",
    "checks",
    "signatures",
    "attestations",
    "formats",
    "context",
    "minSequence",
    "freshness",
    "cacheVerify",
    "exemptions",
    "promotion",
)


def rules(node: Node, ring: Ring) -> Rules:
    """Raises `FormatError`."""
    node.only(*SECTIONS)
    mode, floor, cache = node.find("mode"), node.find("minSequence"), node.find("cacheVerify")
    fresh = _freshness(node.find("freshness"))
    gates = node.find("attestations")
    return Rules(
        match=_glob(node.get("match")),
        demand=_demand(node.get("signatures"), ring),
        gates=tuple(_gate(item, ring) for item in gates.items(limit=MAX_GATES)) if gates else (),
        formats=_formats(node.find("formats")),
        context=_context(node.find("context")),
        environment=text(node.find("environment"), limit=256),
        mode=word(mode, MODES) if mode else "enforce",
        checks=_checks(node.find("checks")),
        leeway=fresh.leeway,
        max_age=fresh.max_age,
        needs_expiry=fresh.needs_expiry,
        longest=fresh.longest,
        min_sequence=floor.integer(maximum=10**18 - 1) if floor else 0,
        cache_verify=word(cache, CACHE_VERIFY) if cache else "always",
        exemptions=_exemptions(node.find("exemptions")),
        promotion=promotion(node.find("promotion")),
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
    listed, roles, threshold = node.find("from"), node.find("roles"), node.find("threshold")
    if listed is None and roles is None:
        node.fail("needs from, roles, or both: who is to sign")
    asked = _roles(roles)
    least = sum(count for _, count in asked) or 1
    return Demand(
        threshold=threshold.integer(minimum=1, maximum=MAX_THRESHOLD) if threshold else least,
        entries=_lines(listed, ring) if listed else ring.having(role for role, _ in asked),
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


def _lines(node: Node, ring: Ring) -> frozenset[str]:
    return names(node, {entry.id for entry in ring.entries}, "line of the key ring")


def _gate(node: Node, ring: Ring) -> Gate:
    node.only(
        "predicateType", "name", "from", "roles", "threshold", "schema", "maxAge", "time", "resource", "environment"
    )
    listed, roles, threshold = node.find("from"), node.find("roles"), node.find("threshold")
    if listed is None and roles is None:
        node.fail("needs from, roles, or both: whose statement counts")
    having = ring.having(words(roles, ROLES)) if roles else None
    entries = _lines(listed, ring) if listed else having or frozenset()
    if listed is not None and having is not None:
        entries &= having
    least = threshold.integer(minimum=1, maximum=MAX_THRESHOLD) if threshold else 1
    if len(entries) < least:
        (threshold or roles or node).fail(f"asks for {least} signers, and {len(entries)} are there")
    where = node.find("time")
    kind = _predicate_type(node.get("predicateType"))
    return Gate(
        predicate_type=kind,
        name=text(node.find("name"), limit=256),
        demand=Demand(threshold=least, entries=entries),
        schema=_schema(node.find("schema")),
        max_age=optional_duration(node.find("maxAge")),
        time=tuple(where.string(limit=1024).split(".")) if where else (),
        resource=_resource(node.find("resource"), kind),
        environment=text(node.find("environment"), limit=256),
    )


def _resource(node: Node | None, kind: str) -> Glob | None:
    if node is None:
        return None
    if kind != media.SLSA_SUMMARY:
        node.fail(f"is for {media.SLSA_SUMMARY} alone, which names a resource")
    return _glob(node)


def _predicate_type(node: Node) -> str:
    try:
        return predicate_type(node.string(limit=1024))
    except UsageError as error:
        raise FormatError(error.message, path=node.path) from None


def _schema(node: Node | None) -> dict[str, Any] | None:
    if node is None:
        return None
    from ocimodel.trust.schemas import check_schema

    try:
        check_schema(node.value)
    except FormatError as error:
        raise FormatError(error.what, path=f"{node.path}.{error.path}" if error.path else node.path) from None
    return dict(node.object())


def _formats(node: Node | None) -> Formats:
    if node is None:
        return Formats(deny=frozenset({PICKLE}))
    node.only("allow", "deny")
    allow, deny = node.find("allow"), node.find("deny")
    allowed = frozenset(words(allow, FORMATS)) if allow else None
    denied = frozenset(words(deny, FORMATS))
    if allowed and deny and allowed & denied:
        deny.fail("denies what allow allows")
    # Whoever wants pickles says so: by allowing them, or by denying nothing at all. To forget them is not enough.
    if deny is None or denied:
        denied |= frozenset({PICKLE}) - (allowed or frozenset())
    return Formats(allow=allowed, deny=denied)


def _context(node: Node | None) -> dict[str, Requirement]:
    found: dict[str, Requirement] = {}
    for key, value in node.members() if node else ():
        if len(found) >= MAX_CONTEXT:
            value.fail(f"is one of more than {MAX_CONTEXT}")
        if isinstance(value.value, list):
            values = strings(value)
            if not values:
                value.fail("must name at least one value")
            found[key] = Requirement(values=values)
            continue
        try:
            found[key] = Requirement.parse(value.string(limit=256))
        except FormatError as error:
            raise FormatError(error.what, path=value.path) from None
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Freshness:
    leeway: timedelta = LEEWAY
    max_age: timedelta | None = None
    needs_expiry: bool = False
    longest: timedelta | None = None


def _freshness(node: Node | None) -> _Freshness:
    if node is None:
        return _Freshness()
    node.only("clockLeeway", "maxAge", "requireExpiry", "maxValidity")
    needs = node.find("requireExpiry")
    return _Freshness(
        leeway=_leeway(node.find("clockLeeway")),
        max_age=optional_duration(node.find("maxAge")),
        needs_expiry=needs.boolean() if needs else False,
        longest=optional_duration(node.find("maxValidity")),
    )


def _leeway(node: Node | None) -> timedelta:
    if node is None:
        return LEEWAY
    if node.value == "0s":
        return timedelta(0)
    found = duration(node)
    if found > MAX_LEEWAY:
        node.fail("is more than an hour: a clock that is so wrong is to be set")
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
