"""The published schemas, and documents held against them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

SCHEMAS = Path(__file__).resolve().parents[1] / "schemas"


@cache
def schema(name: str) -> dict[str, Any]:
    value = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    assert isinstance(value, dict)
    return value


@cache
def _registry() -> Registry[Any]:
    names = sorted(path.name.removesuffix(".schema.json") for path in SCHEMAS.glob("*.schema.json"))
    resources = [Resource.from_contents(schema(name)) for name in names]
    return Registry().with_resources((str(resource.id()), resource) for resource in resources)


def problems(value: Any, name: str) -> list[str]:
    """What is wrong with ``value`` under the schema ``name``; nothing where it is valid."""
    validator = Draft202012Validator(schema(name), registry=_registry())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def schema_of(document: dict[str, Any]) -> str:
    """The schema of a ``--json`` document, by its command."""
    command = str(document["command"])
    if command.startswith("key "):
        return "key"
    name = command.replace(" ", "-")
    return name if (SCHEMAS / f"{name}.schema.json").exists() else "answer"


def check(document: dict[str, Any]) -> dict[str, Any]:
    """The document, which is valid."""
    assert problems(document, schema_of(document)) == []
    return document
