"""What differs between two models, and that it is told without downloading weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocimodel.errors import NotFoundError
from ocimodel.oci import media
from ocimodel.oci.manifest import Manifest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access
from ocimodel.verbs.diff import Difference, diff
from ocimodel.verbs.pull import pull
from ocimodel.verbs.push import push
from tests.commands import run
from tests.documents import check
from tests.hostile import HostileRegistry
from tests.models import Tensors, tensor, write_gguf, write_safetensors
from tests.real.registries import RealRegistry, fresh_repository

MIB = 1024 * 1024
ACCESS = Access()


def tensors(**seeds: object) -> Tensors:
    """Two large tensors and three small ones; a seed makes another content."""
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "big": ("float32", (5, MIB)),
        "head": ("float16", (2, MIB)),
        "norm": ("float32", (64,)),
        "scale": ("float32", (16,)),
        "tail": ("float32", (300_000,)),
    }
    return {
        name: tensor(name, kind, shape, seeds.get(name, 0))
        for name, (kind, shape) in shapes.items()
        if seeds.get(name) != "gone"
    }


def model(directory: Path, *, config: str = "{}", files: dict[str, Tensors] | None = None, **seeds: object) -> Path:
    directory.mkdir(parents=True)
    for name, content in (files or {"model.safetensors": tensors(**seeds)}).items():
        write_safetensors(directory / name, content)
    (directory / "config.json").write_text(config)
    return directory


@pytest.fixture
def registry() -> Iterator[HostileRegistry]:
    with HostileRegistry() as running:
        yield running


class Pair:
    """Two models in one place, compared."""

    def __init__(self, place: Path, host: str | None = None) -> None:
        self.place = place
        self.name = f"{host}/{fresh_repository()}" if host else f"oci:{place}/store"

    def put(self, tag: str, directory: Path, **more: Any) -> Reference:
        reference = Reference.parse(f"{self.name}:{tag}")
        push(directory, reference, access=ACCESS, **more)
        return reference

    def compare(self, before: Path, after: Path) -> Difference:
        return diff(self.put("a", before), self.put("b", after), ACCESS)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def told(found: Difference) -> dict[str, str]:
    assert found.tensors is not None
    return {item.name: item.change for item in found.tensors}


def test_one_artifact_is_identical(pair: Pair, tmp_path: Path) -> None:
    found = pair.compare(model(tmp_path / "a"), model(tmp_path / "b"))
    assert found.identical
    assert (found.files, found.tensors, found.config, found.delta.fetched) == ((), (), (), 0)
    assert (found.unchanged_files, found.unchanged_tensors) == (2, 5)


@pytest.mark.parametrize("name", ["big", "head", "norm", "scale", "tail"])
def test_one_tensor_changed(name: str, pair: Pair, tmp_path: Path) -> None:
    changed: dict[str, Any] = {name: 1}
    found = pair.compare(model(tmp_path / "a"), model(tmp_path / "b", **changed))
    assert told(found) == {name: "changed"}
    assert found.unchanged_tensors == 4
    assert found.tensors is not None
    size = found.tensors[0].nbytes
    assert found.unchanged_bytes == sum(len(data) for _, _, data in tensors().values()) - size
    assert [(item.change, item.after.path if item.after else "") for item in found.files] == [
        ("changed", "model.safetensors")
    ]


def test_tensors_come_and_go(pair: Pair, tmp_path: Path) -> None:
    """The header's length changes with them, and all offsets; what stays is unchanged nevertheless."""
    found = pair.compare(model(tmp_path / "a", norm="gone"), model(tmp_path / "b", head="gone", tail="gone"))
    assert told(found) == {"norm": "added", "head": "removed", "tail": "removed"}
    assert found.unchanged_tensors == 2


def test_another_shape_or_type_of_the_same_bytes_is_a_change(pair: Pair, tmp_path: Path) -> None:
    after = tensors()
    after["big"] = ("float32", (MIB, 5), after["big"][2])
    after["norm"] = ("uint8", (256,), after["norm"][2])
    found = pair.compare(model(tmp_path / "a"), model(tmp_path / "b", files={"model.safetensors": after}))
    assert told(found) == {"big": "changed", "norm": "changed"}


