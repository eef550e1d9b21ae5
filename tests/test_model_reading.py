import gc
import hashlib
import os
import time
from pathlib import Path

import pytest

from ocimodel.errors import IntegrityError, StorageError
from ocimodel.model.reading import open_file, random_access, read_small
from ocimodel.model.scan import ModelFile, scan


def one(tmp_path: Path, content: bytes = b"0123456789") -> ModelFile:
    (tmp_path / "f").write_bytes(content)
    (file,) = scan(tmp_path)
    return file


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 100])
def test_the_bytes_come_whole_however_they_are_asked_for(tmp_path: Path, size: int) -> None:
    content = bytes(range(10))
    file = one(tmp_path, content)
    with open_file(file) as reader:
        assert reader.read() == content
        assert reader.read() == b""
    with open_file(file) as reader:
        assert b"".join(iter(lambda: reader.read(max(size, 1)), b"")) == content
    with open_file(file) as reader:
        digest = hashlib.file_digest(reader, "sha256")  # type: ignore[arg-type]
        assert digest.digest() == hashlib.sha256(content).digest()


def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    file = one(tmp_path, b"")
    with open_file(file) as reader:
        assert reader.read(10) == b""
    assert read_small(file, 10) == b""


def test_random_access_and_small_reads(tmp_path: Path) -> None:
    file = one(tmp_path)
    with random_access(file) as read_at:
        assert (read_at(2, 3), read_at(8, 10), read_at(50, 1), read_at(0, 1)) == (b"234", b"89", b"", b"0")
    assert (read_small(file, 4), read_small(file, 40)) == (b"0123", b"0123456789")


def append(path: Path) -> None:
    with path.open("ab") as out:
        out.write(b"x")


def rewrite(path: Path) -> None:
    time.sleep(0.02)  # coarser than that no file system's clock is
    with path.open("r+b") as out:
        out.write(b"X")


def rewrite_and_hide_it(path: Path) -> None:
    status = path.stat()
    rewrite(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def truncate(path: Path) -> None:
    os.truncate(path, 5)


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.replace(other, path)


CHANGES = [append, rewrite, rewrite_and_hide_it, truncate]


@pytest.mark.parametrize("change", [*CHANGES, replace, os.unlink])
def test_a_change_before_reading(tmp_path: Path, change: object) -> None:
    file = one(tmp_path)
    change(tmp_path / "f")  # type: ignore[operator]
    with pytest.raises(IntegrityError, match="f changed while it was read"):
        open_file(file)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("step", [4, 10, 100])
def test_a_change_while_reading_never_looks_like_an_end(tmp_path: Path, change: object, step: int) -> None:
    file = one(tmp_path)
    with open_file(file) as reader:
        blocks = iter(lambda: reader.read(step), b"")
        change(tmp_path / "f")  # type: ignore[operator]
        with pytest.raises(IntegrityError, match="changed"):
            list(blocks)


def test_a_change_while_looking_into_it(tmp_path: Path) -> None:
    file = one(tmp_path)
    with pytest.raises(IntegrityError, match="changed"), random_access(file):
        rewrite(tmp_path / "f")


@pytest.mark.parametrize("kind", ["pipe", "link", "directory"])
def test_what_was_put_in_the_place_of_a_file_is_neither_opened_nor_waited_for(tmp_path: Path, kind: str) -> None:
    file = one(tmp_path)
    (tmp_path / "f").rename(tmp_path / "moved")
    if kind == "pipe":
        os.mkfifo(tmp_path / "f")
    elif kind == "link":
        (tmp_path / "f").symlink_to("moved")
    else:
        (tmp_path / "f").mkdir()
    with pytest.raises(IntegrityError, match="changed"):
        open_file(file)


def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = one(tmp_path)

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    with open_file(file) as reader:
        monkeypatch.setattr(os, "read", fail)
        with pytest.raises(StorageError, match="cannot read f: Input/output error"):
            reader.read(4)
    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(StorageError, match="cannot read f"):
        open_file(file)


def test_nothing_is_closed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = one(tmp_path)
    append(tmp_path / "f")
    closed: list[int] = []
    real = os.close

    def close(descriptor: int) -> None:
        closed.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "close", close)
    with pytest.raises(IntegrityError):
        open_file(file)
    (tmp_path / "f").unlink()
    with pytest.raises(IntegrityError):
        open_file(file)
    gc.collect()
    assert len(closed) == 1


def test_nothing_stays_open(tmp_path: Path) -> None:
    file = one(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    append(tmp_path / "f")
    for _ in range(5):
        with pytest.raises(IntegrityError):
            open_file(file)
    assert len(os.listdir("/proc/self/fd")) == before
