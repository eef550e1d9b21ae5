"""The gates of a promotion: what has to hold before a byte is written to the target.

Guarantees: every gate is judged and reported, also where an earlier one fails. What verifying the source finds
keeps its own exit code; every other gate is 19, and a key that may not promote is 12. All is enforced, whatever
mode the policy says; an exemption lets the rules of the policy pass, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from ocimodel.errors import GateError, UntrustedError
from ocimodel.keys.public import PublicKey
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.stores.protocol import Store
from ocimodel.trust.policy import Assessment, TrustPolicy
from ocimodel.trust.ring import Trusted
from ocimodel.trust.rules import Rules
from ocimodel.trust.summary import Target, before, line_of, promoters, self_approved, used, waits_for
from ocimodel.trust.verdict import FORMAT_DENIED, NOT_A_PROMOTER, Finding, Verdict, remedy
from ocimodel.verbs.deciding import decide
from ocimodel.verbs.promote_asked import Subject, Wanted, asked, failing

SOURCE = "source"
_NAMES = {16: "revocation", 17: "context"}
_FILES_ONLY = "gate coverage: its signatures cover the files alone; a promotion would vouch for the whole manifest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One gate. ``outcome`` is ``pass``, ``warn``, ``fail`` or ``skip``; the exit code is that of a failure."""

    name: str
    outcome: str
    detail: str
    exit_code: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """What became of them. ``inputs``: the signatures and statements that the verdict rests on."""

    lines: tuple[Line, ...]
    verdict: Verdict
    own: tuple[Finding, ...]
    inputs: tuple[Digest, ...]

    def with_own(self, name: str, finding: Finding | None, passed: str) -> Gates:
        """And one more gate, which is not the policy's."""
        if finding is None:
            return replace(self, lines=(*self.lines, Line(name=name, outcome="pass", detail=passed)))
        line = Line(name=name, outcome="fail", detail=finding.detail, exit_code=finding.exit_code)
        verdict = self.verdict.with_finding(finding)
        return replace(self, lines=(*self.lines, line), own=(*self.own, finding), verdict=verdict)

    def skipping(self, name: str, why: str) -> Gates:
        """And one that does not apply."""
        return replace(self, lines=(*self.lines, Line(name=name, outcome="skip", detail=why)))

    def raise_if_failed(self) -> None:
        """Raises the `Refusal` of the most serious gate that fails; its reasons are those of all."""
        self.verdict.raise_if_refused()
        for finding in self.own:  # an exemption softens the policy's rules, not these
            kind = UntrustedError if finding.exit_code == 12 else GateError
            raise kind(finding.detail, reason=finding.reason, hint=remedy(finding.reason))


def judge(
    store: Store,
    root: Descriptor,
    raw: bytes,
    source: str,
    target: Target,
    policy: TrustPolicy,
    key: PublicKey,
    now: datetime,
    context: Mapping[str, str],
    wanted: Wanted,
) -> Gates:
    """Judge the artifact ``root`` under the rules for ``target``, with ``key`` as the promoter.

    Args:
        raw: the bytes of ``root``.
        source: the name that policies know the source's repository by.

    Raises:
        UnavailableError, AuthenticationError: from the store.
    """
    rules = policy.rules_for(target.name)
    allowed = promoters(rules, policy.ring) if rules else ()
    line = line_of(key, allowed)
    lesser = before(policy, rules, line) if rules else policy
    verdict, evidence, _ = decide(store, root, raw, target.name, lesser, now, context)
    if rules is None:
        return Gates(lines=tuple(_source(verdict)), verdict=verdict, own=(), inputs=())
    found = lesser.assess(evidence, now, context)
    gates = Gates(lines=tuple(_lines(rules, verdict, found)), verdict=verdict, own=(), inputs=used(found))
    waiting = [gate.title for gate in rules.gates if waits_for(gate, line)]
    skipped = tuple(Line(name=name, outcome="skip", detail="this promotion fulfils it") for name in waiting)
    gates = replace(gates, lines=(*gates.lines, *skipped))
    if verdict.verified is not None and verdict.verified.files_only:
        gates = gates.with_own("coverage", Finding(exit_code=12, reason="files-only", detail=_FILES_ONLY), "")
    if allowed or wanted.promoter:
        finding = _promoter(key, allowed, rules, now, wanted.promoter)
        gates = gates.with_own("promoter", finding, f"{key} may promote here")
    for finding in self_approved(found):
        gates = gates.with_own("approvals", finding, "")
    subject = Subject(store=store, root=root, raw=raw, source=source, target=target)
    for item in asked(subject, found, evidence, rules, policy, now, wanted):
        if item.skipped:
            gates = gates.skipping(item.name, item.skipped)
        else:
            gates = gates.with_own(item.name, item.finding, item.passed)
    return gates


