"""JSON Schemas (draft 2020-12) that the predicates of attestations must satisfy.

Guarantees: a schema refers to nothing outside of itself, and to nothing in it that is not there. Predicates have
an upper size, and so have the texts that patterns are tried on (see `patterns`); a longer one does not match.
`problem` never raises about a predicate, and says "" only where it is valid.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ocimodel.errors import FormatError
from ocimodel.trust.patterns import limit

MAX_SCHEMA: Final = 64 * 1024
MAX_NODES: Final = 100_000
MAX_KEY: Final = 256
_SLOW: Final = "rfc3987_syntax"
_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_FOREIGN: Final = ("$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$id", "$vocabulary")
_MAPS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_VALUES: Final = ("const", "enum", "default", "examples")


def check_schema(schema: Any) -> None:
    """Raises `FormatError` unless ``schema`` is one, and keeps to the limits."""
    library = _library()
    if not isinstance(schema, dict):
        raise FormatError("must be an object: a JSON Schema, draft 2020-12")
    if len(json.dumps(schema)) > MAX_SCHEMA:
        raise FormatError(f"has more than {MAX_SCHEMA} bytes")
    if schema.get("$schema", _DRAFT) != _DRAFT:
        raise FormatError(f"$schema must be {_DRAFT}")
    for where, part in _parts(schema, ""):
        _check_part(schema, where, part)
    try:
        library.Draft202012Validator.check_schema(schema)
    except (library.SchemaError, RecursionError, re.error) as error:
        raise FormatError(f"is no JSON Schema: {str(getattr(error, 'message', error))[:200]}") from None


def problem(schema: Mapping[str, Any], predicate: Mapping[str, Any]) -> str:
    """Why ``predicate`` does not satisfy ``schema``, one that `check_schema` took; empty where it does."""
    if too_much := _too_much(predicate):
        return too_much
    try:
        error = next(_validator()(schema).iter_errors(predicate), None)
    except (RecursionError, ArithmeticError, LookupError, ValueError, TypeError, AttributeError) as failure:
        return f"cannot be checked: {type(failure).__name__}"
    return "" if error is None else f"{error.json_path}: {error.message[:200]}"


def _library() -> Any:
    """`jsonschema`, imported without a grammar of IRIs that takes a second to build, where that is installed.

    It belongs to the assertion of formats, which is not used here; in a process that imports jsonschema through
    here, its `FormatChecker` does not know ``iri``.
    """
    if "jsonschema" not in sys.modules and _SLOW not in sys.modules:
        sys.modules[_SLOW] = None  # type: ignore[assignment]
        try:
            return importlib.import_module("jsonschema")
        finally:
            del sys.modules[_SLOW]
    return importlib.import_module("jsonschema")


def _validator() -> Any:
    library = _library()
    wrong = library.ValidationError

    def pattern(_validator: Any, text: str, instance: Any, _schema: Any) -> Iterator[Any]:
        if isinstance(instance, str) and not _matches(text, instance):
            yield wrong(f"{instance[:80]!r} does not match {text!r}")

    def unique_items(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        # The library compares each with each where the items are of several kinds.
        if wanted and isinstance(instance, list) and len({_text(item) for item in instance}) != len(instance):
            yield wrong("has an item twice")

    draft = library.Draft202012Validator
    return library.validators.extend(draft, {"pattern": pattern, "uniqueItems": unique_items})


def _matches(text: str, instance: str) -> bool:
    return len(instance) <= limit(text) and re.search(text, instance) is not None


def _parts(schema: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every object of a schema that may hold keywords; values that are only compared with are left out."""
    if isinstance(schema, list):
        for position, item in enumerate(schema):
            yield from _parts(item, f"{where}[{position}]")
    if not isinstance(schema, dict):
        return
    yield where, schema
    for key, value in schema.items():
        inner = f"{where}.{key}" if where else key
        if key in _MAPS and isinstance(value, dict):
            for name, part in value.items():
                yield from _parts(part, f"{inner}.{name}")
        elif key not in _VALUES:
            yield from _parts(value, inner)


def _check_part(root: Mapping[str, Any], where: str, part: Mapping[str, Any]) -> None:
    for key in _FOREIGN:
        if key in part:
            raise FormatError(f"{key} is not understood here", path=where)
    reference = part.get("$ref")
    if isinstance(reference, str):
        _resolve(root, reference, where)
    patterns = {part["pattern"]: 1} if isinstance(part.get("pattern"), str) else {}
    named = part.get("patternProperties")
    patterns |= dict.fromkeys(named, MAX_KEY) if isinstance(named, dict) else {}
    for text, least in patterns.items():
        try:
            if limit(text) < least:
                raise FormatError(f"the pattern {text[:80]!r} may take too long on a key")
        except FormatError as error:
            raise FormatError(error.what, path=where) from None


def _resolve(root: Mapping[str, Any], reference: str, where: str) -> None:
    if reference == "#":
        return
    here: Any = root
    if not reference.startswith("#/") or "%" in reference:
        raise FormatError("$ref must be #/… within this schema", path=where)
    for step in reference.removeprefix("#/").split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(here, dict) or name not in here:
            raise FormatError(f"$ref {reference[:80]!r} leads nowhere", path=where)
        here = here[name]


def _too_much(value: Any) -> str:
    pending, count = [value], 0
    while pending:
        here = pending.pop()
        count += 1
        if count > MAX_NODES:
            return f"the predicate has more than {MAX_NODES} values"
        if isinstance(here, dict):
            if any(len(key) > MAX_KEY for key in here):
                return f"the predicate has a key of more than {MAX_KEY} characters"
            pending.extend(here.values())
        elif isinstance(here, list):
            pending.extend(here)
    return ""


def _text(value: Any) -> str:
    """The same text for equal values: 1 and 1.0 are one number (JSON Schema, 4.2.2)."""

    def plain(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: plain(child) for key, child in item.items()}
        if isinstance(item, list):
            return [plain(child) for child in item]
        return int(item) if isinstance(item, float) and item.is_integer() else item

    return json.dumps(plain(value), sort_keys=True)
