"""Registries that come as container images, where a Docker engine answers.

They are described once, in ``registry-compose.yml``, for people (`docker compose up`) and for the
tests, which start the same services through the ``docker`` SDK.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.real.peers import unavailable
from tests.real.registry import RealRegistry
from tests.real.servers import START_WITHIN, free_port, status_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ENGINE_REGISTRIES = ("zot", "distribution3")
COMPOSE = Path(__file__).resolve().parents[2] / "registry-compose.yml"


@cache
def engine_answers() -> bool:
    """Whether a Docker engine can be reached. Asked once."""
    if not (os.environ.get("DOCKER_HOST") or Path("/var/run/docker.sock").exists()):
        return False
    import docker  # it costs a quarter of a second, and most machines of ours have no engine
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=5)
    except DockerException:
        return False
    try:
        return bool(client.ping())
    except (DockerException, OSError):
        return False
    finally:
        client.close()


@contextmanager
def service(name: str) -> Iterator[str]:
    """Run one service of the compose file on a free loopback port; yields ``127.0.0.1:PORT``."""
    import docker
    from docker.errors import DockerException

    described: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"][name]
    inside = described["ports"][0].rsplit(":", 1)[1]
    volumes = [volume.split(":", 1)[1] for volume in described["volumes"] if not volume.startswith(".")]
    files = [volume.split(":") for volume in described["volumes"] if volume.startswith(".")]
    client = docker.from_env(timeout=120)
    container = None
    try:
        container = client.containers.run(
            described["image"],
            described.get("command"),
            name=f"ocimodel-tests-{name}-{secrets.token_hex(4)}",
            detach=True,
            environment=described.get("environment", {}),
            ports={f"{inside}/tcp": ("127.0.0.1", free_port())},
            tmpfs=dict.fromkeys(volumes, ""),
            volumes={str(COMPOSE.parent / source): {"bind": target, "mode": "ro"} for source, target, _ in files},
        )
        yield _published(container, f"{inside}/tcp")
    except DockerException as error:
        unavailable(f"{name}: the engine answers, but: {error}")
    finally:
        if container is not None:
            container.remove(force=True, v=True)
        client.close()


def _published(container: Any, port: str) -> str:
    deadline = time.monotonic() + START_WITHIN
    while time.monotonic() < deadline:
        container.reload()
        bindings = container.ports.get(port)
        if bindings:
            host = f"127.0.0.1:{bindings[0]['HostPort']}"
            if status_of(host) is not None:
                return host
        time.sleep(0.1)
    raise TimeoutError(container.logs(tail=50).decode(errors="replace"))


@pytest.fixture(scope="session")
def zot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    """zot in a container: the referrers API, written by others."""
    yield from _as_registry("zot", tmp_path_factory, referrers_api=True)


@pytest.fixture(scope="session")
def distribution3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    """distribution 3 in a container."""
    yield from _as_registry("distribution3", tmp_path_factory, referrers_api=False)


def _as_registry(
    name: str, tmp_path_factory: pytest.TempPathFactory, *, referrers_api: bool
) -> Iterator[RealRegistry]:
    if not engine_answers():
        pytest.skip("no Docker engine answers here")
    directory = tmp_path_factory.mktemp(name)
    with service(name) as host:
        yield RealRegistry(name, host, directory, directory / "log", referrers_api=referrers_api)
