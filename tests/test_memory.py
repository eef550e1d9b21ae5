"""Memory does not grow with the model: a file of 2 GiB is pushed and pulled within 200 MiB.

What is measured is the largest resident set of the command's process, mapped files included, or of any child of
it, whichever was larger.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands import run
from tests.real.registries import docker_registry
from tests.real.registry import RealRegistry

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(600)]

SIZE = 2 * 1024**3
LIMIT = 200 * 1024**2
ROOM = 4 * SIZE
"""The model, the registry's copy, what was pulled, and some to spare."""

_MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


def peak(*words: str | Path) -> int:
    """Bytes that `ocimodel` with these words had resident at most."""
    command = [sys.executable, "-c", _MEASURE, sys.executable, "-m", "ocimodel", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    code, largest = done.stdout.split()
    assert code == "0", done.stderr
    return int(largest)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with one file of 2 GiB, in which no MiB is like another; it is removed at the end."""
    directory = tmp_path_factory.mktemp("large")
    if shutil.disk_usage(directory).free < ROOM:
        pytest.skip(f"less than {ROOM // 1024**3} GiB are free")
    model = directory / "model"
    model.mkdir()
    block = os.urandom(1024**2)
    with (model / "weights.bin").open("wb") as file:
        for number in range(SIZE // len(block)):
            file.write(number.to_bytes(8, "big") + block[8:])
    (model / "config.json").write_text("{}\n")
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def registry(large: Path) -> Iterator[RealRegistry]:
    """docker-registry with a storage that goes with the file."""
    with docker_registry(large / "registry") as running:
        yield running


def test_two_gibibytes_within_two_hundred_mebibytes(
    large: Path, registry: RealRegistry, record_property: Callable[[str, object], None]
) -> None:
    assert run("key", "generate", large / "key", "--no-password").code == 0
    reference = f"{registry.fresh()}:v1"
    pushed = peak("push", large / "model", reference, "--key", large / "key.key")
    pulled = peak("pull", reference, "-o", large / "out", "--key", large / "key.pub", "--no-cache")
    assert (large / "out" / "weights.bin").stat().st_size == SIZE
    verified = peak("verify", large / "out", "--key", large / "key.pub", "--full")
    figures = {"push": pushed, "pull": pulled, "verify": verified}
    for name, size in figures.items():
        record_property(f"{name} MiB", size // 1024**2)
    assert max(figures.values()) < LIMIT, figures
    assert pushed > 10 * 1024**2  # it was our process that was measured
