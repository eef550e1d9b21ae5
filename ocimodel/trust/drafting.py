"""A first policy, to be kept under version control and changed by hand.

Guarantees: a pure function; what it gives is a valid policy that says no more than was asked for. It holds the
public keys themselves, so that it is one file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ocimodel.attest.predicates import predicate_type
from ocimodel.attest.testresult import SCAN, demanded
from ocimodel.errors import UsageError
from ocimodel.keys.public import PublicKey
from ocimodel.oci import media
from ocimodel.trust.claims import format_time
from ocimodel.trust.ring import Role
from ocimodel.trust.verdict import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a first policy is to say.

    Attributes:
        keys: whose signatures are asked for.
        promoters: whose verification summaries are asked for as well.
        evaluators: whose statements are asked for; without any, those of ``keys``.
        scopes: globs; all names where there are none.
        attestations: predicate types, or ``scan``, of which a statement is asked for.
    """

    keys: Sequence[PublicKey] = ()
    promoters: Sequence[PublicKey] = ()
    evaluators: Sequence[PublicKey] = ()
    scopes: Sequence[str] = ()
    threshold: int = 1
    attestations: Sequence[str] = ()
    environment: str = ""
    mode: Mode | None = None
    issued: datetime | None = field(default=None)


def draft(wanted: Draft) -> dict[str, Any]:
    """The policy as a JSON document.

    Raises:
        UsageError: a key is named twice, more signatures are asked for than there are keys, or a type is none.
    """
    ring: dict[str, dict[str, Any]] = {}
    builders = [_enter(ring, key, "builder") for key in wanted.keys]
    evaluators = [_enter(ring, key, "evaluator") for key in wanted.evaluators]
    promoters = [_enter(ring, key, "promoter") for key in wanted.promoters]
    if not 1 <= wanted.threshold <= max(1, len(builders)):
        raise UsageError(
            f"--threshold {wanted.threshold} with {len(builders)} keys",
            hint="Give between 1 and as many as there are --key.",
        )
    if evaluators and not wanted.attestations:
        raise UsageError(
            "--evaluator says who attests, and nothing is to be attested",
            hint="Add --require-attestation test-result, or another type.",
        )
    gates = [_gate(kind, evaluators or builders) for kind in wanted.attestations]
    gates += [_promotion(promoters)] if promoters else []
    rules: dict[str, Any] = {}
    if wanted.environment:
        rules["environment"] = wanted.environment
    rules |= {"mode": wanted.mode or "enforce", "signatures": {"threshold": wanted.threshold, "from": builders}}
    if gates:
        rules["attestations"] = gates
    rules["formats"] = {"deny": ["pickle"]}
    return {
        "version": 1,
        "id": wanted.environment or "policy",
        "serial": 1,
        **({"issued": format_time(wanted.issued)} if wanted.issued else {}),
        "keys": ring,
        "scopes": [{"match": glob, **rules} for glob in wanted.scopes or ("**",)],
    }


def _gate(wanted: str, by: Sequence[str]) -> dict[str, Any]:
    kind = media.TEST_RESULT if wanted == SCAN else predicate_type(wanted)
    gate: dict[str, Any] = {"predicateType": kind, "from": list(by)}
    if kind == media.TEST_RESULT:
        gate |= {"name": SCAN if wanted == SCAN else "test-result", "schema": demanded(scan=wanted == SCAN)}
    return gate


def _promotion(promoters: Sequence[str]) -> dict[str, Any]:
    return {
        "predicateType": media.SLSA_SUMMARY,
        "name": "promotion",
        "from": list(promoters),
        "schema": {"properties": {"verificationResult": {"const": "PASSED"}}, "required": ["verificationResult"]},
    }


def _enter(ring: dict[str, dict[str, Any]], key: PublicKey, role: Role) -> str:
    pem = key.to_pem().decode("ascii")
    for name, line in ring.items():
        if line["publicKey"] == pem:
            raise UsageError(
                f"{key} is given twice", hint=f"It is {name} already; one key has one place in a policy."
            )
    name = base = _name(key)
    count = 1
    while name in ring:
        count += 1
        name = f"{base}-{count}"
    ring[name] = {"publicKey": pem, "roles": [role]}
    return name


def _name(key: PublicKey) -> str:
    """The key's label without its ending, as far as a policy takes it for a name."""
    label = key.label.removesuffix(".pub").removesuffix(".pem")
    kept = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in label
    )
    return kept.strip("-._") or key.keyid
