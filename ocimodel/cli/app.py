"""All commands, and how one command line is run.

Guarantees of `run`: it returns an exit code and raises nothing but what a signal raises; with ``--json`` stdout
gets one document also where the command line could not be understood.
"""

import os
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ocimodel import __version__
from ocimodel.cli import attest, bom, cache, copy, demo, diff, inspection, key, login, policy, pull, push, sign, verify
from ocimodel.cli.console import Console
from ocimodel.cli.run import Run, Settings
from ocimodel.errors import UsageError

PROGRAM = "ocimodel"

_SHARED = {"--json": 0, "--quiet": 0, "-q": 0, "--debug": 0, "--plain-http": 1, "--ca-file": 1}
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

app = typer.Typer(
    name=PROGRAM,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback()
def program(version: Version = False) -> None:
    """Pack, sign, push, pull and verify machine-learning models as OCI artifacts.

    An artifact is named HOST[:PORT]/REPOSITORY[:TAG][@DIGEST] in a registry, or oci:PATH[:TAG][@DIGEST] in an OCI
    layout on disk. Every option can also be set as OCIMODEL_<OPTION>; arguments win. See ocimodel COMMAND --help.
    """


for _commands in (push, pull, sign, verify):
    app.add_typer(_commands.app)
app.add_typer(copy.app)
app.add_typer(attest.app, name="attest")
app.add_typer(inspection.app)
app.add_typer(diff.app)
app.add_typer(bom.app)
app.add_typer(key.app, name="key")
app.add_typer(policy.app, name="policy")
app.add_typer(cache.app, name="cache")
app.add_typer(login.app)
app.add_typer(demo.app)


def run(argv: Sequence[str], console: Console | None = None) -> int:
    """Run one command line. Returns the exit code."""
    console = console or Console()
    arguments = arrange(argv)
    command = typer.main.get_command(app)
    try:
        result = command.main(args=arguments, prog_name=PROGRAM, standalone_mode=False, obj=console)
    except _CLICK_ERROR as error:
        path = getattr(getattr(error, "ctx", None), "command_path", None) or _path(command, arguments)
        return _misused(arguments, path, error, console)
    except SystemExit as error:  # shell completion
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
    if not rest or rest in (["key"], ["attest"], ["cache"], ["policy"]):
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
