"""Three models as people have them: everything that their sources state is in the record, and nothing else.

The sources are walked leaf by leaf. What the record leaves out is on a list beside each collector, with the reason,
and on the page about it. Each record becomes an artifact, and every document of that is valid by its own schema.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.record import croissant, dvc, gguf, huggingface, mlflow, wandb
from ocimodel.record.record import Record
from ocimodel.record.sources import gather
from tests import leaves
from tests.commands import World, make_world, run
from tests.leaves import Leaf
from tests.models import make_model
from tests.official import (
    check_cyclonedx,
    check_modelpack,
    check_spdx,
    check_spdx_model,
    check_spdx_schema,
    check_statement,
)

OURS = {media.BUILD_TYPE, media.BUILDER_LOCAL, "source", "base-model", "training-data", "package", "mlflow", "gguf"}
PAGE = Path(__file__).resolve().parents[1] / "docs/reference/model-yaml.md"

CARD = """\
---
license: other
license_name: tiny-community-licence
license_link: https://example.com/licence
language: [en, de]
pipeline_tag: text-generation
library_name: transformers
model_name: Tiny Llama of the card
base_model: [example/tiny-llama-base]
base_model_relation: finetune
datasets: [example/wiki-snippets, example/code-snippets]
metrics: [perplexity-metric, exact-match-metric]
tags: [first-tag, second-tag]
new_version: example/tiny-llama-2
thumbnail: https://example.com/thumbnail.png
inference: false
co2_eq_emissions:
  emissions: 1234.5
  source: measured with codecarbon
  training_type: fine-tuning-run
  geographical_location: Frankfurt, Germany
  hardware_used: 8 x H100
widget:
- text: What is the capital of France?
  example_title: Capital question
extra_gated_prompt: You agree not to misuse it.
model-index:
- name: tiny-llama-indexed
  results:
  - task: {type: text-generation, name: Text Generation Task}
    dataset:
      {type: example/bench, name: The Bench, config: config-en, split: validation-split, revision: 5503434ddd,
       args: {num_few_shot: 25}}
    metrics:
    - {type: acc_norm, value: 88.10, name: normalised accuracy, config: metric-config, args: {max_order: 4},
       verified: true, verifyToken: eyJhbGciOiJFZERTQSJ9.token}
    - {type: perplexity, value: 3.25, name: Perplexity of validation}
    source: {name: Open LLM Leaderboard, url: "https://example.com/leaderboard"}
---
# Tiny Llama

The text below the front matter.
"""
RESULT = """\
- dataset: {id: example/hard-bench, task_id: hard-task, revision: abcdef123}
  value: 12.50
  verifyToken: eyJhbGciOiJIUzI1NiJ9.other
  date: "2026-10-01"
  source: {url: "https://example.com/run/1", name: Evaluation run one, user: evaluator-bot}
  notes: with tools and search
- dataset: {id: example/easy-bench, task_id: easy-task}
  value: 99.25
