"""Test results: cosign verifies those that we attest, and those that it attests count before we sign."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from ocimodel.oci import media
from tests.commands import run
from tests.interop.conftest import Pair, pushed
from tests.official import check_statement
from tests.real import peers
from tests.real.cosign import CosignKey, cosign_attest
from tests.real.registry import RealRegistry

pytestmark = pytest.mark.peer


def predicates(reference: str, key: Pair) -> list[dict[str, object]]:
    """What ``cosign verify-attestation`` accepts of this type."""
    offline = ["--insecure-ignore-tlog=true", "--allow-http-registry"]
    arguments = ["--key", str(key.public), "--type", media.TEST_RESULT, *offline, reference]
    lines = peers.run("cosign", "verify-attestation", *arguments).stdout.splitlines()
    statements = [json.loads(base64.b64decode(json.loads(line)["payload"])) for line in lines]
    for statement in statements:
        check_statement(statement)
    assert {item["predicateType"] for item in statements} == {media.TEST_RESULT}
    return [item["predicate"] for item in statements]


def test_cosign_verifies_our_results(registry: RealRegistry, model: Path, key: Pair, tmp_path: Path) -> None:
    reference = pushed(model, registry.fresh(), "--key", key.private, "--attest-scan", "report")
    (scanned,) = predicates(reference, key)
    assert (scanned["result"], scanned["warnedTests"]) == ("WARNED", ["code"])
    metrics = tmp_path / "eval.json"
    metrics.write_text('{"accuracy": 0.93}')
    words = ("--metrics", metrics, "--threshold", "accuracy>=0.95", "--key", key.private)
    assert run("attest", reference, *words, "--fail-on", "failed").code == 19
    assert {item["result"] for item in predicates(reference, key)} == {"WARNED", "FAILED"}


def test_a_result_by_cosign_counts(
    distribution: RealRegistry, model: Path, key: Pair, cosign_key: CosignKey, tmp_path: Path
) -> None:
    reference = pushed(model, distribution.fresh())
    trusted = ("--require-attestation", "test-result", "--attestation-key", cosign_key.public)
    predicate = tmp_path / "result.json"
    for outcome, code in (("FAILED", 19), ("PASSED", 0)):
        predicate.write_text(json.dumps({"result": outcome, "configuration": [{"name": "suite"}]}))
        cosign_attest(reference, cosign_key, media.TEST_RESULT, predicate)
        assert run("sign", reference, "--key", key.private, *trusted).code == code
