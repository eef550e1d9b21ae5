"""Connection pools: TLS, proxies, time-outs, and the one place where a scheme is chosen for a host.

Guarantees: certificates are always verified (the system's authorities and ``ca_file``); a connection attempt
ends after ``connect`` seconds and a transfer after ``stall`` seconds without a byte; once an answer has begun, its
head is complete within ``document`` seconds; nothing is read from
``~/.netrc``; no cookie is kept; loopback hosts never go through a proxy. It follows no redirect and sends no
credentials by itself.
"""

from __future__ import annotations

import http.client
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import BaseHTTPResponse

from ocimodel import __version__
from ocimodel.errors import ConfigurationError
from ocimodel.stores.http import clock
from ocimodel.stores.http.origins import Origin, Rules, is_loopback
from ocimodel.stores.http.policy import Patience
from ocimodel.stores.http.proxies import proxy_for
from ocimodel.stores.http.route import DIRECT, Route

_SLICE = 256 * 1024
_POOL = 32
# It logs whole URLs, and the query of a signed one is a secret.
logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)
USER_AGENT = f"ocimodel/{__version__}"


class Connections:
    """Pools for every host that one command talks to. Safe for several threads."""

    def __init__(self, *, rules: Rules, ca_file: Path | None, patience: Patience, route: Route = DIRECT) -> None:
        self.rules = rules
        self.patience = patience
        self._ca_file = ca_file
        self._route = route
        self._lock = threading.Lock()
        self._managers: dict[tuple[str, bool], urllib3.PoolManager] = {}
        self._pools: dict[Origin, HTTPConnectionPool] = {}
        self._schemes: dict[tuple[str, int | None], str] = {}
        self.offset: timedelta | None = None
        """By how much the clock of whoever answered last is ahead of this machine's."""
        self._classes = _pool_classes(patience)

    def origin(self, host: str, port: int | None) -> Origin:
        """How ``host`` is spoken to: https, or http where it was asked for or a loopback literal wants it."""
        key = (host, port)
        scheme = self._schemes.get(key)
        if scheme is None:
            plain: bool | None = self.rules.names(host, port)
            if not plain and is_loopback(host):
                plain = speaks_plain(host, port or 443, self.patience.connect)
                if plain is None and port is None:
                    plain = speaks_plain(host, 80, self.patience.connect)
            scheme = "http" if plain else "https"
            if plain is not None:
                self._schemes[key] = scheme
        return Origin(scheme, host, port or (80 if scheme == "http" else 443))

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Iterable[Any] | bytes | None = None,
        *,
        wait: float | None = None,
    ) -> BaseHTTPResponse:
        """One request, one answer, whatever its status; the body is still to be read.

        Args:
            wait: how long the answer may take once all was sent; the stall time unless given.

        Raises urllib3's errors.
        """
        origin = Origin.of(url)
        options: dict[str, Any] = {
            "body": body,
            "headers": {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers},
            "retries": False,
            "redirect": False,
            "preload_content": False,
            "decode_content": False,
            "timeout": urllib3.Timeout(connect=self.patience.connect, read=wait or self.patience.stall),
        }
        pool = self._pool(origin)
        if pool is None:
            answer = self._manager(origin, self._proxy(origin)).urlopen(method, url, **options)
        else:
            parts = urlsplit(url)
            target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
            answer = pool.urlopen(method, target, assert_same_host=False, **options)
        self.offset = clock.offset(answer.headers, datetime.now(UTC)) or self.offset
        return answer

    def close(self) -> None:
        with self._lock:
            for manager in self._managers.values():
                manager.clear()
            self._managers.clear()
            self._pools.clear()

    def _pool(self, origin: Origin) -> HTTPConnectionPool | None:
        """The pool of a host, remembered: finding it by URL is a fifth of what a small request costs.

        None where a proxy is between, which wants to see the URL.
        """
        pool = self._pools.get(origin)
        if pool is None and not (proxy := self._proxy(origin)):
            host = f"[{origin.host}]" if ":" in origin.host else origin.host
            pool = self._manager(origin, proxy).connection_from_host(host, origin.port, origin.scheme)
            self._pools[origin] = pool
        return pool

    def _proxy(self, origin: Origin) -> str:
        return self._route.proxy or proxy_for(origin)

    def _manager(self, origin: Origin, proxy: str) -> urllib3.PoolManager:
        # The system's authorities take 0.08 s to load, which plain HTTP need not wait for.
        tls = origin.scheme == "https" or proxy.startswith("https:")
        with self._lock:
            manager = self._managers.get((proxy, tls))
            if manager is None:
                manager = self._new_manager(proxy, tls_context(self._ca_file, self._route) if tls else None)
                manager.pool_classes_by_scheme = self._classes
                self._managers[proxy, tls] = manager
            return manager

    def _new_manager(self, proxy: str, context: ssl.SSLContext | None) -> urllib3.PoolManager:
        options = [*HTTPConnection.default_socket_options, (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
        common: dict[str, Any] = {
            "num_pools": _POOL,
            "maxsize": _POOL,
            "ssl_context": context,
            "socket_options": options,
        }
        if not proxy:
            return urllib3.PoolManager(**common)
        parts = urlsplit(proxy)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(
                "the proxy in the environment is not an http or https URL",
                hint="Correct HTTPS_PROXY and HTTP_PROXY, or set NO_PROXY.",
            )
        headers = {}
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers = urllib3.make_headers(proxy_basic_auth=user)
        plain = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        return urllib3.ProxyManager(plain, proxy_headers=headers, proxy_ssl_context=context, **common)


def tls_context(ca_file: Path | None, route: Route = DIRECT) -> ssl.SSLContext:
    """The system's authorities, and those of ``ca_file`` and of the route in addition; the route's certificates."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for file in (*([ca_file] if ca_file is not None else []), *route.ca_files):
        try:
            context.load_verify_locations(cafile=str(file))
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"cannot use {file} as a certificate authority: {error.strerror or 'not PEM certificates'}",
                hint="Give --ca-file a file of PEM certificates."
                if file is ca_file
                else "Correct ca in hosts.toml: it names files of PEM certificates.",
            ) from None
    for certificate, key in route.client:
        try:
            # An encrypted key would have OpenSSL ask at the terminal.
            context.load_cert_chain(certificate, key, password=lambda: b"")
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"cannot use {certificate} as a client certificate: {error.strerror or 'not PEM, or another key'}",
                hint="Correct client in hosts.toml: a certificate and its key, in PEM and not encrypted.",
            ) from None
    return context


def speaks_plain(host: str, port: int, timeout: float) -> bool | None:
    """Does the server answer a TLS hello in plain text? None where it does not answer.

    Only bytes that are no TLS record prove it. A certificate that does not verify is TLS; a closed connection, a
    reset, a time-out prove nothing.
    """
    hello = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    tls = context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname=host)
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    try:
        with socket.create_connection((host, port), timeout) as plain:
            plain.sendall(hello.read())
            first = plain.recv(1)
    except OSError:
        return None
    # RFC 8446, section 5.1: a record begins with its content type, 20 to 24; text does not.
    return not 20 <= first[0] <= 24 if first else None


def _pool_classes(patience: Patience) -> dict[str, Any]:
    """urllib3's pools, with connections whose sending is bounded by the time without progress.

    Plain ``sendall`` bounds the whole block, so that a slow line would break; and while sending, urllib3 leaves
    the time-out for connecting in force. The head of an answer would be bounded by nothing but silence.
    """

    class Response(http.client.HTTPResponse):
        def begin(self) -> None:
            raw = cast(Any, self.fp).raw
            with _in_time(raw, patience):
                super().begin()

    def push(connection: HTTPConnection, data: Any) -> None:
        sock = connection.sock
        assert sock is not None
        sock.settimeout(patience.stall)
        view = memoryview(data)
        while view:
            view = view[sock.send(view[:_SLICE]) :]

    class Plain(HTTPConnection):
        response_class = Response

        def send(self, data: Any) -> None:
            if self.sock is None:
                self.connect()
            push(self, data)

    class Tls(HTTPSConnection):
        response_class = Response

        def send(self, data: Any) -> None:
            if self.sock is None:
                self.connect()
            push(self, data)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = Tls

    return {"http": PlainPool, "https": TlsPool}


@contextmanager
def _in_time(raw: Any, patience: Patience) -> Iterator[None]:
    """Bound what is read from ``raw``, a socket's file, by time: from the first byte on.

    It is the one place that sees every byte: http.client reads lines through a buffer.
    """
    until = float("inf")
    read = raw.readinto

    def readinto(buffer: Any) -> int | None:
        nonlocal until
        if time.monotonic() > until:
            raise TimeoutError("the head of the answer takes too long")
        count: int | None = read(buffer)
        until = min(until, time.monotonic() + patience.document)
        return count

    raw.readinto = readinto
    try:
        yield
    finally:
        del raw.readinto
