"""``ocimodel demo``: the whole story on an embedded layout, by the very commands that it shows."""

import io
import os
import shlex
import tempfile
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ocimodel.cli import example_model, options
from ocimodel.cli.command import command
from ocimodel.cli.console import Console
from ocimodel.cli.failures import INTERRUPTED, TERMINATED, Stop
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.text import size
from ocimodel.errors import OcimodelError, UsageError

app = typer.Typer()

Keep = Annotated[
    Path | None, options.option("--keep", metavar="DIR", help="Work in this new directory, and leave it there.")
]


@dataclass(frozen=True, slots=True)
class Step:
    """One command, and the exit code that the story wants of it."""

    comment: str
    line: str
    expected: int = 0


@dataclass(frozen=True, slots=True)
class FlipByte:
    """Somebody changes the weights where they are stored."""

    comment: str


STORY: tuple[Step | FlipByte, ...] = (
    Step("a key for whoever signs; use a password for one that matters", "key generate signing --no-password"),
    Step("pack the directory and push it, here into a layout on disk", "push bert oci:models:1.0"),
    Step("nobody has signed it yet, so it is refused", "verify oci:models:1.0 --key signing.pub", 10),
    Step("sign it, where it is", "sign oci:models:1.0 --key signing.key"),
    Step("now it passes", "verify oci:models:1.0 --key signing.pub"),
    Step("what a serving node does: verify first, then fetch", "pull oci:models:1.0 -o served --key signing.pub"),
    Step("later, without any registry: is it still what was signed?", "verify served --key signing.pub"),
    FlipByte("somebody changes one byte of the weights in the store"),
    Step(
        "the signature still holds, the bytes do not; --no-cache, or the good ones would come from served",
        "pull oci:models:1.0 -o again --key signing.pub --no-cache",
        14,
    ),
)


@command(
    app,
    "demo",
    network=False,
    examples="""
    ocimodel demo
    ocimodel demo --keep ./demo
    """,
)
def demo(run: Run, keep: Keep = None) -> Answer:
    """Show the whole story on an embedded layout: pack, push, sign, verify, pull, and one flipped byte refused.

    Prints a transcript of the commands it runs. Exits with 0 only if each had the result that it should have.
    """
    began = time.monotonic()
    steps: list[dict[str, Any]] = []
    with _workplace(keep), _environment():
        example_model.write(Path("bert"))
        _tell(run, "# a small model of the shape that Hugging Face gives them, in the directory bert:")
        _tell(
            run,
            "\n".join(f"#{size(path.stat().st_size):>10}  {path.name}" for path in sorted(Path("bert").iterdir())),
        )
        steps += (_flip(run, part) if isinstance(part, FlipByte) else _step(run, part) for part in STORY)
        if Path("again").exists():
            raise OcimodelError("the demo did not end as it should: a refused pull left files behind")
    seconds = time.monotonic() - began
    _tell(run, f"\n# Nothing was delivered. {len(steps)} steps in {seconds:.1f} s, each as it should be.")
    return Answer(text="", more={"steps": steps, "kept": str(keep.absolute()) if keep is not None else None})


def _step(run: Run, step: Step) -> dict[str, Any]:
    from ocimodel.cli.app import run as run_command_line

    _tell(run, f"\n# {step.comment}\n$ ocimodel {step.line}")
    terminal = io.StringIO()
    code = run_command_line([*shlex.split(step.line), "--quiet"], Console(terminal, terminal))
    if code in (INTERRUPTED, TERMINATED):
        raise Stop(code)
    output = terminal.getvalue().rstrip("\n")
    _tell(run, output)
    if code != 0:
        _tell(run, f"$ echo $?\n{code}")
    if code != step.expected:
        raise OcimodelError(
            f"the demo did not end as it should: {step.line} exited with {code} instead of {step.expected}",
            hint="Report what it printed.",
        )
    return {"command": f"ocimodel {step.line}", "exitCode": code, "expected": step.expected, "output": output}


def _flip(run: Run, part: FlipByte) -> dict[str, Any]:
    blob = max(Path("models/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    position = blob.stat().st_size // 2
    blob.chmod(0o600)
    with blob.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))
    text = f"byte {position} of {blob}: {byte:#04x} -> {byte ^ 1:#04x}"
    _tell(run, f"\n# {part.comment}\n# {text}")
    return {"command": None, "exitCode": 0, "expected": 0, "output": text}


def _tell(run: Run, text: str) -> None:
    if not run.settings.json:
        run.console.answer(text)


@contextmanager
def _workplace(keep: Path | None) -> Iterator[None]:
    """The directory that all happens in: one that goes away, or a new one that stays."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="ocimodel-demo-") as directory, chdir(directory):
            yield
        return
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise UsageError(f"{keep} is there already", hint="Name a new directory.")
    keep.mkdir(parents=True, exist_ok=True)
    with chdir(keep):
        yield


@contextmanager
def _environment() -> Iterator[None]:
    """Whatever the user has set: the story is always the same, and leaves no trace outside."""
    before = dict(os.environ)
    try:
        for name in before:
            if name.startswith((options.ENVIRONMENT_PREFIX, "COSIGN_")):
                del os.environ[name]
        os.environ.update(
            OCIMODEL_STATE_DIR=os.path.abspath("state"),
            OCIMODEL_CACHE_DIR=os.path.abspath("cache"),
            OCIMODEL_AUDIT_LOG=os.path.abspath("audit.jsonl"),
        )
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
