"""Command lines and environments that could make verification quietly not happen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.attacks.scene import Scene
from tests.commands import events, run
from tests.signers import ALICE, BOB, MALLORY

OFF = ("0", "false", "no", "off", "never", "none", "")
SWITCHES = (
    "OCIMODEL_VERIFY",
    "OCIMODEL_NO_VERIFY",
    "OCIMODEL_SKIP_VERIFY",
    "OCIMODEL_INSECURE",
    "OCIMODEL_MODE",
    "OCIMODEL_POLICY_MODE",
    "OCIMODEL_ENFORCE",
    "OCIMODEL_THRESHOLD",
    "OCIMODEL_FULL",
    "OCIMODEL_REF",
    "OCIMODEL_AS",
    "OCIMODEL_INCLUDE",
)
MODES = ("warn", "audit", "permissive", "skip")


def test_key_without_verify_verifies(scene: Scene) -> None:
    scene.push(signer=MALLORY)
    assert scene.pull(key=ALICE).code == 12
    assert scene.pull(key=MALLORY).code == 0


@pytest.mark.parametrize("command", ["pull", "verify"])
def test_verify_with_neither_key_nor_policy(signed: Scene, command: str) -> None:
    ran = signed.pull("--verify", key=None) if command == "pull" else signed.verify(key=None)
    assert ran.code == 2
    assert signed.registry.requests == []
    assert signed.nothing_arrived()


def test_a_pull_without_verification_says_so(scene: Scene) -> None:
    scene.push(signer=None)
    plain = scene.pull(key=None)
    assert plain.code == 0
    assert "NOT VERIFIED" in plain.err
    document = scene.pull("--json", key=None).document
    assert document["verified"] is False
    assert document["verification"] == "NOT VERIFIED"
    assert document["outcome"] == "warn"
    quiet = scene.pull("--quiet", key=None)
    assert "NOT VERIFIED" in quiet.err
    assert events()[-1]["data"]["mode"] is None


@pytest.mark.parametrize("command", ["pull", "verify"])
def test_a_private_key_where_a_public_one_belongs(signed: Scene, command: str) -> None:
    private = str(signed.private())
    words = ["-o", str(signed.out)] if command == "pull" else []
    ran = run(command, str(signed.reference), *words, "--key", private)
    assert ran.code == 2
    assert "private key" in ran.err
    assert "BEGIN" not in ran.out + ran.err
    assert signed.registry.requests == []


def test_a_key_that_is_none(signed: Scene) -> None:
    """Missing, empty, several in one file, something else: never no check."""
    empty, two, text = (signed.place / name for name in ("empty.pub", "two.pub", "text.pub"))
    empty.write_bytes(b"")
    two.write_bytes(ALICE.public.to_pem() + BOB.public.to_pem())
    text.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    for key in (empty, two, text):
        assert signed.pull("--key", key, key=None).code == 2
    assert signed.pull("--key", signed.place / "missing.pub", key=None).code == 11
    assert signed.pull("--key", "", key=None).code == 2
    assert signed.pull("--key", " ", key=None).code == 2
    assert signed.pull("--policy", "", key=None).code == 2
    assert signed.pull("--policy", signed.place / "missing.json", key=None).code in (2, 3, 11)
    assert signed.registry.requests == []
    assert signed.nothing_arrived()


@pytest.mark.parametrize("name", SWITCHES)
def test_no_variable_turns_verification_off(scene: Scene, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.push(signer=MALLORY)
    for value in (*OFF, *MODES, "1"):
        monkeypatch.setenv(name, value)
        assert scene.pull().code in (2, 12), value
        assert scene.pull("--verify").code in (2, 12), value
        assert scene.verify().code in (2, 12), value
        assert scene.nothing_arrived()


@pytest.mark.parametrize("value", OFF)
def test_verify_as_a_variable_is_no_less_than_nothing(
    scene: Scene, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the key in the environment as well: it implies verification, whatever the other variable says."""
    scene.push(signer=MALLORY)
    monkeypatch.setenv("OCIMODEL_VERIFY", value)
    monkeypatch.setenv("OCIMODEL_VERIFY_KEY", str(scene.public(ALICE)))
    assert scene.pull(key=None).code in (2, 12)
    assert scene.nothing_arrived()