def test_another_sharding_moves_tensors(pair: Pair, tmp_path: Path) -> None:
    parts = tensors()
    shards = {
        "model-1.safetensors": {name: parts[name] for name in ("big", "norm")},
        "model-2.safetensors": {name: parts[name] for name in ("head", "scale", "tail")},
    }
    found = pair.compare(model(tmp_path / "a"), model(tmp_path / "b", files=shards))
    assert set(told(found).values()) == {"moved"}
    assert found.tensors is not None
    (norm,) = (item for item in found.tensors if item.name == "norm")
    assert norm.before is not None
    assert norm.after is not None
    assert (norm.before.file, norm.after.file) == ("model.safetensors", "model-1.safetensors")
    assert sorted(item.change for item in found.files) == ["added", "added", "removed"]


def test_a_file_under_another_name_has_moved(pair: Pair, tmp_path: Path) -> None:
    after = model(tmp_path / "b")
    (after / "model.safetensors").rename(after / "renamed.safetensors")
    found = pair.compare(model(tmp_path / "a"), after)
    (item,) = found.files
    assert item.change == "moved"
    assert set(told(found).values()) == {"moved"}
    assert found.delta.fetched == 0


def test_what_they_say_of_themselves(pair: Pair, tmp_path: Path) -> None:
    before = model(tmp_path / "a", config='{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    after = model(tmp_path / "b", config='{"model_type": "bert", "architectures": ["BertModel"]}')
    (after / "README.md").write_text("---\nlicense: mit\n---\n# Other\n")
    statement = (
        '{"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://example.com/other/v1",'
        ' "predicate": {}, "subject": [{"name": "config.json", "digest": {"sha256": "'
    )
    statement += hashlib.sha256((after / "config.json").read_bytes()).hexdigest() + '"}}]}'
    a, b = pair.put("a", before), pair.put("b", after, provenance=statement.encode())
    found = diff(a, b, ACCESS)
    assert "licenses" in {item.name for item in found.config}
    assert [item.name for item in found.provenance] == [
        "buildDefinition.buildType",
        "buildDefinition.externalParameters",
        "predicateType",
        "runDetails.builder.id",
    ]
    assert {(item.name, item.before, item.after) for item in found.metadata} == {
        ("config.json: architectures", '["LlamaForCausalLM"]', '["BertModel"]'),
        ("config.json: model_type", "llama", "bert"),
    }
    assert media.CHUNK_INDEX_ANNOTATION not in {item.name for item in found.annotations}
    assert sorted(item.change for item in found.files) == ["added", "changed"]


def test_no_weights_are_downloaded(registry: HostileRegistry, tmp_path: Path) -> None:
    pair = Pair(tmp_path, registry.host)
    a, b = pair.put("a", model(tmp_path / "a")), pair.put("b", model(tmp_path / "b", head=1))
    registry.forget()
    found = diff(a, b, ACCESS)
    assert told(found) == {"head": "changed"}
    assert registry.sent() < 100_000


@pytest.mark.parametrize("case", ["head", "norm", "sharded", "config", "all"])
def test_the_delta_is_what_a_pull_then_moves(case: str, pair: Pair, tmp_path: Path) -> None:
    before = model(tmp_path / "a")
    changed: dict[str, Any] = dict.fromkeys(tensors() if case == "all" else [case], 1)
    if case == "sharded":
        parts = tensors()
        after = model(tmp_path / "b", files={f"{name}.safetensors": {name: parts[name]} for name in parts})
    elif case == "config":
        after = model(tmp_path / "b", config='{"other": 1}')
    else:
        after = model(tmp_path / "b", **changed)
    a, b = pair.put("a", before), pair.put("b", after)
    told = diff(a, b, ACCESS).delta
    pull(a, tmp_path / "pulled-a", policy=None, access=ACCESS)
    pulled = pull(b, tmp_path / "pulled-b", policy=None, access=ACCESS, base=[tmp_path / "pulled-a"])
    assert (told.fetched, told.copied) == (pulled.fetched_bytes, pulled.copied_bytes)


def test_without_an_index_files_are_compared(registry: HostileRegistry, tmp_path: Path) -> None:
    pair = Pair(tmp_path, registry.host)
    a, b = pair.put("a", model(tmp_path / "a")), pair.put("b", model(tmp_path / "b", head=1))
    document = registry.manifests[registry.tags["b"]]
    named = Manifest.from_bytes(document.raw).annotations[media.CHUNK_INDEX_ANNOTATION]
    del registry.blobs[named]
    found = diff(a, b, ACCESS)
    assert found.tensors == (), "the same types and shapes"
    assert (found.unchanged_tensors, found.undetermined_tensors) == (0, 5)
    assert [item.change for item in found.files] == ["changed"]
    (note,) = found.notes
    assert "no chunk index" in note
    weights = next(entry for entry in found.files if entry.after).after
    assert weights is not None
    assert found.delta.fetched == weights.descriptor.size


def test_indexes_of_two_algorithms_cannot_be_compared(pair: Pair, tmp_path: Path) -> None:
    a = pair.put("a", model(tmp_path / "a"))
    b = pair.put("b", model(tmp_path / "b", head=1), chunk_algorithm="sha256")
    found = diff(a, b, ACCESS)
    assert found.tensors == ()
    assert found.undetermined_tensors == 5
    assert found.notes == ("chunk indexes by blake3 and sha256: only types and shapes of tensors can be compared",)


def test_gguf_and_a_model_without_weights(pair: Pair, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        (tmp_path / name).mkdir()
        write_gguf(tmp_path / name / "tiny.gguf", seed=seed)
    found = pair.compare(tmp_path / "a", tmp_path / "b")
    assert set(told(found).values()) == {"changed"}
    (tmp_path / "c").mkdir()
    (tmp_path / "c/config.json").write_text("{}")
    found = diff(pair.put("b", tmp_path / "c"), pair.put("c", tmp_path / "c"), ACCESS)
    assert found.tensors == ()
    assert found.notes == ()


def test_what_is_not_there(pair: Pair, tmp_path: Path) -> None:
    a = pair.put("a", model(tmp_path / "a"))
    with pytest.raises(NotFoundError):
        diff(a, a.tagged("b"), ACCESS)


# --- the command ----------------------------------------------------------------------------------------------


def test_the_command(pair: Pair, tmp_path: Path) -> None:
    a = pair.put("a", model(tmp_path / "a"))
    b = pair.put("b", model(tmp_path / "b", head=1, norm="gone"))
    ran = run("diff", str(a), str(b))
    assert ran.code == 0, ran.err
    assert "changed  head  F16[2, 1048576]  4.0 MiB  model.safetensors" in ran.out
    assert "removed  norm" in ran.out
    assert "pulling b with a at hand fetches" in ran.out
    assert "identical" in run("diff", str(a), str(a)).out
    assert run("diff", str(a), f"{pair.name}:c").code == 11
    assert run("diff", "x", str(a)).code == 2


def test_the_document(pair: Pair, tmp_path: Path) -> None:
    a = pair.put("a", model(tmp_path / "a"))
    b = pair.put("b", model(tmp_path / "b", head=1, norm="gone"))
    for pairs in ((a, b), (b, a), (a, a)):
        ran = run("diff", str(pairs[0]), str(pairs[1]), "--json")
        assert ran.code == 0
        document = check(ran.document)
        assert document["outcome"] == "pass"
        assert document["digest"] == document["after"]["digest"]
    check(run("diff", str(a), f"{pair.name}:c", "--json").document)


def test_a_fallback_says_so_on_stderr_and_in_the_document(pair: Pair, tmp_path: Path) -> None:
    a = pair.put("a", model(tmp_path / "a"))
    b = pair.put("b", model(tmp_path / "b", head=1), chunk_algorithm="sha256")
    ran = run("diff", str(a), str(b), "--json")
    assert ran.code == 0
    assert check(ran.document)["undeterminedTensors"] == 5
    assert "only types and shapes of tensors can be compared" in ran.err


def test_many_changes_are_cut_for_people(pair: Pair, tmp_path: Path) -> None:
    files = [
        {"model.safetensors": {f"t{number}": tensor(f"t{number}", "float32", (8,), seed) for number in range(60)}}
        for seed in (0, 1)
    ]
    a = pair.put("a", model(tmp_path / "a", files=files[0]))
    b = pair.put("b", model(tmp_path / "b", files=files[1]))
    ran = run("diff", str(a), str(b))
    assert "… and 20 more; --json has all" in ran.out
    assert len(run("diff", str(a), str(b), "--json").document["tensors"]) == 60


def test_a_registry_and_a_layout(distribution: RealRegistry, tmp_path: Path) -> None:
    a = Pair(tmp_path, distribution.host).put("a", model(tmp_path / "a"))
    b = Pair(tmp_path).put("b", model(tmp_path / "b", big=1))
    assert told(diff(a, b, ACCESS)) == {"big": "changed"}
    assert diff(a, b, ACCESS).delta.fetched < 21 * MIB
