"""Connections, redirects, retries: what is sent where, and what is given up when."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Self

import pytest

from ocimodel.errors import (
    AuthenticationError,
    ConfigurationError,
    FormatError,
    NotFoundError,
    OcimodelError,
    UnavailableError,
)
from ocimodel.stores.http.connections import Connections, speaks_plain, tls_context
from ocimodel.stores.http.origins import Origin, Rules, address, is_loopback, is_private, printable, redacted
from ocimodel.stores.http.policy import ERROR_BYTES, Backoff, Patience
from ocimodel.stores.http.transport import Body, Request, Transport
from tests.scripted import Authority, Say, Scripted, Seen

FAST = Patience(connect=2.0, stall=2.0, first_delay=0.0, settle=0.001)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("authority"))


def ok(_seen: Seen) -> Say:
    return Say(body=b"fine")


def get(transport: Transport, url: str, **more: object) -> bytes:
    with transport.request(Request(method="GET", url=url, **more)) as answer:  # type: ignore[arg-type]
        return answer.read(1 << 20, "document")


class Silent:
    """Accepts, and does what ``act`` says."""

    def __init__(self, act: Callable[[socket.socket], object]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._kept: list[socket.socket] = []
        self._act = act
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            while True:
                connection, _ = self._listener.accept()
                self._kept.append(connection)
                self._act(connection)
        except OSError:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._kept):
            one.close()


# --- origins -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.example/x", "https://A.example:443/y?z", True),
        ("https://a.example", "http://a.example", False),
        ("https://a.example", "https://a.example:444", False),
        ("https://a.example", "https://a.example.", True),
        ("http://[::1]:5000/", "http://[::1]:5000/v2/", True),
        ("https://a.example", "https://b.a.example", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(one: str, other: str, same: bool) -> None:
    assert (Origin.of(one) == Origin.of(other)) is same


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/v2/",
        "ftp://a/",
        "https://",
        "https://u:p@a.example/",
        "https://a:99999/",
        "https://[::1/",
        "https:\\\\a/",
    ],
)
def test_what_is_no_plain_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        Origin.of(url)


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("127.0.0.1", True),
        ("127.1", True),
        ("2130706433", True),
        ("0x7f000001", True),
        ("localhost", True),
        ("a.localhost", True),
        ("::1", True),
        ("::ffff:10.0.0.1", True),
        ("10.1.2.3", True),
        ("192.168.0.1", True),
        ("169.254.169.254", True),
        ("fe80::1%eth0", True),
        ("fd00::1", True),
        ("0.0.0.0", True),
        ("100.64.0.1", True),
        ("8.8.8.8", False),
        ("2600::1", False),
        ("registry.example", False),
        ("cafe.example", False),
        ("localhost.example", False),
    ],
)
def test_literals_of_private_networks_are_known_in_every_spelling(host: str, private: bool) -> None:
    assert is_private(host) is private


def test_loopback_is_not_every_private_network() -> None:
    assert is_loopback("127.8.9.1")
    assert is_loopback("::1")
    assert not is_loopback("10.0.0.1")
    assert address("registry.example") is None


RULES = Rules(plain_http=frozenset({"plain.example", "Other.example:5000", "[fd00::1]:5000"}))


@pytest.mark.parametrize(
    ("source", "target", "allowed"),
    [
        ("https://r.example", "https://storage.example/x", True),
        ("https://r.example", "https://r.example:444/x", True),
        ("https://r.example", "http://r.example/x", False),
        ("https://r.example", "http://storage.example/x", False),
        ("https://r.example", "https://10.0.0.1/x", False),
        ("https://r.example", "https://127.0.0.1/x", False),
        ("https://r.example", "https://169.254.169.254/latest", False),
        ("https://r.example", "https://2852039166/latest", False),
        ("https://10.0.0.1", "https://10.0.0.1:9000/x", True),
        ("https://10.0.0.1", "https://10.0.0.2/x", True),
        ("https://10.0.0.1", "https://169.254.169.254/x", False),
        ("http://plain.example", "http://plain.example/x", True),
        ("http://plain.example", "http://storage.example/x", False),
        ("http://plain.example", "http://plain.example:8080/x", False),
        ("http://plain.example", "http://other.example:5000/x", True),
        ("http://plain.example", "https://storage.example/x", True),
        ("http://127.0.0.1:5000", "http://localhost:9000/x", True),
        ("http://127.0.0.1:5000", "http://storage.example/x", False),
        ("http://127.0.0.1:5000", "http://10.0.0.1/x", False),
        ("https://127.0.0.1:5000", "http://127.0.0.1:9000/x", False),
    ],
)
def test_where_an_answer_may_send_us(source: str, target: str, allowed: bool) -> None:
    with nullcontext() if allowed else pytest.raises(UnavailableError, match="refused"):
        RULES.check(Origin.of(source), Origin.of(target), "redirects to")


def test_plain_http_is_for_the_host_as_it_was_given() -> None:
    assert RULES.names("plain.example", None)
    assert RULES.names("plain.example", 80)
    assert not RULES.names("plain.example", 5000)
    assert RULES.names("other.example", 5000)
    assert not RULES.names("other.example", None)
    assert RULES.names("fd00::1", 5000)


def test_what_is_printed_of_a_url_holds_no_secret() -> None:
    assert redacted("https://user:secret@a.example/v2/x?sig=secret#secret") == "https://a.example/v2/x"
    assert len(redacted("https://a.example/" + "x" * 5000)) <= 300
    assert redacted("https://[::1/x") == "a malformed URL"
    assert redacted("https://user:se?cr#et@a.example/tsr") == "https://a.example/tsr"
    assert redacted("http://user%3aSECRET%40a.example/tsr") == "http://a.example/tsr"
    assert redacted("http://user:SECRET%40a.example@b.example/tsr") == "http://b.example/tsr"
    assert redacted("user%3aSECRET%40a.example/tsr") == "a.example/tsr"
    assert redacted("localhost:5000/tsr") == "localhost:5000/tsr"
    assert redacted("user:se?cret@a.example/tsr?sig=secret") == "a.example/tsr"


def test_text_of_others_cannot_steer_a_terminal() -> None:
    assert printable("a\x1b[31mb\r\nc\u202ed\x9be") == "a [31mb c d e"
    assert printable("x" * 500) == "x" * 199 + "…"


# --- patience ------------------------------------------------------------------


def patient(**more: float) -> tuple[Patience, list[float]]:
    """A patience that sleeps no time, and what it would have slept."""
    slept: list[float] = []
    now = [0.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    return Patience(sleep=sleep, clock=lambda: now[0], dice=lambda: 1.0, **more), slept  # type: ignore[arg-type]


def test_waits_grow_and_tries_end() -> None:
    patience, slept = patient(tries=5, first_delay=0.5, max_delay=3.0)
    backoff = Backoff(patience)
    assert [backoff.again() for _ in range(5)] == [True, True, True, True, False]
    assert slept == [0.5, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("header", "expected"),
    [("7", 7.5), ("9999", 30.0), ("0", 0.5), ("soon", 0.5), ("", 0.5), (" 3 ", 3.5), ("9" * 4000, 30.0)],
)
def test_retry_after_is_honoured_within_bounds(header: str, expected: float) -> None:
    patience, slept = patient()
    assert Backoff(patience).again(header)
    assert slept == [expected]


def test_retry_after_may_be_a_date() -> None:
    patience, slept = patient()
    assert Backoff(patience).again(format_datetime(datetime.now(UTC) + timedelta(seconds=12), usegmt=True))
    assert 9 < slept[0] <= 12.5
    assert Backoff(patience).again("Mon, 01 Jan 1990 00:00:00 GMT")
    assert slept[1] == 0.5


def test_all_waits_together_are_bounded() -> None:
    patience, slept = patient(wall=50.0)
    backoff = Backoff(patience)
    assert backoff.again("30")
    assert not backoff.again("30")
    assert sum(slept) <= 50
    assert Backoff(patience, wall=False).again("30")


def test_a_registry_is_tried_again_as_it_asks() -> None:
    patience, slept = patient()
    statuses = [429, 503, 500]
    with Scripted(lambda _: Say(statuses.pop(0), [("Retry-After", "2")]) if statuses else Say()) as server:
        transport = Transport(plain_http=frozenset({server.host}), patience=patience)
        get(transport, server.url + "/v2/")
    assert len(server.seen) == 4
    assert slept == [2.5, 3.0, 4.0]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_five_tries_then_unavailable(status: int) -> None:
    with Scripted(lambda _: Say(status)) as server:
        transport = Transport(plain_http=frozenset({server.host}), patience=FAST)
        with pytest.raises(UnavailableError) as caught:
            get(transport, server.url + "/v2/")
    assert len(server.seen) == 5
    assert caught.value.exit_code == 75
    assert str(status) in caught.value.message


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UnavailableError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, NotFoundError),
        (405, UnavailableError),
        (413, UnavailableError),
        (501, UnavailableError),
    ],
)
def test_what_will_not_change_is_asked_once(status: int, kind: type[OcimodelError]) -> None:
    with Scripted(lambda _: Say(status)) as server:
        transport = Transport(plain_http=frozenset({server.host}), patience=FAST)
        with pytest.raises(kind):
            get(transport, server.url + "/v2/")
    assert len(server.seen) == 1


def test_a_connection_that_breaks_is_tried_again() -> None:
    def act(connection: socket.socket) -> None:
        connection.recv(100)
        connection.close()

    with Silent(act) as server:
        transport = Transport(plain_http=frozenset({f"127.0.0.1:{server.port}"}), patience=FAST)
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1"):
            get(transport, f"http://127.0.0.1:{server.port}/v2/?sig=secret")


def test_once_is_once() -> None:
    with Scripted(lambda _: Say(503)) as server:
        transport = Transport(plain_http=frozenset({server.host}), patience=FAST)
        with pytest.raises(UnavailableError):
            get(transport, server.url, once=True)
    assert len(server.seen) == 1


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    transport = Transport(patience=FAST)
    with pytest.raises(UnavailableError, match="cannot connect"):
        get(transport, f"http://127.0.0.1:{port}/")


# --- TLS or not ----------------------------------------------------------------


def test_a_loopback_registry_in_plain_text_is_found_out() -> None:
    with Scripted(ok) as server:
        connections = Connections(rules=Rules(), ca_file=None, patience=FAST)
        assert connections.origin("127.0.0.1", server.port) == Origin("http", "127.0.0.1", server.port)
        assert connections.origin("localhost", server.port).scheme == "http"


def test_an_untrusted_certificate_is_never_a_reason_for_plain_text(authority: Authority) -> None:
    with Scripted(ok, tls=authority.server_context()) as server:
        transport = Transport(patience=FAST)
        origin = transport.connections.origin("127.0.0.1", server.port)
        assert origin.scheme == "https"
        with pytest.raises(UnavailableError) as caught:
            get(transport, f"{origin}/v2/")
        assert "--ca-file" in caught.value.hint
        assert server.seen == []
        assert server.connections == 2  # the look, and one try: the certificate will not change


def test_ca_file_adds_an_authority(authority: Authority) -> None:
    with Scripted(ok, tls=authority.server_context()) as server:
        transport = Transport(ca_file=authority.ca_file, patience=FAST)
        origin = transport.connections.origin("127.0.0.1", server.port)
        assert get(transport, f"{origin}/v2/") == b"fine"
        assert get(transport, f"https://localhost:{server.port}/") == b"fine"
    assert tls_context(authority.ca_file).cert_store_stats()["x509_ca"] >= 1


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
def test_a_ca_file_that_is_none(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"ca\.pem"):
        tls_context(file)


def test_the_name_in_a_certificate_counts(authority: Authority) -> None:
    with Scripted(ok, tls=authority.server_context()) as server:
        transport = Transport(ca_file=authority.ca_file, patience=FAST)
        with pytest.raises(UnavailableError):
            get(transport, f"https://127.0.0.2:{server.port}/")


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


@pytest.mark.parametrize("way", ["reset", "close", "silence"])
def test_resets_ends_and_silence_are_not_plain_text(way: str) -> None:
    acts = {"reset": _reset, "close": socket.socket.close, "silence": id}
    with Silent(acts[way]) as server:
        assert speaks_plain("127.0.0.1", server.port, 0.2) is None
        connections = Connections(rules=Rules(), ca_file=None, patience=Patience(connect=0.2))
        assert connections.origin("127.0.0.1", server.port).scheme == "https"


def test_where_plain_http_was_asked_for_nobody_looks_for_tls() -> None:
    with Scripted(ok) as server:
        transport = Transport(plain_http=frozenset({server.host}), patience=FAST)
        origin = transport.connections.origin("127.0.0.1", server.port)
        assert server.connections == 0
        assert get(transport, f"{origin}/") == b"fine"


def test_another_host_is_https_without_a_look() -> None:
    connections = Connections(rules=Rules(plain_http=frozenset({"a.invalid"})), ca_file=None, patience=FAST)
    assert str(connections.origin("b.invalid", None)) == "https://b.invalid"
    assert str(connections.origin("b.invalid", 5000)) == "https://b.invalid:5000"
    assert str(connections.origin("a.invalid", None)) == "http://a.invalid"
    assert str(connections.origin("a.invalid", 5000)) == "https://a.invalid:5000"
    with Scripted(ok) as server:
        # Linux takes this address for this machine; it is no loopback literal all the same.
        assert connections.origin("0.0.0.0", server.port).scheme == "https"
        assert server.connections == 0


# --- redirects -----------------------------------------------------------------


def moved(url: str, status: int = 307) -> Say:
    return Say(status, [("Location", url)])


def test_a_redirect_within_the_origin_is_followed() -> None:
    with Scripted(lambda s: moved("/there?x=1") if s.path == "/here" else ok(s)) as server:
        transport = Transport(plain_http=frozenset({server.host}), patience=FAST)
        assert get(transport, server.url + "/here") == b"fine"
    assert [seen.path for seen in server.seen] == ["/here", "/there?x=1"]


def test_the_sixth_redirect_is_refused() -> None:
    with Scripted(lambda s: moved(f"/{int(s.path[1:]) + 1}")) as server:
        transport = Transport(plain_http=frozenset({server.host}), patience=FAST)
        with pytest.raises(UnavailableError, match="redirects"):
            get(transport, server.url + "/0")
    assert len(server.seen) == 6


def test_from_https_to_http_never(authority: Authority) -> None:
    with (
        Scripted(ok) as plain,
        Scripted(lambda _: moved(plain.url + "/x"), tls=authority.server_context()) as server,
    ):
        transport = Transport(ca_file=authority.ca_file, patience=FAST)
        with pytest.raises(UnavailableError, match="https to http"):
            get(transport, server.url + "/x")
        assert plain.connections == 0


def test_a_put_is_sent_again_to_where_it_was_moved() -> None:
    with Scripted(lambda s: moved("/b") if s.path == "/a" else Say(201)) as server:
        transport = Transport(plain_http=frozenset({server.host}), patience=FAST)
        request = Request(method="PUT", url=server.url + "/a", body=Body.of(b"data"), accept=frozenset({201}))
        transport.request(request).close()
    assert [(seen.method, seen.body) for seen in server.seen] == [("PUT", b"data")] * 2


@pytest.mark.parametrize("location", ["", "http://[", "ftp://a/", "https://user:pw@a.example/"])
def test_a_redirect_to_nowhere_is_an_error(location: str) -> None:
    with Scripted(lambda _: moved(location)) as server:
        transport = Transport(plain_http=frozenset({server.host}), patience=FAST)
        with pytest.raises(UnavailableError, match="307"):
            get(transport, server.url)


def test_a_post_is_not_turned_into_a_get() -> None:
    with Scripted(lambda s: moved("/b", 303) if s.path == "/a" else ok(s)) as server:
        transport = Transport(plain_http=frozenset({server.host}), patience=FAST)
        with pytest.raises(UnavailableError, match="303"):
            transport.request(Request(method="POST", url=server.url + "/a", body=Body.of(b"x")))
    assert len(server.seen) == 1


# --- bodies --------------------------------------------------------------------


def test_a_stalled_body_is_given_up() -> None:
    with Scripted(lambda _: Say(body=[b"x" * 10], length=20, pause=30)) as server:
        transport = Transport(plain_http=frozenset({server.host}), patience=Patience(stall=0.2))
        began = time.monotonic()
        with (
            transport.request(Request(method="GET", url=server.url)) as answer,
            pytest.raises(UnavailableError, match="stalled"),
        ):
            answer.readinto(memoryview(bytearray(20)))
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("way", ["stream", "document"])
def test_a_short_body_is_unavailable(way: str) -> None:
    with Scripted(lambda _: Say(body=b"x" * 10, length=20)) as server:
        transport = Transport(plain_http=frozenset({server.host}), patience=FAST)
        with transport.request(Request(method="GET", url=server.url)) as answer:
            if way == "stream":
                buffer = memoryview(bytearray(15))
                assert answer.readinto(buffer) == 10
                with pytest.raises(UnavailableError, match="shorter"):
                    answer.readinto(buffer)
            else:
                with pytest.raises(UnavailableError, match="shorter"):
                    answer.read(1000, "document")


def test_a_document_that_drips_for_ever_is_given_up() -> None:
    def drops() -> Iterator[bytes]:
        while True:
            yield b"x"

    with Scripted(lambda _: Say(body=drops(), length=None, pause=0.01)) as server:
        transport = Transport(plain_http=frozenset({server.host}), patience=Patience(document=0.2, stall=1))
        with pytest.raises(UnavailableError, match="too long"):
            get(transport, server.url)


def test_a_document_of_a_known_length_that_drips_is_not_waited_for_when_it_is_given_up() -> None:
    """The connection is not to be used again at the price of the rest."""
    drops = (b"x" for _ in range(500))
    with Scripted(lambda _: Say(body=drops, length=500, pause=0.02)) as server:
        transport = Transport(plain_http=frozenset({server.host}), patience=Patience(document=0.2, stall=1))
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="too long"):
            get(transport, server.url)
        assert time.monotonic() - began < 5  # the whole of it takes ten seconds


def test_what_comes_at_a_bearable_rate_is_waited_for() -> None:
    """The time is for a silence at the end of a document as well as for a slow line."""
    pieces = [b"x" * 4000 for _ in range(20)]
    with Scripted(lambda _: Say(body=iter(pieces), length=80_000, pause=0.02)) as server:
        patience = Patience(document=0.2, stall=1, floor=4000)
        transport = Transport(plain_http=frozenset({server.host}), patience=patience)
        with transport.request(Request(method="GET", url=server.url)) as answer:
            assert answer.read(80_000, "document") == b"".join(pieces)


@pytest.mark.parametrize("length", [-1, None])
def test_a_document_over_its_limit_is_not_read(length: int | None) -> None:
    with Scripted(lambda _: Say(body=b"x" * 1001, length=length)) as server:
        transport = Transport(plain_http=frozenset({server.host}), patience=FAST)
        with (
            transport.request(Request(method="GET", url=server.url)) as answer,
            pytest.raises(FormatError, match="1000"),
        ):
            answer.read(1000, "the document")


def test_an_encoding_nobody_asked_for_is_refused() -> None:
    with Scripted(lambda _: Say(200, [("Content-Encoding", "gzip")], gzip.compress(b"x" * 100))) as server:
        transport = Transport(plain_http=frozenset({server.host}), patience=FAST)
        with pytest.raises(FormatError, match="gzip"):
            get(transport, server.url)
    assert server.seen[0].headers["accept-encoding"] == "identity"


def test_connections_are_used_again() -> None:
    statuses = [404, 200, 200, 500]
    with Scripted(lambda _: Say(statuses.pop(0), body=b"{}")) as server:
        transport = Transport(plain_http=frozenset({server.host}), patience=FAST)
        for accept in (404, 200, 200, 500):
            request = Request(method="GET", url=server.url, accept=frozenset({accept}))
            transport.request(request).close()
        assert server.connections == 1


def test_sending_may_take_longer_than_connecting_may() -> None:
    with Scripted(lambda s: Say(body=str(len(s.body)).encode()), read_pause=0.01) as server:
        patience = Patience(connect=0.3, stall=0.8, tries=1)
        transport = Transport(plain_http=frozenset({server.host}), patience=patience)
        body = Body.of(b"x" * (8 << 20))
        get(transport, server.url)  # a connection that is used again keeps no older time-out
        with transport.request(Request(method="PUT", url=server.url, body=body)) as answer:
            assert answer.read(100, "count") == b"8388608"


def test_a_receiver_that_stops_reading_is_given_up() -> None:
    with Silent(id) as server:
        transport = Transport(patience=Patience(connect=30, stall=0.2, tries=1))
        body = Body.of(b"x" * (32 << 20))
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="no progress"):
            transport.request(Request(method="PUT", url=f"http://127.0.0.1:{server.port}/", body=body))
        assert time.monotonic() - began < 10


# --- messages ------------------------------------------------------------------


def test_an_error_says_what_was_asked_and_what_was_answered() -> None:
    body = json.dumps({"errors": [{"code": "DENIED", "message": "no\x1b[2J\nentry " + "y" * 900, "detail": {}}]})
    with Scripted(lambda _: Say(403, body=body.encode())) as server:
        transport = Transport(plain_http=frozenset({server.host}), patience=FAST)
        with pytest.raises(AuthenticationError) as caught:
            get(transport, server.url + "/v2/x/manifests/y?token=secret")
    message = caught.value.message
    assert message.startswith(f"GET {server.url}/v2/x/manifests/y: 403 DENIED: no [2J entry yyy")
    assert "secret" not in message
    assert len(message) < 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"errors":[]}',
        b'{"errors":[1]}',
        b'{"errors":[{"code":1}]}',
        b"[" * 60_000,
        b"\xff",
    ],
)
def test_an_error_in_any_form_is_understood(body: bytes) -> None:
    with Scripted(lambda _: Say(404, body=body)) as server:
        transport = Transport(plain_http=frozenset({server.host}), patience=FAST)
        with pytest.raises(NotFoundError) as caught:
            get(transport, server.url + "/x")
    assert caught.value.message == f"GET {server.url}/x: 404"


def test_an_endless_error_is_not_read() -> None:
    sent = [0]

    def flood() -> Iterator[bytes]:
        while True:
            sent[0] += 65536
            yield b"x" * 65536

    with Scripted(lambda _: Say(404, body=flood(), length=None)) as server:
        transport = Transport(plain_http=frozenset({server.host}), patience=FAST)
        with pytest.raises(NotFoundError):
            get(transport, server.url)
    assert sent[0] < ERROR_BYTES + (16 << 20)  # what the kernel's buffers took


def test_urllib3_does_not_log_queries(caplog: pytest.LogCaptureFixture) -> None:
    with Scripted(ok) as server, caplog.at_level(logging.DEBUG):
        get(Transport(plain_http=frozenset({server.host}), patience=FAST), server.url + "/?sig=secret")
    assert "secret" not in caplog.text


# --- surroundings --------------------------------------------------------------


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scripted(ok) as proxy:
        monkeypatch.setenv("http_proxy", f"http://us%65r:p%40ss@{proxy.host}")
        transport = Transport(plain_http=frozenset({"registry.invalid"}), patience=FAST)
        assert get(transport, "http://registry.invalid/v2/") == b"fine"
    assert proxy.seen[0].path == "http://registry.invalid/v2/"
    assert proxy.seen[0].headers["proxy-authorization"] == "Basic dXNlcjpwQHNz"


def test_tls_goes_through_a_proxy_unread(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def tunnel(connection: socket.socket) -> None:
        asked.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 200 go on\r\n\r\n")
        onward = socket.create_connection(("127.0.0.1", server.port))

        def pump(source: socket.socket, target: socket.socket) -> None:
            with suppress(OSError):
                while block := source.recv(65536):
                    target.sendall(block)
                target.shutdown(socket.SHUT_WR)

        back = threading.Thread(target=pump, args=(onward, connection), daemon=True)
        back.start()
        pump(connection, onward)
        back.join(5)
        onward.close()

    with (
        Scripted(lambda s: Say(body=b"%d" % len(s.body)), tls=authority.server_context()) as server,
        Silent(tunnel) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:p%40ss@127.0.0.1:{proxy.port}")
        transport = Transport(ca_file=authority.ca_file, patience=FAST)
        body = Body.of(bytes(3 << 20))
        request = Request(method="PUT", url="https://registry.invalid/v2/?sig=secret", body=body)
        with transport.request(request) as answer:
            assert answer.read(100, "count") == b"3145728"
        transport.close()
    assert asked[0].startswith(b"CONNECT registry.invalid:443 HTTP/1.")
    assert b"proxy-authorization: basic dxnlcjpwqhnz" in asked[0].lower()
    assert "proxy-authorization" not in server.seen[0].headers


def test_no_proxy_and_loopback_go_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scripted(lambda _: Say(502)) as proxy, Scripted(ok) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        assert get(Transport(plain_http=frozenset({server.host}), patience=FAST), server.url) == b"fine"
        monkeypatch.setenv("no_proxy", "registry.invalid")
        with pytest.raises(UnavailableError, match="resolved"):
            get(Transport(patience=FAST), "http://registry.invalid/")
        assert proxy.seen == []


def test_a_proxy_of_another_kind_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://user:secret@127.0.0.1:1")
    with pytest.raises(ConfigurationError) as caught:
        get(Transport(patience=FAST), "https://registry.invalid/")
    assert "secret" not in caught.value.message


def test_netrc_is_not_read_and_cookies_are_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login u password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    with Scripted(lambda _: Say(200, [("Set-Cookie", "a=b")])) as server:
        transport = Transport(plain_http=frozenset({server.host}), patience=FAST)
        get(transport, server.url)
        get(transport, server.url)
    for seen in server.seen:
        assert "authorization" not in seen.headers
        assert "cookie" not in seen.headers
        assert seen.headers["user-agent"].startswith("ocimodel/")
