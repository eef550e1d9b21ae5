"""What policies decide: modes, roles, keys that ended, gates, formats, metadata, floors and freshness."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ocimodel.attest.signed import Signed
from ocimodel.attest.statement import attestation_statement
from ocimodel.errors import ContextError, GateError, RevokedError, StaleTrustError
from ocimodel.keys.signer import Signer
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.trust.claims import format_time
from ocimodel.trust.evidence import Candidate, Evidence
from ocimodel.trust.policy import TrustPolicy, Verdict
from ocimodel.trust.verdict import MODES
from tests.policies import document, line, policy, ring, scope
from tests.signers import ALICE, BOB, CAROL, MALLORY, attachment, read

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
NAME = "registry.example.org/model"
EVALUATION = "https://example.org/evaluation"
SOFT = ("warn", "audit")


def layer(
    name: str, media_type: str = "application/vnd.cncf.model.weight.v1.raw", data: bytes = b"x"
) -> dict[str, Any]:
    digest = str(Digest.of(data))
    return {"mediaType": media_type, "digest": digest, "size": len(data), "annotations": {media.FILEPATH: name}}


def provenance(version: str = "1.4.2", accelerator: str = "H100", torch: str = "2.5.1") -> bytes:
    definition = {
        "buildType": "https://example.org/build",
        "externalParameters": {"model": {"name": "fraud", "version": version}},
        "internalParameters": {"environment": {"accelerator": accelerator}},
        "resolvedDependencies": [{"uri": f"pkg:pypi/torch@{torch}"}],
    }
    return json.dumps(
        {
            "_type": media.STATEMENT_V1,
            "subject": [{"name": "model.safetensors", "digest": {"sha256": "0" * 64}}],
            "predicateType": media.SLSA_PROVENANCE,
            "predicate": {"buildDefinition": definition, "runDetails": {"builder": {"id": "https://example.org"}}},
        }
    ).encode()


def manifest(*layers: dict[str, Any]) -> bytes:
    config = {"mediaType": media.MODEL_CONFIG, "digest": str(Digest.of(b"{}")), "size": 2}
    return json.dumps(
        {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "config": config, "layers": list(layers)}
    ).encode()


SAFE = manifest(layer("model.safetensors"))


def subject(raw: bytes = SAFE) -> Descriptor:
    return Descriptor(media_type=media.OCI_MANIFEST, digest=Digest.of(raw), size=len(raw))


def signature(signer: Signer = ALICE, claims: dict[str, str] | None = None, raw: bytes = SAFE) -> Candidate:
    return read(attachment(signer, claims, about=subject(raw), to=subject(raw)))


def said(
    signer: Signer,
    predicate: Mapping[str, Any],
    kind: str = EVALUATION,
    claims: dict[str, str] | None = None,
    raw: bytes = SAFE,
) -> Candidate:
    about = subject(raw)
    statement = attestation_statement(about.digest, kind, json.dumps(predicate).encode(), claims)
    return read(attachment(signer, statement=statement, about=about, to=about, predicate_type=kind))


def summary(time: datetime = NOW, name: str = NAME, inputs: Sequence[Digest] = ()) -> dict[str, Any]:
    """The predicate of a verification summary."""
    return {
        "verificationResult": "PASSED",
        "resourceUri": f"oci://{name}",
        "timeVerified": format_time(time),
        "inputAttestations": [{"digest": {"sha256": digest.hex}} for digest in inputs],
    }


def evidence(*candidates: Candidate, raw: bytes = SAFE, name: str = NAME, **more: Any) -> Evidence:
    return Evidence(
        subject=subject(raw), name=name, candidates=candidates, listed=len(candidates), manifest=raw, **more
    )


def judge(
    rules: dict[str, Any] | TrustPolicy,
    *candidates: Candidate,
    now: datetime = NOW,
    context: dict[str, str] | None = None,
    **more: Any,
) -> Verdict:
    """Under a policy, or under one scope of the usual one."""
    found = rules if isinstance(rules, TrustPolicy) else policy(document(scope(**rules)))
    return found.evaluate(evidence(*candidates, **more), now, context or {})


def reasons(verdict: Verdict) -> list[tuple[int, str]]:
    return [(finding.exit_code, finding.reason) for finding in verdict.findings]


def outcome(verdict: Verdict) -> tuple[str, int, int]:
    assert (verdict.verified is None) == (verdict.outcome == "fail")
    return verdict.outcome, verdict.exit_code, verdict.would_exit


# --- scopes and modes -----------------------------------------------------------------------------------------


def test_the_scope_of_the_name_that_was_asked_for_applies() -> None:
    value = policy(document(scope("reg.acme/prod/**"), scope("reg.acme/**", signatures={"from": ["bob"]})))
    assert outcome(judge(value, signature(), name="reg.acme/prod/x")) == ("pass", 0, 0)
    assert reasons(judge(value, signature(), name="reg.acme/dev/x")) == [(12, "untrusted-signer")]
    assert judge(value, signature(), name="reg.acme/prod/x").ruling.scope == "reg.acme/prod/**"


@pytest.mark.parametrize("mode", MODES)
def test_no_scope_is_a_refusal_whatever_the_mode_of_others(mode: str) -> None:
    value = policy(document(scope("elsewhere/**", mode=mode)))
    verdict = judge(value, signature())
    assert reasons(verdict) == [(12, "no-scope")]
    assert outcome(verdict) == ("fail", 12, 12)


@pytest.mark.parametrize("mode", SOFT)
def test_the_softer_modes_say_what_enforcing_would_do(mode: str) -> None:
    verdict = judge({"mode": mode})
    assert outcome(verdict) == ("warn", 0, 10)
    assert verdict.raise_if_refused().keyids == ()
    assert bool(verdict.warnings) == (mode == "warn")
    assert verdict.klass == "trust"


@pytest.mark.parametrize("mode", MODES)
def test_enforced_raises_every_mode_and_lowers_none(mode: str) -> None:
    value = policy(document(scope(mode=mode, checks={"expiry": "audit"})))
    assert outcome(judge(value.enforced())) == ("fail", 10, 10)
    expired = signature(ALICE, {media.CLAIM_EXPIRES: "2020-01-01T00:00:00Z"})
    assert outcome(judge(value.enforced(), expired)) == ("fail", 15, 15)
    assert outcome(judge(value, expired))[0] == "warn"


def test_single_checks_have_modes_of_their_own() -> None:
    expired = signature(ALICE, {media.CLAIM_EXPIRES: "2020-01-01T00:00:00Z"})
    assert outcome(judge({"checks": {"expiry": "warn"}}, expired)) == ("warn", 0, 15)
    assert outcome(judge({"checks": {"expiry": "warn"}})) == ("fail", 10, 10)
    assert outcome(judge({"mode": "audit", "checks": {"expiry": "enforce"}}, expired)) == ("fail", 15, 15)


def test_the_exit_code_is_of_the_most_serious_reason_that_is_enforced() -> None:
    verdict = judge({"mode": "warn", "checks": {"rollback": "enforce"}, "minSequence": 3, "context": {"a": "b"}})
    assert outcome(verdict) == ("warn", 0, 10)
    verdict = judge(
        {
            "checks": {"attestations": "warn"},
            "minSequence": 3,
            "attestations": [{"predicateType": EVALUATION, "from": ["bob"]}],
        },
        signature(ALICE, {media.CLAIM_SEQUENCE: "2"}),
    )
    assert reasons(verdict) == [(18, "rollback"), (19, "missing-attestation")]
    assert outcome(verdict) == ("fail", 18, 18)
    with pytest.raises(Exception, match="sequence number 2"):
        verdict.raise_if_refused()


@pytest.mark.parametrize("mode", MODES)
def test_damage_refuses_in_every_mode(mode: str) -> None:
    forged = signature(MALLORY)
    claimed = replace(forged, names=frozenset({ALICE.public.keyid}))
    assert outcome(judge({"mode": mode}, claimed)) == ("fail", 14, 14)


@pytest.mark.parametrize("mode", MODES)
def test_a_manifest_that_is_another_refuses_in_every_mode(mode: str) -> None:
    found = replace(evidence(signature()), manifest=manifest(layer("other.safetensors")))
    verdict = policy(document(scope(mode=mode, formats={"deny": ["pickle"]}))).evaluate(found, NOW)
    assert outcome(verdict)[:2] == ("fail", 14)


# --- thresholds and roles -------------------------------------------------------------------------------------


def test_two_signatures_by_one_key_are_one() -> None:
    two = {"signatures": {"from": ["alice", "bob"], "threshold": 2}}
    assert reasons(judge(two, signature(), signature(ALICE, {"k": "v"}))) == [(12, "too-few")]
    assert outcome(judge(two, signature(), signature(BOB))) == ("pass", 0, 0)


def test_a_key_outside_of_from_counts_for_nothing() -> None:
    assert reasons(judge({"signatures": {"from": ["alice"]}}, signature(BOB))) == [(12, "untrusted-signer")]


def test_roles_have_places_of_their_own() -> None:
    wanted = {"signatures": {"roles": {"builder": 1, "approver": 1}}}
    verdict = judge(wanted, signature())
    assert reasons(verdict) == [(12, "too-few")]
    assert "1 approver is missing" in verdict.reasons[0].detail
    assert outcome(judge(wanted, signature(), signature(BOB))) == ("pass", 0, 0)
    assert reasons(judge(wanted, signature(), signature(CAROL))) == [(12, "too-few")]


def test_a_policy_that_names_nobody_accepts_nothing() -> None:
    for candidates in [(), (signature(),), (signature(), signature(BOB), said(CAROL, {}))]:
        verdict = judge({"signatures": {"from": []}}, *candidates)
        assert verdict.outcome == "fail"
        assert (12, "no-key") in reasons(verdict)


def test_claims_of_one_signature_never_help_another() -> None:
    two = {
        "signatures": {"from": ["alice", "bob"], "threshold": 2},
        "context": {"stage": "final"},
    }
    assert reasons(judge(two, signature(ALICE, {"stage": "final"}), signature(BOB))) == [(17, "metadata-mismatch")]
    assert (
        outcome(judge(two, signature(ALICE, {"stage": "final"}), signature(BOB, {"stage": "final"})))[0] == "pass"
    )


# --- keys that ended ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clock:
    """A witness who saw every signature at one time."""

    time: datetime
    id: str = "clock"

    def time_of(self, signed: Signed, now: datetime, leeway: timedelta) -> datetime | None:
        return self.time


def ended(**standing: Any) -> TrustPolicy:
    return policy(document(scope(), keys=ring(alice=line(ALICE, "builder", **standing))))


def seen(found: TrustPolicy, time: datetime) -> TrustPolicy:
    return replace(found, ring=replace(found.ring, witnesses=(Clock(time),)))


REVOKED = {"status": "revoked", "reason": "stolen"}


def test_a_revoked_key() -> None:
    verdict = judge(ended(**REVOKED), signature())
    assert reasons(verdict) == [(16, "revoked-key")]
    assert "stolen" in verdict.reasons[0].detail
    assert [report.status for report in verdict.signers] == ["revoked"]
    with pytest.raises(RevokedError):
        verdict.raise_if_refused()


@pytest.mark.parametrize("mode", MODES)
def test_a_revoked_key_refuses_in_every_mode(mode: str) -> None:
    value = document(scope(mode=mode), keys=ring(alice=line(ALICE, **REVOKED)))
    assert outcome(judge(policy(value), signature())) == ("fail", 16, 16)


def test_a_revoked_key_beside_a_good_one_spoils_nothing() -> None:
    value = document(scope(signatures={"from": ["alice", "bob"]}), keys=ring(alice=line(ALICE, **REVOKED)))
    assert outcome(judge(policy(value), signature(), signature(BOB))) == ("pass", 0, 0)


@pytest.mark.parametrize(("hours", "passes"), [(-1, True), (0, False), (1, False), (None, False)])
def test_a_compromised_key_counts_only_before(hours: int | None, passes: bool) -> None:
    since = NOW - timedelta(days=9)
    found = ended(**REVOKED, compromisedSince=format_time(since))
    if hours is not None:
        found = seen(found, since + timedelta(hours=hours))
    assert (judge(found, signature()).outcome == "pass") is passes


@pytest.mark.parametrize(("hours", "passes"), [(-1, True), (0, True), (1, False), (None, False)])
def test_a_retired_key_counts_only_with_a_trusted_time(hours: int | None, passes: bool) -> None:
    at = NOW - timedelta(days=9)
    found = ended(status="retired", retiredAt=format_time(at), replacedBy="bob")
    if hours is not None:
        found = seen(found, at + timedelta(hours=hours))
    verdict = judge(found, signature())
    assert reasons(verdict) == ([] if passes else [(15, "retired-key")])
    assert passes or "bob replaces it" in verdict.reasons[0].detail


def test_a_retired_key_counts_no_more_but_a_signature_by_an_active_one_does() -> None:
    value = document(
        scope(signatures={"from": ["alice", "bob"]}),
        keys=ring(alice=line(ALICE, status="retired", retiredAt="2026-01-01T00:00:00Z")),
    )
    assert outcome(judge(policy(value), signature(), signature(BOB))) == ("pass", 0, 0)


@pytest.mark.parametrize(
    ("window", "reason"),
    [
        ({"validFrom": "2026-06-02T00:00:00Z"}, "key-not-yet-valid"),
        ({"validUntil": "2026-05-31T00:00:00Z"}, "key-expired"),
        ({"validFrom": "2026-01-01T00:00:00Z", "validUntil": "2026-12-01T00:00:00Z"}, ""),
        ({"validFrom": "2026-06-01T12:00:30Z"}, ""),  # within the leeway
        ({"validUntil": "2026-06-01T11:59:30Z"}, ""),
        ({"validUntil": "2026-06-01T11:58:59Z"}, "key-expired"),
    ],
)
def test_keys_count_in_their_time(window: dict[str, str], reason: str) -> None:
    verdict = judge(ended(**window), signature())
    assert reasons(verdict) == ([(15, reason)] if reason else [])


def test_a_trusted_time_within_the_keys_time_makes_an_old_signature_count() -> None:
    found = ended(validUntil="2026-05-01T00:00:00Z")
    assert judge(found, signature()).outcome == "fail"
    assert judge(seen(found, datetime(2026, 4, 1, tzinfo=UTC)), signature()).outcome == "pass"


# --- what is revoked, and what is old -------------------------------------------------------------------------


def revoking(raw: bytes = SAFE, **rules: Any) -> TrustPolicy:
    entry = {"digest": str(subject(raw).digest), "reason": "poisoned", "replacedBy": "1.4.3"}
    return policy(document(scope(**rules), revoked={"digests": [entry]}))


@pytest.mark.parametrize("mode", MODES)
def test_a_revoked_digest_beats_everything_in_every_mode(mode: str) -> None:
    exemption = {
        "digest": str(subject().digest),
        "reason": "r",
        "owner": "ops",
        "expires": "2027-01-01T00:00:00Z",
    }
    for candidates in [(signature(), signature(BOB)), ()]:
        verdict = judge(revoking(mode=mode, exemptions=[exemption]), *candidates)
        assert outcome(verdict)[:2] == ("fail", 16)
        assert "use 1.4.3" in verdict.reasons[0].detail
    other = manifest(layer("other.safetensors"))
    assert judge(revoking(other, mode=mode), signature()).outcome == "pass"


def test_a_revoked_digest_is_refused_where_no_scope_is_for_it() -> None:
    assert reasons(judge(revoking(), signature(), name="elsewhere/x")) == [(16, "revoked-digest"), (12, "no-scope")]


@pytest.mark.parametrize(("seconds", "passes"), [(-61, True), (-1, True), (0, True), (59, True), (60, False)])
def test_a_policy_that_is_too_old_decides_nothing(seconds: int, passes: bool) -> None:
    value = policy(document(scope(), expires=format_time(NOW)))
    verdict = judge(value, signature(), now=NOW + timedelta(seconds=seconds))
    assert (verdict.outcome == "pass") is passes
    if not passes:
        with pytest.raises(StaleTrustError):
            verdict.raise_if_refused()


def test_how_old_a_policy_may_be() -> None:
    value = document(scope(freshness={"maxAge": "7d"}), issued=format_time(NOW - timedelta(days=7)))
    assert judge(policy(value), signature()).outcome == "pass"
    assert reasons(judge(policy(value), signature(), now=NOW + timedelta(minutes=2))) == [(21, "stale-policy")]


# --- freshness and floors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "passes"), [(-1, True), (0, True), (59, True), (60, False)])
def test_an_expired_signature_and_the_leeway(seconds: int, passes: bool) -> None:
    signed = signature(ALICE, {media.CLAIM_EXPIRES: format_time(NOW)})
    verdict = judge({}, signed, now=NOW + timedelta(seconds=seconds))
    assert reasons(verdict) == ([] if passes else [(15, "expired")])
    assert judge({"freshness": {"clockLeeway": "0s"}}, signed).outcome == "fail"


def test_ends_that_are_asked_for() -> None:
    asked = {"freshness": {"requireExpiry": True, "maxValidity": "30d"}}
    assert reasons(judge(asked, signature())) == [(15, "no-expiry")]
    soon = signature(ALICE, {media.CLAIM_EXPIRES: format_time(NOW + timedelta(days=30))})
    late = signature(ALICE, {media.CLAIM_EXPIRES: format_time(NOW + timedelta(days=31))})
    assert judge(asked, soon).outcome == "pass"
    assert reasons(judge(asked, late)) == [(15, "expiry-too-far")]
    # Statements that only say something need no end.
    gate = {"predicateType": EVALUATION, "from": ["bob"]}
    assert judge(asked | {"attestations": [gate]}, soon, said(BOB, {})).outcome == "pass"


@pytest.mark.parametrize(
    ("sequence", "passes"), [("7", True), ("8", True), ("6", False), (None, False), ("07", False), ("-9", False)]
)
def test_a_floor_for_sequence_numbers(sequence: str | None, passes: bool) -> None:
    claims = {} if sequence is None else {media.CLAIM_SEQUENCE: sequence}
    verdict = judge({"minSequence": 7}, signature(ALICE, claims))
    assert reasons(verdict) == ([] if passes else [(18, "rollback")])
    assert verdict.sequence == (int(sequence) if sequence in ("6", "7", "8") else None)


def test_a_number_that_nobody_trusted_signed_raises_nothing() -> None:
    verdict = judge({"minSequence": 7}, signature(), signature(MALLORY, {media.CLAIM_SEQUENCE: "9"}))
    assert reasons(verdict) == [(18, "rollback")]
    gate = {"predicateType": media.SLSA_SUMMARY, "from": ["carol"]}
    numbered = said(CAROL, summary(), media.SLSA_SUMMARY, {media.CLAIM_SEQUENCE: "9"})
    assert judge({"minSequence": 7, "attestations": [gate]}, signature(), numbered).outcome == "pass"
    assert judge({"minSequence": 7}, signature(), numbered).outcome == "fail"


# --- gates ----------------------------------------------------------------------------------------------------

ACCURATE = {"properties": {"accuracy": {"type": "number", "minimum": 0.9}}, "required": ["accuracy"]}
GATE = {"predicateType": EVALUATION, "name": "accuracy", "from": ["bob"], "schema": ACCURATE}


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (said(BOB, {"accuracy": 0.93}), ""),
        (said(BOB, {"accuracy": 0.89}), "attestation-fails"),
        (said(BOB, {}), "attestation-fails"),
        (said(BOB, {"accuracy": "0.93"}), "attestation-fails"),
        (said(ALICE, {"accuracy": 0.93}), "missing-attestation"),
        (said(MALLORY, {"accuracy": 0.93}), "missing-attestation"),
        (said(BOB, {"accuracy": 0.93}, "https://example.org/other"), "missing-attestation"),
        (said(BOB, {"accuracy": 0.93}, claims={media.CLAIM_EXPIRES: "2026-05-01T00:00:00Z"}), "attestation-fails"),
        (said(BOB, {"accuracy": 0.93}, claims={media.CLAIM_ENVIRONMENT: "dev"}), "attestation-fails"),
        (said(BOB, {"accuracy": 0.93}, raw=manifest(layer("other"))), "attestation-fails"),
        (signature(BOB), "missing-attestation"),
    ],
)
def test_an_attestation_that_is_asked_for(candidate: Candidate, reason: str) -> None:
    verdict = judge({"attestations": [GATE], "environment": "prod"}, signature(), candidate)
    assert reasons(verdict) == ([(19, reason)] if reason else [])
    if reason:
        assert "accuracy" in verdict.reasons[0].detail
        with pytest.raises(GateError):
            verdict.raise_if_refused()


def test_one_good_statement_among_bad_ones_is_enough() -> None:
    candidates = [said(BOB, {"accuracy": 0.1}), said(MALLORY, {}), said(BOB, {"accuracy": 0.95})]
    assert judge({"attestations": [GATE]}, signature(), *candidates).outcome == "pass"


def test_statements_by_several() -> None:
    gate = {"predicateType": EVALUATION, "from": ["bob", "carol"], "threshold": 2}
    assert reasons(judge({"attestations": [gate]}, signature(), said(BOB, {}), said(BOB, {"n": 1}))) == [
        (19, "missing-attestation")
    ]
    assert judge({"attestations": [gate]}, signature(), said(BOB, {}), said(CAROL, {})).outcome == "pass"


def test_attestations_never_stand_for_a_signature_and_no_signature_passes_a_gate() -> None:
    both = {"attestations": [{"predicateType": EVALUATION, "from": ["alice"]}]}
    assert reasons(judge(both, said(ALICE, {}))) == [(10, "unsigned")]
    assert reasons(judge(both, signature())) == [(19, "missing-attestation")]


@pytest.mark.parametrize(
    ("when", "passes"),
    [
        ("2026-05-30T00:00:00Z", True),
        ("2026-04-01T00:00:00Z", False),
        ("2026-06-02T00:00:00Z", False),
        ("soon", False),
        (7, False),
        (None, False),
    ],
)
def test_how_old_a_statement_may_be(when: object, passes: bool) -> None:
    gate = {"predicateType": EVALUATION, "from": ["bob"], "maxAge": "30d", "time": "run.at"}
    predicate = {} if when is None else {"run": {"at": when}}
    verdict = judge({"attestations": [gate]}, signature(), said(BOB, predicate))
    assert (verdict.outcome == "pass") is passes


def test_a_trusted_time_says_how_old_a_statement_is() -> None:
    gate = {"predicateType": EVALUATION, "from": ["bob"], "maxAge": "30d", "time": "at"}
    found = seen(policy(document(scope(attestations=[gate]))), NOW - timedelta(days=40))
    assert judge(found, signature(), said(BOB, {"at": format_time(NOW)})).outcome == "fail"


def test_known_predicates_say_when_by_themselves() -> None:
    gate = {"predicateType": media.SLSA_SUMMARY, "from": ["carol"], "maxAge": "1d"}
    young = said(CAROL, summary(NOW - timedelta(hours=3)), media.SLSA_SUMMARY)
    old = said(CAROL, summary(NOW - timedelta(hours=30)), media.SLSA_SUMMARY)
    assert judge({"attestations": [gate]}, signature(), young).outcome == "pass"
    assert judge({"attestations": [gate]}, signature(), old).outcome == "fail"


# --- verification summaries ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("predicate", "claims", "passes"),
    [
        (summary(), {media.CLAIM_ENVIRONMENT: "prod"}, True),
        (summary(), {}, False),
        (summary(), {media.CLAIM_ENVIRONMENT: "staging"}, False),
        (summary(name="registry.example.org/other"), {media.CLAIM_ENVIRONMENT: "prod"}, False),
        (summary() | {"verificationResult": "FAILED"}, {media.CLAIM_ENVIRONMENT: "prod"}, False),
        ({"verificationResult": "PASSED"}, {media.CLAIM_ENVIRONMENT: "prod"}, False),
    ],
)
def test_a_summary_is_for_one_repository_and_one_environment(
    predicate: dict[str, Any], claims: dict[str, str], passes: bool
) -> None:
    gate = {"predicateType": media.SLSA_SUMMARY, "from": ["carol"]}
    found = said(CAROL, predicate, media.SLSA_SUMMARY, claims)
    verdict = judge({"environment": "prod", "attestations": [gate]}, signature(), found)
    assert reasons(verdict) == ([] if passes else [(19, "attestation-fails")])


@pytest.mark.parametrize(("environment", "passes"), [("staging", True), ("prod", False), ("", False)])
def test_the_summary_of_the_step_before(environment: str, passes: bool) -> None:
    gate = {
        "predicateType": media.SLSA_SUMMARY,
        "from": ["carol"],
        "resource": "registry.example.org/staging/*",
        "environment": "staging",
    }
    claims = {media.CLAIM_ENVIRONMENT: environment} if environment else {}
    found = said(CAROL, summary(name="registry.example.org/staging/model"), media.SLSA_SUMMARY, claims)
    assert (judge({"environment": "prod", "attestations": [gate]}, signature(), found).outcome == "pass") is passes


RETIRED = {"status": "retired", "retiredAt": "2026-05-01T00:00:00Z"}
BEFORE, AFTER = datetime(2026, 4, 30, tzinfo=UTC), datetime(2026, 5, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("signer", "time", "of", "carol", "passes"),
    [
        (CAROL, BEFORE, signature(), {}, True),
        (CAROL, AFTER, signature(), {}, False),
        (CAROL, NOW + timedelta(days=1), signature(), {}, False),
        (CAROL, BEFORE, signature(ALICE, {"another": "one"}), {}, False),
        (CAROL, BEFORE, signature(), {"status": "revoked"}, False),
        (CAROL, BEFORE, signature(), RETIRED, False),
        (MALLORY, BEFORE, signature(), {}, False),
        (ALICE, BEFORE, signature(), {}, False),  # nobody vouches for oneself
        (BOB, BEFORE, signature(), {}, False),  # no promoter
    ],
)
def test_a_summary_by_an_active_promoter_says_when_a_signature_was_there(
    signer: Signer, time: datetime, of: Candidate, carol: dict[str, Any], passes: bool
) -> None:
    for standing in (RETIRED, {"status": "revoked", "compromisedSince": "2026-05-01T00:00:00Z"}):
        gates = [{"predicateType": "https://example.org/other", "from": ["carol"]}]
        rules = scope(attestations=gates, checks={"attestations": "audit"}, mode="enforce")
        keys = ring(alice=line(ALICE, "builder", **standing), carol=line(CAROL, "promoter", **carol))
        found = said(signer, summary(time, inputs=[of.digest]), media.SLSA_SUMMARY)
        verdict = policy(document(rules, keys=keys)).evaluate(evidence(signature(), found), NOW)
        assert (verdict.exit_code == 0) is passes


# --- formats --------------------------------------------------------------------------------------------------

DENY: dict[str, Any] = {"formats": {"deny": ["pickle"]}}


@pytest.mark.parametrize(
    "found",
    [
        layer("model.pkl"),
        layer("weights/pytorch_model-00001-of-00002.bin"),
        layer("a.PT"),
        layer("model.ckpt"),
        layer("x.joblib.gz"),
        layer("innocent.txt", "application/x-pickle"),
        {**layer("x"), "annotations": {media.TITLE: "model.pth"}},
        {**layer("x"), "annotations": {"org.cnai.model.filepath": "model.pkl"}},
    ],
)
def test_pickles_are_kept_out_by_name_and_type(found: dict[str, Any]) -> None:
    raw = manifest(layer("config.json", "application/vnd.cncf.model.weight.config.v1.raw"), found)
    verdict = judge(DENY, signature(raw=raw), raw=raw)
    assert reasons(verdict) == [(19, "format-denied")]
    assert outcome(judge({"formats": {"allow": ["pickle"]}}, signature(raw=raw), raw=raw))[0] == "pass"
    assert outcome(judge({**DENY, "mode": "warn"}, signature(raw=raw), raw=raw)) == ("warn", 0, 19)
    assert outcome(judge({**DENY, "checks": {"formats": "audit"}}, signature(raw=raw), raw=raw)) == ("warn", 0, 19)


@pytest.mark.parametrize(
    ("found", "passes"),
    [
        (layer("model.safetensors"), True),
        (layer("config.json", "application/vnd.cncf.model.weight.config.v1.raw"), True),
        (layer("README.md", "application/vnd.cncf.model.doc.v1.raw"), True),
        (layer("model.gguf"), False),
        (layer("model.dat"), False),  # a weight of a format that nobody knows
        (layer("model.onnx", "application/vnd.cncf.model.doc.v1.raw"), False),
        (layer("group", "application/vnd.cncf.model.doc.v1.tar"), True),  # looked into once it is unpacked
    ],
)
def test_only_allowed_formats(found: dict[str, Any], passes: bool) -> None:
    raw = manifest(found)
    verdict = judge({"formats": {"allow": ["safetensors"]}}, signature(raw=raw), raw=raw)
    assert (verdict.outcome == "pass") is passes


def test_files_that_nobody_knows_are_not_let_through() -> None:
    found = replace(evidence(signature()), manifest=None)
    assert reasons(policy(document(scope(**DENY))).evaluate(found, NOW)) == [(19, "format-denied")]


# --- deployment -----------------------------------------------------------------------------------------------


def with_provenance(**facts: str) -> tuple[bytes, bytes]:
    document = provenance(**facts)
    return manifest(layer("model.safetensors"), layer("p", media.PROVENANCE_LAYER, document)), document


WANTED = {"model.version": ">=1.4,<2", "package.torch": "==2.5.*", "accelerator": ["H100", "H200"]}


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({}, ""),
        ({"version": "1.4.0rc1"}, "model.version"),
        ({"version": "2.0"}, "model.version"),
        ({"version": "latest"}, "model.version"),
        ({"accelerator": "T4"}, "accelerator"),
        ({"torch": "2.6.0"}, "package.torch"),
    ],
)
def test_metadata_that_the_policy_asks_for(facts: dict[str, str], reason: str) -> None:
    raw, document = with_provenance(**facts)
    verdict = judge({"context": WANTED}, signature(raw=raw), raw=raw, provenance=document)
    if not reason:
        assert outcome(verdict) == ("pass", 0, 0)
        return
    assert reasons(verdict) == [(17, "metadata-mismatch")]
    assert reason in verdict.reasons[0].detail
    with pytest.raises(ContextError):
        verdict.raise_if_refused()


def test_what_nothing_signed_says_is_a_mismatch() -> None:
    verdict = judge({"context": {"model.version": ">=1"}}, signature())
    assert "nothing that was signed says model.version" in verdict.reasons[0].detail


def test_claims_say_it_as_well() -> None:
    assert judge({"context": {"stage": "final"}}, signature(ALICE, {"stage": "final"})).outcome == "pass"
    assert judge({"context": {"stage": "final"}}, signature(ALICE, {"stage": "draft"})).outcome == "fail"
    # A claim and the provenance that contradict each other never agree with both.
    raw, document = with_provenance()
    contradicting = signature(ALICE, {"accelerator": "T4"}, raw)
    assert (
        judge({"context": {"accelerator": ["H100"]}}, contradicting, raw=raw, provenance=document).outcome == "fail"
    )


def test_the_context_of_the_deployment_is_held_against_the_provenance() -> None:
    raw, document = with_provenance()
    for given, passes in (
        ({"accelerator": "H100"}, True),
        ({"accelerator": "T4"}, False),
        ({"unknown": "x"}, True),
    ):
        verdict = judge({}, signature(raw=raw), raw=raw, provenance=document, context=given)
        assert (verdict.outcome == "pass") is passes


def test_the_provenance_is_asked_for_only_where_it_can_matter() -> None:
    raw, document = with_provenance()
    signed = evidence(signature(raw=raw), raw=raw)
    asking = policy(document_of(context=WANTED))
    assert asking.wants(signed, NOW) is not None
    assert asking.wants(replace(signed, provenance=document), NOW) is None
    assert asking.wants(replace(signed, candidates=()), NOW) is None, "signatures come first"
    assert asking.wants(evidence(signature(MALLORY, raw=raw), raw=raw), NOW) is None
    assert asking.wants(evidence(signature()), NOW) is None, "there is none"
    assert asking.wants(replace(signed, name="elsewhere"), NOW) is None
    plain = policy(document_of())
    assert plain.wants(signed, NOW) is None
    assert plain.wants(signed, NOW, {"environment": "prod"}) is None
    assert plain.wants(signed, NOW, {"accelerator": "H100"}) is not None


def document_of(**rules: Any) -> dict[str, Any]:
    return document(scope(**rules))


def test_a_provenance_that_is_another_is_damage() -> None:
    raw, _ = with_provenance()
    for bad in (provenance(version="1.5"), b"", b"{}"):
        verdict = judge({"context": WANTED}, signature(raw=raw), raw=raw, provenance=bad)
        assert outcome(verdict)[:2] == ("fail", 14)


@pytest.mark.parametrize(
    ("claimed", "given", "passes"),
    [
        ({}, {}, True),
        ({media.CLAIM_ENVIRONMENT: "prod"}, {}, True),
        ({media.CLAIM_ENVIRONMENT: "dev"}, {}, False),
        ({}, {"environment": "prod"}, True),
        ({}, {"environment": "dev"}, False),
        ({media.CLAIM_ENVIRONMENT: "dev"}, {"environment": "dev"}, False),
    ],
)
def test_the_environment_of_the_scope(claimed: dict[str, str], given: dict[str, str], passes: bool) -> None:
    verdict = judge({"environment": "prod"}, signature(ALICE, claimed), context=given)
    assert reasons(verdict) == [] if passes else (17, "metadata-mismatch") in reasons(verdict)


# --- exemptions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("expires", "passes"), [("2026-06-02T00:00:00Z", True), ("2026-06-01T12:00:00Z", False)])
def test_somebody_answers_for_an_exemption_until_it_ends(expires: str, passes: bool) -> None:
    exemption = {"digest": str(subject().digest), "reason": "old", "owner": "ops", "expires": expires}
    verdict = judge({"exemptions": [exemption]})
    assert outcome(verdict) == (("warn", 0, 10) if passes else ("fail", 10, 10))
    assert not passes or "exempted by ops" in verdict.warnings[0]


def test_an_exemption_is_for_one_digest() -> None:
    exemption = {"digest": "sha256:" + "0" * 64, "reason": "old", "owner": "ops", "expires": "2027-01-01T00:00:00Z"}
    assert judge({"exemptions": [exemption]}).outcome == "fail"