"""


def hugging_face(directory: Path) -> Path:
    """Shards, configurations, a card with results of evaluations, those of the Trainer, the hub's newer ones."""
    make_model(directory, gguf=False)
    (directory / "README.md").write_text(CARD)
    config = json.loads((directory / "config.json").read_text())
    config |= {
        "_name_or_path": "/home/somebody/checkpoints/tiny",
        "transformers_version": "4.44.0",
        "rope_scaling": {"rope_type": "llama3-rope", "factor": 8.5},
        "id2label": {"0": "NEGATIVE-LABEL", "1": "POSITIVE-LABEL"},
        "tie_word_embeddings": False,
        "pad_token_id": None,
        "quantization_config": {"quant_method": "gptq-method", "bits": 4, "modules_to_not_convert": ["lm_head"]},
    }
    (directory / "config.json").write_text(json.dumps(config))
    tokenizer = {
        "tokenizer_class": "LlamaTokenizerFast",
        "model_max_length": 2048,
        "chat_template": "{{ messages }}",
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (directory / "eval_results.json").write_text('{"eval_loss": 0.125, "epoch": 3.0, "eval_samples": 512}')
    (directory / "train_results.json").write_text('{"train_loss": 0.25, "train_runtime": 77.5, "epoch": 3.0}')
    (directory / "all_results.json").write_text(
        '{"eval_loss": 0.125, "train_loss": 0.25, "total_flos": 123456789.0}'
    )
    (directory / ".eval_results").mkdir()
    (directory / ".eval_results/bench.yaml").write_text(RESULT)
    return directory


def hugging_face_leaves(directory: Path) -> list[Leaf]:
    documents = ("config", "generation_config", "tokenizer_config", "eval_results", "train_results", "all_results")
    return [
        *leaves.of_front_matter(directory / "README.md"),
        *(leaf for name in documents for leaf in leaves.of_json(directory / f"{name}.json")),
        *leaves.of_yaml(directory / ".eval_results/bench.yaml"),
    ]


LOGGED = """
import sys
import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.models import Model

mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("fraud-experiment")
tags = {
    "team": "risk-team",
    "mlflow.source.git.commit": "0123456789" * 4,
    "mlflow.source.git.repoURL": "https://bob:hunter2@git.example.com/ml",
    "mlflow.source.git.branch": "release-branch",
    "mlflow.source.name": "train_fraud.py",
    "mlflow.user": "alice-in-ci",
}
with mlflow.start_run(run_name="night-run", tags=tags, description="A run at night, with notes") as run:
    mlflow.log_params({"learning_rate": "3e-4", "epochs": 5, "optimizer": "adamw-fused"})
    mlflow.log_metric("accuracy", 0.515625, step=1)
    mlflow.log_metric("accuracy", 0.90625, step=2)
    train = Dataset(
        "transactions-2026", "abcdef12", "s3",
        '{"uri": "s3://bucket/transactions?versionId=7", "region": "eu-west-1"}',
        schema='{"mlflow_colspec": [{"type": "double", "name": "amount"}]}', profile='{"num_rows": 1048576}',
    )
    held = Dataset("held-out", "12fedcba", "local", '{"path": "held-out.csv"}')
    client = mlflow.MlflowClient()
    client.log_inputs(run.info.run_id, [
        DatasetInput(train, [InputTag("mlflow.data.context", "training"), InputTag("window", "last-quarter")]),
        DatasetInput(held, [InputTag("mlflow.data.context", "validation")]),
    ])
    logged = client.create_logged_model(
        run.info.experiment_id, name="fraud-classifier", source_run_id=run.info.run_id,
        tags={"stage": "candidate-stage"}, params={"tree_depth": "17"}, model_type="classifier-type",
    )
    mlflow.log_metric("auc", 0.96875, step=3, model_id=logged.model_id)
    place = logged.artifact_location.removeprefix("file://")
    model = Model(run_id=run.info.run_id, artifact_path=logged.artifact_location, model_id=logged.model_id,
                  metadata={"owner": "risk-owners", "review": {"ticket": "ML-1234"}})
    model.add_flavor("python_function", loader_module="fraud.loading", data="model.bin", python_version="3.11.7",
                     env={"conda": "conda.yaml", "virtualenv": "python_env.yaml"})
    model.add_flavor("fraudlib", fraudlib_version="1.2.3", hidden_units=64, pretrained=False)
    import os
    os.makedirs(place, exist_ok=True)
    model.save(place + "/MLmodel")
    with open(place + "/model.bin", "wb") as file:
        file.write(b"weights" * 100)
    client.finalize_logged_model(logged.model_id, "READY")
print(place)
"""
REQUIREMENTS = "numpy==2.1.0\nScikit_Learn==1.5.0\nmlflow-skinny\n"
PYTHON_ENV = (
    "python: 3.11.7\nbuild_dependencies: [pip==24.0, setuptools, wheel==0.43.0]\n"
    "dependencies: [-r requirements.txt]\n"
)
CONDA = (
    "channels: [conda-forge]\nname: mlflow-env\ndependencies: [python=3.11.7, pip<=24.0, {pip: [numpy==2.1.0]}]\n"
)
SIGNATURE = """\
signature:
  inputs: '[{"type": "double", "name": "amount", "required": true}]'
  outputs: '[{"type": "double", "required": true}]'
  params: null
"""


@pytest.fixture(scope="module")
def mlflow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run and a model that MLflow itself logged, with the files that its flavours write beside ``MLmodel``."""
    pytest.importorskip("mlflow", reason="mlflow-skinny is not installed")
    root = tmp_path_factory.mktemp("mlflow")
    env = {
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "HOME": str(root),
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, "-c", LOGGED, f"file://{root}/mlruns"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr[-2000:]
    place = Path(done.stdout.split()[-1])
    (place / "requirements.txt").write_text(REQUIREMENTS)
    (place / "python_env.yaml").write_text(PYTHON_ENV)
    (place / "conda.yaml").write_text(CONDA)
    with (place / "MLmodel").open("a") as file:  # written by code of mlflow that needs pandas
        file.write(SIGNATURE)
    return place


def mlflow_leaves(place: Path) -> list[Leaf]:
    model, experiment = place.parent, place.parents[2]
    (run_place,) = [path.parent for path in experiment.glob("*/inputs")]
    found = [
        *leaves.of_yaml(place / "MLmodel"),
        *leaves.of_lines(place / "requirements.txt"),
        *leaves.of_yaml(place / "python_env.yaml"),
        *leaves.of_yaml(place / "conda.yaml"),
        *(leaf for path in sorted(experiment.rglob("meta.yaml")) for leaf in leaves.of_yaml(path)),
    ]
    for folder in (run_place, model):
        for kind in ("params", "tags"):
            found += [
                Leaf(f"{kind}/{path.name}", path.name.split(".")[-1], path.read_text())
                for path in sorted((folder / kind).rglob("*"))
            ]
        for path in sorted((folder / "metrics").rglob("*")):
            _, value, step = path.read_text().splitlines()[-1].split()[:3]
            found += [Leaf(f"metrics/{path.name}", path.name, value), Leaf(f"metrics/{path.name}", "step", step)]
    return [leaf for item in found for leaf in _spread(item)]


def _spread(leaf: Leaf) -> Iterator[Leaf]:
    """A source is JSON in a string; what another file holds is read there; what is in a URL opens nothing."""
    if leaf.key == "source" and leaf.value.startswith("{"):
        yield from leaves.of_value(json.loads(leaf.value), f"{leaf.where}.source")
    elif not leaf.value.startswith("-r "):
        yield leaf._replace(value=leaf.value.replace("bob:hunter2@", ""))


def a_gguf(directory: Path) -> Path:
    """A GGUF with a tokenizer, base models, a dataset and arrays short and long."""
    import gguf as library

    directory.mkdir()
    writer = library.GGUFWriter(str(directory / "tiny-Q8_0.gguf"), "llama")
    writer.add_name("Tiny Llama in GGUF")
    writer.add_author("The author of it")
    writer.add_organization("The organisation of it")
    writer.add_description("A description of the tiny one")
    writer.add_version("v7.1")
    writer.add_license("apache-2.0")
    writer.add_license_name("Apache License 2.0")
    writer.add_license_link("https://example.com/apache")
    writer.add_quantized_by("The quantiser")
    writer.add_size_label("1.5M")
    writer.add_url("https://example.com/tiny")
    writer.add_tags(["gguf-tag", "tiny-tag"])
    writer.add_languages(["en", "de"])
    writer.add_base_model_count(1)
    writer.add_base_model_name(0, "Tiny Llama Base")
    writer.add_base_model_organization(0, "Base Makers")
    writer.add_base_model_version(0, "v7-base")
    writer.add_base_model_repo_url(0, "https://huggingface.co/example/tiny-base")
    writer.add_dataset_count(1)
    writer.add_dataset_name(0, "Wiki Snippets Set")
    writer.add_dataset_repo_url(0, "https://huggingface.co/datasets/example/wiki")
    writer.add_context_length(2048)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_layer_norm_rms_eps(1e-05)
    writer.add_rope_freq_base(500000.0)
    writer.add_file_type(library.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("gpt2-tokenizer")
    writer.add_tokenizer_pre("llama-bpe-pre")
    writer.add_token_list([f"▁token{number}" for number in range(128)])
    writer.add_token_types([1] * 128)
    writer.add_bos_token_id(101)
    writer.add_add_bos_token(True)
    writer.add_chat_template("{% for message in messages %}{{ message }}{% endfor %}")
    _tensors(writer)
    return directory


def _tensors(writer: Any) -> None:
    import numpy as np

    writer.add_tensor("output_norm.weight", np.ones(64, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_leaves(directory: Path) -> list[Leaf]:
    """As the format's own library reads them."""
    import gguf as library

    found = []
    for path in directory.glob("*.gguf"):
        for key, field in library.GGUFReader(path).fields.items():
            if key.startswith("GGUF."):
                continue
            value = field.contents()
            where, last = f"{path.name}: {key}", key.split(".")[-1]
            if isinstance(value, list) and len(value) > 64:
                kind = field.types[-1].name.lower()
                found.append(Leaf(where, last, f"{len(value)} values of {kind}"))
            elif isinstance(value, float):
                found.append(Leaf(where, last, repr(float(f"{value:.6g}"))))
            else:
                found += leaves.of_value(value, where, last)
    return found


def check(record: Record, stated: list[Leaf], left_out: Mapping[str, str], names: set[str]) -> dict[str, Any]:
    document = json.loads(record.predicate())
    assert stated
    assert leaves.nowhere(stated, document, left_out) == []
    assert leaves.invented(document, stated, OURS | names) == []
    page = PAGE.read_text()
    for pattern in left_out:
        assert f"`{pattern}`" in page, f"{pattern} is left out, and the page does not say so"
    assert isinstance(document, dict)
    return document


def reports(*paths: Path) -> set[str]:
    """What is said of the files with the results of evaluations: names and digests, which are facts as well."""
    names = {name for path in paths for name in (path.name, f"{path.parent.name}/{path.name}")}
    digests = {Digest.of(path.read_bytes()).hex for path in paths}
    return names | digests | {"evaluation-report", "application/json", "application/yaml"}


def test_hugging_face(tmp_path: Path) -> None:
    place = hugging_face(tmp_path / "hf")
    files = {"eval_results.json", "train_results.json", "all_results.json"} | reports(
        place / "eval_results.json", place / ".eval_results/bench.yaml"
    )
    document = check(gather([f"hf:{place}"]), hugging_face_leaves(place), huggingface.LEFT_OUT, files)
    assert [item["name"] for item in document["runDetails"]["byproducts"]] == [
        "eval_results.json",
        ".eval_results/bench.yaml",
    ]
    assert "/home/somebody" not in json.dumps(document)


def test_mlflow(mlflow_model: Path) -> None:
    ours = {"FINISHED", "build", "validation-data", "fraudlib, python_function", "<=24.0"}
    assert "hunter2" in "".join(path.read_text() for path in mlflow_model.parents[2].rglob("*repoURL"))
    document = check(gather([f"mlflow:{mlflow_model}"]), mlflow_leaves(mlflow_model), mlflow.LEFT_OUT, ours)
    assert "hunter2" not in json.dumps(document)
    assert str(mlflow_model) not in json.dumps(document), "no path of this machine"


def test_gguf(tmp_path: Path) -> None:
    place = a_gguf(tmp_path / "gguf")
    check(gather([f"gguf:{place}"]), gguf_leaves(place), gguf.LEFT_OUT, set())


DVC = {
    "dvc.lock": """\
schema: '2.0'
stages:
  prepare:
    cmd: python prepare.py --fast
    deps:
    - {path: data/raw, hash: md5, md5: aaaabbbbccccdddd.dir, size: 1048577, nfiles: 1234}
    - {path: prepare.py, hash: md5, md5: eeeeffff00001111, size: 2345}
    params: {params.yaml: {prepare.seed-value: 20170428, split-ratio: 0.20}}
    outs:
    - {path: data/prepared, hash: md5, md5: 2222333344445555.dir, size: 7654321, nfiles: 2}
""",
    "data.dvc": """\
md5: 9999888877776666
frozen: true
deps:
- path: datasets/letters
  repo: {url: "https://bob:hunter2@git.example.com/registry", rev_lock: f31f5c4cdae787b4bdeb97a717687d44667d9e62}
outs:
- {md5: 1111222233334444.dir, size: 99887766, nfiles: 4321, hash: md5, path: letters, cache: true}
desc: Letters of the alphabet
""",
    "dvc.yaml": "metrics: [metrics.json]\n",
    "metrics.json": '{"auc-of-it": 0.9101, "by": {"class-a": 0.75}}',
}
WANDB = {
    "config.yaml": """\
_wandb: {value: {cli_version: 0.18.1}}
learning-rate: {desc: how fast it learns, value: 0.0101}
""",
    "wandb-summary.json": '{"loss-at-end": 0.5123, "_runtime": 3, "val": {"f1-score": 0.8123}}',
    "wandb-metadata.json": json.dumps(
        {
            "host": "secret-host",
            "username": "bob",
            "email": "bob@example.com",
            "executable": "/home/bob/venv/bin/python",
            "root": "/home/bob/src",
            "os": "Linux-6.1-x86_64",
            "python": "CPython 3.11.9",
            "gpu": "NVIDIA H100 80GB HBM3",
            "gpu_count": 8,
            "cpu_count": 96,
            "cudaVersion": "12.4-driver",
            "program": "train_it.py",
            "args": ["--config", "large.yaml"],
            "state": "finished-state",
            "startedAt": "2026-11-01T10:00:00Z",
            "git": {"remote": "https://git.example.com/ml-code", "commit": "0123456789" * 4},
        }
    ),
}
CROISSANT = {
    "croissant.json": json.dumps(
        {
            "@context": {"@vocab": "https://schema.org/"},
            "@type": "sc:Dataset",
            "conformsTo": "http://mlcommons.org/croissant/1.0",
            "name": "letters-dataset",
            "description": "Letters, scanned by hand",
            "creator": {"@type": "Organization", "name": "The Scanners"},
            "datePublished": "2026-01-02",
            "keywords": ["alphabet-keyword", "scan-keyword"],
            "citeAs": "@misc{letters2026}",
            "isAccessibleForFree": True,
            "license": "https://creativecommons.org/licenses/by/4.0/",
            "url": "https://example.com/letters-page",
            "version": "1.0.7",
            "distribution": [
                {
                    "@type": "cr:FileObject",
                    "@id": "file-letters",
                    "name": "letters.csv",
                    "contentUrl": "https://example.com/letters.csv",
                    "contentSize": "1048576 B",
                    "encodingFormat": "text/csv",
                    "sha256": "ab" * 32,
                    "md5": "cd" * 16,
                },
                {
                    "@type": "cr:FileSet",
                    "@id": "file-set",
                    "containedIn": {"@id": "archive-of-it"},
                    "includes": "*.jpg",
                },
            ],
            "recordSet": [{"@type": "cr:RecordSet", "name": "default-records"}],
        }
    )
}


@pytest.mark.parametrize(
    ("kind", "files", "left_out", "ours"),
    [
        pytest.param("dvc", DVC, dvc.LEFT_OUT, {"other", "output", "dvc", "by.class-a", "metrics.json"}, id="dvc"),
        pytest.param("wandb", WANDB, wandb.LEFT_OUT, {"wandb", "val.f1-score"}, id="wandb"),
        pytest.param("croissant", CROISSANT, croissant.LEFT_OUT, {"croissant"}, id="croissant"),
    ],
)
def test_the_others(
    kind: str, files: dict[str, str], left_out: Mapping[str, str], ours: set[str], tmp_path: Path
) -> None:
    stated = []
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        read = leaves.of_json if name.endswith(".json") else leaves.of_yaml
        if name != "dvc.yaml":  # where the metrics are
            stated += [
                leaf._replace(value=leaf.value.replace("bob:hunter2@", "")) for leaf in read(tmp_path / name)
            ]
    # names of datasets and files within them stand as DATASET/FILE, and tell how a digest was made by their keys
    within = {f"letters-dataset/{name}" for name in ("letters.csv", "file-set")} | {"--config", "large.yaml"}
    named = [leaf for leaf in stated if leaf.key != "hash" and leaf.value != "letters.csv"]
    told = reports(tmp_path / "metrics.json") if kind == "dvc" else set()
    document = check(gather([f"{kind}:{tmp_path}"]), named, left_out, ours | within | told)
    assert "hunter2" not in json.dumps(document)
    assert "secret-host" not in json.dumps(document)
    assert "bob" not in json.dumps(document)


# --- and what becomes of it ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("world")
    before = os.environ.get("OCIMODEL_AUDIT_LOG")
    os.environ["OCIMODEL_AUDIT_LOG"] = str(root / "audit.jsonl")
    try:
        return make_world(root)
    finally:
        if before is None:
            del os.environ["OCIMODEL_AUDIT_LOG"]
        else:
            os.environ["OCIMODEL_AUDIT_LOG"] = before


@pytest.mark.parametrize("kind", ["hf", "mlflow", "gguf"])
def test_every_document_is_valid(kind: str, tmp_path: Path, world: World, request: pytest.FixtureRequest) -> None:
    makers = {"hf": hugging_face, "gguf": a_gguf}
    place = makers[kind](tmp_path / kind) if kind in makers else request.getfixturevalue("mlflow_model")
    reference = f"oci:{tmp_path / 'store'}:v1"
    arguments = ("--from", f"{kind}:{place}", "--key", world.key)
    pushed = run("push", place, reference, *arguments, "--json")
    assert pushed.code == 0, pushed.err
    out = tmp_path / "provenance.json"
    assert run("pull", reference, "-o", tmp_path / "out", "--key", world.pub, "--provenance-out", out).code == 0
    statement = json.loads(out.read_text())
    check_statement(statement)
    assert statement["predicate"] == json.loads(gather([f"{kind}:{place}"]).predicate())
    blobs = tmp_path / "store/blobs/sha256"
    manifest = json.loads((blobs / pushed.document["digest"].partition(":")[2]).read_text())
    check_modelpack(json.loads((blobs / manifest["config"]["digest"].partition(":")[2]).read_text()))
    check_cyclonedx(json.loads(run("bom", reference).out))
    bill = json.loads(run("bom", reference, "--format", "spdx").out)
    check_spdx(bill)
    check_spdx_schema(bill)
    check_spdx_model(bill)
