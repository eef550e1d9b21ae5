"""No test, and no peer that a test starts, reads or writes what belongs to the user."""

from __future__ import annotations

import base64
import json
import os
import signal
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.real.registry import RealRegistry

_FOREIGN = ("OCIMODEL_", "COSIGN_", "SIGSTORE_", "NOTATION_", "ORAS_", "DOCKER_", "XDG_")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "registry_auth_file", "netrc")
_numbers = count(1)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Whoever runs the tests in the background ignores it, and so would every program that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each test finds a home of its own."""
    return tmp_path_factory.mktemp("homes")


def isolated_environment(home: Path) -> dict[str, str]:
    """The variables that keep a program inside ``home``. Makes the directories."""
    places = {
        "HOME": home,
        "DOCKER_CONFIG": home / "docker",
        "OCIMODEL_STATE_DIR": home / "state",
        "OCIMODEL_CACHE_DIR": home / "cache",
        "XDG_CONFIG_HOME": home / "config",
        "XDG_DATA_HOME": home / "data",
        "XDG_CACHE_HOME": home / "xdg-cache",
        "XDG_STATE_HOME": home / "xdg-state",
        "XDG_RUNTIME_DIR": home / "run",
    }
    for place in (home, places["DOCKER_CONFIG"], places["XDG_RUNTIME_DIR"]):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {name: str(place) for name, place in places.items()} | {
        "OCIMODEL_AUDIT_LOG": str(home / "audit.jsonl"),
    }


@pytest.fixture(autouse=True)
def isolated(homes: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, a Docker configuration, a state, a cache and an audit log of the test's own."""
    home = homes / str(next(_numbers))
    for name in list(os.environ):
        if name.startswith(_FOREIGN) or name.lower() in _PROXIES:
            monkeypatch.delenv(name)
    for name, value in isolated_environment(home).items():
        monkeypatch.setenv(name, value)
    return home


@pytest.fixture
def docker_config(isolated: Path) -> Path:
    """The directory that DOCKER_CONFIG names: empty, and the test's own."""
    return isolated / "docker"


def log_in(docker_config: Path, registry: RealRegistry) -> None:
    """Write a registry's credentials, if it has any, as `docker login` would."""
    if registry.username is None:
        return
    file = docker_config / "config.json"
    config = json.loads(file.read_text()) if file.exists() else {}
    pair = f"{registry.username}:{registry.password}".encode()
    config.setdefault("auths", {})[registry.host] = {"auth": base64.b64encode(pair).decode()}
    file.write_text(json.dumps(config))
