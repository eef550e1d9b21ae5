"""The destination of a pull: complete by one rename, or left alone."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from ocimodel.errors import StorageError, UsageError
from ocimodel.oci.digest import Digest
from ocimodel.transfer import staging

DIGEST = Digest.of(b"artifact")


def stage(area: staging.Staging, **files: str) -> None:
    for name, text in files.items():
        path = area.path(name.replace("__", "/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def tree(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


def test_a_new_destination_appears_by_one_rename(tmp_path: Path) -> None:
    destination = tmp_path / "deep" / "model"
    with staging.staging(destination, DIGEST) as area:
        stage(area, weights="w", sub__config="c")
        assert not destination.exists()
        inode = area.root.stat().st_ino
        staging.publish(area, ["weights", "sub/config"])
    assert destination.stat().st_ino == inode
    assert tree(destination) == {"weights": "w", "sub/config": "c"}
    assert [path.name for path in destination.parent.iterdir()] == ["model"]
    assert destination.stat().st_mode & 0o777 == 0o755


def test_an_empty_destination_keeps_its_identity(tmp_path: Path) -> None:
    destination = tmp_path / "mount"
    destination.mkdir()
    inode = destination.stat().st_ino
    with staging.staging(destination, DIGEST) as area:
        assert destination in area.root.parents
        stage(area, weights="w", sub__config="c")
        assert staging.listing(destination) == {}
        staging.publish(area, ["weights", "sub/config"])
    assert destination.stat().st_ino == inode
    assert tree(destination) == {"weights": "w", "sub/config": "c"}
    assert sorted(path.name for path in destination.iterdir()) == ["sub", "weights"]


def _killed(destination: Path) -> None:
    with staging.staging(destination, DIGEST) as area:
        stage(area, weights="w")
        raise KeyboardInterrupt


def test_what_was_staged_survives_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _killed(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with staging.staging(tmp_path / "model", DIGEST) as area:
        assert area.path("weights").read_text() == "w"


def test_another_artifact_is_staged_elsewhere(tmp_path: Path) -> None:
    with staging.staging(tmp_path / "model", DIGEST) as area:
        stage(area, weights="w")
    with staging.staging(tmp_path / "model", Digest.of(b"other")) as area:
        assert not area.path("weights").exists()


def test_a_file_is_no_destination(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("mine")
    with pytest.raises(UsageError, match="is not a directory"), staging.staging(tmp_path / "model", DIGEST):
        pass
    assert (tmp_path / "model").read_text() == "mine"


def _hold(destination: Path, began: Path, seconds: float) -> None:
    with staging.staging(destination, DIGEST) as area:
        began.write_text("x")
        time.sleep(seconds)
        stage(area, weights="w")
        staging.publish(area, ["weights"])


def test_a_second_pull_waits_and_finds_the_directory(tmp_path: Path) -> None:
    destination, began = tmp_path / "model", tmp_path / "began"
    process = multiprocessing.get_context("spawn").Process(target=_hold, args=(destination, began, 0.5))
    process.start()
    while not began.exists():
        time.sleep(0.01)
    with pytest.raises(UsageError, match="another pull"), staging.staging(destination, DIGEST, timeout=0.05):
        pass
    with staging.staging(destination, DIGEST) as area:
        assert area.inside
        assert area.destination.joinpath("weights").read_text() == "w"
        staging.discard(area)
    process.join()
    assert tree(destination) == {"weights": "w"}
    assert list(destination.iterdir()) == [destination / "weights"]


def test_a_destination_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    destination = tmp_path / "model"
    with staging.staging(destination, DIGEST) as area:
        stage(area, weights="w")
        destination.mkdir()
        (destination / "other").write_text("mine")
        with pytest.raises(UsageError, match="appeared meanwhile"):
            staging.publish(area, ["weights"])
    assert tree(destination) == {"other": "mine"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_parent_is_a_storage_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="cannot write"), staging.staging(tmp_path / "model", DIGEST):
        pass


def test_a_destination_where_nothing_can_be_made_is_said_at_once() -> None:
    with pytest.raises(StorageError, match="cannot write"), staging.staging(Path("/proc/model"), DIGEST):
        pass


def test_a_parent_that_is_a_file_is_a_misuse(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="not a directory"), staging.staging(tmp_path / "file" / "model", DIGEST):
        pass


def test_too_little_room_is_said_before(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="are needed"):
        staging.check_room(tmp_path, 2**62)


def test_links_are_listed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_text("s")
    model = tmp_path / "model"
    model.mkdir()
    (model / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(model / "pipe")
    assert set(staging.listing(model)) == {"link", "pipe"}


def test_small_files_are_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    staging.write_atomically(path, b"one")
    staging.write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]
