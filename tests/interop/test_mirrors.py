"""Real caches and proxies on the way: docker-registry as a pull-through cache, and a forward proxy."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.commands import Ran, run
from tests.forward import ForwardProxy
from tests.real.peers import peer
from tests.real.registries import RealRegistry, docker_registry
from tests.real.servers import server
from tests.scripted import Authority, Say, Scripted, Seen
from tests.tls import before

NAME = "models/tiny"
WEIGHTS = bytes(range(256)) * 40_000


class Node:
    """A signed model in a real registry, and somebody who pulls it."""

    def __init__(self, place: Path, registry: RealRegistry) -> None:
        self.place, self.registry = place, registry
        self.model, self.out = place / "model", place / "out"
        self.config = place / "certs.d"
        self.model.mkdir()
        (self.model / "weights.bin").write_bytes(WEIGHTS)
        assert run("key", "generate", place / "alice", "--no-password").code == 0
        self.reference = f"{registry.fresh()}:v1"
        pushed = run("push", self.model, self.reference, "--key", place / "alice.key")
        assert pushed.code == 0, pushed.err

    def say(self, text: str, host: str = "") -> None:
        folder = self.config / (host or self.registry.host)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts.toml").write_text(text)

    def pull(self, *more: str | Path, reference: str = "") -> Ran:
        shutil.rmtree(self.out, ignore_errors=True)
        keys = ("--key", self.place / "alice.pub", "--registry-config", self.config)
        return run("pull", reference or self.reference, "-o", self.out, "--no-cache", *keys, *more)

    def arrived(self) -> bool:
        return (self.out / "weights.bin").read_bytes() == WEIGHTS


def pull_through(place: Path, upstream: str, stack: ExitStack) -> RealRegistry:
    """docker-registry as a cache before ``upstream``."""
    program, root, log, config = peer("docker-registry"), place / "storage", place / "log", place / "config.yml"
    root.mkdir(parents=True)

    def command(port: int) -> list[str | Path]:
        settings = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": str(root)}},
            "http": {"addr": f"127.0.0.1:{port}", "secret": "of the tests"},
            "proxy": {"remoteurl": f"http://{upstream}"},
        }
        config.write_text(yaml.safe_dump(settings))
        return [program, "serve", config]

    host = stack.enter_context(server(command, log=log))
    return RealRegistry("pull-through", host, root, log, referrers_api=False)


def kept(cache: RealRegistry) -> Path:
    """The weights on the cache's disk: it serves them, then files them, and links them last."""
    hexes = hashlib.sha256(WEIGHTS).hexdigest()
    stored = cache.root / "docker/registry/v2"
    until = time.monotonic() + 20
    while time.monotonic() < until:
        linked = any(path.stat().st_size for path in stored.glob(f"repositories/**/_layers/sha256/{hexes}/link"))
        if linked:
            return stored / "blobs/sha256" / hexes[:2] / hexes / "data"
        time.sleep(0.05)
    raise AssertionError("the cache keeps nothing")


def ours(registry: RealRegistry, *, since: int = 0) -> list[str]:
    """What we asked it for, by its access log: ``GET /v2/…``."""
    lines = registry.log.read_text(errors="replace")[since:].splitlines()
    return [found[1] for line in lines if (found := re.search(r'"((?:GET|HEAD) /v2/[^ ]+) .*"ocimodel/', line))]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("authority"))


def test_a_pull_through_cache_serves_all_and_survives_its_registry(tmp_path: Path, stack: ExitStack) -> None:
    of_origin = stack.enter_context(ExitStack())
    origin = of_origin.enter_context(docker_registry(tmp_path / "origin"))
    node = Node(tmp_path, origin)
    cache = pull_through(tmp_path / "cache", origin.host, stack)
    node.say(f'[host."http://{cache.host}"]\ncapabilities = ["pull", "resolve"]\n')
    before_it = len(origin.log.read_text())
    for _turn in ("cold", "warm"):
        assert node.pull().code == 0
        assert node.arrived()
        assert ours(origin, since=before_it) == []
    assert any("blobs" in line for line in ours(cache))
    of_origin.close()
    pulled = node.pull()
    assert (pulled.code, pulled.err) == (0, "")
    assert node.arrived()


