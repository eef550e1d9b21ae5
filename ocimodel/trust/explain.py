"""Why a policy says what it says: for each check what was looked at, what was found, and what would make it pass.

Guarantees: it is made of the same assessment that the verdict is made of, and names every finding of it, so that it
never tells another story. It is for people: its sentences may change, its check names do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from ocimodel.oci import media
from ocimodel.trust.claims import format_time
from ocimodel.trust.counting import ANY, Demand
from ocimodel.trust.evidence import Evidence
from ocimodel.trust.findings import places
from ocimodel.trust.gates import Gate, Gated
from ocimodel.trust.judge import Status
from ocimodel.trust.policy import Assessment, TrustPolicy
from ocimodel.trust.rules import Rules
from ocimodel.trust.verdict import NO_SCOPE, Finding, Ruling

Outcome = Literal["pass", "warn", "fail", "skip"]
_LEVELS: Mapping[str, Outcome] = {"enforce": "fail", "warn": "warn", "audit": "warn"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One check. ``remedy`` is empty where it passed."""

    check: str
    outcome: Outcome
    looked: str
    found: str
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.check,
            "outcome": self.outcome,
            "looked": self.looked,
            "found": self.found,
            "remedy": self.remedy,
        }


def explain(
    policy: TrustPolicy, evidence: Evidence, now: datetime, context: Mapping[str, str]
) -> tuple[Explained, ...]:
    """Every check of ``policy``, in the order in which a reader asks."""
    found = policy.assess(evidence, now, context)
    ruling = found.rules.ruling(evidence.subject.digest, now) if found.rules else Ruling()
    told = _Told(found, ruling)
    lines = [_scope(policy, evidence, found, told), *_standing(policy, evidence, told)]
    if found.rules is not None:
        lines += _checks(policy, evidence, found, found.rules, told, context)
    lines += told.rest()
    if ruling.exempted:
        lines.append(Explained(check="exemption", outcome="pass", looked="the exemptions", found=ruling.exempted))
    return tuple(lines)


class _Told:
    """Hands each finding out once, so that none is left untold."""

    def __init__(self, found: Assessment, ruling: Ruling) -> None:
        self._left = list(found.findings)
        self._ruling = ruling

    def take(self, wanted: Callable[[Finding], bool]) -> list[Finding]:
        taken = [finding for finding in self._left if wanted(finding)]
        self._left = [finding for finding in self._left if finding not in taken]
        return taken

    def line(
        self, check: str, looked: str, problems: list[Finding], fine: str, remedy: str, *, asked: bool = True
    ) -> Explained:
        if not problems:
            return Explained(check=check, outcome="pass" if asked else "skip", looked=looked, found=fine)
        levels = {self._ruling.level(finding) for finding in problems}
        outcome = _LEVELS["enforce" if "enforce" in levels else "warn"]
        what = "; ".join(finding.detail for finding in problems)
        return Explained(check=check, outcome=outcome, looked=looked, found=what, remedy=remedy)

    def rest(self) -> Iterator[Explained]:
        for finding in self.take(lambda _finding: True):
            yield self.line(finding.check, "the candidates", [finding], "", _REMEDIES.get(finding.check, ""))


_REMEDIES = {
    "integrity": "Sign it again (ocimodel sign REF --key KEY), and find out who changed what was there.",
    "expiry": "Sign it again: ocimodel sign REF --key KEY --expires 90d.",
    "certificate": "Sign it with a certificate whose chain ends in a root that the policy trusts.",
    "revocation": "Use another version, or have it signed by a key that is not revoked.",
    "metadata": "Use a version that was signed for here, or have this one signed with these claims.",
}


def _scope(policy: TrustPolicy, evidence: Evidence, found: Assessment, told: _Told) -> Explained:
    problems = told.take(lambda finding: finding.reason == NO_SCOPE)
    globs = ", ".join(str(rules.match) for rules in policy.scopes) or "none"
    rules = found.rules
    fine = ""
    if rules is not None:
        where = f", environment {rules.environment}" if rules.environment else ""
        fine = f"{rules.match} applies: mode {rules.mode}{where}"
    remedy = f"Add a scope whose glob matches {evidence.name}, or ask under another name: --as HOST/REPO."
    return told.line("scope", f"the name {evidence.name}; scopes: {globs}", problems, fine, remedy)


def _standing(policy: TrustPolicy, evidence: Evidence, told: _Told) -> Iterator[Explained]:
    revoked = told.take(lambda finding: finding.reason == "revoked-digest")
    looked = f"{len(policy.revoked)} revoked digests"
    fine = f"{evidence.subject.digest} is not among them"
    yield told.line("revocation", looked, revoked, fine, _REMEDIES["revocation"])
    stale = told.take(lambda finding: finding.check == "freshness")
    ends = f"good until {format_time(policy.expires)}" if policy.expires else "it has no end"
    yield told.line("freshness", "the policy itself", stale, ends, "Get a newer policy from whoever keeps it.")


def _checks(
    policy: TrustPolicy,
    evidence: Evidence,
    found: Assessment,
    rules: Rules,
    told: _Told,
    context: Mapping[str, str],
) -> Iterator[Explained]:
    yield _signatures(policy, evidence, found, rules, told)
    for gated in found.gated:
        yield _gate(gated, evidence, told)
    yield _metadata(found, rules, told, context)
    yield _rollback(found, rules, told)
    yield _formats(found, rules, told)


