import os
import socket
import unicodedata
from pathlib import Path

import pytest

from ocimodel.errors import ConfigurationError, StorageError, UnsafePathError, UsageError
from ocimodel.model.scan import scan


def fill(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def paths(root: Path) -> list[str]:
    return [file.path for file in scan(root)]


def test_names_are_sorted_by_their_bytes_and_use_slashes(tmp_path: Path) -> None:
    fill(tmp_path, "b", "a/z", "a-b", "é", "Z", "a/b/c")
    assert paths(tmp_path) == ["Z", "a-b", "a/b/c", "a/z", "b", "é"]


def test_the_order_of_the_disk_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, *(f"{letter}/{number}" for letter in "abc" for number in range(5)))
    expected = scan(tmp_path)
    real = os.scandir

    class Backwards:
        def __init__(self, path: Path) -> None:
            with real(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(os, "scandir", Backwards)
    assert scan(tmp_path) == expected


def test_a_file_knows_its_size_role_and_identity(tmp_path: Path) -> None:
    (file,) = scan(fill(tmp_path, "model.safetensors"))
    status = (tmp_path / "model.safetensors").stat()
    assert (file.size, file.role) == (len("model.safetensors"), "weight")
    assert file.identity == (status.st_dev, status.st_ino, file.size, status.st_mtime_ns, status.st_ctime_ns)
    assert file.location == tmp_path / "model.safetensors"


@pytest.mark.parametrize(
    "name",
    [
        ".git/config",
        "sub/.git/HEAD",
        ".hg/store",
        "__pycache__/x.py",
        "x/__pycache__/m.cpython-311.pyc",
        ".cache/huggingface/download/x.metadata",
        ".ipynb_checkpoints/x.ipynb",
        ".DS_Store",
        "sub/.DS_Store",
        "Thumbs.db",
        "x.lock",
        "model.safetensors.incomplete",
        "model.gguf.part",
        "model.gguf.crdownload",
        "x.tmp",
        ".ocimodelignore",
        ".ocimodel/provenance.intoto.json",
        ".ocimodel-tmp-0123456789abcdef/model.bin",
        ".venv/bin/python",
        "node_modules/x/index.js",
        ".env",
        "sub/.env.local",
    ],
)
def test_left_out_by_default(tmp_path: Path, name: str) -> None:
    fill(tmp_path, "kept", name)
    if name == ".ocimodelignore":
        (tmp_path / name).write_text("")
    assert paths(tmp_path) == ["kept"]


def test_the_ignore_file_is_gitignore_syntax_and_wins_over_the_defaults(tmp_path: Path) -> None:
    fill(tmp_path, "a.bin", "b.bin", "sub/a.bin", "checkpoints/1/x", "optimizer.pt", ".env", "keep/checkpoints")
    (tmp_path / ".ocimodelignore").write_text("# comment\n\n/a.bin\ncheckpoints/\n*.pt\n!.env\n", encoding="utf-8")
    assert paths(tmp_path) == [".env", "b.bin", "keep/checkpoints", "sub/a.bin"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * (1024 * 1024 + 1), b"!\n"])
def test_an_ignore_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    fill(tmp_path, "a")
    (tmp_path / ".ocimodelignore").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"\.ocimodelignore"):
        scan(tmp_path)


def test_nothing_to_pack(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / ".DS_Store").touch()
    with pytest.raises(UsageError, match="nothing to pack"):
        scan(tmp_path)


def test_no_such_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such directory"):
        scan(tmp_path / "missing")
    with pytest.raises(UsageError, match="not a directory"):
        scan(fill(tmp_path, "file") / "file")


def test_the_directory_itself_may_be_a_link(tmp_path: Path) -> None:
    fill(tmp_path / "real", "a")
    (tmp_path / "link").symlink_to("real")
    assert scan(tmp_path / "link") == scan(tmp_path / "real")


def test_a_link_to_a_file_inside_is_that_file(tmp_path: Path) -> None:
    fill(tmp_path, "blobs/x", "sub/deep/y")
    (tmp_path / "model.bin").symlink_to("blobs/x")
    (tmp_path / "sub" / "deep" / "again").symlink_to("../../model.bin")
    found = {file.path: file for file in scan(tmp_path)}
    assert set(found) == {"blobs/x", "model.bin", "sub/deep/again", "sub/deep/y"}
    assert found["model.bin"].identity == found["blobs/x"].identity == found["sub/deep/again"].identity
    assert found["model.bin"].location == tmp_path / "blobs" / "x"


