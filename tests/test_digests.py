"""The digest cache decides what gets signed: kept like a key, and silent in doubt."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from ocimodel.model.scan import Identity
from ocimodel.oci.digest import Digest
from ocimodel.transfer.digests import MARGIN_NS, DigestCache

DIGEST = Digest.of(b"content")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(b"content")
    return path


def later() -> int:
    """A moment at which the file has long been still."""
    return time.time_ns() + 2 * MARGIN_NS


def identity(path: Path) -> Identity:
    return Identity.of(path.stat())


def test_a_still_file_is_remembered_across_runs(tmp_path: Path, file: Path) -> None:
    cache = DigestCache(tmp_path / "cache")
    cache.put(identity(file), DIGEST, hashed_at_ns=later())
    cache.close()
    assert DigestCache(tmp_path / "cache").get(identity(file)) == DIGEST
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "cache" / "digests.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_file_that_just_changed_is_not_remembered(tmp_path: Path, file: Path) -> None:
    cache = DigestCache(tmp_path / "cache")
    cache.put(identity(file), DIGEST, hashed_at_ns=time.time_ns())
    assert cache.get(identity(file)) is None


@pytest.mark.parametrize("change", ["content", "times set back", "replaced"])
def test_a_changed_file_is_unknown(tmp_path: Path, file: Path, change: str) -> None:
    cache = DigestCache(tmp_path / "cache")
    before = file.stat()
    cache.put(identity(file), DIGEST, hashed_at_ns=later())
    if change == "replaced":
        (tmp_path / "new").write_bytes(b"CONTENT")
        os.replace(tmp_path / "new", file)
    else:
        file.write_bytes(b"CONTENT")
    if change != "content":
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.get(identity(file)) is None


def test_what_turned_out_wrong_is_forgotten(tmp_path: Path, file: Path) -> None:
    cache = DigestCache(tmp_path / "cache")
    cache.put(identity(file), DIGEST, hashed_at_ns=later())
    cache.forget(identity(file))
    assert cache.get(identity(file)) is None


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o777])
def test_a_directory_that_others_can_enter_is_ignored(tmp_path: Path, file: Path, mode: int) -> None:
    DigestCache(tmp_path / "cache").put(identity(file), DIGEST, hashed_at_ns=later())
    (tmp_path / "cache").chmod(mode)
    cache = DigestCache(tmp_path / "cache")
    assert cache.get(identity(file)) is None
    cache.put(identity(file), DIGEST, hashed_at_ns=later())


def test_a_link_to_a_directory_is_ignored(tmp_path: Path, file: Path) -> None:
    DigestCache(tmp_path / "real").put(identity(file), DIGEST, hashed_at_ns=later())
    (tmp_path / "cache").symlink_to(tmp_path / "real")
    assert DigestCache(tmp_path / "cache").get(identity(file)) is None


def test_a_network_file_system_is_never_remembered(tmp_path: Path, file: Path) -> None:
    cache = DigestCache(tmp_path / "cache")
    elsewhere = identity(file)._replace(dev=2**40)
    cache.put(elsewhere, DIGEST, hashed_at_ns=later())
    assert cache.get(elsewhere) is None


def test_a_damaged_database_means_not_known(tmp_path: Path, file: Path) -> None:
    first = DigestCache(tmp_path / "cache")
    first.put(identity(file), DIGEST, hashed_at_ns=later())
    first.close()
    (tmp_path / "cache" / "digests.sqlite").write_bytes(b"garbage" * 1000)
    cache = DigestCache(tmp_path / "cache")
    assert cache.get(identity(file)) is None
    cache.put(identity(file), DIGEST, hashed_at_ns=later())
    cache.close()


def test_no_directory_means_no_cache(file: Path) -> None:
    cache = DigestCache(None)
    cache.put(identity(file), DIGEST, hashed_at_ns=later())
    assert cache.get(identity(file)) is None
    cache.close()


def test_threads_share_it(tmp_path: Path, file: Path) -> None:
    cache = DigestCache(tmp_path / "cache")
    base = identity(file)

    def work(number: int) -> None:
        for inode in range(50):
            mine = base._replace(ino=number * 1000 + inode)
            cache.put(mine, DIGEST, hashed_at_ns=later())
            assert cache.get(mine) == DIGEST

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.get(base._replace(ino=3049)) == DIGEST
