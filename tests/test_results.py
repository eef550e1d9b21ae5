"""Test results: made of what was measured, attached whatever they say, and asked for before somebody signs."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimodel import __version__
from ocimodel.attest.testresult import Result, Threshold, evaluation, number
from ocimodel.errors import ConfigurationError, FormatError
from ocimodel.oci import media
from ocimodel.record import metrics
from tests.commands import Ran, World, events, make_world, run
from tests.documents import problems

# --- thresholds and metrics ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threshold", "values", "holds"),
    [
        ("accuracy>=0.9", ["0.90"], True),
        ("accuracy >= 0.9", ["0.8999999999999999999999"], False),
        ("loss<1e-3", ["9.99e-4"], True),
        ("loss<1e-3", ["NaN"], False),
        ("loss > -1", ["inf"], False),
        ("loss != 1", ["nan"], False),
        ("n == 10", ["1E1"], True),
        ("x>=0.5", [], False),
        ("x>=0.5", ["0.6", "0.4"], False),
        ("x>=0.5", ["0.6", "0.7"], True),
        ("hellaswag.acc,none >= .5", ["0.5"], True),
        ("x>=0.5", ["1e9999"], True),
        ("x>=0.5", ["1e99999"], False),
        ("x>=0.5", ["0x1"], False),
    ],
)
def test_a_threshold(threshold: str, values: list[str], holds: bool) -> None:
    assert Threshold.parse(threshold).holds(values) is holds


@pytest.mark.parametrize(
    "text", ["", "accuracy", "accuracy=0.9", ">=0.9", "a b>=1", "a>=", "a>=x", "a>=nan", "a>=1 2", "a>=1e99999"]
)
def test_what_is_no_threshold(text: str) -> None:
    with pytest.raises(FormatError):
        Threshold.parse(text)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6), st.decimals(-10, 10, places=6))
def test_numbers_are_compared_as_they_are_written(value: Decimal, bound: Decimal) -> None:
    text = f"{value:f}"
    assert number(text) == value
    assert Threshold.parse(f"m>={bound:f}").holds([text]) is (value >= bound)


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"accuracy": 0.93, "name": "x", "ok": True}, {"accuracy": ("0.93",)}),
        ({"eval": {"loss": 1e-05}}, {"eval.loss": ("1e-05",)}),
        (
            {"results": {"arc": {"acc,none": 0.5, "alias": "arc"}}, "config": {"seed": 3}},
            {"arc.acc,none": ("0.5",)},
        ),
        ({"info": {}, "data": {"metrics": {"auc": 0.8}, "params": {"lr": "3"}}}, {"auc": ("0.8",)}),
        ({"info": {}, "data": {"metrics": [{"key": "auc", "value": 0.8, "step": 1}]}}, {"auc": ("0.8",)}),
    ],
)
def test_the_shapes_that_metrics_come_in(document: dict[str, Any], found: dict[str, tuple[str, ...]]) -> None:
    assert metrics.of_file(json.dumps(document).encode(), "m.json") == found


def test_what_is_no_number_is_kept_to_fail() -> None:
    assert metrics.of_file(b'{"loss": NaN, "a": -Infinity}', "m") == {"loss": ("NaN",), "a": ("-Infinity",)}


@pytest.mark.parametrize("data", [b"", b"[1]", b"{}", b'{"a": "b"}', b"{", b'{"a": [1, 2]}'])
def test_metrics_that_are_none(data: bytes) -> None:
    with pytest.raises(ConfigurationError):
        metrics.of_file(data, "m.json")


def test_a_collector_states_metrics(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "eval_results.json").write_text('{"eval_accuracy": 0.9312}')
    assert metrics.is_directory(f"hf:{tmp_path}")
    assert metrics.of_directory(f"hf:{tmp_path}") == {"eval_accuracy": ("0.9312",)}
    assert not metrics.is_directory("hf:")


def test_a_result_has_one_spelling() -> None:
    """The specification's fields, and nothing that differs from run to run."""
    made = evaluation(
        {"b": ("2",), "a": ("1", "3")},
        [Threshold.parse("b>=2"), Threshold.parse("a>=2")],
        [Threshold.parse("c > 0")],
        sources=[{"name": "eval.json", "digest": {"sha256": "0" * 64}}],
        url="https://ci.example/1",
    )
    assert json.loads(made.predicate()) == {
        "result": "FAILED",
        "configuration": [
            {"name": "ocimodel attest --metrics", "uri": media.EVALUATION},
            {"name": "eval.json", "digest": {"sha256": "0" * 64}},
        ],
        "url": "https://ci.example/1",
        "passedTests": ["b >= 2"],
        "warnedTests": ["c > 0"],
        "failedTests": ["a >= 2"],
        media.METRICS: [{"name": "a", "value": "1"}, {"name": "a", "value": "3"}, {"name": "b", "value": "2"}],
    }
    assert made.predicate() == made.predicate()


