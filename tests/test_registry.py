"""A registry as a store: what goes over the wire, and what a registry that misbehaves may do to us."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from ocimodel.errors import (
    AuthenticationError,
    DigestMismatchError,
    FormatError,
    IntegrityError,
    NotFoundError,
    OcimodelError,
    StorageError,
    UnavailableError,
)
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import index_bytes, manifest_bytes
from ocimodel.oci.reference import Reference
from ocimodel.stores.facts import fallback_tag
from ocimodel.stores.http.credentials import DockerConfig
from ocimodel.stores.http.policy import Patience
from ocimodel.stores.http.transport import Transport
from ocimodel.stores.protocol import Source, read_blob
from ocimodel.stores.registry import RegistryStore, open_registry, split_host
from tests.hostile import (
    Alter,
    Document,
    Drop,
    HostileRegistry,
    Reply,
    Response,
    Stall,
    Switches,
    digest_of,
    index_of,
)
from tests.hostile import Request as Asked
from tests.hostile.handler import BrokenConnection
from tests.real.registry import RealRegistry
from tests.scripted import Authority, Say, Scripted, Seen

MIB = 1 << 20
ROOT = Path(__file__).resolve().parent.parent
FAST = Patience(connect=2.0, stall=5.0, first_delay=0.0, settle=0.001)
EMPTY = Descriptor(media_type=media.OCI_EMPTY, digest=Digest.of(b"{}"), size=2)
KIND = "application/vnd.example.note"


def store(registry: HostileRegistry, name: str = "a/model", patience: Patience = FAST) -> RegistryStore:
    return open_registry(
        Reference.parse(f"{registry.host}/{name}"),
        plain_http=frozenset({registry.host}),
        credentials=DockerConfig(None),
        patience=patience,
    )


@pytest.fixture
def registry() -> Iterator[HostileRegistry]:
    with HostileRegistry() as one:
        yield one


def blob(data: bytes, media_type: str = "application/octet-stream") -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))


def requests(registry: HostileRegistry) -> list[tuple[str, str]]:
    return [(request.method, request.route) for request in registry.seen()]


class Reads:
    """A source that counts how often it was opened."""

    def __init__(self, data: bytes, size: int | None = None) -> None:
        self.data = data
        self.opened = 0
        self.source = Source(size=len(data) if size is None else size, open=self._open)

    def _open(self) -> AbstractContextManager[BinaryIO]:
        self.opened += 1
        return io.BytesIO(self.data)


def note(subject: Descriptor, text: str = "note", **annotations: str) -> bytes:
    return manifest_bytes(
        config=EMPTY,
        layers=[EMPTY],
        artifact_type=KIND,
        subject=subject,
        annotations={"text": text, **annotations},
    )


def model(ours: RegistryStore, tag: str | None = None) -> Descriptor:
    ours.put_blob(Source.of(b"{}"), EMPTY.digest)
    return ours.put_manifest(manifest_bytes(config=EMPTY, layers=[EMPTY]), media.OCI_MANIFEST, tag=tag)


# --- uploads -------------------------------------------------------------------


def test_a_known_digest_goes_in_one_put_and_is_looked_at_afterwards(registry: HostileRegistry) -> None:
    data = os.urandom(3 * MIB)
    reads, moved = Reads(data), list[int]()
    ours = store(registry)
    assert ours.put_blob(reads.source, Digest.of(data), moved.append) == Digest.of(data)
    assert requests(registry) == [("HEAD", "blob"), ("POST", "uploads"), ("PUT", "upload"), ("HEAD", "blob")]
    assert registry.seen("PUT")[0].headers["content-length"] == str(len(data))
    assert "transfer-encoding" not in registry.seen("PUT")[0].headers
    assert (reads.opened, sum(moved)) == (1, len(data))
    registry.forget()
    moved.clear()
    assert ours.put_blob(reads.source, Digest.of(data), moved.append) == Digest.of(data)
    assert requests(registry) == [("HEAD", "blob")]
    assert (reads.opened, moved) == (1, [])


def test_an_unknown_digest_takes_one_pass(registry: HostileRegistry) -> None:
    data = os.urandom(3 * MIB)
    reads, moved = Reads(data), list[int]()
    assert store(registry).put_blob(reads.source, None, moved.append) == Digest.of(data)
    assert requests(registry) == [("POST", "uploads"), ("PATCH", "upload"), ("PUT", "upload"), ("HEAD", "blob")]
    assert "content-range" not in registry.seen("PATCH")[0].headers
    assert (reads.opened, sum(moved)) == (1, len(data))


def test_a_small_blob_is_hashed_first_and_not_sent_twice(registry: HostileRegistry) -> None:
    ours = store(registry)
    for _ in range(2):
        ours.put_blob(Source.of(b"small"))
    assert registry.received() == len(b"small")


@pytest.mark.parametrize("location", ["relative", "absolute"])
@pytest.mark.parametrize("bare", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_locations_are_resolved_and_their_queries_left_alone(
    registry: HostileRegistry, location: Any, bare: bool, known: bool
) -> None:
    registry.switches.location = location
    registry.switches.bare_location = bare  # the other one is refused when it was decoded and encoded again
    data = os.urandom(2 * MIB)
    store(registry).put_blob(Source.of(data), Digest.of(data) if known else None)
    assert registry.blobs[str(Digest.of(data))] == data


REFUSALS = {
    "no streams": Switches(streams=False),
    "small patches": Switches(max_patch=4 * MIB),
    "small puts": Switches(max_put=MIB),
    "small puts, larger pieces": Switches(max_put=MIB, min_chunk=10 * MIB),
    "small puts, small patches": Switches(max_put=MIB, max_patch=4 * MIB),
    "no chunks": Switches(chunks=False),
    "patch says 201": Switches(max_put=MIB, patch_status=201),
    "stale range": Switches(max_put=MIB, stale_range=True),
}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", REFUSALS)
def test_what_a_registry_does_not_take_goes_another_way(name: str, known: bool) -> None:
    data = os.urandom(21 * MIB + 17)
    moved: list[int] = []
    with HostileRegistry(REFUSALS[name]) as registry:
        store(registry).put_blob(Source.of(data), Digest.of(data) if known else None, moved.append)
        assert registry.blobs[str(Digest.of(data))] == data
        assert sum(moved) == len(data)
        sizes = [r.received for r in registry.seen("PATCH") if "content-range" in r.headers and r.status < 300]
        if name == "small puts, larger pieces" and known:
            assert sizes == [10 * MIB, 10 * MIB, MIB + 17]
        if name == "small puts, small patches" and known:
            assert max(sizes) == 4 * MIB


def test_a_registry_that_takes_nothing() -> None:
    data = os.urandom(9 * MIB)
    moved: list[int] = []
    with HostileRegistry(Switches(max_put=MIB, streams=False, chunks=False)) as registry:
        with pytest.raises(UnavailableError):
            store(registry).put_blob(Source.of(data), None, moved.append)
        assert sum(moved) == 0
        assert not registry.sessions  # what was opened was cancelled
        assert registry.count("POST", "uploads") <= 5


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("keep", [True, False])
def test_a_connection_that_breaks_costs_a_try(registry: HostileRegistry, known: bool, keep: bool) -> None:
    registry.switches.keep_broken_sessions = keep
    registry.fail(Drop(received=2 * MIB), route="upload", times=1)
    data = os.urandom(5 * MIB)
    reads, moved = Reads(data), list[int]()
    store(registry).put_blob(reads.source, Digest.of(data) if known else None, moved.append)
    assert registry.blobs[str(Digest.of(data))] == data
    assert reads.opened == 1
    assert registry.received("upload") == len(data) + (0 if keep else 2 * MIB)
    assert sum(moved) == len(data)
    # What it lost is taken back; where it has kept all that had left, there is nothing to take back.
    assert keep or min(moved) < 0


@pytest.mark.parametrize("keep", [True, False])
def test_chunks_go_on_where_the_registry_stopped(registry: HostileRegistry, keep: bool) -> None:
    registry.switches.keep_broken_sessions = keep
    registry.switches.max_put = MIB
    registry.fail(Drop(received=3 * MIB), route="upload", method="PATCH", skip=1, times=1)
    data = os.urandom(20 * MIB)
    reads, moved = Reads(data), list[int]()
    store(registry).put_blob(reads.source, Digest.of(data), moved.append)
    assert registry.blobs[str(Digest.of(data))] == data
    assert reads.opened == 1
    assert sum(moved) == len(data)
    if keep:
        ranges = [r.headers["content-range"] for r in registry.seen("PATCH")]
        assert ranges[2] == f"{11 * MIB}-{19 * MIB - 1}"


def test_a_first_chunk_of_which_nothing_arrived_is_sent_again(registry: HostileRegistry) -> None:
    """Range 0-0 is what registries say of no byte as well as of one."""
    registry.switches.max_put = MIB
    registry.fail(Drop(received=0), route="upload", method="PATCH", times=1)
    data = os.urandom(9 * MIB)
    reads = Reads(data)
    store(registry).put_blob(reads.source, Digest.of(data))
    assert registry.blobs[str(Digest.of(data))] == data
    assert reads.opened == 1
    assert [r.headers["content-range"] for r in registry.seen("PATCH")][:2] == [f"0-{8 * MIB - 1}"] * 2


def test_a_commit_whose_answer_is_lost_is_a_commit(registry: HostileRegistry) -> None:

    def lose(request: Asked, _response: Response) -> None:
        if request.method == "PUT":
            raise BrokenConnection

    registry.on_response = lose
    data = os.urandom(2 * MIB)
    moved: list[int] = []
    assert store(registry).put_blob(Source.of(data), Digest.of(data), moved.append) == Digest.of(data)
    assert registry.count("PUT", "upload") == 1
    assert sum(moved) == len(data)


def test_a_busy_registry_is_waited_for(registry: HostileRegistry) -> None:
    slept: list[float] = []
    patience = Patience(sleep=slept.append, first_delay=0.0)
    registry.fail(Reply(429, {"Retry-After": "7"}), route="upload", method="PUT", times=1)
    registry.fail(Reply(503, {"Retry-After": "2"}), route="uploads", times=1)
    store(registry, patience=patience).put_blob(Source.of(os.urandom(2 * MIB)))
    assert slept == [2.0, 7.0]


def test_five_tries_then_75(registry: HostileRegistry) -> None:
    registry.fail(Reply(500), route="upload")
    with pytest.raises(UnavailableError) as caught:
        store(registry).put_blob(Source.of(os.urandom(2 * MIB)))
    assert caught.value.exit_code == 75
    assert registry.count("POST", "uploads") == 5


@pytest.mark.parametrize("status", [401, 403])
def test_no_right_to_push_is_77_and_not_tried_again(registry: HostileRegistry, status: int) -> None:
    registry.fail(Reply(status), route="uploads")
    with pytest.raises(AuthenticationError):
        store(registry).put_blob(Source.of(b"x"))
    assert registry.count("POST") == 1


def test_other_bytes_than_promised_are_never_stored(registry: HostileRegistry) -> None:
    promised = Digest.of(b"other")
    for size in (10, 2 * MIB):
        with pytest.raises(DigestMismatchError):
            store(registry).put_blob(Source.of(os.urandom(size)), promised)
    assert not registry.repository("a/model").blobs
    assert all(request.status != 201 for request in registry.seen())
    assert registry.count("PUT") <= 2
    assert not registry.sessions  # what was opened was cancelled


@pytest.mark.parametrize("change", [-1, 1, -MIB])
@pytest.mark.parametrize("known", [True, False])
def test_a_file_that_changes_its_size_is_refused(registry: HostileRegistry, change: int, known: bool) -> None:
    data = os.urandom(3 * MIB)
    reads = Reads(data, len(data) + change)
    moved: list[int] = []
    with pytest.raises(DigestMismatchError, match="changed"):
        store(registry).put_blob(reads.source, Digest.of(data) if known else None, moved.append)
    assert not registry.repository("a/model").blobs


def test_a_disk_that_fails_is_a_storage_error(registry: HostileRegistry) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= MIB:
                raise OSError(5, "Input/output error")
            return super().read(size)

    source = Source(size=3 * MIB, open=lambda: Failing(bytes(3 * MIB)))
    with pytest.raises(StorageError, match="Input/output"):
        store(registry).put_blob(source)
    with pytest.raises(StorageError):
        store(registry).put_blob(Source(size=3, open=lambda: Path("/nonexistent").open("rb")))  # noqa: SIM115


def test_a_blob_that_arrived_shorter_is_noticed(registry: HostileRegistry) -> None:
    """A registry was seen to keep only the last chunk, and to be content."""
    data = os.urandom(2 * MIB)
    registry.fail(Alter(lambda r: Response(200, {**r.headers, "Content-Length": "7"})), method="HEAD", skip=1)
    with pytest.raises(DigestMismatchError, match=str(2 * MIB)):
        store(registry).put_blob(Source.of(data), Digest.of(data))


def test_another_digest_in_the_answer_is_noticed(registry: HostileRegistry) -> None:
    registry.switches.digest_header = "wrong"
    with pytest.raises(DigestMismatchError):
        store(registry).put_blob(Source.of(b"x"))


def test_a_blob_that_shows_late_is_waited_for(registry: HostileRegistry) -> None:
    registry.fail(Reply(404), method="HEAD", times=3)
    store(registry).put_blob(Source.of(b"x"))
    assert registry.count("PUT") == 1


@pytest.mark.parametrize("location", ["", "http://[", "ftp://a.example/x"])
def test_a_location_that_is_none(registry: HostileRegistry, location: str) -> None:
    registry.fail(Reply(202, {"Location": location}), route="uploads")
    with pytest.raises(UnavailableError, match="Location"):
        store(registry).put_blob(Source.of(b"x"))


def test_an_upload_is_not_sent_from_https_to_http(tmp_path_factory: pytest.TempPathFactory) -> None:
    authority = Authority.create(tmp_path_factory.mktemp("authority"))
    with Scripted(lambda _: Say(201)) as plain:

        def script(seen: Seen) -> Say:
            return Say(404) if seen.method == "HEAD" else Say(202, [("Location", f"{plain.url}/up")])

        with Scripted(script, tls=authority.server_context()) as server:
            ours = open_registry(Reference.parse(f"{server.host}/a"), ca_file=authority.ca_file, patience=FAST)
            with pytest.raises(UnavailableError, match="https to http"):
                ours.put_blob(Source.of(b"x"))
        assert plain.connections == 0


def test_uploads_at_the_same_time(registry: HostileRegistry) -> None:
    ours = store(registry)
    blobs = [os.urandom(2 * MIB + number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(lambda data: ours.put_blob(Source.of(data)), blobs))
    assert [registry.blobs[str(digest)] for digest in digests] == blobs


# --- mount ---------------------------------------------------------------------


def test_a_mount_sends_no_bytes(registry: HostileRegistry) -> None:
    registry.repository("from/here").add_blob(b"weights")
    ours = store(registry)
    assert ours.mount_blob(blob(b"weights"), "from/here")
    assert ours.has_blob(blob(b"weights"))
    assert registry.received() == 0


@pytest.mark.parametrize("mount", ["no", "error"])
def test_a_mount_that_is_not_possible_is_no_error(registry: HostileRegistry, mount: Any) -> None:
    registry.switches.mount = mount
    registry.repository("from/here").add_blob(b"weights")
    ours = store(registry)
    assert not ours.mount_blob(blob(b"weights"), "from/here")
    ours.put_blob(Source.of(b"weights"), Digest.of(b"weights"))
    assert registry.repository("a/model").blobs
    opened = registry.seen("POST", "uploads")
    assert [request.status for request in opened if request.status == 202] == [202]  # used, not left behind


# --- downloads -----------------------------------------------------------------


def fetch(
    ours: RegistryStore, descriptor: Descriptor, start: int = 0, stop: int | None = None
) -> tuple[int, bytes]:
    buffer = memoryview(bytearray(70_000))
    with ours.open_blob(descriptor, start, stop) as stream:
        parts = []
        while count := stream.readinto(buffer):
            parts.append(bytes(buffer[:count]))
        return stream.start, b"".join(parts)


def test_ranges_are_closed_and_exact(registry: HostileRegistry) -> None:
    data = os.urandom(300_000)
    registry.repository("a/model").add_blob(data)
    ours = store(registry)
    for start, stop in ((0, None), (0, 1), (5, None), (100_000, 200_000), (299_999, 300_000), (7, 10**9)):
        expected = data[start:stop]
        assert fetch(ours, blob(data), start, stop) == (start, expected)
    assert fetch(ours, blob(data), 300_000) == (300_000, b"")
    assert fetch(ours, blob(data), 9, 9) == (9, b"")
    asked = [request.headers.get("range") for request in registry.seen("GET", "blob")]
    assert asked[0] is None
    assert all(re.fullmatch(r"bytes=\d+-\d+", wanted or "") for wanted in asked[1:])
    assert asked[-1] == "bytes=7-299999"
    assert {request.headers["accept-encoding"] for request in registry.seen("GET")} == {"identity"}


def test_an_empty_blob(registry: HostileRegistry) -> None:
    registry.repository("a/model").add_blob(b"")
    assert fetch(store(registry), blob(b"")) == (0, b"")


@pytest.mark.parametrize(
    ("ranges", "outcome"),
    [
        ("closed", (1000, slice(1000, 50_000))),
        ("ignored", (0, slice(0, 50_000))),
        ("wrong-start", UnavailableError),
        ("wrong-total", DigestMismatchError),
        ("short", UnavailableError),
    ],
)
def test_registries_that_do_ranges_their_own_way(registry: HostileRegistry, ranges: Any, outcome: Any) -> None:
    registry.switches.ranges = ranges
    data = os.urandom(100_000)
    registry.repository("a/model").add_blob(data)
    if isinstance(outcome, type):
        with pytest.raises(outcome):
            fetch(store(registry), blob(data), 1000, 50_000)
    else:
        start, part = outcome
        assert fetch(store(registry), blob(data), 1000, 50_000) == (start, data[part])


def test_a_registry_that_refuses_ranges_gives_the_whole(registry: HostileRegistry) -> None:
    data = os.urandom(100_000)
    registry.repository("a/model").add_blob(data)
    registry.on_request = lambda r: Reply(416) if "range" in r.headers else None
    assert fetch(store(registry), blob(data), 1000) == (0, data)


@pytest.mark.parametrize(
    "header",
    ["", "bytes 0-9", "bytes 10-19/*x", "bytes 10-5/100", "bytes */100", "lines 10-19/100", "bytes 10-99/100"],
)
def test_a_content_range_that_says_something_else(registry: HostileRegistry, header: str) -> None:
    data = os.urandom(100)
    registry.repository("a/model").add_blob(data)
    registry.fail(Reply(206, {"Content-Range": header}, data[10:20]), route="blob")
    with pytest.raises(UnavailableError):
        fetch(store(registry), blob(data), 10, 20)


def test_a_blob_of_another_size_is_refused_at_once(registry: HostileRegistry) -> None:
    data = os.urandom(1000)
    digest = registry.repository("a/model").add_blob(data)
    registry.repository("a/model").overwrite(digest, data + b"x")
    with pytest.raises(DigestMismatchError):
        fetch(store(registry), blob(data))
    registry.repository("a/model").truncate(digest, 999)
    with pytest.raises(DigestMismatchError):
        fetch(store(registry), blob(data))


def test_a_body_that_ends_early_is_75_and_what_came_can_be_used(registry: HostileRegistry) -> None:
    data = os.urandom(300_000)
    registry.repository("a/model").add_blob(data)
    registry.fail(Drop(sent=140_000), route="blob", times=1)
    ours = store(registry)
    came = bytearray()
    buffer = memoryview(bytearray(70_000))
    with pytest.raises(UnavailableError), ours.open_blob(blob(data)) as stream:  # noqa: PT012
        while count := stream.readinto(buffer):
            came += buffer[:count]
    assert len(came) <= 140_000
    assert came == data[: len(came)]
    assert fetch(ours, blob(data), len(came))[1] == data[len(came) :]


def test_a_stalled_blob_is_75(registry: HostileRegistry) -> None:
    data = os.urandom(300_000)
    registry.repository("a/model").add_blob(data)
    registry.fail(Stall(30, sent=1000), route="blob")
    with pytest.raises(UnavailableError, match="stalled"):
        fetch(store(registry, patience=Patience(stall=0.2)), blob(data))


def test_a_small_blob_that_drips_is_given_up_and_a_range_is_not() -> None:
    """A document has to come in bounded time; a file is carried on from where it was, however slow the line is."""
    data = bytes(range(100))

    def drip(seen: Seen) -> Say:
        begin = int(seen.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        headers = [("Content-Range", f"bytes {begin}-99/100")] if begin else []
        pieces = (bytes([byte]) for byte in data[begin:])
        return Say(206 if begin else 200, headers, pieces, length=100 - begin, pause=0.01)

    with Scripted(drip) as server:
        ours = open_registry(
            Reference.parse(f"{server.host}/a"),
            plain_http=frozenset({server.host}),
            patience=Patience(stall=5.0, document=0.2, first_delay=0.0),
        )
        with pytest.raises(UnavailableError, match="too long"):
            read_blob(ours, blob(data), limit=1000)
        assert fetch(ours, blob(data), 50) == (50, data[50:])


def test_a_compressed_blob_is_refused(registry: HostileRegistry) -> None:
    registry.switches.gzip = True
    registry.repository("a/model").add_blob(bytes(1000))
    with pytest.raises(FormatError, match="gzip"):
        fetch(store(registry), blob(bytes(1000)))


def test_a_signed_address_that_expired_is_asked_for_again_once(registry: HostileRegistry) -> None:
    data = os.urandom(1000)
    registry.repository("a/model").add_blob(data)
    registry.switches.redirect_blobs = True
    registry.fail(Reply(403), route="storage", times=1)
    assert fetch(store(registry), blob(data), 10) == (10, data[10:])
    assert registry.count("GET", "blob") == 2
    registry.fail(Reply(403), route="storage")
    registry.forget()
    with pytest.raises(AuthenticationError) as caught:
        fetch(store(registry), blob(data))
    assert registry.count("GET", "blob") == 2
    assert "signature" not in caught.value.message


def test_a_blob_that_is_not_there(registry: HostileRegistry) -> None:
    with pytest.raises(NotFoundError, match="BLOB_UNKNOWN"):
        fetch(store(registry), blob(b"x"))
    assert not store(registry).has_blob(blob(b"x"))


# --- manifests -----------------------------------------------------------------


def test_a_tag_must_agree_with_the_digest_that_came_along(registry: HostileRegistry) -> None:
    ours = store(registry)
    model(ours, "v1")
    registry.switches.digest_header = "wrong"
    with pytest.raises(DigestMismatchError):
        ours.get_manifest("v1")
    with pytest.raises(DigestMismatchError):
        model(ours, "v2")


def test_every_flipped_byte_of_a_manifest_is_noticed(registry: HostileRegistry) -> None:
    ours = store(registry)
    descriptor = model(ours, "v1")
    clean = registry.snapshot()
    for position in range(descriptor.size):
        registry.restore(clean)
        registry.only.flip(str(descriptor.digest), position)
        for target in ("v1", descriptor.digest):
            with pytest.raises(IntegrityError):
                ours.get_manifest(target)


def test_a_registry_that_names_no_digest(registry: HostileRegistry) -> None:
    ours = store(registry)
    descriptor = model(ours, "v1")
    registry.switches.digest_header = "missing"
    registry.forget()
    assert ours.resolve("v1") == descriptor
    assert requests(registry) == [("HEAD", "manifest"), ("GET", "manifest")]
    assert ours.get_manifest("v1")[0] == descriptor


def test_a_tag_is_resolved_by_head(registry: HostileRegistry) -> None:
    ours = store(registry)
    descriptor = model(ours, "v1")
    registry.forget()
    assert ours.resolve("v1") == descriptor
    assert requests(registry) == [("HEAD", "manifest")]


def test_a_head_that_names_another_digest_than_was_asked_for(registry: HostileRegistry) -> None:
    ours = store(registry)
    descriptor = model(ours)
    registry.switches.digest_header = "wrong"
    with pytest.raises(DigestMismatchError):
        ours.resolve(descriptor.digest)


@pytest.mark.parametrize("status", [400, 401, 403, 405])
def test_a_refused_head_is_asked_again_for_the_reason(registry: HostileRegistry, status: int) -> None:
    ours = store(registry)
    descriptor = model(ours, "v1")
    registry.fail(Reply(status), method="HEAD")
    assert ours.resolve("v1") == descriptor


def test_parameters_of_a_content_type_are_dropped(registry: HostileRegistry) -> None:
    ours = store(registry)
    descriptor = model(ours, "v1")
    kind = f"{media.OCI_MANIFEST}; charset=utf-8"
    registry.fail(
        Alter(lambda r: Response(r.status, {**r.headers, "Content-Type": kind}, r.body)), route="manifest"
    )
    assert ours.get_manifest("v1")[0] == descriptor
    assert ours.resolve("v1") == descriptor


def test_without_a_content_type_the_document_says_what_it_is(registry: HostileRegistry) -> None:
    ours = store(registry)
    descriptor = model(ours, "v1")

    def bare(response: Response) -> Response:
        headers = {name: value for name, value in response.headers.items() if name != "Content-Type"}
        return Response(response.status, headers, response.body)

    registry.fail(Alter(bare), route="manifest")
    assert ours.resolve("v1") == descriptor


def test_a_manifest_over_four_mebibytes_is_not_read(registry: HostileRegistry) -> None:
    raw = b'{"schemaVersion":2,"x":"' + b"x" * 4 * MIB + b'"}'
    digest = registry.repository("a/model").add_manifest(raw, media.OCI_MANIFEST, "v1")
    for target in ("v1", digest):
        with pytest.raises(FormatError):
            store(registry).get_manifest(target)


def test_a_manifest_under_a_sha512_digest(registry: HostileRegistry) -> None:
    raw = manifest_bytes(config=EMPTY, layers=[])
    digest = Digest("sha512", hashlib.sha512(raw).hexdigest())
    headers = {"Content-Type": media.OCI_MANIFEST, "Docker-Content-Digest": str(digest)}
    registry.fail(Reply(200, headers, raw), route="manifest", method="GET")
    assert store(registry).get_manifest(digest)[0].digest == digest
    assert store(registry).get_manifest("v1")[0].digest == Digest.of(raw)
    with pytest.raises(DigestMismatchError):
        store(registry).get_manifest(Digest("sha512", "0" * 128))


def test_the_registrys_reason_is_told(registry: HostileRegistry) -> None:
    ours = store(registry)
    with pytest.raises(UnavailableError, match=r"PUT .*manifests/v1: 400 MANIFEST_BLOB_UNKNOWN"):
        ours.put_manifest(manifest_bytes(config=EMPTY, layers=[]), media.OCI_MANIFEST, tag="v1")


# --- referrers -----------------------------------------------------------------


@pytest.mark.parametrize("way", ["api", "404", "400", "303", "405", "html"])
@pytest.mark.parametrize("announced", [None, True, False])
def test_referrers_are_found_whatever_the_registry_can(way: Any, announced: bool | None) -> None:
    with HostileRegistry(Switches(referrers=way, oci_subject=announced)) as registry:
        ours = store(registry)
        subject = model(ours)
        notes = [ours.put_manifest(note(subject, str(n)), media.OCI_MANIFEST) for n in range(3)]
        listed = store(registry).referrers(subject.digest)
        assert {entry.digest for entry in listed.entries} == {one.digest for one in notes}
        assert listed.complete
        for entry in listed.entries:
            assert entry.artifact_type == KIND
            assert entry.annotations["text"] in "012"
        assert (fallback_tag(subject.digest) in registry.tags) == (way != "api")
        assert ours.tags() == []
        assert registry.seen(server="storage") == []  # a page for people is not gone to
        registry.forget()
        for n in range(3):
            ours.put_manifest(note(subject, str(n)), media.OCI_MANIFEST)
        assert not [r for r in registry.seen("PUT", "manifest") if r.target.startswith("sha256-")]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthenticationError),
        (403, AuthenticationError),
        (429, UnavailableError),
        (500, UnavailableError),
        (501, UnavailableError),
        (503, UnavailableError),
    ],
)
@pytest.mark.parametrize("route", ["referrers", "manifest"])
def test_trouble_is_never_taken_for_no_referrers(
    registry: HostileRegistry, status: int, kind: type[OcimodelError], route: str
) -> None:
    registry.switches.referrers = "404" if route == "manifest" else "api"
    registry.fail(Reply(status), route=route, method="GET")
    with pytest.raises(kind):
        store(registry).referrers(Digest.of(b"x"))


def test_a_dropped_connection_is_never_taken_for_no_referrers(registry: HostileRegistry) -> None:
    registry.fail(Drop(), route="referrers")
    with pytest.raises(UnavailableError):
        store(registry).referrers(Digest.of(b"x"))


def test_both_places_are_read(registry: HostileRegistry) -> None:
    ours = store(registry)
    subject = model(ours)
    registry.switches.referrers = "404"
    old = ours.put_manifest(note(subject, "old"), media.OCI_MANIFEST)
    registry.switches.referrers = "api"  # the registry learnt it, and knows only what comes from now on
    registry.only.referrers.clear()
    new = store(registry).put_manifest(note(subject, "new"), media.OCI_MANIFEST)
    registry.only.add_manifest(
        index_bytes([old, Descriptor(media_type=media.OCI_MANIFEST, digest=new.digest, size=new.size)]),
        media.OCI_INDEX,
        fallback_tag(subject.digest),
    )
    listed = store(registry).referrers(subject.digest)
    assert [entry.digest for entry in listed.entries].count(new.digest) == 1
    assert {entry.digest for entry in listed.entries} == {old.digest, new.digest}
    kinds = {entry.digest: entry.artifact_type for entry in listed.entries}
    assert kinds[new.digest] == KIND  # what the API says of it, not what anybody could write into the tag


@pytest.mark.parametrize("links", ["relative", "absolute"])
def test_all_pages_are_read(registry: HostileRegistry, links: Any) -> None:
    registry.switches.page_size = 7
    registry.switches.links = links
    subject = str(model(store(registry)).digest)
    entries = registry.only.garbage(subject, 30)
    listed = store(registry).referrers(Digest.parse(subject))
    assert [str(entry.digest) for entry in listed.entries] == [entry["digest"] for entry in entries]
    assert registry.count("GET", "referrers") == 5


@pytest.mark.parametrize("links", ["loop", "cross-host"])
@pytest.mark.parametrize("what", ["referrers", "tags"])
def test_links_that_lead_astray(registry: HostileRegistry, links: Any, what: str) -> None:
    ours = store(registry)
    subject = str(model(ours).digest)
    registry.only.garbage(subject, 10, real=False)
    registry.only.tags.update({f"v{n}": subject for n in range(10)})
    registry.switches.page_size = 3
    registry.switches.links = links
    ask = ours.tags if what == "tags" else lambda: ours.referrers(Digest.parse(subject))
    with pytest.raises(UnavailableError):
        ask()
    assert registry.seen(server="storage") == []
    assert len(registry.seen(route=what)) < 6


def test_ten_thousand_garbage_referrers_are_listed(registry: HostileRegistry) -> None:
    ours = store(registry)
    subject = model(ours)
    registry.only.garbage(str(subject.digest), 5000, real=False)
    good = ours.put_manifest(note(subject), media.OCI_MANIFEST)
    registry.only.garbage(str(subject.digest), 5000, real=False, start=5000)
    listed = ours.referrers(subject.digest)
    assert len(listed.entries) == 10_001
    assert listed.complete
    assert any(entry.digest == good.digest for entry in listed.entries)
    cut = ours.referrers(subject.digest, limit=128)
    assert (len(cut.entries), cut.complete) == (128, False)


def test_ten_thousand_garbage_referrers_in_the_fallback_tag(registry: HostileRegistry) -> None:
    registry.switches.referrers = "404"
    registry.switches.manifest_limit = 8 * MIB
    ours = store(registry)
    subject = model(ours)
    registry.only.garbage(str(subject.digest), 10_000)
    registry.only.write_fallback(str(subject.digest))
    good = ours.put_manifest(note(subject), media.OCI_MANIFEST)
    listed = ours.referrers(subject.digest)
    assert len(listed.entries) == 10_001
    assert any(entry.digest == good.digest for entry in listed.entries)
    assert not ours.referrers(subject.digest, limit=10_000).complete


def test_a_list_over_the_cap_is_cut_not_read(registry: HostileRegistry) -> None:
    ours = store(registry)
    subject = model(ours)
    fat = [
        {**entry, "annotations": {"x": "y" * 60_000}}
        for entry in registry.only.garbage(str(subject.digest), 300, real=False)
    ]
    registry.only.referrers[str(subject.digest)] = {entry["digest"]: entry for entry in fat}
    assert not ours.referrers(subject.digest).complete
    registry.switches.page_size = 100
    listed = ours.referrers(subject.digest)
    assert len(listed.entries) == 200
    assert not listed.complete


BAD_ENTRIES: list[Any] = [
    None,
    7,
    "x",
    [],
    {},
    {"mediaType": media.OCI_MANIFEST, "digest": "sha256:xx", "size": 1},
    {"mediaType": media.OCI_MANIFEST, "digest": 5, "size": 1},
    {"mediaType": media.OCI_MANIFEST, "digest": str(Digest.of(b"a")), "size": -1},
    {"mediaType": "no media type", "digest": str(Digest.of(b"a")), "size": 1},
    {"mediaType": media.OCI_MANIFEST, "digest": str(Digest.of(b"a")), "size": 1, "annotations": {"a": 1}},
]


@pytest.mark.parametrize("way", ["api", "404"])
def test_one_bad_entry_spoils_nothing(registry: HostileRegistry, way: Any) -> None:
    registry.switches.referrers = way
    ours = store(registry)
    subject = model(ours)
    good = ours.put_manifest(note(subject), media.OCI_MANIFEST)
    entry = registry.only.referrers[str(subject.digest)][str(good.digest)]
    raw = json.dumps(
        {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [*BAD_ENTRIES, entry]}
    ).encode()
    if way == "api":
        registry.fail(Reply(200, {"Content-Type": media.OCI_INDEX}, raw), route="referrers")
    else:
        registry.only.add_manifest(raw, media.OCI_INDEX, fallback_tag(subject.digest))
    assert [found.digest for found in ours.referrers(subject.digest).entries] == [good.digest]
    again = ours.put_manifest(note(subject, "again"), media.OCI_MANIFEST)
    if way == "404":
        assert {found.digest for found in ours.referrers(subject.digest).entries} == {good.digest, again.digest}


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"manifests":{}}', b"\xff", b'{"manifests":null}'])
def test_a_list_that_is_none_is_refused_from_the_api(registry: HostileRegistry, raw: bytes) -> None:
    registry.fail(Reply(200, {"Content-Type": media.OCI_INDEX}, raw), route="referrers")
    with pytest.raises(FormatError):
        store(registry).referrers(Digest.of(b"x"))


def test_anything_may_stand_in_a_fallback_tag(registry: HostileRegistry) -> None:
    registry.switches.referrers = "404"
    ours = store(registry)
    subject = model(ours)
    tag = fallback_tag(subject.digest)
    for raw, kind in (
        (b"not JSON", media.OCI_INDEX),
        (b'{"manifests": 7}', media.OCI_INDEX),
        (manifest_bytes(config=EMPTY, layers=[]), media.OCI_MANIFEST),
    ):
        registry.only.manifests[digest_of(raw)] = Document(raw, kind)
        registry.only.tags[tag] = digest_of(raw)
        assert ours.referrers(subject.digest).entries == ()
        with pytest.raises(FormatError):
            ours.put_manifest(note(subject), media.OCI_MANIFEST)
        assert registry.only.tags[tag] == digest_of(raw)  # it may be of use to somebody


def test_gitlab_resolves_the_fallback_tag_to_the_subject(registry: HostileRegistry) -> None:
    registry.switches.referrers = "404"
    registry.switches.fallback_is_subject = True
    ours = store(registry)
    subject = model(ours)
    assert ours.referrers(subject.digest).entries == ()
    ours.put_manifest(note(subject), media.OCI_MANIFEST)
    assert len(ours.referrers(subject.digest).entries) == 1


def test_gitlab_and_a_subject_that_is_an_index(registry: HostileRegistry) -> None:
    registry.switches.referrers = "404"
    registry.switches.fallback_is_subject = True
    ours = store(registry)
    child = model(ours)
    subject = ours.put_manifest(index_bytes([child]), media.OCI_INDEX)
    assert ours.referrers(subject.digest).entries == ()
    added = ours.put_manifest(note(subject), media.OCI_MANIFEST)
    assert [entry.digest for entry in ours.referrers(subject.digest).entries] == [added.digest]


def test_an_api_that_does_not_list_what_was_stored_is_not_relied_on(registry: HostileRegistry) -> None:
    registry.switches.oci_subject = False
    registry.switches.strip_referrers = True
    ours = store(registry)
    subject = model(ours)
    added = ours.put_manifest(note(subject), media.OCI_MANIFEST)
    assert [entry.digest for entry in ours.referrers(subject.digest).entries] == [added.digest]


def test_what_others_wrote_into_the_fallback_tag_stays(registry: HostileRegistry) -> None:
    registry.switches.referrers = "404"
    ours = store(registry)
    subject = model(ours)
    foreign = registry.only.garbage(str(subject.digest), 1)[0] | {"x-unknown": [1.5, None], "data": "e30="}
    document = {
        "schemaVersion": 2,
        "mediaType": media.OCI_INDEX,
        "manifests": [foreign],
        "annotations": {"a": "ü\u2028"},
        "x-more": True,
    }
    registry.only.add_manifest(json.dumps(document).encode(), media.OCI_INDEX, fallback_tag(subject.digest))
    added = ours.put_manifest(note(subject), media.OCI_MANIFEST)
    after = json.loads(registry.only.manifests[registry.only.tags[fallback_tag(subject.digest)]].raw)
    assert after["manifests"][0] == foreign
    assert after["manifests"][1]["digest"] == str(added.digest)
    assert {name: value for name, value in after.items() if name != "manifests"} == {
        name: value for name, value in document.items() if name != "manifests"
    }


@contextmanager
def overwritten(registry: HostileRegistry, subject: Descriptor, times: int) -> Iterator[list[dict[str, Any]]]:
    """Somebody who read the fallback tag before we wrote writes it after us, ``times`` times."""
    theirs = registry.only.garbage(str(subject.digest), times)
    left = list(theirs)

    def write(request: Asked, _response: Response) -> None:
        if request.method == "PUT" and request.target == fallback_tag(subject.digest) and left:
            registry.only.add_manifest(index_of([left.pop()]), media.OCI_INDEX, request.target)

    registry.on_response = write
    yield theirs
    registry.on_response = None


def test_an_update_that_was_lost_is_made_again(registry: HostileRegistry) -> None:
    registry.switches.referrers = "404"
    ours = store(registry)
    subject = model(ours)
    first = ours.put_manifest(note(subject, "first"), media.OCI_MANIFEST)
    with overwritten(registry, subject, 3) as theirs:
        second = ours.put_manifest(note(subject, "second"), media.OCI_MANIFEST)
    found = {str(entry.digest) for entry in ours.referrers(subject.digest).entries}
    assert found == {str(first.digest), str(second.digest), *(entry["digest"] for entry in theirs)}


def test_one_who_never_lets_us_write_ends_it(registry: HostileRegistry) -> None:
    registry.switches.referrers = "404"
    ours = store(registry)
    subject = model(ours)
    with overwritten(registry, subject, 1000), pytest.raises(UnavailableError, match="overwriting"):
        ours.put_manifest(note(subject), media.OCI_MANIFEST)
    assert registry.count("PUT", "manifest") < 30


def test_an_overwrite_that_comes_late_is_noticed(registry: HostileRegistry) -> None:
    """The first look after the write still finds the entry; the one after the pause does not."""
    registry.switches.referrers = "404"
    ours = store(registry)
    subject = model(ours)
    tag = fallback_tag(subject.digest)
    theirs = registry.only.garbage(str(subject.digest), 1)
    reads: list[int] = []

    def late(request: Asked, _response: Response) -> None:
        if request.method == "GET" and request.target == tag:
            reads.append(request.status)
            if len(reads) == 2:
                registry.only.add_manifest(index_of(theirs), media.OCI_INDEX, tag)

    registry.on_response = late
    added = ours.put_manifest(note(subject), media.OCI_MANIFEST)
    registry.on_response = None
    found = {str(entry.digest) for entry in ours.referrers(subject.digest).entries}
    assert found == {str(added.digest), theirs[0]["digest"]}


def test_if_match_is_used_where_an_etag_is_known(registry: HostileRegistry) -> None:
    registry.switches.referrers = "404"
    ours = store(registry)
    subject = model(ours)
    ours.put_manifest(note(subject, "first"), media.OCI_MANIFEST)
    tag = fallback_tag(subject.digest)

    def etag(response: Response) -> Response:
        return Response(response.status, {**response.headers, "ETag": '"e1"'}, response.body)

    registry.fail(Alter(etag), route="manifest", method="GET", target=tag)
    refused = registry.fail(Reply(412), route="manifest", method="PUT", target=tag, times=2)
    registry.forget()
    second = ours.put_manifest(note(subject, "second"), media.OCI_MANIFEST)
    puts = [request for request in registry.seen("PUT", "manifest") if request.target == tag]
    assert [request.headers.get("if-match") for request in puts] == ['"e1"'] * 3
    assert refused.times == 0
    assert second.digest in {entry.digest for entry in ours.referrers(subject.digest).entries}


def test_a_registry_that_never_finds_an_etag_equal(registry: HostileRegistry) -> None:
    registry.switches.referrers = "404"
    ours = store(registry)
    subject = model(ours)
    ours.put_manifest(note(subject, "first"), media.OCI_MANIFEST)
    tag = fallback_tag(subject.digest)

    def etag(response: Response) -> Response:
        return Response(response.status, {**response.headers, "ETag": '"e1"'}, response.body)

    registry.fail(Alter(etag), route="manifest", method="GET", target=tag)
    registry.on_request = lambda r: Reply(412) if "if-match" in r.headers else None
    second = ours.put_manifest(note(subject, "second"), media.OCI_MANIFEST)
    assert second.digest in {entry.digest for entry in ours.referrers(subject.digest).entries}


@pytest.mark.parametrize("same", [True, False])
def test_threads_lose_no_entry(registry: HostileRegistry, same: bool) -> None:
    registry.switches.referrers = "404"
    ours = store(registry)
    subject = model(ours)

    def add(number: int) -> Digest:
        one = ours if same else store(registry)
        return one.put_manifest(note(subject, str(number)), media.OCI_MANIFEST).digest

    with ThreadPoolExecutor(8) as pool:
        added = set(pool.map(add, range(16)))
    assert {entry.digest for entry in ours.referrers(subject.digest).entries} == added
    writes = [r for r in registry.seen("PUT", "manifest") if r.target == fallback_tag(subject.digest)]
    # Within a process nobody overwrites anybody, and who waits for the same store's turn shares it.
    assert len(writes) < 16 if same else len(writes) == 16


# --- tags ----------------------------------------------------------------------


def test_tags_of_all_pages_without_bookkeeping(registry: HostileRegistry) -> None:
    ours = store(registry)
    subject = model(ours)
    hexadecimal = subject.digest.hex
    for tag in ("v1", "v2", "latest", f"sha256-{hexadecimal}", f"sha256-{hexadecimal}.sig", "sha256-abc"):
        registry.only.tags[tag] = str(subject.digest)
    registry.switches.page_size = 2
    assert ours.tags() == ["latest", "sha256-abc", "v1", "v2"]


def test_tags_may_be_null(registry: HostileRegistry) -> None:
    ours = store(registry)
    model(ours)
    registry.switches.null_tags = True
    assert ours.tags() == []


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b'{"tags": 7}', b'{"tags": [7]}', b'{"tags": ["' + b"x" * 200 + b'"]}']
)
def test_a_list_of_tags_that_is_none(registry: HostileRegistry, raw: bytes) -> None:
    registry.fail(Reply(200, {}, raw), route="tags")
    with pytest.raises(FormatError):
        store(registry).tags()


def test_more_tags_than_can_be_read(registry: HostileRegistry) -> None:
    raw = b'{"tags": ["' + b'","'.join(b"%060d" % n for n in range(40_000)) + b'"]}'
    link = iter(range(1_000_000))
    registry.on_request = lambda r: (
        Reply(200, {"Link": f'<?page={next(link)}>; rel="next"'}, raw) if r.route == "tags" else None
    )
    with pytest.raises(FormatError, match="more tags"):
        store(registry).tags()
    assert registry.count("GET", "tags") < 10


def test_no_repository_is_not_no_tags(registry: HostileRegistry) -> None:
    with pytest.raises(NotFoundError, match="NAME_UNKNOWN"):
        store(registry).tags()


# --- names ---------------------------------------------------------------------


@pytest.mark.parametrize("host", ["docker.io", "index.docker.io", "registry-1.docker.io"])
def test_docker_hub_has_another_host_and_a_hidden_namespace(host: str) -> None:
    transport = Transport(credentials=DockerConfig(None))
    plain = RegistryStore(host, "ubuntu", transport)
    assert plain.name == f"{host}/ubuntu"
    repository = plain._repository
    assert repository.manifest("v1") == "https://registry-1.docker.io/v2/library/ubuntu/manifests/v1"
    team = RegistryStore(host, "team/model", transport)._repository
    assert team.url("tags", "list") == "https://registry-1.docker.io/v2/team/model/tags/list"


@pytest.mark.parametrize(
    ("registry", "expected"),
    [
        ("R.example", ("r.example", None)),
        ("r.example:5000", ("r.example", 5000)),
        ("[::1]:5000", ("::1", 5000)),
        ("[::1]", ("::1", None)),
    ],
)
def test_hosts_and_ports(registry: str, expected: tuple[str, int | None]) -> None:
    assert split_host(registry) == expected


def test_a_repr_names_the_repository_and_nothing_else(registry: HostileRegistry) -> None:
    assert repr(store(registry)) == f"RegistryStore('{registry.host}/a/model')"


def test_stores_that_share_a_transport_share_its_connections(registry: HostileRegistry) -> None:
    transport = Transport(plain_http=frozenset({registry.host}), credentials=DockerConfig(None), patience=FAST)
    one, two = (open_registry(Reference.parse(f"{registry.host}/{n}"), transport=transport) for n in ("a", "b"))
    one.put_blob(Source.of(b"x"))
    one.close()
    assert transport.connections._managers  # still of use to the other
    two.put_blob(Source.of(b"x"))
    transport.close()
    assert not transport.connections._managers


def test_nothing_heavy_is_imported() -> None:
    heavy = {"requests", "oras", "docker", "jsonschema", "boto3", "cryptography"}
    code = "import sys, ocimodel.stores.registry; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert heavy.isdisjoint(done.stdout.split())


# --- real ones -----------------------------------------------------------------


def test_a_large_blob_on_a_real_registry(distribution: RealRegistry) -> None:
    """Every way there is, since registries disagree where the specification is silent."""
    data = os.urandom(19 * MIB + 3)
    plain = frozenset({distribution.host})

    for known in (True, False):
        ours = open_registry(Reference.parse(distribution.fresh()), plain_http=plain, patience=FAST)
        moved: list[int] = []
        ours.put_blob(Source.of(data), Digest.of(data) if known else None, moved.append)
        assert sum(moved) == len(data)
        assert read_blob(ours, blob(data), limit=len(data)) == data
