"""The sample pipeline does what it says: it is run as people run it, and what it leaves is looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import run

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that it worked in."""
    place = tmp_path_factory.mktemp("pipeline")
    programs = place / "bin"
    programs.mkdir()
    for name, words in (("ocimodel", "-m ocimodel "), ("python3", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n')
        (programs / name).chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OCIMODEL_")}
    environment |= {"PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [ROOT / "examples/pipeline/pipeline.sh", place / "work"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (place / "told.txt").write_text(done.stdout)
    return place / "work"


def test_only_what_passed_was_signed(work: Path) -> None:
    events = [json.loads(line) for line in (work / "audit.jsonl").read_text().splitlines()]
    signed = [event["data"]["exitCode"] for event in events if event["type"].endswith(".sign.v1")]
    assert signed == [19, 0, 19, 0], "not evaluated, passed, failed, passed"
    policy = work / "policy.json"
    codes = {
        name: run("verify", f"oci:{work}/models:{name}", "--policy", policy).code for name in ("first", "poor")
    }
    assert codes == {"first": 0, "poor": 10}


def test_the_evaluation_says_by_what_it_was_measured(work: Path) -> None:
    shown = run("attest", "show", f"oci:{work}/models:poor", "--key", work / "evaluator.pub", "--json").document
    said = {item["predicate"]["result"]: item for item in shown["attestations"]}
    assert set(said) == {"FAILED", "PASSED"}, "the evaluation and the scan"
    assert {item["status"] for item in said.values()} == {"good"}
    names = [item["name"] for item in said["FAILED"]["predicate"]["configuration"]]
    assert names == ["ocimodel attest --metrics", "thresholds.yaml", "poor.json"]


def test_the_lineage_is_verified(work: Path) -> None:
    model = run("lineage", f"oci:{work}/models:second", "--policy", work / "policy.json", "--json").document[
        "model"
    ]
    (base,) = model["bases"]
    assert (model["verified"], base["relation"], base["verified"], base["model"]["verified"]) == (
        True,
        "finetune",
        True,
        True,
    )
    assert base["digest"] == run("inspect", f"oci:{work}/models:first", "--json").document["digest"]


def test_the_transcript_shows_the_refusals(work: Path) -> None:
    told = (work.parent / "told.txt").read_text()
    assert told.count("(exit code 19, as it should be)") == 2
    assert "└─ finetune of oci:" in told