@pytest.mark.parametrize(
    "tests", [{}, {"passed": ["a"], "failed": ["a"]}, {"passed": [str(n) for n in range(10_001)]}]
)
def test_what_is_no_result(tests: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        Result(configuration=[], **tests)


# --- attest ----------------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A model that nobody has signed, and an evaluator's key."""
    made = make_world(tmp_path)
    assert run("key", "generate", tmp_path / "eval", "--no-password").code == 0
    (tmp_path / "eval.json").write_text('{"accuracy": 0.93, "f1": 0.80}')
    ref = f"oci:{tmp_path}/candidates:v1"
    pushed = run("push", made.model, ref)
    assert pushed.code == 0
    return World(tmp_path, made.model, made.key, made.pub, made.stranger, ref, pushed.out.strip().partition("@")[2])


def attest(world: World, *words: str | Path, key: str = "eval") -> Ran:
    return run(
        "attest", world.ref, "--metrics", world.root / "eval.json", *words, "--key", world.root / f"{key}.key"
    )


def sign(world: World, *words: str | Path) -> Ran:
    return run("sign", world.ref, "--key", world.key, *words)


def by_key(world: World, kind: str = "test-result") -> tuple[str | Path, ...]:
    return "--require-attestation", kind, "--attestation-key", world.root / "eval.pub"


def test_a_result_is_attached_and_shown(world: World) -> None:
    ran = attest(world, "--threshold", "accuracy>=0.9", "--warn-threshold", "f1>=0.9", "--json")
    assert ran.code == 0, ran.err
    assert problems(ran.document, "attest") == []
    assert ran.document["result"] == {
        "outcome": "WARNED",
        "passedTests": ["accuracy >= 0.9"],
        "warnedTests": ["f1 >= 0.9"],
        "failedTests": [],
        "findings": [],
    }
    again = attest(world, "--threshold", "accuracy>=0.9", "--warn-threshold", "f1>=0.9", "--json").document
    assert again["signature"]["created"] is False
    assert again["signature"]["digest"] == ran.document["signature"]["digest"]
    shown = run("attest", "show", world.ref, "--key", world.root / "eval.pub")
    assert [line.split()[:3] for line in shown.out.splitlines()[1:]] == [[media.TEST_RESULT, "good", "WARNED"]]
    (found,) = run("attest", "show", world.ref, "--key", world.root / "eval.pub", "--json").document["attestations"]
    (asked, measured) = found["predicate"]["configuration"]
    assert asked["uri"] == media.EVALUATION
    assert measured["name"] == "eval.json", "where it lay on this machine is nobody's business"


def test_a_failed_result_is_attached_and_fails_only_if_asked(world: World) -> None:
    words = ("--threshold", "accuracy>=0.95")
    ran = attest(world, *words)
    assert ran.code == 0
    assert "FAILED, 0 of 1 test passed; not accuracy >= 0.95" in ran.err
    failing = attest(world, *words, "--fail-on", "failed")
    assert (failing.code, failing.out) == (19, ran.out)
    assert failing.error[0] == "REFUSED: the result is FAILED, 0 of 1 test passed; not accuracy >= 0.95"
    document = attest(world, *words, "--fail-on", "failed", "--json").document
    assert problems(document, "attest") == []
    assert (document["exitCode"], document["reasons"][0]["reason"]) == (19, "test-failed")
    assert document["result"]["outcome"] == "FAILED"
    assert attest(world, "--warn-threshold", "accuracy>=0.95", "--fail-on", "failed").code == 0
    assert attest(world, "--warn-threshold", "accuracy>=0.95", "--fail-on", "warned").code == 19


def test_thresholds_of_a_file(world: World) -> None:
    path = world.root / "thresholds.yaml"
    path.write_text("require:\n- accuracy >= 0.9\nwarn:\n- f1 >= 0.9\n")
    ran = attest(world, "--thresholds", path, "--run-url", "https://ci.example/7", "--json")
    assert ran.document["result"]["outcome"] == "WARNED"
    (found,) = run("attest", "show", world.ref, "--json").document["attestations"]
    names = [item["name"] for item in found["predicate"]["configuration"]]
    assert names == ["ocimodel attest --metrics", "thresholds.yaml", "eval.json"]
    assert found["predicate"]["url"] == "https://ci.example/7"
    path.write_text("requires: []\n")
    assert attest(world, "--thresholds", path).code == 3
    path.write_text("require: [accuracy]\n")
    assert attest(world, "--thresholds", path).code == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing is to be attested"),
        (("--threshold", "a>=1"), "nothing is to be attested"),
        (("--metrics", "{eval}"), "needs a threshold"),
        (("--metrics", "{eval}", "--threshold", "a"), "is no threshold"),
        (("--metrics", "{eval}", "--threshold", "a>=1", "--type", "cyclonedx"), "says something else"),
        (("--type", "test-result"), "nothing is to be attested"),
        (("--predicate", "{eval}", "--type", "custom", "--scan", "."), "is a whole statement"),
        (("--predicate", "{eval}"), "needs its --type"),
        (("--predicate", "{eval}", "--type", "custom", "--threshold", "a>=1"), "is a whole statement"),
        (("--metrics", "{eval}", "--threshold", "a>=1", "--fail-on", "x"), "is not known"),
        (("--metrics", "{eval}.not", "--threshold", "a>=1"), "cannot read"),
    ],
)
def test_what_is_not_understood(world: World, words: tuple[str, ...], said: str) -> None:
    given = [word.format(eval=world.root / "eval.json") for word in words]
    ran = run("attest", world.ref, *given, "--key", world.root / "eval.key")
    assert (ran.code, said in ran.error[0]) == (2, True), ran.err


