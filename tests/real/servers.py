"""Starting, awaiting and ending the servers that the tests talk to."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

START_WITHIN = 20.0
END_WITHIN = 10.0
TRIES = 3


class DidNotStart(Exception):
    """The server ended, or did not answer in time."""


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on now. It may be taken before it is used."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def status_of(host: str, path: str = "/v2/") -> int | None:
    """The status with which a server answers a GET, or None while it does not."""
    connection = http.client.HTTPConnection(host, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


@contextmanager
def server(
    command: Callable[[int], Sequence[str | Path]],
    *,
    log: Path,
    path: str = "/v2/",
) -> Iterator[str]:
    """Run ``command(port)`` until the block is left; yields ``127.0.0.1:PORT`` once it answers.

    A port that somebody else took meanwhile is given up for another. The process is ended by its
    own id; should this process die first, the kernel ends it. Nothing of the environment reaches it.
    """
    for attempt in range(1, TRIES + 1):
        port = free_port()
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*_tied_to_us(), *map(str, command(port))],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(log.parent)},
            )
        try:
            _await(process, f"127.0.0.1:{port}", path, log)
        except DidNotStart:
            _end(process)
            if attempt == TRIES:
                raise
            continue
        try:
            yield f"127.0.0.1:{port}"
        finally:
            _end(process)
        return


def _tied_to_us() -> list[str]:
    setpriv = shutil.which("setpriv")  # it becomes the command, so the process id stays the same
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


def _await(process: subprocess.Popen[bytes], host: str, path: str, log: Path) -> None:
    deadline = time.monotonic() + START_WITHIN
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if status_of(host, path) is not None and process.poll() is None:
            return
        time.sleep(0.02)
    raise DidNotStart(f"{process.args!r}\n{log.read_text(errors='replace')[-4000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(END_WITHIN)
