"""Promotions that break at every request: the channel points at something verified, before, between and after."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ocimodel.errors import OcimodelError
from ocimodel.keys.specs import load_public, load_signer
from ocimodel.oci import media
from ocimodel.oci.reference import Reference
from ocimodel.stores.http.policy import Patience
from ocimodel.stores.opening import Access
from ocimodel.stores.protocol import Store
from ocimodel.stores.registry import open_registry
from ocimodel.trust.files import load
from ocimodel.verbs import promote as verb
from ocimodel.verbs.attest import show
from tests.commands import run
from tests.hostile import Drop, HostileRegistry, Reply, Request, Switches
from tests.hostile.messages import Action
from tests.models import make_model
from tests.test_end_to_end import ok

HASTY = Patience(tries=1, first_delay=0.0, max_delay=0.0, stall=20.0, settle=0.0)
FAULTS: dict[str, Action] = {"500": Reply(500), "reset": Drop(), "reset-in-the-answer": Drop(sent=1)}


@contextmanager
def impatient(reference: Reference, access: Access, *, create: bool = False) -> Iterator[Store]:
    del access, create
    store = open_registry(reference, plain_http=frozenset({reference.registry}), patience=HASTY)
    try:
        yield store
    finally:
        store.close()


def write_policy(root: Path, target: str) -> Path:
    lines = {
        name: {"publicKey": (root / f"{name}.pub").read_text(), "roles": [role]}
        for name, role in (("builder", "builder"), ("promoter", "promoter"))
    }
    gate: dict[str, Any] = {"predicateType": media.SLSA_SUMMARY, "name": "promotion", "from": ["promoter"]}
    scope = {
        "match": target,
        "environment": "prod",
        "signatures": {"from": ["builder"]},
        "attestations": [gate],
        "formats": {"deny": []},
    }
    path = root / "policy.json"
    path.write_text(json.dumps({"version": 1, "keys": lines, "scopes": [scope]}))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("api", ["api", "404"], ids=["referrers-api", "fallback-tag"])
def test_every_request_fails_in_turn(fault: str, api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        here = stack.enter_context(HostileRegistry())
        there = stack.enter_context(HostileRegistry(Switches(referrers="api" if api == "api" else "404")))
        for name in ("builder", "promoter"):
            ok(run("key", "generate", tmp_path / name, "--no-password"))
        source, target = f"{here.host}/dev/tiny:rc", f"{there.host}/prod/tiny"
        policy = write_policy(tmp_path, target)
        words = ("--policy", policy, "--key", tmp_path / "promoter.key")
        model = make_model(tmp_path / "model", gguf=False)
        digests = []
        for text in ("older", "newer"):
            (model / "note.txt").write_text(text)
            ok(run("push", model, source, "--key", tmp_path / "builder.key"))
            digests.append(run("inspect", source, "--json").document["digest"])
            if text == "older":
                ok(run("promote", source, f"{target}:stable", *words))
        before = there.snapshot()
        wish = verb.Wish(
            source=Reference.parse(source),
            target=Reference.parse(f"{target}:stable"),
            policy=load(policy),
            signer=load_signer(str(tmp_path / "promoter.key")),
            version="2.0",
        )
        public = load_public(str(tmp_path / "promoter.pub"))
        monkeypatch.setattr(verb, "open_store", impatient)

        def promote() -> bool:
            try:
                verb.promote(wish, access=Access())
            except OcimodelError:
                return False
            return True

        there.forget()
        assert promote()
        total, failed, seen = len(there.requests), 0, set()
        for number in range(total) if fault == "500" else range(0, total, 5):
            there.restore(before)
            there.sessions.clear()
            left = [number]

            def strike(_request: Request, left: list[int] = left) -> Action | None:
                left[0] -= 1
                return FAULTS[fault] if left[0] == -1 else None

            there.on_request = strike
            failed += not promote()
            there.on_request = None
            now = run("verify", f"{target}:stable", "--policy", policy, "--full", "--json")
            assert now.code == 0, now.err
            seen.add(now.document["digest"])
            assert promote()
            after = run("verify", f"{target}:stable", "--policy", policy, "--full", "--json").document
            assert (after["exitCode"], after["digest"]) == (0, digests[1])
            assert run("inspect", f"{target}:2.0", "--json").document["digest"] == digests[1]
            _, said = show(Reference.parse(f"{target}:stable"), keys=[public], access=Access())
            assert [item.predicate_type for item in said if item.verified] == [media.SLSA_SUMMARY]
        assert failed
        assert seen <= set(digests)
        assert digests[0] in seen
