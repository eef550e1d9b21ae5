"""A model opened where it is: judged first, read by chunks, each checked, nothing on the disk."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import ocimodel
from ocimodel.errors import (
    DigestMismatchError,
    FormatError,
    NotFoundError,
    UnavailableError,
    UnsignedError,
    UntrustedError,
    UsageError,
)
from ocimodel.model.chunkindex import ChunkIndex
from ocimodel.oci import media
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access
from ocimodel.transfer import chunkread
from ocimodel.trust.policy import TrustPolicy
from ocimodel.verbs.arrays import to_numpy, to_torch
from ocimodel.verbs.open import Model, open_model
from ocimodel.verbs.push import push
from ocimodel.verbs.tensors import TensorInfo
from tests.hostile import Drop, HostileRegistry, Switches
from tests.models import Tensors, make_model, tensor, write_gguf, write_safetensors
from tests.real.registries import RealRegistry, fresh_repository
from tests.signers import ALICE, MALLORY

MIB = 1024 * 1024


def big_tensors() -> Tensors:
    """Two large tensors, one of several chunks, around small ones that share a chunk; and an empty one."""
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "a.big": ("float32", (20, 256, 1024)),
        "b.small": ("float16", (3, 5)),
        "c.small": ("int64", (7,)),
        "d.empty": ("float32", (0, 4)),
        "e.big": ("float16", (1024, 1024)),
        "f.last": ("uint8", (11,)),
    }
    return {name: tensor(name, kind, shape) for name, (kind, shape) in shapes.items()}


def expected(tensors: Tensors) -> dict[str, np.ndarray[Any, Any]]:
    return {name: np.frombuffer(data, kind).reshape(shape) for name, (kind, shape, data) in tensors.items()}


@pytest.fixture
def registry() -> Iterator[HostileRegistry]:
    with HostileRegistry() as running:
        yield running


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    directory.mkdir()
    write_safetensors(directory / "model.safetensors", big_tensors())
    (directory / "config.json").write_text('{"model_type": "tiny"}\n')
    return directory


@pytest.fixture
def pushed(registry: HostileRegistry, model: Path) -> Reference:
    return put(registry, model)


def put(registry: HostileRegistry, model: Path, **more: Any) -> Reference:
    reference = Reference.parse(f"{registry.host}/ml/tiny:v1")
    push(model, reference, access=Access(), signer=ALICE, **more)
    registry.forget()
    return reference


def blob_of(registry: HostileRegistry, path: Path) -> str:
    data = path.read_bytes()
    return next(digest for digest, blob in registry.only.blobs.items() if blob == data)


def ranges(registry: HostileRegistry, digest: str) -> list[tuple[int, int]]:
    """What was asked for of a blob; (0, -1) where it was asked for as a whole."""
    found = []
    for request in registry.seen("GET", "blob"):
        if request.target == digest:
            text = request.headers.get("range", "bytes=0--1").removeprefix("bytes=")
            first, _, last = text.partition("-")
            found.append((int(first), int(last)))
    return found


def opened(reference: Reference, **more: Any) -> Model:
    return open_model(reference, **({"keys": [ALICE.public]} | more))


# --- judging --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"keys": ()}, id="nobody"),
        pytest.param({"keys": [ALICE.public], "unverified": True}, id="a-key-and-unverified"),
        pytest.param({"policy": TrustPolicy.of_keys([ALICE.public])}, id="a-key-and-a-policy"),
    ],
)
def test_who_must_have_signed_is_said_once(
    how: dict[str, Any], pushed: Reference, registry: HostileRegistry
) -> None:
    with pytest.raises(UsageError, match="unverified=True"):
        opened(pushed, **how)
    assert not registry.requests


def test_a_stranger_is_refused_before_any_file_is_asked_for(
    pushed: Reference, registry: HostileRegistry, model: Path
) -> None:
    with pytest.raises(UntrustedError):
        opened(pushed, keys=[MALLORY.public])
    assert ranges(registry, blob_of(registry, model / "model.safetensors")) == []


def test_unsigned_is_refused_and_can_be_opened_on_purpose(registry: HostileRegistry, model: Path) -> None:
    reference = Reference.parse(f"{registry.host}/ml/tiny:v1")
    push(model, reference, access=Access())
    with pytest.raises(UnsignedError):
        opened(reference)
    with open_model(str(reference), unverified=True) as found:
        assert found.verdict is None
        assert "unverified" in repr(found)
        assert len(found.tensors()) == 6


def test_a_key_file_and_a_typed_reference(tmp_path: Path, pushed: Reference) -> None:
    (tmp_path / "alice.pub").write_bytes(ALICE.public.to_pem())
    with ocimodel.open(str(pushed), keys=[tmp_path / "alice.pub"]) as found:
        assert found.verdict is not None
        assert found.reference == pushed.at(found.digest)


def test_the_tag_is_resolved_once(pushed: Reference, registry: HostileRegistry) -> None:
    with opened(pushed) as found:
        registry.tags.clear()
        assert found.read("config.json") == b'{"model_type": "tiny"}\n'
        assert len(found.tensors()) == 6


# --- tensors --------------------------------------------------------------------------------------------------


def test_tensors_are_listed_from_the_header_alone(
    pushed: Reference, registry: HostileRegistry, model: Path
) -> None:
    with opened(pushed) as found:
        listed = found.tensors()
        assert found.tensors("model.safetensors") == listed
        assert found.assurance("model.safetensors") == "chunk-verified"
    tensors = big_tensors()
    assert {item.name: (item.shape, item.nbytes) for item in listed} == {
        name: (shape, len(data)) for name, (_, shape, data) in tensors.items()
    }
    assert {item.name: item.dtype for item in listed}["e.big"] == "F16"
    assert {item.file for item in listed} == {"model.safetensors"}
    assert [item.start for item in listed] == sorted(item.start for item in listed)
    (asked,) = ranges(registry, blob_of(registry, model / "model.safetensors"))
    assert asked[0] == 0
    assert asked[1] < 4096


def test_one_tensor_costs_its_chunks_and_no_more(pushed: Reference, registry: HostileRegistry, model: Path) -> None:
    digest = blob_of(registry, model / "model.safetensors")
    wanted = expected(big_tensors())
    with opened(pushed) as found:
        info = found.tensor("a.big")
        registry.forget()
        array = found.numpy("a.big")
        assert ranges(registry, digest) == [(info.start, info.stop - 1)], "two chunks, one request"
        registry.forget()
        small = found.numpy("b.small")
        ((first, last),) = ranges(registry, digest)
        assert last - first < 3 * MIB
        assert found.numpy("d.empty").shape == (0, 4)
    np.testing.assert_array_equal(array, wanted["a.big"])
    np.testing.assert_array_equal(small, wanted["b.small"])
    assert array.flags.writeable
    assert small.flags.writeable
    assert small.dtype == np.float16


def test_all_in_order(pushed: Reference, registry: HostileRegistry, model: Path) -> None:
    wanted = expected(big_tensors())
    with opened(pushed) as found:
        header = found.tensors()
        registry.forget()
        got = [(info, array) for info, array in found.stream()]
    assert [info for info, _ in got] == list(header)
    for info, array in got:
        np.testing.assert_array_equal(array, wanted[info.name])
    asked = sorted(ranges(registry, blob_of(registry, model / "model.safetensors")))
    assert sum(last - first + 1 for first, last in asked) == header[-1].stop - header[0].start, "each byte once"


def test_reading_ahead_is_bounded(tmp_path: Path, registry: HostileRegistry) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    tensors = {f"t{number:02}": tensor(f"t{number}", "uint8", (8 * MIB,)) for number in range(12)}
    write_safetensors(directory / "model.safetensors", tensors)
    reference = put(registry, directory)
    digest = blob_of(registry, directory / "model.safetensors")
    with opened(reference) as found:
        found.tensors()
        registry.forget()
        stream = found.stream_bytes()
        next(stream)
        next(stream)
        assert len(ranges(registry, digest)) <= chunkread.AHEAD + 1
        stream.close()  # type: ignore[attr-defined]


def test_a_whole_model_with_shards_and_gguf(tmp_path: Path) -> None:
    directory = make_model(tmp_path / "model")
    reference = Reference.parse(f"oci:{tmp_path}/store:v1")
    push(directory, reference, access=Access(), signer=ALICE)
    from safetensors.numpy import load_file

    wanted = {name: array for path in directory.glob("*.safetensors") for name, array in load_file(path).items()}
    with opened(reference) as found:
        shards = [entry.path for entry in found.files if entry.path.endswith(".safetensors")]
        got = {info.name: array for info, array in found.stream(shards)}
        assert got.keys() == wanted.keys()
        for name, array in wanted.items():
            np.testing.assert_array_equal(got[name], array)
            np.testing.assert_array_equal(found.numpy(name), array)
        assert found.read("README.md") == (directory / "README.md").read_bytes()


@pytest.mark.parametrize("big_endian", [False, True], ids=["little", "big"])
def test_gguf(tmp_path: Path, big_endian: bool) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    write_gguf(directory / "tiny.gguf", big_endian=big_endian)
    reference = Reference.parse(f"oci:{tmp_path}/store:v1")
    push(directory, reference, access=Access(), signer=ALICE)
    import gguf

    reader = gguf.GGUFReader(str(directory / "tiny.gguf"))
    wanted = {item.name: item.data for item in reader.tensors}
    with opened(reference) as found:
        norm = found.numpy("output_norm.weight")
        assert norm.dtype == np.float32
        np.testing.assert_array_equal(norm, wanted["output_norm.weight"].astype(np.float32))
        with pytest.raises(UsageError, match="Q8_0"):
            found.numpy("token_embd.weight")
        packed = found.numpy("token_embd.weight", bits=True)
        np.testing.assert_array_equal(packed.reshape(-1), wanted["token_embd.weight"].reshape(-1).view(np.uint8))


def test_the_same_name_in_two_files(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    for number, name in enumerate(("a.safetensors", "b.safetensors")):
        write_safetensors(directory / name, {"w": tensor("w", "float32", (4,), number)})
    reference = Reference.parse(f"oci:{tmp_path}/store:v1")
    push(directory, reference, access=Access(), signer=ALICE)
    with opened(reference) as found:
        with pytest.raises(UsageError, match=r"a\.safetensors, b\.safetensors"):
            found.numpy("w")
        assert not np.array_equal(found.numpy("w", "a.safetensors"), found.numpy("w", "b.safetensors"))
        with pytest.raises(NotFoundError):
            found.numpy("x")
        with pytest.raises(NotFoundError):
            found.numpy("w", "c.safetensors")


# --- checking -------------------------------------------------------------------------------------------------


def test_a_bad_chunk_is_fetched_once_more_alone(pushed: Reference, registry: HostileRegistry, model: Path) -> None:
    digest = blob_of(registry, model / "model.safetensors")
    good = bytes(registry.only.blobs[digest])
    with opened(pushed) as found:
        info = found.tensor("a.big")
        second = info.start + (info.stop - info.start) // 2
        registry.only.flip(digest, second + 5)
        registry.forget()

        def heal(_request: Any, _response: Any) -> None:
            registry.only.overwrite(digest, good)

        registry.on_response = heal
        np.testing.assert_array_equal(found.numpy("a.big"), expected(big_tensors())["a.big"])
        assert ranges(registry, digest) == [(info.start, info.stop - 1), (second, info.stop - 1)]


@pytest.mark.parametrize("how", ["one", "stream"])
def test_a_chunk_that_stays_bad_names_file_and_tensor(
    how: str, pushed: Reference, registry: HostileRegistry, model: Path
) -> None:
    digest = blob_of(registry, model / "model.safetensors")
    with opened(pushed) as found:
        registry.only.flip(digest, found.tensor("e.big").start + 1)
        if how == "one":
            with pytest.raises(DigestMismatchError, match=r"model\.safetensors, tensor e\.big, bytes"):
                found.numpy("e.big")
            assert found.numpy("a.big").shape == (20, 256, 1024), "another tensor is not harmed"
        else:
            seen = []
            with pytest.raises(DigestMismatchError, match=r"model\.safetensors, tensor .*e\.big"):
                seen += [info.name for info, _ in found.stream()]


def test_a_header_that_was_changed(pushed: Reference, registry: HostileRegistry, model: Path) -> None:
    registry.only.flip(blob_of(registry, model / "model.safetensors"), 20)
    with opened(pushed) as found, pytest.raises(DigestMismatchError, match="the header"):
        found.tensors()


def test_an_index_that_has_a_tensor_elsewhere_than_the_header(registry: HostileRegistry, model: Path) -> None:
    reference = put(registry, model)
    with opened(reference) as found:
        index = found._index
        assert index is not None
        ((digest, layer),) = index.layers.items()
        first, *others = layer.tensors
        lying = replace(layer, tensors=(replace(first, name="other"), *others))
        found._index = ChunkIndex(algorithm=index.algorithm, layers={digest: lying})
        with pytest.raises(FormatError, match="elsewhere"):
            found.tensors()


def test_a_broken_stream_is_taken_up(pushed: Reference, registry: HostileRegistry, model: Path) -> None:
    digest = blob_of(registry, model / "model.safetensors")
    with opened(pushed) as found:
        found.tensors()
        registry.fail(Drop(sent=3 * MIB), route="blob", target=digest, times=2)
        np.testing.assert_array_equal(found.numpy("a.big"), expected(big_tensors())["a.big"])
        registry.fail(Drop(sent=0), route="blob", target=digest)
        with pytest.raises(UnavailableError):
            found.numpy("e.big")


def test_a_registry_without_ranges(model: Path) -> None:
    with HostileRegistry(Switches(ranges="ignored")) as registry:
        reference = put(registry, model)
        with opened(reference) as found:
            np.testing.assert_array_equal(found.numpy("e.big"), expected(big_tensors())["e.big"])


# --- without an index -----------------------------------------------------------------------------------------


def without_index(registry: HostileRegistry, model: Path) -> Reference:
    """The blob of the index is gone; the annotation still names it."""
    reference = put(registry, model)
    with opened(reference) as found:
        named = found._artifact.manifest.annotations[media.CHUNK_INDEX_ANNOTATION]
    del registry.only.blobs[named]
    registry.forget()
    return reference


def test_a_small_file_without_an_index_is_read_whole_once(registry: HostileRegistry, model: Path) -> None:
    reference = without_index(registry, model)
    digest = blob_of(registry, model / "model.safetensors")
    with opened(reference) as found:
        assert found.assurance("model.safetensors") == "sha256-verified"
        for name, array in expected(big_tensors()).items():
            np.testing.assert_array_equal(found.numpy(name), array)
        assert len(list(found.stream())) == 6
    assert ranges(registry, digest) == [(0, -1)]


def test_a_small_file_without_an_index_is_held_against_its_sha256(registry: HostileRegistry, model: Path) -> None:
    reference = without_index(registry, model)
    registry.only.flip(blob_of(registry, model / "model.safetensors"), 22 * MIB)
    with opened(reference) as found, pytest.raises(DigestMismatchError):
        found.tensors()


def test_a_large_file_without_an_index_is_refused(
    registry: HostileRegistry, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = without_index(registry, model)
    monkeypatch.setattr(chunkread, "MAX_WHOLE", 8 * MIB)
    with opened(reference) as found:
        with pytest.raises(UsageError, match="no chunk index"):
            found.tensors()
        assert found.read("config.json")
    assert ranges(registry, blob_of(registry, model / "model.safetensors")) == []


# --- small files ----------------------------------------------------------------------------------------------


def test_small_files(pushed: Reference, registry: HostileRegistry) -> None:
    with opened(pushed) as found:
        with pytest.raises(UsageError, match="more than 10"):
            found.read("config.json", limit=10)
        with pytest.raises(NotFoundError):
            found.read("other.json")
        (entry,) = (entry for entry in found.files if entry.path == "config.json")
        registry.only.flip(str(entry.descriptor.digest), 3)
        with pytest.raises(DigestMismatchError):
            found.read("config.json")


def test_a_file_within_an_archive(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    for number in range(1001):
        (directory / f"{number:04}.json").write_text(f"{number}\n")
    reference = Reference.parse(f"oci:{tmp_path}/store:v1")
    push(directory, reference, access=Access(), signer=ALICE)
    with opened(reference) as found:
        assert found.read("0777.json") == b"777\n"
        with pytest.raises(NotFoundError):
            found.read("1001.json")


def test_a_closed_model(pushed: Reference) -> None:
    with opened(pushed) as found:
        pass
    with pytest.raises(UsageError, match="closed"):
        found.tensors()
    with pytest.raises(UsageError, match="closed"):
        found.read("config.json")


# --- arrays ---------------------------------------------------------------------------------------------------


def info(dtype: str, shape: tuple[int, ...], nbytes: int, **more: Any) -> TensorInfo:
    return TensorInfo(name="t", dtype=dtype, shape=shape, file="f", start=0, stop=nbytes, **more)


def test_bf16_is_never_passed_off_as_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    data = memoryview(struct.pack("<3H", 0x3F80, 0x4000, 0xC040))
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(UsageError, match="ml_dtypes"):
        to_numpy(info("BF16", (3,), 6), data)
    bits = to_numpy(info("BF16", (3,), 6), data, bits=True)
    assert bits.dtype == np.uint16
    assert (bits.astype(np.uint32) << 16).view(np.float32).tolist() == [1.0, 2.0, -3.0]


def test_bf16_with_ml_dtypes() -> None:
    pytest.importorskip("ml_dtypes")
    array = to_numpy(info("BF16", (3,), 6), memoryview(struct.pack("<3H", 0x3F80, 0x4000, 0xC040)))
    assert array.dtype.name == "bfloat16"
    assert array.astype(np.float32).tolist() == [1.0, 2.0, -3.0]


def test_other_ways_round() -> None:
    array = to_numpy(info("F32", (2,), 8, big_endian=True), memoryview(struct.pack(">2f", 1.5, -2)))
    assert array.tolist() == [1.5, -2]
    assert array.dtype.isnative
    assert to_numpy(info("F4", (4, 4), 8), memoryview(bytes(8)), bits=True).shape == (4, 2)
    assert to_numpy(info("BOOL", (), 1), memoryview(b"\1")).item() is True


def test_without_numpy_or_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UsageError, match="NumPy is not installed"):
        to_numpy(info("F32", (1,), 4), memoryview(bytes(4)))
    with pytest.raises(UsageError, match="torch is not installed"):
        to_torch(info("F32", (1,), 4), memoryview(bytes(4)))


def test_torch(pushed: Reference) -> None:
    torch = pytest.importorskip("torch")
    with opened(pushed) as found:
        assert torch.equal(found.torch("b.small"), torch.from_numpy(expected(big_tensors())["b.small"].copy()))
        assert found.torch("d.empty").shape == (0, 4)
        assert len(list(found.stream(framework="torch"))) == 6
    assert to_torch(info("BF16", (1,), 2), memoryview(struct.pack("<H", 0x3F80))).item() == 1.0


# --- the package ----------------------------------------------------------------------------------------------


def test_importing_the_package_costs_nothing() -> None:
    script = (
        "import sys; before = set(sys.modules); import ocimodel; ocimodel.__version__\n"
        "print(sorted(set(sys.modules) - before - {'ocimodel'}))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    assert ran.stdout.strip() == "[]"


def test_the_public_names() -> None:
    assert isinstance(ocimodel, ModuleType)
    for name in ocimodel.__all__:
        found = getattr(ocimodel, name)
        assert found.__doc__, f"{name} says nothing"
        assert name in dir(ocimodel)
    with pytest.raises(AttributeError):
        _ = ocimodel.surprise  # type: ignore[attr-defined]


# --- a real registry ------------------------------------------------------------------------------------------


def test_on_a_real_registry(distribution: RealRegistry, model: Path, tmp_path: Path) -> None:
    reference = Reference.parse(f"{distribution.host}/{fresh_repository()}:v1")
    push(model, reference, access=Access(), signer=ALICE)
    before = sorted(path for path in tmp_path.rglob("*"))
    with opened(reference) as found:
        for name, array in expected(big_tensors()).items():
            np.testing.assert_array_equal(found.numpy(name), array)
        got = {info.name: array for info, array in found.stream()}
    np.testing.assert_array_equal(got["a.big"], expected(big_tensors())["a.big"])
    assert sorted(path for path in tmp_path.rglob("*")) == before, "nothing was written"
