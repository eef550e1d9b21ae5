"""Schemas for predicates, and how long their patterns may take."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ocimodel.errors import FormatError
from ocimodel.trust.patterns import MAX_TEXT, limit
from ocimodel.trust.schemas import MAX_NODES, check_schema, problem

ACCURATE = {"type": "object", "properties": {"accuracy": {"minimum": 0.9}}, "required": ["accuracy"]}


@pytest.mark.parametrize(
    ("schema", "predicate", "where"),
    [
        (ACCURATE, {"accuracy": 0.9}, ""),
        (ACCURATE, {"accuracy": 0.8999}, "$.accuracy"),
        (ACCURATE, {}, "$: "),
        ({"properties": {"result": {"enum": ["PASSED"]}}}, {"result": "FAILED"}, "$.result"),
        ({"properties": {"v": {"pattern": r"^1\.\d+$"}}}, {"v": "1.4"}, ""),
        ({"properties": {"v": {"pattern": r"^1\.\d+$"}}}, {"v": "2.4"}, "$.v"),
        ({"properties": {"v": {"pattern": "x"}}}, {"v": "x" * (MAX_TEXT + 1)}, "$.v"),
        ({"properties": {"v": {"uniqueItems": True}}}, {"v": [1, 1.0]}, "$.v"),
        ({"properties": {"v": {"uniqueItems": True}}}, {"v": [1, True, "1", [1], {"a": 1}]}, ""),
        ({"patternProperties": {"^x": {"type": "string"}}}, {"xa": 1}, "$.xa"),
        ({"$defs": {"n": {"type": "number"}}, "properties": {"a": {"$ref": "#/$defs/n"}}}, {"a": "b"}, "$.a"),
        ({"properties": {"a": {"$ref": "#"}}, "maxProperties": 1}, {"a": {"a": {}}}, ""),
        ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"a": 1}, "$: "),
        ({"not": {}}, {}, "$: "),
    ],
)
def test_predicates(schema: dict[str, Any], predicate: dict[str, Any], where: str) -> None:
    check_schema(schema)
    said = problem(schema, predicate)
    assert said.startswith(where) if where else said == ""


@pytest.mark.parametrize(
    "schema",
    [
        [],
        None,
        {"type": 1},
        {"type": "text"},
        {"minimum": "0"},
        {"$ref": "https://evil.example/schema"},
        {"$ref": "other.json"},
        {"$ref": "#/$defs/absent"},
        {"$ref": "#anchor"},
        {"properties": {"a": {"items": [{"$ref": "file:///etc/passwd"}]}}},
        {"allOf": [{"$ref": "//evil.example"}]},
        {"$id": "https://example.org/x"},
        {"$dynamicRef": "#x"},
        {"$schema": "http://json-schema.org/draft-07/schema#"},
        {"pattern": "("},
        {"pattern": "(a+)+"},
        {"patternProperties": {"(a|b)*c+": {}, "(a+)+": {}}},
        {"properties": {"a": {"pattern": "a" * 600}}},
        {"enum": ["x" * 70_000]},
    ],
)
def test_what_is_no_schema_here(schema: Any) -> None:
    with pytest.raises(FormatError):
        check_schema(schema)


def test_names_of_properties_are_not_taken_for_keywords() -> None:
    check_schema({"properties": {"$ref": {"type": "string"}, "pattern": {"type": "string"}}})
    check_schema({"const": {"$ref": "https://example.org"}, "enum": [{"pattern": "("}]})
    assert problem({"const": {"$ref": "x"}}, {"$ref": "x"}) == ""


def test_a_schema_that_refers_to_itself_ends() -> None:
    schema = {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
    check_schema(schema)
    assert "RecursionError" in problem(schema, {})


def test_a_predicate_that_is_too_large_does_not_satisfy() -> None:
    assert problem({}, {"a": [0] * MAX_NODES})
    assert problem({}, {"k" * 300: 1})
    assert problem({}, {"a": [0] * 99}) == ""


SCHEMAS = st.recursive(
    st.sampled_from(
        [
            {"type": "string"},
            {"type": ["number", "null"]},
            {"minimum": 1},
            {"maxLength": 2},
            {"enum": [1, "a", None]},
            {"const": {"a": 1}},
            {"uniqueItems": True},
            {"multipleOf": 0.5},
            {},
        ]
    ),
    lambda inner: (
        st.dictionaries(st.sampled_from("ab"), inner, max_size=2).map(lambda found: {"properties": found})
        | st.lists(inner, min_size=1, max_size=2).map(lambda found: {"anyOf": found})
        | inner.map(lambda found: {"not": found})
        | inner.map(lambda found: {"items": found})
    ),
    max_leaves=4,
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(SCHEMAS, st.dictionaries(st.sampled_from("ab"), VALUES, max_size=2))
def test_it_agrees_with_the_library(schema: dict[str, Any], predicate: dict[str, Any]) -> None:
    check_schema(schema)
    assert (problem(schema, predicate) == "") == Draft202012Validator(schema).is_valid(predicate)


# --- patterns -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+$",
        r"(a|aa)+$",
        r"([a-z]+\.)*x",
        r"^(a?){30}a{30}$",
        "a?" * 30 + "a" * 30,
        r"(?=a)b",
        r"(?<!a)b",
        r"(a)\1",
        r"(?P<n>a)(?P=n)",
        r"(.*)*",
        r"((ab)*)*",
        r"(x+x+)+y",
        r"\d+" * 9,
        "(",
        "a" * 513,
    ],
)
def test_patterns_that_may_take_long(pattern: str) -> None:
    with pytest.raises(FormatError):
        limit(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^https://github\.com/acme/.+$",
        r"^\d+\.\d+\.\d+$",
        r"^(PASSED|WARNED)$",
        r"^sha256:[0-9a-f]{64}$",
        r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$",
        r"^[a-z0-9-]+/[a-z0-9-]+$",
        r"(?i)passed",
        r"^v?[0-9]+(\.[0-9]+){0,2}$",
        "",
    ],
)
def test_patterns_that_people_write(pattern: str) -> None:
    assert limit(pattern) >= 64


PATTERNS = st.lists(
    st.sampled_from(["a", "a*", "a+", "(a|b)", "[ab]*", "a?", ".*", "(ab){1,3}", "^", "$", "(a*)", "b{2,}"]),
    max_size=6,
).map("".join)


@settings(max_examples=200, deadline=None)
@given(PATTERNS)
def test_what_is_taken_ends_soon(pattern: str) -> None:
    try:
        longest = limit(pattern)
    except FormatError:
        return
    # The suite's own time limit would end what is exponential.
    for text in ("a" * (longest - 1) + "!", "ab" * (longest // 2), "b" * longest):
        found = re.search(pattern, text)
        assert found is None or found.end() <= longest
