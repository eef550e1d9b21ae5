"""Changing a policy file: a key retired or replaced, a key or a digest revoked.

Guarantees: pure; members keep their order, and nothing but what was asked for changes, save that a change raises
``serial`` by one and sets ``issued``. Asking twice changes nothing. What comes out is read as any policy is
before it is written (`ocimodel.verbs.amending`), so an amendment never leaves an invalid file. A revocation is
not refused because too few signers remain: it is made, and the caller is told.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ocimodel.errors import NotFoundError, UsageError
from ocimodel.trust.claims import format_time

SECTIONS = ("keys", "certificates", "identities")


@dataclass(frozen=True, slots=True)
class Amended:
    """The document afterwards, and what was done, a sentence each; none where nothing had to change."""

    document: dict[str, Any]
    changes: tuple[str, ...]


def rotate(document: dict[str, Any], old: str, name: str, pem: str, now: datetime) -> Amended:
    """``old`` is retired, and ``name`` signs in its place, in the same roles and scopes. What is revoked stays so.

    Raises:
        UsageError: the name stands for another key already.
        NotFoundError: there is no line ``old``.
    """

    def change(draft: dict[str, Any]) -> Iterator[str]:
        line = _line(draft, old)
        present = next((item for _, key, item in _lines(draft) if key == name), None)
        if present is not None and present.get("publicKey", "").strip() != pem.strip():
            raise UsageError(f"{name} stands in the policy for another key", hint="Give the new key another name.")
        if present is None:
            draft.setdefault("keys", {})[name] = {"publicKey": pem, "roles": list(line.get("roles", []))}
            yield f"{name} signs from now on"
        for place in _places(draft):
            if old in place and name not in place:
                place.insert(place.index(old) + 1, name)
                yield f"{name} counts where {old} did"
        if line.get("status", "active") != "revoked":
            yield from _retire(line, old, name, now)
        elif line.get("replacedBy") != name:
            line["replacedBy"] = name
            yield f"{name} replaces {old}"

    return _amend(document, now, change)


def retire(document: dict[str, Any], name: str, now: datetime, replaced_by: str = "") -> Amended:
    """``name`` signs no more: what a trusted time puts before now still counts. Raises `NotFoundError`."""
    return _amend(document, now, lambda draft: _retire(_line(draft, name), name, replaced_by, now))


def revoke_line(
    document: dict[str, Any], name: str, reason: str, now: datetime, compromised_since: datetime | None = None
) -> Amended:
    """Nothing by ``name`` counts any more, but for what a trusted time puts before ``compromised_since``."""

    def change(draft: dict[str, Any]) -> Iterator[str]:
        line = _line(draft, name)
        since = format_time(compromised_since) if compromised_since else None
        if line.get("status") != "revoked":
            line["status"] = "revoked"
            line.pop("retiredAt", None)
            yield f"{name} is revoked"
        if line.get("reason") != reason:
            line["reason"] = reason
            yield f"{name} is revoked because: {reason}"
        earlier = line.get("compromisedSince")
        if since and (earlier is None or since < earlier):  # never later: that would trust more
            line["compromisedSince"] = since
            yield f"{name} counts as compromised since {since}"

    return _amend(document, now, change)


def revoke_digest(
    document: dict[str, Any], digest: str, reason: str, now: datetime, replaced_by: str = ""
) -> Amended:
    """``digest`` is refused in every mode, whoever signed it."""

    def change(draft: dict[str, Any]) -> Iterator[str]:
        listed = draft.setdefault("revoked", {}).setdefault("digests", [])
        if any(item.get("digest") == digest for item in listed):
            return
        listed.append({"digest": digest, "reason": reason, **({"replacedBy": replaced_by} if replaced_by else {})})
        yield f"{digest} is revoked"

    return _amend(document, now, change)


def _amend(document: dict[str, Any], now: datetime, change: Callable[[dict[str, Any]], Iterator[str]]) -> Amended:
    draft = copy.deepcopy(document)
    changes = tuple(dict.fromkeys(change(draft)))
    if not changes:
        return Amended(document, ())
    serial = draft.get("serial", 0)
    head: dict[str, Any] = {key: draft[key] for key in ("$schema", "version", "id") if key in draft}
    rest = {key: value for key, value in draft.items() if key not in ("serial", "issued")}
    draft = {**head, "serial": serial + 1, "issued": format_time(now), **rest}
    return Amended(draft, changes)


def _retire(line: dict[str, Any], name: str, replaced_by: str, now: datetime) -> Iterator[str]:
    status = line.get("status", "active")
    if status == "revoked":
        raise UsageError(f"{name} is revoked, which is more than retired", hint="Leave it as it is.")
    if status == "active":
        line["status"] = "retired"
        line["retiredAt"] = format_time(now)
        yield f"{name} is retired"
    if replaced_by and line.get("replacedBy") != replaced_by:
        line["replacedBy"] = replaced_by
        yield f"{replaced_by} replaces {name}"


def _line(document: dict[str, Any], name: str) -> dict[str, Any]:
    found = next((item for _, key, item in _lines(document) if key == name), None)
    if found is None:
        known = ", ".join(key for _, key, _ in _lines(document)) or "none"
        raise NotFoundError(f"the policy has no key {name}", hint=f"Its key ring has: {known}.")
    return found


def _lines(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for section in SECTIONS:
        for name, item in document.get(section, {}).items():
            yield section, name, item


def _places(document: dict[str, Any]) -> Iterator[list[Any]]:
    """Every list of names that may sign."""
    for scope in document.get("scopes", []):
        for holder in (scope.get("signatures", {}), *scope.get("attestations", [])):
            if isinstance(holder.get("from"), list):
                yield holder["from"]
