"""Each gate of a promotion failing in turn, over two real registries of two kinds: its name, its code, no write."""

from __future__ import annotations

import json
import re
import time
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ocimodel.oci import media
from ocimodel.trust.claims import format_time
from tests.commands import Ran, events, run
from tests.documents import check, problems
from tests.interop.conftest import Pair, generate, pushed
from tests.real.registry import RealRegistry

pytestmark = pytest.mark.peer

EVALUATION = "https://example.org/evaluation/v1"
DATA = {
    "name": "dataset/train",
    "uri": "s3://data/train",
    "digest": {"sha256": "ab" * 32},
    "annotations": {"role": "training-data"},
}
PROVENANCE = {
    "buildDefinition": {
        "buildType": "https://example.org/train/v1",
        "externalParameters": {},
        "internalParameters": {"environment": {"accelerator": "H100"}},
        "resolvedDependencies": [DATA],
    },
    "runDetails": {"builder": {"id": "https://example.org/ci"}},
}
Policy = dict[str, Any]


def writes(registry: RealRegistry, repository: str, since: int) -> list[str]:
    """Requests to a repository that are no reading, as the registry itself logged them."""
    text = registry.log.read_text()[since:]
    path = re.escape(f"/v2/{repository.partition('/')[2]}/")
    return re.findall(rf"\b(?:PUT|POST|PATCH|DELETE) {path}\S*", text)


class World:
    """Staging in one registry, production in another, and a policy with every gate there is."""

    def __init__(self, here: RealRegistry, there: RealRegistry, model: Path, root: Path) -> None:
        self.root, self.there = root, there
        names = ("builder", "anna", "ben", "staging", "prod", "stranger")
        self.keys: dict[str, Pair] = {name: generate(root, name=name) for name in names}
        dev, staging, self.prod = here.fresh("dev"), here.fresh("staging"), there.fresh("prod")
        (root / "provenance.json").write_text(json.dumps(PROVENANCE))
        words = ("--provenance", root / "provenance.json", "--expires", "20d")
        self.dev = pushed(model, dev, "--key", self.keys["builder"].private, *words)
        self.digest = self.dev.partition("@")[2]
        self.staging, self.channel = f"{staging}:next", f"{self.prod}:stable"
        self.policy = self._policy(staging)
        file = self.written(self.policy)
        assert self.promote(file, source=self.dev, target=self.staging, key="staging").code == 0
        time.sleep(1.1)  # the soak

    def _policy(self, staging: str) -> Policy:
        roles = {
            "builder": "builder",
            "anna": "approver",
            "ben": "approver",
            "staging": "promoter",
            "prod": "promoter",
        }
        ring = {
            name: {"publicKey": self.keys[name].public.read_text(), "roles": [role]} for name, role in roles.items()
        }
        ring["builder"]["roles"] = ["builder", "approver"]
        ring["stranger"] = {"publicKey": self.keys["stranger"].public.read_text(), "roles": []}

        def scope(name: str, repository: str, **members: Any) -> Policy:
            summary = {"predicateType": media.SLSA_SUMMARY, "name": "promotion", "from": [name]}
            gates = [summary, *members.pop("gates", [])]
            common = {"match": repository, "environment": name, "signatures": {"from": ["builder"]}}
            return {**common, "attestations": gates, **members}

        gates = [
            {"predicateType": EVALUATION, "name": "evaluation", "from": ["anna"]},
            {"predicateType": media.APPROVAL, "name": "approval", "roles": ["approver"], "threshold": 2},
        ]
        promotion = {
            "from": "staging",
            "soak": "1s",
            "minRemaining": "10d",
            "licences": {"allow": ["Apache-2.0"]},
            "dataDigests": True,
            "freeze": [window(timedelta(days=1), timedelta(days=2))],
        }
        return {
            "version": 1,
            "id": "chain",
            "keys": ring,
            "scopes": [
                scope("staging", staging),
                scope(
                    "prod",
                    self.prod,
                    gates=gates,
                    promotion=promotion,
                    formats={"deny": ["pickle"]},
                    context={"accelerator": ["H100"]},
                ),
            ],
        }

    def written(self, policy: Policy) -> Path:
        assert problems(policy, "policy") == []
        path = self.root / "policy.json"
        path.write_text(json.dumps(policy))
        return path

    def promote(self, policy: Path, *words: str, source: str = "", target: str = "", key: str = "prod") -> Ran:
        names = (source or self.staging, target or self.channel)
        return run("promote", *names, "--policy", policy, "--key", self.keys[key].private, *words, "--json")

    def attest(self) -> None:
        (self.root / "p.json").write_text("{}")
        words = ("--type", EVALUATION, "--predicate", self.root / "p.json", "--key", self.keys["anna"].private)
        assert run("attest", self.staging, *words).code == 0

    def approve(self, name: str) -> None:
        assert run("approve", self.staging, "--key", self.keys[name].private).code == 0


def window(start: timedelta, end: timedelta) -> dict[str, str]:
    now = datetime.now(UTC)
    return {"from": format_time(now + start), "until": format_time(now + end), "reason": "end of the year"}


@pytest.fixture(params=["distribution-referrers_registry", "referrers_registry-distribution"])
def world(request: pytest.FixtureRequest, model: Path, tmp_path: Path) -> World:
    here, there = (request.getfixturevalue(name) for name in request.param.split("-"))
    return World(here, there, model, tmp_path)


