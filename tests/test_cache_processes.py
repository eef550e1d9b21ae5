"""Many processes, one cache: one of them fetches, whatever becomes of it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ocimodel.errors import OcimodelError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.stores.memory import MemoryStore
from ocimodel.stores.protocol import Source
from ocimodel.transfer.bases import Bases
from ocimodel.transfer.cache import Cache
from ocimodel.transfer.flights import FOLDER, Flights, Landing
from ocimodel.transfer.jobs import Job
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.places import cache_dir
from ocimodel.transfer.sharing import Sharing
from ocimodel.verbs import cache as contents
from ocimodel.verbs.pruning import prune
from tests.attacks.scene import Scene, files_of
from tests.commands import run
from tests.documents import check
from tests.hostile import HostileRegistry, Request, Stall
from tests.models import weights
from tests.signers import ALICE

MIB = 1024 * 1024
FILES = {
    "config.json": b'{"model_type": "tiny"}\n',
    "large.bin": weights(20 * MIB + 11, "large"),
    "small.bin": weights(2 * MIB + 11, "small"),
    "notes/README.md": b"# Tiny\n",
}
DEADLINE = 90.0


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with HostileRegistry() as registry:
        scene = Scene(registry, tmp_path)
        scene.push(FILES)
        registry.forget()
        yield scene


def start(scene: Scene, out: Path, *more: str, tag: str = "v1") -> subprocess.Popen[str]:
    key = scene.place / f"{ALICE.public.label}.pub"
    if not key.exists():  # no process may find it half written
        scene.public()
    words = ["pull", str(scene.reference.tagged(tag)), "-o", str(out), "--key", str(key), *more]
    return subprocess.Popen(
        [sys.executable, "-m", "ocimodel", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(*processes: subprocess.Popen[str]) -> list[str]:
    """Wait for all; what each said on stderr."""
    try:
        return [process.communicate(timeout=DEADLINE)[1] for process in processes]
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                process.kill()


def sent(scene: Scene) -> dict[str, int]:
    """Bytes of each blob that the registry has sent."""
    found: dict[str, int] = {}
    for request in scene.registry.seen("GET", "blob"):
        found[request.target] = found.get(request.target, 0) + request.sent
    return found


def sizes(scene: Scene, tag: str = "v1") -> dict[str, int]:
    """Bytes of each blob of the model, config and all."""
    manifest = scene.manifest(scene.repository.tags[tag])
    return {item["digest"]: item["size"] for item in (manifest["config"], *manifest["layers"])}


@pytest.mark.parametrize("mode", ["auto", "copy", "link"])
def test_eight_at_once_and_one_download(scene: Scene, mode: str) -> None:
    out = [scene.place / f"model-{number}" for number in range(8)]
    processes = [start(scene, place, "--cache", mode) for place in out]
    told = ended(*processes)
    assert [process.returncode for process in processes] == [0] * 8, told
    assert all(files_of(place) == FILES for place in out)
    once = sizes(scene)
    came = sent(scene)
    assert {digest: came[digest] for digest in once} == once
    documents = [request.target for request in scene.registry.seen("GET", "blob") if request.target not in once]
    assert len(documents) == len(set(documents)), "signature and chunk index come once as well"
    assert not list((cache_dir() / FOLDER).iterdir()), "nothing is left of it"


def test_whoever_waits_says_for_what(scene: Scene) -> None:
    large = scene.layers()["large.bin"]

    def hold(request: Request) -> None:
        if request.target == large:
            _until(lambda: scene.registry.count("GET", "referrers") == 2)
            time.sleep(2)  # so that the other one waits

    scene.registry.on_request = hold
    first = start(scene, scene.place / "model-1")
    _until(lambda: _stalled(scene, large))
    second = start(scene, scene.place / "model-2")
    _, told = ended(first, second)
    assert f"waiting for process {first.pid} on " in told
    assert "which is fetching large.bin" in told
    assert first.returncode == second.returncode == 0


@pytest.mark.parametrize("mode", ["auto", "copy", "link"])
def test_the_one_who_fetches_is_killed(scene: Scene, mode: str) -> None:
    """Those who waited carry on: one of them fetches what is missing; what was finished is not fetched again."""
    done, stuck = scene.layers()["large.bin"], scene.layers()["small.bin"]
    scene.registry.on_request = lambda request: Stall(20.0, sent=1000) if request.target == stuck else None
    first = start(scene, scene.place / "model-1", "--cache", mode)
    _until(lambda: sent(scene).get(done) == len(FILES["large.bin"]) and _stalled(scene, stuck))
    others = [start(scene, scene.place / f"model-{number}", "--cache", mode) for number in (2, 3)]
    _until(lambda: scene.registry.count("GET", "referrers") == 3)
    time.sleep(0.5)  # so that they wait
    scene.registry.on_request = None
    before = len(scene.registry.requests)
    first.send_signal(signal.SIGKILL)
    told = ended(first, *others)
    assert [process.returncode for process in others] == [0, 0], told
    assert all(files_of(scene.place / f"model-{number}") == FILES for number in (2, 3))
    assert sent(scene)[done] == len(FILES["large.bin"])
    after = [request for request in scene.registry.requests[before:] if request.target == stuck]
    assert sum(request.sent for request in after) == len(FILES["small.bin"])
    assert not list((cache_dir() / FOLDER).glob("locks"))


def _stalled(scene: Scene, target: str) -> bool:
    return any(request.target == target for request in scene.registry.seen("GET", "blob"))


@pytest.mark.parametrize("mode", ["off", "link"])
def test_what_a_killed_pull_had_linked_is_not_written_to(scene: Scene, mode: str) -> None:
    """The next run finds files of the cache where its own parts should be, and they were damaged meanwhile."""
    stuck = scene.layers()["small.bin"]
    scene.registry.on_request = lambda request: Stall(20.0, sent=1000) if request.target == stuck else None
    first = start(scene, scene.out, "--cache", "link")

    def staged() -> list[Path]:
        found = scene.place.glob(".ocimodel-tmp-out-*/large.bin")
        return [path for path in found if path.parent.suffix != ".parts"]

    _until(lambda: bool(staged()) and _stalled(scene, stuck))
    first.send_signal(signal.SIGKILL)
    ended(first)
    scene.registry.on_request = None
    (linked,) = staged()
    assert linked.stat().st_nlink == 2
    assert linked.stat().st_mode & 0o777 == 0o444
    blob = cache_dir() / "layout/blobs/sha256" / scene.layers()["large.bin"].removeprefix("sha256:")
    linked.chmod(0o600)
    with linked.open("r+b") as file:
        file.write(b"damage")
    linked.chmod(0o444)
    damaged = blob.read_bytes()
    assert scene.pull("--cache", mode).code == 0
    assert files_of(scene.out) == FILES
    if mode == "off":
        assert blob.read_bytes() == damaged
        assert (scene.out / "large.bin").stat().st_mode & 0o200
    else:
        (moved,) = (cache_dir() / "quarantine").iterdir()
        assert moved.read_bytes() == damaged
        assert blob.read_bytes() == FILES["large.bin"]


def test_models_that_share_blobs_in_any_order_do_not_wait_in_a_circle(scene: Scene) -> None:
    """Each process finds a blob that another fetches, while that one wants a blob of its own."""
    data = {name: weights(17 * MIB + number, name) for number, name in enumerate("abc")}
    for tag, order in (("one", "abc"), ("two", "cab"), ("three", "bca")):
        scene.push({f"{place}-{name}.bin": data[name] for place, name in enumerate(order)}, tag=tag)
    scene.registry.forget()
    processes = [
        start(scene, scene.place / f"model-{tag}-{number}", "--max-rate", "100MB", tag=tag)
        for number in range(2)
        for tag in ("one", "two", "three")
    ]
    told = ended(*processes)
    assert [process.returncode for process in processes] == [0] * 6, told
    came = sent(scene)
    for content in data.values():
        assert came[str(Digest.of(content))] == len(content)


def test_a_refused_download_is_not_waited_for_twice(scene: Scene) -> None:
    """The bytes are bad for everybody; each finds out, and nobody hangs."""
    scene.repository.overwrite(scene.layers()["large.bin"], weights(20 * MIB + 11, "other"))
    processes = [start(scene, scene.place / f"model-{number}") for number in range(3)]
    told = ended(*processes)
    assert [process.returncode for process in processes] == [14] * 3, told


# --- who is not waited for ------------------------------------------------------------------------


class Holder:
    """Another pull that has the lock of a blob, and does nothing."""

    def __init__(self, scene: Scene, name: str) -> None:
        cache_dir().mkdir(mode=0o700, exist_ok=True)
        self.digest = Digest.parse(scene.layers()[name])
        self.flights = Flights(cache_dir())
        assert self.flights.lock(self.digest)
        self.folder = scene.place / "model-holder"
        self.folder.mkdir()
        self.landing = Landing(
            name=name,
            size=len(FILES[name]),
            kept=False,
            part=self.folder / "part",
            places=(self.folder / name,),
        )
        self.flights.announce(self.folder, {self.digest: self.landing})

    def record(self) -> Path:
        (path,) = (cache_dir() / FOLDER).glob("*.json")
        return path


def test_one_that_moves_nothing_is_not_waited_for_any_longer(scene: Scene) -> None:
    holder = Holder(scene, "small.bin")
    store = MemoryStore("memory")
    store.put_blob(Source.of(FILES["small.bin"]))
    part, target = scene.place / "parts" / "small.bin", scene.place / "small.bin"
    part.parent.mkdir()
    job = Job(
        descriptor=Descriptor(media_type="a/b", digest=holder.digest, size=holder.landing.size),
        name="small.bin",
        part=part,
        finish=lambda part: os.replace(part, target),
        places=(target,),
    )
    cache = Cache(cache_dir())
    sharing = Sharing(cache, Bases, stalled=0.3)
    sharing.settle(part.parent)
    assert sharing.fetch(store, [job], Meter()).fetched == len(FILES["small.bin"])
    assert target.read_bytes() == FILES["small.bin"]
    cache.close()
    holder.flights.close()


@pytest.mark.parametrize("answers", [True, False], ids=["asked", "gone"])
def test_one_in_another_container_is_asked_for_a_copy(scene: Scene, answers: bool) -> None:
    """Its files lie where this process sees others, or none. It may also end without an answer."""
    holder = Holder(scene, "large.bin")
    record = json.loads(holder.record().read_bytes())
    record["identity"] = "1:2"
    holder.record().write_text(json.dumps(record))
    process = start(scene, scene.out)
    _until(lambda: holder.flights.asked(holder.digest))
    if answers:
        holder.landing.part.write_bytes(FILES["large.bin"])
        descriptor = Descriptor(media_type="a/b", digest=holder.digest, size=holder.landing.size)
        job = Job(
            descriptor=descriptor,
            name="large.bin",
            part=holder.landing.part,
            finish=lambda _: None,
            places=holder.landing.places,
        )
        cache = Cache(cache_dir())
        cache.put(job, holder.landing.part, lambda _: None)
        assert cache.has(descriptor)
        cache.close()
    holder.flights.close()
    ended(process)
    assert process.returncode == 0
    assert files_of(scene.out) == FILES
    assert sent(scene).get(str(holder.digest), 0) == (0 if answers else len(FILES["large.bin"]))


@pytest.mark.parametrize("content", ["right", "wrong"])
def test_what_lies_where_another_put_it_is_checked(scene: Scene, content: str) -> None:
    """Bytes of another process are an offer, as everything on this machine is."""
    holder = Holder(scene, "large.bin")
    data = bytearray(FILES["large.bin"])
    if content == "wrong":
        data[-5] ^= 1
    holder.landing.places[0].write_bytes(data)
    process = start(scene, scene.out)
    ended(process)
    assert process.returncode == 0
    assert files_of(scene.out) == FILES
    came = sent(scene).get(scene.layers()["large.bin"], 0)
    assert came == 0 if content == "right" else 0 < came < len(data)
    holder.flights.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"process": 1}', '{"process": "x", "folder": "/", "blobs": {}}'])
def test_records_that_mean_nothing(scene: Scene, text: str) -> None:
    (cache_dir() / FOLDER).mkdir(mode=0o700, parents=True)
    (cache_dir() / FOLDER / f"{'0' * 14}.json").write_text(text)
    (cache_dir() / FOLDER / "name.json").write_text(text)
    assert scene.pull().code == 0


# --- pruning --------------------------------------------------------------------------------------


def test_a_blob_that_is_being_taken_stays(scene: Scene) -> None:
    assert scene.pull("--cache", "copy").code == 0
    held = next(entry for entry in contents.show(cache_dir()).entries if entry.name == "large.bin")
    with held.path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        ran = run("cache", "prune", "--max-size", "0", "--json")
        document = check(ran.document)
        assert [entry["name"] for entry in document["held"]] == ["large.bin"]
        assert "1 blob in use" in ran.err
        assert held.path.exists()
    done = prune(cache_dir(), max_size=0)
    assert [entry.path for entry in done.removed] == [held.path]
    assert contents.show(cache_dir()).entries == ()


def test_pulls_and_prunings_at_once(scene: Scene) -> None:
    """Whatever goes while it is wanted is fetched again."""
    assert scene.pull("--cache", "link").code == 0
    over = threading.Event()

    def keep_pruning() -> None:
        while not over.is_set():
            with suppress(OcimodelError):
                prune(cache_dir(), max_size=0)

    pruner = threading.Thread(target=keep_pruning)
    pruner.start()
    try:
        processes = [start(scene, scene.place / f"model-{number}", "--cache", "link") for number in range(4)]
        told = ended(*processes)
    finally:
        over.set()
        pruner.join()
    assert [process.returncode for process in processes] == [0] * 4, told
    assert all(files_of(scene.place / f"model-{number}") == FILES for number in range(4))


def test_the_least_recently_used_goes_first_and_its_model_is_listed_no_more(scene: Scene) -> None:
    other = {"other.bin": weights(3 * MIB, "other")}
    scene.push(other, tag="other")
    for tag in ("v1", "other"):
        scene.out = scene.place / f"out-{tag}"
        assert scene.pull("--cache", "copy", tag=tag).code == 0
    for mark in (cache_dir() / "used").iterdir():
        os.utime(mark, (0, 0))
    scene.out = scene.place / "out-again"
    assert scene.pull("--cache", "copy", tag="v1").code == 0
    listed = {item["digest"] for item in _manifests()}
    assert listed == {scene.repository.tags["v1"], scene.repository.tags["other"]}
    whole = contents.show(cache_dir()).size
    done = prune(cache_dir(), max_size=whole - MIB)
    assert "other.bin" in {entry.name for entry in done.removed}
    assert not {"large.bin", "small.bin"} & {entry.name for entry in done.removed}
    assert {item["digest"] for item in _manifests()} == {scene.repository.tags["v1"]}


def _manifests() -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((cache_dir() / "layout" / "index.json").read_bytes())["manifests"]
    return found


def _until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
