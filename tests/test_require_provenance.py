"""A policy can require each part of a record: who has it passes, who lacks just that is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ocimodel import yamlio
from ocimodel.oci import media
from tests.commands import World, make_world, run
from tests.test_record import MODEL

PAGE = Path(__file__).resolve().parents[1] / "docs/how-to/require-provenance.md"
WHOLE = yamlio.load(MODEL.encode(), "model.yaml", text=True)
WHOLE["baseModels"][0]["digest"] = {"sha256": "e" * 64}
WHOLE["experiment"]["url"] = "https://mlflow.example.com/7"
WHOLE["preprocessing"].append({"name": "split"})


def within(path: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A schema for what stands at ``path``, which has to be there."""
    for name in reversed(path.split(" ")):
        schema = {"required": [name], "properties": {name: schema}}
    return schema


def material(role: str, **members: Any) -> dict[str, Any]:
    """That there is a dependency of this role, and what it must say besides."""
    properties = {"annotations": within("role", {"const": role}), **members}
    return within(
        "buildDefinition resolvedDependencies", {"contains": {"required": [*properties], "properties": properties}}
    )


EXTERNAL = "buildDefinition externalParameters"
PARTS: dict[str, tuple[dict[str, Any], Any]] = {
    "source": (within(f"{EXTERNAL} source repository", {}), "source"),
    "entry-point": (within(f"{EXTERNAL} source entryPoint", {"const": "train.py"}), ("source", "entryPoint")),
    "commit": (material("source", digest=within("gitCommit", {})), ("source", "commit")),
    "hyperparameter": (within(f"{EXTERNAL} hyperparameters lr", {"enum": ["3e-4"]}), ("hyperparameters", "lr")),
    "preprocessing": (
        within(f"{EXTERNAL} preprocessing", {"contains": within("name", {"const": "tokenize"})}),
        ("preprocessing", 0),
    ),
    "data": (material("training-data", digest=within("sha256", {})), ("datasets", 0, "digest", "sha256")),
    "base-model": (material("base-model", digest=within("sha256", {})), ("baseModels", 0, "digest")),
    "package": (material("package", uri={"pattern": "^pkg:pypi/torch@2\\.5\\."}), "packages"),
    "image": (material("image", digest=within("sha256", {})), "image"),
    "environment": (
        within("buildDefinition internalParameters environment cuda", {"const": "12.4"}),
        "environment",
    ),
    "builder": (within("runDetails builder id", {"pattern": "^https://ci\\.example\\.com/"}), "builder"),
    "run": (within("runDetails metadata invocationId", {}), ("run", "url")),
    "times": (within("runDetails metadata finishedOn", {}), ("run", "finishedOn")),
    "report": (within("runDetails byproducts", {"contains": within("digest sha256", {})}), "reports"),
    "contributor": (within(media.CONTRIBUTORS, {"contains": {"const": "alice@example.com"}}), "contributors"),
    "experiment": (within(f"{media.EXPERIMENT} url", {}), ("experiment", "url")),
    "metric": (within(media.METRICS, {"contains": within("name", {"const": "accuracy"})}), "metrics"),
}
"""The schema that asks for it, and what to take away from a whole record."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("world")
        patch.setenv("OCIMODEL_AUDIT_LOG", str(root / "audit.jsonl"))
        return make_world(root)


def without(path: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(WHOLE))
    *steps, last = (path,) if isinstance(path, str) else path
    here: Any = found
    for step in steps:
        here = here[step]
    del here[last]
    return found


def attested(world: World, place: Path, document: dict[str, Any]) -> str:
    """A model with this record, signed, its provenance attested."""
    reference = f"oci:{place}:v1"
    path = place.with_suffix(".json")
    path.write_text(json.dumps(document))
    pushed = run("push", world.model, reference, "--metadata", path, "--key", world.key)
    assert pushed.code == 0, pushed.err
    assert run("attest", reference, "--type", "provenance", "--key", world.key).code == 0
    return reference


@pytest.fixture(scope="module")
def whole(world: World) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OCIMODEL_AUDIT_LOG", str(world.root / "audit.jsonl"))
        return attested(world, world.root / "whole", WHOLE)


def policy(world: World, place: Path, gate: dict[str, Any]) -> Path:
    gates = [{"predicateType": media.SLSA_PROVENANCE, "name": "training", "from": ["builder"], **gate}]
    document = {
        "version": 1,
        "keys": {"builder": {"publicKeyFile": str(world.pub)}},
        "scopes": [{"match": "oci:**", "signatures": {"from": ["builder"]}, "attestations": gates}],
    }
    path = place / "policy.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_required(name: str, world: World, whole: str, tmp_path: Path) -> None:
    schema, path = PARTS[name]
    trust = policy(world, tmp_path, {"schema": schema})
    ran = run("verify", whole, "--policy", trust)
    assert ran.code == 0, ran.err
    lacking = attested(world, tmp_path / "lacking", without(path))
    ran = run("verify", lacking, "--policy", trust)
    assert ran.code == 19, ran.out
    assert "training" in ran.err


def test_the_page(world: World, whole: str, tmp_path: Path) -> None:
    """Its gate passes what it says, and refuses a laptop, md5 alone, and a model that was not measured."""
    (block,) = [
        text for text in re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL) if "attestations" in text
    ]
    (gate,) = json.loads("{" + block + "}")["attestations"]
    gate.pop("maxAge")  # the example's times are fixed
    trust = policy(world, tmp_path, gate)
    ran = run("verify", whole, "--policy", trust)
    assert ran.code == 0, ran.err
    for number, path in enumerate(("builder", ("datasets", 0, "digest", "sha256"), "metrics", "run")):
        lacking = attested(world, tmp_path / f"lacking{number}", without(path))
        assert run("verify", lacking, "--policy", trust).code == 19, path


def test_an_unattested_record_passes_no_gate(world: World, tmp_path: Path) -> None:
    """It travels with the model and its signature covers it; the gate asks who answers for it."""
    ran = run("verify", world.ref, "--policy", policy(world, tmp_path, {}))
    assert ran.code == 19
    assert "no attestation training" in ran.err
