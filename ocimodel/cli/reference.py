"""Writes the reference page of the command line from the code.

``python -m ocimodel.cli.reference > docs/reference/cli.md``
"""

import sys
from collections.abc import Iterator
from typing import Any

import typer

from ocimodel.cli.app import PROGRAM, app
from ocimodel.cli.command import COMMON, NETWORK
from ocimodel.cli.options import READ_BY_COMMAND

_INTRODUCTION = """\
# The command line

This page is written by `python -m ocimodel.cli.reference` from the code; a test holds it to that.

The answer goes to stdout and nothing else does; progress, warnings and errors go to stderr. An error is one line
that says what went wrong and one that says what to do next. With `--json` stdout gets one document, whatever
happens: see [JSON output](json.md). Scripts act on the [exit code](exit-codes.md).

**REF** is `HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]` in a registry, or `oci:PATH[:TAG][@DIGEST]` in an OCI layout
on disk. **KEY** is a PEM file (PKCS#8, encrypted or not, or cosign's) or `env:NAME`; **PUB** is a PEM file or
`env:NAME`.

Every option can also be set as a variable; arguments win. An option that can be repeated takes several values from
its variable, with blanks between them. See [environment](environment.md).
"""

_EXAMPLES = "Examples:"


def page() -> str:
    """The whole page."""
    lines = [_INTRODUCTION]
    common = [*COMMON, *NETWORK]
    commands = list(_commands(typer.main.get_command(app), PROGRAM))
    lines += [
        "## Options of every command",
        "",
        "They may stand before the command as well. Commands that talk to no registry take only the first three.",
        "",
        *_table([param for param in _options(commands[0][1]) if param.name in common]),
        "",
    ]
    for path, command in commands:
        lines += [f"## {path}", "", *_command(path, command, common)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _command(path: str, command: Any, common: list[str]) -> Iterator[str]:
    arguments = " ".join(param.metavar for param in command.params if param.param_type_name == "argument")
    usage = f"{path} {arguments}".rstrip()
    group = path.rpartition(" ")[0]
    if path in (f"{PROGRAM} attest add", f"{PROGRAM} promote run"):  # the word may be left out
        usage = f"{usage}\n{group} {arguments}"
    yield from ("```text", *(f"{line} [OPTIONS]" for line in usage.splitlines()), "```", "")
    yield from _paragraphs(command.help)
    options = [param for param in _options(command) if param.name not in common]
    if options:
        yield from (*_table(options), "")
    examples = (command.epilog or "").partition(_EXAMPLES)[2].strip("\n")
    if examples:
        yield from ("```sh", *(line.removeprefix("  ") for line in examples.splitlines()), "```", "")


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        yield " ".join(paragraph.split())
        yield ""


def _options(command: Any) -> list[Any]:
    return [param for param in command.params if param.param_type_name == "option"]


def _table(options: list[Any]) -> Iterator[str]:
    yield from ("| option | variable | meaning |", "|---|---|---|")
    for param in options:
        names = ", ".join(sorted(param.opts, key=len))
        spelling = f"{names} {param.metavar}" if param.metavar else names
        meaning, _, read_by_command = param.help.partition(READ_BY_COMMAND)
        variable = param.envvar or read_by_command.rstrip("]")
        required = " Required." if param.required else ""
        yield f"| `{spelling}` | {f'`{variable}`' if variable else ''} | {_escaped(meaning.strip())}{required} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
