"""The cache's blobs: what is kept, how it comes back, and that damage, lies and other users change nothing."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ocimodel.errors import DigestMismatchError, UsageError
from ocimodel.model.chunkindex import ChunkIndex
from ocimodel.model.chunking import ChunkHasher
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest
from ocimodel.stores.layout import LayoutStore
from ocimodel.transfer.cache import Cache
from ocimodel.transfer.cloning import can_clone
from ocimodel.transfer.jobs import Job
from ocimodel.transfer.places import cache_dir
from ocimodel.trust.policy import TrustPolicy
from ocimodel.verbs.pull import pull
from tests.attacks.scene import Scene, files_of
from tests.commands import run
from tests.documents import check
from tests.hostile import HostileRegistry
from tests.models import llama, tensor, weights, write_safetensors
from tests.signers import ALICE, BOB

MIB = 1024 * 1024
FILES = {
    "config.json": b'{"model_type": "tiny"}\n',
    "model.bin": weights(17 * MIB + 11),
    "notes/README.md": b"# Tiny\n",
}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A registry with a signed model in it."""
    with HostileRegistry() as registry:
        scene = Scene(registry, tmp_path)
        scene.push(FILES)
        shutil.rmtree(cache_dir())
        yield scene


def pulled(scene: Scene, *more: str | Path, **how: Any) -> dict[str, Any]:
    """A pull that has to succeed: its document. The destination is gone before it, and the counters are at 0."""
    shutil.rmtree(scene.out, ignore_errors=True)
    scene.registry.forget()
    ran = scene.pull("--json", *more, **how)
    assert ran.code == 0, ran.err
    return {**check(ran.document), "err": ran.err}


def layout() -> LayoutStore:
    return LayoutStore(cache_dir() / "layout")


def blob(scene: Scene, name: str = "model.bin") -> Path:
    """Where the cache has, or would have, a file of the model."""
    return layout().blob_path(Digest.parse(scene.layers()[name]))


def damage(path: Path, at: int = -5) -> None:
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(at, os.SEEK_END)
        byte = file.read(1)
        file.seek(at, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))
    path.chmod(0o444)


def snapshot() -> dict[str, bytes]:
    return files_of(cache_dir()) if cache_dir().exists() else {}


def quarantined() -> list[str]:
    folder = cache_dir() / "quarantine"
    return [path.name for path in folder.iterdir()] if folder.exists() else []


# --- a warm pull ----------------------------------------------------------------------------------


@pytest.mark.parametrize("verify", ["always", "fast"])
@pytest.mark.parametrize("mode", ["copy", "link"])
def test_a_warm_pull_asks_for_no_blob_and_judges_anew(scene: Scene, mode: str, verify: str) -> None:
    cold = pulled(scene, "--cache", mode)
    assert cold["fetchedBytes"] == sum(map(len, FILES.values()))
    warm = pulled(scene, "--cache", mode, "--cache-verify", verify)
    assert (warm["fetchedBytes"], warm["copiedBytes"]) == (0, cold["fetchedBytes"])
    assert warm["verified"]
    assert warm["warnings"] == []
    assert files_of(scene.out) == FILES
    assert scene.registry.count(route="blob") == 0
    assert scene.registry.count("GET", "referrers") == 1
    shutil.rmtree(scene.out)
    assert scene.pull("--cache", mode, key=BOB).code == 12
    scene.repository.referrers.clear()
    assert scene.pull("--cache", mode).code == 10
    assert scene.nothing_arrived()


def test_without_reflinks_the_default_keeps_no_second_copy(scene: Scene) -> None:
    """With them it keeps one that costs nothing; either way the directory that was pulled serves the next pull."""
    pulled(scene)
    assert blob(scene).exists() == can_clone(scene.place, cache_dir())
    scene.out.rename(scene.place / "model-moved")
    assert pulled(scene)["fetchedBytes"] == (0 if blob(scene).exists() else sum(map(len, FILES.values())))
    elsewhere = scene.place / "model-elsewhere"
    scene.registry.forget()
    ran = run("pull", str(scene.reference), "-o", elsewhere, "--key", scene.public())
    assert ran.code == 0
    assert scene.registry.count(route="blob") == 0
    assert files_of(elsewhere) == FILES


