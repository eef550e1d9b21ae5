"""Running command lines in this process, as a user would type them."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocimodel.cli.app import run as run_command_line
from ocimodel.cli.console import Console


@dataclass(frozen=True)
class Ran:
    """What came of a command line."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """stdout as the one JSON document that it must be."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value

    @property
    def error(self) -> tuple[str, str]:
        """The two lines of an error: what went wrong, what to do next."""
        lines = [line for line in self.err.splitlines() if line.startswith(("error: ", "REFUSED: ", "hint: "))]
        assert len(lines) == 2, self.err
        return lines[0], lines[1]


def run(*argv: str | Path) -> Ran:
    """Run one command line."""
    out, err = io.StringIO(), io.StringIO()
    code = run_command_line([str(word) for word in argv], Console(out, err))
    return Ran(code, out.getvalue(), err.getvalue())


def events() -> list[dict[str, Any]]:
    """The audit events of this test."""
    log = Path(os.environ["OCIMODEL_AUDIT_LOG"])
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
