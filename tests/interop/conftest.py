"""A model as people have them, keys of every kind, and both kinds of registry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.commands import run
from tests.models import make_model
from tests.real.registry import RealRegistry


@dataclass(frozen=True, slots=True)
class Pair:
    """Key files by our own command."""

    private: Path
    public: Path


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(params=["distribution", "referrers_registry"])
def registry(request: pytest.FixtureRequest) -> RealRegistry:
    """docker-registry, where referrers go by the fallback tag, and one with the referrers API."""
    found: RealRegistry = request.getfixturevalue(request.param)
    return found


def generate(directory: Path, kind: str = "ecdsa-p256", name: str = "own") -> Pair:
    path = directory / f"{name}-{kind}"
    assert run("key", "generate", path, "--no-password", "--type", kind).code == 0
    return Pair(path.with_name(path.name + ".key"), path.with_name(path.name + ".pub"))


@pytest.fixture
def key(tmp_path: Path) -> Pair:
    return generate(tmp_path)


def pushed(model: Path, repository: str, *more: str | Path, tag: str = "v1") -> str:
    """Push; ``REPO@DIGEST``."""
    ran = run("push", model, f"{repository}:{tag}", *more)
    assert ran.code == 0, ran.err
    return f"{repository}@{ran.out.strip().rpartition('@')[2]}"
