"""Looking into a model: what is told, from where, and for how many bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from ocimodel.model.header import Header
from ocimodel.model.overview import Documents, overview
from ocimodel.oci import media
from ocimodel.oci.manifest import Manifest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access
from ocimodel.verbs.diff import diff
from ocimodel.verbs.push import push
from tests.commands import run
from tests.documents import check
from tests.hostile import HostileRegistry
from tests.models import make_model, tensor, weights, write_gguf, write_safetensors

ACCESS = Access()
MIB = 1024 * 1024


@pytest.fixture
def registry() -> Iterator[HostileRegistry]:
    with HostileRegistry() as running:
        yield running


def put(directory: Path, name: str, **more: Any) -> str:
    push(directory, Reference.parse(name), access=ACCESS, **more)
    return name


def told(name: str, *options: str) -> dict[str, Any]:
    ran = run("inspect", name, "--json", *options)
    assert ran.code == 0, ran.err
    return check(ran.document)


def without_index(registry: HostileRegistry, tag: str) -> None:
    """As if another tool had made it."""
    document = registry.manifests[registry.tags[tag]]
    del registry.blobs[Manifest.from_bytes(document.raw).annotations[media.CHUNK_INDEX_ANNOTATION]]


def long_gguf(path: Path, *, tokens: int, seed: object = 0, big_endian: bool = False) -> None:
    """As llama.cpp writes them: a vocabulary of megabytes between the metadata and the tensors."""
    order = gguf.GGUFEndian.BIG if big_endian else gguf.GGUFEndian.LITTLE
    writer = gguf.GGUFWriter(str(path), "llama", endianess=order)
    writer.add_name("Long")
    writer.add_context_length(8192)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list([f"a token with the number {number}" for number in range(tokens)])
    writer.add_token_types([1] * tokens)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    for layer in range(3):
        packed = np.frombuffer(weights(34 * 40_000, f"{seed}/{layer}"), dtype=np.uint8).reshape(40_000, 34)
        writer.add_tensor(f"blk.{layer}.ffn.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(f"blk.{layer}.norm.weight", np.frombuffer(weights(256, layer), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# --- what is told ---------------------------------------------------------------------------------------------


def test_a_directory_of_the_hub(tmp_path: Path) -> None:
    found = told(put(make_model(tmp_path / "m"), f"oci:{tmp_path}/store:v1"), "--tensors")
    assert found["facts"] == {
        "architecture": {"value": "llama", "source": "config.json"},
        "modelClass": {"value": "LlamaForCausalLM", "source": "config.json: architectures"},
        "parameters": {"value": 65_728, "source": "headers"},
        "precision": {"value": "float16,float32", "source": "headers"},
        "contextLength": {"value": 2048, "source": "config.json: max_position_embeddings"},
        "tokenizerClass": {"value": "LlamaTokenizer", "source": "tokenizer_config.json: tokenizer_class"},
        "vocabularySize": {"value": 128, "source": "tokenizer.json: model.vocab"},
    }
    assert found["licenses"] == [{"value": "Apache-2.0", "source": "README.md"}]
    assert [(base["name"], base["source"]) for base in found["baseModels"]] == [("example/tiny-llama", "README.md")]
    rows = {(row["format"], row["dtype"]): (row["tensors"], row["parameters"]) for row in found["tensors"]["types"]}
    assert rows == {
        ("safetensors", "F16"): (12, 65_536),
        ("safetensors", "F32"): (3, 192),
        ("gguf", "Q8_0"): (1, 8192),
        ("gguf", "F32"): (1, 64),
    }
    assert found["tensors"]["complete"]
    assert len(found["tensors"]["list"]) == found["tensors"]["count"] == 17
    assert {entry["checked"] for entry in found["headers"]} == {"chunks"}
    sizes = {row["role"]: row["bytes"] for row in found["roles"]}
    assert sum(sizes.values()) == found["totalBytes"]
    assert found["notes"] == []


def test_a_gguf_speaks_for_itself(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    write_gguf(tmp_path / "m/tiny.gguf", tokens=1000)
    found = told(put(tmp_path / "m", f"oci:{tmp_path}/store:v1"))
    facts = {name: fact["value"] for name, fact in found["facts"].items()}
    assert facts == {
        "architecture": "llama",
        "parameters": 64_064,
        "quantization": "Q8_0",
        "contextLength": 2048,
        "tokenizerClass": "gpt2",
        "vocabularySize": 1000,
    }
    assert [row["dtype"] for row in found["tensors"]["types"]] == ["Q8_0", "F32"]


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        ({"n_positions": 1024}, "contextLength", 1024),
        ({"text_config": {"max_position_embeddings": 4096, "vocab_size": 9}}, "contextLength", 4096),
        ({"text_config": {"vocab_size": 9}}, "vocabularySize", 9),
        ({"max_position_embeddings": True}, "contextLength", None),
        ({"max_position_embeddings": 10**30}, "contextLength", None),
        ({"max_position_embeddings": -1, "vocab_size": 1.5}, "vocabularySize", None),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}, "quantization",
         "gptq, 4 bits, groups of 128"),
        ({"quantization_config": {"quant_method": "gptq"}, "torch_dtype": []}, "precision", None),
        ({"quantization_config": {"quant_method": "awq"}}, "parameters", None),
        ({"architectures": [1, {}, "A", "B"]}, "modelClass", "A, B"),
    ],
)  # fmt: skip
def test_settings(settings: dict[str, Any], name: str, value: object) -> None:
    fact = overview({}, Documents(json={"config.json": settings}), None, complete=True).facts.get(name)
    if name in ("precision", "parameters", "quantization"):
        fact = overview(
            {"m.safetensors": Header(format="safetensors", tensors=(), metadata={}, data_start=8)},
            Documents(json={"config.json": settings}),
            None,
            complete=True,
        ).facts.get(name)
    assert (fact.value if fact else None) == value


def test_a_tokenizer_without_a_limit_states_no_context() -> None:
    said = Documents(json={"tokenizer_config.json": {"model_max_length": 10**30, "chat_template": "{{ x }}"}})
    facts = overview({}, said, None, complete=True).facts
    assert "contextLength" not in facts
    assert facts["chatTemplate"].value == "yes"


def test_base_models_of_all_sources(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", gguf=False)
    (model / "adapter_config.json").write_text('{"base_model_name_or_path": "org/adapted"}')
    base = {"name": "b", "uri": "oci://r.example/b@sha256:" + "0" * 64, "annotations": {"relation": "finetune"}}
    (tmp_path / "model.json").write_text(json.dumps({"model": {"name": "m"}, "baseModels": [base]}))
    ref = f"oci:{tmp_path}/store:v1"
    assert run("push", model, ref, "--metadata", tmp_path / "model.json").code == 0
    found = {base["source"]: (base["name"], base["relation"], base["digest"]) for base in told(ref)["baseModels"]}
    assert found == {
        "README.md": ("example/tiny-llama", "", None),
        "adapter_config.json": ("org/adapted", "adapter", None),
        "provenance": (base["uri"], "finetune", "sha256:" + "0" * 64),
    }


def test_a_config_that_says_something_else_than_the_files(registry: HostileRegistry, tmp_path: Path) -> None:
    name = put(make_model(tmp_path / "m"), f"{registry.host}/ml/m:v1")
    repository = registry.repositories["ml/m"]
    document = json.loads(repository.manifests[repository.tags["v1"]].raw)
    lie = {
        "descriptor": {},
        "config": {"architecture": "bert", "precision": "int8", "paramSize": "7B", "quantization": "Q4_0"},
        "modelfs": {"type": "layers", "diffIds": []},
    }
    raw = json.dumps(lie).encode()
    document["config"] |= {"digest": repository.add_blob(raw), "size": len(raw)}
    repository.tags["v1"] = repository.add_manifest(json.dumps(document).encode())
    notes = " ".join(told(name)["notes"])
    for what in ("architecture: the config says bert", "precision: the config says int8", "parameters: the config"):
        assert what in notes


# --- for how much ---------------------------------------------------------------------------------------------


def test_no_weights_are_downloaded(registry: HostileRegistry, tmp_path: Path) -> None:
    name = put(make_model(tmp_path / "m", hidden=512), f"{registry.host}/ml/m:v1")
    registry.forget()
    found = told(name)
    assert found["totalBytes"] > 6 * MIB
    assert registry.sent() < 40_000
    assert not [request for request in registry.seen(route="blob") if request.sent > 20_000]


@pytest.mark.parametrize("big_endian", [False, True])
def test_a_long_vocabulary_is_passed_by(registry: HostileRegistry, tmp_path: Path, big_endian: bool) -> None:
    """Its metadata and its tensors are told for a tenth of the header, since the index knows where it ends."""
    for tag, seed in (("a", 0), ("b", 1)):
        (tmp_path / tag).mkdir()
        long_gguf(tmp_path / tag / "m.gguf", tokens=100_000, seed=seed, big_endian=big_endian)
        put(tmp_path / tag, f"{registry.host}/ml/m:{tag}")
    registry.forget()
    found = told(f"{registry.host}/ml/m:a", "--tensors")
    assert registry.sent() < 300_000
    assert found["tensors"]["complete"]
    assert found["facts"]["vocabularySize"]["value"] == 100_000
    assert found["facts"]["contextLength"]["value"] == 8192
    assert found["tensors"]["list"][0] == {
        "name": "blk.0.ffn.weight", "dtype": "Q8_0", "shape": [40_000, 32], "bytes": 1_360_000, "file": "m.gguf",
    }  # fmt: skip
    assert found["headers"][0]["checked"] == "no"
    registry.forget()
    difference = diff(
        Reference.parse(f"{registry.host}/ml/m:a"), Reference.parse(f"{registry.host}/ml/m:b"), ACCESS
    )
    assert registry.sent() < 600_000
    assert difference.tensors is not None
    assert [item.name for item in difference.tensors] == [f"blk.{layer}.ffn.weight" for layer in range(3)]
    assert difference.unchanged_tensors == 3
    registry.forget()
    assert told(f"{registry.host}/ml/m:a", "--whole-headers")["headers"][0]["checked"] == "chunks"
    assert registry.sent() > 3 * MIB


def test_a_long_vocabulary_without_an_index(registry: HostileRegistry, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    long_gguf(tmp_path / "m/m.gguf", tokens=100_000)
    name = put(tmp_path / "m", f"{registry.host}/ml/m:v1")
    without_index(registry, "v1")
    registry.forget()
    found = told(name)
    assert registry.sent() < 2 * MIB
    assert not found["tensors"]["complete"]
    assert found["facts"]["vocabularySize"]["value"] == 100_000
    assert "longer than is read" in found["notes"][0]
    whole = told(name, "--whole-headers")
    assert whole["tensors"]["complete"]
    assert [row["dtype"] for row in whole["tensors"]["types"]] == ["Q8_0", "F32"]


def test_a_header_of_megabytes(registry: HostileRegistry, tmp_path: Path) -> None:
    """Of safetensors: names and sizes are the index's, types are not told."""
    (tmp_path / "m").mkdir()
    names = [f"a.very.long.prefix.{'x' * 150}.{number}" for number in range(9_000)]
    many = {name: tensor("x", "uint8", (16,)) for name in names} | {"big": tensor("big", "float32", (MIB,))}
    write_safetensors(tmp_path / "m/model.safetensors", many)
    name = put(tmp_path / "m", f"{registry.host}/ml/m:v1")
    registry.forget()
    found = told(name)
    assert registry.sent() < 2 * MIB
    assert not found["tensors"]["complete"]
    assert "precision" not in found["facts"]
    assert told(name, "--whole-headers")["tensors"]["count"] == 9_001


