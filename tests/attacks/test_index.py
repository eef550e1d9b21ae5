"""The chunk index as a weapon: one that lies, is malformed or gone, and bytes that lie about it.

The index adds to SHA-256 and never replaces it: both agree, or nothing arrives and nothing is remembered.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from ocimodel.model.chunkindex import MAX_BYTES, ChunkIndex
from ocimodel.model.chunking import ChunkHasher
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.transfer.places import cache_dir
from tests.attacks.scene import Scene, files_of, write_model
from tests.hostile import Drop, HostileRegistry, Stall
from tests.hostile.messages import Request, Response
from tests.models import tensor, weights, write_safetensors

MIB = 1024 * 1024
SMALL, LARGE = 3 * MIB + 11, 20 * MIB + 11
WEIGHTS = "model.bin"
CHUNKS = "model.safetensors"


def index_of(data: bytes, name: bytes | None = None) -> bytes:
    """A right index of ``data``, that says it is of the layer ``name``."""
    hasher = ChunkHasher(len(data), (), "blake3")
    hasher.update(memoryview(data))
    layer = hasher.index(Digest.of(name if name is not None else data))
    return ChunkIndex(algorithm="blake3", layers={layer.digest: layer}).to_bytes()


def with_index(scene: Scene, index: bytes | None, *, named: str | None = None) -> None:
    """The model's manifest now names this index, and is rightly signed: the packer is the attacker."""
    manifest = scene.manifest()
    if index is not None:
        scene.repository.add_blob(index)
        named = named or str(Digest.of(index))
    manifest["annotations"][media.CHUNK_INDEX_ANNOTATION] = named
    scene.put(json.dumps(manifest).encode())


def remembered() -> dict[str, bytes]:
    return files_of(cache_dir()) if cache_dir().exists() else {}


def refused(scene: Scene, *more: str | Path, names: Iterable[str] = ()) -> None:
    """The pull is 14 and leaves nothing, neither at the destination nor in the cache."""
    before = remembered()
    ran = scene.pull(*more)
    assert ran.code == 14, ran.err
    assert scene.nothing_arrived()
    assert remembered() == before
    for name in names:
        assert name in ran.error[0]


def other(data: bytes) -> bytes:
    """The same bytes, but one near the end."""
    changed = bytearray(data)
    changed[-5] ^= 1
    return bytes(changed)


# --- an index that contradicts its layer ----------------------------------------------------------------------


@pytest.mark.parametrize("ranges", ["yes", "ignored"])
@pytest.mark.parametrize("served", ["as-the-index-says", "as-sha256-says"])
@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_one_digest_with_two_contents(scene: Scene, size: int, served: str, ranges: Any) -> None:
    """A signer and a mirror together: whichever content the mirror serves, nobody takes it."""
    data = weights(size)
    scene.push({WEIGHTS: data, "config.json": b"{}"})
    digest = scene.layers()[WEIGHTS]
    with_index(scene, index_of(other(data), name=data))
    if served == "as-the-index-says":
        scene.repository.overwrite(digest, other(data))
    scene.registry.switches.ranges = ranges
    refused(scene, names=[WEIGHTS])


