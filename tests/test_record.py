"""The record: everything that the sources say is in it, and nothing that they do not say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimodel import yamlio
from ocimodel.errors import ConfigurationError, UsageError
from ocimodel.model.provenance import Provenance, provenance_bytes
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.record import documents
from ocimodel.record.metadata import load
from ocimodel.record.packages import conda, requirements
from ocimodel.record.record import Material, Record
from ocimodel.record.sources import gather
from tests.commands import make_world, run
from tests.documents import problems

COMMIT = "0123456789" * 4
MODEL = f"""
model: {{name: fraud, version: 1.4.0, license: apache-2.0}}
source: {{repository: "https://git.example.com/ml", ref: refs/heads/main, commit: "{COMMIT}", entryPoint: train.py}}
hyperparameters: {{lr: 3e-4, epochs: 5, betas: [0.9, 0.999], optimizer: {{name: adam}}}}
preprocessing:
  - {{name: tokenize, entryPoint: prep.py, parameters: {{lower: true}}}}
datasets:
  - {{name: train, uri: "s3://b/train", digest: {{sha256: "{"a" * 64}", md5: "{"b" * 32}"}}, version: 2026-11-01}}
  - {{name: test, role: evaluation, license: cc-by-4.0, annotations: {{snapshot: "7", name: seven}}}}
baseModels:
  - {{name: org/base, uri: pkg:huggingface/org/base}}
