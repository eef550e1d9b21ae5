"""The decision, rule by rule: each exit code, and what never counts."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from ocimodel import jsonio
from ocimodel.attest.referrer import Attachment, attach
from ocimodel.attest.signed import SignedStatement
from ocimodel.attest.statement import attestation_statement, signature_statement
from ocimodel.errors import (
    ConfigurationError,
    ContextError,
    ExpiredError,
    IntegrityError,
    UnsignedError,
    UntrustedError,
)
from ocimodel.keys.public import PublicKey
from ocimodel.keys.signer import Signer
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.trust.attestations import attestations, attested
from ocimodel.trust.claims import expiry, format_time, parse_time
from ocimodel.trust.counting import Demand
from ocimodel.trust.evidence import Candidate, Evidence
from ocimodel.trust.policy import TrustPolicy, Verdict, Verified
from ocimodel.trust.ring import KeyEntry, Ring
from ocimodel.trust.rules import Rules
from ocimodel.trust.scope import Glob
from tests.signers import ALICE, BOB, CAROL, MALLORY, MODEL, OTHER, attachment, evidence, read

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
EVALUATION = "https://example.org/evaluation"


def judge(
    *found: Candidate | Attachment,
    keys: tuple[Signer, ...] = (ALICE,),
    threshold: int = 1,
    truncated: bool = False,
    now: datetime = NOW,
    context: dict[str, str] | None = None,
) -> Verdict:
    policy = TrustPolicy.of_keys([signer.public for signer in keys], threshold)
    return policy.evaluate(evidence(*found, truncated=truncated), now, context or {})


def code(verdict: Verdict) -> tuple[int, str]:
    assert verdict.outcome == ("fail" if verdict.exit_code else "pass")
    assert (verdict.verified is None) == (verdict.exit_code != 0)
    return verdict.exit_code, verdict.reasons[0].reason if verdict.reasons else ""


def statuses(verdict: Verdict) -> list[str]:
    return [report.status for report in verdict.signers]


def attestation(signer: Signer, **options: Any) -> Attachment:
    statement = attestation_statement(MODEL.digest, EVALUATION, b'{"accuracy":0.91}', options.pop("claims", None))
    return attachment(signer, statement=statement, predicate_type=EVALUATION, **options)


def damaged(found: Attachment, old: bytes, new: bytes) -> Attachment:
    """The same attachment with other bytes in the bundle, under a manifest that fits them."""
    changed = found.bundle.replace(old, new)
    assert changed != found.bundle
    keyid = found.descriptor.annotations.get(media.KEY_ID, "")
    kind = found.descriptor.annotations[media.BUNDLE_PREDICATE_TYPE]
    return attach(changed, MODEL, predicate_type=kind, keyid=keyid)


def bad_signature(signer: Signer, **options: Any) -> Attachment:
    """A well-formed signature that ``signer`` never made, though it says so."""
    forged = attachment(MALLORY, **options)
    return damaged(forged, MALLORY.public.hint.encode(), signer.public.hint.encode())


# --- it passes -------------------------------------------------------------------------------


@pytest.mark.parametrize("signer", [ALICE, BOB, CAROL])
def test_a_signature_by_a_trusted_key(signer: Signer) -> None:
    verdict = judge(attachment(signer, {"k": "v"}), keys=(signer,))
    assert code(verdict) == (0, "")
    proof = verdict.raise_if_refused()
    assert (proof.subject, proof.keyids, proof.claims) == (MODEL, (signer.public.keyid,), ({"k": "v"},))
    assert proof.name == "registry.example.org/model"


def test_a_report_of_each_candidate() -> None:
    (report,) = judge(attachment(ALICE, {"k": "v"})).signers
    assert report.to_dict() == {
        "keyid": ALICE.public.keyid,
        "identity": "alice",
        "format": "sigstore",
        "status": "good",
        "detail": "",
        "digest": str(attachment(ALICE, {"k": "v"}).descriptor.digest),
        "claims": {"k": "v"},
    }
    assert jsonio.pretty(report.to_dict())


def test_a_hint_decides_nothing() -> None:
    unnamed = damaged(attachment(ALICE, keyid=""), ALICE.public.hint.encode(), b"c29tZXRoaW5nIGVsc2U=")
    assert code(judge(unnamed)) == (0, "")
    misnamed = damaged(attachment(ALICE, keyid=""), ALICE.public.hint.encode(), BOB.public.hint.encode())
    assert code(judge(misnamed, keys=(BOB, ALICE))) == (0, "")


def test_statement_0_1_and_further_subjects_are_read() -> None:
    document = json.loads(signature_statement(MODEL.digest))
    document["_type"] = media.STATEMENT_V01
    document["subject"].insert(0, {"name": "n", "digest": {"sha256": OTHER.digest.hex}})
    assert code(judge(attachment(ALICE, statement=json.dumps(document).encode()))) == (0, "")


def test_garbage_spoils_nothing() -> None:
    garbage: list[Candidate | Attachment] = [
        bad_signature(ALICE),
        attachment(MALLORY),
        attachment(ALICE, about=OTHER),
        attestation(ALICE),
        attachment(ALICE, {media.CLAIM_EXPIRES: "2020-01-01T00:00:00Z"}),
        attachment(ALICE, {media.CLAIM_EXPIRES: "tomorrow"}),
        Candidate.unreadable(attachment(ALICE, {"n": "1"}).descriptor, "gone"),
    ]
    verdict = judge(*garbage, attachment(ALICE), truncated=True)
    assert code(verdict) == (0, "")
    assert statuses(verdict) == [
        "bad-signature",
        "untrusted",
        "other-subject",
        "attestation",
        "expired",
        "bad-claim",
        "malformed",
        "good",
    ]


# --- 10 --------------------------------------------------------------------------------------


def test_nothing_at_all_is_unsigned() -> None:
    verdict = judge()
    assert code(verdict) == (10, "unsigned")
    with pytest.raises(UnsignedError) as caught:
        verdict.raise_if_refused()
    assert caught.value.verdict is verdict
    assert caught.value.reasons == verdict.reasons


def test_an_attestation_never_stands_for_a_signature() -> None:
    verdict = judge(attestation(ALICE), attestation(MALLORY))
    assert code(verdict) == (10, "unsigned")
    assert statuses(verdict) == ["attestation", "attestation"]
    assert verdict.klass == "trust"


def test_not_even_under_a_signatures_label() -> None:
    statement = attestation_statement(MODEL.digest, EVALUATION, b"{}")
    mislabelled = attachment(ALICE, statement=statement)
    assert code(judge(mislabelled)) == (10, "unsigned")
    assert code(judge(attachment(MALLORY, statement=statement, keyid=""))) == (10, "unsigned")


def test_a_signature_under_an_attestations_label_is_one() -> None:
    assert code(judge(attachment(ALICE, predicate_type=EVALUATION))) == (0, "")


def test_other_referrers_are_no_signatures() -> None:
    other = Candidate(digest=OTHER.digest, size=1, subject=MODEL, problem="not a signature")
    verdict = judge(other)
    assert code(verdict) == (10, "unsigned")
    assert verdict.signers == ()


# --- 12 --------------------------------------------------------------------------------------


def test_a_signature_by_nobody_we_trust() -> None:
    verdict = judge(attachment(MALLORY))
    assert code(verdict) == (12, "untrusted-signer")
    with pytest.raises(UntrustedError):
        verdict.raise_if_refused()


def test_a_signature_that_was_made_for_another_model() -> None:
    assert code(judge(attachment(ALICE, about=OTHER))) == (12, "other-subject")


def test_a_signature_that_is_attached_to_another_model() -> None:
    assert code(judge(attachment(ALICE, to=OTHER))) == (12, "other-subject")
    unattached = replace(read(attachment(ALICE)), subject=None)
    assert code(judge(unattached)) == (12, "other-subject")


def test_a_subject_counts_under_its_own_algorithm() -> None:
    document = json.loads(signature_statement(MODEL.digest))
    document["subject"][0]["digest"] = {"sha512": MODEL.digest.hex}
    assert code(judge(attachment(ALICE, statement=json.dumps(document).encode()))) == (12, "other-subject")


def test_too_many_candidates() -> None:
    assert code(judge(truncated=True)) == (12, "too-many")
    assert code(judge(attachment(MALLORY), truncated=True)) == (12, "too-many")
    assert code(judge(attestation(ALICE), truncated=True)) == (12, "too-many")


def test_other_formats_are_signatures_that_we_do_not_read() -> None:
    other = Candidate(
        digest=OTHER.digest, size=1, format="notation", signature_like=True, subject=MODEL, problem="not read"
    )
    verdict = judge(other)
    assert code(verdict) == (12, "untrusted-signer")
    assert statuses(verdict) == ["unsupported"]


def test_a_policy_without_a_key_accepts_nothing() -> None:
    assert code(judge(attachment(ALICE), keys=())) == (12, "no-key")
    assert code(judge(keys=())) == (12, "no-key")


# --- 12: thresholds --------------------------------------------------------------------------


def test_two_keys_make_two() -> None:
    both = (attachment(ALICE), attachment(BOB))
    verdict = judge(*both, keys=(ALICE, BOB, CAROL), threshold=2)
    assert code(verdict) == (0, "")
    assert set(verdict.raise_if_refused().keyids) == {ALICE.public.keyid, BOB.public.keyid}


def test_one_key_twice_makes_one() -> None:
    twice = (attachment(ALICE), attachment(ALICE, {"n": "2"}))
    verdict = judge(*twice, keys=(ALICE, BOB), threshold=2)
    assert code(verdict) == (12, "too-few")
    assert statuses(verdict) == ["good", "good"]


def test_the_same_key_given_twice_is_one_key() -> None:
    again = PublicKey.from_pem(ALICE.public.to_pem(), label="the same")
    assert len(TrustPolicy.of_keys([ALICE.public, again]).ring.entries) == 1
    with pytest.raises(ConfigurationError):
        TrustPolicy.of_keys([ALICE.public, again], 2)


@pytest.mark.parametrize("threshold", [-1, 0, 3])
def test_thresholds_that_cannot_be_meant(threshold: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TrustPolicy.of_keys([ALICE.public, BOB.public], threshold)
    assert caught.value.exit_code == 3


def test_a_policy_made_by_hand_is_no_weaker() -> None:
    one = KeyEntry(id="alice", key=ALICE.public)
    for threshold in (-1, 0, 2):
        demand = Demand(threshold=threshold, entries=frozenset({"alice"}))
        with pytest.raises(ConfigurationError):
            TrustPolicy(ring=Ring(entries=(one,)), scopes=(Rules(match=Glob.parse("**"), demand=demand),))
    with pytest.raises(ConfigurationError, match="twice"):
        Ring(entries=(one, KeyEntry(id="again", key=replace(ALICE.public, label="again"))))
    with pytest.raises(ConfigurationError, match="twice"):
        Ring(entries=(one, KeyEntry(id="alice", key=BOB.public)))


# --- 14 --------------------------------------------------------------------------------------


def test_a_signature_that_names_a_trusted_key_and_is_not_by_it() -> None:
    for keyid in ("", ALICE.public.keyid):
        verdict = judge(bad_signature(ALICE, keyid=keyid))
        assert code(verdict) == (14, "bad-signature")
        with pytest.raises(IntegrityError):
            verdict.raise_if_refused()


def test_damage_to_a_signature_that_names_a_trusted_key() -> None:
    unknown = damaged(attachment(ALICE), b"v0.3+json", b"v0.9+json")
    assert code(judge(unknown)) == (14, "malformed")
    gone = Candidate.unreadable(attachment(ALICE).descriptor, "no such blob")
    assert code(judge(gone)) == (14, "malformed")


def test_damage_where_no_trusted_key_is_named() -> None:
    unknown = damaged(attachment(ALICE, keyid=""), b"v0.3+json", b"v0.9+json")
    assert code(judge(unknown)) == (12, "untrusted-signer")
    assert code(judge(Candidate.unreadable(attachment(MALLORY).descriptor, "gone"))) == (12, "untrusted-signer")


def test_damage_that_makes_a_signature_look_like_an_attestation() -> None:
    statement = attestation_statement(MODEL.digest, EVALUATION, b"{}")
    turned = bad_signature(ALICE, statement=statement, keyid=ALICE.public.keyid)
    assert code(judge(turned)) == (14, "bad-signature")


def test_a_damaged_attestation_is_no_signature() -> None:
    gone = Candidate.unreadable(attestation(ALICE).descriptor, "no such blob")
    assert code(judge(gone)) == (10, "unsigned")


def test_a_key_that_is_good_elsewhere_is_not_damaged() -> None:
    found = (attachment(ALICE), bad_signature(ALICE))
    assert code(judge(*found, keys=(ALICE, BOB), threshold=2)) == (12, "too-few")
    assert code(judge(*found, bad_signature(BOB), keys=(ALICE, BOB), threshold=2)) == (14, "bad-signature")


def test_an_artifact_named_twice_is_ambiguous() -> None:
    document = json.loads(signature_statement(MODEL.digest, {"k": "1"}))
    document["subject"].append({"digest": {"sha256": MODEL.digest.hex}, "annotations": {"k": "2"}})
    ambiguous = attachment(ALICE, statement=json.dumps(document).encode())
    assert code(judge(ambiguous)) == (14, "ambiguous-subject")
    assert code(judge(ambiguous, attachment(ALICE))) == (0, "")


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "2099-01-01", "2099-01-01T00:00:00+01:00", "2099-13-01T00:00:00Z"]
)
def test_an_expiry_that_cannot_be_read_is_never_no_expiry(text: str) -> None:
    assert code(judge(attachment(ALICE, {media.CLAIM_EXPIRES: text}))) == (14, "bad-claim")


# --- 15 --------------------------------------------------------------------------------------


def test_a_signature_expires_at_its_very_instant() -> None:
    found = attachment(ALICE, {media.CLAIM_EXPIRES: format_time(NOW)})
    assert code(judge(found, now=NOW - timedelta(microseconds=1))) == (0, "")
    verdict = judge(found, now=NOW)
    assert code(verdict) == (15, "expired")
    assert verdict.klass == "lifecycle"
    with pytest.raises(ExpiredError):
        verdict.raise_if_refused()


def test_a_time_zone_is_only_a_spelling() -> None:
    found = attachment(ALICE, {media.CLAIM_EXPIRES: format_time(NOW)})
    east = (NOW - timedelta(seconds=1)).astimezone(timezone(timedelta(hours=9)))
    assert code(judge(found, now=east)) == (0, "")
    with pytest.raises(ValueError, match="zone"):
        judge(found, now=NOW.replace(tzinfo=None))


def test_one_signatures_life_is_not_anothers() -> None:
    old = attachment(ALICE, {media.CLAIM_EXPIRES: "2020-01-01T00:00:00Z"})
    assert code(judge(old, attachment(ALICE, {media.CLAIM_EXPIRES: "2099-01-01T00:00:00Z"}))) == (0, "")
    fresh_but_foreign = attachment(MALLORY, {media.CLAIM_EXPIRES: "2099-01-01T00:00:00Z"})
    assert code(judge(old, fresh_but_foreign)) == (15, "expired")


def test_expired_and_too_few_are_both_told() -> None:
    old = attachment(ALICE, {media.CLAIM_EXPIRES: "2020-01-01T00:00:00Z"})
    verdict = judge(old, keys=(ALICE, BOB), threshold=2)
    assert [reason.reason for reason in verdict.reasons] == ["too-few", "expired"]
    assert verdict.exit_code == 12


def test_claims_are_those_of_the_matching_subject() -> None:
    document = json.loads(signature_statement(MODEL.digest, {media.CLAIM_EXPIRES: "2020-01-01T00:00:00Z"}))
    other = {media.CLAIM_EXPIRES: "2099-01-01T00:00:00Z"}
    document["subject"].append({"digest": {"sha256": OTHER.digest.hex}, "annotations": other})
    document["predicate"] = other
    assert code(judge(attachment(ALICE, statement=json.dumps(document).encode()))) == (15, "expired")


def test_times_go_round() -> None:
    assert parse_time(format_time(NOW)) == NOW
    assert parse_time("2026-06-01T12:00:00.5Z") == NOW + timedelta(seconds=0.5)
    assert expiry({}) is None


# --- 17 --------------------------------------------------------------------------------------


def test_a_signature_for_another_environment() -> None:
    staging = attachment(ALICE, {media.CLAIM_ENVIRONMENT: "staging"})
    assert code(judge(staging)) == (0, "")
    assert code(judge(staging, context={"environment": "staging"})) == (0, "")
    verdict = judge(staging, context={"environment": "production"})
    assert code(verdict) == (17, "metadata-mismatch")
    assert verdict.klass == "context"
    with pytest.raises(ContextError, match="production"):
        verdict.raise_if_refused()


def test_claims_of_one_signature_never_help_another() -> None:
    staging = attachment(ALICE, {media.CLAIM_ENVIRONMENT: "staging"})
    production = attachment(MALLORY, {media.CLAIM_ENVIRONMENT: "production"})
    assert code(judge(staging, production, context={"environment": "production"})) == (17, "metadata-mismatch")
    expired = attachment(
        ALICE, {media.CLAIM_ENVIRONMENT: "production", media.CLAIM_EXPIRES: "2020-01-01T00:00:00Z"}
    )
    verdict = judge(staging, expired, context={"environment": "production"})
    assert [reason.reason for reason in verdict.reasons] == ["expired", "metadata-mismatch"]


def test_other_context_is_compared_with_other_annotations() -> None:
    cuda = attachment(ALICE, {"accelerator": "cuda"})
    assert code(judge(cuda, context={"accelerator": "cuda", "unheard": "of"})) == (0, "")
    assert code(judge(cuda, context={"accelerator": "rocm"})) == (17, "metadata-mismatch")


# --- the most serious first ------------------------------------------------------------------


def test_the_exit_code_is_the_most_serious_and_all_are_listed() -> None:
    verdict = judge(
        bad_signature(BOB),
        attachment(ALICE, {media.CLAIM_EXPIRES: "2020-01-01T00:00:00Z"}),
        attachment(ALICE, {media.CLAIM_ENVIRONMENT: "staging"}),
        keys=(ALICE, BOB),
        threshold=2,
        context={"environment": "production"},
        truncated=True,
    )
    assert verdict.exit_code == 14
    found = [reason.reason for reason in verdict.reasons]
    assert found == ["bad-signature", "too-many", "too-few", "expired", "metadata-mismatch"]


# --- proof -----------------------------------------------------------------------------------


def test_a_proof_is_made_by_a_policy_alone() -> None:
    with pytest.raises(TypeError, match="only a trust policy"):
        Verified(MODEL, "name", (), (), seal=object())
    with pytest.raises(TypeError):
        type("Mine", (Verified,), {})
    proof = judge(attachment(ALICE)).raise_if_refused()
    with pytest.raises(AttributeError):
        proof.subject = OTHER
    for duplicate in (copy.copy, pickle.dumps):
        with pytest.raises(TypeError):
            duplicate(proof)


def test_only_what_was_parsed_from_the_signed_bytes_is_believed() -> None:
    other = read(attachment(ALICE, about=OTHER))
    assert isinstance(other.signed, SignedStatement)
    statement = read(attachment(ALICE)).statement
    assert statement is not None
    swapped = replace(other, signed=replace(other.signed, statement=statement))
    assert code(judge(swapped)) == (14, "bad-signature")
    assert judge(replace(read(attachment(ALICE)), signed=None)).outcome == "fail"


def test_the_same_evidence_gives_the_same_verdict() -> None:
    found = evidence(attachment(ALICE), attachment(MALLORY))
    policy = TrustPolicy.of_keys([ALICE.public])
    one, two = (policy.evaluate(found, NOW) for _ in range(2))
    assert (one.outcome, one.signers, one.reasons) == (two.outcome, two.signers, two.reasons)


# --- attestations ----------------------------------------------------------------------------


def test_attestations_are_kept_apart() -> None:
    found = evidence(
        attachment(ALICE),
        attestation(ALICE),
        attestation(MALLORY),
        attestation(ALICE, to=OTHER),
        attestation(ALICE, claims={media.CLAIM_EXPIRES: "2020-01-01T00:00:00Z"}),
        bad_signature(
            ALICE,
            statement=attestation_statement(MODEL.digest, EVALUATION, b"{}"),
            predicate_type=EVALUATION,
        ),
    )
    shown = attestations(found, [ALICE.public], NOW)
    assert [str(item.status) for item in shown] == [
        "good",
        "untrusted",
        "other-subject",
        "expired",
        "bad-signature",
    ]
    (good,) = attested(found, [ALICE.public], NOW)
    assert (good.signer.opening.keyid, good.statement.predicate) == (ALICE.public.keyid, {"accuracy": 0.91})
    assert attested(found, [ALICE.public], NOW, predicate_type="https://example.org/other") == ()
    assert len(attested(found, [ALICE.public], NOW, predicate_type=EVALUATION)) == 1
    assert attested(found, [], NOW) == ()


def test_evidence_about_nothing() -> None:
    nothing = Evidence(subject=Descriptor(media_type="a/b", digest=MODEL.digest, size=0), name="")
    verdict = TrustPolicy.of_keys([ALICE.public]).evaluate(nothing, NOW)
    assert str(MODEL.digest) in verdict.reasons[0].detail
