"""Policy files for tests, by the signers everybody knows."""

from __future__ import annotations

import json
from typing import Any

from ocimodel.keys.signer import Signer
from ocimodel.trust.document import parse
from ocimodel.trust.policy import TrustPolicy
from tests.signers import ALICE, BOB, CAROL

ROLES: dict[str, tuple[Signer, str]] = {
    "alice": (ALICE, "builder"),
    "bob": (BOB, "approver"),
    "carol": (CAROL, "promoter"),
}


def line(signer: Signer, *roles: str, **more: Any) -> dict[str, Any]:
    """One line of the key ring."""
    return {"publicKey": signer.public.to_pem().decode(), "roles": list(roles), **more}


def ring(**lines: dict[str, Any]) -> dict[str, Any]:
    """Alice who builds, Bob who approves, Carol who promotes; with other lines where they are given."""
    return {name: line(signer, role) for name, (signer, role) in ROLES.items()} | lines


def scope(match: str = "registry.example.org/**", **members: Any) -> dict[str, Any]:
    """A scope that wants Alice's signature."""
    return {"match": match, "signatures": {"from": ["alice"]}, "formats": {"deny": []}, **members}


def document(*scopes: dict[str, Any], **members: Any) -> dict[str, Any]:
    """A policy with these scopes."""
    return {"version": 1, "keys": ring(), "scopes": list(scopes) or [scope()], **members}


def no_files(name: str) -> bytes:
    raise AssertionError(f"{name} is read")


def policy(value: dict[str, Any] | None = None, **members: Any) -> TrustPolicy:
    """As it is read from a file."""
    return parse(json.dumps(value if value is not None else document(**members)).encode(), no_files)
