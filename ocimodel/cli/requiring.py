"""``--require-attestation``: nothing is signed before what is asked for has been attested."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ocimodel.cli import material
from ocimodel.cli.run import Run
from ocimodel.errors import UsageError

if TYPE_CHECKING:
    from ocimodel.oci.reference import Reference


VARIABLE = "OCIMODEL_SIGN_REQUIRE_ATTESTATION"


def refuse_push() -> None:
    """Raises UsageError where this machine only signs what was attested: nobody attests what has no digest yet."""
    if os.environ.get(VARIABLE):
        raise UsageError(
            f"{VARIABLE} is set, and what is signed while it is pushed cannot have been attested",
            hint="Push without --sign and --key, let it be attested, then: ocimodel sign REF.",
        )


def required(
    run: Run, reference: Reference, wanted: Sequence[str], keys: Sequence[str], policy: str | None
) -> tuple[Reference, dict[str, Any]]:
    """``reference`` pinned to what was looked at, and what a JSON document says of it. Raises a `Refusal`."""
    if not wanted:
        raise UsageError(
            "--attestation-key and --attestation-policy say whose statements count, and none is asked for",
            hint="Add --require-attestation TYPE.",
        )
    if bool(keys) == (policy is not None):
        raise UsageError(
            "--require-attestation has to know whose statements count",
            hint="Give --attestation-key PUB, or --attestation-policy FILE, and not both.",
        )
    if any(not item.strip() for item in (*wanted, *keys, *([policy] if policy is not None else []))):
        raise UsageError(
            "an option of --require-attestation is empty", hint="Check that the variable in it is set."
        )
    from ocimodel.verbs.requiring import require_attestations

    trust = material.load_policy(run, keys, policy)
    pinned, found = require_attestations(
        reference, wanted, trust, access=run.access, of_keys=bool(keys), now=run.now
    )
    for item in found.contrary:
        run.warn(f"beside those that passed, {item.identity or item.keyid} says FAILED in {item.digest}")
    met = [
        {"required": item.wanted, "digest": str(item.digest), "keyid": item.keyid, "identity": item.identity}
        for item in found.met
    ]
    return pinned, {"attestations": met}
