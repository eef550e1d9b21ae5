"""Tools of other projects: where they are, and how they are run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

PEERS = Path(__file__).resolve().parents[2] / ".peers"
TIMEOUT = 120.0


def unavailable(reason: str) -> NoReturn:
    """A real part cannot be had: a failure where ``CI=true``, a skip anywhere else."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (with CI=true a missing part is a failure)", pytrace=False)
    pytest.skip(reason)


def peer(name: str) -> Path:
    """The program ``name``: what ``make peers`` fetched, else what is on PATH."""
    fetched = PEERS / "bin" / name
    if os.access(fetched, os.X_OK):
        return fetched
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if found is None:
        unavailable(f"{name} is neither in .peers nor on PATH: run `make peers`")
    return Path(found)


def run(
    program: str | Path,
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str = "",
    check: bool = True,
    timeout: float = TIMEOUT,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, within ``timeout`` seconds, with its output captured.

    A ``str`` names a peer, a ``Path`` is taken as it is. ``env`` is added to the environment.
    With ``check`` a failure is an ``AssertionError`` that shows what the program said.
    """
    path = program if isinstance(program, Path) else peer(program)
    done = subprocess.run(
        [str(path), *map(str, arguments)],
        env={**os.environ, **(env or {})},
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if check and done.returncode != 0:
        command = " ".join([path.name, *map(str, arguments)])
        raise AssertionError(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done