@pytest.mark.parametrize("name", ["OCIMODEL_VERIFY_KEY", "OCIMODEL_POLICY"])
@pytest.mark.parametrize("value", ["", " ", "\t"], ids=ascii)
def test_a_variable_that_is_set_but_empty(
    signed: Scene, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was meant to name a key; a template that was not filled in must not end in no check."""
    monkeypatch.setenv(name, value)
    assert signed.pull(key=None).code == 2
    assert signed.verify(key=None).code == 2
    assert signed.registry.requests == []


def test_arguments_win_over_the_environment(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment adds no key to those that were typed."""
    scene.push(signer=MALLORY)
    monkeypatch.setenv("OCIMODEL_VERIFY_KEY", str(scene.public(MALLORY)))
    assert scene.pull(key=None).code == 0
    assert scene.verify(key=ALICE).code == 12
    assert scene.verify(key=MALLORY).code == 0


def test_a_variable_that_names_a_missing_key(signed: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIMODEL_VERIFY_KEY", str(signed.place / "missing.pub"))
    assert signed.pull(key=None).code == 11
    assert signed.nothing_arrived()


@pytest.mark.parametrize(
    "key", ["io.github.ocimodel.expires", "io.github.ocimodel.environment", "io.github.ocimodel."]
)
def test_claims_of_ours_cannot_be_typed(signed: Scene, key: str) -> None:
    assert run("sign", str(signed.reference), "--key", signed.private(), "-a", f"{key}=x").code == 2


def test_a_reference_that_is_two_things(signed: Scene) -> None:
    """What some readers take for another host, another repository, or another path."""
    digest = str(signed.subject().digest)
    host = signed.registry.host
    for reference in (
        f"{host}/models/tiny:v1@{digest}@{digest}",
        f"{host}/models/../tiny:v1",
        f"{host}//models/tiny",
        f"{host}/models/tiny:v1?x",
        f"{host}/models/tiny:v1#x",
        f"http://{host}/models/tiny:v1",
        f"user:password@{host}/models/tiny:v1",
        f"{host}/Models/tiny:v1",
        f"{host}/models/tiny:v1 ",
        f"{host}/models/tiny:v1\n",
        f"{host}/models/tiny@sha256:abc",
        "",
    ):
        ran = run("pull", reference, "-o", signed.out, "--key", signed.public())
        assert ran.code == 2, reference
        assert "password" not in ran.err
    assert signed.registry.requests == []
    assert signed.nothing_arrived()


def test_every_decision_leaves_one_event(scene: Scene) -> None:
    """Refused, unreachable and misused ones as well, with the code that the caller saw."""
    scene.push(signer=MALLORY)
    scene.registry.forget()
    codes = [
        scene.pull(key=ALICE).code,
        scene.pull(key=None).code,
        scene.verify(key=MALLORY).code,
        scene.verify(key=ALICE).code,
        scene.verify(of=f"{scene.reference.name}:missing").code,
    ]
    found = [(event["type"].split(".")[-2], event["data"]["exitCode"]) for event in events()]
    assert found == list(zip(["pull", "pull", "verify", "verify", "verify"], codes, strict=True))
    assert codes == [12, 0, 0, 12, 11]


def test_an_audit_log_that_cannot_be_written_changes_no_verdict(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCIMODEL_AUDIT_LOG", str(tmp_path))
    scene.push(signer=MALLORY)
    assert scene.pull(key=ALICE).code == 12
    ran = scene.pull(key=MALLORY)
    assert ran.code == 0
    assert "audit" in ran.err


def test_json_says_the_code_that_the_process_has(scene: Scene) -> None:
    scene.push(signer=None)
    for ran, code in (
        (scene.pull("--json"), 10),
        (scene.verify("--json"), 10),
        (scene.pull("--json", "--verify", key=None), 2),
        (run("pull", "--json", str(scene.reference), "--nonsense"), 2),
        (run("--json", "verify", f"{scene.reference.name}:missing", "--key", scene.public()), 11),
    ):
        assert ran.code == code
        assert json.loads(ran.out)["exitCode"] == code
