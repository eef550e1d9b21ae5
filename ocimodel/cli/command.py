"""What all commands have in common: the options that each has, and how a body becomes a command.

A body takes a `Run` and what was parsed, and returns an `Answer`; everything else happens here.
"""

import inspect
from collections.abc import Callable
from typing import Any

import typer

from ocimodel.cli import process
from ocimodel.cli.console import Console
from ocimodel.cli.options import CaFile, Debug, Json, PlainHttp, Quiet, RegistryConfig
from ocimodel.cli.run import Answer, Run, Settings

COMMON = {"json": (Json, False), "quiet": (Quiet, False), "debug": (Debug, False)}
NETWORK = {
    "plain_http": (PlainHttp, None),
    "ca_file": (CaFile, None),
    "registry_config": (RegistryConfig, None),
}

Body = Callable[..., Answer]


def command(
    app: typer.Typer,
    name: str,
    *,
    examples: str,
    called: str | None = None,
    event: str | None = None,
    network: bool = True,
) -> Callable[[Body], Body]:
    """Make a body a command of ``app``.

    Args:
        examples: command lines, shown under ``--help``.
        called: what JSON documents call the command, where that is not ``name``.
        event: the verb of the audit event it leaves; None where it neither decides nor changes anything.
        network: whether it talks to stores.
    """
    common = COMMON | NETWORK if network else COMMON

    def decorate(body: Body) -> Body:
        def run_body(*, ctx: typer.Context, **given: Any) -> None:
            shared = {key: given.pop(key) for key in common}
            shared["plain_http"] = tuple(shared.get("plain_http") or ())
            run = Run(called or name, Settings(**shared), _console(ctx), event=event)
            with process.last_words(run):
                code = run.execute(lambda: body(run, **given))
            raise typer.Exit(code)

        _shape(run_body, body, common)
        lines = "\n".join(f"  {line}" for line in inspect.cleandoc(examples).splitlines() if line)
        app.command(name, help=inspect.getdoc(body), epilog=f"\b\nExamples:\n{lines}")(run_body)
        return body

    return decorate


def _shape(wrapper: Callable[..., None], body: Body, common: dict[str, Any]) -> None:
    """Give the wrapper the parameters that typer is to see: the body's own, and those of every command."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = list(inspect.signature(body).parameters.values())[1:]
    parameters = [
        inspect.Parameter("ctx", keyword, annotation=typer.Context),
        *(parameter.replace(kind=keyword) for parameter in own),
        *(
            inspect.Parameter(key, keyword, default=default, annotation=annotation)
            for key, (annotation, default) in common.items()
        ),
    ]
    wrapper.__name__ = body.__name__
    wrapper.__doc__ = body.__doc__
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


def _console(ctx: typer.Context) -> Console:
    return ctx.obj if isinstance(ctx.obj, Console) else Console()
