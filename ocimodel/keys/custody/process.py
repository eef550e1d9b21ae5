"""One question to a program: JSON in, JSON out.

Guarantees: what it answers is bounded, and so is the time that it takes; it is ended, by its own id, when either is
over or we are interrupted. Of what it writes to stderr the beginning is kept. It gets our environment, since
clouds' credentials are there, but for what unlocks our own keys. Nothing secret is among its arguments.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MAX_OUTPUT = 1024 * 1024
MAX_ERRORS = 64 * 1024
SECONDS = 120.0
"""A person may have to touch a key, or to answer on a telephone."""

OURS = ("OCIMODEL_KEY_PASSWORD", "COSIGN_PASSWORD", "OCIMODEL_PIN_FILE", "OCIMODEL_PASSWORD_FILE")
_CHUNK = 65536


class TooSlow(Exception):
    """It did not end in time."""


class TooMuch(Exception):
    """Its answer is larger than is read."""


@dataclass(frozen=True, slots=True)
class Ended:
    """``code`` is its exit code, negative where a signal ended it."""

    code: int
    output: bytes
    errors: bytes


def ask(program: Path, argument: str, question: bytes, env: Mapping[str, str] = os.environ) -> Ended:
    """Run ``program argument`` to its end.

    Raises:
        OSError: it cannot be started.
        TooSlow, TooMuch: it was ended.
    """
    deadline = time.monotonic() + SECONDS
    pipe = subprocess.PIPE
    kept = {name: value for name, value in env.items() if name not in OURS}
    with subprocess.Popen([program, argument], stdin=pipe, stdout=pipe, stderr=pipe, env=kept) as process:
        try:
            output, errors = _talk(process, question, deadline)
            return Ended(process.wait(_left(deadline)), output, errors)
        except subprocess.TimeoutExpired:
            raise TooSlow from None
        finally:
            # Also where it left a child behind that holds the pipes open: those are closed, not waited for.
            process.kill()


def _talk(process: subprocess.Popen[bytes], question: bytes, deadline: float) -> tuple[bytes, bytes]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    found = {process.stdout: bytearray(), process.stderr: bytearray()}
    left = memoryview(question)
    with selectors.DefaultSelector() as waiting:
        os.set_blocking(process.stdin.fileno(), False)
        waiting.register(process.stdin, selectors.EVENT_WRITE)
        for stream in found:
            waiting.register(stream, selectors.EVENT_READ)
        while waiting.get_map():
            ready = waiting.select(_left(deadline))
            if not ready and time.monotonic() >= deadline:
                raise TooSlow
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    left = _write(process.stdin.fileno(), left)
                    if not left:
                        waiting.unregister(process.stdin)
                        process.stdin.close()
                    continue
                stream = process.stdout if key.fileobj is process.stdout else process.stderr
                data = os.read(stream.fileno(), _CHUNK)
                if not data:
                    waiting.unregister(stream)
                if stream is process.stderr:
                    data = data[: MAX_ERRORS - len(found[stream])]
                found[stream] += data
                if len(found[stream]) > MAX_OUTPUT:
                    raise TooMuch
    return bytes(found[process.stdout]), bytes(found[process.stderr])


def _write(descriptor: int, data: memoryview) -> memoryview:
    try:
        return data[os.write(descriptor, data[:_CHUNK]) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:  # it wants to hear no more, which its answer may explain
        return data[len(data) :]


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())
