import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.model.config import ModelConfig
from ocimodel.model.counting import parameters, size_name
from ocimodel.model.facts import describe
from ocimodel.model.frontmatter import front_matter
from ocimodel.model.header import Header, Tensor
from ocimodel.model.scan import scan
from ocimodel.model.screening import screen
from ocimodel.model.terms import PRECISIONS, TASKS, license_expression, weight_format
from ocimodel.oci.digest import Digest
from tests.models import make_model, tensor, write_gguf, write_safetensors


def facts(directory: Path) -> ModelConfig:
    files = scan(directory)
    return describe(files, screen(files))


def write(directory: Path, **documents: Any) -> Path:
    directory.mkdir(exist_ok=True)
    for name, document in documents.items():
        path = directory / name.replace("_json", ".json").replace("README", "README.md")
        path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return directory


def weigh(path: Path, **shapes: tuple[str, tuple[int, ...]]) -> None:
    write_safetensors(path, {name: tensor(name, dtype, shape) for name, (dtype, shape) in shapes.items()})


def test_a_model_as_people_have_them(tmp_path: Path) -> None:
    assert facts(make_model(tmp_path)) == ModelConfig(
        name="Tiny Llama for tests",
        family="llama",
        licenses=("Apache-2.0",),
        architecture="llama",
        format="safetensors",
        param_size="65.7K",
        precision="float16,float32",
        input_types=("text",),
        output_types=("text",),
        languages=("de", "en"),
    )


def test_a_gguf_speaks_for_itself(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", tokens=1000)
    assert facts(tmp_path) == ModelConfig(
        name="Tiny Llama for tests",
        licenses=("Apache-2.0",),
        architecture="llama",
        format="gguf",
        param_size="64.1K",
        quantization="Q8_0",
    )


def test_where_files_say_nothing_neither_do_we(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x" * 1000)
    assert facts(tmp_path) == ModelConfig()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        '{"model_type": 1, "architectures": {}, "quantization_config": [], "torch_dtype": []}',
        '{"model_type": "/home/user/model", "architectures": ["../x"]}',
        '{"model_type": "home/user/model"}',
        '{"model_type": "a\\nb", "architectures": [null]}',
        '{"model_type": "\\ud800"}',
    ],
)
def test_a_malformed_config_only_tells_nothing(tmp_path: Path, text: str) -> None:
    weigh(tmp_path / "m.safetensors", a=("float32", (100,)))
    found = facts(write(tmp_path, config_json=text))
    assert found == ModelConfig(format="safetensors", param_size="0.1K", precision="float32")


def test_infinity_in_a_config_is_common_and_harmless(tmp_path: Path) -> None:
    found = facts(write(tmp_path, config_json='{"model_type": "mamba2", "time_step_limit": [0.0, Infinity]}'))
    assert found.architecture == found.family == "mamba2"


def test_the_name_of_a_directory_or_a_base_model_is_not_the_models(tmp_path: Path) -> None:
    found = facts(write(tmp_path / "secret-project", config_json={"_name_or_path": "out/checkpoint-500"}))
    assert found == ModelConfig()


def test_packed_integers_are_no_parameters(tmp_path: Path) -> None:
    weigh(tmp_path / "m.safetensors", qweight=("int64", (100, 100)), scales=("float16", (100,)))
    settings = {"quantization_config": {"quant_method": "gptq"}, "torch_dtype": "float16", "model_type": "llama"}
    found = facts(write(tmp_path, config_json=settings))
    assert (found.quantization, found.param_size, found.precision) == ("gptq", "", "float16")
    index = {"metadata": {"total_parameters": 6_738_415_616, "total_size": 1}, "weight_map": {}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert facts(tmp_path).param_size == "6.7B"


def test_counters_beside_the_weights_are_not_their_precision(tmp_path: Path) -> None:
    weigh(tmp_path / "m.safetensors", a=("float32", (10,)), b=("int64", (1000,)), c=("float16", (1000,)))
    assert facts(tmp_path).precision == "float16,float32"
    weigh(tmp_path / "m.safetensors", b=("int64", (1000,)), c=("uint8", (10,)))
    assert facts(tmp_path).precision == "int64,uint8"


def test_the_format_is_that_of_most_bytes(tmp_path: Path) -> None:
    weigh(tmp_path / "m.safetensors", a=("float32", (1000,)))
    (tmp_path / "m.onnx").write_bytes(bytes(10_000))
    assert (facts(tmp_path).format, facts(tmp_path).param_size) == ("onnx", "")
    (tmp_path / "m.onnx").write_bytes(bytes(1000))
    assert (facts(tmp_path).format, facts(tmp_path).param_size) == ("safetensors", "1K")


def test_several_quantisations_side_by_side(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf")
    write_gguf(tmp_path / "b.gguf", seed=1)
    assert (facts(tmp_path).param_size, facts(tmp_path).quantization) == ("8.3K", "Q8_0")
    write_gguf(tmp_path / "b.gguf", tokens=64)
    assert facts(tmp_path).param_size == ""


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        ("a/pytorch_model-00001-of-00002.bin", "pt"),
        ("pytorch_model.bin", "pt"),
        ("model.bin", ""),
        ("x.PTH", "pt"),
        ("m.safetensors", "safetensors"),
        ("m.gguf", "gguf"),
        ("m.unknown", ""),
        ("safetensors", ""),
    ],
)
def test_formats_by_name(name: str, format_: str) -> None:
    assert weight_format(name) == format_


