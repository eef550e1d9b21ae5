"""Changing a policy: keys rotated, retired and revoked, digests revoked; by commands, on the file."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimodel.errors import OcimodelError
from ocimodel.trust.amending import Amended, retire, revoke_digest, revoke_line, rotate
from ocimodel.trust.document import parse
from tests.commands import World, events, make_world, run
from tests.documents import check
from tests.signers import ALICE, BOB, CAROL

NOW = datetime(2026, 11, 1, tzinfo=UTC)
LATER = datetime(2026, 12, 1, tzinfo=UTC)
DIGEST = f"sha256:{'0' * 64}"


def pem(signer: Any) -> str:
    return str(signer.public.to_pem().decode())


def policy(**more: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "serial": 3,
        "keys": {"alice": {"publicKey": pem(ALICE), "roles": ["builder"]}, "bob": {"publicKey": pem(BOB)}},
        "scopes": [{"match": "**", "signatures": {"from": ["alice", "bob"]}}],
        **more,
    }


def valid(amended: Amended) -> dict[str, Any]:
    parse(json.dumps(amended.document).encode(), lambda _: b"")
    return amended.document


def test_a_rotation() -> None:
    found = valid(rotate(policy(), "alice", "carol", pem(CAROL), NOW))
    assert found["serial"] == 4
    assert found["issued"] == "2026-11-01T00:00:00Z"
    assert found["keys"]["carol"] == {"publicKey": pem(CAROL), "roles": ["builder"]}
    assert found["keys"]["alice"]["status"] == "retired"
    assert found["keys"]["alice"]["replacedBy"] == "carol"
    assert found["scopes"][0]["signatures"]["from"] == ["alice", "carol", "bob"]
    assert not rotate(found, "alice", "carol", pem(CAROL), LATER).changes


def test_what_is_revoked_stays_so() -> None:
    found = valid(revoke_line(policy(), "alice", "stolen", NOW, LATER))
    assert found["keys"]["alice"]["compromisedSince"] == "2026-12-01T00:00:00Z"
    earlier = valid(revoke_line(found, "alice", "stolen", NOW, NOW))
    assert earlier["keys"]["alice"]["compromisedSince"] == "2026-11-01T00:00:00Z"
    assert not revoke_line(earlier, "alice", "stolen", NOW, LATER).changes, "never later: that would trust more"
    with pytest.raises(OcimodelError, match="revoked"):
        retire(found, "alice", NOW)
    replaced = valid(rotate(found, "alice", "carol", pem(CAROL), NOW))["keys"]
    assert (replaced["alice"]["status"], replaced["alice"]["replacedBy"]) == ("revoked", "carol")
    assert replaced["carol"]["roles"] == ["builder"]


def test_a_retired_key_is_revoked() -> None:
    found = valid(retire(policy(), "alice", NOW))
    assert found["keys"]["alice"]["retiredAt"] == "2026-11-01T00:00:00Z"
    assert "retiredAt" not in valid(revoke_line(found, "alice", "stolen", NOW))["keys"]["alice"]


def test_a_digest() -> None:
    found = valid(revoke_digest(policy(), DIGEST, "leaked", NOW))
    assert found["revoked"]["digests"] == [{"digest": DIGEST, "reason": "leaked"}]
    assert not revoke_digest(found, DIGEST, "other words", NOW).changes


def test_a_name_that_stands_for_another_key() -> None:
    with pytest.raises(OcimodelError, match="another key"):
        rotate(policy(), "alice", "bob", pem(CAROL), NOW)


REASONS = st.text("abc, ", min_size=1).filter(str.strip)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just(retire), st.sampled_from(["alice", "bob"]), st.just(NOW)),
        st.tuples(st.just(revoke_line), st.sampled_from(["alice", "bob"]), REASONS, st.just(NOW)),
        st.tuples(st.just(revoke_digest), st.just(DIGEST), REASONS, st.just(NOW)),
        st.tuples(
            st.just(rotate), st.sampled_from(["alice", "bob"]), st.just("carol"), st.just(pem(CAROL)), st.just(NOW)
        ),
    ),
    max_size=6,
)


@given(CHANGES)
def test_amendments_only_ever_take_trust_away_from_what_was_there(changes: list[tuple[Any, ...]]) -> None:
    rank = {"active": 0, "retired": 1, "revoked": 2}
    document = policy()
    for change, *arguments in changes:
        try:
            amended = change(document, *arguments)
        except OcimodelError:
            continue
        after = valid(amended)
        assert after["serial"] == document["serial"] + bool(amended.changes)
        for name, line in document["keys"].items():
            now, then = after["keys"][name], line
            assert rank[now.get("status", "active")] >= rank[then.get("status", "active")]
            assert now["publicKey"] == then["publicKey"]
        document = after


# --- the commands ---------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture
def file(world: World, tmp_path: Path) -> Path:
    path = tmp_path / "policy.json"
    path.write_text(run("policy", "init", "--key", world.pub, "--scope", "oci:**").out)
    assert run("verify", world.ref, "--policy", path).code == 0
    return path


def test_a_revoked_key(world: World, file: Path) -> None:
    ran = run("revoke", "key", world.pub, "--policy", file, "--reason", "stolen", "--json")
    document = check(json.loads(ran.out))
    assert (document["serial"], ran.code) == (2, 0)
    assert "nothing new can pass" in ran.err
    assert run("verify", world.ref, "--policy", file).code == 16
    again = check(json.loads(run("revoke", "key", world.pub, "--policy", file, "--reason", "stolen", "--json").out))
    assert (again["changes"], again["serial"]) == ([], 2)
    assert events()[-1]["type"].endswith("revoke.key.v1")


def test_a_revoked_digest_in_a_soft_mode(world: World, file: Path) -> None:
    softer = json.loads(file.read_text())
    softer["scopes"][0]["mode"] = "audit"
    file.write_text(json.dumps(softer))
    assert run("revoke", "digest", f"x@{world.digest}", "--policy", file, "--reason", "leaked").code == 0
    assert run("verify", world.ref, "--policy", file).code == 16


def test_a_rotation_by_command(world: World, file: Path, tmp_path: Path) -> None:
    assert run("key", "generate", tmp_path / "next", "--no-password").code == 0
    name = next(iter(json.loads(file.read_text())["keys"]))
    ran = run("key", "rotate", name, "--key", tmp_path / "next.pub", "--policy", file, "--json")
    check(json.loads(ran.out))
    assert run("verify", world.ref, "--policy", file).code == 15
    assert run("sign", world.ref, "--key", tmp_path / "next.key").code == 0
    assert run("verify", world.ref, "--policy", file).code == 0
    assert run("key", "retire", "next", "--policy", file).code == 0
    assert run("verify", world.ref, "--policy", file).code == 15


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("revoke", "key", "nobody", "--reason", "x"), 11),
        (("revoke", "key", "signing", "--reason", " "), 2),
        (("revoke", "digest", "sha256:1", "--reason", "x"), 2),
        (("key", "retire", "nobody"), 11),
    ],
)
def test_what_changes_nothing(arguments: tuple[str, ...], code: int, file: Path) -> None:
    before = file.read_bytes()
    assert run(*arguments, "--policy", file).code == code
    assert file.read_bytes() == before


def test_yaml_and_files_that_are_not_policies(file: Path, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(file.read_text())
    assert run("key", "retire", "x", "--policy", tmp_path / "p.yaml").code == 2
    (tmp_path / "bad.json").write_text("{}")
    assert run("key", "retire", "x", "--policy", tmp_path / "bad.json").code == 3
    assert run("key", "retire", "x", "--policy", tmp_path / "none.json").code == 3


def test_changes_at_once_all_happen(file: Path) -> None:
    digests = [f"sha256:{number:064x}" for number in range(8)]
    threads = [
        threading.Thread(target=run, args=("revoke", "digest", digest, "--policy", str(file), "--reason", "x"))
        for digest in digests
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = json.loads(file.read_text())
    assert {item["digest"] for item in found["revoked"]["digests"]} == set(digests)
    assert found["serial"] == 1 + len(digests)


def test_the_key_ring_as_a_table(world: World, file: Path, tmp_path: Path) -> None:
    assert run("key", "generate", tmp_path / "next", "--no-password").code == 0
    ran = run("key", "rotate", "alice", "--key", tmp_path / "next.pub", "--policy", file)
    assert "next: sign again what stays in use" in ran.err
    listed = run("key", "list", "--policy", file)
    assert [line.split()[:3] for line in listed.out.splitlines()] == [
        ["SIGNER", "ROLES", "STATUS"],
        ["alice", "builder", "retired"],
        ["next", "builder", "active"],
    ]
    assert "replaced by next" in listed.out
    document = check(run("key", "list", "--policy", file, "--json").document)
    assert [(line["name"], line["status"], line["replacedBy"]) for line in document["ring"]] == [
        ("alice", "retired", "next"),
        ("next", "active", None),
    ]
    assert document["ring"][0]["retiredAt"] is not None
    assert run("key", "rotate", "alice", "--key", tmp_path / "next.pub", "--policy", file).err == ""
