"""``ocimodel login`` and ``ocimodel logout``: credentials, in the file that docker, oras and cosign read."""

import sys
from typing import Annotated

import typer

from ocimodel.cli import material, options
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.errors import UsageError

app = typer.Typer()

Username = Annotated[
    str | None, options.option("--username", "-u", metavar="NAME", help="The user; asked for if left out.")
]
PasswordStdin = Annotated[
    bool, options.option("--password-stdin", help="Read the password (or the token) from stdin.")
]
_MAX_PASSWORD = 64 * 1024


@command(
    app,
    "login",
    event="login",
    examples="""
    ocimodel login registry.example
    echo "$TOKEN" | ocimodel login registry.example --username ci --password-stdin
    """,
)
def login(run: Run, host: options.Host, username: Username = None, password_stdin: PasswordStdin = False) -> Answer:
    """Check credentials against a registry, then keep them where docker keeps them."""
    from ocimodel.stores.registry import login

    run.requested = host
    user, password = _credentials(username, password_stdin)
    where = login(host, user, password, plain_http=run.access.plain_http, ca_file=run.access.ca_file)
    run.note(f"logged in to {host} as {user}; the credentials are in {where}")
    return Answer(text="", reference=host, more={"username": user, "storedIn": where})


@command(app, "logout", event="logout", network=False, examples="ocimodel logout registry.example")
def logout(run: Run, host: options.Host) -> Answer:
    """Forget the credentials of a registry."""
    from ocimodel.stores.registry import logout

    run.requested = host
    removed = logout(host)
    run.note(f"logged out of {host}" if removed else f"there were no credentials for {host}")
    return Answer(text="", reference=host, more={"removed": removed})


def _credentials(username: str | None, password_stdin: bool) -> tuple[str, str]:
    if password_stdin:
        if username is None:
            raise UsageError("--password-stdin needs --username", hint="Give --username NAME.")
        data = sys.stdin.read(_MAX_PASSWORD)
        password = data.removesuffix("\n").removesuffix("\r")
    else:
        if not sys.stdin.isatty():
            raise UsageError(
                "there is no terminal to ask for the password", hint="Give --username NAME --password-stdin."
            )
        if username is None:
            sys.stderr.write("Username: ")
            sys.stderr.flush()
            username = sys.stdin.readline().strip()
        password = material.ask("Password: ") or ""
    if not username or not password:
        raise UsageError("the user or the password is empty", hint="Nothing was changed.")
    return username, password
