"""A copy that is killed between two real registries: no tag before, and what had arrived is not sent again."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import run
from tests.interop.conftest import Pair, pushed
from tests.interop.test_promote import blobs_about, blobs_of
from tests.models import make_model, weights
from tests.real import peers
from tests.real.proxy import Count
from tests.real.registry import RealRegistry, Throttle

pytestmark = pytest.mark.peer

LARGE = 12 * 1024 * 1024


def test_killed_in_the_largest_blob(
    referrers_registry: RealRegistry,
    distribution: RealRegistry,
    counted: Count,
    throttled: Throttle,
    key: Pair,
    tmp_path: Path,
) -> None:
    """Not in the other direction: the registry with the referrers API takes one blob at a time."""
    source, target = referrers_registry, distribution
    model = make_model(tmp_path / "model", gguf=False)
    (model / "large.bin").write_bytes(weights(LARGE, "killed"))
    reference = pushed(model, source.fresh(), "--key", key.private)
    path = reference.partition("/")[2]
    copy = f"{target.host}/{path.partition('@')[0]}"
    blobs = blobs_of(reference) | blobs_about(reference)
    large = next(digest for digest, size in blobs.items() if size == LARGE)
    others = blobs.keys() - {large}

    def linked(digest: str) -> Path:
        """What docker-registry writes last of a blob, once it is in this repository."""
        layers = target.root / "docker/registry/v2/repositories" / path.partition("@")[0] / "_layers"
        return layers / digest.replace(":", "/") / "link"

    slow = f"{throttled(source, '512k').host}/{path}"
    command = [sys.executable, "-m", "ocimodel", "copy", slow, f"{copy}:v1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 30
        while not all(linked(digest).exists() for digest in others) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        assert process.wait(30) == -9
    assert not linked(large).exists()
    assert peers.run("crane", "digest", "--insecure", f"{copy}:v1", check=False).returncode
    left, arrived = counted(source), counted(target)
    again = run("copy", f"{left.registry.host}/{path}", f"{arrived.registry.host}/{copy.partition('/')[2]}:v1")
    assert again.code == 0, again.err
    assert left.traffic().received == arrived.traffic().sent == {large: LARGE}
    assert peers.run("crane", "digest", "--insecure", f"{copy}:v1").stdout.strip() == reference.partition("@")[2]
    assert run("verify", f"{copy}:v1", "--key", key.public, "--full").code == 0
