"""The bill of materials: valid under CycloneDX's own schema, complete, the same each time, and nothing made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ocimodel.model.config import ModelConfig
from ocimodel.oci.digest import Digest
from ocimodel.record.bills import Subject
from ocimodel.record.bom import cyclonedx
from ocimodel.record.metadata import load
from tests.commands import World, make_world, run
from tests.official import check_cyclonedx as check
from tests.test_record import CARD, MODEL

NAMED = Subject(name="m", version="v1", digest=Digest.of(b"m"), repository="registry.example/ml/M")


def of_record(text: str = MODEL) -> dict[str, Any]:
    predicate = json.loads(load(text.encode(), "model.yaml").predicate())
    files = [("model.bin", Digest.of(b"w"), 1, "weight")]
    return cyclonedx(NAMED, ModelConfig(precision="float16", input_types=("text",)), files, predicate)


def test_what_the_record_says_is_in_the_bill() -> None:
    found = of_record()
    check(found)
    model = found["metadata"]["component"]
    assert (model["name"], model["version"]) == ("fraud", "1.4.0")
    assert model["licenses"] == [{"expression": "Apache-2.0"}]
    assert model["purl"].startswith("pkg:oci/m@sha256%3A")
    assert {"name": "io.github.ocimodel.hyperparameter.lr", "value": "3e-4"} in model["properties"]
    card = model["modelCard"]
    assert [item["name"] for item in card["modelParameters"]["datasets"]] == ["train", "test"]
    assert card["quantitativeAnalysis"]["performanceMetrics"] == [
        {"type": "accuracy", "value": "0.90", "slice": "test"}
    ]
    kinds = {item["name"]: item["type"] for item in found["components"]}
    assert kinds["model.bin"] == "file"
    assert kinds["org/base"] == "machine-learning-model"
    assert kinds["pypi/torch"] == "library"
    data = next(item for item in found["components"] if item["name"] == "train")
    assert data["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert "b" * 32 not in json.dumps(data["hashes"])


def test_a_model_that_says_nothing_has_a_bill() -> None:
    found = cyclonedx(NAMED, ModelConfig(), [], {})
    check(found)
    assert "modelCard" not in found["metadata"]["component"]
    assert "timestamp" not in json.dumps(found)


@pytest.mark.parametrize("name", ["apache-2.0", "my licence, see LICENSE", "llama3"])
def test_licences(name: str) -> None:
    found = of_record(f'model: {{name: x, license: "{name}"}}')
    check(found)
    assert name.lower() in json.dumps(found["metadata"]["component"]["licenses"]).lower()


def test_another_licence_has_a_name() -> None:
    predicate = {
        "buildDefinition": {"externalParameters": {"model": {"license": "other", "licenseName": "tiny-licence"}}}
    }
    found = cyclonedx(NAMED, ModelConfig(), [], predicate)
    check(found)
    assert found["metadata"]["component"]["licenses"] == [{"expression": "LicenseRef-tiny-licence"}]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def test_of_an_artifact(world: World, tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    (tmp_path / "card/README.md").write_text(CARD)
    assert run("push", world.model, world.ref, "--from", f"hf:{tmp_path / 'card'}").code == 0
    ran = run("bom", world.ref)
    assert ran.code == 0
    document = json.loads(ran.out)
    check(document)
    assert run("bom", world.ref).out == ran.out
    metrics = document["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert {"type": "f1", "value": "88.10", "slice": "question-answering, squad, validation"} in metrics


def test_of_a_directory(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    document = json.loads(run("bom", world.model).out)
    check(document)
    assert document["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    assert "hashes" not in document["metadata"]["component"], "there is no manifest yet"


def test_the_bill_is_attested_and_shown(world: World, tmp_path: Path) -> None:
    assert run("push", world.model, world.ref).code == 0
    (tmp_path / "bom.json").write_text(run("bom", world.ref).out)
    predicate = ("--type", "cyclonedx", "--predicate", tmp_path / "bom.json")
    assert run("attest", world.ref, *predicate, "--key", world.key).code == 0
    shown = run("attest", "show", world.ref, "--key", world.pub, "--json")
    assert "https://cyclonedx.org/bom" in shown.out
