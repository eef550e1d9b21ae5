"""The reference page is what the code says: run ``python -m ocimodel.cli.reference > docs/reference/cli.md``."""

from __future__ import annotations

import inspect
from pathlib import Path

import typer

from ocimodel.cli import reference
from ocimodel.cli.app import app
from ocimodel.cli.options import READ_BY_COMMAND

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "cli.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == reference.page(), inspect.getdoc(reference)


def test_every_option_has_a_meaning_and_a_variable() -> None:
    for path, command in reference._commands(typer.main.get_command(app), "ocimodel"):
        assert command.help, path
        for param in command.params:
            if param.param_type_name == "option":
                assert param.help, f"{path} {param.opts}"
                named = param.envvar or READ_BY_COMMAND in param.help or "OCIMODEL_" in param.help
                assert named, f"{path} {param.opts}"


def test_no_two_options_share_a_variable_with_another_meaning() -> None:
    names: dict[str, set[str]] = {}
    for _, command in reference._commands(typer.main.get_command(app), "ocimodel"):
        for param in command.params:
            if param.param_type_name == "option" and param.envvar:
                names.setdefault(str(param.envvar), set()).add(max(param.opts, key=len))
    assert all(len(options) == 1 for options in names.values()), names