@pytest.mark.parametrize("at_hand", ["as-the-index-says", "as-sha256-says"])
@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_two_contents_and_one_of_them_is_on_this_machine(scene: Scene, size: int, at_hand: str) -> None:
    """What is copied from an earlier model is held against both as well."""
    data = weights(size)
    here = other(data) if at_hand == "as-the-index-says" else data
    scene.push({WEIGHTS: here, "config.json": b"{}"}, tag="earlier")
    assert scene.pull("--force", tag="earlier").code == 0
    scene.out.rename(scene.place / "model-earlier-pulled")
    scene.out = scene.place / "model-earlier-pulled"
    assert scene.pull("--force", tag="earlier").code == 0
    scene.out = scene.place / "out"
    scene.push({WEIGHTS: data, "config.json": b"{}"})
    with_index(scene, index_of(other(data), name=data))
    refused(scene, "--base", scene.place / "model-earlier-pulled")


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_an_honest_index_beside_the_lying_one_changes_nothing(scene: Scene, size: int) -> None:
    """Only the manifest says which index counts; anyone may attach another."""
    data = weights(size)
    scene.push({WEIGHTS: data})
    named = scene.manifest()["annotations"][media.CHUNK_INDEX_ANNOTATION]
    lie = index_of(other(data), name=data)
    scene.repository.add_blob(lie)
    for entries in scene.repository.referrers.values():
        for entry in entries.values():
            if entry.get("artifactType") == media.CHUNK_INDEX:
                manifest = scene.manifest(entry["digest"])
                manifest["layers"][0] |= {"digest": str(Digest.of(lie)), "size": len(lie)}
                scene.repository.manifests[entry["digest"]] = scene.repository.manifests[entry["digest"]].__class__(
                    json.dumps(manifest).encode(), media.OCI_MANIFEST
                )
    assert named in scene.repository.blobs
    assert scene.pull().code == 0
    assert (scene.out / WEIGHTS).read_bytes() == data


# --- an index that is none ------------------------------------------------------------------------------------

HEX = "0" * 64


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def make(index: bytes) -> bytes:
        document = json.loads(index)
        change(document)
        return json.dumps(document).encode()

    return make


def of_layer(**members: Any) -> Callable[[bytes], bytes]:
    return edited(lambda document: document["layers"][0].update(members))


def resized(by: int) -> Callable[[bytes], bytes]:
    def change(document: dict[str, Any]) -> None:
        document["layers"][0]["chunks"][0][0] += by

    return edited(change)


MALFORMED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _index: b"",
    "no-json": lambda _index: b"chunks",
    "no-object": lambda _index: b"[]",
    "over-its-cap": lambda index: index + b" " * MAX_BYTES,
    "deep": lambda _index: b"[" * 100_000,
    "a-key-twice": lambda index: index.replace(b'"version":', b'"version":1,"version":'),
    "another-version": edited(lambda document: document.update(version=2)),
    "another-algorithm": edited(lambda document: document.update(algorithm="md5")),
    "more-members": edited(lambda document: document.update(more=1)),
    "a-layer-twice": edited(lambda document: document["layers"].append(document["layers"][0])),
    "a-foreign-layer": of_layer(digest=str(Digest.of(b"another"))),
    "another-size": of_layer(size=5),
    "chunks-too-short": resized(-1),
    "chunks-too-long": resized(1),
    "no-chunks": of_layer(chunks=[]),
    "a-chunk-of-nothing": of_layer(chunks=[[0, HEX], [SMALL, HEX]]),
    "a-chunk-backwards": of_layer(chunks=[[SMALL + 1, HEX], [-1, HEX]]),
    "a-chunk-over-its-cap": of_layer(chunks=[[16 * MIB + 1, HEX]]),
    "a-digest-of-nothing": of_layer(chunks=[[SMALL, "zz"]]),
    "sizes-that-are-no-numbers": of_layer(chunks=[[float(SMALL), HEX]]),
    "a-tensor-beyond-the-end": of_layer(tensors=[["a", SMALL - 1, 2, HEX]]),
    "tensors-that-overlap": of_layer(tensors=[["a", 0, 9, HEX], ["b", 8, 9, HEX]]),
    "a-name-twice": of_layer(tensors=[["a", 0, 9, HEX], ["a", 9, 9, HEX]]),
    "a-tensor-nobody-vouches-for": of_layer(tensors=[["a", 1, 9]]),
    "too-many-tensors": of_layer(tensors=[[f"{number:x}", 0, 0] for number in range(1_000_001)]),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_index(scene: Scene, case: str) -> None:
    """Refused before any file is asked for, however rightly it was signed."""
    data = weights(SMALL)
    scene.push({WEIGHTS: data})
    with_index(scene, MALFORMED[case](index_of(data)))
    scene.registry.forget()
    refused(scene)
    assert scene.asked_for() == 0


def test_another_index_than_the_manifest_names(scene: Scene) -> None:
    data = weights(SMALL)
    scene.push({WEIGHTS: data})
    named = scene.manifest()["annotations"][media.CHUNK_INDEX_ANNOTATION]
    scene.repository.overwrite(named, index_of(data)[:-1] + b" }")
    refused(scene)
    assert scene.asked_for() == 0