def test_what_several_files_do_not_agree_on_is_left_out(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf")
    write_gguf(tmp_path / "b.gguf", name="Another", file_type="MOSTLY_Q4_K_M")
    found = facts(tmp_path)
    assert (found.name, found.quantization, found.architecture) == ("", "", "llama")


# --- counting --------------------------------------------------------------


def header(**elements: int) -> Header:
    tensors = tuple(Tensor(name, "F32", (count,), 0, 0) for name, count in elements.items())
    return Header(format="safetensors", tensors=tensors, metadata={}, data_start=0)


@pytest.mark.parametrize(
    ("headers", "count"),
    [
        ({}, 0),
        ({"m.safetensors": header(a=10, b=5)}, 15),
        ({"m-00001-of-00002.safetensors": header(a=10), "m-00002-of-00002.safetensors": header(b=5)}, 15),
        ({"m-00001-of-00002.safetensors": header(a=10), "m-00002-of-00002.safetensors": header(a=5)}, 0),
        ({"unet/m.safetensors": header(u=10), "vae/m.safetensors": header(v=5)}, 15),
        ({"m.safetensors": header(a=10), "fp16/m.safetensors": header(a=10)}, 10),
        ({"m.safetensors": header(a=10, b=1), "m.fp16.safetensors": header(a=10)}, 0),
        (
            {
                "consolidated.safetensors": header(x=15),
                "m-00001-of-00002.safetensors": header(a=10),
                "m-00002-of-00002.safetensors": header(b=5),
            },
            30,
        ),
        ({"m.safetensors": header()}, 0),
    ],
)
def test_parameters_are_counted_once_or_not_at_all(headers: Mapping[str, Header], count: int) -> None:
    assert parameters(headers) == count


@pytest.mark.parametrize(
    ("count", "name"),
    [
        (0, ""),
        (49, ""),
        (50, "0.1K"),
        (352_000, "352K"),
        (999_949, "999.9K"),
        (999_960, "1M"),
        (6_738_415_616, "6.7B"),
        (8_030_261_248, "8B"),
        (671_026_419_200, "671B"),
        (999_999_999_999, "1T"),
        (2 * 10**15, "2Q"),
        (5 * 10**18, "5000Q"),
    ],
)
def test_sizes_are_spelt_as_the_specification_does(count: int, name: str) -> None:
    assert size_name(count) == name


@given(st.integers(50, 10**16))
def test_a_size_is_never_off_by_more_than_a_twentieth(count: int) -> None:
    name = size_name(count)
    scale = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12, "Q": 10**15}[name[-1]]
    assert abs(float(name[:-1]) * scale - count) <= max(count * 0.051, 50)
    whole, _, tenth = name[:-1].partition(".")
    assert whole.isdigit()
    assert len(tenth) <= 1
    assert tenth != "0"


# --- model cards -----------------------------------------------------------


def test_front_matter() -> None:
    readme = b"""---
# comment
license: apache-2.0   # trailing
language:
- en
  # between
-   "de"
- {code: fr}
- no
tags: [a, 'b c', "d", ]
quoted: 'it: is'
empty:
nothing: ~
folded: >
  text that continues
model-index:
- name: x
  results:
  - task: y
anchored: &a value
date: 2024-01-01
title: A model: with a colon
---
license: mit
"""
    assert front_matter(readme) == {
        "license": ("apache-2.0",),
        "language": ("en", "de", "no"),
        "tags": ("a", "b c", "d"),
        "quoted": ("it: is",),
        "date": ("2024-01-01",),
    }


@pytest.mark.parametrize(
    "readme",
    [
        b"",
        b"# Title",
        b"---",
        b"---\nlicense: mit\n",
        b"\n---\nlicense: mit\n---\n",
        b"\xff\xfe",
        b"--- x\na: b\n---",
    ],
)
def test_no_front_matter(readme: bytes) -> None:
    assert front_matter(readme) == {}


