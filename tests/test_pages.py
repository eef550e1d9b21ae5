"""What models say of themselves never draws on a terminal, and is nothing but text on a page."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ocimodel.cli import page
from ocimodel.cli.text import columns
from tests.commands import run
from tests.models import make_model, tensor, write_gguf, write_safetensors

HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J</td></table><script>alert(1)</script>\u202e\u2066'\" onload=x <img src=x onerror=y>"
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Elements(HTMLParser):
    """The elements of a page, and their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "meta" and ("http-equiv", "Content-Security-Policy") in attrs:
            self.policy = dict(attrs)["content"] or ""


def elements(path: Path) -> Elements:
    parsed = Elements()
    parsed.feed(path.read_text())
    return parsed


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    """Two models that say what they should not."""
    names = []
    for tag, seed in (("a", 0), ("b", 1)):
        model = make_model(tmp_path / tag, gguf=False, shards=1)
        write_gguf(model / "m.gguf", name=f"{HOSTILE}{seed}")
        write_safetensors(model / "model.safetensors", {HOSTILE: tensor("x", "uint8", (64,), seed)})
        (model / "config.json").write_text(json.dumps({"architectures": [HOSTILE], HOSTILE: f"{HOSTILE}{seed}"}))
        (model / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": HOSTILE}))
        (model / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": HOSTILE}))
        record = {
            "model": {"name": "m"},
            "hyperparameters": {HOSTILE: f"{HOSTILE}{seed}"},
            "baseModels": [{"name": HOSTILE, "annotations": {"relation": HOSTILE}}],
        }
        (tmp_path / "model.json").write_text(json.dumps(record))
        name = f"oci:{tmp_path}/store:{tag}"
        assert run("push", model, name, "--metadata", tmp_path / "model.json").code == 0
        names.append(name)
    return names[0], names[1]


def test_on_a_terminal_and_on_pages(pair: tuple[str, str], tmp_path: Path) -> None:
    html = tmp_path / "page.html"
    for command in (("inspect", pair[0], "--tensors"), ("diff", *pair), ("lineage", pair[0])):
        ran = run(*command, "--html", html)
        assert ran.code == 0, ran.err
        assert not CONTROL.search(ran.out + ran.err)
        assert "owned" in ran.out, "shown, with what acts on terminals escaped"
        text = html.read_text()
        assert not CONTROL.search(text)
        assert "&lt;script&gt;alert(1)" in text
        found = elements(html)
        assert not found.names & {"script", "img", "a", "link", "iframe", "object", "base", "form"}
        assert not {name for name in found.attributes if name.startswith("on")} | (
            found.attributes & {"src", "href"}
        )
        assert "default-src 'none'" in found.policy
        assert "unsafe" not in found.policy


def test_the_picture_of_a_lineage_is_on_its_page(pair: tuple[str, str], tmp_path: Path) -> None:
    assert run("lineage", pair[0], "--html", tmp_path / "l.html").code == 0
    assert {"svg", "rect", "text"} <= elements(tmp_path / "l.html").names


def test_a_page_that_cannot_be_written_is_74(pair: tuple[str, str], tmp_path: Path) -> None:
    for command in (("inspect", pair[0]), ("diff", *pair), ("lineage", pair[0])):
        assert run(*command, "--html", tmp_path / "none/page.html").code == 74


def test_long_tables_are_cut_on_a_page() -> None:
    rows = [(str(number),) for number in range(page.MAX_ROWS + 3)]
    assert "… and 3 more; --json has all" in page.table("t", ("a",), rows)
    assert page.table("t", ("a",), []) == ""


def on_a_terminal(width: int, *command: str) -> str:
    """What a command writes on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(width), "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
    text = b""
    with subprocess.Popen(
        [sys.executable, "-m", "ocimodel", *command], stdout=theirs, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        os.close(theirs)
        with suppress(OSError):  # EIO: the last one who could write is gone
            while data := os.read(ours, 65536):
                text += data
        assert process.wait() == 0
    os.close(ours)
    return text.decode().replace("\r\n", "\n")


def test_a_narrow_terminal(pair: tuple[str, str]) -> None:
    """Tables fit, as far as they can be made to; colours and the cursor are let alone."""
    for command in (["inspect", pair[0], "--tensors"], ["diff", *pair]):
        for width in (30, 90):
            shown = on_a_terminal(width, *command)
            assert not CONTROL.search(shown)
            tables = re.findall(r"^(?:FORMAT|FILE|TENSOR|METADATA) .*(?:\n.+)*", shown, re.MULTILINE)
            assert len(tables) >= 3
            if width == 90:
                assert max(columns(line) for rows in tables for line in rows.splitlines()) <= width
