"""Signatures that are missing, somebody else's, made for something else, or not what they say."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ocimodel.attest.envelope import pae
from ocimodel.attest.statement import attestation_statement, signature_statement
from ocimodel.keys.sealing import sign_statement
from ocimodel.keys.signer import LocalSigner
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from tests.attacks.scene import Scene
from tests.commands import Ran
from tests.signers import ALICE, BOB, CAROL, MALLORY

EVALUATION = "https://example.org/evaluation/v1"


def refused(scene: Scene, code: int, reason: str) -> None:
    """`pull` and `verify` say the same, no byte of any layer was asked for, nothing arrived."""
    scene.registry.forget()
    for ran in (scene.verify("--json"), scene.pull("--json")):
        assert ran.code == ran.document["exitCode"] == code, ran.err
        assert ran.document["outcome"] == "fail"
        assert ran.document["reasons"][0]["reason"] == reason
    assert scene.asked_for(*scene.layers()) == 0
    assert scene.nothing_arrived()


def test_no_signature(scene: Scene) -> None:
    scene.push(signer=None)
    refused(scene, 10, "unsigned")


def test_another_key(signed: Scene) -> None:
    signed.push(signer=MALLORY)
    assert signed.pull(key=BOB).code == 12
    assert signed.asked_for(*signed.layers()) == 0
    assert signed.nothing_arrived()


def test_another_key_while_the_weights_are_gone(scene: Scene) -> None:
    """Trust comes before the first byte, so nobody can tell that the weights are gone."""
    scene.push(signer=MALLORY)
    del scene.repository.blobs[scene.layers()["weights.bin"]]
    refused(scene, 12, "untrusted-signer")


@pytest.mark.parametrize("signer", [ALICE, BOB, CAROL], ids=["p256", "ed25519", "p384"])
def test_a_key_of_the_same_kind_is_still_another_key(scene: Scene, signer: LocalSigner) -> None:
    scene.push(signer=signer)
    for key in (ALICE, BOB, CAROL, MALLORY):
        assert scene.verify(key=key).code == (0 if key is signer else 12)


def test_a_signature_copied_from_another_model(signed: Scene) -> None:
    """The registry lists the good signature of v1 as one of v2."""
    good = signed.signature()
    entry = signed.repository.referrers[str(signed.subject().digest)][good]
    signed.push({"weights.bin": b"evil"}, signer=None, tag="v2")
    evil = signed.repository.tags["v2"]
    signed.repository.referrers[evil] = {good: entry}
    signed.repository.tags["v1"] = evil
    refused(signed, 12, "other-subject")


def test_a_bundle_copied_from_another_model(signed: Scene) -> None:
    """Somebody who may push attaches it anew, so that only the statement itself tells."""
    original = signed.subject()
    signed.push({"weights.bin": b"evil"}, signer=None, tag="v2")
    signed.repository.tags["v1"] = signed.repository.tags["v2"]
    signed.attach(ALICE, signed.subject(), about=original)
    refused(signed, 12, "other-subject")


def test_a_statement_of_many_subjects_counts_for_each_of_them(signed: Scene) -> None:
    """One of the subjects is this model: that is a signature of it. None of them: it is not."""
    one, other = ({"digest": {"sha256": Digest.of(text).hex}} for text in (b"one", b"other"))
    own = {"digest": {"sha256": signed.subject().digest.hex}}
    for subjects, code in (([one, own], 0), ([one, other], 12)):
        signed.push(signer=None)
        signed.repository.referrers.clear()
        signed.attach(ALICE, signed.subject(), statement=statement(subjects))
        assert signed.verify().code == code


def test_a_subject_named_twice_with_claims_that_differ(scene: Scene) -> None:
    scene.push(signer=None)
    own = {"digest": {"sha256": scene.subject().digest.hex}}
    limited = own | {"annotations": {media.CLAIM_EXPIRES: "2020-01-01T00:00:00Z"}}
    scene.attach(ALICE, scene.subject(), statement=statement([own, limited]))
    refused(scene, 14, "ambiguous-subject")


@pytest.mark.parametrize(
    "digest",
    [{"sha512": "{}"}, {"sha256 ": "{}"}, {"SHA256": "{}"}, {"sha256": "{}0"}, {"sha256": "0{}"}, {}],
    ids=str,
)
def test_a_subject_that_only_looks_like_this_model(scene: Scene, digest: dict[str, str]) -> None:
    scene.push(signer=None)
    hexadecimal = scene.subject().digest.hex
    subject = {"digest": {name: value.format(hexadecimal) for name, value in digest.items()}}
    scene.attach_unchecked(ALICE, statement([subject]))
    assert scene.verify().code in (12, 14)
    assert scene.pull().code in (12, 14)
    assert scene.nothing_arrived()


def test_an_attestation_is_no_signature(scene: Scene) -> None:
    scene.push(signer=None)
    said = attestation_statement(scene.subject().digest, EVALUATION, b'{"passed": true}')
    scene.attach(ALICE, scene.subject(), statement=said, predicate_type=EVALUATION)
    refused(scene, 10, "unsigned")


def test_an_attestation_that_the_list_calls_a_signature(scene: Scene) -> None:
    """Anybody may write the annotation; only the signed statement says what it is."""
    scene.push(signer=None)
    said = attestation_statement(scene.subject().digest, EVALUATION, b'{"passed": true}')
    scene.attach(ALICE, scene.subject(), statement=said, predicate_type=media.COSIGN_SIGN)
    refused(scene, 10, "unsigned")


def test_a_signature_by_mallory_that_names_alices_key(scene: Scene) -> None:
    """In the annotation, and in the bundle's own hint."""
    scene.push(signer=None)
    scene.attach(MALLORY, scene.subject(), keyid=ALICE.public.keyid)
    refused(scene, 14, "bad-signature")
    made = edited(
        scene, MALLORY, lambda bundle: bundle["verificationMaterial"]["publicKey"].update(hint=ALICE.public.hint)
    )
    assert made.code == 14
    assert scene.nothing_arrived()


