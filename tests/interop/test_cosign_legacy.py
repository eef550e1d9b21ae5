"""cosign's legacy tags: we read what cosign 3 writes there, and cosign accepts what we write there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import run
from tests.interop.conftest import Pair, generate, pushed
from tests.real import peers
from tests.real.cosign import CosignKey, cosign_attest, cosign_sign, cosign_verify
from tests.real.registry import RealRegistry

pytestmark = pytest.mark.peer

LEGACY = ("--new-bundle-format=false",)
EVALUATION = "https://example.org/evaluation/v1"


@pytest.mark.parametrize("words", [(), ("-a", "env=prod")], ids=["plain", "claims"])
def test_we_verify_a_legacy_signature_by_cosign(
    registry: RealRegistry, model: Path, cosign_key: CosignKey, key: Pair, tmp_path: Path, words: tuple[str, ...]
) -> None:
    reference = pushed(model, registry.fresh())
    assert run("verify", reference, "--key", cosign_key.public).code == 10
    cosign_sign(reference, cosign_key, *LEGACY, *words)
    ran = run("verify", reference, "--key", cosign_key.public, "--json")
    assert ran.code == 0, ran.err
    (signer,) = ran.document["signers"]
    assert (signer["status"], signer["format"]) == ("good", "cosign-legacy")
    assert signer["claims"] == ({"env": "prod"} if words else {})
    assert run("verify", reference, "--key", key.public).code == 12
    pulled = run("pull", reference, "-o", tmp_path / "out", "--key", cosign_key.public)
    assert pulled.code == 0, pulled.err
    assert run("verify", tmp_path / "out", "--key", cosign_key.public, "--offline").code == 0
    assert run("verify", tmp_path / "out", "--key", key.public, "--offline").code == 12


def test_we_verify_what_cosign_attaches_as_a_referrer(
    registry: RealRegistry, model: Path, cosign_key: CosignKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cosign's experiment of OCI 1.1, which repeats in the referrer what stood under the tag."""
    monkeypatch.setenv("COSIGN_EXPERIMENTAL", "1")
    reference = pushed(model, registry.fresh())
    for words in ((), ("-a", "env=prod")):
        cosign_sign(reference, cosign_key, *LEGACY, "--registry-referrers-mode=oci-1-1", *words)
    ran = run("verify", reference, "--key", cosign_key.public, "--json")
    assert ran.code == 0, ran.err
    assert {signer["format"] for signer in ran.document["signers"]} == {"cosign-legacy"}
    assert {"env": "prod"} in [signer["claims"] for signer in ran.document["signers"]]


def test_a_legacy_attestation_by_cosign_is_shown_and_is_no_signature(
    registry: RealRegistry, model: Path, cosign_key: CosignKey, tmp_path: Path
) -> None:
    reference = pushed(model, registry.fresh())
    predicate = tmp_path / "predicate.json"
    predicate.write_text('{"passed": true}')
    cosign_attest(reference, cosign_key, EVALUATION, predicate, *LEGACY)
    assert run("verify", reference, "--key", cosign_key.public).code == 10
    shown = run("attest", "show", reference, "--key", cosign_key.public, "--json")
    (found,) = shown.document["attestations"]
    assert (found["predicateType"], found["verified"], found["predicate"]) == (EVALUATION, True, {"passed": True})
    cosign_sign(reference, cosign_key, *LEGACY)
    assert run("verify", reference, "--key", cosign_key.public).code == 0


KINDS = {
    "ecdsa-p256": (),
    "ecdsa-p384": ("--signature-digest-algorithm", "sha384"),
    "ecdsa-p521": ("--signature-digest-algorithm", "sha512"),
    "ed25519": (),
    "rsa-2048": (),
    "rsa-4096": (),
}
"""What cosign has to be told of each kind of key, as for its bundles."""


@pytest.mark.parametrize("kind", KINDS)
def test_cosign_verifies_our_legacy_signature(
    distribution: RealRegistry, model: Path, tmp_path: Path, kind: str
) -> None:
    pair, other = generate(tmp_path, kind), generate(tmp_path, kind, "other")
    reference = pushed(model, distribution.fresh())
    assert run("sign", reference, "--key", pair.private, "--format", "cosign-legacy").code == 0
    cosign_verify(reference, pair.public, *KINDS[kind])
    assert cosign_verify(reference, other.public, *KINDS[kind], check=False).returncode != 0
    assert run("verify", reference, "--key", pair.public).code == 0
    assert run("verify", reference, "--key", other.public).code == 12