def test_what_is_kept_is_a_layout(scene: Scene) -> None:
    document = pulled(scene, "--cache", "copy")
    digest = Digest.parse(document["digest"])
    store = layout()
    _, raw = store.get_manifest(digest)
    manifest = Manifest.from_bytes(raw)
    assert all(store.has_blob(item) for item in (manifest.config, *manifest.layers))
    assert all(
        path.stat().st_mode & 0o777 == 0o444
        for path in (store.path / "blobs/sha256").iterdir()
        if digest.hex != path.name
    )
    out = scene.place / "model-from-the-cache"
    assert run("pull", f"oci:{store.path}@{digest}", "-o", out, "--no-cache").code == 0
    assert files_of(out) == FILES


def test_a_part_of_a_model_is_not_listed_as_one(scene: Scene) -> None:
    pulled(scene, "--cache", "copy", "--include", "config.json")
    assert blob(scene, "config.json").exists()
    assert not blob(scene).exists()
    assert json.loads((layout().path / "index.json").read_bytes())["manifests"] == []


def test_links_are_links_and_not_to_be_written(scene: Scene) -> None:
    pulled(scene, "--cache", "link")
    first, second = scene.out, scene.place / "model-second"
    assert run("pull", str(scene.reference), "-o", second, "--key", scene.public(), "--cache", "link").code == 0
    for name in FILES:
        assert (first / name).stat().st_ino == (second / name).stat().st_ino == blob(scene, name).stat().st_ino
        assert (first / name).stat().st_mode & 0o777 == 0o444
    assert run("verify", second, "--key", scene.public()).code == 0
    copied = scene.place / "model-copied"
    assert run("pull", str(scene.reference), "-o", copied, "--key", scene.public(), "--cache", "copy").code == 0
    assert (copied / "model.bin").stat().st_ino != blob(scene).stat().st_ino
    assert (copied / "model.bin").stat().st_mode & 0o200


