"""All commands, and how one command line is run.

Only the module of the command that was named is imported: a verification should not wait for the others.

Guarantees of `run`: it returns an exit code and raises nothing but what a signal raises; with ``--json`` stdout
gets one document also where the command line could not be understood.
"""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer

from ocimodel import __version__
from ocimodel.cli.console import Console
from ocimodel.cli.run import Run, Settings
from ocimodel.errors import UsageError

PROGRAM = "ocimodel"

_SHARED = {
    "--json": 0,
    "--quiet": 0,
    "-q": 0,
    "--debug": 0,
    "--plain-http": 1,
    "--ca-file": 1,
    "--registry-config": 1,
}
"""Options of every command, which may also stand before it; 1: with a value."""

_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})

# typer carries its own copy of click in some versions and uses the installed one in others. What both have is that
# BadParameter is a usage error, which is an error for the user.
_CLICK_ERROR: type[Exception] = typer.BadParameter.__mro__[2]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version.")
]

COMMANDS: Mapping[str, str] = {
    "push": "push",
    "import": "importing",
    "pull": "pull",
    "sign": "sign",
    "verify": "verify",
    "copy": "copy",
    "bundle": "bundle",
    "promote": "promote",
    "approve": "approve",
    "attest": "attest",
    "inspect": "inspection",
    "tree": "inspection",
    "list": "inspection",
    "diff": "diff",
    "bom": "bom",
    "lineage": "lineage",
    "key": "key",
    "policy": "policy",
    "revoke": "revoke",
    "resign": "resign",
    "scan": "scan",
    "cache": "cache",
    "login": "login",
    "logout": "login",
    "demo": "demo",
}
"""The commands in the order of the help, and the module of each below this package."""

GROUPS = frozenset({"attest", "bundle", "key", "policy", "promote", "cache", "revoke"})
"""Commands that are followed by another one."""


def program(version: Version = False) -> None:
    """Pack, sign, push, pull and verify machine-learning models as OCI artifacts.

    An artifact is named HOST[:PORT]/REPOSITORY[:TAG][@DIGEST] in a registry, or oci:PATH[:TAG][@DIGEST] in an OCI
    layout on disk. Every option can also be set as OCIMODEL_<OPTION>; arguments win. See ocimodel COMMAND --help.
    """


@cache
def commands(only: str = "") -> typer.Typer:
    """The application with all commands, or with those of the module ``only``."""
    app = typer.Typer(
        name=PROGRAM,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(program)
    for module in dict.fromkeys(COMMANDS.values()):
        if only in ("", module):
            name = next(word for word, place in COMMANDS.items() if place == module)
            group = import_module(f"ocimodel.cli.{module}").app
            app.add_typer(group, name=name) if name in GROUPS else app.add_typer(group)
    return app


def __getattr__(name: str) -> typer.Typer:
    """``app``: the application with all commands."""
    if name == "app":
        return commands()
    raise AttributeError(name)


def run(argv: Sequence[str], console: Console | None = None) -> int:
    """Run one command line. Returns the exit code."""
    console = console or Console()
    arguments = arrange(argv)
    command = typer.main.get_command(commands(COMMANDS.get(arguments[0], "")))
    try:
        result = command.main(args=arguments, prog_name=PROGRAM, standalone_mode=False, obj=console)
    except _CLICK_ERROR as error:
        path = getattr(getattr(error, "ctx", None), "command_path", None) or _path(command, arguments)
        return _misused(arguments, path, error, console)
    except SystemExit as error:  # shell completion; or whoever asked for help has read enough
        if isinstance(error.__context__, BrokenPipeError):
            return 0
        return error.code if isinstance(error.code, int) else 0
    return result if isinstance(result, int) else 0


def arrange(argv: Sequence[str]) -> list[str]:
    """Put the options that every command has after the command, and ask for help where nothing was asked for."""
    rest = list(argv)
    shared: list[str] = []
    while rest and (name := rest[0].partition("=")[0]) in _SHARED:
        takes = 2 if _SHARED[name] and "=" not in rest[0] else 1
        shared += rest[:takes]
        rest = rest[takes:]
    if not rest or (len(rest) == 1 and rest[0] in GROUPS):
        return [*rest, "--help"]
    end = rest.index("--") if "--" in rest else len(rest)
    return rest[:end] + shared + rest[end:]


def _path(group: Any, arguments: Sequence[str]) -> str:
    """The command that was named, where the parser does not say which it was parsing for."""
    words = [PROGRAM]
    for word in arguments:
        group = getattr(group, "commands", {}).get(word)
        if group is None:
            break
        words.append(word)
    return " ".join(words)


def _misused(arguments: Sequence[str], path: str, error: Exception, console: Console) -> int:
    """The command line itself is wrong: the same two lines, and the same document, as for any other error."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    json = "--json" in options or os.environ.get("OCIMODEL_JSON", "").lower() in _TRUE
    format_message = getattr(error, "format_message", error.__str__)
    message = str(format_message()).rstrip(".")
    run = Run(path.removeprefix(PROGRAM).strip(), Settings(json=json), console, event=None)
    return run.failed(UsageError(message[:1].lower() + message[1:], hint=f"See {path} --help."))
