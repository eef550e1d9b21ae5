"""Commands as typed: what they print, what they leave behind, what they refuse. On a layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.commands import Ran, World, events, make_world, run
from tests.documents import check, problems

SLSA = "https://example.com/evaluation/v1"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def only_event(verb: str) -> dict[str, object]:
    """The data of the one event there is."""
    (event,) = events()
    assert problems(event, "audit-event") == []
    assert event["type"] == f"io.github.ocimodel.{verb}.v1"
    data = event["data"]
    assert isinstance(data, dict)
    return data | {"subject": event.get("subject")}


# --- push and sign --------------------------------------------------------------------------------------------


def test_push_prints_the_pinned_reference_alone(world: World) -> None:
    ran = run("push", world.model, f"oci:{world.root}/store:v2")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"oci:{world.root}/store:v2@{world.digest}\n"


def test_push_as_a_document(world: World) -> None:
    document = check(run("push", world.model, world.ref, "--key", world.key, "--tag", "a", "--json").document)
    assert document["reference"] == world.pinned()
    assert document["digest"] == world.digest
    assert document["tags"] == ["v1", "a"]
    assert document["sentBytes"] == 0
    assert document["signature"]["created"] is False
    assert document["signers"][0]["status"] == "present"


def test_push_leaves_an_event_that_names_the_key(world: World) -> None:
    document = run("push", world.model, f"oci:{world.root}/new:v1", "--key", world.key, "--json").document
    data = only_event("push")
    assert data["subject"] == f"oci:{world.root}/new@{world.digest}"
    assert data["digest"] == world.digest
    assert data["signers"] == document["signers"]


def test_an_event_names_a_layout_by_its_whole_path(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world.root)
    assert run("verify", "oci:store:v1", "--key", "alice.pub").code == 0
    assert only_event("verify")["subject"] == f"oci:{world.root}/store@{world.digest}"


def test_sign_prints_the_signature_alone(world: World) -> None:
    ran = run("sign", world.ref, "--key", world.root / "mallory.key", "-a", "team=vision", "--expires", "90d")
    assert ran.code == 0
    name, _, digest = ran.out.strip().partition("@")
    assert name == f"oci:{world.root}/store"
    assert digest in run("tree", world.ref).out
    assert run("verify", world.ref, "--key", world.stranger).code == 0


def test_sign_as_a_document(world: World) -> None:
    first = check(run("sign", world.ref, "--key", world.root / "mallory.key", "--json").document)
    again = check(run("sign", world.ref, "--key", world.root / "mallory.key", "--json").document)
    assert (first["signature"]["created"], again["signature"]["created"]) == (True, False)
    assert first["signature"]["digest"] == again["signature"]["digest"]


def test_claims_are_checked_against_the_context(world: World) -> None:
    assert run("sign", world.ref, "--key", world.root / "mallory.key", "-a", "stage=dev").code == 0
    assert run("verify", world.ref, "--key", world.stranger, "--context", "stage=dev").code == 0
    ran = run("verify", world.ref, "--key", world.stranger, "--context", "stage=prod", "--json")
    assert ran.code == 17
    assert check(ran.document)["class"] == "context"


# --- pull -----------------------------------------------------------------------------------------------------


def test_pull_prints_the_directory_alone(world: World) -> None:
    ran = run("pull", world.ref, "-o", world.root / "d", "--key", world.pub)
    assert (ran.code, ran.out, ran.err) == (0, f"{world.root}/d\n", "")
    assert files(world.root / "d") == files(world.model)


def test_pull_as_a_document(world: World) -> None:
    document = check(run("pull", world.ref, "-o", world.root / "d", "--key", world.pub, "--json").document)
    assert document["verified"] is True
    assert document["destination"] == f"{world.root}/d"
    assert document["signers"][0]["status"] == "good"
    assert (document["outcome"], document["reasons"]) == ("pass", [])
    assert document["files"] == 4
    again = check(run("pull", world.ref, "-o", world.root / "d", "--key", world.pub, "--json").document)
    assert again["unchanged"] is True


def test_a_pull_without_a_key_says_so_wherever_one_looks(world: World) -> None:
    text = run("pull", world.ref, "-o", world.root / "d")
    assert (text.code, text.out) == (0, f"{world.root}/d\n")
    assert text.err.startswith("warning: NOT VERIFIED: ")
    document = check(run("pull", world.ref, "-o", world.root / "e", "--json").document)
    assert (document["verified"], document["verification"], document["outcome"]) == (False, "NOT VERIFIED", "warn")
    assert [event["data"]["outcome"] for event in events()] == ["warn", "warn"]


def test_parts_of_a_model(world: World) -> None:
    ran = run("pull", world.ref, "-o", world.root / "d", "--key", world.pub, "--include", "*.json")
    assert ran.code == 0
    assert sorted(files(world.root / "d")) == ["config.json", "tokenizer.json"]
    assert run("verify", world.root / "d", "--key", world.pub).code == 0


def test_receipt_and_provenance_are_written_where_asked_for(world: World) -> None:
    receipt, provenance = world.root / "receipt.json", world.root / "provenance.json"
    argv = ("pull", world.ref, "-o", world.root / "d", "--key", world.pub)
    assert run(*argv, "--receipt", receipt, "--provenance-out", provenance).code == 0
    assert problems(json.loads(receipt.read_text()), "receipt") == []
    assert json.loads(provenance.read_text())["predicateType"] == "https://slsa.dev/provenance/v1"


def test_a_destination_with_something_else_is_2(world: World) -> None:
    (world.root / "d").mkdir()
    (world.root / "d" / "mine.txt").write_text("mine")
    ran = run("pull", world.ref, "-o", world.root / "d", "--key", world.pub)
    assert ran.code == 2
    assert (world.root / "d" / "mine.txt").read_text() == "mine"
    assert not (world.root / "d" / "config.json").exists()


def test_the_rate_is_an_option(world: World) -> None:
    assert run("pull", world.ref, "-o", world.root / "d", "--key", world.pub, "--max-rate", "1GB").code == 0


# --- verify ---------------------------------------------------------------------------------------------------


def test_verify_prints_a_line_a_check_then_the_verdict(world: World) -> None:
    ran = run("verify", world.ref, "--key", world.pub, "--full")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[-1] == f"VERIFIED {world.pinned()}"
    assert [line.split(":")[0] for line in lines[:-1]] == ["pass  manifest", "pass  signature", "pass  layers"]


def test_verify_as_a_document(world: World) -> None:
    document = check(run("verify", world.ref, "--key", world.pub, "--key", world.stranger, "--json").document)
    assert document["reference"] == world.pinned()
    assert [item["outcome"] for item in document["checks"]] == ["pass", "pass"]
    assert document["signers"][0]["identity"] == "alice.pub"


def test_a_directory_is_verified_without_its_store(world: World) -> None:
    assert run("pull", world.ref, "-o", world.root / "d", "--key", world.pub).code == 0
    shutil.rmtree(world.root / "store")
    ran = run("verify", world.root / "d", "--key", world.pub, "--offline")
    assert ran.code == 0
    assert ran.out.endswith(f"VERIFIED {world.pinned()}\n")


def test_a_directory_without_a_receipt_is_11_or_needs_its_reference(world: World) -> None:
    ran = run("verify", world.model, "--key", world.pub)
    assert (ran.code, ran.out) == (11, "")
    assert ran.error == (
        f"error: no receipt of a pull into {world.model}",
        "hint: Name what it was pulled from: ocimodel verify DIR --ref HOST/REPOSITORY@DIGEST.",
    )
    assert run("verify", world.model, "--key", world.pub, "--ref", world.ref).code == 0


def test_a_directory_that_was_changed_is_14_and_every_file_is_named(world: World) -> None:
    assert run("pull", world.ref, "-o", world.root / "d", "--key", world.pub).code == 0
    (world.root / "d" / "config.json").write_text("{}")
    (world.root / "d" / "evil.py").write_text("import os")
    (world.root / "d" / "README.md").unlink()
    ran = run("verify", world.root / "d", "--key", world.pub)
    assert ran.code == 14
    assert [line.split()[:2] for line in ran.out.splitlines()] == [
        ["fail", "extra-file:"],
        ["fail", "missing-file:"],
        ["fail", "changed-file:"],
        ["REFUSED", f"{world.root}/d"],
    ]
    document = check(run("verify", world.root / "d", "--key", world.pub, "--json").document)
    assert [reason["reason"] for reason in document["reasons"]] == ["extra-file", "missing-file", "changed-file"]
    assert document["outcome"] == "fail"


# --- refusals -------------------------------------------------------------------------------------------------


def refusals(world: World, *argv: str | Path) -> tuple[Ran, Ran]:
    """A verification and a pull with the same options, which must agree."""
    destination = world.root / "refused"
    verified = run("verify", world.ref, *argv)
    pulled = run("pull", world.ref, "-o", destination, *argv)
    assert verified.code == pulled.code
    assert verified.error == pulled.error
    assert pulled.out == ""
    assert not destination.exists()
    return verified, pulled


def test_unsigned_is_10(world: World) -> None:
    unsigned = f"oci:{world.root}/unsigned:v1"
    assert run("push", world.model, unsigned).code == 0
    ran = run("verify", unsigned, "--key", world.pub)
    assert ran.code == 10
    assert ran.error == (
        f"REFUSED: oci:{world.root}/unsigned carries no signature",
        "hint: Ask who built it to sign it: ocimodel sign REF --key KEY.",
    )
    assert ran.out.splitlines()[-1] == f"REFUSED {unsigned} (exit code 10, unsigned)"


def test_another_key_is_12(world: World) -> None:
    verified, _ = refusals(world, "--key", world.stranger)
    assert verified.code == 12
    assert verified.error == (
        "REFUSED: a signature, but by no trusted key",
        "hint: Check that the given key is the signer's; ocimodel tree REF shows who signed.",
    )


def test_another_key_is_12_before_any_weights_are_looked_for(world: World) -> None:
    world.weights().unlink()
    assert refusals(world, "--key", world.stranger)[0].code == 12


def test_a_refusal_as_a_document_and_as_an_event(world: World) -> None:
    document = check(run("verify", world.ref, "--key", world.stranger, "--json").document)
    assert document["reference"] == world.pinned()
    assert (document["exitCode"], document["wouldExit"], document["class"]) == (12, 12, "trust")
    assert [reason["reason"] for reason in document["reasons"]] == ["untrusted-signer"]
    assert document["signers"][0]["status"] == "untrusted"
    data = only_event("verify")
    assert (data["outcome"], data["exitCode"], data["mode"]) == ("fail", 12, "enforce")
    assert data["digest"] == world.digest
    assert data["requestedRef"] == world.ref


def test_a_flipped_byte_is_14(world: World) -> None:
    world.flip()
    ran = run("pull", world.ref, "-o", world.root / "d", "--key", world.pub)
    assert ran.code == 14
    assert ran.error[0].startswith("REFUSED: model.safetensors: expected sha256:")
    assert not (world.root / "d").exists()
    assert run("verify", world.ref, "--key", world.pub, "--full").code == 14


def test_an_expired_signature_is_15(world: World) -> None:
    key, ref = world.root / "mallory.key", f"oci:{world.root}/brief:v1"
    assert run("push", world.model, ref, "--key", key, "--expires", "1s").code == 0
    import time

    time.sleep(2)
    ran = run("verify", ref, "--key", world.stranger, "--json")
    assert ran.code == 15
    assert check(ran.document)["class"] == "lifecycle"


@pytest.mark.parametrize("command", ["verify", "inspect", "tree", "sign --key {key}", "pull -o d"])
def test_what_is_not_there_is_11(command: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world.root)
    monkeypatch.setenv("OCIMODEL_VERIFY_KEY", str(world.pub))
    name, *options = command.format(key=world.key).split()
    ran = run(name, f"oci:{world.root}/store:v9", *options, "--json")
    assert ran.code == 11
    assert check(ran.document)["class"] == "availability"


def test_no_layout_is_11(world: World) -> None:
    assert run("list", f"oci:{world.root}/nowhere").code == 11


# --- attest, inspect, tree, list ------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["attest", "attest add"])
def test_attest_both_ways(spelling: str, world: World) -> None:
    predicate = world.root / "evaluation.json"
    predicate.write_text('{"accuracy": 0.93}')
    ran = run(*spelling.split(), world.ref, "--type", SLSA, "--predicate", predicate, "--key", world.key)
    assert ran.code == 0, ran.err
    assert ran.out.startswith(f"oci:{world.root}/store@sha256:")
    assert only_event("attest")["digest"] == world.digest


def test_attest_show(world: World) -> None:
    predicate = world.root / "evaluation.json"
    predicate.write_text('{"accuracy": 1}')
    argv = ("attest", world.ref, "--type", SLSA, "--predicate", predicate, "--key", world.key, "--json")
    assert check(run(*argv).document)["signature"]["created"] is True
    assert SLSA in run("attest", "show", world.ref).out
    for key, verified in ((world.pub, True), (world.stranger, False)):
        document = check(run("attest", "show", world.ref, "--key", key, "--json").document)
        (found,) = document["attestations"]
        assert (found["verified"], found["predicateType"]) == (verified, SLSA)
        assert found["predicate"] == {"accuracy": 1}


def test_an_attestation_is_no_signature(world: World) -> None:
    ref = f"oci:{world.root}/unsigned:v1"
    predicate = world.root / "evaluation.json"
    predicate.write_text("{}")
    assert run("push", world.model, ref).code == 0
    assert run("attest", ref, "--type", SLSA, "--predicate", predicate, "--key", world.key).code == 0
    assert run("verify", ref, "--key", world.pub).code == 10


@pytest.mark.parametrize(
    ("predicate", "code"), [("[]", 3), ("{", 3), (None, 2)], ids=["array", "broken", "missing"]
)
def test_a_bad_predicate(predicate: str | None, code: int, world: World) -> None:
    path = world.root / "p.json"
    if predicate is not None:
        path.write_text(predicate)
    ran = run("attest", world.ref, "--type", SLSA, "--predicate", path, "--key", world.key)
    assert (ran.code, ran.out) == (code, "")


def test_inspect(world: World) -> None:
    ran = run("inspect", world.ref)
    assert (ran.code, ran.err) == (0, "")
    assert f"reference     {world.pinned()}" in ran.out
    assert "architecture  bert" in ran.out
    assert "FILE " in ran.out
    document = check(run("inspect", world.ref, "--json").document)
    assert sorted(entry["path"] for entry in document["files"]) == sorted(files(world.model))
    assert document["model"]["architecture"] == "bert"
    assert document["referrers"] >= 1


def test_tree(world: World) -> None:
    lines = run("tree", world.ref).out.splitlines()
    assert lines[0] == world.pinned()
    assert lines[-1].startswith("└── sha256:")
    assert any("https://sigstore.dev/cosign/sign/v1" in line for line in lines)
    node = check(run("tree", world.ref, "--json").document)["tree"]
    assert node["digest"] == world.digest
    assert any(child["predicateType"].endswith("/sign/v1") for child in node["referrers"])


def test_list(world: World) -> None:
    assert run("push", world.model, world.ref, "--tag", "latest").code == 0
    assert run("list", f"oci:{world.root}/store").out == "latest\nv1\n"
    document = check(run("list", f"oci:{world.root}/store", "--json").document)
    assert document["tags"] == ["latest", "v1"]


def test_looking_leaves_no_event(world: World) -> None:
    for command in ("inspect", "tree", "list", "attest show"):
        assert run(*command.split(), world.ref).code == 0
    assert events() == []


# --- common ---------------------------------------------------------------------------------------------------


def test_json_goes_to_stdout_and_errors_to_stderr_as_well(world: World) -> None:
    ran = run("verify", world.ref, "--key", world.stranger, "--json")
    assert ran.document["hint"] == ran.error[1].removeprefix("hint: ")
    assert ran.document["reasons"][0]["detail"] == ran.error[0].removeprefix("REFUSED: ")


def test_a_provenance_document_travels_along(world: World) -> None:
    ran = run("push", world.model, f"oci:{world.root}/p:v1", "--provenance", world.root / "nowhere.json")
    assert (ran.code, ran.out) == (2, "")
    bad = world.root / "bad.json"
    bad.write_text("{}")
    assert run("push", world.model, f"oci:{world.root}/p:v1", "--provenance", bad).code == 3


def test_pushing_what_is_no_directory(world: World) -> None:
    assert run("push", world.root / "nowhere", f"oci:{world.root}/p:v1").code == 2
    assert run("push", world.pub, f"oci:{world.root}/p:v1").code == 2
    (world.root / "empty").mkdir()
    assert run("push", world.root / "empty", f"oci:{world.root}/p:v1").code == 2