# --- sign only what passed ---------------------------------------------------------------------------------------


def test_nothing_is_signed_before_it_passed(world: World) -> None:
    refused = sign(world, *by_key(world))
    assert (refused.code, refused.error[0]) == (19, "REFUSED: no attestation test-result")
    assert attest(world, "--threshold", "accuracy>=0.95").code == 0
    refused = sign(world, *by_key(world))
    assert refused.code == 19
    assert refused.error[0].endswith("by eval.pub says FAILED: accuracy >= 0.95")
    assert run("verify", world.ref, "--key", world.pub).code == 10, "nothing was signed"
    assert events()[-2]["data"]["exitCode"] == 19
    assert attest(world, "--threshold", "accuracy>=0.9").code == 0
    ran = sign(world, *by_key(world), "--json")
    assert ran.code == 0, ran.err
    assert problems(ran.document, "sign") == []
    (relied,) = ran.document["attestations"]
    assert (relied["required"], relied["identity"]) == ("test-result", "eval.pub")
    assert "says FAILED in sha256:" in ran.err, "whoever signs is told that it failed other thresholds"
    assert run("verify", world.ref, "--key", world.pub).code == 0


def test_only_who_is_trusted_says_so(world: World) -> None:
    assert attest(world, "--threshold", "accuracy>=0.9", key="mallory").code == 0
    assert sign(world, *by_key(world)).code == 19


def test_a_warned_result_has_not_passed(world: World) -> None:
    assert attest(world, "--warn-threshold", "accuracy>=0.99").code == 0
    assert sign(world, *by_key(world)).code == 19


def test_a_result_about_another_model_says_nothing(world: World) -> None:
    assert attest(world, "--threshold", "accuracy>=0.9").code == 0
    (world.model / "more.txt").write_text("another one")
    assert run("push", world.model, world.ref).code == 0
    assert sign(world, *by_key(world)).code == 19


def test_any_type_can_be_required(world: World) -> None:
    kind = "https://example.com/review/v1"
    assert sign(world, *by_key(world, kind)).code == 19
    predicate = world.root / "eval.json"
    key = world.root / "eval.key"
    assert run("attest", world.ref, "--type", kind, "--predicate", predicate, "--key", key).code == 0
    assert sign(world, *by_key(world, kind)).code == 0
    assert sign(world, *by_key(world, kind), "--require-attestation", "slsaprovenance1").code == 19