@pytest.mark.parametrize("named", ["", "sha256:0", "md5:" + "0" * 32, "../../index"])
def test_an_annotation_that_names_no_digest(scene: Scene, named: str) -> None:
    scene.push({WEIGHTS: weights(SMALL)})
    with_index(scene, None, named=named)
    refused(scene)


def test_one_layer_with_two_sizes(scene: Scene) -> None:
    """What the index says of the one must not be waited for at the other."""
    data = weights(LARGE)
    scene.push({WEIGHTS: data})
    manifest = scene.manifest()
    (layer,) = (layer for layer in manifest["layers"] if layer["annotations"][media.FILEPATH] == WEIGHTS)
    longer = json.loads(json.dumps(layer))
    longer["size"] += MIB
    longer["annotations"] = {media.FILEPATH: "longer.bin", media.TITLE: "longer.bin"}
    manifest["layers"].insert(0, longer)
    scene.put(json.dumps(manifest).encode())
    refused(scene)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_an_index_that_is_gone_costs_its_benefits_only(scene: Scene, size: int) -> None:
    data = weights(size)
    scene.push({WEIGHTS: data})
    del scene.repository.blobs[scene.manifest()["annotations"][media.CHUNK_INDEX_ANNOTATION]]
    assert scene.pull().code == 0
    assert (scene.out / WEIGHTS).read_bytes() == data
    assert scene.verify(of=scene.out).code == 0
    shutil.rmtree(scene.out)
    scene.repository.flip(scene.layers()[WEIGHTS], size - 5)
    # Without what was pulled before, which would mend it.
    shutil.rmtree(cache_dir())
    refused(scene)


# --- bad bytes on the way -------------------------------------------------------------------------------------


def chunked(scene: Scene, *, count: int = 24, tag: str = "v1", changed: Iterable[int] = ()) -> bytes:
    """Push a file of many tensors of 1 MiB, each a chunk; its bytes."""
    seeds = {number: "new" if number in set(changed) else "old" for number in range(count)}
    tensors = {f"t{number:02}": tensor(f"t{number}", "uint8", (MIB,), seed) for number, seed in seeds.items()}
    path = scene.place / "made.safetensors"
    write_safetensors(path, tensors)
    data = path.read_bytes()
    scene.push({CHUNKS: data, "config.json": b"{}"}, tag=tag)
    scene.registry.forget()
    return data


def asked(registry: HostileRegistry, digest: str) -> list[tuple[int, int]]:
    """The ranges [start, stop) of a blob that were asked for."""
    found = []
    for request in registry.seen("GET", "blob"):
        if request.target == digest:
            first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
            found.append((int(first), int(last) + 1))
    return found


class Spoiler:
    """Flips the byte at ``position`` of a blob on its way, for the first ``times`` answers that hold it."""

    def __init__(self, digest: str, position: int, times: int) -> None:
        self.digest, self.position, self.left = digest, position, times

    def __call__(self, request: Request, response: Response) -> Response | None:
        if request.target != self.digest or request.method != "GET" or not self.left:
            return None
        first, _, last = request.headers.get("range", f"bytes=0-{1 << 60}").removeprefix("bytes=").partition("-")
        if not int(first) <= self.position <= int(last):
            return None
        self.left -= 1
        body = bytearray(response.body)
        body[self.position - int(first)] ^= 1
        return Response(response.status, response.headers, bytes(body))


@pytest.mark.parametrize("number", [0, 3, 23], ids=["first", "within-a-range", "last"])
def test_a_chunk_that_was_bad_once_is_fetched_again_alone(scene: Scene, number: int) -> None:
    data = chunked(scene)
    digest = scene.layers()[CHUNKS]
    start = len(data) - (24 - number) * MIB
    scene.registry.on_response = Spoiler(digest, start + 77, 1)
    assert scene.pull().code == 0
    assert (scene.out / CHUNKS).read_bytes() == data
    ranges = asked(scene.registry, digest)
    assert ranges[-1] == (start, start + MIB), "the bad chunk, alone"
    assert sum(stop - begin for begin, stop in ranges) == len(data) + MIB
    on_the_wire = sum(request.sent for request in scene.registry.seen("GET", "blob") if request.target == digest)
    assert on_the_wire == len(data) + MIB


