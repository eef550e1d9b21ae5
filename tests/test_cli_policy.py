"""``ocimodel policy``, and ``--policy`` on the commands that judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands import World, events, make_world, run
from tests.documents import check, problems

SUMMARY = "https://slsa.dev/verification_summary/v1"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def init(*argv: str | Path) -> dict[str, Any]:
    ran = run("policy", "init", *argv)
    assert ran.code == 0, ran.err
    value = json.loads(ran.out)
    assert problems(value, "policy") == []
    assert isinstance(value, dict)
    return value


def saved(world: World, value: dict[str, Any], name: str = "policy.json") -> Path:
    path = world.root / name
    path.write_text(json.dumps(value))
    return path


# --- init -----------------------------------------------------------------------------------------------------


def test_a_first_policy_is_valid_and_does_what_it_says(world: World) -> None:
    value = init("--key", world.pub)
    path = saved(world, value)
    assert run("policy", "check", path).code == 0
    assert run("verify", world.ref, "--policy", path).code == 0
    assert run("pull", world.ref, "-o", world.root / "out", "--policy", path).code == 0
    stranger = saved(world, init("--key", world.stranger))
    assert run("verify", world.ref, "--policy", stranger).code == 12


def test_everything_that_can_be_asked_for(world: World) -> None:
    value = init(
        *("--key", world.pub, "--key", world.stranger, "--threshold", "2", "--promoter", _promoter(world)),
        *("--scope", "reg.example/ml-prod/**", "--scope", "oci:**", "--environment", "prod", "--mode", "warn"),
        *("--require-attestation", "slsaprovenance1"),
    )
    assert [scope["match"] for scope in value["scopes"]] == ["reg.example/ml-prod/**", "oci:**"]
    for scope in value["scopes"]:
        assert (scope["environment"], scope["mode"]) == ("prod", "warn")
        assert scope["signatures"] == {"threshold": 2, "from": ["alice", "mallory"]}
        assert [gate["predicateType"] for gate in scope["attestations"]] == [
            "https://slsa.dev/provenance/v1",
            SUMMARY,
        ]
        assert scope["attestations"][1]["from"] == ["promoter"]
    assert {name: line["roles"] for name, line in value["keys"].items()} == {
        "alice": ["builder"],
        "mallory": ["builder"],
        "promoter": ["promoter"],
    }
    assert run("policy", "check", saved(world, value)).code == 0


def _promoter(world: World) -> Path:
    assert run("key", "generate", world.root / "promoter", "--no-password").code == 0
    return world.root / "promoter.pub"


def test_a_policy_that_names_no_key_accepts_nothing(world: World) -> None:
    ran = run("policy", "init")
    assert "accepts nothing" in ran.err
    path = saved(world, json.loads(ran.out))
    checked = run("policy", "check", path)
    assert checked.code == 0
    assert "accepts nothing" in checked.err
    assert run("verify", world.ref, "--policy", path).code == 12
    assert run("pull", world.ref, "-o", world.root / "out", "--policy", path).code == 12
    assert not (world.root / "out").exists()


@pytest.mark.parametrize(
    "argv",
    [
        ("--threshold", "2"),
        ("--threshold", "0"),
        ("--mode", "off"),
        ("--require-attestation", "not-a-type"),
        ("--require-attestation", "https://sigstore.dev/cosign/sign/v1"),
    ],
)
def test_what_init_does_not_take(world: World, argv: tuple[str, ...]) -> None:
    ran = run("policy", "init", "--key", world.pub, *argv)
    assert (ran.code, ran.out) == (2, "")


@pytest.mark.parametrize("scopes", [("a/*", "a/**"), ("a/{b}",), ("",)])
def test_what_init_does_not_take_as_scopes(world: World, scopes: tuple[str, ...]) -> None:
    ran = run("policy", "init", "--key", world.pub, *(word for scope in scopes for word in ("--scope", scope)))
    assert (ran.code, ran.out) == (3, "")


def test_a_key_is_named_once(world: World) -> None:
    again = world.root / "again.pub"
    again.write_text(world.pub.read_text())
    assert run("policy", "init", "--key", world.pub, "--promoter", again).code == 2
    assert run("policy", "init", "--key", world.key).code == 2  # a private key


def test_init_as_a_document(world: World) -> None:
    document = check(run("policy", "init", "--key", world.pub, "--json").document)
    assert list(document["policy"]["keys"]) == ["alice"]


# --- check ----------------------------------------------------------------------------------------------------


def test_check_shows_what_it_says(world: World) -> None:
    path = saved(world, init("--key", world.pub, "--environment", "prod"))
    ran = run("policy", "check", path)
    assert "**" in ran.out
    assert "alice" in ran.out
    document = check(run("policy", "check", path, "--json").document)
    assert document["scopes"] == [
        {
            "match": "**",
            "environment": "prod",
            "mode": "enforce",
            "signatures": 1,
            "signers": ["alice"],
            "attestations": [],
        }
    ]
    assert document["ring"][0]["status"] == "active"


def test_an_invalid_policy_is_3_and_names_the_field(world: World) -> None:
    value = init("--key", world.pub)
    value["scopes"][0]["mod"] = "warn"
    path = saved(world, value)
    for argv in (
        ("policy", "check", path),
        ("policy", "explain", path, world.ref),
        ("policy", "simulate", path, world.ref),
        ("verify", world.ref, "--policy", path),
        ("pull", world.ref, "-o", world.root / "out", "--policy", path),
    ):
        ran = run(*argv)
        assert (ran.code, ran.out) == (3, ""), argv
        assert "scopes[0].mod" in ran.error[0]
    assert check(run("policy", "check", path, "--json").document)["class"] == "configuration"
    assert run("policy", "check", world.root / "absent.json").code == 3


# --- explain --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("https://slsa.dev/verification_summary/v1", "ocimodel promote SRC REF --policy FILE --key KEY"),
        ("https://ocimodel.github.io/spec/v1/approval", "ocimodel approve REF --key KEY"),
    ],
)
def test_explain_names_the_command_that_makes_the_statement(world: World, kind: str, command: str) -> None:
    path = saved(world, init("--key", world.pub, "--require-attestation", kind))
    assert f"to pass    {command}: signed by" in run("policy", "explain", path, world.ref).out


def test_explain_says_why_and_what_would_make_it_pass(world: World) -> None:
    value = init("--key", world.pub, "--require-attestation", "https://example.org/evaluation")
    path = saved(world, value)
    ran = run("policy", "explain", path, world.ref)
    assert ran.code == 0
    assert "to pass" in ran.out
    assert "ocimodel attest REF --type https://example.org/evaluation" in ran.out
    assert ran.out.splitlines()[-1].startswith("REFUSED ")
    document = check(run("policy", "explain", path, world.ref, "--json").document)
    assert (document["exitCode"], document["wouldExit"], document["outcome"]) == (0, 19, "warn")
    assert {item["name"]: item["outcome"] for item in document["checks"]} == {
        "scope": "pass",
        "revocation": "pass",
        "freshness": "pass",
        "signature": "pass",
        "attestation https://example.org/evaluation": "fail",
        "metadata": "skip",
        "rollback": "skip",
        "formats": "pass",
    }
    assert document["digest"] == world.digest
    good = check(run("policy", "explain", saved(world, init("--key", world.pub)), world.ref, "--json").document)
    assert (good["outcome"], good["wouldExit"]) == ("pass", 0)
    assert all(item["remedy"] == "" for item in good["checks"])


def test_explain_takes_another_name_and_a_context(world: World) -> None:
    path = saved(world, init("--key", world.pub, "--scope", "reg.example/**", "--environment", "prod"))
    assert check(run("policy", "explain", path, world.ref, "--json").document)["wouldExit"] == 12
    named = ("policy", "explain", path, world.ref, "--as", "reg.example/x:v1", "--json")
    assert check(run(*named).document)["wouldExit"] == 0
    assert check(run(*named, "--context", "environment=dev").document)["wouldExit"] == 17


def test_explain_of_what_is_not_there(world: World) -> None:
    path = saved(world, init("--key", world.pub))
    assert run("policy", "explain", path, f"oci:{world.root}/store:absent").code == 11


# --- simulate -------------------------------------------------------------------------------------------------


def test_simulate_shows_what_would_change(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now = saved(world, init("--key", world.pub), "now.json")
    then = saved(world, init("--key", world.stranger), "then.json")
    assert run("push", world.model, f"oci:{world.root}/store:unsigned", "-a", "x=y", "--key", world.key).code == 0
    document = check(run("policy", "simulate", then, world.ref, "--against", now, "--json").document)
    assert (document["wouldExit"], document["refused"], document["failed"]) == (12, 1, 0)
    (row,) = document["artifacts"]
    assert (row["now"], row["then"], row["change"]) == ("pass", "12", "refused")
    back = check(run("policy", "simulate", now, world.ref, "--against", then, "--json").document)
    assert (back["artifacts"][0]["change"], back["wouldExit"]) == ("accepted", 0)
    same = check(run("policy", "simulate", now, world.ref, "--against", now, "--json").document)
    assert (same["artifacts"][0]["change"], same["outcome"]) == ("same", "pass")
    monkeypatch.setenv("OCIMODEL_POLICY", str(now))
    assert check(run("policy", "simulate", then, world.ref, "--json").document)["artifacts"][0]["now"] == "pass"
    monkeypatch.delenv("OCIMODEL_POLICY")
    alone = check(run("policy", "simulate", then, world.ref, "--json").document)
    assert (alone["artifacts"][0]["now"], alone["artifacts"][0]["change"]) == (None, "refused")


def test_simulate_from_an_audit_log(world: World) -> None:
    path = saved(world, init("--key", world.pub))
    assert run("verify", world.ref, "--policy", path).code == 0
    assert run("verify", world.ref, "--policy", path).code == 0
    assert run("pull", world.ref, "-o", world.root / "out", "--policy", path).code == 0
    log = world.root / "log.jsonl"
    log.write_text("\n".join(json.dumps(event) for event in events()) + "\nno event\n[]\n{}\n")
    then = saved(world, init("--key", world.stranger), "then.json")
    document = check(run("policy", "simulate", then, "--from-audit", log, "--against", path, "--json").document)
    assert [row["change"] for row in document["artifacts"]] == ["refused"]
    assert document["artifacts"][0]["reference"].endswith(f"@{world.digest}")
    assert "1 artifact: 1 would be refused anew" in run("policy", "simulate", then, "--from-audit", log).out


def test_simulate_goes_on_where_something_is_gone(world: World) -> None:
    path = saved(world, init("--key", world.pub))
    gone = f"oci:{world.root}/store:gone"
    document = check(run("policy", "simulate", path, gone, world.ref, "--json").document)
    assert [row["change"] for row in document["artifacts"]] == ["error", "same"]
    assert (document["outcome"], document["failed"]) == ("warn", 1)


@pytest.mark.parametrize("argv", [(), ("--from-audit", "absent.jsonl")])
def test_nothing_to_simulate(world: World, argv: tuple[str, ...]) -> None:
    assert run("policy", "simulate", saved(world, init("--key", world.pub)), *argv).code == 2


# --- the names that directories and layouts have --------------------------------------------------------------


def test_what_a_directory_says_of_itself_decides_nothing(world: World) -> None:
    path = saved(world, init("--key", world.pub, "--scope", "reg.example/prod/**"))
    out = world.root / "out"
    assert run("pull", world.ref, "-o", out, "--policy", path, "--as", "reg.example/prod/x").code == 0
    # The receipt, which nobody signed, may say that it is from anywhere.
    assert run("verify", out, "--policy", path).code == 12
    assert run("verify", out, "--policy", path, "--as", "reg.example/prod/x").code == 0
    assert run("verify", out, "--policy", path, "--as", "reg.example/dev/x").code == 12
    anywhere = saved(world, init("--key", world.pub, "--scope", "oci:**"))
    assert run("verify", out, "--policy", anywhere).code == 0
    assert run("verify", world.ref, "--policy", anywhere).code == 0


def test_a_layout_is_called_by_its_whole_path(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(world, init("--key", world.pub, "--scope", f"oci:{world.root}/store"))
    assert run("verify", world.ref, "--policy", path).code == 0
    monkeypatch.chdir(world.root)
    assert run("verify", "oci:./store:v1", "--policy", path).code == 0
    assert run("verify", "oci:store:v1", "--policy", path, "--as", "oci:elsewhere").code == 12


# --- modes on the command line --------------------------------------------------------------------------------


def test_enforce_raises_a_mode_and_no_variable_lowers_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(world, init("--key", world.stranger, "--mode", "audit"))
    ran = run("verify", world.ref, "--policy", path)
    assert ran.code == 0
    assert ran.out.splitlines()[-1].startswith("WOULD BE REFUSED ")
    assert "warning: " not in ran.err
    assert run("verify", world.ref, "--policy", path, "--enforce").code == 12
    monkeypatch.setenv("OCIMODEL_ENFORCE", "1")
    assert run("verify", world.ref, "--policy", path).code == 12
    monkeypatch.setenv("OCIMODEL_ENFORCE", "0")
    hard = saved(world, init("--key", world.stranger))
    assert run("verify", world.ref, "--policy", hard).code == 12
    monkeypatch.setenv("OCIMODEL_MODE", "audit")
    assert run("verify", world.ref, "--policy", hard).code == 12


def test_the_event_says_by_which_policy(world: World) -> None:
    path = saved(world, init("--key", world.pub, "--environment", "prod", "--mode", "warn"))
    assert run("verify", world.ref, "--policy", path).code == 0
    data = events()[-1]["data"]
    assert (data["mode"], data["environment"], data["policy"]["id"]) == ("warn", "prod", "prod")
    assert data["policy"]["digest"].startswith("sha256:")


def test_the_cache_is_trusted_on_its_word_only_where_the_policy_says_so(world: World) -> None:
    value = init("--key", world.pub)
    path = saved(world, value)
    pull = ("pull", world.ref, "-o", world.root / "out", "--cache-verify", "fast", "--policy")
    assert run(*pull, path).code == 2
    value["scopes"][0]["cacheVerify"] = "fast"
    assert run(*pull, saved(world, value)).code == 0
