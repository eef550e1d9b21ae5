"""What a command imports: start-up is part of the experience, and kept honest here and not by a stopwatch."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.commands import World, make_world

ROOT = Path(__file__).resolve().parents[1]
NETWORK = {"requests", "urllib3", "http.client", "oras", "docker"}
HEAVY = {"jsonschema", "rich", "pathspec", "numpy", "safetensors"}

_SCRIPT = """
import atexit
import sys
sys.argv[0] = "ocimodel"
from ocimodel.cli import main
atexit.register(lambda: sys.stderr.write("\\n".join(["", "MODULES", *sys.modules])))
main()
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def imported(*argv: str | Path) -> set[str]:
    """The modules that a command line leaves behind in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *(str(word) for word in argv)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=dict(os.environ),
        timeout=60,
    )
    _, _, report = ran.stderr.partition("\nMODULES\n")
    assert ran.returncode == 0, ran.stderr[-2000:]
    return set(report.split("\n"))


def test_signing_with_a_file_imports_no_library_of_other_places(world: World) -> None:
    modules = imported("sign", world.ref, "--key", world.key)
    assert modules & (NETWORK | HEAVY | {"securesystemslib", "boto3", "pkcs11", "hvac", "google", "azure"}) == set()
    assert not {name for name in modules if name.startswith("ocimodel.keys.custody")}


@pytest.mark.parametrize("argv", [["--help"], ["push", "--help"], ["key", "--help"]], ids=" ".join)
def test_help_imports_neither_network_nor_cryptography(argv: list[str]) -> None:
    modules = imported(*argv)
    assert modules & (NETWORK | HEAVY | {"cryptography", "blake3"}) == set()
    ours = {name for name in modules if name.startswith("ocimodel.")}
    assert not {name for name in ours if name.split(".")[1] in ("verbs", "stores", "keys", "transfer", "trust")}


def test_version_imports_next_to_nothing() -> None:
    modules = imported("--version")
    assert modules & (NETWORK | HEAVY | {"cryptography", "typer", "dataclasses", "json"}) == set()
    assert {name for name in modules if name.startswith("ocimodel")} == {"ocimodel", "ocimodel.cli"}


def test_verify_imports_no_http_for_a_layout(world: World) -> None:
    modules = imported("verify", world.ref, "--key", world.pub)
    assert modules & (NETWORK | HEAVY) == set()
    assert "cryptography" in modules


def test_verify_of_a_directory_imports_no_http(world: World) -> None:
    from tests.commands import run

    assert run("pull", world.ref, "-o", world.root / "d", "--key", world.pub).code == 0
    assert imported("verify", world.root / "d", "--key", world.pub) & (NETWORK | HEAVY) == set()


def test_verify_at_a_registry_imports_neither_requests_nor_jsonschema(world: World) -> None:
    from tests.commands import run
    from tests.hostile import HostileRegistry

    with HostileRegistry() as registry:
        ref = f"{registry.host}/ml/tiny:v1"
        assert run("push", world.model, ref, "--key", world.key).code == 0
        modules = imported("verify", ref, "--key", world.pub)
    assert modules & (HEAVY | {"requests", "oras", "docker"}) == set()


def test_a_short_transfer_draws_no_bar(world: World) -> None:
    assert "rich" not in imported("pull", world.ref, "-o", world.root / "d", "--key", world.pub)


# From 0.29 on typer converts every value with pydantic, which doubles the time that a verification takes.
@pytest.mark.skipif(
    tuple(int(part) for part in version("typer").split(".")[:2]) >= (0, 29), reason="this typer needs pydantic"
)
def test_reading_the_command_line_imports_no_pydantic(world: World) -> None:
    assert "pydantic" not in imported("verify", world.ref, "--key", world.pub)


def test_a_policy_imports_no_more_than_it_asks_for(world: World, tmp_path: Path) -> None:
    """Of the slow libraries, the one for YAML where it is YAML, the one for schemas where it has one."""
    import json

    import yaml

    from tests.commands import run

    value = json.loads(run("policy", "init", "--key", world.pub).out)
    plain, other = tmp_path / "plain.json", tmp_path / "other.yaml"
    plain.write_text(json.dumps(value))
    other.write_text(yaml.safe_dump(value))
    slow = {"jsonschema", "yaml", "packaging"}
    assert imported("verify", world.ref, "--policy", plain) & (NETWORK | HEAVY | slow) == set()
    assert imported("verify", world.ref, "--policy", other) & slow == {"yaml"}
    schema = {"predicateType": "https://example.org/x", "from": ["alice"], "schema": {"type": "object"}}
    value["scopes"][0] |= {"attestations": [schema], "mode": "warn"}
    plain.write_text(json.dumps(value))
    modules = imported("verify", world.ref, "--policy", plain)
    assert modules & slow == {"jsonschema"}
    assert "rfc3987_syntax" not in modules, "a grammar that takes a second to build"
