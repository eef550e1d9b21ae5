"""Which statements must be there before somebody signs, and whether they are.

Guarantees: pure. A statement counts only by a trusted key, about this very artifact, not expired, and, if it is a
test result, only where it passed; a clean scan does not stand for an evaluation. What is asked for is enforced,
whatever mode the policy says. That an artifact is not signed yet is no reason here: it is about to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ocimodel.attest.predicates import predicate_type
from ocimodel.attest.testresult import SCAN, by_scanner, demanded, outcome_of
from ocimodel.errors import SEVERITY, ConfigurationError, GateError
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.trust.counting import Demand
from ocimodel.trust.evidence import Evidence
from ocimodel.trust.gates import Gate, Gated
from ocimodel.trust.judge import Judged, Status
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.rules import Rules
from ocimodel.trust.verdict import NO_SCOPE, Finding, Ruling, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """A statement that was asked for as ``wanted``, and is there."""

    wanted: str
    digest: Digest
    keyid: str
    identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """What came of it. ``contrary``: trusted test results that say FAILED, beside those that passed."""

    met: tuple[Met, ...]
    contrary: tuple[Met, ...]


def gates_for(wanted: str, rules: Rules, policy: TrustPolicy, *, of_keys: bool) -> tuple[Gate, ...]:
    """The gates that ``wanted`` stands for: a gate's name in the policy, a predicate type, or ``scan``.

    Args:
        of_keys: the policy was made of keys, any of which may attest.

    Raises:
        UsageError: it is no type.
        ConfigurationError: the policy names nobody who may attest it.
    """
    if named := tuple(gate for gate in rules.gates if gate.name and gate.name == wanted):
        return named
    kind = media.TEST_RESULT if wanted == SCAN else predicate_type(wanted)
    schema = demanded(scan=wanted == SCAN) if kind == media.TEST_RESULT else None
    if wanted != SCAN and (typed := tuple(gate for gate in rules.gates if gate.predicate_type == kind)):
        return tuple(replace(gate, schema=schema) if gate.schema is None else gate for gate in typed)
    entries = frozenset(entry.id for entry in policy.ring.entries if of_keys or "evaluator" in entry.roles)
    if not entries:
        raise ConfigurationError(
            f"the policy names nobody for {wanted}: no gate asks for it, and no line has the role evaluator",
            hint="Add a gate under attestations, or give --attestation-key PUB.",
        )
    return (Gate(predicate_type=kind, name=wanted, schema=schema, demand=Demand(threshold=1, entries=entries)),)


def require(
    wanted: Sequence[str], evidence: Evidence, policy: TrustPolicy, now: datetime, *, of_keys: bool
) -> Requirement:
    """Whether every one of ``wanted`` is met.

    Raises:
        GateError: one is not; or another `Refusal` where the policy refuses whatever is attested: a revoked digest,
            a policy that is too old, a name that no scope covers. Its ``reasons`` are all.
        UsageError, ConfigurationError: as `gates_for`.
    """
    rules = policy.rules_for(evidence.name)
    asked = {name: gates_for(name, rules, policy, of_keys=of_keys) for name in wanted} if rules else {}
    if rules is not None:
        own = replace(rules, gates=tuple(gate for gates in asked.values() for gate in gates))
        policy = replace(policy, scopes=tuple(own if item is rules else item for item in policy.scopes))
    found = policy.assess(evidence, now)
    findings = [item for item in found.findings if item not in found.lacking and _stands(item)]
    findings += [_plainly(gated, gated.finding) for gated in found.gated if gated.finding]
    if findings:
        raise_for(findings, evidence)
    names = [name for name, gates in asked.items() for _ in gates]
    pairs = list(zip(names, found.gated, strict=True))
    met = tuple(_met(name, item) for name, gated in pairs for item in gated.passing)
    contrary = tuple(_met(name, item) for name, gated in pairs for item in _contrary(gated))
    return Requirement(met=tuple(dict.fromkeys(met)), contrary=tuple(dict.fromkeys(contrary)))


def raise_for(findings: Iterable[Finding], evidence: Evidence) -> None:
    """Raises the `Refusal` of the most serious of ``findings``."""
    ordered = tuple(sorted(findings, key=lambda finding: SEVERITY.index(finding.exit_code)))
    verdict = Verdict(
        findings=ordered,
        signers=(),
        verified=None,
        subject=evidence.subject,
        name=evidence.name,
        ruling=Ruling(),
    )
    try:
        verdict.raise_if_refused()
    except GateError as error:
        error.hint = "ocimodel attest show REF says what was attested; nothing was signed."
        raise


def _stands(finding: Finding) -> bool:
    """What holds against an artifact whoever attests to it."""
    return finding.exit_code in (16, 21) or finding.reason == NO_SCOPE


def _plainly(gated: Gated, finding: Finding) -> Finding:
    """``finding``, in the words of the test results that are behind it."""
    said = next(_contrary(gated), None)
    if said is not None and said.candidate.statement is not None:
        failed = said.candidate.statement.predicate.get("failedTests")
        names = ", ".join(str(name)[:120] for name in failed[:5]) if isinstance(failed, list) else ""
        who = said.signer.opening.identity if said.signer else said.keyid
        detail = f"the attestation {gated.gate.title} by {who} says FAILED{f': {names}' if names else ''}"
        return replace(finding, detail=detail)
    if gated.failing and not any(_is_kind(gated.gate, item) for item, _ in gated.failing):
        return replace(finding, reason="missing-attestation", detail=f"no attestation {gated.gate.title}")
    return finding


def _contrary(gated: Gated) -> Iterator[Judged]:
    for item, _ in gated.failing:
        statement = item.candidate.statement
        good = item.status is Status.GOOD and _is_kind(gated.gate, item)
        if good and statement is not None and outcome_of(statement.predicate) == "FAILED":
            yield item


def _is_kind(gate: Gate, item: Judged) -> bool:
    """Whether it is what ``gate`` asks for, passed or not: a gate of ours tells scans and evaluations apart."""
    statement = item.candidate.statement
    for scan in (True, False):
        if statement is not None and gate.schema == demanded(scan=scan):
            return by_scanner(statement.predicate) is scan
    return True


def _met(name: str, item: Judged) -> Met:
    return Met(
        wanted=name,
        digest=item.candidate.digest,
        keyid=item.keyid,
        identity=item.signer.opening.identity if item.signer else "",
    )
