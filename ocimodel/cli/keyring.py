"""``ocimodel key list --policy``: the key ring of a policy."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocimodel.cli import material
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.text import table

if TYPE_CHECKING:
    from ocimodel.trust.ring import Standing, Trusted


def list_ring(run: Run, path: Path) -> Answer:
    """Every line: its roles, its status, and how long its word counts."""
    policy = material.policy_file(run, path)
    lines = [_line(entry) for entry in policy.ring.entries]
    rows = [
        [
            line["name"],
            ",".join(line["roles"]) or "-",
            line["status"],
            _validity(entry.standing) or "-",
            min(entry.keyids, default="-"),
        ]
        for entry, line in zip(policy.ring.entries, lines, strict=True)
    ]
    return Answer(
        text="\n".join(table(("signer", "roles", "status", "validity", "key id"), rows)),
        more={"ring": lines, "policy": str(path), "serial": policy.serial, "policyDigest": policy.digest},
    )


def _line(entry: "Trusted") -> dict[str, Any]:
    from ocimodel.trust.claims import format_time

    standing = entry.standing
    times = {
        "validFrom": standing.valid_from,
        "validUntil": standing.valid_until,
        "retiredAt": standing.retired_at,
        "compromisedSince": standing.compromised_since,
    }
    return {
        "name": entry.id,
        "roles": sorted(entry.roles),
        "status": standing.status,
        "keyids": sorted(entry.keyids),
        **{key: format_time(time) if time else None for key, time in times.items()},
        "replacedBy": standing.replaced_by or None,
        "reason": standing.reason or None,
    }


def _validity(standing: "Standing") -> str:
    from ocimodel.trust.claims import format_time

    parts = [
        f"{word} {format_time(time)}"
        for word, time in (
            ("from", standing.valid_from),
            ("until", standing.valid_until),
            ("retired", standing.retired_at),
            ("compromised since", standing.compromised_since),
        )
        if time is not None
    ]
    if standing.replaced_by:
        parts.append(f"replaced by {standing.replaced_by}")
    if standing.reason:
        parts.append(f"({standing.reason})")
    return " ".join(parts)
