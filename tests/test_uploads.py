"""Uploads that break off, and how they go on: in the same process, and in the next one."""

from __future__ import annotations

import io
import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, BinaryIO

import pytest

from ocimodel.errors import AuthenticationError, DigestMismatchError, UnavailableError
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.stores.http import quirks, uploads
from ocimodel.stores.http.credentials import Credential, Given
from ocimodel.stores.protocol import Source, read_blob
from ocimodel.stores.registry import RegistryStore, open_registry
from tests.hostile import Alter, Bearer, Drop, HostileRegistry, Reply, Response
from tests.hostile import Request as Asked
from tests.real.registries import PASSWORD, USERNAME
from tests.real.registry import RealRegistry
from tests.real.tokens import TokenIssuer
from tests.test_registry import FAST, blob, store

MIB = 1 << 20


@pytest.fixture
def registry() -> Iterator[HostileRegistry]:
    with HostileRegistry() as one:
        yield one


class Reading:
    """A source that counts what is read of it; one that cannot go back where ``seekable`` is false."""

    def __init__(self, data: bytes, *, seekable: bool = True, memo: Note | None = None) -> None:
        self.data = data
        self.read = 0
        self.source = Source(size=len(data), open=self._open, memo=memo)
        self._seekable = seekable

    def _open(self) -> AbstractContextManager[BinaryIO]:
        outer = self

        class File(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                block = super().read(size)
                outer.read += len(block)
                return block

            def seekable(self) -> bool:
                return outer._seekable

            def seek(self, *where: int) -> int:
                assert outer._seekable
                return super().seek(*where)

        return File(self.data)


class Note:
    """A memo in memory."""

    def __init__(self, text: bytes = b"") -> None:
        self.text = text

    def read(self) -> bytes:
        return self.text

    def write(self, note: bytes) -> None:
        self.text = note

    def clear(self) -> None:
        self.text = b""


class Killed(BaseException):
    """What nobody catches."""


def killed_after(count: int) -> Any:
    """Progress, until so many bytes have moved."""
    left = [count]

    def progress(more: int) -> None:
        left[0] -= more
        if left[0] <= 0:
            raise Killed

    return progress


def sent(registry: HostileRegistry) -> int:
    """Bytes of blobs that came."""
    return registry.received("upload") + registry.received("uploads")


# --- within a process ------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("cut", [0, 1, MIB + 5, 20 * MIB])
@pytest.mark.parametrize("seekable", [True, False])
def test_after_a_cut_only_the_rest_is_sent(
    registry: HostileRegistry, known: bool, cut: int, seekable: bool
) -> None:
    registry.fail(Drop(received=cut), route="upload", times=1)
    data = os.urandom(21 * MIB)
    reading, moved = Reading(data, seekable=seekable), list[int]()
    digest = store(registry).put_blob(reading.source, Digest.of(data) if known else None, moved.append)
    assert registry.blobs[str(digest)] == data
    assert sum(moved) == len(data)
    # One byte is as good as none: registries say 0-0 of both.
    assert sent(registry) == len(data) + (1 if cut == 1 else 0)
    assert registry.count("POST", "uploads") == (2 if cut <= 1 else 1)
    assert registry.count("GET", "upload") == 1
    if seekable:
        assert reading.read <= len(data) + 17 * MIB


def test_many_cuts_at_random_places(registry: HostileRegistry) -> None:
    """Each costs what was on its way, and patience begins anew when bytes have arrived."""
    dice = random.Random(7)
    data = os.urandom(100 * MIB)
    for _ in range(12):
        registry.fail(Drop(received=dice.randrange(2 * MIB, 9 * MIB)), route="upload", method="PATCH", times=1)
    reading = Reading(data)
    digest = store(registry).put_blob(reading.source)
    assert registry.blobs[str(digest)] == data
    assert sent(registry) == len(data)
    assert reading.read < len(data) + 13 * 17 * MIB


@pytest.mark.parametrize("known", [True, False])
def test_where_the_upload_is_lost_it_begins_anew(registry: HostileRegistry, known: bool) -> None:
    registry.switches.keep_broken_sessions = False
    registry.fail(Drop(received=3 * MIB), route="upload", times=1)
    data = os.urandom(5 * MIB)
    digest = store(registry).put_blob(Source.of(data), Digest.of(data) if known else None)
    assert registry.blobs[str(digest)] == data
    assert sent(registry) == 8 * MIB


def test_a_registry_that_always_loses_it_is_given_up(registry: HostileRegistry) -> None:
    registry.switches.keep_broken_sessions = False
    registry.fail(Drop(received=3 * MIB), route="upload", method="PATCH")
    with pytest.raises(UnavailableError):
        store(registry).put_blob(Source.of(os.urandom(5 * MIB)))
    assert registry.count("POST", "uploads") <= 5


def test_a_registry_that_takes_a_byte_at_a_time_is_given_up(registry: HostileRegistry) -> None:
    registry.fail(Drop(received=2), route="upload", method="PATCH")
    with pytest.raises(UnavailableError):
        store(registry).put_blob(Source.of(os.urandom(5 * MIB)))
    assert registry.count("PATCH", "upload") <= 5


def says(text: str) -> Alter:
    return Alter(lambda response: Response(response.status, {**response.headers, "Range": text}, response.body))


@pytest.mark.parametrize("claim", ["0-99999999", "0-3145728", "5-9", "bytes", "0--1", ""])
def test_a_registry_that_claims_what_it_cannot_have_is_not_believed(registry: HostileRegistry, claim: str) -> None:
    registry.fail(Drop(received=MIB), route="upload", method="PATCH", times=1)
    registry.fail(says(claim), route="upload", method="GET")
    data = os.urandom(30 * MIB)
    limit = Reading(data)
    digest = store(registry).put_blob(limit.source)
    assert registry.blobs[str(digest)] == data
    # What was handed to the connection may have arrived, so a claim within that is tried, and refused: the rest
    # at once, then 8 MiB of it, then 4.
    assert sent(registry) <= 2 * len(data) + 13 * MIB


@pytest.mark.parametrize(
    "where", ["http://169.254.169.254/latest", "http://registry.example.org/x", "http://[", "file:///x"]
)
def test_an_upload_that_would_go_on_elsewhere_begins_anew(registry: HostileRegistry, where: str) -> None:
    registry.fail(Drop(received=2 * MIB), route="upload", times=1)
    elsewhere = Alter(lambda r: Response(r.status, {**r.headers, "Location": where}, r.body))
    registry.fail(elsewhere, route="upload", method="GET")
    data = os.urandom(5 * MIB)
    digest = store(registry).put_blob(Source.of(data))
    assert registry.blobs[str(digest)] == data
    assert sent(registry) == 7 * MIB


def test_bytes_that_differ_the_second_time_are_noticed(registry: HostileRegistry) -> None:
    """A file that is written to while its upload is taken up: nothing of it is kept."""
    registry.fail(Drop(received=2 * MIB), route="upload", method="PUT", times=1)
    data = bytearray(os.urandom(5 * MIB))
    opened: list[int] = []

    class Changing(io.BytesIO):
        def seek(self, *where: int) -> int:
            opened.append(1)
            if len(opened) == 2:
                self.getbuffer()[3 * MIB] ^= 1
            return super().seek(*where)

    promised = Digest.of(bytes(data))
    with pytest.raises(DigestMismatchError):
        store(registry).put_blob(Source(size=len(data), open=lambda: Changing(bytes(data))), promised)
    assert not registry.repository("a/model").blobs


def test_once_a_connection_broke_large_blobs_go_in_pieces(registry: HostileRegistry) -> None:
    size = quirks.PIECE + 20 * MIB
    data = [os.urandom(size), os.urandom(size)]
    ours = store(registry)
    registry.fail(Drop(received=quirks.PIECE + 10 * MIB), route="upload", method="PATCH", times=1)
    for one in data:
        digest = ours.put_blob(Source.of(one))
        assert registry.blobs[str(digest)] == one
    ranges = [request.headers.get("content-range") for request in registry.seen("PATCH")]
    assert ranges == [
        None,
        f"{quirks.PIECE + 10 * MIB}-{size - 1}",
        f"0-{quirks.PIECE - 1}",
        f"{quirks.PIECE}-{size - 1}",
    ]
    assert sent(registry) == 2 * size


def test_a_network_that_is_gone_for_a_while_costs_nothing_that_arrived(registry: HostileRegistry) -> None:
    """While nobody answers, the upload is not taken for lost."""
    data = os.urandom(9 * MIB)
    registry.fail(Drop(received=6 * MIB), route="upload", method="PATCH", times=1)
    registry.fail(Drop(), route="upload", method="GET", times=7)  # more than one request is tried
    digest = store(registry).put_blob(Source.of(data))
    assert registry.blobs[str(digest)] == data
    assert sent(registry) == len(data)


# --- tokens that expire ------------------------------------------------------------------------


def guarded(registry: HostileRegistry) -> RegistryStore:
    return open_registry(
        Reference.parse(f"{registry.host}/a/model"),
        plain_http=frozenset({registry.host}),
        credentials=Given(registry.host, Credential(username="ada", password="correct horse")),
        patience=FAST,
    )


def refuse(registry: HostileRegistry, times: int) -> list[Asked]:
    """Refuse the token after the last byte of a large body, as some registries do; the bytes have been stored."""
    seen: list[Asked] = []

    def on_response(request: Asked, response: Response) -> Response | None:
        if request.received <= 16 * MIB or len(seen) >= times or response.status >= 400:
            return None
        seen.append(request)
        challenge = f'Bearer realm="{registry.url}/token",service="hostile",error="invalid_token"'
        return Response(401, {"WWW-Authenticate": challenge})

    registry.on_response = on_response
    return seen


@pytest.mark.parametrize("known", [True, False])
def test_a_token_that_is_refused_after_the_last_byte_costs_no_byte(known: bool) -> None:
    data = os.urandom(20 * MIB)
    with HostileRegistry(auth=Bearer()) as registry:
        seen = refuse(registry, 1)
        digest = guarded(registry).put_blob(Source.of(data), Digest.of(data) if known else None)
        assert registry.blobs[str(digest)] == data
        assert len(seen) == 1
        assert sent(registry) == len(data)
        assert [request.status for request in registry.seen("POST", "uploads")].count(202) == 1
        scopes = [request.parameter("scope") for request in registry.seen("GET", "token")]
        assert scopes.count("repository:a/model:pull,push") == 2


@pytest.mark.parametrize("known", [True, False])
def test_a_token_that_is_refused_before_the_first_byte(known: bool) -> None:
    """A registry that looks at once: nothing was stored, and nothing is read of what we send meanwhile."""
    data = os.urandom(20 * MIB)
    with HostileRegistry(auth=Bearer()) as registry:
        ours = guarded(registry)
        spoiled: list[Asked] = []

        def expire(request: Asked) -> None:
            if request.method in ("PUT", "PATCH") and not spoiled:
                spoiled.append(request)
                registry.expire_tokens()

        registry.on_request = expire
        moved: list[int] = []
        digest = ours.put_blob(Source.of(data), Digest.of(data) if known else None, moved.append)
        assert spoiled
        assert registry.blobs[str(digest)] == data
        assert sum(moved) == len(data)


def test_tokens_that_never_outlive_a_large_body_are_spared_one() -> None:
    """Refused again and again after the last byte, and then the upload is gone: it goes in pieces."""
    data = os.urandom(20 * MIB)
    with HostileRegistry(auth=Bearer()) as registry:
        refuse(registry, 100)
        registry.fail(Reply(404), route="upload", method="GET")
        digest = guarded(registry).put_blob(Source.of(data))
        assert registry.blobs[str(digest)] == data
        large = [request for request in registry.seen("PATCH") if request.received > 16 * MIB]
        assert len(large) == 2


def test_a_large_body_is_not_sent_with_a_token_that_is_never_good() -> None:
    data = os.urandom(20 * MIB)
    with HostileRegistry(auth=Bearer()) as registry:
        ours = guarded(registry)
        ours.put_blob(Source.of(b"small"))
        assert isinstance(registry.auth, Bearer)
        registry.auth.lifetime = -1  # from now on every token is refused at once
        registry.expire_tokens()
        with pytest.raises(AuthenticationError):
            ours.put_blob(Source.of(data))
        assert sent(registry) < len(data)


@pytest.mark.peer
def test_a_real_registry_whose_tokens_live_shorter_than_an_upload(
    token_registry: RealRegistry, token_issuer: TokenIssuer
) -> None:
    """They say a minute and live two seconds: refused at the commit, and where an upload is taken up again."""
    token_issuer.lifetime = 2
    token_issuer.announce_expiry = False
    data = os.urandom(24 * MIB)
    ours = open_registry(
        Reference.parse(token_registry.fresh()),
        plain_http=frozenset({token_registry.host, token_issuer.realm.split("/")[2]}),
        credentials=Given(token_registry.host, Credential(username=USERNAME, password=PASSWORD)),
        patience=FAST,
    )

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            time.sleep(0.018)  # 192 blocks
            return super().read(size)

    for known in (True, False):
        data = os.urandom(24 * MIB)
        moved: list[int] = []
        source = Source(size=len(data), open=partial(Slow, data))
        digest = ours.put_blob(source, Digest.of(data) if known else None, moved.append)
        assert digest == Digest.of(data)
        assert sum(moved) == len(data)
        assert read_blob(ours, blob(data), limit=len(data)) == data
    assert len(token_issuer.requests) >= 4


# --- in the next process -------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False])
def test_what_a_killed_process_sent_is_not_sent_again(registry: HostileRegistry, known: bool) -> None:
    data, memo = os.urandom(40 * MIB), Note()
    digest = Digest.of(data) if known else None
    with pytest.raises(Killed):
        store(registry).put_blob(Reading(data, memo=memo).source, digest, killed_after(30 * MIB))
    _settled(registry)
    before = sent(registry)
    moved: list[int] = []
    again = store(registry).put_blob(Reading(data, memo=memo).source, digest, moved.append)
    assert registry.blobs[str(again)] == data
    assert sent(registry) == len(data)
    assert before > 20 * MIB
    assert sum(moved) == len(data)
    assert memo.text == b""


def _settled(registry: HostileRegistry) -> None:
    """The registry notices by and by that nobody sends any more."""
    before = -1
    while before != sent(registry):
        before = sent(registry)
        time.sleep(0.1)


def test_a_registry_that_has_forgotten_gets_all_of_it(registry: HostileRegistry) -> None:
    registry.switches.keep_broken_sessions = False
    data, memo = os.urandom(20 * MIB), Note()
    with pytest.raises(Killed):
        store(registry).put_blob(Reading(data, memo=memo).source, None, killed_after(10 * MIB))
    _settled(registry)
    registry.sessions.clear()
    registry.forget()
    digest = store(registry).put_blob(Reading(data, memo=memo).source)
    assert registry.blobs[str(digest)] == data
    assert sent(registry) == len(data)


def test_a_file_that_changed_meanwhile_is_not_mixed_with_what_was_sent(registry: HostileRegistry) -> None:
    """The note was for these bytes, said whoever kept it; the registry's own check finds out."""
    data, memo = os.urandom(20 * MIB), Note()
    with pytest.raises(Killed):
        store(registry).put_blob(Reading(data, memo=memo).source, None, killed_after(10 * MIB))
    _settled(registry)
    other = os.urandom(20 * MIB)
    digest = store(registry).put_blob(Reading(other, memo=memo).source)
    assert digest == Digest.of(other)
    assert registry.blobs == {str(digest): other}


def note_of(registry: HostileRegistry, **changed: object) -> bytes:
    """A good note about an upload of 20 MiB of which half has arrived, with something changed."""
    ours = store(registry)
    memo = Note()
    with pytest.raises(Killed):
        ours.put_blob(Reading(bytes(20 * MIB), memo=memo).source, None, killed_after(10 * MIB))
    _settled(registry)
    registry.forget()
    note = json.loads(memo.text)
    if "location" in changed:
        changed["location"] = str(changed["location"]).format(location=note["location"])
    return json.dumps({**note, **changed}).encode()


@pytest.mark.parametrize(
    "changed",
    [
        {"to": "http://elsewhere.example/a/model"},
        {"size": 20 * MIB + 1},
        {"time": 0.0},
        {"time": 9e12},
        {"acknowledged": -1},
        {"acknowledged": 21 * MIB},
        {"location": "http://169.254.169.254/latest"},
        {"location": "http://registry.example.org/x"},
        {"location": "file:///etc/passwd"},
        {"location": "/v2/a/model/blobs/uploads/x"},
        {"location": None},
        {"least": "many"},
    ],
    ids=str,
)
def test_a_note_about_something_else_is_not_followed(registry: HostileRegistry, changed: dict[str, Any]) -> None:
    memo = Note(note_of(registry, **changed))
    digest = store(registry).put_blob(Reading(bytes(20 * MIB), memo=memo).source)
    assert str(digest) in registry.blobs
    assert registry.count("GET", "upload") == 0
    assert sent(registry) == 20 * MIB


@pytest.mark.parametrize("text", [b"", b"x", b"[]", b"7", b"{}", b"\xff", b"[" * 100_000, b"{" + b" " * 70_000])
def test_a_note_that_is_none(registry: HostileRegistry, text: bytes) -> None:
    digest = store(registry).put_blob(Reading(bytes(2 * MIB), memo=Note(text)).source)
    assert str(digest) in registry.blobs


def test_a_note_goes_to_nobody_else_and_into_no_message(registry: HostileRegistry) -> None:
    """The address of an upload is a secret: whoever has it may write to it."""
    memo = Note(note_of(registry))
    secret = json.loads(memo.text)["location"].partition("_sig=")[2]
    assert secret
    registry.fail(Reply(400), route="upload", method="GET")
    registry.fail(Reply(403), route="upload")
    with pytest.raises(AuthenticationError) as caught:
        store(registry).put_blob(Reading(bytes(20 * MIB), memo=memo).source)
    assert "_s" not in f"{caught.value.message}{caught.value.hint}"


def test_when_the_network_stays_away_the_note_is_kept(registry: HostileRegistry) -> None:
    data, memo = os.urandom(20 * MIB), Note()
    registry.fail(Drop(received=6 * MIB), route="upload", method="PATCH", times=1)
    registry.fail(Drop(), route="upload")
    with pytest.raises(UnavailableError) as caught:
        store(registry).put_blob(Reading(data, memo=memo).source)
    assert caught.value.exit_code == 75
    registry.rules.clear()
    digest = store(registry).put_blob(Reading(data, memo=memo).source)
    assert registry.blobs[str(digest)] == data
    assert sent(registry) == len(data)
    assert memo.text == b""


# --- a real one ------------------------------------------------------------------------------------


@pytest.mark.peer
@pytest.mark.parametrize("cut", [quirks.PIECE, quirks.PIECE + 10 * MIB], ids=["between pieces", "within one"])
def test_pieces_that_a_real_registry_has_taken_are_not_sent_again(distribution: RealRegistry, cut: int) -> None:
    """distribution 2.8 keeps an upload between pieces, and forgets it where the connection ends within one."""
    data, memo = os.urandom(quirks.PIECE + 20 * MIB), Note()

    class Ending(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= cut:
                raise Killed
            return super().read(size)

    def put(opened: type[io.BytesIO], progress: Any) -> Digest:
        ours = open_registry(
            Reference.parse(f"{distribution.host}/{name}"),
            plain_http=frozenset({distribution.host}),
            patience=FAST,
        )
        source = Source(size=len(data), open=lambda: opened(data), memo=memo)
        digest = uploads.put_blob(ours._repository, source, None, progress, line=uploads.Line(broke=True))
        assert read_blob(ours, blob(data), limit=len(data)) == data
        return digest

    name = distribution.fresh().partition("/")[2]
    with pytest.raises(Killed):
        put(Ending, lambda _count: None)
    assert json.loads(memo.text)["acknowledged"] == quirks.PIECE
    moved: list[int] = []
    assert put(io.BytesIO, moved.append) == Digest.of(data)
    assert sum(moved) == len(data)
    carried_on = max(moved) == quirks.PIECE
    assert carried_on == (cut == quirks.PIECE)
    assert memo.text == b""
