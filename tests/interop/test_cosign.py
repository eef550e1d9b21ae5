"""cosign 3 verifies what we sign and attest; we verify what it signs and attests, each for what it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import run
from tests.interop.conftest import Pair, generate, pushed
from tests.real import peers
from tests.real.cosign import CosignKey, cosign_attest, cosign_sign, cosign_verify, import_key
from tests.real.registry import RealRegistry

pytestmark = pytest.mark.peer

EVALUATION = "https://example.org/evaluation/v1"
MEASURED = {
    "ecdsa-p256": (),
    "ed25519": (),
    "ecdsa-p384": ("--signature-digest-algorithm", "sha384"),
    "ecdsa-p521": ("--signature-digest-algorithm", "sha512"),
    "rsa-2048": (),
    "rsa-3072": (),
    "rsa-4096": (),
}
"""What `cosign verify --key` has to be told for each kind of key, as measured with the packaged cosign."""


@pytest.mark.parametrize("kind", MEASURED)
def test_cosign_verifies_our_signature(distribution: RealRegistry, model: Path, tmp_path: Path, kind: str) -> None:
    pair = generate(tmp_path, kind)
    reference = pushed(model, distribution.fresh(), "--key", pair.private)
    verified = json.loads(cosign_verify(reference, pair.public, *MEASURED[kind]).stdout)
    assert [entry["critical"]["image"]["docker-manifest-digest"] for entry in verified] == [reference.split("@")[1]]
    other = generate(tmp_path, kind, "other")
    assert cosign_verify(reference, other.public, *MEASURED[kind], check=False).returncode != 0
    assert run("verify", reference, "--key", pair.public).code == 0
    assert run("verify", reference, "--key", other.public).code == 12


def test_cosign_needs_to_be_told_of_the_larger_curve(
    distribution: RealRegistry, model: Path, tmp_path: Path
) -> None:
    """So that the documentation stays true: without the option the same signature does not pass."""
    pair = generate(tmp_path, "ecdsa-p384")
    reference = pushed(model, distribution.fresh(), "--key", pair.private)
    assert cosign_verify(reference, pair.public, check=False).returncode != 0


def test_cosign_verifies_by_tag_and_our_later_signature(registry: RealRegistry, model: Path, key: Pair) -> None:
    repository = registry.fresh()
    pushed(model, repository)
    assert cosign_verify(f"{repository}:v1", key.public, check=False).returncode != 0
    assert run("sign", f"{repository}:v1", "--key", key.private).code == 0
    cosign_verify(f"{repository}:v1", key.public)


def test_cosign_checks_our_claims(registry: RealRegistry, model: Path, key: Pair) -> None:
    claims = ("-a", "team=vision", "-a", "ticket=ML-7")
    reference = pushed(model, registry.fresh(), "--key", key.private, *claims, "--expires", "90d")
    cosign_verify(reference, key.public, *claims)
    cosign_verify(reference, key.public, "-a", "team=vision")
    assert cosign_verify(reference, key.public, "-a", "team=audio", check=False).returncode != 0


def test_cosign_verifies_our_attestation(registry: RealRegistry, model: Path, key: Pair, tmp_path: Path) -> None:
    reference = pushed(model, registry.fresh(), "--key", key.private)
    predicate = tmp_path / "evaluation.json"
    predicate.write_text('{"accuracy": 0.9310, "passed": true}')
    attested = run("attest", reference, "--type", EVALUATION, "--predicate", predicate, "--key", key.private)
    assert attested.code == 0, attested.err
    offline = ["--insecure-ignore-tlog=true", "--allow-http-registry"]

    def verify(kind: str) -> int:
        done = peers.run(
            "cosign",
            "verify-attestation",
            "--key",
            key.public,
            "--type",
            kind,
            *offline,
            reference,
            check=False,
        )
        return done.returncode

    assert verify(EVALUATION) == 0
    assert verify("https://example.org/another") != 0


@pytest.mark.parametrize("words", [(), ("-a", "env=prod")], ids=["plain", "claims"])
def test_we_verify_a_signature_by_cosign(
    registry: RealRegistry, model: Path, cosign_key: CosignKey, key: Pair, tmp_path: Path, words: tuple[str, ...]
) -> None:
    reference = pushed(model, registry.fresh())
    assert run("verify", reference, "--key", cosign_key.public).code == 10
    cosign_sign(reference, cosign_key, *words)
    ran = run("verify", reference, "--key", cosign_key.public, "--json")
    assert ran.code == 0, ran.err
    (signer,) = ran.document["signers"]
    assert (signer["status"], signer["format"]) == ("good", "sigstore")
    assert signer["claims"] == ({"env": "prod"} if words else {})
    assert run("verify", reference, "--key", key.public).code == 12
    pulled = run("pull", reference, "-o", tmp_path / "out", "--key", cosign_key.public)
    assert pulled.code == 0, pulled.err
    assert run("verify", tmp_path / "out", "--key", cosign_key.public, "--offline").code == 0


def test_an_attestation_by_cosign_is_no_signature(
    registry: RealRegistry, model: Path, cosign_key: CosignKey, tmp_path: Path
) -> None:
    """cosign itself takes any predicate for a signature; we don't."""
    reference = pushed(model, registry.fresh())
    predicate = tmp_path / "predicate.json"
    predicate.write_text('{"passed": true}')
    cosign_attest(reference, cosign_key, EVALUATION, predicate)
    cosign_verify(reference, cosign_key.public)
    assert run("verify", reference, "--key", cosign_key.public).code == 10
    assert run("pull", reference, "-o", tmp_path / "out", "--key", cosign_key.public).code == 10
    shown = run("attest", "show", reference, "--key", cosign_key.public, "--json")
    assert shown.code == 0
    (found,) = shown.document["attestations"]
    assert (found["predicateType"], found["verified"], found["predicate"]) == (EVALUATION, True, {"passed": True})
    cosign_sign(reference, cosign_key)
    assert run("verify", reference, "--key", cosign_key.public).code == 0


def test_we_sign_with_a_key_of_cosigns_own_file(
    distribution: RealRegistry, model: Path, cosign_key: CosignKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COSIGN_PASSWORD", "")
    reference = pushed(model, distribution.fresh(), "--key", cosign_key.private)
    cosign_verify(reference, cosign_key.public)
    assert run("verify", reference, "--key", cosign_key.public).code == 0


def test_cosign_signs_with_a_key_of_ours(
    distribution: RealRegistry, model: Path, key: Pair, tmp_path: Path
) -> None:
    imported = import_key(key.private, tmp_path)
    reference = pushed(model, distribution.fresh())
    cosign_sign(reference, imported)
    assert run("verify", reference, "--key", key.public).code == 0


def test_signatures_of_both_stand_beside_each_other(
    registry: RealRegistry, model: Path, cosign_key: CosignKey, key: Pair
) -> None:
    """Whichever came first: neither loses the other's, in the API as under the fallback tag."""
    for ours_first in (True, False):
        reference = pushed(model, registry.fresh())
        steps = [
            lambda reference=reference: run("sign", reference, "--key", key.private),
            lambda reference=reference: cosign_sign(reference, cosign_key),
        ]
        for step in steps if ours_first else reversed(steps):
            step()
        for public in (key.public, cosign_key.public):
            assert run("verify", reference, "--key", public).code == 0
            cosign_verify(reference, public)
        both = run("verify", reference, "--key", key.public, "--key", cosign_key.public, "--json")
        assert [signer["status"] for signer in both.document["signers"]] == ["good", "good"]