def test_a_link_to_what_is_left_out_is_still_that_file(tmp_path: Path) -> None:
    fill(tmp_path, ".git/annex/objects/x")
    (tmp_path / "model.bin").symlink_to(".git/annex/objects/x")
    assert paths(tmp_path) == ["model.bin"]


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("../outside", "leaves the directory"),
        ("sub/../../outside", "leaves the directory"),
        ("/etc/hostname", "absolute"),
        ("missing", "leads nowhere"),
        ("link", "leads nowhere"),
        ("loop", "leads nowhere"),
        ("sub", "directory"),
        (".", "directory"),
    ],
)
def test_links_that_are_refused(tmp_path: Path, target: str, why: str) -> None:
    model = fill(tmp_path / "model", "file", "sub/x")
    fill(tmp_path, "outside", "model-b/secret")
    (model / "loop").symlink_to("link")
    (model / "link").symlink_to(target)
    (model / ".ocimodelignore").write_text("loop\n")
    with pytest.raises(UnsafePathError, match=why) as caught:
        scan(model)
    assert "link" in caught.value.message


def test_a_sibling_whose_name_begins_alike_is_outside(tmp_path: Path) -> None:
    model = fill(tmp_path / "model", "file")
    fill(tmp_path, "model-b/secret")
    (model / "link").symlink_to("../model-b/secret")
    with pytest.raises(UnsafePathError, match="leaves the directory"):
        scan(model)


def test_a_hub_cache_snapshot_says_how_to_go_on(tmp_path: Path) -> None:
    fill(tmp_path, "blobs/abc")
    snapshot = tmp_path / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to("../../blobs/abc")
    with pytest.raises(UnsafePathError, match=r"model\.safetensors leaves") as caught:
        scan(snapshot)
    assert "cp -rL" in caught.value.hint


def test_pipes_and_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnsafePathError, match="pipe is not a file but a pipe"):
        scan(tmp_path)
    (tmp_path / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the name of a socket must be short
        server.bind("s")
        with pytest.raises(UnsafePathError, match="s is not a file but a socket"):
            scan(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_devices(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    try:
        os.mknod(tmp_path / "null", 0o20666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("devices cannot be made here")
    with pytest.raises(UnsafePathError, match="null is not a file but a device"):
        scan(tmp_path)


@pytest.mark.parametrize("name", ["con", "NUL.txt", "a:b", "a\\b", "trailing.", "tab\there", "zero\u200bwidth"])
def test_names_that_some_platform_refuses(tmp_path: Path, name: str) -> None:
    fill(tmp_path, name)
    with pytest.raises(UnsafePathError):
        scan(tmp_path)
    (tmp_path / ".ocimodelignore").write_text("*\n!kept\n")
    fill(tmp_path, "kept")
    assert paths(tmp_path) == ["kept"]


def test_names_that_are_not_text(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    with open(os.path.join(os.fsencode(tmp_path), b"caf\xe9"), "wb"):
        pass
    with pytest.raises(UnsafePathError, match=r"caf\\xe9 is not UTF-8"):
        scan(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("Model.bin", "model.bin"),
        ("sub/x", "Sub/y"),
        (unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")),
    ],
)
def test_names_that_are_one_elsewhere(tmp_path: Path, names: tuple[str, str]) -> None:
    fill(tmp_path, *names)
    with pytest.raises(UnsafePathError, match="one"):
        scan(tmp_path)


def test_reserved_names_below_the_top_are_anybodys(tmp_path: Path) -> None:
    assert paths(fill(tmp_path, "sub/.ocimodel-x")) == ["sub/.ocimodel-x"]


def test_a_reserved_name_that_the_ignore_file_takes_back_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, ".ocimodel-x")
    (tmp_path / ".ocimodelignore").write_text("!.ocimodel-x\n")
    with pytest.raises(UnsafePathError, match="keeps for itself"):
        scan(tmp_path)


def test_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a", "sub/b")
    monkeypatch.setattr(os, "access", lambda path, _mode: not str(path).endswith("/a"))
    with pytest.raises(StorageError, match="cannot read a"):
        scan(tmp_path)
    monkeypatch.undo()
    real = os.scandir

    def refuse(path: Path) -> object:
        if path.name == "sub":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StorageError, match="cannot read sub: Permission denied"):
        scan(tmp_path)
    monkeypatch.undo()  # pytest walks through the directory to clear it
