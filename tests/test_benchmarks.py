"""The benchmarks run from end to end, in a setting so small that their figures mean nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.__main__ import main
from benchmarks.files import MIB, fine_tuned, model, tensors
from tests.real.peers import peer


@pytest.mark.peer
@pytest.mark.slow
def test_rows_come_to_an_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("docker-registry", "nginx", "oras"):
        peer(name)
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    only = [word for name in ("push-one", "delta") for word in ("--only", name)]
    assert main(["--tiny", *only, "--out", str(out), "--scratch", str(scratch)]) == 0
    figures = json.loads((out / "speed.json").read_text())
    measured = {row["name"]: row for row in figures["rows"]}
    assert set(measured) == {"push-one", "delta", "memory"}
    delta = measured["delta"]
    assert all(wire >= delta["fetchedBytes"] for wire in delta["wireBytes"]), "the proxy counts heads as well"
    assert delta["changedBytes"] <= delta["fetchedBytes"]
    assert report.table(figures) in capsys.readouterr().out
    assert not list(scratch.iterdir()), "everything is cleaned up"


def test_models_are_as_large_as_they_say_and_the_same_each_time(tmp_path: Path) -> None:
    one, two = (model(tmp_path / name, 3 * MIB + 5) / "model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    header = int.from_bytes(one.read_bytes()[:8], "little")
    assert one.stat().st_size == 8 + header + 3 * MIB + 5


def test_a_fine_tune_changes_about_what_it_is_asked_to() -> None:
    before = tensors(1024 * MIB, 1)
    after, changed = fine_tuned(before, 0.05)
    different = [new for old, new in zip(before, after, strict=True) if old.seed != new.seed]
    assert sum(tensor.size for tensor in different) == changed
    assert all(tensor.size >= 4 * MIB for tensor in different)
    assert 0.05 <= changed / (1024 * MIB) < 0.07
    assert [(tensor.name, tensor.size) for tensor in before] == [(tensor.name, tensor.size) for tensor in after]
