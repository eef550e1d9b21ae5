"""The registry and the proxy that everything is measured against, on loopback, in directories of their own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.real.servers import server

PEERS = Path(__file__).resolve().parents[1] / ".peers" / "bin"

_NGINX = """
{user}
daemon off;
master_process off;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 1024; }}
http {{
    log_format wire "$request_method $status $bytes_sent $request_length $uri";
    access_log {dir}/wire.log wire;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 0;
        location / {{
            limit_rate {rate};
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


def program(name: str) -> Path | None:
    """What ``make peers`` fetched, else what is on PATH; None where there is neither."""
    fetched = PEERS / name
    if os.access(fetched, os.X_OK):
        return fetched
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    return Path(found) if found else None


@dataclass(frozen=True, slots=True)
class Registry:
    """docker-registry. It caches no descriptor: what changes on its disk is what it serves next."""

    host: str
    storage: Path

    def forget(self) -> None:
        """Lose everything, so that the next push really sends it."""
        shutil.rmtree(self.storage / "docker", ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Proxy:
    """nginx before the registry."""

    host: str
    log: Path

    def sent(self) -> int:
        """Bytes that it has sent so far, heads of answers included, as it counts them itself."""
        return self._sum(2)

    def received(self) -> int:
        """Bytes that it has received so far, heads of requests included; also of those that broke off."""
        return self._sum(3)

    def _sum(self, column: int) -> int:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return sum(int(line.split(" ", 4)[column]) for line in lines)


@contextmanager
def registry(directory: Path, binary: Path) -> Iterator[Registry]:
    """Run docker-registry in ``directory``."""
    storage, config = directory / "storage", directory / "config.json"
    storage.mkdir(parents=True)

    def command(port: int) -> list[str | Path]:
        settings = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(storage)},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": {"addr": f"127.0.0.1:{port}", "secret": "benchmark"},
        }
        config.write_text(json.dumps(settings))  # which is YAML as well
        return [binary, "serve", config]

    with server(command, log=directory / "log") as host:
        yield Registry(host, storage)


@contextmanager
def proxy(directory: Path, binary: Path, upstream: str, rate: str = "0") -> Iterator[Proxy]:
    """Run nginx before ``upstream``; each answer is limited to ``rate`` a second (0: not at all)."""
    directory.mkdir(parents=True)
    config = directory / "nginx.conf"

    def command(port: int) -> list[str | Path]:
        user = "user root;" if os.geteuid() == 0 else ""
        config.write_text(_NGINX.format(user=user, dir=directory, port=port, rate=rate, upstream=upstream))
        return [binary, "-p", directory, "-e", directory / "error.log", "-c", config]

    with server(command, log=directory / "log") as host:
        yield Proxy(host, directory / "wire.log")
