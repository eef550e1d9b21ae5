"""What a record says is in the config too, where ModelPack has a field for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ocimodel.model.config import ModelConfig
from ocimodel.oci import media
from ocimodel.record.descriptor import described
from ocimodel.record.metadata import load
from tests.commands import make_world, run
from tests.official import check_modelpack
from tests.test_record import COMMIT, MODEL

NAMED = {"model": {"name": "x"}}
FILES = ModelConfig(name="by the files", vendor="them", licenses=("MIT",), format="gguf", architecture="llama")


def test_the_record_goes_before_the_files() -> None:
    found = described(FILES, load(MODEL.encode(), "model.yaml").predicate())
    assert (found.name, found.version, found.licenses) == ("fraud", "1.4.0", ("Apache-2.0",))
    assert (found.source_url, found.revision) == ("https://git.example.com/ml", COMMIT)
    assert (found.vendor, found.format, found.architecture) == ("them", "gguf", "llama"), "where it is silent"
    check_modelpack(json.loads(found.to_bytes([])) | {"modelfs": {"type": "layers", "diffIds": ["sha256:0"]}})


@pytest.mark.parametrize(
    "given",
    [
        None,
        b"",
        b"not json",
        b"[]",
        json.dumps({"buildDefinition": {"buildType": "https://x", "externalParameters": NAMED}}).encode(),
        json.dumps({"buildDefinition": {"buildType": media.BUILD_TYPE, "externalParameters": []}}).encode(),
        json.dumps({"_type": "x", "predicate": [NAMED]}).encode(),
    ],
)
def test_what_says_nothing_changes_nothing(given: bytes | None) -> None:
    assert described(FILES, given) == FILES


@pytest.mark.parametrize("value", [{}, [], 1.5, None, "x" * 5000])
def test_odd_values_are_passed_over(value: Any) -> None:
    predicate = {
        "buildDefinition": {
            "buildType": media.BUILD_TYPE,
            "externalParameters": {"model": {"name": value, "license": value}, "source": value},
            "resolvedDependencies": value,
        }
    }
    assert described(FILES, json.dumps(predicate).encode()) == FILES


def test_a_statement_is_read_as_its_predicate_is() -> None:
    predicate = json.loads(load(MODEL.encode(), "model.yaml").predicate())
    statement = {"_type": "https://in-toto.io/Statement/v1", "predicate": predicate}
    assert described(FILES, json.dumps(statement).encode()).name == "fraud"


def test_push_writes_it(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    (tmp_path / "model.yaml").write_text(MODEL)
    plain, said = (f"oci:{tmp_path / name}:v1" for name in ("plain", "said"))
    assert run("push", world.model, plain).code == 0
    assert run("push", world.model, said, "--metadata", tmp_path / "model.yaml").code == 0
    assert json.loads(run("bom", said).out)["metadata"]["component"]["name"] == "fraud"
    shown = run("inspect", said).out
    assert "fraud" in shown
    assert "Apache-2.0" in shown
    assert "fraud" not in run("inspect", plain).out
