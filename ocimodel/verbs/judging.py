"""What the verbs that verify have in common: the checks that people see, and the directory against its manifest."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest
from ocimodel.oci.reference import LAYOUT_PREFIX, Reference
from ocimodel.trust.recognition import signed_part
from ocimodel.trust.verdict import SignerReport, Verdict


@dataclass(frozen=True, slots=True)
class Check:
    """One line of a verification: ``outcome`` is ``pass``, ``warn``, ``fail`` or ``skip``."""

    name: str
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A verification that passed, if only by a soft mode; one that does not raises a `Refusal` instead."""

    reference: str
    digest: Digest
    verdict: Verdict
    checks: tuple[Check, ...]


def judged_name(reference: Reference, given: str | None = None) -> str:
    """The name that a policy's scopes are held against: what was given (``--as``), else what was asked for.

    A layout is called by its whole path, wherever the command stands.
    """
    if given is not None:
        return given
    return path_name(Path(reference.path)) if reference.is_layout else reference.name


def asked_tag(reference: Reference, target: str, given: str | None = None) -> str:
    """The tag that summaries have to be for: none where a digest, or another name (``--as``), was given.

    Args:
        target: what the store was asked for, by `ocimodel.stores.opening.target_of`.
    """
    return "" if given is not None or reference.digest is not None else target


def path_name(path: Path) -> str:
    """What a layout or a directory is called: it has no name but its path, whatever it says of itself."""
    return f"{LAYOUT_PREFIX}{os.path.abspath(path)}"


def verdict_checks(verdict: Verdict) -> list[Check]:
    """One line for each good signature, and one for each reason that a softer mode let pass."""
    good = [
        Check("signature", "pass", f"{report.format} signature by {report.identity}{_how(report)}")
        for report in verdict.signers
        if report.status == "good"
    ]
    return good + [Check(reason.reason, "warn", reason.detail) for reason in verdict.reasons]


def _how(report: SignerReport) -> str:
    return f", {report.detail}" if report.detail else ""


def signed_manifest(raw: bytes, media_type: str, verdict: Verdict | None) -> Manifest:
    """What of a manifest is to be believed after ``verdict``; all of it where nobody was asked.

    Raises:
        FormatError: it is malformed.
    """
    manifest = Manifest.from_bytes(raw, media_type)
    verified = verdict.verified if verdict is not None else None
    return signed_part(manifest) if verified is not None and verified.files_only else manifest


def describe(reference: Reference, digest: Digest) -> str:
    """``REF@DIGEST``."""
    return str(reference.at(digest))
