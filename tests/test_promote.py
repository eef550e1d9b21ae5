"""Promotion from dev to staging to prod: every gate, what is written when, and what nodes make of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ocimodel.keys.specs import load_signer
from ocimodel.oci import media
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access
from ocimodel.trust.files import load
from ocimodel.verbs import promote as verb
from tests.commands import Ran, events, run
from tests.documents import check
from tests.hostile import HostileRegistry, Switches
from tests.models import make_model

APPROVAL = media.APPROVAL
EVALUATION = "https://example.org/evaluation/v1"
PASSED = {"properties": {"verificationResult": {"const": "PASSED"}}, "required": ["verificationResult"]}
NAMES = ("builder", "anna", "ben", "staging", "prod", "stranger")


class World:
    """dev, staging and prod, with a key for everybody and a policy for all."""

    def __init__(self, root: Path, place: Callable[[str], str], *registries: HostileRegistry) -> None:
        self.root, self.place, self.registries = root, place, registries
        for name in NAMES:
            assert run("key", "generate", root / name, "--no-password").code == 0
        self.model = make_model(root / "model", gguf=False)
        self.dev, self.staging, self.prod = (
            f"{place('dev')}:rc",
            f"{place('staging')}:next",
            f"{place('prod')}:stable",
        )
        self.digest = self.push(self.model, self.dev)
        self.policy = root / "policy.json"
        self.write_policy()

    def push(self, model: Path, reference: str) -> str:
        ran = run("push", model, reference, "--key", self.key("builder"))
        assert ran.code == 0, ran.err
        return ran.out.strip().partition("@")[2]

    def key(self, name: str) -> Path:
        return self.root / f"{name}.key"

    def write_policy(self, *gates: dict[str, Any], **members: Any) -> None:
        roles = {
            "builder": "builder",
            "anna": "approver",
            "ben": "approver",
            "staging": "promoter",
            "prod": "promoter",
        }
        ring = {
            name: {"publicKey": (self.root / f"{name}.pub").read_text(), "roles": [role]}
            for name, role in roles.items()
        }
        ring["builder"]["roles"] = ["builder", "approver"]
        common: dict[str, Any] = {"signatures": {"from": ["builder"]}, "formats": {"deny": ["pickle"]}}
        value = {
            "version": 1,
            "id": "chain",
            "keys": ring,
            "scopes": [
                {"match": self.place("dev"), **common},
                {
                    "match": self.place("staging"),
                    "environment": "staging",
                    **common,
                    "attestations": [self.promotion("staging")],
                },
                {
                    "match": self.place("prod"),
                    "environment": "prod",
                    **common,
                    "attestations": [self.promotion("prod"), *gates],
                    **members,
                },
            ],
        }
        self.policy.write_text(json.dumps(value))

    def promotion(self, name: str) -> dict[str, Any]:
        return {"predicateType": media.SLSA_SUMMARY, "name": "promotion", "from": [name], "schema": PASSED}

    def promote(self, source: str, target: str, by: str, *words: str | Path) -> Ran:
        return run("promote", source, target, "--policy", self.policy, "--key", self.key(by), *words)

    def to_staging(self) -> None:
        ran = self.promote(self.dev, self.staging, "staging")
        assert (ran.code, ran.out) == (0, f"{self.staging}@{self.digest}\n"), ran.err

    def tags(self, name: str) -> list[str]:
        ran = run("list", self.place(name), "--json")
        return list(ran.document["tags"]) if ran.code == 0 else []

    def untouched(self, name: str) -> bool:
        """Nothing was ever written there."""
        place = self.place(name)
        if place.startswith("oci:"):
            return not Path(place.removeprefix("oci:")).exists()
        host, _, repository = place.partition("/")
        [registry] = [registry for registry in self.registries if registry.host == host]
        written = [request for request in registry.requests if request.method not in ("GET", "HEAD")]
        return not any(request.repository == repository for request in written)

    def summaries(self, reference: str, by: str) -> list[dict[str, Any]]:
        ran = run("attest", "show", reference, "--key", self.root / f"{by}.pub", "--json")
        found = ran.document["attestations"]
        return [item for item in found if item["predicateType"] == media.SLSA_SUMMARY and item["verified"]]

    def newer(self) -> str:
        """Another model under the channel of dev."""
        (self.model / "config.json").write_text('{"model_type": "llama", "newer": true}')
        return self.push(self.model, self.dev)


@pytest.fixture(params=["layouts", "api-to-fallback"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        if request.param == "layouts":
            yield World(tmp_path, lambda name: f"oci:{tmp_path}/{name}")
            return
        here = stack.enter_context(HostileRegistry(Switches(referrers="api")))
        there = stack.enter_context(HostileRegistry(Switches(referrers="404")))
        hosts = {"dev": here.host, "staging": here.host, "prod": there.host}
        yield World(tmp_path, lambda name: f"{hosts[name]}/{name}/tiny", here, there)


def failing(ran: Ran) -> dict[str, int]:
    """The gates that fail, and their exit codes."""
    return {gate["name"]: gate["exitCode"] for gate in check(ran.document)["gates"] if gate["outcome"] == "fail"}


def test_the_way_to_production(world: World) -> None:
    world.to_staging()
    words = ("--from", "staging", "--version", "1.0.0")
    plan = check(world.promote(world.staging, world.prod, "prod", *words, "--dry-run", "--json").document)
    assert plan["promotion"]["summary"] is None
    assert world.untouched("prod")
    document = check(world.promote(world.staging, world.prod, "prod", *words, "--json").document)
    assert document["promotion"]["movedTags"] == ["1.0.0", "stable"]
    assert document["digest"] == world.digest
    assert world.tags("prod") == ["1.0.0", "stable"]
    [summary] = world.summaries(world.prod, "prod")
    name = world.place("prod")
    assert summary["predicate"]["resourceUri"] == (name if name.startswith("oci:") else f"oci://{name}")
    assert summary["predicate"]["verificationResult"] == "PASSED"
    assert len(summary["predicate"]["inputAttestations"]) == 1
    assert run("verify", world.prod, "--policy", world.policy).code == 0
    assert events()[-2]["type"] == "io.github.ocimodel.promote.v1"
    assert events()[-2]["data"]["environment"] == "prod"


def test_again_writes_nothing_and_renew_does(world: World) -> None:
    world.to_staging()
    first = world.promote(world.dev, world.staging, "staging", "--json").document["promotion"]
    assert (first["summaryWritten"], first["movedTags"]) == (False, [])
    renewed = world.promote(world.dev, world.staging, "staging", "--renew", "--json").document["promotion"]
    assert renewed["summaryWritten"]
    assert renewed["sequence"] > first["sequence"]
    assert len(world.summaries(world.staging, "staging")) == 2
    world.policy.write_text(world.policy.read_text() + "\n")  # another policy, to the letter
    changed = world.promote(world.dev, world.staging, "staging", "--json").document["promotion"]
    assert changed["summaryWritten"]
    assert changed["sequence"] > renewed["sequence"]


def test_a_key_that_may_not_promote_is_12(world: World) -> None:
    for name in ("stranger", "prod", "builder"):
        ran = world.promote(world.dev, world.staging, name, "--json")
        assert ran.code == 12
        assert failing(ran)["promoter"] == 12
    assert world.untouched("staging")


def test_the_source_keeps_its_own_code(world: World) -> None:
    unsigned = f"{world.place('dev')}:unsigned"
    (world.model / "more.txt").write_text("x")
    assert run("push", world.model, unsigned).code == 0
    ran = world.promote(unsigned, world.staging, "staging", "--json")
    assert ran.code == 10
    assert failing(ran) == {"source": 10}
    assert world.untouched("staging")
    nowhere = f"{world.place('dev')}-other:x"
    assert world.promote(world.dev, nowhere, "staging").code == 12


@pytest.mark.parametrize(
    ("gate", "name"),
    [
        ({"predicateType": EVALUATION, "name": "evaluation", "from": ["ben"]}, "evaluation"),
        ({"predicateType": APPROVAL, "name": "approval", "from": ["anna", "ben"], "threshold": 2}, "approval"),
    ],
)
def test_gates_of_the_policy(world: World, gate: dict[str, Any], name: str, tmp_path: Path) -> None:
    world.write_policy(gate)
    world.to_staging()
    assert run("approve", world.staging, "--key", world.key("anna")).code == 0
    ran = world.promote(world.staging, world.prod, "prod", "--json")
    assert ran.code == 19
    assert failing(ran) == {name: 19}
    assert world.untouched("prod")
    assert any(name in reason["detail"] for reason in ran.document["reasons"])
    (tmp_path / "p.json").write_text("{}")
    words = ("--type", EVALUATION, "--predicate", tmp_path / "p.json", "--key", world.key("ben"))
    assert run("attest", world.staging, *words).code == 0
    assert run("approve", world.staging, "--key", world.key("ben"), "--comment", "read").code == 0
    assert world.promote(world.staging, world.prod, "prod").code == 0


def test_who_built_it_does_not_approve_it(world: World) -> None:
    world.write_policy({"predicateType": APPROVAL, "name": "approval", "roles": ["approver"]})
    world.to_staging()
    assert run("approve", world.staging, "--key", world.key("builder")).code == 0
    ran = world.promote(world.staging, world.prod, "prod", "--json")
    assert ran.code == 19
    assert failing(ran) == {"approvals": 19}
    assert world.untouched("prod")
    assert run("approve", world.staging, "--key", world.key("anna")).code == 0
    assert world.promote(world.staging, world.prod, "prod").code == 0


def test_lineage_and_soak(world: World) -> None:
    past_staging = world.promote(world.dev, world.prod, "prod", "--from", "staging", "--json")
    assert past_staging.code == 19
    assert failing(past_staging) == {"lineage": 19}
    assert run("copy", world.dev, world.staging).code == 0  # it lies in staging, but nobody promoted it
    copied = world.promote(world.staging, world.prod, "prod", "--json")
    assert copied.code == 19
    assert failing(copied) == {"lineage": 19}
    world.to_staging()
    soaked = world.promote(world.staging, world.prod, "prod", "--soak", "1h", "--json")
    assert soaked.code == 19
    assert failing(soaked) == {"soak": 19}
    assert "less than 1h" in soaked.out
    assert world.untouched("prod")
    time.sleep(1.1)
    assert world.promote(world.staging, world.prod, "prod", "--soak", "1s").code == 0


def test_remaining_validity(world: World) -> None:
    (world.model / "note.txt").write_text("for a short time")
    ran = run("push", world.model, world.dev, "--key", world.key("builder"), "--expires", "2d")
    assert ran.code == 0
    short = world.promote(world.dev, world.staging, "staging", "--min-remaining", "30d", "--json")
    assert short.code == 19
    assert failing(short) == {"remaining-validity": 19}
    assert world.untouched("staging")
    assert world.promote(world.dev, world.staging, "staging", "--min-remaining", "1d").code == 0


def test_versions_never_move(world: World) -> None:
    assert world.promote(world.dev, world.staging, "staging", "--version", "1.0").code == 0
    newer = world.newer()
    ran = world.promote(world.dev, world.staging, "staging", "--version", "1.0", "--json")
    assert ran.code == 19
    assert failing(ran) == {"version": 19}
    for tag in ("1.0", "next"):
        assert run("inspect", f"{world.place('staging')}:{tag}", "--json").document["digest"] == world.digest
    ran = world.promote(world.dev, world.staging, "staging", "--version", "1.1")
    assert ran.out == f"{world.staging}@{newer}\n"


def test_going_back_needs_a_reason(world: World) -> None:
    world.to_staging()
    old = f"{world.place('staging')}@{world.digest}"
    never = world.promote(
        world.dev, f"{world.place('staging')}:canary", "staging", "--rollback", "--reason", "x", "--json"
    )
    assert never.code == 19
    assert failing(never) == {"rollback": 19}
    world.newer()
    newer = world.promote(world.dev, world.staging, "staging", "--json").document["promotion"]
    refused = world.promote(old, world.staging, "staging", "--json")
    assert refused.code == 19
    assert failing(refused) == {"rollback": 19}
    words = ("--rollback", "--reason", "rejects valid cards", "--json")
    back = check(world.promote(old, world.staging, "staging", *words).document)["promotion"]
    assert back["sequence"] > newer["sequence"]
    assert back["movedTags"] == ["next"]
    reasons = {item["predicate"].get(media.SUMMARY_REASON) for item in world.summaries(world.staging, "staging")}
    assert reasons == {None, "rejects valid cards"}
    again = world.promote(old, world.staging, "staging", *words).document["promotion"]
    assert (again["summaryWritten"], again["movedTags"]) == (False, [])


def test_a_summary_of_another_channel_or_environment_is_nothing_here(world: World) -> None:
    world.to_staging()
    canary = f"{world.place('staging')}:canary"
    done = world.promote(world.dev, canary, "staging", "--json").document["promotion"]
    assert done["summaryWritten"]
    assert done["movedTags"] == ["canary"]
    assert run("verify", world.staging, "--policy", world.policy, "--context", "channel=elsewhere").code == 19
    assert run("copy", world.staging, world.prod).code == 0
    assert run("verify", world.prod, "--policy", world.policy).code == 19


def test_interrupted_before_the_tags_it_adds_no_second_summary(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ocimodel.errors import UnavailableError
    from ocimodel.transfer import replica

    def broken(*_: Any) -> list[str]:
        raise UnavailableError("the line is cut")

    with monkeypatch.context() as patch:
        patch.setattr(replica, "tag", broken)
        assert world.promote(world.dev, world.staging, "staging").code == 75
    assert world.tags("staging") == []
    world.to_staging()
    assert len(world.summaries(world.staging, "staging")) == 1


def test_approving_twice_adds_nothing(world: World) -> None:
    first = run("approve", world.dev, "--key", world.key("anna"), "--comment", "fine", "--json")
    assert check(first.document)["signature"]["created"]
    again = run("approve", world.dev, "--key", world.key("anna"), "--comment", "fine", "--json")
    assert again.document["signature"] == first.document["signature"] | {"created": False}
    other = run(
        "approve", world.dev, "--key", world.key("anna"), "--comment", "still fine", "--expires", "1d", "--json"
    )
    assert other.document["signature"]["created"]
    assert run("approve", world.dev, "--key", world.key("stranger")).code == 0
    assert run("verify", world.dev, "--key", world.root / "stranger.pub").code == 12


@pytest.mark.parametrize(
    "words",
    [
        ("--rollback",),
        ("--reason", "x"),
        ("--version", "next"),
        ("--version", "not a tag"),
        ("--validity", "0d"),
        ("--policy", ""),
    ],
)
def test_command_lines_that_cannot_be_meant(world: World, words: tuple[str, ...]) -> None:
    assert world.promote(world.dev, world.staging, "staging", *words).code == 2
    pinned = f"{world.place('staging')}@{world.digest}"
    assert world.promote(world.dev, pinned, "staging").code == 2
    assert world.untouched("staging")


def test_a_clock_that_goes_back_does_not_lower_the_number(world: World) -> None:
    """Nor do two promoters at once, of whom one has a slower clock."""
    world.to_staging()
    first = world.promote(world.dev, world.staging, "staging", "--json").document["promotion"]["sequence"]
    wish = verb.Wish(
        source=Reference.parse(world.dev),
        target=Reference.parse(world.staging),
        policy=load(world.policy),
        signer=load_signer(str(world.key("staging"))),
        renew=True,
    )
    earlier = datetime.now(UTC) - timedelta(hours=1)
    assert verb.promote(wish, access=Access(), now=earlier).sequence == first + 1
    world.newer()
    assert verb.promote(replace(wish, renew=False), access=Access(), now=earlier).sequence == first + 2


def test_a_mirror_is_judged_under_the_canonical_name(world: World) -> None:
    mirror = f"{world.place('dev')}-mirror:next"
    assert world.promote(world.dev, mirror, "staging").code == 12  # no scope
    name = world.place("staging")
    done = world.promote(world.dev, mirror, "staging", "--as", name)
    assert (done.code, done.out) == (0, f"{mirror}@{world.digest}\n")
    assert run("verify", mirror, "--policy", world.policy, "--as", name).code == 0
