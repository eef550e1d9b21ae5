"""A forward proxy: ``CONNECT host:port`` for TLS, whole URLs for plain HTTP. It alone knows where names lead.

with ForwardProxy({"registry.example:443": "127.0.0.1:5001"}) as proxy:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    …
    assert proxy.asked == ["CONNECT registry.example:443"]
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit


class ForwardProxy:
    """``asked`` is what was asked for, as ``METHOD TARGET``; ``names`` maps ``host:port`` to where it leads."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = dict(names)
        self.asked: list[str] = []
        self._server = _Server(self)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, proxy: ForwardProxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections end as they like."""


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        method, target, _ = self.rfile.readline(8192).decode("ascii").split()
        headers = []
        while (line := self.rfile.readline(8192).strip()) and line:
            if not line.lower().startswith((b"proxy-", b"connection:")):
                headers.append(line)
        self.server.proxy.asked.append(f"{method} {target}")
        parts = urlsplit(target)
        name = target if method == "CONNECT" else f"{parts.hostname}:{parts.port or 80}"
        place = self.server.proxy.names.get(name)
        if place is None:
            self.wfile.write(b"HTTP/1.1 502 unknown\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        host, _, port = place.partition(":")
        with socket.create_connection((host, int(port)), 10) as onward:
            if method == "CONNECT":
                self.wfile.write(b"HTTP/1.1 200 go on\r\n\r\n")
            else:
                path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
                head = [f"{method} {path} HTTP/1.1".encode(), *headers, b"Connection: close", b"", b""]
                onward.sendall(b"\r\n".join(head))
            back = threading.Thread(target=_pump, args=(onward, self.connection), daemon=True)
            back.start()
            with suppress(OSError):
                while block := self.rfile.read1(65536):
                    onward.sendall(block)
                onward.shutdown(socket.SHUT_WR)
            back.join(10)


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Also where one side resets the connection, the other is told that it is over."""
    with suppress(OSError):
        while block := source.recv(65536):
            target.sendall(block)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