@pytest.mark.parametrize("spelled", ["test-result", media.TEST_RESULT])
def test_an_approval_or_a_lie_is_no_passed_result(world: World, spelled: str) -> None:
    """A predicate that says PASSED and names failed tests, or is no test result at all."""
    for said in ({"result": "PASSED", "configuration": [], "failedTests": ["x"]}, {"result": "PASSED"}, {}):
        (world.root / "p.json").write_text(json.dumps(said))
        ran = run(
            "attest",
            world.ref,
            "--type",
            spelled,
            "--predicate",
            world.root / "p.json",
            "--key",
            world.root / "eval.key",
        )
        assert ran.code == 0
        assert sign(world, *by_key(world, spelled)).code == 19


def policy(world: World, **change: Any) -> Path:
    """One that names an evaluator and a builder."""
    document: dict[str, Any] = {
        "version": 1,
        "keys": {
            "ci": {"publicKeyFile": str(world.pub), "roles": ["builder"]},
            "eva": {"publicKeyFile": str(world.root / "eval.pub"), "roles": ["evaluator"]},
        },
        "scopes": [{"match": "**", "mode": "audit", "signatures": {"from": ["ci"]}, **change.pop("scope", {})}],
        **change,
    }
    path = world.root / "policy.json"
    path.write_text(json.dumps(document))
    return path


def by_policy(path: Path, kind: str = "test-result") -> tuple[str | Path, ...]:
    return "--require-attestation", kind, "--attestation-policy", path


def test_a_policy_says_whose_results_count(world: World) -> None:
    """The role evaluator, where no gate says otherwise; in mode audit as well: it was asked for."""
    path = policy(world)
    assert attest(world, "--threshold", "accuracy>=0.9", key="alice").code == 0
    assert sign(world, *by_policy(path)).code == 19, "a builder does not evaluate"
    assert attest(world, "--threshold", "accuracy>=0.9").code == 0
    assert sign(world, *by_policy(path)).code == 0


def test_a_gate_of_the_policy_is_what_is_required(world: World) -> None:
    schema = {"properties": {"result": {"enum": ["PASSED", "WARNED"]}}, "required": ["result"]}
    gate = {"predicateType": "test-result", "name": "accuracy", "roles": ["evaluator"], "schema": schema}
    path = policy(world, scope={"attestations": [gate]})
    assert sign(world, *by_policy(path)).code == 19
    assert attest(world, "--warn-threshold", "accuracy>=0.99").code == 0
    assert sign(world, *by_policy(path, "accuracy")).code == 0, "this policy lets warnings pass"
    assert sign(world, *by_policy(path)).code == 0
    assert sign(world, *by_policy(path, "scan")).code == 19


def test_what_a_policy_refuses_whatever_is_attested(world: World) -> None:
    assert attest(world, "--threshold", "accuracy>=0.9").code == 0
    revoked = {"digests": [{"digest": world.digest, "reason": "poisoned"}]}
    assert sign(world, *by_policy(policy(world, revoked=revoked))).code == 16
    assert sign(world, *by_policy(policy(world, expires="2020-01-01T00:00:00Z"))).code == 21
    assert sign(world, *by_policy(policy(world, scope={"match": "registry.example/**"}))).code == 12
    keys = {"ci": {"publicKeyFile": str(world.pub), "roles": ["builder"]}}
    assert sign(world, *by_policy(policy(world, keys=keys))).code == 3, "nobody may evaluate"
    path = policy(world)
    assert run("revoke", "key", world.root / "eval.pub", "--policy", path, "--reason", "stolen").code == 0
    assert sign(world, *by_policy(path)).code == 19


def test_a_machine_that_only_signs_what_passed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIMODEL_SIGN_REQUIRE_ATTESTATION", "test-result")
    assert sign(world).code == 2, "whose results?"
    monkeypatch.setenv("OCIMODEL_ATTESTATION_KEY", str(world.root / "eval.pub"))
    assert sign(world).code == 19
    assert run("push", world.model, world.ref, "--key", world.key).code == 2, "no way around it"
    assert run("push", world.model, world.ref).code == 0
    assert attest(world, "--threshold", "accuracy>=0.9").code == 0
    assert sign(world).code == 0


