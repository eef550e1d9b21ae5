"""Blobs that lie elsewhere: the registry is asked where, once; the object store never sees credentials."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from ocimodel.errors import UnavailableError
from ocimodel.oci.reference import Reference
from ocimodel.stores.http.credentials import Credential, Given
from ocimodel.stores.registry import RegistryStore, open_registry
from ocimodel.transfer.download import fetch_all
from ocimodel.transfer.jobs import Job
from ocimodel.transfer.meter import Meter
from tests.hostile import Bearer, HostileRegistry, Reply, Switches
from tests.hostile import Request as Asked
from tests.models import weights
from tests.test_registry import FAST, blob, fetch, store


@pytest.fixture
def registry() -> Iterator[HostileRegistry]:
    with HostileRegistry() as one:
        yield one


def in_ranges(ours: RegistryStore, data: bytes, connections: int = 8, pieces: int = 32) -> None:
    """Fetch a blob as a pull does, and hold it against ``data``."""
    length = -(-len(data) // pieces)
    with ThreadPoolExecutor(connections) as pool:
        parts = pool.map(lambda at: fetch(ours, blob(data), at, at + length), range(0, len(data), length))
        for at, part in zip(range(0, len(data), length), parts, strict=True):
            assert part == (at, data[at : at + length])


def redirecting(registry: HostileRegistry, data: bytes) -> RegistryStore:
    registry.switches.redirect_blobs = True
    registry.repository("a/model").add_blob(data)
    return store(registry)


def test_the_registry_is_asked_once_where_a_blob_lies(registry: HostileRegistry) -> None:
    data = os.urandom(320_000)
    in_ranges(redirecting(registry, data), data)
    assert registry.count("GET", "blob") == 1
    assert registry.count("GET", "storage") == 32


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_an_address_that_expires_is_asked_for_once_each_time(registry: HostileRegistry, status: int) -> None:
    registry.switches.signed_uses = 16
    registry.switches.expired_status = status
    data = os.urandom(320_000)
    in_ranges(redirecting(registry, data), data)
    good = [request for request in registry.seen("GET", "storage") if request.status == 206]
    assert len(good) == 32
    assert registry.count("GET", "blob") == 2


def test_an_address_that_expires_by_the_clock(registry: HostileRegistry) -> None:
    registry.switches.signed_seconds = 0.2
    data = os.urandom(320_000)
    ours = redirecting(registry, data)
    in_ranges(ours, data)
    time.sleep(0.3)
    before = registry.count("GET", "blob")
    in_ranges(ours, data)
    assert registry.count("GET", "blob") > before


def test_an_address_that_works_once_is_no_address_for_long(registry: HostileRegistry) -> None:
    registry.switches.signed_uses = 1
    data = os.urandom(320_000)
    in_ranges(redirecting(registry, data), data)
    assert registry.count("GET", "blob") <= 32 + 8


def test_a_storage_that_fails_is_not_asked_again_by_itself(registry: HostileRegistry) -> None:
    data = os.urandom(1000)
    ours = redirecting(registry, data)
    assert fetch(ours, blob(data), 10) == (10, data[10:])
    registry.fail(Reply(503), route="storage", times=5)
    with pytest.raises(UnavailableError):
        fetch(ours, blob(data), 10)
    assert registry.count("GET", "blob") == 1
    assert fetch(ours, blob(data), 10) == (10, data[10:])
    assert registry.count("GET", "blob") == 2


def test_an_address_that_gives_another_range_is_not_used_again(registry: HostileRegistry) -> None:
    """Whoever signs an address for one range of a blob is asked for the others."""
    data = os.urandom(1000)
    ours = redirecting(registry, data)
    assert fetch(ours, blob(data), 10, 20) == (10, data[10:20])
    first = {"Content-Range": "bytes 10-19/1000"}
    registry.fail(Reply(206, first, data[10:20]), route="storage", times=1)
    with pytest.raises(UnavailableError, match="asked for bytes"):
        fetch(ours, blob(data), 20, 30)
    assert fetch(ours, blob(data), 20, 30) == (20, data[20:30])
    assert registry.count("GET", "blob") == 2


def test_ranges_that_the_registry_serves_itself_do_not_wait_for_each_other(registry: HostileRegistry) -> None:
    data = os.urandom(320_000)
    registry.repository("a/model").add_blob(data)
    ours = store(registry)
    assert fetch(ours, blob(data), 0, 10) == (0, data[:10])
    together = threading.Barrier(8)

    def wait(request: Asked) -> None:
        together.wait(5)

    registry.on_request = wait
    in_ranges(ours, data)
    assert registry.count("GET", "blob") == 33


def test_no_range_takes_credentials_along() -> None:
    with HostileRegistry(Switches(redirect_blobs=True, signed_uses=3), auth=Bearer()) as guarded:
        data = os.urandom(320_000)
        guarded.repository("a/model").add_blob(data)
        ours = open_registry(
            Reference.parse(f"{guarded.host}/a/model"),
            plain_http=frozenset({guarded.host}),
            credentials=Given(guarded.host, Credential(username="ada", password="correct horse")),
            patience=FAST,
        )
        in_ranges(ours, data)
        assert guarded.count(server="storage") > 32
        assert not [request for request in guarded.seen(server="storage") if "authorization" in request.headers]
        assert all("authorization" in request.headers for request in guarded.seen("GET", "blob")[1:])


def test_a_pull_over_eight_connections_asks_once_for_each_file(registry: HostileRegistry, tmp_path: Path) -> None:
    """The small one comes whole, and so with one request as well."""
    registry.switches.redirect_blobs = True
    contents = [weights(40 << 20, "large"), b"small"]
    jobs = []
    for number, data in enumerate(contents):
        registry.repository("a/model").add_blob(data)
        part, done = tmp_path / f"part{number}", tmp_path / f"done{number}"
        jobs.append(Job(descriptor=blob(data), name=str(number), part=part, finish=partial(os.replace, dst=done)))
    fetch_all(store(registry), jobs, Meter())
    assert registry.count("GET", "blob") == 2
    assert registry.count("GET", "storage") > 3
    assert [(tmp_path / f"done{number}").read_bytes() for number in range(2)] == contents