packages: ["pkg:pypi/torch@2.5.1"]
image: {{uri: "oci://r.example/train", digest: {{sha256: "{"c" * 64}"}}}}
environment: {{python: 3.11, cuda: 12.4}}
builder: https://ci.example.com/train
run: {{url: "https://ci.example.com/1", startedOn: 2026-11-01T10:00:00Z, finishedOn: "2026-11-01 12:00:00+01:00"}}
experiment: {{name: night}}
contributors: [alice@example.com]
metrics: [{{name: accuracy, value: 0.90, dataset: test}}]
reports: [{{name: report.json, digest: {{sha256: "{"d" * 64}"}}, mediaType: application/json}}]
"""


def predicate(record: Record) -> dict[str, Any]:
    raw = provenance_bytes([("model.bin", Digest.of(b""))], record.predicate())
    parsed = Provenance.from_bytes(raw)
    assert parsed.predicate_type == media.SLSA_PROVENANCE
    return dict(parsed.predicate)


def leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


# --- model.yaml -----------------------------------------------------------------------------------------------


def test_everything_in_the_file_is_in_the_record() -> None:
    assert problems(json.loads(json.dumps(yamlio.load(MODEL.encode(), "model.yaml", text=True))), "model") == []
    found = predicate(load(MODEL.encode(), "model.yaml"))
    definition, details = found["buildDefinition"], found["runDetails"]
    assert definition["externalParameters"] == {
        "model": {"name": "fraud", "version": "1.4.0", "license": "apache-2.0"},
        "source": {"repository": "https://git.example.com/ml", "ref": "refs/heads/main", "entryPoint": "train.py"},
        "hyperparameters": {"lr": "3e-4", "epochs": "5", "betas": "0.9, 0.999", "optimizer.name": "adam"},
        "preprocessing": [{"name": "tokenize", "entryPoint": "prep.py", "parameters": {"lower": "true"}}],
    }
    assert definition["internalParameters"] == {"environment": {"python": "3.11", "cuda": "12.4"}}
    materials = {item["annotations"]["role"]: item for item in definition["resolvedDependencies"]}
    assert materials["source"]["digest"] == {"gitCommit": COMMIT}
    assert materials["training-data"] == {
        "name": "train",
        "uri": "s3://b/train",
        "digest": {"sha256": "a" * 64},
        "annotations": {"role": "training-data", "version": "2026-11-01", "recorded.md5": "b" * 32},
    }
    assert materials["evaluation-data"]["annotations"]["license"] == "cc-by-4.0"
    assert materials["base-model"]["uri"] == "pkg:huggingface/org/base"
    assert materials["package"]["uri"] == "pkg:pypi/torch@2.5.1"
    assert materials["image"]["digest"] == {"sha256": "c" * 64}
    assert details["builder"] == {"id": "https://ci.example.com/train"}
    assert details["metadata"] == {
        "invocationId": "https://ci.example.com/1",
        "startedOn": "2026-11-01T10:00:00Z",
        "finishedOn": "2026-11-01T11:00:00Z",
    }
    assert details["byproducts"][0]["digest"] == {"sha256": "d" * 64}
    assert found[media.METRICS] == [{"name": "accuracy", "value": "0.90", "dataset": "test"}]
    assert found[media.CONTRIBUTORS] == ["alice@example.com"]
    assert found[media.EXPERIMENT] == {"name": "night"}


def test_a_record_of_a_laptop_says_so() -> None:
    found = predicate(load(b"{}", "model.yaml"))
    assert found["runDetails"] == {"builder": {"id": media.BUILDER_LOCAL}}


def test_json_says_the_same_as_yaml() -> None:
    text = json.dumps({"hyperparameters": {"lr": 0.1, "steps": 10}})
    assert (
        load(text.encode(), "m.json").predicate()
        == load(b"hyperparameters: {lr: 0.1, steps: 10}", "m.yaml").predicate()
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modell: {}", "modell: is not a known field"),
        ("model: {nam: x}", "model.nam: is not a known field"),
        ("source: {commit: abc}", "source.commit: must be a whole commit id"),
        ("datasets: [{}]", "must have a name or a uri"),
        ("datasets: [{name: x, role: tuning}]", "role: must be one of training, validation, evaluation"),
        ("datasets: [{name: x, digest: {sha256: 'a b'}}]", "digest: must map algorithms to digests"),
        ("datasets: [{name: x, annotations: {role: y}}]", "must not say a role"),
        ("packages: [torch]", "must be a package URL"),
        ("run: {startedOn: yesterday}", "run.startedOn: must be a time in RFC 3339"),
        ("run: {startedOn: 2026-11-01 10:00:00}", "with its zone"),
        ("metrics: [{name: x}]", "metrics[0].value: is missing"),
        ("a: 1\na: 2", "stands twice"),
        ("a: &x 1", "anchors"),
        ("- a", "is no mapping"),
    ],
)
def test_what_no_file_may_say(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message.replace("[", r"\[").replace("]", r"\]")) as caught:
        load(text.encode(), "model.yaml")
    assert caught.value.exit_code == 3


WORDS = st.text("abcxyz019.-", min_size=1, max_size=8)
FILES = st.fixed_dictionaries(
    {},
    optional={
        "model": st.fixed_dictionaries({}, optional={"name": WORDS, "version": WORDS}),
        "hyperparameters": st.dictionaries(WORDS, WORDS, max_size=4),
        "environment": st.dictionaries(WORDS, WORDS, max_size=4),
        "datasets": st.lists(
            st.fixed_dictionaries({"name": WORDS}, optional={"uri": WORDS, "version": WORDS}), max_size=3
        ),
        "contributors": st.lists(WORDS, max_size=3),
        "builder": WORDS,
    },
)
OURS = {media.BUILD_TYPE, media.BUILDER_LOCAL, "training-data"}


@given(FILES)
def test_nothing_is_invented(document: dict[str, Any]) -> None:
    said = set(leaves(document))
    assert set(leaves(load(json.dumps(document).encode(), "m.json").to_dict())) <= said | OURS


@given(FILES, FILES)
def test_the_later_word_wins_and_nothing_is_lost(one: dict[str, Any], two: dict[str, Any]) -> None:
    first, second = (load(json.dumps(document).encode(), "m.json") for document in (one, two))
    both = first.under(second)
    assert both.under(second).predicate() == both.predicate()
    assert {**first.hyperparameters, **second.hyperparameters} == both.hyperparameters
    assert {item.name for item in both.materials} >= {item.name for item in second.materials}


@given(st.binary(max_size=300))
def test_any_bytes_are_a_record_or_an_error_about_the_configuration(data: bytes) -> None:
    for name in ("m.yaml", "m.json"):
        with suppress(ConfigurationError):
            load(data, name).predicate()


def test_sources_that_contradict_each_other_are_refused() -> None:
    one, two = (
        Record(materials=(Material.of("training-data", name="x", digests={"sha256": digit * 64}),))
        for digit in "ab"
    )
    with pytest.raises(ConfigurationError, match="contradict each other about x"):
        one.under(two)


# --- collectors -----------------------------------------------------------------------------------------------

CARD = """---
license: other
license_name: my-licence
base_model: [org/base, org/other]
base_model_relation: merge
datasets: [squad]
language: [en, de]
pipeline_tag: question-answering
library_name: transformers
model-index:
- name: fraud
  results:
  - task: {type: question-answering, name: Question answering}
    dataset: {type: squad, name: SQuAD, split: validation}
    metrics:
    - {type: f1, value: 88.10, name: F1}
    - {type: exact_match, value: 80}
    source: {name: leaderboard, url: "https://example.com/board"}
