"""Registries as fixtures: each a running server on loopback with a storage of its own."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest
import yaml

from tests.real.engine import ENGINE_REGISTRIES, engine_answers
from tests.real.isolation import log_in
from tests.real.peers import peer
from tests.real.registry import RealRegistry, fresh_repository
from tests.real.servers import server
from tests.real.tokens import ISSUER, SERVICE, TokenIssuer, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USERNAME, PASSWORD = "tester", "correct horse"
READER = "reader"

__all__ = ["RealRegistry", "docker_registry", "fresh_repository", "go_registry"]


# --- docker-registry ---------------------------------------------------------


@contextmanager
def docker_registry(
    directory: Path, name: str = "distribution", auth: dict[str, Any] | None = None
) -> Iterator[RealRegistry]:
    """Run docker-registry (distribution 2.8, without the referrers API) in ``directory``.

    Deletion is on, and no descriptor is cached: what changes on its disk is what it serves next.
    """
    program = peer("docker-registry")
    root, log, config = directory / "storage", directory / "log", directory / "config.yml"
    root.mkdir(parents=True)

    def command(port: int) -> list[str | Path]:
        settings: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {
                "filesystem": {"rootdirectory": str(root)},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": {"addr": f"127.0.0.1:{port}", "secret": secrets.token_hex(16)},
        }
        if auth is not None:
            settings["auth"] = auth
        config.write_text(yaml.safe_dump(settings))
        return [program, "serve", config]

    with server(command, log=log) as host:
        yield RealRegistry(name, host, root, log, referrers_api=False)


@pytest.fixture(scope="session")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    """docker-registry 2.8: anybody may do anything; referrers by the fallback tag alone."""
    with docker_registry(tmp_path_factory.mktemp("distribution")) as registry:
        yield registry


@pytest.fixture(scope="session")
def basic_auth_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    """docker-registry behind HTTP Basic, with one account."""
    directory = tmp_path_factory.mktemp("basic")
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    file = directory / "htpasswd"
    file.write_text(f"{USERNAME}:{hashed}\n")
    auth = {"htpasswd": {"realm": "tests", "path": str(file)}}
    with docker_registry(directory, "basic-auth", auth) as registry:
        yield replace(registry, username=USERNAME, password=PASSWORD)


@pytest.fixture(scope="session")
def _token_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    directory = tmp_path_factory.mktemp("token")
    accounts = {USERNAME: PASSWORD, READER: PASSWORD}
    with serving(TokenIssuer(accounts, readers={READER})) as issuer:
        bundle = directory / "issuer.pem"
        bundle.write_bytes(issuer.root_certificate)
        auth = {
            "token": {
                "realm": issuer.realm,
                "service": SERVICE,
                "issuer": ISSUER,
                "rootcertbundle": str(bundle),
            }
        }
        with docker_registry(directory, "token-auth", auth) as registry:
            yield replace(registry, username=USERNAME, password=PASSWORD, issuer=issuer)


@pytest.fixture
def token_issuer(_token_registry: RealRegistry) -> Iterator[TokenIssuer]:
    """The issuer that ``token_registry`` believes; at the start of each test as if new."""
    issuer = _token_registry.issuer
    assert issuer is not None
    issuer.reset()
    yield issuer
    issuer.reset()


@pytest.fixture
def token_registry(_token_registry: RealRegistry, token_issuer: TokenIssuer) -> RealRegistry:
    """docker-registry behind Bearer tokens of ``token_issuer``: also an account that only reads."""
    assert _token_registry.issuer is token_issuer
    return _token_registry


# --- a registry with the referrers API ---------------------------------------


@contextmanager
def go_registry(directory: Path) -> Iterator[RealRegistry]:
    """Run go-containerregistry's registry with the referrers API (see ``referrers_registry/main.go``).

    A blob that one of its repositories has, all of them have.
    """
    program, root, log = peer("referrers-registry"), directory / "storage", directory / "log"
    directory.mkdir(parents=True, exist_ok=True)
    with server(lambda port: [program, "-dir", root, "-port", str(port)], log=log) as host:
        yield RealRegistry("referrers", host, root, log, referrers_api=True)


@pytest.fixture(scope="session")
def referrers_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    """A registry with the referrers API: anybody may do anything."""
    with go_registry(tmp_path_factory.mktemp("referrers")) as registry:
        yield registry


# --- any of them ---------------------------------------------------------------

_ALWAYS = ("distribution", "referrers_registry", "basic_auth_registry", "token_registry")


@pytest.fixture(params=[*_ALWAYS, *(ENGINE_REGISTRIES if engine_answers() else ())])
def real_registry(request: pytest.FixtureRequest, docker_config: Path) -> RealRegistry:
    """Each registry in turn, its credentials already in ``docker_config``."""
    registry: RealRegistry = request.getfixturevalue(request.param)
    log_in(docker_config, registry)
    return registry
