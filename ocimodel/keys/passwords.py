"""Where a key's password comes from: a file, the environment, or a prompt. Never from an argument.

Guarantees: sources are asked in that order and only when a key turns out to be encrypted; a prompt is the last.
A variable that is set but empty says that there is no password, so nothing is asked for in a pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ocimodel.errors import NotFoundError, StorageError, UsageError
from ocimodel.keys import guard
from ocimodel.keys.specs import Password

VARIABLES = ("OCIMODEL_KEY_PASSWORD", "COSIGN_PASSWORD")
MAX_BYTES = 4096

Prompt = Callable[[], str | None]
"""Asks a person; None where there is nobody to ask."""


def nobody() -> str | None:
    """The prompt where there is no terminal."""
    return None


def password_from(env: Mapping[str, str], prompt: Prompt = nobody, file: Path | None = None) -> Password:
    """A source for `ocimodel.keys.specs.load_signer`; it asks once and remembers nothing beyond its own life."""
    answers: list[bytes | None] = []

    def ask() -> bytes | None:
        if not answers:
            answers.append(_ask(env, prompt, file))
        return answers[0]

    return ask


def new_password(env: Mapping[str, str], prompt: Prompt, file: Path | None = None) -> bytes | None:
    """The password for a key that is being written, or None where it shall have none.

    Raises:
        UsageError: nothing says which; a key is never left unencrypted by accident.
    """
    answer = _ask(env, prompt, file)
    if answer is None:
        raise UsageError(
            "a password for the new key is missing",
            hint="Set OCIMODEL_KEY_PASSWORD, answer the prompt, or say --no-password.",
        )
    return answer or None


def _ask(env: Mapping[str, str], prompt: Prompt, file: Path | None) -> bytes | None:
    guard.shut()
    if file is not None:
        return from_file(file)
    for name in VARIABLES:
        if name in env:
            return env[name].encode("utf-8", "surrogateescape")
    answer = prompt()
    return None if answer is None else answer.encode("utf-8")


def from_file(path: Path, what: str = "password") -> bytes:
    """The password, or the PIN, in a file. Raises `NotFoundError`, `StorageError`, `UsageError`."""
    guard.shut()
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise NotFoundError(f"there is no {what} file {path}", hint=f"Check the path of the {what} file.") from None
    except OSError as error:
        raise StorageError(f"cannot read the {what} file {path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise UsageError(f"a {what} has at most {MAX_BYTES} bytes")
    # An editor ends the line; a password does not.
    return data.removesuffix(b"\n").removesuffix(b"\r")
