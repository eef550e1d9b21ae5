"""Copies that break at any moment: a tag points at something whole, and the next copy ends as it should have."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ocimodel.errors import NotFoundError, OcimodelError
from ocimodel.oci.reference import Reference
from ocimodel.stores.http.policy import Patience
from ocimodel.stores.protocol import Store, read_blob
from ocimodel.stores.registry import open_registry
from ocimodel.transfer.closure import closure_of
from tests.attacks.test_interrupted import SIGNALS, Interruption
from tests.commands import run
from tests.hostile import Drop, HostileRegistry, Reply, Request, Switches
from tests.hostile.messages import Action
from tests.models import make_model
from tests.test_copy import carry, everything, put_everything, summary
from tests.test_end_to_end import Keys, make_key, ok

HASTY = Patience(tries=1, first_delay=0.0, max_delay=0.0, stall=20.0, settle=0.0)
FAULTS: dict[str, Action] = {
    "500": Reply(500),
    "403": Reply(403),
    "reset": Drop(),
    "reset-in-the-request": Drop(received=1),
    "reset-in-the-answer": Drop(sent=1),
}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


def impatient(registry: HostileRegistry, name: str, stack: ExitStack) -> Store:
    reference = Reference.parse(f"{registry.host}/{name}")
    store = open_registry(reference, plain_http=frozenset({registry.host}), patience=HASTY)
    stack.callback(store.close)
    return store


def is_whole(store: Store) -> bool:
    """All that the tag points at is there, every byte; True as well where there is no tag."""
    try:
        root, raw = store.get_manifest("v1")
    except NotFoundError:
        return True
    found = closure_of(store, root, raw)
    for blob in found.blobs():
        read_blob(store, blob, limit=blob.size)
    return True


@pytest.mark.slow
@pytest.mark.parametrize("api", ["api", "404"], ids=["referrers-api", "fallback-tag"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("where", ["source", "target", "mount"])
def test_every_request_fails_in_turn(where: str, fault: str, api: str, stack: ExitStack) -> None:
    """The copy ends there, as a killed one does; the tag that stands is whole, and the next copy completes it."""
    switches = Switches(referrers="api" if api == "api" else "404")
    here, there = stack.enter_context(HostileRegistry()), stack.enter_context(HostileRegistry(switches))
    if where == "mount":
        here = there
    broken = here if where == "source" else there
    mount = "dev/model" if where == "mount" else None
    put_everything(impatient(here, "dev/model", stack))
    wanted = summary(everything(impatient(here, "dev/model", stack)))
    empty = there.snapshot()

    def copy() -> bool:
        source, target = impatient(here, "dev/model", stack), impatient(there, "prod/model", stack)
        try:
            carry(source, target, mount=mount)
        except OcimodelError:
            return False
        return True

    here.forget()
    there.forget()
    assert copy()
    total = len(broken.requests)
    dice = random.Random(f"{where}{fault}{api}")
    failed = 0
    every = fault == "500" and where == "target"
    for number in range(total) if every else sorted(dice.sample(range(total), 6)):
        there.restore(empty)
        there.sessions.clear()
        left = [number]

        def strike(_request: Request, left: list[int] = left) -> Action | None:
            left[0] -= 1
            return FAULTS[fault] if left[0] == -1 else None

        broken.on_request = strike
        failed += not copy()
        broken.on_request = None
        target = impatient(there, "prod/model", stack)
        assert is_whole(target)
        assert copy()
        assert summary(everything(target)) == wanted
        assert is_whole(target)
    assert failed or not every  # an answer that is lost may be none that was needed


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return make_key(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_copy_that_is_killed(number: signal.Signals, keys: Keys, tmp_path: Path, stack: ExitStack) -> None:
    here, there = stack.enter_context(HostileRegistry()), stack.enter_context(HostileRegistry())
    there.switches.keep_broken_sessions = False
    model = make_model(tmp_path / "model", gguf=False)
    source = f"{here.host}/dev/tiny:v1"
    ok(run("push", model, source, "--key", keys.private))
    ok(run("copy", source, f"{there.host}/reference/tiny:v1"))
    total = len(there.requests)
    dice = random.Random(str(number))
    for turn, after in enumerate(sorted(dice.sample(range(1, total), 5))):
        target = f"{there.host}/prod{turn}/tiny:v1"
        interruption = Interruption(there, number, after)
        process = subprocess.Popen(
            [sys.executable, "-m", "ocimodel", "copy", source, target],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        interruption.process = process
        interruption.ready.set()
        process.communicate(timeout=60)
        there.on_request = None
        assert process.returncode in (*SIGNALS[number], 0)
        assert run("verify", target, "--key", keys.public, "--full").code in (0, 11)
        ok(run("copy", source, target))
        ok(run("verify", target, "--key", keys.public, "--full"))
        there.forget()
        ok(run("copy", source, target))
        assert there.received("upload") == 0


def test_a_registry_that_takes_what_it_did_not_get(stack: ExitStack) -> None:
    """It says that a blob is there and has another one: the copy is what the digest says or it is refused."""
    here, there = stack.enter_context(HostileRegistry()), stack.enter_context(HostileRegistry())
    source, target = impatient(here, "m/x", stack), impatient(there, "m/x", stack)
    put_everything(source)
    there.switches.digest_header = "wrong"
    with pytest.raises(OcimodelError):
        carry(source, target)
    assert "v1" not in there.repository("m/x").tags
