"""What the cache holds, and making it smaller: nothing that is needed is ever in it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from ocimodel.cli.cache import size_of
from ocimodel.errors import UsageError
from ocimodel.transfer.places import cache_dir
from ocimodel.verbs import cache
from ocimodel.verbs.pruning import prune
from tests.commands import World, events, make_world, run
from tests.documents import check, problems


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A machine on which a model was pushed and pulled, some time ago."""
    world = make_world(tmp_path)
    for path in world.model.iterdir():
        old = time.time() - 3600
        os.utime(path, (old, old))
    for name in ("one", "two"):
        assert run("pull", world.ref, "-o", world.root / name, "--key", world.pub).code == 0
    return world


def kinds() -> dict[str, int]:
    """How many entries of each kind; how many blobs there are depends on the file system."""
    found: dict[str, int] = {}
    for entry in cache.show(cache_dir()).entries:
        if entry.kind != "blob":
            found[entry.kind] = found.get(entry.kind, 0) + 1
    return found


def blobs() -> list[str]:
    return [entry.name for entry in cache.show(cache_dir()).entries if entry.kind == "blob"]


def age(path: Path, hours: float) -> None:
    then = time.time() - hours * 3600
    os.utime(path, (then, then))


def test_show(world: World) -> None:
    assert kinds() == {"digests": 1, "chunk-index": 1, "pulled": 2}
    assert {"config", "provenance", "chunk index"} <= set(blobs())
    ran = run("cache", "show")
    assert ran.code == 0
    assert str(world.root / "one") in ran.out
    assert world.digest in ran.out
    assert "(gone)" not in ran.out
    shutil.rmtree(world.root / "one")
    assert f"{world.root / 'one'} (gone)" in run("cache", "show").out


def test_show_as_a_document(world: World) -> None:
    shutil.rmtree(world.root / "one")
    document = check(run("cache", "show", "--json").document)
    assert document["outcome"] == "pass"
    assert document["reference"] is None
    assert document["ignored"] is None
    assert document["totalBytes"] == sum(entry["bytes"] for entry in document["entries"])
    assert {entry["directory"]: entry["exists"] for entry in document["entries"] if entry["kind"] == "pulled"} == {
        str(world.root / "one"): False,
        str(world.root / "two"): True,
    }


def test_looking_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIMODEL_CACHE_DIR", str(tmp_path / "cache"))
    for command in ("show", "prune"):
        assert check(run("cache", command, "--json").document)["entries"] == []
    assert not (tmp_path / "cache").exists()


def test_prune_forgets_directories_that_are_gone(world: World) -> None:
    shutil.rmtree(world.root / "one")
    (cache_dir() / "pulled" / "broken.json").write_text("{")
    (cache_dir() / "pulled" / ".x.1.tmp").write_text("half")
    (cache_dir() / "chunks" / ".y.1.tmp").write_text("half")
    age(cache_dir() / "chunks" / ".y.1.tmp", 2)
    document = check(run("cache", "prune", "--json").document)
    assert sorted(entry["kind"] for entry in document["removed"]) == ["other", "pulled", "pulled"]
    assert document["freedBytes"] == sum(entry["bytes"] for entry in document["removed"])
    assert kinds() == {"digests": 1, "chunk-index": 1, "pulled": 1}
    assert (cache_dir() / "pulled" / ".x.1.tmp").exists(), "its writer may be at work"
    assert (world.root / "two").is_dir()
    event = events()[-1]
    assert problems(event, "audit-event") == []
    assert event["type"] == "io.github.ocimodel.cache.prune.v1"


def test_prune_removes_the_oldest_first(world: World) -> None:
    entries = {entry.subject: entry for entry in cache.show(cache_dir()).entries}
    age(entries[str(world.root / "one")].path, 5)
    whole = cache.show(cache_dir()).size
    done = prune(cache_dir(), max_size=whole - 1)
    assert [entry.subject for entry in done.removed] == [str(world.root / "one")]
    assert done.contents.size < whole
    assert (world.root / "one").is_dir(), "a model is never removed"


def test_prune_to_nothing_and_everything_still_works(world: World) -> None:
    ran = run("cache", "prune", "--max-size", "0")
    assert ran.code == 0
    assert kinds() == {}
    assert blobs() == []
    assert run("pull", world.ref, "-o", world.root / "three", "--key", world.pub).code == 0
    assert run("push", world.model, world.ref).out.strip().endswith(world.digest)
    assert kinds()["pulled"] == 1


def test_the_oldest_digests_go_when_files_are_not_enough(world: World) -> None:
    database = cache_dir() / cache.DATABASE
    with sqlite3.connect(database) as connection:
        connection.executemany(
            "insert into digests values (1, ?, 1, 1, 1, ?, ?)",
            [(number, "0" * 64, number) for number in range(5000)],
        )
    connection.close()
    before = database.stat().st_size
    done = prune(cache_dir(), max_size=before // 2)
    assert done.contents.size <= before // 2
    (entry,) = done.contents.entries
    assert 1000 < entry.count < 4000
    with sqlite3.connect(database) as connection:
        assert connection.execute("select max(ino) from digests where dev = 1").fetchone() == (4999,)
    connection.close()


@pytest.mark.parametrize("case", ["mode", "link", "file"])
@pytest.mark.parametrize("command", ["show", "prune"])
def test_a_directory_that_is_not_ours_alone_is_not_used(
    command: str, case: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case == "mode":
        cache_dir().chmod(0o770)
        why = "its mode is 0770"
    elif case == "link":
        (world.root / "link").symlink_to(cache_dir())
        monkeypatch.setenv("OCIMODEL_CACHE_DIR", str(world.root / "link"))
        why = "it is not a directory"
    else:
        monkeypatch.setenv("OCIMODEL_CACHE_DIR", str(world.pub))
        why = "it is not a directory"
    ran = run("cache", command, "--json")
    assert ran.code == 0
    document = check(ran.document)
    assert (document["outcome"], document["class"]) == ("warn", "configuration")
    assert document["reasons"][0]["reason"] == "cache-ignored"
    assert why in document["ignored"]
    assert document["entries"] == []
    assert f"is not used: {why}" in ran.err
    if case != "file":
        monkeypatch.undo()
    if case == "mode":
        cache_dir().chmod(0o700)


def test_digests_are_not_kept_where_others_may_look(world: World) -> None:
    cache_dir().chmod(0o755)
    ran = run("cache", "show", "--json")
    document = check(ran.document)
    assert (document["outcome"], document["ignored"]) == ("pass", None)
    assert "its mode is 0755" in ran.err
    assert blobs()


def test_a_broken_database_is_not_in_the_way(world: World) -> None:
    (cache_dir() / cache.DATABASE).write_bytes(b"no database" * 1000)
    assert run("cache", "show").code == 0
    assert run("cache", "prune", "--max-size", "1KB").code == 0
    assert cache.show(cache_dir()).size <= 1000


def test_the_group_alone_asks_for_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cache").code == 0
    assert "prune" in capsys.readouterr().out


def test_sizes() -> None:
    assert [size_of(text) for text in ("0", "10", "10B", "2KB", "2KiB", "1.5GiB", "1T")] == [
        0,
        10,
        10,
        2000,
        2048,
        1536 * 1024**2,
        10**12,
    ]


@pytest.mark.parametrize("text", ["", "-1", "1 GB", "GB", "1e9", "1PB", "0x10"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(UsageError):
        size_of(text)
    assert run("cache", "prune", f"--max-size={text}").code == 2