def test_one_push_that_signs_by_the_legacy_tag(registry: RealRegistry, model: Path, key: Pair) -> None:
    reference = f"{registry.fresh()}:v1"
    ran = run("push", model, reference, "--key", key.private, "--format", "cosign-legacy", "-a", "team=risk")
    assert ran.code == 0, ran.err
    cosign_verify(reference, key.public, "-a", "team=risk")


def test_legacy_signatures_of_both_stand_under_one_tag(
    registry: RealRegistry, model: Path, cosign_key: CosignKey, key: Pair
) -> None:
    for ours_first in (True, False):
        reference = pushed(model, registry.fresh())
        words = ("sign", reference, "--key", key.private, "--format", "cosign-legacy", "-a", "team=risk")
        steps = [
            lambda words=words: run(*words),
            lambda reference=reference: cosign_sign(reference, cosign_key, *LEGACY),
        ]
        for step in steps if ours_first else reversed(steps):
            step()
        assert run(*words, "--json").document["signature"]["created"] is False
        cosign_verify(reference, key.public, "-a", "team=risk")
        cosign_verify(reference, cosign_key.public)
        assert cosign_verify(reference, cosign_key.public, "-a", "team=risk", check=False).returncode != 0
        both = run("verify", reference, "--key", key.public, "--key", cosign_key.public, "--json")
        assert [signer["status"] for signer in both.document["signers"]] == ["good", "good"]


def test_cosign_verifies_our_legacy_attestation(
    registry: RealRegistry, model: Path, cosign_key: CosignKey, key: Pair, tmp_path: Path
) -> None:
    reference = pushed(model, registry.fresh())
    predicate = tmp_path / "evaluation.json"
    predicate.write_text('{"accuracy": 0.9310, "passed": true}')
    cosign_attest(reference, cosign_key, EVALUATION, predicate, *LEGACY)
    words = ("attest", reference, "--type", EVALUATION, "--predicate", predicate, "--key", key.private)
    assert run(*words, "--format", "cosign-legacy").code == 0
    again = run(*words, "--format", "cosign-legacy", "--json")
    assert again.document["signature"]["created"] is False

    def verify(public: Path, kind: str) -> int:
        offline = ["--insecure-ignore-tlog=true", "--allow-http-registry"]
        words: list[str | Path] = ["verify-attestation", "--key", public, "--type", kind, *offline, reference]
        return peers.run("cosign", *words, check=False).returncode

    assert verify(key.public, EVALUATION) == 0
    assert verify(cosign_key.public, EVALUATION) == 0
    assert verify(key.public, "https://example.org/another") != 0
    assert run("verify", reference, "--key", key.public).code == 10


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "cosigns"])
def test_a_legacy_signature_of_another_artifact(
    distribution: RealRegistry, model: Path, cosign_key: CosignKey, key: Pair, tmp_path: Path, ours: bool
) -> None:
    """Somebody moves a good signature to where another artifact's belongs."""
    repository = distribution.fresh()
    signed = pushed(model, repository)
    other_model = tmp_path / "other"
    other_model.mkdir()
    (other_model / "config.json").write_text("{}")
    other = pushed(other_model, repository, tag="other")
    if ours:
        assert run("sign", signed, "--key", key.private, "--format", "cosign-legacy").code == 0
    else:
        cosign_sign(signed, cosign_key, *LEGACY)
    public = key.public if ours else cosign_key.public
    tags = [reference.rpartition("@")[2].replace(":", "-") + ".sig" for reference in (signed, other)]
    peers.run("crane", "tag", "--insecure", f"{repository}:{tags[0]}", tags[1])
    ran = run("verify", other, "--key", public, "--json")
    assert (ran.code, ran.document["reasons"][0]["reason"]) == (12, "other-subject")
    assert run("verify", signed, "--key", public).code == 0