---
# Fraud
"""


def test_hugging_face(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(CARD)
    (tmp_path / "config.json").write_text(
        '{"architectures": ["X"], "model_type": "x", "transformers_version": "4.44.0"}'
    )
    (tmp_path / "eval_results.json").write_text('{"eval_loss": 0.10, "epoch": 3.0}')
    (tmp_path / ".eval_results").mkdir()
    (tmp_path / ".eval_results/a.yaml").write_text("- dataset: {id: org/bench, task_id: hard}\n  value: 12.50\n")
    found = predicate(gather([f"hf:{tmp_path}"]))
    assert found["buildDefinition"]["externalParameters"]["model"] == {
        "architecture": "X",
        "family": "x",
        "languages": "en, de",
        "library": "transformers",
        "license": "other",
        "licenseName": "my-licence",
        "task": "question-answering",
    }
    assert found["buildDefinition"]["internalParameters"] == {"environment": {"transformers": "4.44.0"}}
    assert [
        (item["annotations"]["role"], item["uri"]) for item in found["buildDefinition"]["resolvedDependencies"]
    ] == [
        ("base-model", "pkg:huggingface/org/base"),
        ("base-model", "pkg:huggingface/org/other"),
        ("training-data", "hf://datasets/squad"),
    ]
    metrics = {item["name"]: item for item in found[media.METRICS]}
    assert metrics["f1"] == {
        "name": "f1",
        "value": "88.10",
        "dataset": "squad",
        "split": "validation",
        "task": "question-answering",
        "source": "https://example.com/board",
        "details": {
            "dataset.name": "SQuAD",
            "metric.name": "F1",
            "model": "fraud",
            "source.name": "leaderboard",
            "task.name": "Question answering",
        },
    }
    assert metrics["exact_match"]["value"] == "80"
    assert metrics["eval_loss"]["value"] == "0.10"
    assert metrics["hard"] == {"name": "hard", "value": "12.50", "dataset": "org/bench", "task": "hard"}


def test_a_card_without_an_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n")
    with pytest.raises(ConfigurationError, match="has no end"):
        gather([f"hf:{tmp_path}"])


LOGGED = """
import sys
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag

