"""A trust verdict as the command line shows it: its signers, its refusals, its checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ocimodel.errors import OcimodelError

if TYPE_CHECKING:
    from ocimodel.trust.verdict import Verdict


def verdict_of(failure: OcimodelError | None) -> Verdict | None:
    """The verdict behind a refusal, where there was one."""
    # errors.py stands below the floor of verdicts, so it cannot name their type.
    return cast("Verdict | None", failure.verdict) if failure is not None else None


def signers(verdict: Verdict) -> list[dict[str, Any]]:
    """One object a candidate, for JSON documents and audit events."""
    return [report.to_dict() for report in verdict.signers]


def answered(verdict: Verdict) -> dict[str, Any]:
    """What an answer says of a verdict: by itself it is no failure."""
    return {
        "outcome": "pass" if verdict.outcome == "pass" else "warn",
        "would_exit": verdict.would_exit,
        "klass": verdict.klass,
        "reasons": verdict.reasons,
        "signers": signers(verdict),
        "warnings": verdict.warnings,
    }


def verdict_line(verdict: Verdict, reference: str) -> str:
    """The last line of a verification."""
    if verdict.outcome == "pass":
        return f"VERIFIED {reference}"
    if verdict.refusing is not None:
        return f"REFUSED {reference} (exit code {verdict.exit_code}, {verdict.refusing.reason})"
    why = f"exit code {verdict.would_exit}, {verdict.reasons[0].reason}"
    lets = verdict.ruling.exempted or f"mode {verdict.ruling.mode} lets it pass"
    return f"WOULD BE REFUSED {reference} ({why}); {lets}"


def check_line(name: str, outcome: str, detail: str) -> str:
    """One line a check, its outcome first: what a reader looks for."""
    return f"{outcome:<4}  {name}: {detail}"


def refusal_lines(failure: OcimodelError) -> list[str]:
    """One line for each reason that holds."""
    return [check_line(reason.reason, "fail", reason.detail) for reason in failure.reasons]
