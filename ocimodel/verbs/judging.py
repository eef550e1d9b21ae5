"""What the verbs that verify have in common: the checks that people see, and the directory against its manifest."""

from __future__ import annotations

from dataclasses import dataclass

from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.trust.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Check:
    """One line of a verification: ``outcome`` is ``pass``, ``fail`` or ``skip``."""

    name: str
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A verification that passed; one that does not raises a `Refusal` instead."""

    reference: str
    digest: Digest
    verdict: Verdict
    checks: tuple[Check, ...]


def signature_checks(verdict: Verdict) -> list[Check]:
    """One line for each good signature."""
    return [
        Check("signature", "pass", f"{report.format} signature by {report.identity}")
        for report in verdict.signers
        if report.status == "good"
    ]


def describe(reference: Reference, digest: Digest) -> str:
    """``REF@DIGEST``."""
    return str(reference.at(digest))
