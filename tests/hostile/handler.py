"""HTTP/1.1 by the standard library: reads, records, asks what to do, answers, or breaks off."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from tests.hostile.messages import Action, Alter, Drop, Reply, Request, Response, Stall
from tests.hostile.routes import route_of

if TYPE_CHECKING:
    from tests.hostile.registry import HostileRegistry

_BLOCK = 256 * 1024


class BrokenConnection(OSError):
    """We, or the client, broke it."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    allow_reuse_address = True

    def __init__(self, registry: HostileRegistry, name: str) -> None:
        self.registry = registry
        self.name = name
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections break on purpose here; anything else is kept for the test to see."""
        import sys

        failure = sys.exception()
        if failure is not None and not isinstance(failure, OSError):
            self.registry.failures.append(failure)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "hostile/1"
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024
    server: Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return None

    def date_time_string(self, timestamp: float | None = None) -> str:
        now = time.time() if timestamp is None else timestamp
        return super().date_time_string(now + self.server.registry.switches.ahead)

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _serve(self) -> None:
        registry = self.server.registry
        parts = urlsplit(self.path)
        route, repository, target = route_of(parts.path)
        request = Request(
            number=0,
            server=self.server.name,
            method=self.command,
            path=parts.path,
            raw_query=parts.query,
            query=parse_qs(parts.query, keep_blank_values=True),
            headers={name.lower(): ", ".join(self.headers.get_all(name, [])) for name in self.headers},
            route=route,
            repository=repository,
            target=target,
        )
        action = registry.receive(request)
        try:
            self._act(request, action)
        except BrokenConnection:
            self._reset()
        except OSError:
            self.close_connection = True

    def _act(self, request: Request, action: Action | None) -> None:
        registry = self.server.registry
        cut = action.received if isinstance(action, Drop) else None
        if isinstance(action, Drop) and action.received is None and action.sent is None:
            raise BrokenConnection
        blocks = self._blocks(request, cut)
        if isinstance(action, Reply):
            response = Response(action.status, dict(action.headers), action.body)
            if not action.read_body:
                self.close_connection = True
        else:
            response = registry.routes.answer(request, blocks)
        if not isinstance(action, Reply) or action.read_body:
            for _ in blocks:  # what the answer did not need, or the connection is out of step
                pass
        if cut is not None:
            raise BrokenConnection
        if isinstance(action, Alter):
            response = action.change(response)
        changed = registry.on_response(request, response) if registry.on_response else None
        self._send(request, changed or response, action)

    def _blocks(self, request: Request, cut: int | None) -> Iterator[bytes]:
        """The request's body. With ``cut`` the connection breaks after so many bytes."""
        for block in (
            self._chunked() if "chunked" in request.headers.get("transfer-encoding", "") else self._sized()
        ):
            if cut is not None and request.received + len(block) >= cut:
                rest = block[: cut - request.received]
                request.received += len(rest)
                if rest:
                    yield rest
                raise BrokenConnection
            request.received += len(block)
            yield block

    def _sized(self) -> Iterator[bytes]:
        left = int(self.headers.get("content-length") or 0)
        while left:
            block = self.rfile.read1(min(left, _BLOCK))
            if not block:
                raise BrokenConnection
            left -= len(block)
            yield block

    def _chunked(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            block = self.rfile.read(size)
            if len(block) != size:
                raise BrokenConnection
            self.rfile.readline()
            yield block
        while self.rfile.readline().strip():
            pass

    def _send(self, request: Request, response: Response, action: Action | None) -> None:
        request.status = response.status
        headers = {"Content-Length": str(len(response.body)), **response.headers}
        if response.status == 204:
            headers.pop("Content-Length")
        warning = self.server.registry.switches.warning
        if warning:
            headers["Warning"] = f'299 - "{warning}"'
        self.send_response(response.status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if request.method == "HEAD" or response.status == 204:
            return
        body = memoryview(response.body)
        pause = action.sent if isinstance(action, (Stall, Drop)) and action.sent is not None else None
        if pause is not None:
            self._write(request, body[:pause])
            self.wfile.flush()
            if isinstance(action, Drop):
                raise BrokenConnection
            self.server.registry.closing.wait(action.seconds if isinstance(action, Stall) else 0)
            body = body[pause:]
        self._write(request, body)
        if headers.get("Content-Length") != str(len(response.body)):
            self.close_connection = True  # a lie: only the end of the connection ends the body

    def _write(self, request: Request, body: memoryview) -> None:
        for start in range(0, len(body), _BLOCK):
            block = body[start : start + _BLOCK]
            self.wfile.write(block)
            request.sent += len(block)

    def _reset(self) -> None:
        """RST, not FIN: the peer sees an error and not an end."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