def test_a_payload_exchanged_under_a_good_signature(signed: Scene) -> None:
    """The signature of one statement over another: every field of the statement is under it."""
    subject = signed.subject()
    claims = {media.CLAIM_EXPIRES: "2020-01-01T00:00:00Z"}
    signed.repository.referrers.clear()
    signed.attach(ALICE, subject, claims=claims)
    assert signed.verify().code == 15
    longer = signature_statement(subject.digest, {media.CLAIM_EXPIRES: "2090-01-01T00:00:00Z"})
    ran = edited(
        signed,
        ALICE,
        lambda bundle: bundle["dsseEnvelope"].update(payload=base64.b64encode(longer).decode()),
        claims,
    )
    assert ran.code == 14


def test_a_signature_over_the_payload_without_its_type(scene: Scene) -> None:
    """What DSSE is for: bytes signed for another purpose are no statement."""
    scene.push(signer=None)
    text = signature_statement(scene.subject().digest)
    for signed_bytes in (text, pae("text/plain", text), pae(media.INTOTO_PAYLOAD, text) + b"\n"):
        signature = base64.b64encode(ALICE.sign(signed_bytes)).decode()
        ran = edited(
            scene, ALICE, lambda bundle, sig=signature: bundle["dsseEnvelope"].update(signatures=[{"sig": sig}])
        )
        assert ran.code == 14
        scene.repository.referrers.clear()


@pytest.mark.parametrize(
    "signatures",
    [[], [{"sig": ""}], [{"sig": "AAAA"}], "twice", [{"sig": "MAYCAQACAQA="}], [{"sig": "MAYCAQECAQE="}]],
    ids=["none", "empty", "garbage", "two", "zeros", "ones"],
)
def test_an_envelope_without_exactly_one_good_signature(scene: Scene, signatures: Any) -> None:
    scene.push(signer=None)

    def change(bundle: dict[str, Any]) -> None:
        envelope = bundle["dsseEnvelope"]
        envelope["signatures"] = envelope["signatures"] * 2 if signatures == "twice" else signatures

    assert edited(scene, ALICE, change).code == 14
    assert scene.pull().code == 14
    assert scene.nothing_arrived()


