"""Mirrors by host, as containerd's ``hosts.toml`` says them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocimodel.errors import ConfigurationError
from ocimodel.stores.http.hosts import ALL, Hosts, namespace, read
from ocimodel.stores.http.origins import Origin, Rules
from ocimodel.stores.http.route import Route

REGISTRY = "registry.example:5000"


def parsed(place: Path, text: str, registry: str = REGISTRY) -> Hosts:
    folder = place / registry
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hosts.toml").write_text(text)
    found = read(place, registry)
    assert found is not None
    return found


def test_all_that_a_file_can_say(tmp_path: Path) -> None:
    found = parsed(
        tmp_path,
        """
        server = "https://origin.example/team/"
        capabilities = ["pull", "resolve"]
        ca = "origin.pem"

        [host."http://127.0.0.1:30020"]
          capabilities = ["Pull"]
          dial_timeout = "1m1.5s"
          [host."http://127.0.0.1:30020".header]
            x-dragonfly-registry = "https://origin.example"
            X-Several = ["a", "b"]

        [host."https://B.example/v2/upstream"]
          override_path = true
          ca = ["/etc/b.pem", "c.pem"]
          client = [["b.cert", "b.key"], ["/both.pem", ""]]
          proxy = "http://user:secret@proxy.example:3128"

        [host."a.example"]
          client = "both.pem"
          skip_verify = false
        """,
    )
    folder = tmp_path / REGISTRY
    assert found.namespace == REGISTRY
    assert found.warnings == ()
    assert found.server.origin == Origin("https", "origin.example", 443)
    assert found.server.root == "/team/v2"
    assert found.server.capabilities == {"pull", "resolve"}
    assert found.server.route.ca_files == (folder / "origin.pem",)
    first, second, third = found.mirrors
    assert (first.origin, first.root) == (Origin("http", "127.0.0.1", 30020), "/v2")
    assert first.capabilities == {"pull"}
    assert first.connect == 61.5
    assert first.route.headers == {"X-Dragonfly-Registry": "https://origin.example", "X-Several": "a, b"}
    assert (second.origin, second.root) == (Origin("https", "b.example", 443), "/v2/upstream")
    assert second.capabilities == ALL
    assert second.route.ca_files == (Path("/etc/b.pem"), folder / "c.pem")
    assert second.route.client == ((folder / "b.cert", folder / "b.key"), (Path("/both.pem"), None))
    assert second.route.proxy == "http://user:secret@proxy.example:3128"
    assert "secret" not in repr(found)
    assert third.origin == Origin("https", "a.example", 443)
    assert third.route.client == ((folder / "both.pem", None),)


@pytest.mark.parametrize(
    ("url", "override", "root"),
    [
        ("https://m.example", False, "/v2"),
        ("https://m.example/", False, "/v2"),
        ("https://m.example/v2", False, "/v2"),
        ("https://m.example/v2/", False, "/v2"),
        ("https://m.example//a/./b/../c", False, "/a/c/v2"),
        ("https://m.example/a", True, "/a"),
        ("https://m.example", True, ""),
    ],
)
def test_where_the_api_of_a_mirror_is(tmp_path: Path, url: str, override: bool, root: str) -> None:
    text = f'[host."{url}"]\noverride_path = {"true" if override else "false"}\n'
    assert parsed(tmp_path, text).mirrors[0].root == root


def test_the_directory_of_a_host_is_found_as_containerd_finds_it(tmp_path: Path) -> None:
    def say(folder: str) -> None:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "hosts.toml").write_text(f'server = "https://{folder.strip("_").lower()}.example"\n')

    def where(registry: str) -> str:
        found = read(tmp_path, registry)
        return found.server.origin.host if found and found.server.origin else ""

    assert read(tmp_path, REGISTRY) is None
    say("_default")
    assert where(REGISTRY) == where("other.example") == "default.example"
    (tmp_path / REGISTRY).mkdir()
    (tmp_path / REGISTRY / "hosts.toml").write_text('server = "https://colon.example"\n')
    assert where(REGISTRY) == where("Registry.EXAMPLE:5000") == "colon.example"
    (tmp_path / "registry.example_5000_").mkdir()
    (tmp_path / "registry.example_5000_/hosts.toml").write_text('server = "https://port.example"\n')
    assert where(REGISTRY) == "port.example"
    say("docker.io")
    assert where("docker.io") == where("index.docker.io") == where("registry-1.docker.io") == "docker.io.example"
    (tmp_path / "[::1]_5000_").mkdir()
    (tmp_path / "[::1]_5000_/hosts.toml").write_text('server = "https://six.example"\n')
    assert where("[::1]:5000") == "six.example"
    assert where("[::1]") == "default.example"
    assert namespace("Index.Docker.io") == "docker.io"


def test_without_a_file_dockers_certificates_count(tmp_path: Path) -> None:
    folder = tmp_path / "registry.example"
    folder.mkdir()
    for name in ("ca.crt", "client.cert", "client.key", "alone.cert", "readme.txt"):
        (folder / name).write_text("")
    found = read(tmp_path, "registry.example")
    assert found is not None
    assert found.mirrors == ()
    assert found.server.origin is None
    assert found.server.route == Route(
        ca_files=(folder / "ca.crt",),
        client=((folder / "alone.cert", None), (folder / "client.cert", folder / "client.key")),
    )


def test_what_is_not_known_is_left_out_and_what_is_not_safe_is_not_obeyed(tmp_path: Path) -> None:
    assert parsed(tmp_path, '[host."http://m.example"]\nskip_verify = true\n').warnings == ()
    found = parsed(
        tmp_path,
        'novelty = 1\n[host."https://m.example"]\nskip_verify = true\n[host."https://m.example".plugin]\na = 1\n',
    )
    assert len(found.mirrors) == 1
    assert len(found.warnings) == 3
    text = "\n".join(found.warnings)
    assert "novelty is not known" in text
    assert 'host."https://m.example".plugin is not known' in text
    assert 'host."https://m.example".skip_verify is not obeyed: certificates are always verified' in text


@pytest.mark.parametrize(
    "text",
    [
        "server = 1",
        'server = "https://user:secret@m.example"',
        'server = "https://m.example/?a=secret"',
        'server = "httpsx://m.example"',
        "host = 1",
        'host = ["https://m.example"]',
        '[host]\n"https://m.example" = "pull"',
        '[host."ftp://m.example"]',
        '[host."https://m.example"]\ncapabilities = "pull"',
        '[host."https://m.example"]\ncapabilities = ["pull", "delete"]',
        '[host."https://m.example"]\ncapabilities = [1]',
        '[host."https://m.example"]\nca = 1',
        '[host."https://m.example"]\nca = [""]',
        '[host."https://m.example"]\nclient = 1',
        '[host."https://m.example"]\nclient = [["a", "b", "c"]]',
        '[host."https://m.example"]\nclient = [["a", 1]]',
        '[host."https://m.example"]\nskip_verify = "no"',
        '[host."https://m.example"]\noverride_path = 1',
        '[host."https://m.example"]\nheader = 1',
        '[host."https://m.example".header]\n"a b" = "c"',
        '[host."https://m.example".header]\nhost = "other.example"',
        '[host."https://m.example".header]\nContent-Length = "0"',
        '[host."https://m.example".header]\na = 1',
        '[host."https://m.example".header]\na = "b\\r\\nc: d"',
        '[host."https://m.example".header]\na = "\\u00e9"',
        '[host."https://m.example"]\ndial_timeout = "soon"',
        '[host."https://m.example"]\ndial_timeout = "1s1"',
        '[host."https://m.example"]\ndial_timeout = "-1s"',
        '[host."https://m.example"]\ndial_timeout = 1',
        '[host."https://m.example"]\nproxy = "socks5://p.example"',
        '[host."https://m.example"]\nproxy = "http://p.example/path"',
        '[host."https://m.example"]\nproxy = "http://[::1"',
        '[host."https://m.example"]\nproxy = 1',
        "server = ",
        "\udcff",
        "a = " + "[" * 50_000,
        "# " + "x" * 300_000,
        "\n".join(f'[host."https://m{number}.example"]' for number in range(40)),
    ],
)
def test_what_cannot_be_meant_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / REGISTRY).mkdir()
    (tmp_path / REGISTRY / "hosts.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, REGISTRY)
    assert str(tmp_path / REGISTRY / "hosts.toml") in caught.value.message
    assert "secret" not in caught.value.message
    assert len(caught.value.message) < 600


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no directory"):
        read(tmp_path / "none", REGISTRY)
    (tmp_path / REGISTRY / "hosts.toml").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="cannot read"):
        read(tmp_path, REGISTRY)


def test_over_plain_http_no_credentials_travel_in_headers() -> None:
    route = Route(headers={"Authorization": "Basic secret", "Cookie": "secret", "X-Other": "seen"})
    assert "secret" not in repr(route)
    plain, tls = Origin("http", "127.0.0.1", 5000), Origin("https", "m.example", 443)
    assert route.headers_to(plain, Rules()) == {"X-Other": "seen"}
    assert route.headers_to(plain, Rules(plain_http=frozenset({"127.0.0.1:5000"}))) == route.headers
    assert route.headers_to(tls, Rules()) == route.headers
