"""Keys and credentials: what is written, what is asked for, and that no secret is ever an argument or an output."""

from __future__ import annotations

import io
import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import Ran, World, events, make_world, run
from tests.documents import check, problems
from tests.hostile import Basic, HostileRegistry

ROOT = Path(__file__).resolve().parents[1]
PASSWORD = "correct horse"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# What a shell does for the program that it starts: the terminal becomes the one that the process belongs to.
_ON_TERMINAL = """
import os, sys
os.close(os.open(os.ttyname(0), os.O_RDWR))
os.execv(sys.executable, [sys.executable, "-m", "ocimodel", *sys.argv[1:]])
"""


def on_a_terminal(argv: list[str], answers: list[str]) -> tuple[int, str, str]:
    """Run a command on a terminal where somebody answers. Returns exit code, stdout, and what is shown."""
    controller, terminal = pty.openpty()
    shown = ""
    with subprocess.Popen(
        [sys.executable, "-c", _ON_TERMINAL, *argv],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
        start_new_session=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as running:
        os.close(terminal)
        for answer in answers:
            shown += _read(controller, until=b": ")
            os.write(controller, f"{answer}\n".encode())
        shown += _read(controller)
        assert running.stdout is not None
        out = running.stdout.read()
    os.close(controller)
    return running.returncode, out, shown


def _read(controller: int, until: bytes | None = None) -> str:
    shown = b""
    while until is None or not shown.endswith(until):
        try:
            shown += os.read(controller, 1)
        except OSError:  # the other side is gone
            break
    return shown.decode()


# --- generate -------------------------------------------------------------------------------------------------


def test_generate_prints_the_public_key_and_its_id(here: Path) -> None:
    ran = run("key", "generate", "alice", "--no-password")
    assert (ran.code, ran.err) == (0, "")
    path, keyid = ran.out.split()
    assert path == "alice.pub"
    assert keyid.startswith("sha256:")
    assert stat.S_IMODE(os.stat("alice.key").st_mode) == 0o600
    assert Path("alice.pub").read_text().startswith("-----BEGIN PUBLIC KEY-----")


@pytest.mark.parametrize("kind", ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519", "rsa-2048"])
def test_every_type_signs_and_verifies(kind: str, tmp_path: Path) -> None:
    world = make_world(tmp_path)
    document = check(run("key", "generate", tmp_path / "k", "--type", kind, "--no-password", "--json").document)
    assert document["keys"][0]["algorithm"] == kind
    assert run("sign", world.ref, "--key", tmp_path / "k.key").code == 0
    assert run("verify", world.ref, "--key", tmp_path / "k.pub").code == 0


def test_a_key_is_not_left_open_by_accident(here: Path) -> None:
    ran = run("key", "generate", "alice")
    assert (ran.code, ran.out) == (2, "")
    assert ran.error == (
        "error: a password for the new key is missing",
        "hint: Set OCIMODEL_KEY_PASSWORD, answer the prompt, or say --no-password.",
    )
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("source", ["variable", "cosign", "file"])
def test_a_password_that_nobody_types(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(tmp_path)
    options: list[str | Path] = []
    if source == "file":
        (tmp_path / "password").write_text(PASSWORD + "\n")
        options = ["--password-file", tmp_path / "password"]
    else:
        monkeypatch.setenv("COSIGN_PASSWORD" if source == "cosign" else "OCIMODEL_KEY_PASSWORD", PASSWORD)
    assert run("key", "generate", tmp_path / "k", *options).code == 0
    assert "ENCRYPTED" in (tmp_path / "k.key").read_text()
    assert run("sign", world.ref, "--key", tmp_path / "k.key", *options).code == 0
    for name in ("OCIMODEL_KEY_PASSWORD", "COSIGN_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    ran = run("sign", world.ref, "--key", tmp_path / "k.key")
    assert ran.code == 2
    assert ran.error[0] == "error: k.key is encrypted and no password was given"


def test_a_wrong_password_is_2_and_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(tmp_path)
    monkeypatch.setenv("OCIMODEL_KEY_PASSWORD", PASSWORD)
    assert run("key", "generate", tmp_path / "k").code == 0
    monkeypatch.setenv("OCIMODEL_KEY_PASSWORD", "battery staple")
    ran = run("sign", world.ref, "--key", tmp_path / "k.key", "--debug")
    assert ran.code == 2
    assert "battery" not in ran.err + json.dumps(events())


def test_an_empty_variable_says_that_there_is_no_password(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIMODEL_KEY_PASSWORD", "")
    assert run("key", "generate", "alice").code == 0
    assert "ENCRYPTED" not in Path("alice.key").read_text()


def test_a_contradiction_is_2(here: Path) -> None:
    Path("p").write_text("x")
    assert run("key", "generate", "alice", "--no-password", "--password-file", "p").code == 2


def test_the_prompt_asks_twice_and_goes_to_the_terminal(here: Path) -> None:
    code, out, shown = on_a_terminal(["key", "generate", "alice"], [PASSWORD, PASSWORD])
    assert code == 0, shown
    assert out.startswith("alice.pub sha256:")
    assert PASSWORD not in shown
    code, out, shown = on_a_terminal(["key", "generate", "bob"], [PASSWORD, "other"])
    assert (code, out) == (2, "")
    assert "the two passwords differ" in shown
    assert not Path("bob.key").exists()


# --- import, public, list -------------------------------------------------------------------------------------


def test_import_from_a_variable(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("key", "generate", "alice", "--no-password").code == 0
    monkeypatch.setenv("SIGNING_PEM", Path("alice.key").read_text())
    document = check(run("key", "import", "env:SIGNING_PEM", "copy", "--no-password", "--json").document)
    assert document["keys"][0]["private"] == "copy.key"
    assert Path("copy.pub").read_bytes() == Path("alice.pub").read_bytes()


def test_import_encrypts(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("key", "generate", "alice", "--no-password").code == 0
    assert run("key", "import", "alice.key", "copy").code == 2
    monkeypatch.setenv("OCIMODEL_KEY_PASSWORD", PASSWORD)
    assert run("key", "import", "alice.key", "copy").code == 0
    assert "ENCRYPTED" in Path("copy.key").read_text()


def test_public_of_a_private_and_of_a_public_key(here: Path) -> None:
    assert run("key", "generate", "alice", "--no-password").code == 0
    pem = Path("alice.pub").read_text()
    assert run("key", "public", "alice.key").out == pem
    assert run("key", "public", "alice.pub").out == pem
    ran = run("key", "public", "alice.key", "-o", "copy.pub")
    assert ran.out.split()[0] == "copy.pub"
    assert Path("copy.pub").read_text() == pem
    assert run("key", "public", "alice.key", "-o", "copy.pub").code == 2
    check(run("key", "public", "alice.key", "--json").document)


@pytest.mark.parametrize(("content", "code"), [("no key", 2), (None, 11)], ids=["rubbish", "missing"])
def test_public_of_what_is_no_key(content: str | None, code: int, here: Path) -> None:
    if content is not None:
        Path("x").write_text(content)
    ran = run("key", "public", "x")
    assert (ran.code, ran.out) == (code, "")
    assert len(ran.err.splitlines()) == 2


def test_list(here: Path) -> None:
    for name in ("alice", "bob"):
        assert run("key", "generate", name, "--no-password").code == 0
    Path("bob.key").unlink()
    Path("broken.pub").write_text("no key")
    ran = run("key", "list")
    assert ran.code == 0
    assert [line.split()[:3] for line in ran.out.splitlines()[1:]] == [
        ["alice.pub", "ecdsa-p256", "alice.key"],
        ["bob.pub", "ecdsa-p256", "-"],
    ]
    assert ran.err.startswith("warning: broken.pub: ")
    assert len(check(run("key", "list", here, "--json").document)["keys"]) == 2
    assert run("key", "list", here / "nowhere").code == 2


def test_key_events(here: Path) -> None:
    assert run("key", "generate", "alice", "--no-password").code == 0
    assert run("key", "import", "alice.key", "copy", "--no-password").code == 0
    assert run("key", "public", "alice.key").code == 0
    found = events()
    assert [event["type"] for event in found] == [
        "io.github.ocimodel.key.generate.v1",
        "io.github.ocimodel.key.import.v1",
    ]
    assert [problems(event, "audit-event") for event in found] == [[], []]


def test_a_key_that_others_can_read_is_a_warning(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.key.chmod(0o644)
    ran = run("sign", world.ref, "--key", world.key)
    assert ran.code == 0
    assert ran.err.startswith(f"warning: {world.key} can be read by others")


# --- login ----------------------------------------------------------------------------------------------------


def login(monkeypatch: pytest.MonkeyPatch, host: str, typed: str, *more: str) -> Ran:
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    return run("login", host, "--username", "ci", "--password-stdin", "--plain-http", host, *more)


def test_login_and_logout(monkeypatch: pytest.MonkeyPatch, docker_config: Path, tmp_path: Path) -> None:
    world = make_world(tmp_path)
    with HostileRegistry(auth=Basic("ci", "hunter2")) as registry:
        ref = f"{registry.host}/ml/tiny:v1"
        plain = ("--plain-http", registry.host)
        assert run("push", world.model, ref, *plain).code == 77
        ran = login(monkeypatch, registry.host, "wrong\n")
        assert ran.code == 77
        assert not (docker_config / "config.json").exists()
        ran = login(monkeypatch, registry.host, "hunter2\n")
        assert (ran.code, ran.out) == (0, "")
        assert run("push", world.model, ref, *plain).code == 0
        ran = run("logout", registry.host)
        assert (ran.code, ran.out) == (0, "")
        assert run("list", ref, *plain).code == 77
        again = run("logout", registry.host)
        assert (again.code, again.err) == (0, f"there were no credentials for {registry.host}\n")
    assert "hunter2" not in json.dumps(events())


def test_login_as_a_document(monkeypatch: pytest.MonkeyPatch, docker_config: Path) -> None:
    with HostileRegistry(auth=Basic("ci", "hunter2")) as registry:
        ran = login(monkeypatch, registry.host, "hunter2", "--json")
        document = check(ran.document)
        assert document["username"] == "ci"
        assert "hunter2" not in ran.out + ran.err
        assert check(run("logout", registry.host, "--json").document)["exitCode"] == 0


@pytest.mark.parametrize("typed", ["", "\n"], ids=["nothing", "an-empty-line"])
def test_an_empty_password_is_2(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert login(monkeypatch, "127.0.0.1:1", typed).code == 2


def test_login_without_a_terminal_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    ran = run("login", "registry.example")
    assert ran.code == 2
    assert ran.error[1] == "hint: Give --username NAME --password-stdin."


def test_login_on_a_terminal(docker_config: Path) -> None:
    with HostileRegistry(auth=Basic("ci", "hunter2")) as registry:
        argv = ["login", registry.host, "--plain-http", registry.host]
        code, out, shown = on_a_terminal(argv, ["ci", "hunter2"])
    assert (code, out) == (0, ""), shown
    assert "hunter2" not in shown
    assert f"logged in to {registry.host} as ci" in shown


def test_a_world_is_signed(tmp_path: Path) -> None:
    world: World = make_world(tmp_path)
    assert run("verify", world.ref, "--key", world.pub).code == 0