def test_many_shards_share_the_allowance(registry: HostileRegistry, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    for shard in range(120):
        content = {f"{shard}.{number}": tensor("x", "uint8", (64,)) for number in range(100)}
        content["big"] = tensor("x", "uint8", (60_000,), shard)
        write_safetensors(tmp_path / f"m/model-{shard:05}-of-00120.safetensors", content)
    name = put(tmp_path / "m", f"{registry.host}/ml/m:v1")
    registry.forget()
    found = told(name)
    assert registry.sent() < 2 * MIB
    assert found["tensors"]["count"] == 120 * 101
    assert told(name) == found, "what is read does not depend on who was faster"


def test_a_registry_without_ranges(registry: HostileRegistry, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    write_safetensors(tmp_path / "m/model.safetensors", {"a": tensor("a", "uint8", (3 * MIB,))})
    name = put(tmp_path / "m", f"{registry.host}/ml/m:v1")
    registry.switches.ranges = "ignored"
    assert told(name)["tensors"]["count"] == 1
    without_index(registry, "v1")
    found = told(name)
    assert found["tensors"]["count"] == 1
    assert "not checked against a digest" in found["notes"][0]


# --- what is not what it claims to be -------------------------------------------------------------------------


def test_a_header_that_lies_is_a_warning_and_the_rest_is_told(registry: HostileRegistry, tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", gguf=False, shards=1)
    name = put(model, f"{registry.host}/ml/m:v1")
    repository = registry.repositories["ml/m"]
    for data, message in (
        ((2**63).to_bytes(8, "little") + bytes(200_000), "claims 9223372036854775808 bytes"),
        (b"GGUF" + bytes(10), "model.safetensors"),
        (b"version https://git-lfs.github.com/spec/v1\n", "more than the file"),
    ):
        document = json.loads(repository.manifests[repository.tags["v1"]].raw)
        for layer in document["layers"]:
            if layer["annotations"][media.FILEPATH] == "model.safetensors":
                layer |= {"digest": repository.add_blob(data), "size": len(data)}
        document["annotations"] = {}
        repository.tags["bad"] = repository.add_manifest(json.dumps(document).encode())
        ran = run("inspect", name.replace(":v1", ":bad"), "--json")
        assert ran.code == 0
        found = check(ran.document)
        assert (found["outcome"], found["class"]) == ("warn", "integrity")
        assert message in found["headers"][0]["problem"]
        assert message in ran.err
        assert found["facts"]["architecture"]["value"] == "llama"


def test_blobs_that_are_gone_or_other(registry: HostileRegistry, tmp_path: Path) -> None:
    name = put(make_model(tmp_path / "m", gguf=False, shards=1), f"{registry.host}/ml/m:v1")
    repository = registry.repositories["ml/m"]
    document = json.loads(repository.manifests[repository.tags["v1"]].raw)
    layers = {layer["annotations"][media.FILEPATH]: layer["digest"] for layer in document["layers"]}
    repository.overwrite(layers["config.json"], b"x" * 233)
    del repository.blobs[layers["README.md"]]
    repository.overwrite(layers["model.safetensors"], bytes(150_000))
    ran = run("inspect", name, "--json")
    assert ran.code == 0
    found = check(ran.document)
    assert {reason["reason"] for reason in found["reasons"]} == {"digest-mismatch", "not-found"}
    assert found["facts"].keys() == {"contextLength", "tokenizerClass", "vocabularySize"}


def test_an_index_that_lies_is_no_way_to_weights(registry: HostileRegistry, tmp_path: Path) -> None:
    """It says that the header ends at once, while the header claims 60 MB: none of them is fetched."""
    from ocimodel.model.chunkindex import Chunk, ChunkIndex, LayerIndex, TensorRange
    from ocimodel.oci.digest import Digest

    (tmp_path / "m").mkdir()
    (tmp_path / "m/other.txt").write_text("x")
    name = put(tmp_path / "m", f"{registry.host}/ml/m:v1")
    repository = registry.repositories["ml/m"]
    data = (60_000_000).to_bytes(8, "little") + b"{" + bytes(64 * MIB)
    digest = repository.add_blob(data)
    edges = [0, 8, *range(16 * MIB, len(data), 16 * MIB), len(data)]
    chunks = tuple(Chunk(a, b, "0" * 64) for a, b in pairwise(edges))
    layer = LayerIndex(
        digest=Digest.parse(digest), size=len(data), chunks=chunks, tensors=(TensorRange("t", 8, len(data)),)
    )
    index = ChunkIndex(algorithm="sha256", layers={layer.digest: layer}).to_bytes()
    document = json.loads(repository.manifests[repository.tags["v1"]].raw)
    document["layers"].append(
        {
            "mediaType": "application/vnd.cncf.model.weight.v1.raw",
            "digest": digest,
            "size": len(data),
            "annotations": {media.FILEPATH: "model.safetensors"},
        }
    )
    document["annotations"] = {media.CHUNK_INDEX_ANNOTATION: repository.add_blob(index)}
    repository.tags["v1"] = repository.add_manifest(json.dumps(document).encode())
    registry.forget()
    found = check(run("inspect", name, "--json").document)
    assert found["headers"][0]["problem"]
    assert registry.sent() < 100_000
    ran = run("diff", name, name)
    assert ran.code == 0, "one artifact is the same"
