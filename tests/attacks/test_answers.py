"""Answers that lie about their length, range or encoding, or never end: what arrives is right, or nothing."""

from __future__ import annotations

import gzip
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access
from tests.attacks import impatient
from tests.attacks.scene import FILES, Scene, files_of
from tests.hostile import Drop, Reply, Request, Response, Stall

LARGE = 17 * 1024 * 1024


def pulling(scene: Scene) -> int:
    return impatient.pulling(scene.reference, scene.out)


@pytest.fixture
def large(scene: Scene) -> Scene:
    """A model with a file that comes in ranges."""
    data = (bytes(range(251)) * (LARGE // 251 + 1))[:LARGE]
    scene.push({"weights.bin": data})
    scene.registry.forget()
    return scene


def at(scene: Scene, host: str) -> Scene:
    """The same victim, at another host."""
    moved = Scene(scene.registry, scene.place)
    moved.reference = Reference.parse(f"{host}/models/tiny:v1")
    moved.access = Access(plain_http=frozenset({host}))
    return moved


def right_or_nothing(scene: Scene, code: int, *allowed: int) -> None:
    assert code in allowed
    if code == 0:
        assert scene.out.is_dir()
        assert scene.verify(of=f"{scene.reference}").code == 0
    else:
        assert scene.nothing_arrived()


# --- lengths and ranges ----------------------------------------------------------------------


@pytest.mark.parametrize("difference", [-5, -1, 1, 5, 10**9])
@pytest.mark.parametrize("route", ["manifest", "blob"])
def test_a_content_length_that_lies(signed: Scene, route: str, difference: int) -> None:
    def on_response(request: Request, response: Response) -> None:
        if request.route == route and not request.target.startswith("sha256-"):
            response.headers["Content-Length"] = str(len(response.body) + difference)

    signed.registry.on_response = on_response
    assert pulling(signed) in (14, 75)
    assert signed.nothing_arrived()


@pytest.mark.parametrize("length", ["-1", "0", "1e3", "0x10", "+5", "", "5, 5", "9" * 30, "\u0665"])
def test_a_content_length_that_is_no_number(signed: Scene, length: str) -> None:
    def on_response(request: Request, response: Response) -> None:
        if request.route == "blob":
            response.headers["Content-Length"] = length.encode().decode("latin-1")

    signed.registry.on_response = on_response
    right_or_nothing(signed, pulling(signed), 0, 14, 75)
    if signed.out.exists():
        assert files_of(signed.out) == FILES


@pytest.mark.parametrize(
    ("mode", "allowed"),
    [
        ("ignored", (0,)),
        ("closed", (0,)),
        ("short", (75,)),  # half of what is left each time, and so at last nothing
        ("wrong-start", (75,)),
        ("wrong-total", (14,)),
    ],
)
def test_ranges_that_lie(large: Scene, mode: str, allowed: tuple[int, ...]) -> None:
    large.registry.switches.ranges = mode  # type: ignore[assignment]
    code = large.pulling()
    right_or_nothing(large, code, *allowed)
    if code == 0:
        assert large.verify(of=large.out).code == 0


def test_a_range_with_the_bytes_of_another_one(large: Scene) -> None:
    """Rightly labelled, wrongly filled."""

    def on_response(request: Request, response: Response) -> None:
        if request.route == "blob" and "range" in request.headers:
            response.body = bytes(len(response.body))

    large.registry.on_response = on_response
    assert large.pulling() == 14
    assert large.nothing_arrived()


def test_bytes_that_are_wrong_once(large: Scene) -> None:
    """They are fetched again, and what arrives is right."""
    wrong: list[int] = []

    def on_response(request: Request, response: Response) -> None:
        if request.route == "blob" and "range" in request.headers and not wrong:
            wrong.append(request.number)
            response.body = bytes(len(response.body))

    large.registry.on_response = on_response
    assert large.pulling() == 0
    assert wrong
    assert large.verify("--full", of=large.out).code == 0


@pytest.mark.parametrize("cut", [0, 1, 1000, LARGE // 3])
def test_a_connection_that_is_cut_again_and_again(large: Scene, cut: int) -> None:
    """As long as bytes come, it goes on from where it was; without any, it ends."""
    cuts = 8 if cut else None
    large.registry.fail(Drop(sent=cut), route="blob", method="GET", times=cuts)
    code = pulling(large)
    right_or_nothing(large, code, *((0, 75) if cut else (75,)))


# --- encodings --------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["manifest", "referrers", "blob"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x"])
def test_an_encoding_that_nobody_asked_for(signed: Scene, route: str, encoding: str) -> None:
    def on_response(request: Request, response: Response) -> Response | None:
        if request.route != route or response.status != 200:
            return None
        return Response(
            200, {**response.headers, "Content-Encoding": encoding}, gzip.compress(bytes(response.body))
        )

    signed.registry.on_response = on_response
    assert signed.pull().code == 14
    assert signed.nothing_arrived()


def test_a_bomb_is_not_unpacked(signed: Scene) -> None:
    """A gigabyte of zeros in a megabyte: nothing decodes it, nothing keeps it."""
    bomb = gzip.compress(bytes(64 * 1024 * 1024), 9)
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/vnd.oci.image.manifest.v1+json"}
    signed.registry.fail(Reply(200, headers, bomb), route="manifest", target="v1")
    assert signed.pull().code == 14


# --- redirects --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "where",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/x",
        "http://registry.example.org/x",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "//[::1",
        "http://user:password@127.0.0.1/x",
        "https://127.0.0.1:1/x",
    ],
)
def test_a_redirect_that_leads_astray(signed: Scene, where: str) -> None:
    signed.registry.fail(Reply(307, {"Location": where}), route="blob", target=signed.layers()["weights.bin"])
    assert pulling(signed) in (1, 75)  # 1: what is no address at all is an answer that nobody can use
    assert signed.nothing_arrived()


def test_redirects_without_end(signed: Scene) -> None:
    weights = signed.layers()["weights.bin"]
    where = {"Location": f"/v2/{signed.reference.repository}/blobs/{weights}"}
    signed.registry.fail(Reply(307, where), route="blob", target=weights)
    assert pulling(signed) == 75
    assert signed.registry.count("GET", "blob") < 100
    assert signed.nothing_arrived()


def test_a_blob_from_an_object_store_is_checked_like_any(signed: Scene) -> None:
    signed.registry.switches.redirect_blobs = True
    assert signed.pull().code == 0
    assert signed.registry.count("GET", server="storage") >= 3
    signed.out.rename(signed.place / "first")
    signed.repository.flip(signed.layers()["weights.bin"], 3)
    assert signed.pull("--no-cache").code == 14
    assert signed.nothing_arrived()


# --- time -------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["manifest", "referrers", "blob"])
def test_silence_ends(signed: Scene, route: str) -> None:
    """Before the first byte, and in the middle."""
    for sent in (0, 20):
        signed.registry.rules.clear()
        signed.registry.fail(Stall(seconds=60, sent=sent), route=route)
        assert pulling(signed) == 75
        assert signed.nothing_arrived()


def test_a_file_that_stalls_goes_on_from_where_it_was(large: Scene) -> None:
    large.registry.fail(Stall(seconds=60, sent=1_000_000), route="blob", method="GET", times=3, skip=1)
    assert pulling(large) == 0


@pytest.mark.parametrize("bait", ["manifest", "error", "list"])
def test_a_document_that_drips_ends(scene: Scene, bait: str) -> None:
    """A byte at a time, for ever: never silent, never done."""
    head = {
        "manifest": "200 OK\r\nContent-Type: application/vnd.oci.image.manifest.v1+json",
        "error": "500 Internal Server Error\r\nContent-Type: application/json",
        "list": "200 OK\r\nContent-Type: application/vnd.oci.image.index.v1+json",
    }[bait]

    def drip(client: socket.socket, stop: threading.Event) -> None:
        client.sendall(f"HTTP/1.1 {head}\r\nContent-Length: 1000000\r\n\r\n".encode())
        while not stop.wait(0.05):
            client.sendall(b" ")

    with raw_server(drip) as host:
        victim = at(scene, host)
        assert pulling(victim) in (75, 14)
        assert victim.nothing_arrived()


def test_a_bundle_that_drips_ends(signed: Scene) -> None:
    """As any document; 128 candidates of 128 KiB, a byte a minute each, would take centuries."""
    with dripping(signed, signed.bundle()) as host:
        assert impatient.verifying(at(signed, host).reference) == 75


def test_headers_that_drip_end(scene: Scene) -> None:
    def drip(client: socket.socket, stop: threading.Event) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\n")
        number = 0
        while not stop.wait(0.001):
            number += 1
            client.sendall(b"X-%d: y\r\n" % number)

    with raw_server(drip) as host:
        victim = at(scene, host)
        assert pulling(victim) == 75


@pytest.mark.parametrize("drop", [b"x", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["a byte", "an interim answer"])
def test_a_head_that_never_ends_is_not_waited_for(scene: Scene, drop: bytes) -> None:
    """Never silent, never too many lines, never done."""

    def drip(client: socket.socket, stop: threading.Event) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nX-Header: " if drop == b"x" else drop)
        while not stop.wait(0.05):
            client.sendall(drop)

    with raw_server(drip) as host:
        victim = at(scene, host)
        assert pulling(victim) == 75
        assert victim.nothing_arrived()


@pytest.mark.parametrize(
    "answer",
    [b"", b"\r\n\r\n", b"SSH-2.0-x\r\n", b"HTTP/1.1 ??? x\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n", b"\x00" * 100],
)
def test_a_server_that_speaks_something_else(scene: Scene, answer: bytes) -> None:
    def say(client: socket.socket, _stop: threading.Event) -> None:
        client.sendall(answer)

    with raw_server(say) as host:
        victim = at(scene, host)
        assert pulling(victim) in (14, 75)
        assert victim.nothing_arrived()


@contextmanager
def dripping(scene: Scene, digest: str) -> Iterator[str]:
    """The registry, through a proxy that lets one blob drip: three seconds for 600 bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            upstream = http.client.HTTPConnection(scene.registry.host)
            upstream.request("GET", self.path, headers={"Accept": self.headers.get("Accept", "*/*")})
            answer = upstream.getresponse()
            body = answer.read()
            upstream.close()
            self.send_response(answer.status)
            for name in ("Content-Type", "Content-Length", "Docker-Content-Digest"):
                if answer.headers[name]:
                    self.send_header(name, answer.headers[name])
            self.end_headers()
            pieces = [bytes([byte]) for byte in body] if digest in self.path else [body]
            with suppress(OSError):
                for piece in pieces:
                    self.wfile.write(piece)
                    time.sleep(0.005 if len(pieces) > 1 else 0)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@contextmanager
def raw_server(answer: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server that reads a request and answers as no HTTP library would."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(client: socket.socket) -> None:
            with client, suppress(OSError):
                client.recv(65536)
                answer(client, stop)

        def accept() -> None:
            with suppress(OSError):
                while not stop.is_set():
                    client, _ = listener.accept()
                    threading.Thread(target=serve, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stop.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
