"""A trust verdict as the command line shows it: its signers, its refusals, its checks."""

from __future__ import annotations

from typing import Any

from ocimodel.errors import OcimodelError
from ocimodel.trust.verdict import Verdict


def signers(verdict: object) -> list[dict[str, Any]]:
    """One object a candidate, for JSON documents and audit events."""
    return [report.to_dict() for report in verdict.signers] if isinstance(verdict, Verdict) else []


def digest(verdict: object) -> str | None:
    """What was judged."""
    return str(verdict.subject.digest) if isinstance(verdict, Verdict) else None


def check_line(name: str, outcome: str, detail: str) -> str:
    """One line a check, its outcome first: what a reader looks for."""
    return f"{outcome:<4}  {name}: {detail}"


def refusal_lines(failure: OcimodelError) -> list[str]:
    """One line for each reason that holds."""
    return [check_line(reason.reason, "fail", reason.detail) for reason in failure.reasons]
