"""`attest --type` alone: what the artifact says of itself, signed, shown, and valid by its own schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocimodel.verbs.bom import _member
from tests.commands import World, make_world, run
from tests.official import check_cyclonedx, check_spdx, check_statement
from tests.test_record import MODEL

TYPES = {
    "provenance": "https://slsa.dev/provenance/v1",
    "slsaprovenance1": "https://slsa.dev/provenance/v1",
    "bom": "https://cyclonedx.org/bom",
    "cyclonedx": "https://cyclonedx.org/bom",
    "spdx": "https://spdx.dev/Document",
    "spdxjson": "https://spdx.dev/Document",
    "https://spdx.dev/Document/v3": "https://spdx.dev/Document/v3",
}
CHECKS: dict[str, Callable[[dict[str, Any]], object]] = {
    "https://slsa.dev/provenance/v1": bool,
    "https://cyclonedx.org/bom": check_cyclonedx,
    "https://spdx.dev/Document": check_spdx,
    "https://spdx.dev/Document/v3": check_spdx,
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = make_world(tmp_path)
    (tmp_path / "model.yaml").write_text(MODEL)
    assert run("push", world.model, world.ref, "--metadata", tmp_path / "model.yaml").code == 0
    return world


def shown(world: World) -> list[dict[str, Any]]:
    answer = run("attest", "show", world.ref, "--key", world.pub, "--json")
    assert answer.code == 0, answer.err
    found = answer.document["attestations"]
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("name", TYPES)
def test_it_is_signed_and_shown(name: str, world: World) -> None:
    ran = run("attest", world.ref, "--type", name, "--key", world.key)
    assert ran.code == 0, ran.err
    (found,) = shown(world)
    assert (found["predicateType"], found["verified"]) == (TYPES[name], True)
    CHECKS[TYPES[name]](found["predicate"])
    check_statement(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {"sha256": world.digest.partition(":")[2]}}],
            "predicateType": found["predicateType"],
            "predicate": found["predicate"],
        }
    )
    assert run("attest", world.ref, "--type", name, "--key", world.key).out == ran.out
    assert len(shown(world)) == 1, "the same statement by the same key adds nothing"


def test_the_provenance_is_the_one_that_it_carries(world: World, tmp_path: Path) -> None:
    assert run("attest", world.ref, "--type", "provenance", "--key", world.key).code == 0
    out = tmp_path / "p.json"
    assert run("pull", world.ref, "-o", tmp_path / "out", "--provenance-out", out).code == 0
    assert shown(world)[0]["predicate"] == json.loads(out.read_text())["predicate"]


def test_numbers_keep_their_spelling() -> None:
    raw = b' {"a" : [1.50, "}"] , "predicate":\n {"x": 0.10, "y": {"z": 1e3}} , "c": 1}'
    assert _member(raw, "predicate") == b'{"x": 0.10, "y": {"z": 1e3}}'
    assert _member(raw, "c") == b"1"


@pytest.mark.parametrize("name", ["https://example.com/x/v1", "vuln", "slsaprovenance"])
def test_other_types_need_a_predicate(name: str, world: World) -> None:
    ran = run("attest", world.ref, "--type", name, "--key", world.key)
    assert ran.code == 2
    assert "--predicate" in ran.error[1]


def test_a_provenance_that_is_none(world: World, tmp_path: Path) -> None:
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "x", "digest": {"sha256": "0" * 64}}],
        "predicateType": "https://example.com/other",
        "predicate": {},
    }
    (tmp_path / "s.json").write_text(json.dumps(statement))
    assert run("push", world.model, world.ref, "--provenance", tmp_path / "s.json").code == 0
    ran = run("attest", world.ref, "--type", "provenance", "--key", world.key)
    assert ran.code == 11
    assert "carries no SLSA provenance" in ran.error[0]