def unless_frozen(gates: Gates, rules: Rules | None, now: datetime, *, back: bool, same: bool) -> Gates:
    """With the gate of a freeze, where the policy has one.

    Args:
        back: an older artifact is put back, which a freeze does not forbid.
        same: nothing else will run than what runs now.
    """
    if rules is None or not rules.promotion.freeze:
        return gates
    window = rules.promotion.frozen(now)
    if window is None:
        return gates.with_own("freeze", None, "no freeze holds now")
    if back or same:
        why = "this goes back" if back else "nothing else will run than what runs now"
        return gates.skipping("freeze", f"{window}: {why}")
    return gates.with_own("freeze", failing("freeze", f"nothing new is promoted: {window}"), "")


def _lines(rules: Rules, verdict: Verdict, found: Assessment) -> Iterator[Line]:
    yield from _source(verdict)
    for gated in found.gated:
        if gated.finding is not None:
            yield _line(gated.gate.title, verdict, gated.finding)
        else:
            who = ", ".join(dict.fromkeys(item.signer.name for item in gated.passing if item.signer))
            yield Line(name=gated.gate.title, outcome="pass", detail=f"by {who}")
    denied = [item for item in verdict.findings if item.reason == FORMAT_DENIED]
    yield from (_line("formats", verdict, item) for item in denied)
    if rules.formats.restrict and not denied:
        yield Line(name="formats", outcome="pass", detail="no file of a format that is kept out")


def _source(verdict: Verdict) -> Iterator[Line]:
    problems = [item for item in verdict.findings if item.exit_code != 19]
    yield from (_line(_NAMES.get(item.exit_code, SOURCE), verdict, item) for item in problems)
    if not problems:
        who = ", ".join(item.identity for item in verdict.signers if item.status == "good")
        yield Line(name=SOURCE, outcome="pass", detail=f"signed by {who}")
        yield Line(name="revocation", outcome="pass", detail="neither it nor a key that counts is revoked")


def _line(name: str, verdict: Verdict, finding: Finding) -> Line:
    fails = verdict.ruling.level(finding) == "enforce"
    outcome = "fail" if fails else "warn"
    return Line(name=name, outcome=outcome, detail=finding.detail, exit_code=finding.exit_code)


def _promoter(
    key: PublicKey, allowed: tuple[Trusted, ...], rules: Rules, now: datetime, only: str
) -> Finding | None:
    if only and key.keyid != only:
        detail = f"{key} is not the promoter whom the chain of environments names"
        return Finding(exit_code=12, reason=NOT_A_PROMOTER, detail=detail)
    if not allowed:
        return None
    line = line_of(key, allowed)
    if line is None:
        detail = f"{key} is none of the {len(allowed)} promoters whom {rules.match} names"
        return Finding(exit_code=12, reason=NOT_A_PROMOTER, detail=detail)
    problem = line.standing.problem(line.id, None, now, rules.leeway)
    if problem is None:
        return None
    return Finding(exit_code=12, reason=NOT_A_PROMOTER, detail=problem.detail)
