"""Strict JSON: what is accepted means one thing only."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimodel import jsonio
from ocimodel.errors import FormatError
from ocimodel.jsonio import Node

TEXT = st.text(st.characters(codec="utf-8"))
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)


def load(text: str | bytes, limit: int = 10_000) -> Any:
    return jsonio.loads(text if isinstance(text, bytes) else text.encode(), limit=limit)


@given(VALUES)
def test_canonical_decodes_to_the_same_value(value: Any) -> None:
    assert load(jsonio.canonical(value), limit=1_000_000) == value


@given(VALUES)
def test_canonical_is_a_fixed_point(value: Any) -> None:
    once = jsonio.canonical(value)
    assert jsonio.canonical(load(once, limit=1_000_000)) == once


@given(st.dictionaries(TEXT, st.integers(0, 9)))
def test_canonical_forgets_the_order(value: dict[str, int]) -> None:
    assert jsonio.canonical(dict(reversed(value.items()))) == jsonio.canonical(value)


def test_canonical_sorts_by_utf16_code_units() -> None:
    # RFC 8785, section 3.2.3: U+1F600 begins with 0xD83D and so comes before U+FB33.
    value = {"\ufb33": 1, "\U0001f600": 2, "\r": 3, "1": 4}
    assert jsonio.canonical(value) == '{"\\r":3,"1":4,"\U0001f600":2,"\ufb33":1}'.encode()


def test_canonical_escapes_as_rfc_8785_does() -> None:
    assert jsonio.canonical('\b\t\n\f\r"\\\x01\x7f/€') == '"\\b\\t\\n\\f\\r\\"\\\\\\u0001\x7f/€"'.encode()


def test_canonical_has_no_floats() -> None:
    with pytest.raises(TypeError):
        jsonio.canonical({"a": [1.0]})


@given(VALUES)
def test_pretty_is_json(value: Any) -> None:
    assert json.loads(jsonio.pretty(value)) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_format_error(data: bytes) -> None:
    try:
        value = jsonio.loads(data, limit=200)
    except FormatError:
        return
    assert value == json.loads(data)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"x":[{"k":1,"b":2,"k":3}]}',
        '{"a":1,"\\u0061":2}',
        "NaN",
        "[Infinity]",
        "[-Infinity]",
        "[1e999]",
        "[-1e999]",
        "[123456789012345678901]",
        '"\\ud800"',
        '{"\\udfff":1}',
        '["\\udc00\\ud800"]',
        "\ufeff{}",
        "{} {}",
        "{}x",
        "{'a':1}",
        "[1,]",
        '{"a":1,}',
        "// no\n{}",
        "",
        " ",
        "01",
        '"\t"',
        "[" * 65 + "]" * 65,
        '{"a":' * 65 + "1" + "}" * 65,
        "[" * 100_000,
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(FormatError):
        load(text, limit=200_000)


@pytest.mark.parametrize("data", [b"\xff", b'"\xc3"', b'"\xed\xa0\x80"', "{}".encode("utf-16"), b'"\xc0\x80"'])
def test_not_utf8(data: bytes) -> None:
    with pytest.raises(FormatError):
        load(data)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[" * 63 + "]" * 63, None),
        (' {"a" : [ 1 , -2 , 3.5 ] } ', {"a": [1, -2, 3.5]}),
        ('"\\ud83d\\ude00"', "😀"),
        ("9223372036854775807", 2**63 - 1),
        ('{"a":{"k":1},"b":{"k":1}}', {"a": {"k": 1}, "b": {"k": 1}}),
    ],
)
def test_accepted(text: str, value: Any) -> None:
    assert value is None or load(text) == value
    assert load(text) == json.loads(text)


def test_the_limit_is_a_size_in_bytes() -> None:
    assert load('"é"', limit=4) == "é"
    with pytest.raises(FormatError, match="more than 3 bytes"):
        load('"é"', limit=3)


def test_the_document_is_named() -> None:
    with pytest.raises(FormatError, match=r"^policy: the key 'a' stands twice"):
        jsonio.loads(b'{"a":1,"a":2}', limit=100, what="policy")


DOCUMENT = Node({"a": {"list": [{"n": 1}, {"n": "x"}], "flag": True, "null": None}, "s": "text"})


@pytest.mark.parametrize(
    ("look", "path"),
    [
        (lambda: DOCUMENT.get("a").get("missing"), "a.missing"),
        (lambda: DOCUMENT.get("a").get("null"), "a.null"),
        (lambda: DOCUMENT.get("a").get("list").items()[1].get("n").integer(), "a.list[1].n"),
        (lambda: DOCUMENT.get("a").get("flag").integer(), "a.flag"),
        (lambda: DOCUMENT.get("a").get("list").object(), "a.list"),
        (lambda: DOCUMENT.get("a").items(), "a"),
        (lambda: DOCUMENT.get("a").get("list").items(limit=1), "a.list"),
        (lambda: DOCUMENT.get("a").string(), "a"),
        (lambda: DOCUMENT.get("s").string(limit=3), "s"),
        (lambda: DOCUMENT.get("s").boolean(), "s"),
        (lambda: DOCUMENT.get("a").strings(), "a.list"),
        (lambda: DOCUMENT.only("a"), "s"),
        (lambda: DOCUMENT.get("a").get("list").items()[0].get("n").integer(minimum=2), "a.list[0].n"),
        (lambda: DOCUMENT.get("a").get("list").items()[0].get("n").integer(maximum=0), "a.list[0].n"),
    ],
)
def test_the_bad_field_is_named(look: Any, path: str) -> None:
    with pytest.raises(FormatError) as caught:
        look()
    assert caught.value.path == path


def test_what_is_there_is_found() -> None:
    assert DOCUMENT.find("nothing") is None
    assert DOCUMENT.get("a").find("null") is None
    assert DOCUMENT.get("a").get("flag").boolean() is True
    assert [name for name, _ in DOCUMENT.members()] == ["a", "s"]
    DOCUMENT.only("a", "s", "more")