def failing(ran: Ran) -> dict[str, int]:
    return {gate["name"]: gate["exitCode"] for gate in check(ran.document)["gates"] if gate["outcome"] == "fail"}


CHANGES: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "unsigned by whom it wants": ({"signatures": {"from": ["stranger"]}}, {"source": 12}),
    "context": ({"context": {"accelerator": ["A100"]}}, {"context": 17}),
    "formats": ({"formats": {"allow": ["gguf"]}}, {"formats": 19}),
    "lineage": ({"from": "canary"}, {"lineage": 19}),
    "soak": ({"soak": "30d"}, {"soak": 19}),
    "remaining validity": ({"minRemaining": "30d"}, {"remaining-validity": 19}),
    "licence": ({"licences": {"allow": ["MIT"]}}, {"licence": 19}),
    "freeze": ({"freeze": [window(-timedelta(days=1), timedelta(days=1))]}, {"freeze": 19}),
}


def changed(policy: Policy, change: dict[str, Any]) -> Policy:
    found = deepcopy(policy)
    scope = found["scopes"][1]
    for key, value in change.items():
        (scope["promotion"] if key in scope["promotion"] else scope)[key] = value
    return found


def test_each_gate_fails_in_turn_and_nothing_is_written(world: World) -> None:
    since = world.there.log.stat().st_size
    file = world.written(world.policy)
    assert failing(world.promote(file)) == {"evaluation": 19, "approval": 19}
    world.attest()
    assert failing(world.promote(file)) == {"approval": 19}
    world.approve("anna")
    world.approve("builder")  # of two approvals one is by somebody who built it
    ran = world.promote(file)
    assert (ran.code, failing(ran)) == (19, {"approvals": 19})
    world.approve("ben")
    for name, (change, fails) in CHANGES.items():
        ran = world.promote(world.written(changed(world.policy, change)))
        assert (ran.code, failing(ran)) == (next(iter(fails.values())), fails), name
        gates = events()[-1]["data"]["gates"]
        assert {gate["name"] for gate in gates if gate["outcome"] == "fail"} == set(fails)
    revoked = deepcopy(world.policy) | {"revoked": {"digests": [{"digest": world.digest, "reason": "poisoned"}]}}
    ran = world.promote(world.written(revoked))
    assert (ran.code, failing(ran)["revocation"]) == (16, 16)
    ran = world.promote(world.written(world.policy), key="stranger")
    assert (ran.code, failing(ran)["promoter"]) == (12, 12)
    table = run(
        *("promote", world.staging, world.channel, "--policy", world.written(world.policy), "--dry-run"),
        *("--key", world.keys["prod"].private, "--version", "1.0"),
    )
    assert table.code == 0, table.err
    names = [
        *(
            "source",
            "revocation",
            "evaluation",
            "approval",
            "formats",
            "promotion",
            "promoter",
            "remaining-validity",
        ),
        *("lineage", "soak", "licence", "data-digests", "version", "freeze"),
    ]
    rows = {line.split()[0]: line.split()[1] for line in table.out.splitlines()[1:-1]}
    assert rows == dict.fromkeys(names, "pass") | {"promotion": "skip"}
    assert writes(world.there, world.prod, since) == []
    assert [event["data"]["promotion"]["dryRun"] for event in events()[-1:]] == [True]
    # And once all of them pass, it is written.
    done = world.promote(world.written(world.policy), "--version", "1.0")
    assert (done.code, done.document["promotion"]["movedTags"]) == (0, ["1.0", "stable"]), done.err
    assert writes(world.there, world.prod, since)
    assert problems(events()[-1], "audit-event") == []
    assert events()[-1]["data"]["promotion"]["sequence"] == done.document["promotion"]["sequence"]


@pytest.mark.parametrize("world", ["distribution-referrers_registry"], indirect=True)
def test_data_that_nothing_pins(world: World) -> None:
    """The digest of the data is in the artifact, so this one is another artifact."""
    since = world.there.log.stat().st_size
    loose = deepcopy(PROVENANCE)
    loose["buildDefinition"]["resolvedDependencies"] = [DATA | {"digest": {"md5": "ab" * 16}}]  # type: ignore[index]
    (world.root / "loose.json").write_text(json.dumps(loose))
    (world.root / "model").mkdir()
    (world.root / "model/config.json").write_text('{"model_type": "llama"}')
    words = ("--provenance", world.root / "loose.json", "--key", world.keys["builder"].private, "--expires", "20d")
    repository = world.dev.partition("@")[0]
    dev = pushed(world.root / "model", repository, *words)
    file = world.written(world.policy)
    assert world.promote(file, source=dev, target=world.staging, key="staging").code == 0
    for name in ("anna", "ben"):
        world.approve(name)
    world.attest()
    time.sleep(1.1)
    file = world.written(changed(world.policy, {"formats": {"deny": []}}))
    ran = world.promote(file)
    assert failing(ran) == {"data-digests": 19, "licence": 19}
    assert "'dataset/train'" in next(
        gate["detail"] for gate in ran.document["gates"] if gate["name"] == "data-digests"
    )
    assert writes(world.there, world.prod, since) == []