def test_a_first_policy_asks_for_results(world: World) -> None:
    words = ("--key", world.pub, "--evaluator", world.root / "eval.pub")
    wanted = ("--require-attestation", "test-result", "--require-attestation", "scan")
    ran = run("policy", "init", *words, *wanted)
    assert ran.code == 0, ran.err
    path = world.root / "policy.json"
    path.write_text(ran.out)
    for kind in ("test-result", "scan"):
        assert sign(world, *by_policy(path, kind)).code == 19
    assert attest(world, "--threshold", "accuracy>=0.9", key="alice").code == 0
    assert attest(world, "--threshold", "accuracy>=0.95").code == 0
    assert sign(world, *by_policy(path)).code == 19
    assert attest(world, "--threshold", "accuracy>=0.9").code == 0
    assert sign(world, *by_policy(path)).code == 0
    assert run("verify", world.ref, "--policy", path).code == 19, "nobody has scanned it"
    assert scan(world, world.model).code == 0
    assert run("verify", world.ref, "--policy", path).code == 0
    assert run("policy", "init", *words).code == 2, "an evaluator of nothing"


def test_a_gate_without_a_schema_takes_no_failed_result(world: World) -> None:
    gate = {"predicateType": "test-result", "roles": ["evaluator"]}
    path = policy(world, scope={"mode": "enforce", "attestations": [gate]})
    assert sign(world).code == 0
    assert attest(world, "--threshold", "accuracy>=0.95").code == 0
    refused = run("verify", world.ref, "--policy", path)
    assert (refused.code, "says FAILED" in refused.error[0]) == (19, True)
    assert attest(world, "--threshold", "accuracy>=0.9").code == 0
    assert run("verify", world.ref, "--policy", path).code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("--require-attestation", "test-result"),
        ("--attestation-key", "{eval}.pub"),
        ("--attestation-policy", "x.json"),
        (
            "--require-attestation",
            "test-result",
            "--attestation-key",
            "{eval}.pub",
            "--attestation-policy",
            "x.json",
        ),
        ("--require-attestation", "", "--attestation-key", "{eval}.pub"),
        ("--require-attestation", "test-result", "--attestation-policy", ""),
        ("--require-attestation", "no-type", "--attestation-key", "{eval}.pub"),
        ("--require-attestation", media.COSIGN_SIGN, "--attestation-key", "{eval}.pub"),
        ("--require-attestation", "test-result", "--attestation-key", "{eval}.key"),
    ],
)
def test_requirements_that_are_not_understood(world: World, words: tuple[str, ...]) -> None:
    assert sign(world, *(word.format(eval=world.root / "eval") for word in words)).code == 2


# --- scans -------------------------------------------------------------------------------------------------------


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("echo this must never run",)


def spoil(world: World) -> None:
    (world.model / "extra.pkl").write_bytes(pickle.dumps(Evil()))


def test_a_push_attests_what_it_found(world: World) -> None:
    ran = run("push", world.model, world.ref, "--key", world.key, "--attest-scan", "refuse", "--json")
    assert ran.code == 0, ran.err
    assert problems(ran.document, "push") == []
    assert ran.document["scan"]["outcome"] == "PASSED"
    assert "scan: PASSED, 5 of 5 tests passed" in ran.err
    again = run("push", world.model, world.ref, "--key", world.key, "--attest-scan", "refuse", "--json").document
    assert (again["attestation"]["created"], again["attestation"]["digest"]) == (
        False,
        ran.document["attestation"]["digest"],
    )
    (found,) = run("attest", "show", world.ref, "--key", world.pub, "--json").document["attestations"]
    (scanner,) = found["predicate"]["configuration"]
    assert (scanner["uri"], scanner["annotations"]["version"]) == (media.SCAN, __version__)
    assert (found["status"], found["predicate"]["result"]) == ("good", "PASSED")
    wanted = ("--require-attestation", "scan", "--attestation-key", world.pub)
    assert sign(world, *wanted).code == 0
    assert sign(world, "--require-attestation", "test-result", "--attestation-key", world.pub).code == 19, (
        "a clean scan is no evaluation"
    )


def test_a_push_refuses_what_would_harm(world: World) -> None:
    spoil(world)
    before = run("list", f"oci:{world.root}/candidates", "--json").document["tags"]
    ran = run("push", world.model, f"oci:{world.root}/candidates:v2", "--key", world.key, "--attest-scan", "refuse")
    assert (ran.code, ran.out) == (19, "")
    assert ran.error[0].startswith("REFUSED: the scan failed: extra.pkl: a pickle: imports ")
    assert run("list", f"oci:{world.root}/candidates", "--json").document["tags"] == before


