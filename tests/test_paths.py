"""File names out of annotations: what may reach a file system."""

from __future__ import annotations

import os
import posixpath
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimodel.errors import UnsafePathError
from ocimodel.oci.paths import check_distinct, check_path, fold


@pytest.mark.parametrize(
    "path",
    [
        "model.safetensors",
        "a/b/c.json",
        ".gitattributes",
        "a/.hidden",
        "..a/b..c/...d",
        "ü/é.txt",
        "模型/权重.gguf",
        "a b",
        "model-00001-of-00002.safetensors",
        "console",
        "com",
        "x" * 255,
        "/".join(["d"] * 64),
        "~/x",
        "-rf",
        "$HOME",
        "a'b",
    ],
)
def test_accepted(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "/",
        "/etc/passwd",
        "../evil",
        "a/../evil",
        "a/..",
        "./a",
        "a/./b",
        "a//b",
        "a/",
        "//a",
        "a\\b",
        "..\\evil",
        "C:\\x",
        "C:x",
        "a:stream",
        "a\0b",
        "a\nb",
        "a\x7f",
        "a\x85b",
        "a*",
        "a?",
        'a"',
        "a<b",
        "a|b",
        "con",
        "CON.txt",
        "a/nul",
        "Aux.",
        "com1",
        "LPT9.tar.gz",
        "com¹",
        "conin$",
        "a.",
        "a ",
        " a",
        "a/b. /c",
        "a\u202eb",
        "a\u200bb",
        "\ufeffa",
        "a\ud800",
        "x" * 256,
        "é" * 128,
        "/".join(["d"] * 65),
        "/".join(["d" * 100] * 11),
    ],
)
def test_refused(path: str) -> None:
    with pytest.raises(UnsafePathError):
        check_path(path)


@given(st.text(st.sampled_from("a./\\.. \0:é"), max_size=12) | st.text())
def test_whatever_passes_stays_below(path: str) -> None:
    try:
        check_path(path)
    except UnsafePathError:
        return
    joined = posixpath.normpath(posixpath.join("/root", path))
    assert joined == "/root/" + path
    assert os.fsdecode(os.fsencode(path)) == path


@pytest.mark.parametrize(
    "paths",
    [
        ["a", "a"],
        ["a", "A"],
        ["readme.md", "README.md"],
        ["straße", "STRASSE"],
        ["\u00e9", "e\u0301"],
        ["\ufb01x", "fix"],
        ["\u2126", "\u03a9"],
        ["a", "a/b"],
        ["a/b", "A"],
        ["a/x", "A/y"],
        ["d/e/x", "d/E/y"],
        ["x/y", "x", "z"],
    ],
)
def test_one_name_on_some_platform(paths: list[str]) -> None:
    for order in (paths, paths[::-1]):
        with pytest.raises(UnsafePathError):
            check_distinct(order)


@pytest.mark.parametrize("paths", [[], ["a"], ["a", "b"], ["a/x", "a/y", "ab"], ["a/b/c", "a/b/d", "b/b/c"]])
def test_distinct(paths: list[str]) -> None:
    check_distinct(paths)
    check_distinct(iter(paths))


@given(st.text())
def test_fold_does_not_depend_on_form_or_case(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    for form in ("NFC", "NFD"):
        assert fold(unicodedata.normalize(form, text)) == fold(text)
