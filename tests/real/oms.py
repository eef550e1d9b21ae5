"""`model_signing` of PyPI's model-signing as a peer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.real.peers import run, unavailable

if TYPE_CHECKING:
    import subprocess


def model_signing(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the program, which is installed beside this Python."""
    program = Path(sys.executable).with_name("model_signing")
    if not program.exists():
        unavailable("model_signing is not installed: `make dev` installs it")
    return run(program, *arguments, check=check)


def oms_verify(
    directory: Path, signature: Path, public: Path, *more: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """What ``model_signing verify key`` says of a directory."""
    words: list[str | Path] = ["verify", "key", directory, "--signature", signature, "--public_key", public]
    return model_signing(*words, *more, check=check)


def oms_sign(directory: Path, signature: Path, private: Path, *more: str) -> None:
    """Sign a directory, as somebody does who knows nothing of registries."""
    model_signing("sign", "key", directory, "--signature", signature, "--private_key", private, *more)
