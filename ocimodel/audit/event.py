"""The audit event: a CloudEvent (CloudEvents 1.0, JSON format) whose data says who decided what, and why.

Guarantees: `line` is one line of at most 64 KiB, without secrets, whatever the fields hold; what had to be
cut is said so by ``truncated``. Times are RFC 3339 UTC, durations whole milliseconds: nothing in an event is a
float, so that every event has a canonical form (`ocimodel.jsonio.canonical`).
The format is version 1 of ``schemas/audit-event.schema.json``. It does not write anything: see `log`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from ocimodel.audit.redact import redact
from ocimodel.errors import Reason

Outcome = Literal["pass", "warn", "fail", "error"]
Mode = Literal["enforce", "warn", "audit"]

SCHEMA = 1
TYPE_PREFIX = "io.github.ocimodel."
TYPE_SUFFIX = ".v1"
MAX_BYTES = 64 * 1024
MAX_TEXT = 1024
MAX_ITEMS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who ran the command: the user's number, and the run of a CI system where there is one."""

    uid: int
    ci_run: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One decision or change. ``verb`` is the command, as in ``push`` or ``key.generate``."""

    verb: str
    id: str
    host: str
    time: datetime
    outcome: Outcome
    exit_code: int
    would_exit: int
    actor: Actor
    tool: str
    klass: str = "none"
    reasons: Sequence[Reason] = ()
    requested: str | None = None
    name: str | None = None
    digest: str | None = None
    mode: Mode | None = None
    environment: str | None = None
    signers: Sequence[Mapping[str, Any]] = ()
    policy: Mapping[str, str | None] | None = None
    context: Mapping[str, str] = field(default_factory=dict)
    durations: Mapping[str, int] = field(default_factory=dict)
    gates: Sequence[Mapping[str, Any]] = ()
    promotion: Mapping[str, Any] | None = None

    @property
    def subject(self) -> str | None:
        """What it was about: the pinned name where the digest is known, else what was asked for."""
        return f"{self.name}@{self.digest}" if self.name and self.digest else self.requested

    def to_dict(self) -> dict[str, Any]:
        event: dict[str, Any] = {
            "specversion": "1.0",
            "type": f"{TYPE_PREFIX}{self.verb}{TYPE_SUFFIX}",
            "source": f"/ocimodel/{self.host}",
            "id": self.id,
            "time": rfc3339(self.time),
            "datacontenttype": "application/json",
        }
        if self.subject:
            event["subject"] = self.subject
        event["data"] = {
            "schema": SCHEMA,
            "environment": self.environment,
            "mode": self.mode,
            "outcome": self.outcome,
            "exitCode": self.exit_code,
            "wouldExit": self.would_exit,
            "class": self.klass,
            "reasons": [
                {"class": reason.klass, "reason": reason.reason, "detail": reason.detail} for reason in self.reasons
            ],
            "requestedRef": self.requested,
            "digest": self.digest,
            "signers": [dict(signer) for signer in self.signers],
            "policy": dict(self.policy) if self.policy else None,
            "context": dict(self.context),
            "durations": dict(self.durations),
            "actor": {"uid": self.actor.uid, "ciRun": self.actor.ci_run},
            "tool": {"version": self.tool},
        }
        if self.gates:
            event["data"]["gates"] = [dict(gate) for gate in self.gates]
        if self.promotion is not None:
            event["data"]["promotion"] = dict(self.promotion)
        return event

    def line(self) -> bytes:
        """The event as it is written: one line of UTF-8 JSON, its newline included."""
        cut: list[str] = []
        event = _bounded(self.to_dict(), "", cut)
        data = _encode(event, cut)
        # What grows with what others wrote goes first; who, what and the verdict always stay.
        for key, nothing in (("context", {}), ("signers", []), ("gates", []), ("reasons", [])):
            if len(data) > MAX_BYTES and event["data"].get(key):
                event["data"][key] = nothing
                cut.append(key)
                data = _encode(event, cut)
        return data


def rfc3339(time: datetime) -> str:
    """UTC with milliseconds, as in ``2026-03-01T12:00:00.000Z``."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _encode(event: dict[str, Any], cut: list[str]) -> bytes:
    if cut:
        event["data"]["truncated"] = sorted(set(cut))
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # Names of files need not be Unicode; in a JSON string the escape of a surrogate is valid.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _bounded(value: Any, key: str, cut: list[str]) -> Any:
    """The same value without secrets, its texts and lists cut to a size that one can read."""
    if isinstance(value, str):
        clean = redact(value)
        if len(value) <= MAX_TEXT:
            return clean
        cut.append(key)
        return clean[:MAX_TEXT] + "…"
    if isinstance(value, (list, dict)) and len(value) > MAX_ITEMS:
        cut.append(key)
    if isinstance(value, list):
        return [_bounded(item, key, cut) for item in value[:MAX_ITEMS]]
    if isinstance(value, dict):
        return {
            redact(name)[:MAX_TEXT]: _bounded(member, key if key == "context" else name, cut)
            for name, member in list(value.items())[:MAX_ITEMS]
        }
    return value
