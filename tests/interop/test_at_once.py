"""Several that sign one model at once, where a list of referrers is a tag that anybody overwrites."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.commands import run
from tests.interop.conftest import generate, pushed
from tests.real import peers
from tests.real.cosign import CosignKey, cosign_sign
from tests.real.registry import RealRegistry

pytestmark = pytest.mark.peer


def at_once(*steps: Callable[[], object]) -> None:
    """Run all of them from one signal on; the first failure is raised."""
    barrier = threading.Barrier(len(steps))

    def go(step: Callable[[], object]) -> None:
        barrier.wait()
        step()

    with ThreadPoolExecutor(max_workers=len(steps)) as pool:
        for ended in [pool.submit(go, step) for step in steps]:
            ended.result()


def ours(*words: str | Path) -> str:
    """Our command in a process of its own, as on another machine; what it printed."""
    return peers.run(Path(sys.executable), "-m", "ocimodel", *words).stdout.strip()


def test_two_of_us_and_a_cosign_lose_nothing(
    distribution: RealRegistry, model: Path, cosign_key: CosignKey, tmp_path: Path
) -> None:
    """Ours always stand. Cosign neither looks again nor can be seen in the instant between our read and our write,
    which a busy machine makes longer; so it has three chances.
    """
    pairs = [generate(tmp_path, name=f"key{number}") for number in range(2)]
    kept = False
    for _ in range(3):
        reference = pushed(model, distribution.fresh())
        at_once(
            *(partial(ours, "sign", reference, "--key", pair.private) for pair in pairs),
            partial(cosign_sign, reference, cosign_key),
        )
        for pair in pairs:
            ran = run("verify", reference, "--key", pair.public)
            assert ran.code == 0, ran.err
        kept = run("verify", reference, "--key", cosign_key.public).code == 0
        if kept:
            break
    assert kept


def test_four_of_us_lose_nothing(distribution: RealRegistry, model: Path, tmp_path: Path) -> None:
    reference = pushed(model, distribution.fresh())
    pairs = [generate(tmp_path, name=f"key{number}") for number in range(4)]
    at_once(*(lambda pair=pair: ours("sign", reference, "--key", pair.private) for pair in pairs))
    for pair in pairs:
        assert run("verify", reference, "--key", pair.public).code == 0


def test_two_that_push_the_same_model_at_once(registry: RealRegistry, model: Path, tmp_path: Path) -> None:
    """One digest, one signature, and both say so."""
    pair = generate(tmp_path)
    repository = registry.fresh()
    printed: list[str] = []

    def push() -> None:
        printed.append(ours("push", model, f"{repository}:v1", "--key", pair.private))

    at_once(push, push)
    assert len(set(printed)) == 1
    ran = run("verify", printed[0], "--key", pair.public, "--json")
    assert ran.code == 0
    assert len(ran.document["signers"]) == 1
