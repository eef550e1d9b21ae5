"""The demo tells the truth: every command it shows was run, and had the result that it should have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocimodel.cli import demo, example_model
from tests.commands import run
from tests.documents import check


def test_the_story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("demo")
    assert (ran.code, ran.err) == (0, "")
    for step in demo.STORY:
        if isinstance(step, demo.Step):
            assert f"$ ocimodel {step.line}\n" in ran.out
    assert "REFUSED: model.safetensors: expected sha256:" in ran.out
    assert "$ echo $?\n14\n" in ran.out
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"


def test_as_a_document() -> None:
    document = check(run("demo", "--json").document)
    assert [step["exitCode"] for step in document["steps"]] == [0, 0, 10, 0, 0, 0, 0, 0, 14]


def test_it_can_be_kept_and_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept"
    assert run("demo", "--keep", kept).code == 0
    monkeypatch.chdir(kept)
    assert {"bert", "models", "served", "signing.key", "signing.pub", "audit.jsonl"} <= set(os.listdir())
    assert run("verify", "served", "--key", "signing.pub", "--ref", "oci:models:1.0").code == 0
    assert run("demo", "--keep", kept).code == 2


def test_what_the_user_has_set_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIMODEL_POLICY", "nowhere.json")
    monkeypatch.setenv("OCIMODEL_VERIFY_KEY", "")
    monkeypatch.setenv("OCIMODEL_STATE_DIR", str(tmp_path / "state"))
    before = dict(os.environ)
    assert run("demo").code == 0
    assert dict(os.environ) == before
    assert not (tmp_path / "state").exists()


def test_a_story_that_ends_otherwise_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "STORY", (demo.Step("", "list oci:nowhere", 14),))
    ran = run("demo")
    assert ran.code == 1
    assert ran.error[0] == "error: the demo did not end as it should: list oci:nowhere exited with 11 instead of 14"


def test_its_model_is_one_that_safetensors_can_read(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    tensors = numpy.load_file(example_model.write(tmp_path / "bert") / "model.safetensors")
    assert tensors["embeddings.word_embeddings.weight"].shape == (2048, 128)
    assert len(tensors) == 18


def test_its_model_is_always_the_same(tmp_path: Path) -> None:
    first, second = (example_model.write(tmp_path / name) for name in "ab")
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()