def test_links_across_file_systems_are_copies_and_said_to_be(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == scene.place.stat().st_dev:
        pytest.skip("there is no other file system at /dev/shm")
    cache = memory / f"ocimodel-test-{os.getpid()}"
    monkeypatch.setenv("OCIMODEL_CACHE_DIR", str(cache))
    try:
        assert "the cache keeps copies" in pulled(scene, "--cache", "link")["err"]
        assert pulled(scene, "--cache", "link")["fetchedBytes"] == 0
        assert (scene.out / "model.bin").stat().st_mode & 0o200
    finally:
        shutil.rmtree(cache)


@pytest.mark.parametrize("how", [("--no-cache",), ("--cache", "off"), ("--no-cache", "--cache", "copy")])
def test_off_keeps_nothing(scene: Scene, how: tuple[str, ...]) -> None:
    pulled(scene, *how)
    assert not cache_dir().exists()


def test_the_mode_can_be_a_variable(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIMODEL_CACHE", "link")
    pulled(scene)
    assert (scene.out / "model.bin").stat().st_ino == blob(scene).stat().st_ino
    for name, value in (("OCIMODEL_CACHE", "hardlink"), ("OCIMODEL_CACHE_VERIFY", "never")):
        monkeypatch.setenv(name, value)
        assert scene.pull().code == 2
        monkeypatch.delenv(name)


def test_small_files_in_archives_are_kept_in_any_mode(scene: Scene) -> None:
    """Their directory has them only unpacked, so nothing could be taken from it."""
    many = {f"data/{number}.json": b"%d" % number for number in range(1001)}
    scene.push(many, tag="many")
    assert pulled(scene, tag="many")["fetchedBytes"] > 0
    scene.out.rename(scene.place / "model-moved")
    assert pulled(scene, tag="many")["fetchedBytes"] == 0
    assert scene.registry.count(route="blob") == 0
    assert files_of(scene.out) == many


def test_a_blob_that_stands_twice_in_a_model_comes_once(scene: Scene) -> None:
    data = weights(2 * MIB, "twice")
    scene.push({"a.bin": data, "b.bin": data, "c.bin": data}, tag="twice")
    assert pulled(scene, tag="twice")["fetchedBytes"] == len(data)
    assert files_of(scene.out) == {"a.bin": data, "b.bin": data, "c.bin": data}


def test_chunks_are_taken_from_the_cache(scene: Scene) -> None:
    """Another version of a model: of its weights come the chunks that no blob here has."""
    tensors = llama(hidden=256, layers=2, vocabulary=6000)
    for tag in ("base", "tuned"):
        (scene.place / f"model-{tag}").mkdir()
        write_safetensors(scene.place / f"model-{tag}" / "model.safetensors", tensors)
        scene.push({}, tag=tag)
        name = "model.norm.weight"
        tensors[name] = tensor(name, "float32", (256,), "tuned")
    whole = pulled(scene, "--cache", "copy", tag="base")["fetchedBytes"]
    shutil.rmtree(cache_dir() / "pulled")
    document = pulled(scene, "--cache", "copy", tag="tuned")
    assert 0 < document["fetchedBytes"] < whole / 2
    assert document["fetchedBytes"] + document["copiedBytes"] == document["totalBytes"]


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("verify", ["always", "fast"])
@pytest.mark.parametrize("mode", ["copy", "link"])
def test_damage_is_moved_away_and_mended(scene: Scene, mode: str, verify: str) -> None:
    pulled(scene, "--cache", mode)
    damage(blob(scene))
    document = pulled(scene, "--cache", mode, "--cache-verify", verify)
    assert "is damaged" in document["err"]
    assert files_of(scene.out) == FILES
    assert 0 < document["fetchedBytes"] < len(FILES["model.bin"]), "the good chunks are used"
    assert [name.partition(".")[0] for name in quarantined()] == [blob(scene).name.join(("sha256-", ""))]
    assert pulled(scene, "--cache", mode)["fetchedBytes"] == 0
    listed = check(run("cache", "show", "--json").document)["entries"]
    assert [entry["digest"] for entry in listed if entry["kind"] == "quarantine"] == [scene.layers()["model.bin"]]


@pytest.mark.parametrize("what", ["shorter", "empty", "folder", "link", "gone", "document"])
def test_whatever_stands_there_instead(scene: Scene, what: str) -> None:
    pulled(scene, "--cache", "copy")
    path = blob(scene)
    if what == "shorter":
        path.chmod(0o600)
        os.truncate(path, 100)
    elif what == "empty":
        path.unlink()
        path.touch()
    elif what == "document":
        damage(layout().blob_path(Digest.parse(scene.manifest()["config"]["digest"])))
    else:
        path.unlink()
        if what == "folder":
            path.mkdir()
        elif what == "link":
            path.symlink_to(scene.place / "model-v1" / "model.bin")
    shutil.rmtree(cache_dir() / "pulled")
    pulled(scene, "--cache", "copy")
    assert files_of(scene.out) == FILES
    assert (scene.registry.count("GET", "blob") > 0) or what == "link"


def test_who_writes_a_link_writes_the_cache_and_is_found_out(scene: Scene) -> None:
    pulled(scene, "--cache", "link")
    scene.out.rename(scene.place / "model-written")
    damage(scene.place / "model-written" / "model.bin")
    document = pulled(scene, "--cache", "link")
    assert "1 more files share its bytes" in document["err"]
    assert files_of(scene.out) == FILES


# --- fast -----------------------------------------------------------------------------------------


def remember_as_hashed(path: Path, digest: str) -> None:
    """What `transfer.digests` writes of a file that was hashed some seconds after it had changed."""
    status = path.stat()
    row = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    with sqlite3.connect(cache_dir() / "digests.sqlite") as database:
        database.execute(
            "insert or replace into digests values (?,?,?,?,?,?,0)", (*row, digest.removeprefix("sha256:"))
        )
    database.close()


@pytest.mark.parametrize("mode", ["copy", "link"])
def test_fast_believes_a_file_that_was_hashed_here_and_always_does_not(scene: Scene, mode: str) -> None:
    pulled(scene, "--cache", mode, "--cache-verify", "fast")
    shutil.rmtree(scene.out)  # a link less is another ctime
    damage(blob(scene))
    remember_as_hashed(blob(scene), scene.layers()["model.bin"])
    assert pulled(scene, "--cache", mode, "--cache-verify", "fast")["warnings"] == []
    assert files_of(scene.out)["model.bin"] != FILES["model.bin"]
    assert quarantined() == []
    assert "is damaged" in pulled(scene, "--cache", mode, "--cache-verify", "always")["err"]
    assert files_of(scene.out) == FILES


def test_fast_is_not_fooled_by_another_index(scene: Scene) -> None:
    """Bytes that were held against one index were not held against another."""
    pulled(scene, "--cache", "copy", "--cache-verify", "fast")
    remember_as_hashed(blob(scene), scene.layers()["model.bin"])
    lie_about(scene, "model.bin")
    refused(scene, "--cache", "copy", "--cache-verify", "fast")


def test_fast_is_refused_where_the_policy_does_not_allow_it(scene: Scene) -> None:
    policy = TrustPolicy.of_keys([ALICE.public])
    strict = replace(policy, scopes=tuple(replace(scope, cache_verify="always") for scope in policy.scopes))
    with pytest.raises(UsageError) as caught:
        pull(scene.reference, scene.out, policy=strict, access=scene.access, cache_verify="fast")
    assert caught.value.exit_code == 2
    assert scene.registry.count("GET", "blob") == 0
    pull(scene.reference, scene.out, policy=policy, access=scene.access, cache_verify="fast")


def test_fast_wants_a_directory_that_nobody_else_enters(scene: Scene) -> None:
    cache_dir().mkdir(mode=0o755)
    document = pulled(scene, "--cache", "copy", "--cache-verify", "fast")
    assert "every byte from it is hashed" in document["err"]
    assert blob(scene).exists()


# --- nothing of a refused model stays -------------------------------------------------------------


def lie_about(scene: Scene, name: str) -> None:
    """The model's manifest, rightly signed, now names an index that gives ``name`` another last byte."""
    data = bytearray(FILES[name])
    data[-5] ^= 1
    hasher = ChunkHasher(len(data), (), "blake3")
    hasher.update(memoryview(data))
    layer = hasher.index(Digest.of(FILES[name]))
    index = ChunkIndex(algorithm="blake3", layers={layer.digest: layer}).to_bytes()
    scene.repository.add_blob(index)
    manifest = scene.manifest()
    manifest["annotations"][media.CHUNK_INDEX_ANNOTATION] = str(Digest.of(index))
    scene.put(json.dumps(manifest).encode())


def refused(scene: Scene, *more: str) -> None:
    shutil.rmtree(scene.out, ignore_errors=True)
    before = snapshot()
    ran = scene.pull(*more)
    assert ran.code == 14, ran.err
    assert scene.nothing_arrived()
    assert snapshot() == before


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("mode", ["auto", "copy", "link"])
def test_an_index_that_contradicts_a_layer_leaves_the_cache_as_it_was(scene: Scene, mode: str, warm: bool) -> None:
    if warm:
        pulled(scene, "--cache", mode)
    lie_about(scene, "model.bin")
    refused(scene, "--cache", mode)
    refused(scene, "--cache", mode)
    assert warm or snapshot() == {}


def test_an_unsigned_model_leaves_nothing_in_the_cache(scene: Scene) -> None:
    assert scene.pull("--cache", "copy", key=BOB).code == 12
    assert snapshot() == {}


# --- whose directory it is ------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["others-may-write", "group-may-write", "layout", "somebody-elses", "file"])
def test_a_directory_that_others_can_write_is_left_alone(scene: Scene, case: str) -> None:
    pulled(scene, "--cache", "copy")
    damage(blob(scene))
    if case == "file":
        shutil.rmtree(cache_dir())
        cache_dir().touch()
    elif case == "somebody-elses":
        if os.geteuid():
            pytest.skip("only root can give a directory away")
        os.chown(cache_dir(), 65534, 65534)
    elif case == "layout":
        (cache_dir() / "layout").chmod(0o777)
    else:
        cache_dir().chmod(0o777 if case == "others-may-write" else 0o770)
    before = snapshot() if case != "file" else {}
    document = pulled(scene, "--cache", "copy")
    assert "is not used" in document["err"]
    assert "is damaged" not in document["err"]
    assert document["fetchedBytes"] == sum(map(len, FILES.values()))
    assert files_of(scene.out) == FILES
    assert (snapshot() if case != "file" else {}) == before


def test_a_directory_that_others_may_only_read_is_used(scene: Scene) -> None:
    cache_dir().mkdir(mode=0o755)
    pulled(scene, "--cache", "copy")
    assert blob(scene).exists()
    assert (cache_dir() / "layout").stat().st_mode & 0o077 == 0
    assert pulled(scene, "--cache", "copy")["fetchedBytes"] == 0


# --- a cache that cannot be written ---------------------------------------------------------------


def test_a_broken_cache_costs_a_warning(scene: Scene) -> None:
    cache_dir().mkdir(mode=0o700)
    (cache_dir() / "layout").mkdir(mode=0o700)
    (cache_dir() / "layout" / "notes.txt").write_text("somebody keeps notes here")
    document = pulled(scene, "--cache", "copy")
    assert "keeps no more of this model" in document["err"]
    assert files_of(scene.out) == FILES


def test_the_pull_comes_before_its_copy(tmp_path: Path) -> None:
    """Where the disk has no room for both."""
    part = tmp_path / "part"
    part.write_bytes(FILES["model.bin"])
    job = Job(
        descriptor=_descriptor(FILES["model.bin"]),
        name="model.bin",
        part=part,
        finish=lambda _: None,
        places=(tmp_path / "model.bin",),
    )
    cache_dir().mkdir(mode=0o700)
    cache = Cache(cache_dir(), mode="copy")
    cache.settle(tmp_path)
    if cache.way == "clone":
        pytest.skip("a reflink needs no room")
    cache.outstanding = 1 << 60
    cache.put(job, part, lambda _: None)
    cache.close()
    assert not cache.has(job.descriptor)
    assert "there is no room for a copy" in cache.warnings[0]


def test_bytes_that_are_not_what_they_should_be_never_get_the_name(tmp_path: Path) -> None:
    """Whatever put them into the part after it was checked."""
    part = tmp_path / "part"
    part.write_bytes(b"other bytes")
    wanted = _descriptor(b"these bytes")
    job = Job(descriptor=wanted, name="x", part=part, finish=lambda _: None, places=(tmp_path / "x",))
    cache_dir().mkdir(mode=0o700)
    cache = Cache(cache_dir(), mode="copy")
    cache.settle(tmp_path)
    if cache.way == "clone":
        pytest.skip("a reflink is the very bytes that were checked")
    with pytest.raises(DigestMismatchError):
        cache.put(job, part, lambda _: None)
    cache.close()
    assert not cache.path(wanted.digest).exists()


def _descriptor(data: bytes) -> Any:
    from ocimodel.oci.descriptor import Descriptor

    return Descriptor(media_type="application/octet-stream", digest=Digest.of(data), size=len(data))
