"""``promote status`` as people and programs read it: a row an environment, and what is wrong with it below."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ocimodel.cli.run import Answer
from ocimodel.cli.text import table
from ocimodel.errors import SEVERITY, Reason

if TYPE_CHECKING:
    from ocimodel.verbs.promote_status import Standing

_HEAD = ("environment", "channel", "digest", "versions", "state", "sequence", "since", "valid until", "by")
_CLASSES = {"drift": "lifecycle", "refused": "policy"}
_SHOWN = 19
"""Characters of a digest, its algorithm included."""


def status_answer(rows: "Sequence[Standing]") -> Answer:
    """The table and the document. What is not as it should be makes it a warning."""
    wrong = [row for row in rows if row.state in _CLASSES]
    reasons = tuple(Reason(_CLASSES[row.state], f"status-{row.state}", _told(row)) for row in wrong)
    codes = [row.exit_code for row in wrong]
    several = len({row.place.model for row in rows}) > 1
    cells = [(*((row.place.model,) if several else ()), *_cells(row)) for row in rows]
    head = ("model", *_HEAD) if several else _HEAD
    notes = [_told(row) for row in rows if row.detail]
    return Answer(
        text="\n".join([*table(head, cells), *notes]),
        outcome="warn" if wrong else "pass",
        would_exit=min(codes, key=SEVERITY.index) if codes else 0,
        klass=reasons[0].klass if reasons else "none",
        reasons=reasons,
        more={"environments": [_row(row) for row in rows]},
    )


def _told(row: "Standing") -> str:
    return f"{row.place.environment}: {row.place.channel}: {row.detail}"


def _cells(row: "Standing") -> tuple[str, ...]:
    from ocimodel.trust.claims import format_time

    item = row.held
    expires = format_time(item.expires) if item is not None and item.expires is not None else "-"
    return (
        row.place.environment,
        row.place.channel.tag or "-",
        str(row.digest)[:_SHOWN] if row.digest else "-",
        ", ".join(row.versions) or "-",
        row.state,
        str(item.sequence) if item is not None else "-",
        row.since or "-",
        expires,
        row.by or "-",
    )


def _row(row: "Standing") -> dict[str, Any]:
    from ocimodel.trust.claims import format_time

    item, place = row.held, row.place
    return {
        "model": place.model,
        "environment": place.environment,
        "repository": place.channel.name,
        "channel": place.channel.tag,
        "state": row.state,
        "verified": row.state == "verified",
        "drift": row.drift,
        "exitCode": row.exit_code,
        "detail": row.detail,
        "digest": str(row.digest) if row.digest else None,
        "versions": list(row.versions),
        "sequence": item.sequence if item else None,
        "since": row.since or None,
        "expires": format_time(item.expires) if item and item.expires else None,
        "summary": str(place.channel.tagged(None).at(item.digest)) if item else None,
        "by": {"keyid": item.keyid, "name": row.by} if item else None,
        "reason": item.summary.reason if item else "",
        "samePolicy": row.same_policy,
        "newest": {"digest": str(row.newest[0]), "sequence": row.newest[1].sequence} if row.newest else None,
        "complete": row.complete,
    }
