"""Keys in Vault's transit engine, against a server of the tests' own: no Vault is packaged where they run."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocimodel.errors import AuthenticationError, NotFoundError, UnavailableError, UsageError
from ocimodel.keys.algorithms import Algorithm
from ocimodel.keys.custody import remote
from ocimodel.keys.custody.vault import parse
from ocimodel.keys.specs import load_public, load_signer
from tests.commands import events, make_world, run
from tests.transit import MAKERS, TOKEN, Transit

MESSAGE = b"what is signed"


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Iterator[Transit]:
    for name in [name for name in os.environ if name.startswith(("VAULT_", "TRANSIT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(remote, "PAUSES", (0.0, 0.0))
    with Transit() as server:
        monkeypatch.setenv("VAULT_ADDR", server.url)
        monkeypatch.setenv("VAULT_TOKEN", TOKEN)
        yield server


@pytest.mark.parametrize("kind", MAKERS)
def test_vault_signs(vault: Transit, kind: str) -> None:
    vault.make("ci", kind)
    signer = load_signer("hashivault:ci")
    assert signer.public.algorithm is Algorithm(kind)
    assert signer.public.verify(signer.sign(MESSAGE), MESSAGE)
    assert signer.public.verify(signer.sign(MESSAGE, pss=True), MESSAGE, pss=True)
    assert load_public("hashivault://ci") == signer.public


def test_only_a_digest_is_sent(vault: Transit) -> None:
    vault.make("ci")
    load_signer("hashivault:ci").sign(MESSAGE)
    (body,) = [body for method, path, body in vault.asked if path.endswith("/sign/ci")]
    assert base64.b64decode(body["input"]) == hashlib.sha256(MESSAGE).digest()
    assert {key: value for key, value in body.items() if key != "input"} == {
        "key_version": 1,
        "hash_algorithm": "sha2-256",
        "prehashed": True,
        "marshaling_algorithm": "asn1",
    }


def test_versions(vault: Transit) -> None:
    vault.make("ci")
    first = load_signer("hashivault:ci")
    vault.make("ci")
    assert first.public.verify(first.sign(MESSAGE), MESSAGE)
    latest = load_signer("hashivault:ci")
    assert latest.public != first.public
    assert load_public("hashivault:ci/1") == first.public
    assert load_public("hashivault://ci/2") == latest.public
    with pytest.raises(NotFoundError, match="no version 3"):
        load_signer("hashivault:ci/3")


def test_mount_and_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    with Transit(mount="team/signing") as server:
        server.make("ci")
        monkeypatch.setenv("VAULT_ADDR", server.url)
        monkeypatch.setenv("VAULT_TOKEN", TOKEN)
        monkeypatch.setenv("TRANSIT_SECRET_ENGINE_PATH", "team/signing")
        monkeypatch.setenv("VAULT_NAMESPACE", "ml")
        assert load_signer("hashivault:ci").sign(MESSAGE)
        assert server.namespaces == {"ml"}
        monkeypatch.setenv("TRANSIT_SECRET_ENGINE_PATH", "../sys")
        with pytest.raises(UsageError, match="not the path of a mount"):
            load_signer("hashivault:ci")


def test_the_token_of_a_login(vault: Transit, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.make("ci")
    monkeypatch.delenv("VAULT_TOKEN")
    with pytest.raises(AuthenticationError, match="no token"):
        load_signer("hashivault:ci")
    (isolated / ".vault-token").write_text(TOKEN)
    load_signer("hashivault:ci")


@pytest.mark.parametrize("rest", ["", "//", "a/b", "../x", "a?b", "a b", "/a"])
def test_what_is_no_name(rest: str) -> None:
    with pytest.raises(UsageError, match="not the name of a key"):
        parse(f"hashivault:{rest}")


# --- faults ------------------------------------------------------------------------------------------------------


def test_no_such_key_is_11(vault: Transit) -> None:
    with pytest.raises(NotFoundError, match="no such key"):
        load_signer("hashivault:nobody")


def test_a_token_that_is_not_good_is_77(vault: Transit, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.make("ci")
    signer = load_signer("hashivault:ci")
    vault.fail = [(403, {"errors": [f"permission denied for {TOKEN}"]})]
    with pytest.raises(AuthenticationError, match="refuses") as caught:
        signer.sign(MESSAGE)
    assert TOKEN not in f"{caught.value}{caught.value.hint}"
    monkeypatch.setenv("VAULT_TOKEN", "hvs.old")
    with pytest.raises(AuthenticationError):
        load_signer("hashivault:ci")


def test_trouble_is_tried_again_and_then_75(vault: Transit) -> None:
    vault.make("ci")
    sealed = (503, {"errors": ["Vault is sealed"]})
    vault.fail = [sealed, (429, {"errors": []})]
    signer = load_signer("hashivault:ci")
    vault.fail = [sealed, (500, {"errors": []})]
    assert signer.sign(MESSAGE)
    vault.fail = [sealed] * 3
    with pytest.raises(UnavailableError, match="VaultDown"):
        signer.sign(MESSAGE)


def test_the_token_goes_nowhere_else(vault: Transit) -> None:
    vault.make("ci")
    with Transit() as elsewhere:
        elsewhere.make("ci")
        vault.fail = [(307, {"location": f"{elsewhere.url}/v1/transit/keys/ci"})] * 3
        with pytest.raises(UnavailableError, match="not an answer of Vault's"):
            load_signer("hashivault:ci")
        assert elsewhere.asked == []


def test_nobody_there_is_75(vault: Transit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match="ConnectionError"):
        load_signer("hashivault:ci")


@pytest.mark.parametrize(("address", "said"), [("", "where Vault is"), ("not a url", "not a URL")])
def test_an_address_is_needed(vault: Transit, monkeypatch: pytest.MonkeyPatch, address: str, said: str) -> None:
    monkeypatch.setenv("VAULT_ADDR", address)
    with pytest.raises(UsageError, match=said):
        load_signer("hashivault:ci")


def test_a_key_that_only_encrypts_is_refused(vault: Transit) -> None:
    vault.make("ci")
    vault.change = lambda data: {**data, "type": "aes256-gcm96", "keys": {"1": 1700000000}}
    with pytest.raises(UsageError, match="not for signing"):
        load_signer("hashivault:ci")


@pytest.mark.parametrize(
    "change",
    [
        {"signature": "vault:v2:AAAA"},
        {"signature": "vault:v1:!"},
        {"signature": 7},
        {"signature": "vault:v1:" + base64.b64encode(b"0" * 70).decode()},
    ],
)
def test_what_is_no_signature_by_the_key_is_75(vault: Transit, change: dict[str, Any]) -> None:
    vault.make("ci")
    signer = load_signer("hashivault:ci")
    vault.change = lambda data: {**data, **change}
    with pytest.raises(UnavailableError):
        signer.sign(MESSAGE)


@pytest.mark.parametrize(
    "change",
    [
        {"keys": None},
        {"keys": {"1": {"public_key": "no pem"}}},
        {"latest_version": None},
        {"latest_version": "1"},
        {"type": "ed25519"},
    ],
)
def test_what_is_no_key_is_refused(vault: Transit, change: dict[str, Any]) -> None:
    vault.make("ci")
    vault.change = lambda data: {**data, **change}
    with pytest.raises((UsageError, NotFoundError)):
        load_signer("hashivault:ci")


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hvac", None)
    with pytest.raises(UsageError) as caught:
        load_signer("hashivault:ci")
    assert caught.value.hint == "pip install 'ocimodel[vault]'"


# --- as a user would ---------------------------------------------------------------------------------------------


def test_commands_take_a_key_in_vault(vault: Transit, tmp_path: Path) -> None:
    vault.make("ci")
    world = make_world(tmp_path)
    assert run("key", "public", "hashivault://ci", "-o", tmp_path / "ci.pub").code == 0
    ran = run("sign", world.ref, "--key", "hashivault://ci", "--debug")
    assert ran.code == 0, ran.err
    assert run("verify", world.ref, "--key", tmp_path / "ci.pub").code == 0
    vault.fail = [(403, {"errors": [TOKEN]})]
    denied = run("sign", world.ref, "--key", "hashivault://ci", "--debug")
    assert denied.code == 77
    vault.fail = [(503, {})] * 3
    down = run("sign", world.ref, "--key", "hashivault://ci", "--debug", "--json")
    assert down.code == 75
    assert TOKEN not in ran.err + denied.err + down.err + down.out + json.dumps(events())
