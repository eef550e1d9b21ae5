"""A tiny HTTP server that answers what a test's function says, over TLS if wanted, and remembers what it saw."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Seen:
    """One request. ``headers`` have lower-case names."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Say:
    """One answer. ``body`` may be pieces, with ``pause`` seconds after each; ``length`` may lie; None: not sent."""

    status: int = 200
    headers: Iterable[tuple[str, str]] = ()
    body: bytes | Iterable[bytes] = b""
    length: int | None = -1
    pause: float = 0.0


Script = Callable[[Seen], Say]


class Scripted:
    """Runs while the context is open. ``connections`` counts what was accepted, ``seen`` what was understood."""

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None, read_pause: float = 0.0) -> None:
        self.script = script
        self.seen: list[Seen] = []
        self.lock = threading.Lock()
        self.connections = 0
        self.read_pause = read_pause
        self.closing = threading.Event()
        self._scheme = "https" if tls else "http"
        self._server = _Server(self, tls)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self.host}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, scripted: Scripted, tls: ssl.SSLContext | None) -> None:
        self.scripted = scripted
        self.tls = tls
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: object, client_address: object) -> None:
        with self.scripted.lock:
            self.scripted.connections += 1
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def finish_request(self, request: object, client_address: object) -> None:
        if self.tls is None:
            super().finish_request(request, client_address)  # type: ignore[arg-type]
            return
        plain = cast("socket.socket", request)
        with plain, self.tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as wrapped:
            wrapped.do_handshake()
            super().finish_request(wrapped, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections break on purpose here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent: the requests are in `Scripted.seen`."""

    def do_GET(self) -> None:
        scripted = self.server.scripted
        headers = {name.lower(): value for name, value in self.headers.items()}
        length = int(headers.get("content-length", "0"))
        body = bytearray()
        while len(body) < length and (block := self.rfile.read1(min(length - len(body), 1 << 16))):
            body += block
            if scripted.read_pause:
                time.sleep(scripted.read_pause)
        seen = Seen(self.command, self.path, headers, bytes(body))
        with scripted.lock:
            scripted.seen.append(seen)
        self._say(scripted.script(seen))

    do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _say(self, say: Say) -> None:
        pieces = [say.body] if isinstance(say.body, bytes) else say.body
        true = len(say.body) if isinstance(say.body, bytes) else None
        length = true if say.length == -1 else say.length
        self.send_response(say.status)
        for name, value in say.headers:
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if length is None or length != true:
            self.close_connection = True  # only the end of the connection ends the body
        self.end_headers()
        if self.command == "HEAD":
            return
        for piece in pieces:
            self.wfile.write(piece)
            self.wfile.flush()
            if say.pause and self.server.scripted.closing.wait(say.pause):
                return


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority of the test's own, and a server certificate for loopback by it."""

    ca_file: Path
    _chain: Path = field(repr=False)

    @classmethod
    def create(cls, directory: Path) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)

        def certificate(name: str, public: ec.EllipticCurvePublicKey, ca: bool) -> x509.Certificate:
            builder = (
                x509.CertificateBuilder()
                .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
                .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")]))
                .public_key(public)
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - timedelta(days=1))
                .not_valid_after(now + timedelta(days=1))
                .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            )
            if not ca:
                names = [
                    x509.DNSName("localhost"),
                    x509.DNSName("registry.invalid"),
                    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                ]
                builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            return builder.sign(key, SHA256())

        own = ec.generate_private_key(ec.SECP256R1())
        directory.mkdir(parents=True, exist_ok=True)
        ca_file, chain = directory / "ca.pem", directory / "server.pem"
        ca_file.write_bytes(certificate("tests", key.public_key(), ca=True).public_bytes(Encoding.PEM))
        leaf = certificate("server", own.public_key(), ca=False)
        private = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain.write_bytes(private + leaf.public_bytes(Encoding.PEM))
        return cls(ca_file, chain)

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._chain)
        return context