def test_windows_line_ends_and_a_byte_order_mark() -> None:
    assert front_matter(b"\xef\xbb\xbf---\r\nlicense: mit\r\n---\r\n") == {"license": ("mit",)}


@given(st.text(alphabet="-:#[]{}'\"& ab\n\t\\", max_size=200))
def test_any_front_matter_is_harmless(text: str) -> None:
    for key, values in front_matter(f"---\n{text}\n---\n".encode()).items():
        assert key
        assert all(value and "\n" not in value for value in values)


@given(
    st.from_regex(r"[a-z][a-z0-9. -]{0,10}[a-z0-9]", fullmatch=True),
    st.sampled_from(["{}", "'{}'", '"{}"', "[{}]"]),
)
@settings(max_examples=50)
def test_plain_values_are_those_that_yaml_reads(value: str, form: str) -> None:
    import yaml

    theirs = yaml.load(f"key: {form.format(value)}", yaml.BaseLoader)["key"]  # noqa: S506
    assert front_matter(f"---\nkey: {form.format(value)}\n---\n".encode()) == {
        "key": tuple(theirs) if isinstance(theirs, list) else (theirs,)
    }


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        ("apache-2.0", "Apache-2.0"),
        ("mit", "MIT"),
        ("cc-by-nc-4.0", "CC-BY-NC-4.0"),
        ("llama3.1", "LicenseRef-llama3.1"),
        ("openrail", "LicenseRef-openrail"),
        ("other", ""),
        ("unknown", ""),
        ("", ""),
        ("see the file", ""),
    ],
)
def test_licences(name: str, expression: str) -> None:
    assert license_expression(name) == expression


def test_a_licence_with_a_name_of_its_own(tmp_path: Path) -> None:
    found = facts(write(tmp_path, README="---\nlicense: other\nlicense_name: tiny-license\n---\n"))
    assert found.licenses == ("LicenseRef-tiny-license",)


def test_the_tables_use_the_specifications_words() -> None:
    modalities = {"text", "image", "audio", "video", "embedding", "other"}
    assert all(modalities.issuperset(given + taken) for given, taken in TASKS.values())
    assert {"float32", "bfloat16", "float8_e4m3", "int8", "bool"} <= PRECISIONS


# --- the config ------------------------------------------------------------

FULL = ModelConfig(
    name="n",
    version="1",
    family="f",
    vendor="v",
    title="t",
    description="d",
    revision="r",
    doc_url="u",
    source_url="s",
    authors=("a",),
    licenses=("MIT",),
    datasets=("x",),
    architecture="llama",
    format="gguf",
    param_size="1B",
    precision="float16",
    quantization="awq",
    input_types=("text",),
    output_types=("image",),
    languages=("en",),
    flags={"reasoning": True},
)
SCHEMA = {
    # model-spec v0.0.7, docs/config.md: the names that its closed schema allows
    "": {"descriptor", "config", "modelfs"},
    "descriptor": {
        *("createdAt", "authors", "vendor", "family", "name", "version", "title", "description", "docURL"),
        *("sourceURL", "datasetsURL", "revision", "licenses"),
    },
    "config": {"architecture", "format", "paramSize", "precision", "quantization", "capabilities"},
    "config.capabilities": {
        *("inputTypes", "outputTypes", "knowledgeCutoff", "reasoning", "toolUsage", "reward", "languages"),
    },
    "modelfs": {"type", "diffIds"},
}


@pytest.mark.parametrize("config", [FULL, ModelConfig()])
def test_the_config_fits_the_closed_schema(config: ModelConfig) -> None:
    document = json.loads(config.to_bytes([Digest.of(b"x")]))
    assert document["modelfs"] == {"type": "layers", "diffIds": [str(Digest.of(b"x"))]}

    def walk(value: Mapping[str, Any], path: str) -> None:
        assert value.keys() <= SCHEMA[path]
        for key, item in value.items():
            if isinstance(item, dict):
                walk(item, f"{path}.{key}".lstrip("."))

    walk(document, "")
    assert document.keys() == SCHEMA[""]


def test_the_config_is_read_back() -> None:
    from dataclasses import replace

    digests = [Digest.of(b"x"), Digest.of(b"y")]
    assert ModelConfig.from_bytes(FULL.to_bytes(digests)) == replace(FULL, diff_ids=tuple(map(str, digests)))


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b'{"descriptor": [], "config": 1, "modelfs": null}',
        b'{"descriptor": {"name": 1, "authors": "x"}, "config": {"capabilities": {"reward": "yes"}}, "more": {}}',
    ],
)
def test_a_config_of_others_is_read_as_far_as_it_goes(raw: bytes) -> None:
    assert ModelConfig.from_bytes(raw) == ModelConfig()