def test_a_push_reports_what_would_harm(world: World) -> None:
    spoil(world)
    ran = run("push", world.model, world.ref, "--key", world.key, "--attest-scan", "report", "--json")
    assert ran.code == 0, ran.err
    assert problems(ran.document, "push") == []
    (finding,) = ran.document["scan"]["findings"]
    assert (finding["test"], finding["path"], finding["level"]) == ("pickles", "extra.pkl", "failed")
    assert "failed: extra.pkl: a pickle: imports" in ran.err
    assert sign(world, "--require-attestation", "scan", "--attestation-key", world.pub).code == 19


@pytest.mark.parametrize("words", [("--attest-scan", "report"), ("--attest-scan", "x", "--key", "{key}")])
def test_scans_that_are_not_understood(world: World, words: tuple[str, ...]) -> None:
    given = [word.format(key=world.key) for word in words]
    assert run("push", world.model, world.ref, *given).code == 2


def scan(world: World, directory: Path, *words: str) -> Ran:
    return run("attest", world.ref, "--scan", directory, "--key", world.root / "eval.key", *words)


def test_an_evaluator_scans_what_it_pulled(world: World) -> None:
    pulled = world.root / "pulled"
    assert run("pull", world.ref, "-o", pulled).code == 0
    ran = scan(world, pulled, "--json")
    assert ran.code == 0, ran.err
    assert problems(ran.document, "attest") == []
    assert ran.document["result"]["outcome"] == "PASSED"
    assert scan(world, world.model, "--json").document["signature"]["created"] is False, "the same bytes"
    assert sign(world, *by_key(world, "scan")).code == 0
    refused = sign(world, *by_key(world))
    assert (refused.code, refused.error[0]) == (19, "REFUSED: no attestation test-result")


def test_a_scan_of_other_files_is_not_attested(world: World) -> None:
    other = world.root / "other"
    shutil.copytree(world.model, other)
    (other / "README.md").write_text("another")
    assert (scan(world, other).code, run("attest", "show", world.ref, "--json").document["attestations"]) == (
        14,
        [],
    )
    shutil.copy(world.model / "README.md", other)
    (other / "more.md").write_text("more")
    assert "more.md is not the model's" in scan(world, other).error[0]
    (other / "more.md").unlink()
    (other / "config.json").unlink()
    assert "config.json is missing" in scan(world, other).error[0]


def test_a_failed_scan_is_attached(world: World) -> None:
    spoil(world)
    assert run("push", world.model, world.ref).code == 0
    ran = scan(world, world.model, "--fail-on", "failed")
    assert (ran.code, ran.out.startswith("oci:")) == (19, True)
    shown = run("attest", "show", world.ref, "--key", world.root / "eval.pub").out.splitlines()[1].split()
    assert shown[:3] == [media.TEST_RESULT, "good", "FAILED"]
    assert scan(world, world.model, "--threshold", "a>=1").code == 2
    assert scan(world, world.model, "--type", "cyclonedx").code == 2


def test_many_small_files_in_one_layer_are_scanned(world: World) -> None:
    """Beyond a thousand files, small ones share layers; each is still held against the artifact."""
    for count in range(1001):
        (world.model / f"part{count:04}.txt").write_text(str(count))
    assert run("push", world.model, world.ref).code == 0
    assert scan(world, world.model).code == 0
    (world.model / "part0500.txt").write_text("501")
    assert scan(world, world.model).code == 14


def test_a_key_with_random_signatures_says_it_once(world: World) -> None:
    """As keys in devices and services do; the first statement stands."""
    from ocimodel.oci.reference import Reference
    from ocimodel.stores.opening import Access
    from ocimodel.verbs.attest import attest as attach
    from ocimodel.verbs.push import push
    from tests.test_sign import Elsewhere

    reference, signer, access = Reference.parse(world.ref), Elsewhere(), Access()
    first = attach(reference, "test-result", b'{"result": "PASSED"}', signer, access=access)
    second = attach(reference, "test-result", b'{"result": "PASSED"}', signer, access=access)
    assert (first.created, second.created, first.signature) == (True, False, second.signature)
    assert attach(reference, "test-result", b'{"result": "FAILED"}', signer, access=access).created
    for created in (True, False):
        pushed = push(world.model, reference, access=access, signer=signer, attest_scan="refuse")
        assert pushed.attestation is not None
        assert pushed.attestation.created is created