def test_a_chunk_that_is_bad_twice_is_refused_with_file_and_tensor(scene: Scene) -> None:
    data = chunked(scene)
    start = len(data) - (24 - 7) * MIB
    scene.registry.on_response = Spoiler(scene.layers()[CHUNKS], start, 2)
    refused(scene, names=[CHUNKS, "tensor t07", f"bytes {start} to {start + MIB}"])


def test_every_chunk_is_bad_once(scene: Scene) -> None:
    data = chunked(scene)
    digest = scene.layers()[CHUNKS]
    seen: set[tuple[str, str]] = set()

    def spoil(request: Request, response: Response) -> Response | None:
        if request.target != digest or request.method != "GET" or len(response.body) < 2 * MIB:
            return None
        seen.add((request.target, request.headers["range"]))
        return Response(response.status, response.headers, bytes(len(response.body)))

    scene.registry.on_response = spoil
    assert scene.pull().code == 0
    assert (scene.out / CHUNKS).read_bytes() == data
    assert seen


@pytest.mark.parametrize("times", [2, 4])
def test_a_registry_without_ranges_whose_streams_break(scene: Scene, times: int) -> None:
    """The one stream that everybody waits for is begun anew."""
    data = chunked(scene)
    digest = scene.layers()[CHUNKS]
    scene.registry.switches.ranges = "ignored"
    scene.registry.fail(Drop(sent=5 * MIB), route="blob", method="GET", target=digest, times=times)
    assert scene.pull().code == 0
    assert (scene.out / CHUNKS).read_bytes() == data


def test_a_registry_without_ranges_whose_stream_is_bad(scene: Scene) -> None:
    data = chunked(scene)
    digest = scene.layers()[CHUNKS]
    scene.registry.switches.ranges = "ignored"
    scene.repository.flip(digest, len(data) - 5)
    refused(scene, names=[CHUNKS])


# --- a base that was tampered with ----------------------------------------------------------------------------


