"""Globs over names: what they match, which one wins, and which of them tie."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.errors import FormatError
from ocimodel.trust.scope import Glob, best, clash

ALPHABET = "ab/"
PIECES = st.sampled_from(["a", "b", "/", "*", "**"])
GLOBS = st.lists(PIECES, min_size=1, max_size=6).map("".join).filter(lambda text: "***" not in text)
NAMES = ["".join(letters) for length in range(5) for letters in product(ALPHABET, repeat=length)]


def as_regex(text: str) -> re.Pattern[str]:
    parts = [{"*": "[^/]*", "**": ".*"}.get(part, re.escape(part)) for part in re.findall(r"\*+|[^*]", text)]
    return re.compile("".join(parts), re.DOTALL)


@pytest.mark.parametrize(
    ("glob", "name", "fits"),
    [
        ("reg.acme/ml-prod/**", "reg.acme/ml-prod/bert", True),
        ("reg.acme/ml-prod/**", "reg.acme/ml-prod/team/bert", True),
        ("reg.acme/ml-prod/**", "reg.acme/ml-prod", False),
        ("reg.acme/ml-prod/*", "reg.acme/ml-prod/bert", True),
        ("reg.acme/ml-prod/*", "reg.acme/ml-prod/team/bert", False),
        ("reg.acme/ml-prod/bert", "reg.acme/ml-prod/bert", True),
        ("reg.acme/ml-prod/bert", "reg.acme/ml-prod/bert2", False),
        ("*.acme/**", "reg.acme/x", True),
        ("*.acme/**", "evil/reg.acme/x", False),
        ("oci:**", "oci:/srv/models", True),
        ("**", "anything/at/all", True),
        ("reg.acme/a.b", "reg.acme/aXb", False),
    ],
)
def test_what_a_glob_matches(glob: str, name: str, fits: bool) -> None:
    assert Glob.parse(glob).matches(name) is fits


@pytest.mark.parametrize("text", ["", "a***", "a?b", "a{b,c}", "a b", "a\\b", "a\nb", "x" * 513, "reg/x@sha256:0"])
def test_what_is_no_glob(text: str) -> None:
    with pytest.raises(FormatError):
        Glob.parse(text)


@settings(max_examples=200, deadline=None)
@given(GLOBS)
def test_it_matches_what_the_regular_expression_matches(text: str) -> None:
    glob, pattern = Glob.parse(text), as_regex(text)
    assert [glob.matches(name) for name in NAMES] == [pattern.fullmatch(name) is not None for name in NAMES]


@settings(max_examples=200, deadline=None)
@given(GLOBS, GLOBS)
def test_globs_that_share_a_name_meet(one: str, two: str) -> None:
    left, right = Glob.parse(one), Glob.parse(two)
    assert left.meets(right) == right.meets(left)
    if any(left.matches(name) and right.matches(name) for name in NAMES):
        assert left.meets(right)


@settings(max_examples=100, deadline=None)
@given(st.lists(GLOBS, min_size=2, max_size=4, unique=True))
def test_where_none_tie_one_wins_for_every_name(texts: list[str]) -> None:
    globs = [Glob.parse(text) for text in texts]
    tied = clash(globs)
    for name in NAMES:
        prefixes = [len(glob.prefix) for glob in globs if glob.matches(name)]
        if tied is None and prefixes:
            assert prefixes.count(max(prefixes)) == 1
        chosen = best(globs, name)
        assert (chosen is None) == (not prefixes)
        assert chosen is None or (globs[chosen].matches(name) and len(globs[chosen].prefix) == max(prefixes))


@pytest.mark.parametrize(
    ("texts", "tied"),
    [
        (["a/*", "a/**"], (0, 1)),
        (["a/*x", "a/*y"], None),
        (["a/*x*", "a/*y"], (0, 1)),
        (["a/**", "a/b/**", "a/b/c"], None),
        (["a/b", "a/b*"], (0, 1)),
        (["a/*/c", "a/b/*"], None),
        (["**", "*"], (0, 1)),
        (["reg/**", "oci:**", "**"], None),
        (["x", "x"], (0, 1)),
    ],
)
def test_ties(texts: list[str], tied: tuple[int, int] | None) -> None:
    assert clash([Glob.parse(text) for text in texts]) == tied


def test_a_long_glob_takes_no_longer_than_its_length() -> None:
    glob = Glob.parse("*a" * 200)
    assert not glob.matches("a" * 150 + "/")
    assert glob.matches("a" * 400)
    assert glob.meets(Glob.parse("*b" * 50 + "*a" * 200))
