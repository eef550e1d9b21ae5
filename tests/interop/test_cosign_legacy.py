"""cosign's legacy tags: we read what cosign 3 writes there, and cosign accepts what we write there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import run
from tests.interop.conftest import Pair, pushed
from tests.real.cosign import CosignKey, cosign_attest, cosign_sign
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
