"""A slow link: nginx before a registry, with a limit on each connection."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

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
    access_log off;
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


@pytest.fixture
def throttled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Throttle]:
    """``throttled(registry, "50m")``: the same registry, each response limited to that rate a second.

    What a client sends is not limited; nginx has no such switch.
    """
    with ExitStack() as stack:

        def start(registry: RealRegistry, rate: str = "50m") -> RealRegistry:
            directory = tmp_path_factory.mktemp("nginx")
            program, config = peer("nginx"), directory / "nginx.conf"

            def command(port: int) -> list[str | Path]:
                user = "user root;" if os.geteuid() == 0 else ""
                text = _CONFIG.format(user=user, dir=directory, port=port, rate=rate, upstream=registry.host)
                config.write_text(text)
                return [program, "-p", directory, "-e", directory / "error.log", "-c", config]

            log = directory / "log"
            host = stack.enter_context(server(command, log=log))
            return replace(registry, host=host, log=log)

        yield start
