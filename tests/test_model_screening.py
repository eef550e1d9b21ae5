from pathlib import Path

import pytest

from ocimodel.errors import FormatError, UsageError
from ocimodel.model.scan import scan
from ocimodel.model.screening import screen
from tests.models import make_model

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
# Put together here, so that no scanner takes this file for what it tests.
PRIVATE = b"-----BEGIN ENCRYPTED" + b" PRIVATE KEY-----\nx\n"


def look(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    screen(scan(tmp_path))


def test_the_headers_of_a_model(tmp_path: Path) -> None:
    headers = screen(scan(make_model(tmp_path)))
    assert {path: header.format for path, header in headers.items()} == {
        "gguf/tiny-Q8_0.gguf": "gguf",
        "model-00001-of-00002.safetensors": "safetensors",
        "model-00002-of-00002.safetensors": "safetensors",
    }


@pytest.mark.parametrize(
    "name", ["model.safetensors", "m.gguf", "pytorch_model.bin", "tokenizer.json", "data/t.csv"]
)
def test_a_git_lfs_pointer_is_not_the_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(FormatError, match=f"^{name}: this is a Git LFS pointer") as caught:
        look(tmp_path, name, POINTER)
    assert "git lfs pull" in caught.value.hint
    assert caught.value.exit_code == 14


def test_a_document_may_speak_of_pointers(tmp_path: Path) -> None:
    look(tmp_path, "README.md", POINTER)


@pytest.mark.parametrize("name", ["m.safetensors", "M.SAFETENSORS", "sub.gguf"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", bytes(1000)])
def test_weights_that_are_none_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(FormatError, match=f"^{name}: ") as caught:
        look(tmp_path, name, content)
    assert caught.value.path == name
    assert "damaged" in caught.value.hint


def test_a_download_that_broke_off(tmp_path: Path) -> None:
    make_model(tmp_path)
    path = tmp_path / "model-00002-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FormatError, match=r"00002-of-00002\.safetensors: the tensors end at byte \d+, the file at"):
        screen(scan(tmp_path))


@pytest.mark.parametrize("content", [b"", b"anything", POINTER[:30], POINTER + bytes(1000)])
def test_other_names_may_hold_anything(tmp_path: Path, content: bytes) -> None:
    look(tmp_path, "model.bin", content)


@pytest.mark.parametrize("name", ["cosign.key", "team.pem", "id_ed25519", "x.P8"])
def test_a_private_key_stays_at_home(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is a private key"):
        look(tmp_path, name, PRIVATE)


@pytest.mark.parametrize("name", ["team.pub", "chain.pem", "notes.key"])
def test_what_only_looks_like_one(tmp_path: Path, name: str) -> None:
    look(tmp_path, name, b"-----BEGIN PUBLIC KEY-----\nx\n")