@pytest.mark.parametrize(
    "material",
    [
        {"certificate": {"rawBytes": "AAAA"}},
        {"x509CertificateChain": {"certificates": [{"rawBytes": "AAAA"}]}},
        {"publicKey": {"hint": ""}, "certificate": {"rawBytes": "AAAA"}},
        {},
    ],
    ids=lambda value: "+".join(value) or "nothing",
)
def test_verification_material_that_brings_its_own_key(scene: Scene, material: dict[str, Any]) -> None:
    """The key comes from the verifier, never from the bundle."""
    scene.push(signer=None)
    ran = edited(scene, MALLORY, lambda bundle: bundle.update(verificationMaterial=material))
    assert ran.code in (12, 14)
    assert scene.pull().code in (12, 14)
    assert scene.nothing_arrived()


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.4", "0.3.1", "1"])
def test_a_bundle_of_another_version(scene: Scene, version: str) -> None:
    scene.push(signer=None)
    kind = f"application/vnd.dev.sigstore.bundle.v{version}+json"
    assert edited(scene, ALICE, lambda bundle: bundle.update(mediaType=kind)).code in (12, 14)


def test_an_expired_signature(scene: Scene) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=3)
    scene.push(expires=timedelta(days=1), now=long_ago)
    refused(scene, 15, "expired")


@pytest.mark.parametrize("text", ["never", "2090-01-01", "2090-01-01T00:00:00+00:00", "", "9999999999"])
def test_an_expiry_that_is_no_time_is_not_no_expiry(scene: Scene, text: str) -> None:
    scene.push(signer=None)
    scene.attach(ALICE, scene.subject(), claims={media.CLAIM_EXPIRES: text})
    refused(scene, 14, "bad-claim")


def test_a_signature_for_another_environment(scene: Scene) -> None:
    scene.push(signer=None)
    scene.attach(ALICE, scene.subject(), claims={media.CLAIM_ENVIRONMENT: "staging"})
    assert scene.verify("--context", "environment=staging").code == 0
    assert scene.verify("--context", "environment=production").code == 17
    assert scene.pull("--context", "environment=production").code == 17
    assert scene.nothing_arrived()


def test_a_good_signature_among_bad_ones(signed: Scene) -> None:
    """Everything of the above at once, beside one that is good."""
    subject = signed.subject()
    signed.attach(MALLORY, subject)
    signed.attach(MALLORY, subject, keyid=ALICE.public.keyid, claims={"some": "thing"})
    signed.attach(ALICE, subject, about=replace(subject, digest=Digest.of(b"another")))
    signed.attach(ALICE, subject, claims={media.CLAIM_EXPIRES: "2020-01-01T00:00:00Z"})
    ran = signed.verify("--json")
    assert ran.code == 0
    statuses = sorted(signer["status"] for signer in ran.document["signers"])
    assert statuses == ["bad-signature", "expired", "good", "other-subject", "untrusted"]
    assert signed.pull().code == 0


def test_two_signatures_by_one_key_are_one_signer(signed: Scene) -> None:
    """Whoever is asked for twice counts once: a second --key with the same bytes is no second key."""
    again = signed.place / "again.pub"
    again.write_bytes(ALICE.public.to_pem())
    signed.attach(ALICE, signed.subject(), claims={"second": "signature"})
    ran = signed.verify("--key", again, "--json")
    assert ran.code == 0
    assert {signer["keyid"] for signer in ran.document["signers"]} == {ALICE.public.keyid}


def statement(subjects: list[dict[str, Any]]) -> bytes:
    document = {
        "_type": media.STATEMENT_V1,
        "predicate": {},
        "predicateType": media.COSIGN_SIGN,
        "subject": subjects,
    }
    return json.dumps(document).encode()


def edited(scene: Scene, signer: LocalSigner, change: Any, claims: dict[str, str] | None = None) -> Ran:
    """Attach a good signature whose bundle was edited after it was made; what `verify` says to it."""
    scene.repository.referrers.clear()
    subject = scene.subject()
    bundle = json.loads(sign_statement(signer, signature_statement(subject.digest, claims)))
    change(bundle)
    scene.attach_bundle(json.dumps(bundle).encode(), keyid=ALICE.public.keyid)
    return scene.verify()