def test_a_cache_that_knows_no_referrers_hides_none(
    tmp_path: Path, referrers_registry: RealRegistry, authority: Authority, stack: ExitStack
) -> None:
    """docker-registry before a registry with the referrers API: signatures are listed by the registry alone."""
    node = Node(tmp_path, referrers_registry)
    cache = pull_through(tmp_path / "cache", referrers_registry.host, stack)
    node.say(f'[host."http://{cache.host}"]\n')
    assert node.pull().code == 0
    assert node.arrived()
    assert any("referrers" in line for line in ours(cache))
    assert any("blobs" in line for line in ours(cache))
    # Without the registry nothing says who signed: that is no verdict.
    stranger = stack.enter_context(Scripted(lambda _: Say(500), tls=authority.server_context()))
    node.say(f'server = "{stranger.url}"\n[host."http://{cache.host}"]\n')
    assert node.pull().code == 75


def test_what_went_bad_on_the_disk_of_a_cache(tmp_path: Path, distribution: RealRegistry, stack: ExitStack) -> None:
    node = Node(tmp_path, distribution)
    cache = pull_through(tmp_path / "cache", distribution.host, stack)
    node.say(f'[host."http://{cache.host}"]\n')
    assert node.pull().code == 0
    blob = kept(cache)
    data = bytearray(WEIGHTS)
    data[5_000_000] ^= 1
    blob.write_bytes(data)
    pulled = node.pull()
    assert pulled.code == 0
    assert node.arrived()
    assert f"the mirror http://{cache.host} is passed over" in pulled.err


# --- forward proxies --------------------------------------------------------------------------------------------


def test_a_registry_behind_a_forward_proxy(
    tmp_path: Path, distribution: RealRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(tmp_path, distribution)
    repository = node.reference.partition("/")[2]
    with ForwardProxy({"registry.invalid:5000": distribution.host}) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        name = f"registry.invalid:5000/{repository}"
        plain = ("--plain-http", "registry.invalid:5000")
        assert run("pull", name, "-o", node.out, "--key", tmp_path / "alice.pub", *plain).code == 0
        assert node.arrived()
        assert all("http://registry.invalid:5000/v2/" in line for line in proxy.asked)
        pushed = run("push", node.model, name.replace(":v1", ":v2"), "--key", tmp_path / "alice.key", *plain)
        assert pushed.code == 0, pushed.err
        assert any(line.startswith("PUT ") for line in proxy.asked)
        proxy.asked.clear()
        monkeypatch.setenv("no_proxy", "example.com,.invalid")
        assert run("list", f"{distribution.host}/{repository.partition(':')[0]}").code == 0
        assert proxy.asked == []


def test_mirrors_behind_proxies(
    tmp_path: Path, distribution: RealRegistry, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS that ends at the proxy, whose authority is told, as Dragonfly has it; or a proxy for one host."""
    node = Node(tmp_path, distribution)
    with (
        Scripted(before(distribution.host), tls=authority.server_context()) as behind,
        ForwardProxy({"registry.invalid:443": behind.host}) as proxy,
        ForwardProxy({}) as closed,
    ):
        entry = f'[host."https://registry.invalid"]\nca = "{authority.ca_file}"\n'
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        node.say(entry)
        pulled = node.pull()
        assert (pulled.code, pulled.err) == (0, "")
        assert set(proxy.asked) == {"CONNECT registry.invalid:443"}
        assert any("/blobs/" in one.path and "ns=" in one.path for one in behind.seen)
        # One that refuses is no reason to fail.
        behind.seen.clear()
        node.say(f'{entry}proxy = "{closed.url}"\n')
        pulled = node.pull()
        assert pulled.code == 0
        assert "is passed over" in pulled.err
        assert behind.seen == []
        # What the file says of one host goes before the environment.
        monkeypatch.setenv("HTTPS_PROXY", closed.url)
        monkeypatch.setenv("NO_PROXY", "registry.invalid")
        node.say(f'{entry}proxy = "{proxy.url}"\n')
        pulled = node.pull()
        assert (pulled.code, pulled.err) == (0, "")
        assert node.arrived()


def test_bytes_that_a_proxy_changed_are_refused(
    tmp_path: Path, distribution: RealRegistry, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy is the only way there is: then there is nobody else to ask."""
    node = Node(tmp_path, distribution)
    honest = before(distribution.host)

    def change(seen: Seen) -> Say:
        answer = honest(seen)
        body = answer.body
        if "/blobs/" in seen.path and isinstance(body, bytes) and len(body) > 100_000:
            return replace(answer, body=body[:500] + b"!" + body[501:])
        return answer

    with (
        Scripted(change, tls=authority.server_context()) as behind,
        ForwardProxy({"registry.invalid:443": behind.host}) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        name = f"registry.invalid/{node.reference.partition('/')[2]}"
        ran = run("pull", name, "-o", node.out, "--key", tmp_path / "alice.pub", "--ca-file", authority.ca_file)
    assert ran.code == 14
    assert not node.out.exists()
