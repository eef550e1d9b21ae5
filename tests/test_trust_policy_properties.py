"""What holds for any policy and any evidence: total, pure, and never accepting without enough signers."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import permutations
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.attest.statement import attestation_statement
from ocimodel.errors import SEVERITY, ConfigurationError
from ocimodel.keys.signer import LocalSigner
from ocimodel.oci import media
from ocimodel.trust.claims import format_time
from ocimodel.trust.evidence import Candidate, Evidence
from ocimodel.trust.explain import explain
from ocimodel.trust.policy import TrustPolicy, Verdict
from ocimodel.trust.ring import ROLES
from ocimodel.trust.verdict import MODES
from tests.policies import document, line, policy
from tests.signers import ALICE, BOB, CAROL, MALLORY, MODEL, OTHER, attachment, read

SIGNERS: dict[str, LocalSigner] = {"alice": ALICE, "bob": BOB, "carol": CAROL, "mallory": MALLORY}
NAMES = sorted(SIGNERS)
NOW = datetime(2026, 6, 1, tzinfo=UTC)
EVALUATION = "https://example.org/evaluation"
KINDS = ("signature", "attestation")


@dataclass(frozen=True)
class Made:
    """How a candidate is made, from which follows whether it can be good."""

    signer: str
    kind: str
    about_model: bool
    hours_left: int | None
    environment: str | None
    sequence: int | None
    damaged: bool


@cache
def candidate(made: Made) -> Candidate:
    claims = {}
    if made.hours_left is not None:
        claims[media.CLAIM_EXPIRES] = format_time(NOW + timedelta(hours=made.hours_left))
    if made.environment is not None:
        claims[media.CLAIM_ENVIRONMENT] = made.environment
    if made.sequence is not None:
        claims[media.CLAIM_SEQUENCE] = str(made.sequence)
    subject = MODEL if made.about_model else OTHER
    kind = media.COSIGN_SIGN if made.kind == "signature" else EVALUATION
    statement = (
        attestation_statement(subject.digest, EVALUATION, b'{"n":1}', claims) if kind == EVALUATION else None
    )
    found = read(
        attachment(SIGNERS[made.signer], claims, statement=statement, about=subject, to=MODEL, predicate_type=kind)
    )
    if made.damaged and found.signed is not None:
        return replace(found, signed=replace(found.signed, signature=b"0" * 70))  # type: ignore[type-var]
    return found


MADE = st.builds(
    Made,
    signer=st.sampled_from(NAMES),
    kind=st.sampled_from(KINDS),
    about_model=st.just(True) | st.booleans(),
    hours_left=st.none() | st.sampled_from([-3, 3, 3000]),
    environment=st.none() | st.sampled_from(["prod", "dev"]),
    sequence=st.none() | st.sampled_from([1, 9]),
    damaged=st.just(False) | st.booleans(),
)


def standing(status: str) -> dict[str, Any]:
    return {
        "active": {},
        "retired": {"status": "retired", "retiredAt": "2026-01-01T00:00:00Z"},
        "revoked": {"status": "revoked"},
        "late": {"validUntil": "2026-01-01T00:00:00Z"},
        "early": {"validFrom": "2027-01-01T00:00:00Z"},
    }[status]


LINE = st.tuples(
    st.lists(st.sampled_from(ROLES), unique=True, max_size=2),
    st.sampled_from(["active", "active", "active", "retired", "revoked", "late", "early"]),
)
MODE = st.sampled_from(MODES)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    lines = draw(st.dictionaries(st.sampled_from(NAMES), LINE, max_size=4))
    names = sorted(lines)
    among = draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    signatures: dict[str, Any] = {"from": among, "threshold": draw(st.integers(1, 3))}
    if draw(st.booleans()):
        signatures["roles"] = draw(st.dictionaries(st.sampled_from(ROLES), st.integers(1, 2), max_size=2))
    rules: dict[str, Any] = {"match": "**", "signatures": signatures, "mode": draw(MODE), "formats": {"deny": []}}
    if draw(st.booleans()):
        rules["environment"] = draw(st.sampled_from(["prod", "dev"]))
    if draw(st.booleans()) and names:
        rules["attestations"] = [{"predicateType": EVALUATION, "from": [draw(st.sampled_from(names))]}]
    if draw(st.booleans()):
        rules["minSequence"] = 5
    if draw(st.booleans()):
        rules["freshness"] = {"requireExpiry": True, "maxValidity": "30d"}
    if draw(st.booleans()):
        rules["checks"] = draw(
            st.dictionaries(st.sampled_from(["signature", "expiry", "rollback", "attestations", "metadata"]), MODE)
        )
    if draw(st.booleans()):
        ends = format_time(NOW + draw(st.sampled_from([-1, 1])) * timedelta(days=1))
        rules["exemptions"] = [{"digest": str(MODEL.digest), "reason": "r", "owner": "o", "expires": ends}]
    value = document(
        rules, keys={name: line(SIGNERS[name], *roles, **standing(how)) for name, (roles, how) in lines.items()}
    )
    if draw(st.integers(0, 4)) == 0:
        value["revoked"] = {"digests": [{"digest": str(MODEL.digest), "reason": "r"}]}
    if draw(st.integers(0, 4)) == 0:
        value["expires"] = "2026-01-01T00:00:00Z"
    return value


def policies() -> st.SearchStrategy[tuple[dict[str, Any], TrustPolicy]]:
    def made(value: dict[str, Any]) -> tuple[dict[str, Any], TrustPolicy] | None:
        try:
            return value, policy(value)
        except ConfigurationError:
            return None

    return documents().map(made).filter(lambda found: found is not None)  # type: ignore[return-value]


def evidence(candidates: list[Candidate], *, truncated: bool = False) -> Evidence:
    return Evidence(
        subject=MODEL,
        name="registry.example.org/model",
        candidates=tuple(candidates),
        listed=len(candidates),
        truncated=truncated,
    )


def good_signers(value: dict[str, Any], made: list[Made]) -> set[str]:
    """Whose signature counts, by the rules in plain words."""
    rules = value["scopes"][0]
    found = set()
    for item in made:
        entry = value["keys"].get(item.signer)
        asks_for_an_end = "freshness" in rules
        if (
            entry is not None
            and item.signer in rules["signatures"]["from"]
            and item.kind == "signature"
            and item.about_model
            and not item.damaged
            and entry.get("status", "active") == "active"
            and "validUntil" not in entry
            and "validFrom" not in entry
            and (item.hours_left is None or item.hours_left > 0)
            and (not asks_for_an_end or item.hours_left == 3)
            and item.environment in (None, rules.get("environment", item.environment))
        ):
            found.add(item.signer)
    return found


def enough(value: dict[str, Any], signers: set[str]) -> bool:
    """Whether distinct signers can take all places; by trying every order."""
    signatures = value["scopes"][0]["signatures"]
    places = [role for role, count in signatures.get("roles", {}).items() for _ in range(count)]
    places += ["any"] * (signatures["threshold"] - len(places))

    def takes(place: str, name: str) -> bool:
        roles = value["keys"][name]["roles"]
        return place == "any" or (place in roles and not (place == "approver" and "builder" in roles))

    return any(
        all(takes(place, name) for place, name in zip(places, order, strict=False))
        for order in permutations(sorted(signers), len(places))
    )


@settings(max_examples=500, deadline=None)
@given(policies(), st.lists(MADE, max_size=5), st.booleans())
def test_no_policy_that_is_enforced_accepts_without_enough_signers_in_their_roles(
    found: tuple[dict[str, Any], TrustPolicy], made: list[Made], truncated: bool
) -> None:
    value, trust = found
    shown = evidence([candidate(item) for item in made], truncated=truncated)
    verdict = trust.enforced().evaluate(shown, NOW)
    exempted = verdict.ruling.exempted
    if verdict.outcome == "pass" or not exempted:
        signers = good_signers(value, made)
        reached = enough(value, signers)
        assert verdict.outcome != "pass" or reached
        lacking = {finding.check for finding in verdict.findings} & {"signature"}
        assert not lacking or not reached
    if not value["keys"] or not value["scopes"][0]["signatures"]["from"]:
        assert verdict.would_exit
    check_verdict(value, trust.enforced(), verdict, shown)


@settings(max_examples=500, deadline=None)
@given(policies(), st.lists(MADE, max_size=5))
def test_every_mode_finds_the_same_and_only_lets_more_pass(
    found: tuple[dict[str, Any], TrustPolicy], made: list[Made]
) -> None:
    value, trust = found
    shown = evidence([candidate(item) for item in made])
    as_written = trust.evaluate(shown, NOW)
    hard = trust.enforced().evaluate(shown, NOW)
    assert as_written.findings == hard.findings
    assert as_written.would_exit == hard.would_exit
    if hard.outcome != "fail":
        assert as_written.outcome != "fail"
    check_verdict(value, trust, as_written, shown)


def check_verdict(value: dict[str, Any], trust: TrustPolicy, verdict: Verdict, shown: Evidence) -> None:
    assert (verdict.verified is not None) == (verdict.outcome != "fail")
    assert (verdict.exit_code != 0) == (verdict.outcome == "fail")
    assert all(finding.exit_code in SEVERITY for finding in verdict.findings)
    codes = [finding.exit_code for finding in verdict.findings]
    assert codes == sorted(codes, key=SEVERITY.index)
    if "revoked" in value:
        assert verdict.exit_code in (14, 16), "revoked beats everything but damage, in every mode"
    if 16 in codes or 14 in codes:
        assert verdict.outcome == "fail"
    # The explanation tells the same story, and all of it.
    lines = explain(trust, shown, NOW, {})
    told = " ".join(item.found for item in lines)
    if not verdict.findings:
        assert {item.outcome for item in lines} <= {"pass", "skip"}
    else:
        assert all(finding.detail in told for finding in verdict.findings)
        assert any(item.outcome == "fail" for item in lines) == (verdict.outcome == "fail")


@settings(max_examples=150, deadline=None)
@given(policies(), st.lists(MADE, min_size=1, max_size=4), st.randoms())
def test_the_verdict_hangs_on_nothing_but_the_evidence(
    found: tuple[dict[str, Any], TrustPolicy], made: list[Made], random: Any
) -> None:
    _, trust = found
    candidates = [candidate(item) for item in made]
    before = copy.copy(candidates)
    first = trust.evaluate(evidence(candidates), NOW)
    assert trust.evaluate(evidence(candidates), NOW) == replace(first, verified=None) or first.verified is not None
    random.shuffle(candidates)
    second = trust.evaluate(evidence(candidates), NOW)
    assert (first.outcome, first.exit_code, first.would_exit) == (
        second.outcome,
        second.exit_code,
        second.would_exit,
    )
    assert sorted(candidates, key=id) == sorted(before, key=id)


@settings(max_examples=200, deadline=None)
@given(policies(), st.lists(MADE, max_size=4), MADE)
def test_one_more_candidate_never_turns_a_pass_into_a_refusal(
    found: tuple[dict[str, Any], TrustPolicy], made: list[Made], more: Made
) -> None:
    """Anyone who may push can attach garbage; nobody can take an artifact away by that."""
    _, trust = found
    before = trust.evaluate(evidence([candidate(item) for item in made]), NOW)
    after = trust.evaluate(evidence([candidate(item) for item in [*made, more]]), NOW)
    if before.outcome == "pass":
        assert after.outcome == "pass"


@settings(max_examples=200, deadline=None)
@given(
    policies(),
    st.lists(MADE, max_size=4),
    st.text(max_size=20),
    st.none() | st.binary(max_size=60),
    st.none() | st.binary(max_size=60),
    st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
    st.datetimes(timezones=st.just(UTC)),
)
def test_it_judges_anything(
    found: tuple[dict[str, Any], TrustPolicy],
    made: list[Made],
    name: str,
    manifest: bytes | None,
    provenance: bytes | None,
    context: dict[str, str],
    now: datetime,
) -> None:
    _, trust = found
    shown = replace(
        evidence([candidate(item) for item in made]), name=name, manifest=manifest, provenance=provenance
    )
    verdict = trust.evaluate(shown, now, context)
    assert (verdict.verified is not None) == (verdict.outcome != "fail")
    trust.wants(shown, now, context)
    explain(trust, shown, now, context)
