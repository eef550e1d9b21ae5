"""Pickles are found by their content, and nothing else is taken for one. Nothing here is ever loaded."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ocimodel.model.formats import PICKLE, format_of_name, format_of_type, is_weight
from ocimodel.model.opcodes import is_pickle
from ocimodel.model.pickles import HEAD, pickle_in
from ocimodel.model.reading import ReadAt


class Evil:
    """What runs a command when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("echo this must never run",)


def at(data: bytes) -> tuple[ReadAt, int]:
    return lambda offset, length: data[offset : offset + length], len(data)


def found(data: bytes) -> str:
    return pickle_in(*at(data))


PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
HIDDEN: dict[str, object] = {
    "alone": Evil(),
    "in-a-dict": {"weights": [1.5, 2.5], "x": Evil()},
    "after-a-long-key": {"x" * (HEAD + 9): Evil()},
    "after-much": [*range(3000), b"y" * (2 * HEAD), Evil()],
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("case", HIDDEN)
def test_a_pickle_that_runs_something(protocol: int, case: str) -> None:
    assert found(pickle.dumps(HIDDEN[case], protocol)) == "a pickle"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_that_runs_nothing_is_one_as_well(protocol: int) -> None:
    assert found(pickle.dumps({"a": [1, 2.5, "x"]}, protocol)) == "a pickle"


def test_pickles_written_by_hand() -> None:
    # Opcodes of new protocols need no mark of a protocol.
    assert found(b"\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.")
    assert found(b"(S'true'\nios\nsystem\n.")
    assert found(b"cos\nsystem\n(S'true'\ntR.")
    assert found(b"N0cos\nsystem\np0\n(Vtrue\ntp1\nRp2\n.")
    # The callable is put away, and taken from the memo.
    assert found(b"cos\nsystem\nq\x000(S'true'\ntq\x010h\x00h\x01R.")


def container(kind: str, name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    if kind == "tar":
        with tarfile.open(fileobj=out, mode="w") as archive:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    else:
        with zipfile.ZipFile(
            out, "w", {"zip": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}[kind]
        ) as archived:
            archived.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["zip", "deflated", "tar"])
@pytest.mark.parametrize("name", ["archive/data.pkl", "archive/renamed"])
def test_pickles_in_archives(kind: str, name: str) -> None:
    assert repr(name) in found(container(kind, name, pickle.dumps(Evil(), 2)))


@pytest.mark.parametrize("kind", ["zip", "deflated", "tar"])
def test_archives_of_other_things(kind: str) -> None:
    assert found(container(kind, "weights.bin", b"\x00" * 4096)) == ""


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zlib.compress])
def test_compressed_pickles(pack: Callable[[bytes], bytes]) -> None:
    data = pickle.dumps(Evil(), 4)
    assert found(pack(data)) == "a pickle, compressed"
    assert found(pack(b"plain text, and nothing else\n" * 99)) == ""


def test_a_compressed_tar() -> None:
    assert "compressed tar" in found(gzip.compress(container("tar", "x", pickle.dumps(Evil(), 0))))


def test_an_archive_that_cannot_be_looked_into_is_not_taken_for_harmless() -> None:
    assert found(b"PK\x03\x04" + b"\x00" * 99)
    assert found(container("zip", "x", b"y" * 99)[:-30])


def test_arrays_of_objects() -> None:
    def saved(array: np.ndarray) -> bytes:
        out = io.BytesIO()
        np.save(out, array, allow_pickle=True)
        return out.getvalue()

    assert found(saved(np.array([Evil()], dtype=object))) == "a NumPy array of objects"
    assert found(saved(np.zeros((4, 4), dtype=np.float32))) == ""
    bundle = io.BytesIO()
    np.savez(bundle, a=np.zeros(9))
    assert found(bundle.getvalue()) == ""
    np.savez(bundle, a=np.array([Evil()], dtype=object))
    assert "'a.npy'" in found(bundle.getvalue())


TEXTS = [
    "cat\ndog\nRabbit\nbird\n.",  # a vocabulary, whose first line begins with an opcode
    "config\nmodel\n(tensor)R\n",
    "import os\n",
    "{}",
    "I am text\n",
    "(((())))",
    "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "Vocabulary\nVery\nVast\n.",
    "[0, 1]\n",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_no_pickle(text: str) -> None:
    assert found(text.encode()) == ""


def test_files_of_this_machine_are_no_pickles() -> None:
    # Those of the standard library: code, text, images, compiled modules.
    folder = Path(os.__file__).parent
    for path in sorted(folder.glob("*.py")) + sorted(folder.glob("__pycache__/*.pyc"))[:200]:
        assert found(path.read_bytes()) == "", path
    assert found(Path(sys.executable).resolve().read_bytes()) == ""


@pytest.mark.parametrize("length", [640, 0x280280, 2**20 + 2, 0x4B0280])
def test_safetensors_whose_header_has_an_unlucky_length(length: int) -> None:
    head = length.to_bytes(8, "little") + b'{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1]'
    assert found(head.ljust(1024)) == ""


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=400))
@example(b"\x80\x04")
@example(b"\x80")
@example(b"")
@example(b"\x80\x04\x95" + b"\xff" * 8 + b"\x8c")
@example(b"\x8e" + b"\xff" * 8)
@example(b"(" * 300 + b"t" * 300)
def test_it_says_something_about_any_bytes(data: bytes) -> None:
    assert isinstance(found(data), str)
    # What really loads without a class being looked up is no pickle that runs anything; what is one is told.
    if is_pickle(*at(data)):
        assert found(data)


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(st.sampled_from([b"cos\nsystem\n", b"(", b"S'x'\n", b"t", b"R", b"N", b"0", b"p1\n", b"g1\n", b"."]))
)
def test_what_the_unpickler_would_call_is_found(pieces: list[bytes]) -> None:
    """Every stream of these opcodes that gets as far as a call of what it imported is told."""
    data = b"".join(pieces)
    calls: list[object] = []

    class Recording(pickle._Unpickler):
        def find_class(self, module: str, name: str) -> object:
            return lambda *arguments: calls.append(arguments)

    with suppress(Exception):  # whatever a broken stream does to the real one
        Recording(io.BytesIO(data)).load()
    if calls:
        assert found(data) == "a pickle"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("model.pkl", PICKLE),
        ("a/b/model.PTH", PICKLE),
        ("pytorch_model.bin", PICKLE),
        ("pytorch_model-00001-of-00003.bin", PICKLE),
        ("model.bin", ""),
        ("model.pkl.gz", PICKLE),
        ("model.gguf", "gguf"),
        ("model.safetensors", "safetensors"),
        ("model.ckpt.data-00000-of-00001", PICKLE),
        ("README", ""),
        (".pkl", PICKLE),
        ("pkl", ""),
    ],
)
def test_formats_by_name(name: str, kind: str) -> None:
    assert format_of_name(name) == kind


def test_formats_by_type() -> None:
    assert format_of_type("application/vnd.docker.ai.gguf.v3") == "gguf"
    assert format_of_type("application/x-python-pickle") == PICKLE
    assert format_of_type("application/vnd.cncf.model.weight.v1.raw") == ""
    assert is_weight("x.json", 1, "application/vnd.cncf.model.weight.v1.raw")
    assert is_weight("x.gguf", 1, "application/vnd.cncf.model.doc.v1.raw")
    assert not is_weight("x.json", 1)