def _change(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for position in range(0, len(data), MIB // 2):
        data[position] ^= 1
    path.write_bytes(data)


def _truncate(path: Path) -> None:
    os.truncate(path, 5 * MIB)


def _link(path: Path) -> None:
    moved = path.with_name("elsewhere")
    path.rename(moved)
    path.symlink_to(moved)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _another(path: Path) -> None:
    path.write_bytes(weights(path.stat().st_size, "another"))


TAMPERED: dict[str, Callable[[Path], object]] = {
    "changed": _change,
    "another": _another,
    "truncated": _truncate,
    "a-link": _link,
    "a-pipe": _pipe,
    "a-directory": _directory,
    "gone": Path.unlink,
}


@pytest.mark.parametrize("how", TAMPERED)
@pytest.mark.parametrize("changed", [(), (5, 6)], ids=["same-file", "fine-tune"])
def test_a_base_that_was_tampered_with(scene: Scene, how: str, changed: tuple[int, ...]) -> None:
    """A base only offers bytes: wrong ones are noticed, and fetched instead."""
    chunked(scene, tag="earlier")
    base = scene.place / "model-base"
    scene.out = base
    assert scene.pull(tag="earlier").code == 0
    scene.out = scene.place / "out"
    data = chunked(scene, changed=changed)
    TAMPERED[how](base / CHUNKS)
    assert scene.pull("--base", base).code == 0
    assert (scene.out / CHUNKS).read_bytes() == data


def test_a_memory_that_was_tampered_with(scene: Scene) -> None:
    """What is remembered of pulls only says where to look."""
    chunked(scene, tag="earlier")
    scene.out = scene.place / "model-base"
    assert scene.pull(tag="earlier").code == 0
    scene.out = scene.place / "out"
    data = chunked(scene, changed=[3])
    evil = write_model(scene.place / "model-evil", {CHUNKS: weights(len(data), "evil"), "config.json": b"[]"})
    (memory,) = (cache_dir() / "pulled").glob("*.json")
    document = json.loads(memory.read_text())
    document["directory"] = str(evil)
    memory.write_text(json.dumps(document))
    ran = scene.pull("--json")
    assert ran.code == 0
    assert (scene.out / CHUNKS).read_bytes() == data
    assert ran.document["copiedBytes"] == 0


def test_a_good_base_is_used(scene: Scene) -> None:
    """So that the tests above say something."""
    chunked(scene, tag="earlier")
    scene.out = scene.place / "model-base"
    assert scene.pull(tag="earlier").code == 0
    scene.out = scene.place / "out"
    data = chunked(scene, changed=[3])
    ran = scene.pull("--json")
    assert (scene.out / CHUNKS).read_bytes() == data
    assert ran.document["fetchedBytes"] < 2 * MIB


# --- killed, and what was left of it was changed --------------------------------------------------------------


def _zeros(part: Path, _journal: Path) -> None:
    part.write_bytes(bytes(part.stat().st_size))


def _longer(part: Path, _journal: Path) -> None:
    with part.open("ab") as file:
        file.write(b"more")


def _shorter(part: Path, _journal: Path) -> None:
    os.truncate(part, 100)


def _claims_all(part: Path, journal: Path) -> None:
    journal.write_bytes(b"0 %d\n" % part.stat().st_size)


def _claims_more(part: Path, journal: Path) -> None:
    with journal.open("ab") as file:
        file.write(b"%d %d\n" % (part.stat().st_size - MIB, part.stat().st_size))


def _garbage(_part: Path, journal: Path) -> None:
    journal.write_bytes(b"\0\xff 9999999999999999999999\n-1 5\n")


LEFT: dict[str, Callable[[Path, Path], object]] = {
    "untouched": lambda _part, _journal: None,
    "zeros": _zeros,
    "longer": _longer,
    "shorter": _shorter,
    "a-journal-that-claims-all": _claims_all,
    "a-journal-that-claims-more": _claims_more,
    "a-journal-of-garbage": _garbage,
    "no-journal": lambda _part, journal: journal.unlink(),
}


def killed(scene: Scene, digest: str) -> tuple[Path, Path]:
    """Kill a pull in its midst; its part and its journal."""
    scene.registry.fail(Stall(60, sent=3 * MIB), route="blob", method="GET", target=digest)
    argv = [sys.executable, "-m", "ocimodel", "pull", str(scene.reference), "-o", str(scene.out)]
    running = subprocess.Popen(
        [*argv, "--key", str(scene.public()), "--quiet"], cwd=Path(__file__).resolve().parents[2]
    )
    try:
        until = time.monotonic() + 60
        journals: list[Path] = []
        while not any(journal.stat().st_size for journal in journals):
            assert time.monotonic() < until
            assert running.poll() is None
            time.sleep(0.05)
            journals = list(scene.place.rglob("*.journal"))
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    scene.registry.rules.clear()
    scene.registry.forget()
    (journal,) = journals
    return journal.with_name(journal.name.removesuffix(".journal")), journal


@pytest.mark.parametrize("indexed", [True, False], ids=["index", "no-index"])
@pytest.mark.parametrize("how", LEFT)
def test_a_killed_pull_whose_part_was_changed_ends_right(scene: Scene, how: str, indexed: bool) -> None:
    data = chunked(scene)
    digest = scene.layers()[CHUNKS]
    if not indexed:
        del scene.repository.blobs[scene.manifest()["annotations"][media.CHUNK_INDEX_ANNOTATION]]
    part, journal = killed(scene, digest)
    LEFT[how](part, journal)
    assert scene.pull().code == 0
    assert (scene.out / CHUNKS).read_bytes() == data
    fetched = sum(stop - start for start, stop in asked(scene.registry, digest))
    if how == "untouched":
        assert fetched < len(data), "what was there was not fetched again"
    elif indexed:
        # The rest of a chunk may come before it is known that its beginning, which had been noted, is bad.
        assert fetched <= len(data) + MIB, "only what was bad or missing"
