"""Key files of cosign's own making are read, imported and shown; ours are taken by it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pkcs11
import pytest

from tests.commands import make_world, run
from tests.real import peers
from tests.real.cosign import cosign_verify, import_key
from tests.real.registry import RealRegistry
from tests.real.softhsm import SoftHsm

pytestmark = pytest.mark.peer

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/plugin/example_plugin.py"
PASSWORD = "pässword with blanks"


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """cosign.key and cosign.pub in a directory, encrypted with `PASSWORD`, which COSIGN_PASSWORD holds."""
    monkeypatch.setenv("COSIGN_PASSWORD", PASSWORD)
    peers.run("cosign", "generate-key-pair", "--output-key-prefix", "cosign", cwd=tmp_path)
    return tmp_path


@pytest.mark.parametrize("label", ["SIGSTORE", "COSIGN"])
def test_a_key_of_cosign_signs(pair: Path, label: str) -> None:
    """cosign 2 and later write the first label, cosign 1 wrote the second over the same."""
    key = pair / "cosign.key"
    text = key.read_text()
    assert "ENCRYPTED SIGSTORE PRIVATE KEY" in text
    key.write_text(text.replace("SIGSTORE", label))
    world = make_world(pair)
    assert run("sign", world.ref, "--key", key).code == 0
    assert run("verify", world.ref, "--key", pair / "cosign.pub").code == 0


def test_a_key_of_cosign_is_shown_and_imported(pair: Path) -> None:
    public = (pair / "cosign.pub").read_text()
    assert run("key", "public", pair / "cosign.key").out == public
    imported = run("key", "import", pair / "cosign.key", pair / "imported")
    assert imported.code == 0, imported.err
    assert "BEGIN ENCRYPTED PRIVATE KEY" in (pair / "imported.key").read_text()
    assert (pair / "imported.pub").read_text() == public
    assert run("key", "import", pair / "imported.key", pair / "open", "--no-password").code == 0
    assert "BEGIN PRIVATE KEY" in (pair / "open.key").read_text()
    back = import_key(pair / "open.key", pair, "back")
    assert back.public.read_text() == public


@pytest.mark.parametrize("kind", ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519", "rsa-2048"])
def test_a_key_of_ours_goes_to_cosign_and_back(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("key", "generate", tmp_path / "ours", "--type", kind, "--no-password").code == 0
    theirs = import_key(tmp_path / "ours.key", tmp_path)
    assert theirs.public.read_text() == (tmp_path / "ours.pub").read_text()
    monkeypatch.setenv("COSIGN_PASSWORD", "")
    assert run("key", "public", theirs.private).out == (tmp_path / "ours.pub").read_text()


def test_a_wrong_password_is_2_and_is_not_shown(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSIGN_PASSWORD", "battery staple")
    world = make_world(pair)
    ran = run("sign", world.ref, "--key", pair / "cosign.key", "--debug")
    assert (ran.code, ran.out) == (2, "")
    assert ran.error[0] == "error: cosign.key: wrong password, or a damaged key"
    log = Path(os.environ["OCIMODEL_AUDIT_LOG"])
    assert "battery" not in ran.err + log.read_text()


def test_cosign_verifies_what_a_token_and_a_plugin_signed(
    softhsm: SoftHsm, distribution: RealRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that are elsewhere sign what cosign takes for its own."""
    assert run("key", "generate", tmp_path / "k", "--no-password").code == 0
    softhsm.import_key(tmp_path / "k.key", "release")
    (tmp_path / "pin").write_text(softhsm.pin)
    pkcs11.lib(str(softhsm.module)).reinitialize()
    (tmp_path / "ocimodel-example").write_text(f"#!{sys.executable}\n{EXAMPLE.read_text()}")
    (tmp_path / "ocimodel-example").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("EXAMPLE_PLUGIN_KEYS", str(tmp_path))
    world = make_world(tmp_path)
    token = f"pkcs11:token={softhsm.label}?module-path={softhsm.module}&pin-source=file:{tmp_path}/pin"
    for key in (token, "plugin:example:k"):
        ref = distribution.fresh()
        pushed = run("push", world.model, f"{ref}:v1", "--key", key)
        assert pushed.code == 0, pushed.err
        cosign_verify(f"{ref}:v1", tmp_path / "k.pub")
        assert run("sign", f"{ref}:v1", "--key", key, "--json").document["signature"]["created"] is False


def test_without_a_password_it_is_asked_for(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COSIGN_PASSWORD")
    ran = run("key", "public", pair / "cosign.key")
    assert ran.error[0] == "error: cosign.key is encrypted and no password was given"
