"""Each row of the table of registries, and what is found out without one: nothing is refused that could be known,
and what is stored is right, also after a cut.

The registry answers under the names of others: it stands where a proxy would.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.stores.http import quirks
from ocimodel.stores.http.credentials import DockerConfig
from ocimodel.stores.protocol import Source
from ocimodel.stores.registry import RegistryStore, open_registry
from tests.hostile import Drop, HostileRegistry, Switches
from tests.hostile import Request as Asked
from tests.test_registry import FAST

MIB, GIB = 1 << 20, 1 << 30
ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"


@dataclass(frozen=True)
class Registry:
    """A registry as others have met it. ``sent`` is what a cut after 3 MiB of 25 makes of the bytes sent."""

    host: str
    switches: Switches
    sent: int = 25
    patches: bool = True
    largest: int = 25 * MIB
    named: bool = True
    """Whether there is a row for it."""


REGISTRIES = {
    "GitHub": Registry("ghcr.io", Switches(max_patch=4 * MIB), 28, patches=False),
    "Google": Registry("europe-west4-docker.pkg.dev", Switches(chunks=False, streams=False), 28, patches=False),
    "Google's older one": Registry("eu.gcr.io", Switches(chunks=False, streams=False), 28, patches=False),
    "Amazon": Registry(ECR, Switches(max_chunk=10 * MIB, stale_range=True, patch_status=201), 28, largest=10 * MIB),
    "Amazon, public": Registry(
        "public.ecr.aws", Switches(max_chunk=10 * MIB, stale_range=True, patch_status=201), 28, largest=10 * MIB
    ),
    "Artifactory": Registry("acme.jfrog.io", Switches(last_chunk_only=True), 28),
    "Quay": Registry("quay.io", Switches()),
    "Docker Hub": Registry("registry-1.docker.io", Switches(), named=False),
    "distribution 3": Registry("registry.example", Switches(), named=False),
    "distribution 2.8": Registry("harbor.example", Switches(keep_broken_sessions=False), 28, named=False),
    "zot": Registry("zot.example", Switches(keep_broken_sessions=False), 28, named=False),
    "one with a least length": Registry("least.example", Switches(min_chunk=5 * MIB), named=False),
}


@contextmanager
def standing_for(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[HostileRegistry, RegistryStore]]:
    with HostileRegistry(registry.switches) as hostile:
        monkeypatch.setenv("http_proxy", hostile.url)
        yield (
            hostile,
            open_registry(
                Reference.parse(f"{registry.host}/a/model"),
                plain_http=frozenset({registry.host}),
                credentials=DockerConfig(None),
                patience=FAST,
            ),
        )


def refused(hostile: HostileRegistry) -> list[Asked]:
    return [request for request in hostile.seen() if request.status >= 400 and request.method != "HEAD"]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", REGISTRIES)
def test_nothing_is_sent_that_is_refused(name: str, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    data = os.urandom(25 * MIB)
    with standing_for(REGISTRIES[name], monkeypatch) as (hostile, ours):
        digest = ours.put_blob(Source.of(data), Digest.of(data) if known else None)
        assert hostile.blobs[str(digest)] == data
        assert refused(hostile) == []
        assert hostile.received("upload") == len(data)
        if not REGISTRIES[name].patches:
            assert hostile.count("PATCH") == 0


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", REGISTRIES)
def test_after_a_cut_it_goes_on_or_begins_anew(name: str, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, data = REGISTRIES[name], os.urandom(25 * MIB)
    with standing_for(registry, monkeypatch) as (hostile, ours):
        hostile.fail(Drop(received=3 * MIB), route="upload", times=1)
        digest = ours.put_blob(Source.of(data), Digest.of(data) if known else None)
        assert hostile.blobs[str(digest)] == data
        assert hostile.received("upload") == registry.sent * MIB
        assert [
            request for request in refused(hostile) if request.route != "upload" or request.method != "GET"
        ] == []
        pieces = [request.received for request in hostile.seen("PATCH") if "content-range" in request.headers]
        assert all(length <= registry.largest for length in pieces)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", REGISTRIES)
def test_after_three_cuts_in_what_it_takes(name: str, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, data = REGISTRIES[name], os.urandom(25 * MIB)
    with standing_for(registry, monkeypatch) as (hostile, ours):
        left = [Drop(received=MIB // 2)] * 3
        hostile.on_request = lambda asked: left.pop() if left and asked.method in ("PUT", "PATCH") else None
        digest = ours.put_blob(Source.of(data), Digest.of(data) if known else None)
        assert hostile.blobs[str(digest)] == data
        assert [request for request in refused(hostile) if request.method != "GET"] == []
        pieces = [request.received for request in hostile.seen("PATCH") if "content-range" in request.headers]
        assert all(length <= min(8 * MIB, registry.largest) for length in pieces[1:])


@pytest.mark.parametrize("name", [name for name, registry in REGISTRIES.items() if registry.named])
def test_every_row_is_for_a_host_that_is_tested(name: str) -> None:
    assert quirks.of(REGISTRIES[name].host) is not quirks.DEFAULT


def test_every_row_is_tested() -> None:
    tested = {id(quirks.of(registry.host)) for registry in REGISTRIES.values()}
    assert {id(row) for row in quirks.TABLE} <= tested


@pytest.mark.parametrize(
    "host", ["docker.io", "gcr.io.example", "ghcr.io.example", "notghcr.io", "jfrog.io", "xquay.io", f"x{ECR}"]
)
def test_rows_are_for_their_hosts_alone(host: str) -> None:
    assert quirks.of(host) is quirks.DEFAULT


@pytest.mark.parametrize(
    ("host", "size", "wanted", "piece"),
    [
        ("registry.example", GIB, quirks.PIECE, quirks.PIECE),
        ("registry.example", GIB, 8 * MIB, 8 * MIB),
        ("ghcr.io", GIB, quirks.PIECE, 4 * MIB),
        ("eu.gcr.io", GIB, quirks.PIECE, 0),
        ("acme.jfrog.io", GIB, quirks.PIECE, 0),
        (ECR, GIB, quirks.PIECE, 10 * MIB),
        (ECR, GIB, 4 * MIB, 5 * MIB),
        (ECR, 30 * GIB, 4 * MIB, -(-30 * GIB // 4200)),
        (ECR, 50 * GIB, quirks.PIECE, 0),  # 4,200 pieces of 10 MiB are 41 GiB
        ("public.ecr.aws", 10 * GIB, quirks.PIECE, 0),
    ],
)
def test_how_long_pieces_are(host: str, size: int, wanted: int, piece: int) -> None:
    assert quirks.of(host).piece(size, wanted) == piece


def test_what_the_registry_demands_of_an_upload_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first piece is too large for a proxy, and the next smaller one too small for the registry."""
    data = os.urandom(25 * MIB)
    registry = Registry("least.example", Switches(max_put=MIB, min_chunk=10 * MIB))
    with standing_for(registry, monkeypatch) as (hostile, ours):
        digest = ours.put_blob(Source.of(data), Digest.of(data))
        assert hostile.blobs[str(digest)] == data
        assert [request.received for request in hostile.seen("PATCH")] == [10 * MIB, 10 * MIB, 5 * MIB]
