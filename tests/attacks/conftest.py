"""Fixtures of the attacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.scene import Scene
from tests.hostile import HostileRegistry


@pytest.fixture
def registry() -> Iterator[HostileRegistry]:
    with HostileRegistry() as running:
        yield running


@pytest.fixture
def scene(registry: HostileRegistry, tmp_path: Path) -> Scene:
    """A registry with nothing in it yet."""
    return Scene(registry, tmp_path)


@pytest.fixture
def signed(scene: Scene) -> Scene:
    """A registry with one model, signed by Alice."""
    scene.push()
    scene.registry.forget()
    return scene
