"""Where output goes: the answer to stdout, everything else to stderr, a line at a time.

Guarantees: stdout gets one answer or one JSON document and nothing else; a reader that went away (a closed pipe)
changes neither the command nor its exit code, a full disk does (74); what is written to stderr has no credential
and nothing that a terminal would act on.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from typing import Any, TextIO

from ocimodel import jsonio
from ocimodel.audit.redact import redact
from ocimodel.cli.text import printable
from ocimodel.errors import StorageError


class Console:
    """A pair of streams; those of the process unless others are given."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = out
        self._err = err
        self._lock = threading.Lock()

    @property
    def out(self) -> TextIO:
        return self._out or sys.stdout

    @property
    def err(self) -> TextIO:
        return self._err or sys.stderr

    @property
    def width(self) -> int | None:
        """The cells of a line, where the answer goes to a terminal; None where it goes to a file or a program."""
        try:
            return shutil.get_terminal_size().columns if self.out.isatty() else None
        except ValueError:  # closed
            return None

    def answer(self, text: str) -> None:
        """Write the answer. Raises `StorageError` where it cannot be written although somebody reads."""
        if not text:
            return
        try:
            self.out.write(_encodable(text, self.out) + "\n")
            self.out.flush()
        except BrokenPipeError:
            self._forget_stdout()
        except OSError as error:
            self._forget_stdout()
            raise StorageError(f"cannot write to stdout: {error.strerror or error}") from None

    def document(self, value: Any) -> None:
        """One JSON document, valid whatever the stream can show."""
        text = jsonio.pretty(value)
        self.answer(text if _encodable(text, self.out) == text else json.dumps(value, indent=2))

    def line(self, text: str) -> None:
        """One line to stderr, whatever the text holds. A stderr that is gone is not an error."""
        with self._lock:
            try:
                self.err.write(_encodable(printable(redact(" ".join(text.split()))), self.err) + "\n")
                self.err.flush()
            except (OSError, ValueError):
                return

    def raw(self, text: str) -> None:
        """Several lines to stderr (a traceback), without credentials."""
        for line in text.rstrip().split("\n"):
            with self._lock:
                self.err.write(_encodable(printable(redact(line)), self.err) + "\n")

    def _forget_stdout(self) -> None:
        # The interpreter flushes stdout once more at its end; that must not fail again.
        if self._out is None and sys.stdout is sys.__stdout__:
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, 1)
            os.close(devnull)


def _encodable(text: str, stream: TextIO) -> str:
    """Names of files need not be Unicode, terminals need not be UTF-8: no name may end in a traceback."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text