def _rollback(found: Assessment, rules: Rules, told: _Told) -> Explained:
    floor = told.take(lambda finding: finding.check == "rollback")
    number = "none" if found.newest is None else str(found.newest)
    return told.line(
        "rollback",
        f"the sequence numbers that were signed; the floor is {rules.min_sequence or 'not set'}",
        floor,
        f"the highest is {number}",
        f"Use a version that was promoted with the number {rules.min_sequence} or a higher one.",
        asked=bool(rules.min_sequence),
    )


def _formats(found: Assessment, rules: Rules, told: _Told) -> Explained:
    denied = told.take(lambda finding: finding.check == "formats")
    layers = f"{len(found.content.layers)} layers" if found.content.layers is not None else "no manifest"
    allowed = f"allowed: {', '.join(sorted(rules.formats.allow))}" if rules.formats.allow is not None else ""
    refused = f"denied: {', '.join(sorted(rules.formats.deny))}" if rules.formats.deny else ""
    return told.line(
        "formats",
        f"the names and types of {layers}; {'; '.join(filter(None, (allowed, refused))) or 'all are allowed'}",
        denied,
        "none is kept out by its name; the content is looked into when it is pulled",
        "Convert the weights (safetensors, GGUF, ONNX), or allow the format: formats.allow.",
        asked=rules.formats.restrict,
    )


def _signatures(policy: TrustPolicy, evidence: Evidence, found: Assessment, rules: Rules, told: _Told) -> Explained:
    problems = told.take(lambda finding: finding in found.lacking)
    good = [
        ", ".join(filter(None, (item.signer.name, item.signer.dated)))
        for item in found.judged
        if item.status is Status.GOOD and item.signer
    ]
    others = [
        f"{item.candidate.format or 'a candidate'} {str(item.candidate.digest)[:19]}…: {item.detail or item.status}"
        + (f" ({item.signer.dated})" if item.signer and item.signer.dated else "")
        for item in found.judged
        if item.status not in (Status.GOOD, Status.OTHER, Status.ATTESTATION)
    ]
    looked = (
        f"{len(evidence.candidates)} candidates of {evidence.listed} referrers; asked for: {_asked(rules.demand)}"
    )
    ignored = f"; ignored: {'; '.join(others)}" if others else ""
    lines = [entry.id for entry in policy.ring.entries if entry.id in rules.demand.entries]
    remedy = f"ocimodel sign REF --key KEY, with a key of: {', '.join(lines) or 'nobody, the policy names no key'}."
    explained = told.line("signature", looked, problems, f"signed by {', '.join(good)}", remedy)
    if not ignored:
        return explained
    return Explained(
        check=explained.check,
        outcome=explained.outcome,
        looked=explained.looked,
        found=explained.found + ignored,
        remedy=explained.remedy,
    )


def _asked(demand: Demand) -> str:
    named = demand.places
    if set(named) == {ANY}:
        return f"{len(named)} of {len(demand.entries)} signers"
    return f"{places(named)}, among {len(demand.entries)} signers"


def _gate(gated: Gated, evidence: Evidence, told: _Told) -> Explained:
    gate = gated.gate
    problems = told.take(lambda finding: finding is gated.finding)
    count = len(gated.passing) + len(gated.failing)
    by = ", ".join(sorted({item.signer.opening.identity for item in gated.passing if item.signer}))
    looked = f"{count} statements {gate.predicate_type} among {len(evidence.candidates)} candidates"
    asks = ["signed by " + " or ".join(sorted(gate.demand.entries))]
    asks += ["a predicate that satisfies the schema"] if gate.schema is not None else []
    asks += [f"not older than {gate.max_age}"] if gate.max_age is not None else []
    remedy = f"{_making(gate)}: {', '.join(asks)}."
    return told.line(f"attestation {gate.title}", looked, problems, f"said by {by}", remedy)


def _making(gate: Gate) -> str:
    """The command that makes such a statement."""
    if gate.predicate_type == media.SLSA_SUMMARY:
        return "ocimodel promote SRC REF --policy FILE --key KEY"
    if gate.predicate_type == media.APPROVAL:
        return "ocimodel approve REF --key KEY"
    return f"ocimodel attest REF --type {gate.predicate_type} --predicate FILE --key KEY"


def _metadata(found: Assessment, rules: Rules, told: _Told, context: Mapping[str, str]) -> Explained:
    problems = told.take(lambda finding: finding.check == "metadata")
    wanted = [f"{key} {requirement}" for key, requirement in sorted(rules.context.items())]
    wanted += [f"{key} {value!r}" for key, value in sorted(context.items())]
    wanted += [f"environment {rules.environment!r}"] if rules.environment else []
    read = "the provenance was read" if found.content.facts is not None else "the provenance was not read"
    return told.line(
        "metadata",
        f"the claims of each signature, and the provenance; asked for: {', '.join(wanted) or 'nothing'}",
        problems,
        f"nothing contradicts; {read}",
        _REMEDIES["metadata"],
        asked=bool(wanted),
    )
