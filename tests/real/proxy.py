"""nginx before a registry: a slow link, with a limit on each connection, or one on which bodies are counted."""

from __future__ import annotations

import http.client
import json
import os
import re
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.real.peers import peer
from tests.real.servers import server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.real.registry import RealRegistry, Throttle

_CONFIG = """
{user}
daemon off;
master_process off;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 1024; }}
http {{
    {log}
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 0;
        location / {{
            {limit}
            proxy_pass http://{upstream};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Connection "";
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
            proxy_read_timeout 600s;
        }}
    }}
}}
"""


_COUNTING = """log_format bodies escape=json '{{"method":"$request_method","uri":"$request_uri","status":$status,'
        '"sent":"$content_length","chunked":"$http_transfer_encoding","received":$body_bytes_sent}}';
    access_log {file} bodies;"""
_UPLOAD = "/blobs/uploads/"
_BLOB = re.compile(r"/blobs/(sha256:[0-9a-f]{64})$")


@contextmanager
def _before(registry: RealRegistry, directory: Path, *, log: str, limit: str) -> Iterator[RealRegistry]:
    """The same registry, by way of nginx, whose configuration says ``log`` and ``limit``."""
    program, config = peer("nginx"), directory / "nginx.conf"

    def command(port: int) -> list[str | Path]:
        user = "user root;" if os.geteuid() == 0 else ""
        words = {"user": user, "dir": directory, "port": port, "upstream": registry.host}
        config.write_text(_CONFIG.format(**words, log=log, limit=limit))
        return [program, "-p", directory, "-e", directory / "error.log", "-c", config]

    output = directory / "log"
    with server(command, log=output) as host:
        yield replace(registry, host=host, log=output)


@pytest.fixture
def throttled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Throttle]:
    """``throttled(registry, "50m")``: the same registry, each response limited to that rate a second.

    What a client sends is not limited; nginx has no such switch.
    """
    with ExitStack() as stack:

        def start(registry: RealRegistry, rate: str = "50m") -> RealRegistry:
            directory = tmp_path_factory.mktemp("nginx")
            return stack.enter_context(
                _before(registry, directory, log="access_log off;", limit=f"limit_rate {rate};")
            )

        yield start


# --- counted -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bodies of blobs, in bytes by digest. What was sent and never committed stands under the upload's path."""

    received: Counter[str]
    sent: Counter[str]
    mounted: frozenset[str]


@dataclass(slots=True)
class Counted:
    """A registry by way of a proxy that notes every request."""

    registry: RealRegistry
    file: Path
    _seen: int = 0

    def traffic(self) -> Traffic:
        """What crossed since the last time this was asked."""
        mark = f"/counted/{self._seen}"  # nginx notes requests in the order in which they end
        connection = http.client.HTTPConnection(self.registry.host, timeout=10)
        connection.request("GET", mark)
        connection.getresponse().read()
        connection.close()
        lines = [json.loads(line) for line in self.file.read_text().splitlines()]
        new, self._seen = lines[self._seen :], len(lines)
        received, uploads, names, mounted = Counter[str](), Counter[str](), dict[str, str](), set[str]()
        for line in new:
            address = urlsplit(line["uri"])
            query = parse_qs(address.query)
            assert not line["chunked"], line  # then nothing would say how long the body was
            if match := _BLOB.search(address.path):
                received[match[1]] += line["received"] if line["status"] < 300 else 0
            elif _UPLOAD in address.path and line["sent"] not in ("", "0"):
                uploads[address.path] += int(line["sent"])
            if line["method"] == "PUT" and _UPLOAD in address.path and line["status"] == 201:
                names[address.path] = query["digest"][0]
            if line["method"] == "POST" and "mount" in query and line["status"] == 201:
                mounted.add(query["mount"][0])
        sent = Counter[str]()
        for path, size in uploads.items():
            sent[names.get(path, path)] += size
        return Traffic(+received, sent, frozenset(mounted))


class Count(Protocol):
    """Puts a proxy before a registry that notes every request."""

    def __call__(self, registry: RealRegistry) -> Counted: ...


@pytest.fixture
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Count]:
    """``counted(registry)``: the same registry, and what bodies of blobs crossed to and from it."""
    with ExitStack() as stack:

        def start(registry: RealRegistry) -> Counted:
            directory = tmp_path_factory.mktemp("counted")
            file = directory / "access.log"
            log = _COUNTING.format(file=file)
            return Counted(stack.enter_context(_before(registry, directory, log=log, limit="")), file)

        yield start
