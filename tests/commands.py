"""Running command lines in this process, as a user would type them."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocimodel.cli import example_model
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


@dataclass(frozen=True)
class World:
    """A working directory with a model, two keys, and the model signed by the first one in a layout."""

    root: Path
    model: Path
    key: Path
    pub: Path
    stranger: Path
    ref: str
    digest: str

    def pinned(self, ref: str | None = None) -> str:
        return f"{ref or self.ref}@{self.digest}"

    def weights(self) -> Path:
        """The blob of the weights, in the layout."""
        return max((self.root / "store/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)

    def flip(self) -> None:
        """Change one byte of the weights where they are stored."""
        blob = self.weights()
        data = bytearray(blob.read_bytes())
        data[len(data) // 2] ^= 1
        blob.chmod(0o600)
        blob.write_bytes(data)


def make_world(root: Path) -> World:
    """Everything that most tests of commands begin with."""
    model = example_model.write(root / "model")
    for name in ("alice", "mallory"):
        assert run("key", "generate", root / name, "--no-password").code == 0
    ref = f"oci:{root}/store:v1"
    pushed = run("push", model, ref, "--key", root / "alice.key")
    assert pushed.code == 0, pushed.err
    Path(os.environ["OCIMODEL_AUDIT_LOG"]).unlink()
    digest = pushed.out.strip().partition("@")[2]
    return World(root, model, root / "alice.key", root / "alice.pub", root / "mallory.pub", ref, digest)
