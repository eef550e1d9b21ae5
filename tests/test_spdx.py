"""SPDX 3.0.1: valid by SPDX's own model, complete, the same each time, and it claims no profile that it breaks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ocimodel.model.config import ModelConfig
from ocimodel.oci.digest import Digest
from ocimodel.record import spdx
from ocimodel.record.bills import Subject
from ocimodel.record.metadata import load
from tests.commands import World, make_world, run
from tests.official import check_spdx, check_spdx_model
from tests.test_record import COMMIT, MODEL

NAMED = Subject(name="m", version="v1", digest=Digest.of(b"m"), repository="registry.example/ml/M")
WHOLE = MODEL.replace(
    "license: apache-2.0}", "license: apache-2.0, supplier: ACME, releasedOn: 2026-11-02T08:00:00.5+01:00}", 1
)


def document_of(text: str = MODEL, subject: Subject = NAMED, **more: Any) -> dict[str, Any]:
    predicate = json.loads(load(text.encode(), "model.yaml").predicate())
    files = [("model.bin", Digest.of(b"w"), 1, "weight")]
    found = spdx.spdx(subject, ModelConfig(precision="float16"), files, predicate, **more)
    check_spdx(found)
    return found


def of_type(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [item for item in document["@graph"] if item["type"] == kind]


def related(document: dict[str, Any], relation: str, source: str) -> list[str]:
    """The names, or the types, of what the element ``source`` is related to."""
    by_id = {item["spdxId"]: item for item in document["@graph"] if "spdxId" in item}
    return [
        by_id[place].get("name", by_id[place]["type"]) if place in by_id else place
        for item in document["@graph"]
        if item.get("relationshipType") == relation and item["from"].endswith(f"#{source}")
        for place in item["to"]
    ]


def test_what_the_record_says_is_in_the_bill() -> None:
    found = document_of()
    model = next(item for item in of_type(found, "ai_AIPackage") if item["spdxId"].endswith("#model"))
    assert (model["name"], model["software_packageVersion"]) == ("fraud", "1.4.0")
    assert {item["key"]: item["value"] for item in model["ai_hyperparameter"]}["lr"] == "3e-4"
    assert [(item["key"], item["value"]) for item in model["ai_metric"]] == [("accuracy (test)", "0.90")]
    assert model["ai_modelDataPreprocessing"] == ["tokenize: prep.py (lower=true)"]
    assert model["software_downloadLocation"] == f"oci://registry.example/ml/M@{NAMED.digest}"
    assert related(found, "trainedOn", "model") == ["train"]
    assert related(found, "testedOn", "model") == ["test"]
    assert related(found, "descendantOf", "model") == ["org/base"]
    assert related(found, "contains", "model") == ["model.bin"]
    assert related(found, "hasEvidence", "model") == ["report.json"]
    assert related(found, "usesTool", "build") == ["oci://r.example/train"]
    assert related(found, "invokedBy", "build") == ["alice@example.com"]
    assert "pypi/torch" in related(found, "hasInput", "build")
    (build,) = of_type(found, "build_Build")
    assert build["build_buildId"] == "https://ci.example.com/1"
    assert build["build_configSourceDigest"][0]["hashValue"] == COMMIT
    assert (build["build_buildStartTime"], build["build_buildEndTime"]) == (
        "2026-11-01T10:00:00Z",
        "2026-11-01T11:00:00Z",
    )
    data = next(item for item in of_type(found, "dataset_DatasetPackage") if item["name"] == "train")
    assert [item["hashValue"] for item in data["verifiedUsing"]] == ["a" * 64], "md5 proves nothing"
    assert "b" * 32 in json.dumps(data["extension"]), "and is told"


def test_a_licence_is_declared_and_none_concluded() -> None:
    found = document_of()
    (declared,) = related(found, "hasDeclaredLicense", "model")
    expressions = of_type(found, "simplelicensing_LicenseExpression")
    assert {item["simplelicensing_licenseExpression"] for item in expressions} == {"Apache-2.0", "CC-BY-4.0"}
    assert declared == "simplelicensing_LicenseExpression"
    assert related(found, "hasConcludedLicense", "model") == [spdx.NO_LICENSE]
    odd = document_of('model: {name: x, license: "my licence, see LICENSE"}')
    (text,) = of_type(odd, "simplelicensing_SimpleLicensingText")
    assert text["simplelicensing_licenseText"] == "my licence, see LICENSE"


def test_a_profile_is_claimed_where_it_holds() -> None:
    alone = "\n".join(
        line for line in WHOLE.splitlines() if not line.startswith(("baseModels", "  - {name: org/base"))
    )
    conforming = document_of(alone)
    check_spdx_model(conforming)
    (bill,) = of_type(conforming, "software_Sbom")
    assert {"ai", "build"} <= set(bill["profileConformance"])
    (bill,) = of_type(document_of(), "software_Sbom")
    assert "ai" not in bill["profileConformance"], "nobody said who supplies it, and when it was released"
    (bill,) = of_type(document_of("{}"), "software_Sbom")
    assert "build" not in bill["profileConformance"]
    for text in (alone, MODEL, "{}"):
        (bill,) = of_type(document_of(text), "software_Sbom")
        assert "dataset" not in bill["profileConformance"]


def test_times_are_stated_or_none() -> None:
    (creation,) = of_type(document_of(), "CreationInfo")
    assert (creation["created"], "comment" in creation) == ("2026-11-01T11:00:00Z", False)
    (creation,) = of_type(document_of(time="2026-12-01T00:00:00Z"), "CreationInfo")
    assert creation["created"] == "2026-12-01T00:00:00Z"
    (creation,) = of_type(document_of("{}"), "CreationInfo")
    assert creation["created"] == spdx.UNKNOWN_TIME
    assert "Nobody stated a time" in creation["comment"]
    model = next(item for item in of_type(document_of(WHOLE), "ai_AIPackage") if item["spdxId"].endswith("#model"))
    assert model["releaseTime"] == "2026-11-02T07:00:00Z"


def test_a_model_that_says_nothing_has_a_bill() -> None:
    silent = Subject(name="m", version="", digest=Digest.of(b"m"), packed=False)
    found = spdx.spdx(silent, ModelConfig(), [], {})
    check_spdx(found)
    assert of_type(found, "build_Build") == []
    (model,) = of_type(found, "ai_AIPackage")
    assert "verifiedUsing" not in model, "there is no manifest yet"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def test_of_an_artifact_and_of_a_directory(world: World, tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(MODEL)
    assert run("push", world.model, world.ref, "--metadata", tmp_path / "model.yaml").code == 0
    ran = run("bom", world.ref, "--format", "spdx")
    check_spdx(json.loads(ran.out))
    assert run("bom", world.ref, "--format", "spdx").out == ran.out
    check_spdx(json.loads(run("bom", world.model, "--format", "spdx").out))
    answer = run("bom", world.ref, "--format", "spdx", "--json")
    assert answer.document["bom"] == json.loads(ran.out)


def test_another_format_is_refused(world: World) -> None:
    ran = run("bom", world.ref, "--format", "swid")
    assert ran.code == 2
    assert "cyclonedx or spdx" in ran.err