client = MlflowClient(tracking_uri=sys.argv[1])
tags = {
    "mlflow.user": "alice",
    "mlflow.source.git.commit": sys.argv[2],
    "mlflow.source.git.repoURL": "https://git.example.com/ml",
    "mlflow.source.name": "train.py",
}
run = client.create_run(client.create_experiment("fraud"), run_name="night", tags=tags).info.run_id
client.log_param(run, "lr", "3e-4")
client.log_metric(run, "accuracy", 0.5, step=1)
client.log_metric(run, "accuracy", 0.9, step=2)
dataset = Dataset("train", "abcdef12", "s3", '{"uri": "s3://b/train"}')
client.log_inputs(run, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
client.set_terminated(run)
print(run)
"""


@pytest.fixture(scope="module")
def mlflow_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, dict[str, str]]:
    """A run that MLflow itself logged, in its file store."""
    pytest.importorskip("mlflow", reason="mlflow-skinny is not installed")
    root = tmp_path_factory.mktemp("mlflow")
    env = {
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_TRACKING_URI": f"file://{root}/mlruns",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "HOME": str(root),
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, "-c", LOGGED, f"file://{root}/mlruns", COMMIT]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    return root, done.stdout.split()[-1], env


def check_run(record: Record, run_id: str) -> None:
    found = predicate(record)
    definition, details = found["buildDefinition"], found["runDetails"]
    assert definition["externalParameters"]["hyperparameters"] == {"lr": "3e-4"}
    assert definition["externalParameters"]["source"]["repository"] == "https://git.example.com/ml"
    source, data = definition["resolvedDependencies"]
    assert source["digest"] == {"gitCommit": COMMIT}
    assert data["uri"] == "s3://b/train"
    assert "digest" not in data, "eight characters prove nothing"
    assert data["annotations"]["mlflow.digest"] == "abcdef12"
    (metric,) = found[media.METRICS]
    assert (metric["name"], metric["value"], metric["source"]) == ("accuracy", "0.9", "mlflow")
    assert found[media.CONTRIBUTORS] == ["alice"]
    assert found[media.EXPERIMENT]["run"] == "night"
    assert details["metadata"]["invocationId"] == f"mlflow:run/{run_id}"
    assert details["metadata"]["startedOn"].endswith("Z")


def test_a_run_in_mlflows_file_store(mlflow_run: tuple[Path, str, dict[str, str]]) -> None:
    root, run_id, _ = mlflow_run
    (place,) = root.glob(f"mlruns/*/{run_id}")
    check_run(gather([f"mlflow:{place}"]), run_id)
    assert gather([f"mlflow:{place}"]).experiment["name"] == "fraud"


def test_a_run_as_mlflow_describes_it(mlflow_run: tuple[Path, str, dict[str, str]], tmp_path: Path) -> None:
    _, run_id, env = mlflow_run
    program = Path(sys.executable).with_name("mlflow")
    said = subprocess.run(
        [program, "runs", "describe", "--run-id", run_id], env=env, check=True, capture_output=True
    )
    (tmp_path / "run.json").write_bytes(said.stdout)
    check_run(gather([f"mlflow:{tmp_path}"]), run_id)


def test_a_model_that_mlflow_logged(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(
        "flavors:\n  python_function: {python_version: 3.11.7}\n  sklearn: {sklearn_version: 1.5.0}\n"
        "mlflow_version: 3.1.0\nmodel_uuid: abc\nrun_id: def\nutc_time_created: '2026-11-01 10:00:00.5'\n"
    )
    (tmp_path / "requirements.txt").write_text("scikit-learn==1.5.0\nnumpy\n")
    (tmp_path / "python_env.yaml").write_text("python: 3.11.7\n")
    record = gather([f"mlflow:{tmp_path}"])
    assert record.model["created"] == "2026-11-01T10:00:00.5Z"
    assert record.environment == {"mlflow": "3.1.0", "python": "3.11.7", "sklearn": "1.5.0"}
    assert [item.uri for item in record.materials] == ["pkg:pypi/scikit-learn@1.5.0", "pkg:pypi/numpy"]
    assert record.settings["flavors.sklearn.sklearn_version"] == "1.5.0"


def test_dvc(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n"
        "  prepare:\n    cmd: python prepare.py\n    deps:\n    - {path: data, hash: md5, md5: aa.dir, size: 10}\n"
        "    - {path: prepare.py, md5: bb}\n    params: {params.yaml: {seed: 7, split: 0.20}}\n"
        "    outs:\n    - {path: prepared, md5: cc}\n"
        "  train:\n    cmd: python train.py\n    deps:\n    - {path: prepared, md5: cc}\n"
        "    params: {params.yaml: {seed: 8, lr: 1e-3}}\n"
    )
    (tmp_path / "data.dvc").write_text("outs:\n- {md5: aa.dir, size: 10, hash: md5, path: data}\n")
    (tmp_path / "dvc.yaml").write_text("metrics: [metrics.json]\n")
    (tmp_path / "metrics.json").write_text('{"auc": 0.910}')
    record = gather([f"dvc:{tmp_path}"])
    assert [(item.role, item.name) for item in record.materials] == [
        ("training-data", "data"),
        ("other", "prepare.py"),
    ]
    assert record.materials[0].digest == {}
    assert record.materials[0].annotations["dvc.md5"] == "aa.dir"
    assert record.hyperparameters == {"prepare:seed": "7", "split": "0.20", "train:seed": "8", "lr": "1e-3"}
    assert record.preprocessing[0]["entryPoint"] == "python prepare.py"
    assert [(item.name, item.value) for item in record.metrics] == [("auc", "0.910")]


def test_weights_and_biases(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "config.yaml").write_text("_wandb: {value: {cli_version: 0.18}}\nlr: {desc: null, value: 0.010}\n")
    (files / "wandb-summary.json").write_text('{"loss": 0.5, "_runtime": 3}')
    (files / "wandb-metadata.json").write_text(
        json.dumps(
            {"host": "secret-host", "username": "bob", "python": "3.11", "startedAt": "2026-11-01T10:00:00Z"}
        )
    )
    record = gather([f"wandb:{tmp_path}"])
    assert record.hyperparameters == {"lr": "0.010"}
    assert [(item.name, item.value) for item in record.metrics] == [("loss", "0.5")]
    assert record.started == "2026-11-01T10:00:00Z"
    assert b"secret-host" not in record.predicate()


def test_croissant(tmp_path: Path) -> None:
    document = {
        "name": "letters",
        "version": "1.0.0",
        "url": "https://example.com/letters",
        "license": "cc0-1.0",
        "distribution": [
            {"name": "a.csv", "contentUrl": "https://example.com/a.csv", "sha256": "e" * 64, "md5": "f"}
        ],
    }
    (tmp_path / "croissant.json").write_text(json.dumps(document))
    dataset, file = gather([f"croissant:{tmp_path}"]).materials
    assert (dataset.uri, dataset.annotations["version"]) == ("https://example.com/letters", "1.0.0")
    assert file.digest == {"sha256": "e" * 64}
    assert file.annotations["croissant.md5"] == "f"


GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "acme/ml",
    "GITHUB_RUN_ID": "7",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_WORKFLOW_REF": "acme/ml/.github/workflows/train.yml@refs/heads/main",
    "GITHUB_REF": "refs/heads/main",
    "GITHUB_SHA": COMMIT,
    "GITHUB_ACTOR": "alice",
    "GITHUB_TOKEN": "hunter2",
}
GITLAB = {
    "GITLAB_CI": "true",
    "CI_PROJECT_URL": "https://gitlab.example.com/acme/ml",
    "CI_COMMIT_SHA": COMMIT,
    "CI_COMMIT_REF_NAME": "main",
    "CI_JOB_URL": "https://gitlab.example.com/acme/ml/-/jobs/7",
    "CI_JOB_TOKEN": "hunter2",
}
JENKINS = {
    "JENKINS_URL": "https://ci.example.com/",
    "JOB_URL": "https://ci.example.com/job/train/",
    "BUILD_URL": "https://ci.example.com/job/train/7/",
    "GIT_URL": "https://git.example.com/ml",
    "GIT_COMMIT": COMMIT,
}
ARGO = {
    "ARGO_WORKFLOW_NAME": "train-x",
    "ARGO_WORKFLOW_NAMESPACE": "ml",
    "ARGO_WORKFLOW_TEMPLATE": "train",
    "GIT_URL": "https://git.example.com/ml",
    "GIT_COMMIT": COMMIT,
}
TEKTON = {"TEKTON_PIPELINE_RUN": "train-x", "TEKTON_PIPELINE": "train", "GIT_COMMIT": COMMIT}


@pytest.mark.parametrize(
    ("env", "builder", "invocation"),
    [
        (
            GITHUB,
            "https://github.com/acme/ml/.github/workflows/train.yml@refs/heads/main",
            "https://github.com/acme/ml/actions/runs/7/attempts/2",
        ),
        (
            GITLAB,
            "https://gitlab.example.com/acme/ml//.gitlab-ci.yml@main",
            "https://gitlab.example.com/acme/ml/-/jobs/7",
        ),
        (JENKINS, "https://ci.example.com/job/train/", "https://ci.example.com/job/train/7/"),
        (ARGO, "argo:ml/train", "argo:ml/train-x"),
        (TEKTON, "tekton:train", "tekton:train-x"),
        ({}, "", ""),
    ],
    ids=["github", "gitlab", "jenkins", "argo", "tekton", "laptop"],
)
def test_the_environment(env: dict[str, str], builder: str, invocation: str) -> None:
    record = gather(["env"], env=env)
    assert (record.builder, record.invocation) == (builder, invocation)
    assert any(item.uri.startswith("pkg:pypi/blake3@") for item in record.materials)
    assert any(item.digest == {"gitCommit": COMMIT} for item in record.materials) == bool(env)
    assert b"hunter2" not in record.predicate()


@pytest.mark.parametrize(
    ("env", "uri", "digest"),
    [
        (GITLAB | {"CI_JOB_IMAGE": "python:3.12"}, "oci://python:3.12", None),
        (
            GITLAB | {"CI_JOB_IMAGE": f"r.example/train@sha256:{'c' * 64}"},
            f"oci://r.example/train@sha256:{'c' * 64}",
            {"sha256": "c" * 64},
        ),
        (
            ARGO | {"OCIMODEL_JOB_IMAGE": f"r.example/train:v1@sha256:{'c' * 64}", "CI_JOB_IMAGE": "other"},
            f"oci://r.example/train:v1@sha256:{'c' * 64}",
            {"sha256": "c" * 64},
        ),
    ],
)
def test_the_container_image(env: dict[str, str], uri: str, digest: dict[str, str] | None) -> None:
    (image,) = [item for item in gather(["env"], env=env).materials if item.role == "image"]
    assert image.to_dict().get("digest") == digest
    assert image.uri == uri


def test_a_clone_that_was_made_with_a_token() -> None:
    env = JENKINS | {"GIT_URL": "https://x-token:hunter2@git.example.com/ml"}
    found = gather(["env"], env=env).predicate()
    assert b"hunter2" not in found
    assert b"https://git.example.com/ml" in found


def test_documents_are_not_nested_without_end(tmp_path: Path) -> None:
    for depth in (100, 500, 900, 100_000):
        (tmp_path / "config.json").write_text('{"a": ' + "[" * depth + "]" * depth + "}")
        with pytest.raises(ConfigurationError, match=r"nested too deeply|not JSON"):
            gather([f"hf:{tmp_path}"])


def test_a_gguf_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"has no \*\.gguf"):
        gather([f"gguf:{tmp_path}"])
    (tmp_path / "a.gguf").write_bytes(b"not one")
    with pytest.raises(ConfigurationError, match="not a GGUF file"):
        gather([f"gguf:{tmp_path}"])


def test_packages_as_conda_and_pip_write_them() -> None:
    document = {
        "channels": ["conda-forge"],
        "dependencies": ["python=3.11.7", "nvidia::cuda=12.4=h1", "pip<=24.0", {"pip": ["a[x]==1; os_name=='nt'"]}],
    }
    python, cuda, pip, a = (item.to_dict() for item in conda(document, "mlflow"))
    assert (python["uri"], python["annotations"]["channel"]) == ("pkg:conda/python@3.11.7", "conda-forge")
    assert (cuda["uri"], cuda["annotations"]["channel"], cuda["annotations"]["build"]) == (
        "pkg:conda/cuda@12.4",
        "nvidia",
        "h1",
    )
    assert (pip["uri"], pip["annotations"]["requires"]) == ("pkg:conda/pip", "<=24.0")
    assert (a["uri"], a["annotations"]["extras"]) == ("pkg:pypi/a@1", "x")
    lines = b"git+https://u:p@github.com/a/b.git@main#egg=Foo_Bar\nhttps://e.x/y.whl\n./local\nc==1.*\n"
    first, second, third = requirements(lines, "pip")
    assert (first.uri, second.uri, third.uri) == ("pkg:pypi/foo-bar", "https://e.x/y.whl", "pkg:pypi/c")
    assert b"u:p@" not in Record(materials=(first,)).predicate()


def test_a_lock_file() -> None:
    raw = (
        b"Torch[cuda]==2.5.1+cu124 \\\n    --hash=sha256:" + b"a" * 64 + b"\n# note\n-r other.txt\nnumpy>=1 # any\n"
    )
    torch, numpy = requirements(raw, "pip")
    assert (torch.uri, torch.digest) == ("pkg:pypi/torch@2.5.1%2Bcu124", {"sha256": "a" * 64})
    assert numpy.uri == "pkg:pypi/numpy"


@pytest.mark.parametrize("source", ["hf", "svn:.", "hf:/nonexistent-directory"])
def test_sources_that_are_not_known(source: str) -> None:
    with pytest.raises(UsageError):
        gather([source])


def test_a_link_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    inside = tmp_path / "model"
    inside.mkdir()
    (inside / "config.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(ConfigurationError, match="leads out of"):
        documents.read_json(inside, "config.json")


# --- the command ----------------------------------------------------------------------------------------------


def test_push_records(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    (tmp_path / "model.yaml").write_text(MODEL)
    (tmp_path / "card").mkdir()
    (tmp_path / "card/README.md").write_text(CARD)
    arguments = ("--metadata", tmp_path / "model.yaml", "--from", f"hf:{tmp_path / 'card'}")
    one, two = (run("push", world.model, f"oci:{tmp_path / name}:v1", *arguments) for name in ("one", "two"))
    assert one.code == two.code == 0
    assert one.out.strip().partition("@")[2] == two.out.strip().partition("@")[2], "the same inputs, the same bytes"
    where = tmp_path / "provenance.json"
    assert run("pull", f"oci:{tmp_path / 'one'}:v1", "-o", tmp_path / "out", "--provenance-out", where).code == 0
    found = json.loads(where.read_text())["predicate"]["buildDefinition"]["externalParameters"]["model"]
    assert found["license"] == "apache-2.0", "model.yaml overrules the card"
    assert found["task"] == "question-answering"


def test_push_takes_a_document_or_makes_one(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    (tmp_path / "p.json").write_text("{}")
    ran = run("push", world.model, f"oci:{tmp_path / 'l'}:v1", "--provenance", tmp_path / "p.json", "--from", "env")
    assert ran.code == 2
