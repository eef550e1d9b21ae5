"""What nodes make of promotions: with what they have seen, without, and with a floor."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ocimodel.errors import OcimodelError
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access
from ocimodel.trust.files import load
from ocimodel.trust.policy import TrustPolicy
from ocimodel.verbs.pull import pull
from tests.commands import run
from tests.hostile import HostileRegistry, Switches
from tests.test_promote_faults import NOW, World

HOUR = timedelta(hours=1)


class Node:
    """A machine in production: a policy, and a state of its own."""

    def __init__(self, root: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.world, self._patch = root, world, monkeypatch
        self.policy = world.policy
        root.mkdir()

    def pull(
        self,
        *,
        after: timedelta | None = timedelta(0),
        name: str | None = None,
        channel: Reference | None = None,
        context: Mapping[str, str] | None = None,
    ) -> int:
        """The exit code of a pull at `NOW` and ``after`` that, or really now."""
        self._patch.setenv("OCIMODEL_STATE_DIR", str(self.root / "state"))
        self._patch.setenv("OCIMODEL_CACHE_DIR", str(self.root / "cache"))
        now = NOW + after if after is not None else None
        words: dict[str, Any] = {"policy": self.policy, "access": Access(), "now": now, "name": name}
        words |= {"force": True, "context": dict(context or {})}
        try:
            pull(channel or self.world.channel, self.root / "model", **words)
        except OcimodelError as error:
            return error.exit_code
        return 0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        here = stack.enter_context(HostileRegistry(Switches(referrers="api")))
        there = stack.enter_context(HostileRegistry(Switches(referrers="api")))
        yield World(tmp_path, here, there)


@pytest.fixture
def node(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path / "node", world, monkeypatch)


@pytest.fixture
def fresh(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path / "fresh", world, monkeypatch)


def with_floor(world: World, floor: int) -> TrustPolicy:
    path = world.root / "floor.json"
    value = json.loads((world.root / "policy.json").read_text())
    value["scopes"][0]["minSequence"] = floor
    path.write_text(json.dumps(value))
    return load(path)


def put_back(world: World) -> None:
    """Somebody who may write to the registry points the channel at the older artifact."""
    world.there.repository("prod/tiny").tags["stable"] = str(world.sources[0].digest)


def test_an_older_digest_under_the_tag(world: World, node: Node, fresh: Node) -> None:
    """18 where the newer one was seen, or where the policy has a floor. Elsewhere until its summary ends: 15."""
    world.promote(0, validity=3 * HOUR)
    newer = world.promote(1, NOW + timedelta(seconds=1), validity=6 * HOUR)
    assert node.pull(after=HOUR) == 0
    put_back(world)
    assert node.pull(after=HOUR) == 18
    assert fresh.pull(after=2 * HOUR) == 0
    fresh.policy = with_floor(world, newer.sequence)
    assert fresh.pull(after=2 * HOUR) == 18
    fresh.policy = world.policy
    assert Node(world.root / "another", world, fresh._patch).pull(after=3 * HOUR + timedelta(minutes=2)) == 15
    assert node.pull(after=4 * HOUR) == 18


def test_going_back_on_purpose_is_taken(world: World, node: Node) -> None:
    world.promote(0)
    world.promote(1, NOW + timedelta(seconds=1))
    assert node.pull(after=HOUR) == 0
    put_back(world)
    assert node.pull(after=HOUR) == 18
    world.promote(0, NOW + HOUR, rollback="2.0 is slow")
    assert node.pull(after=2 * HOUR) == 0


def test_a_registry_that_hides_the_newest_summary(world: World, node: Node, fresh: Node) -> None:
    """It can only show what was true, and only until that ends; whoever has seen more is not fooled at all."""
    world.promote(0, validity=3 * HOUR)
    renewed = world.promote(0, NOW + HOUR, validity=6 * HOUR, renew=True)
    assert renewed.written
    assert renewed.summary is not None
    assert node.pull(after=2 * HOUR) == 0
    assert fresh.pull(after=4 * HOUR) == 0
    listed = world.there.repository("prod/tiny").referrers[str(world.sources[0].digest)]
    del listed[str(renewed.summary.digest)]
    assert node.pull(after=2 * HOUR) == 18
    another = Node(world.root / "another", world, node._patch)
    assert another.pull(after=2 * HOUR) == 0
    assert another.pull(after=4 * HOUR) == 15
    listed.clear()
    assert another.pull(after=2 * HOUR) == 10  # all of them


def test_a_summary_of_elsewhere_is_none_here(world: World, node: Node) -> None:
    """Replayed: from another repository, of another environment, of another channel."""
    world.promote(0)
    tags = world.there.repository("prod/tiny").tags
    other = Reference.parse(f"{world.there.host}/prod/other:stable")
    assert run("copy", str(world.channel), str(other)).code == 0
    value = json.loads((world.root / "policy.json").read_text())
    value["scopes"].append(value["scopes"][0] | {"match": other.name})
    value["scopes"].append(value["scopes"][0] | {"match": f"{world.there.host}/prod/test", "environment": "test"})
    path = world.root / "more.json"
    path.write_text(json.dumps(value))
    node.policy = load(path)
    assert node.pull() == 0
    assert node.pull(channel=other) == 19
    assert node.pull(channel=other, name=world.name) == 0  # a mirror, judged under the canonical name
    assert node.pull(name=f"{world.there.host}/prod/test") == 19
    tags["canary"] = tags["stable"]
    canary = Reference.parse(f"{world.name}:canary")
    assert node.pull(channel=canary) == 19
    assert node.pull(channel=canary, context={"channel": "canary"}) == 19
    assert node.pull(channel=canary, context={"channel": "stable"}) == 0  # the node says what it serves
    pinned = world.sources[0].digest
    assert pinned is not None
    assert node.pull(channel=canary.tagged(None).at(pinned)) == 0


def at(world: World, tag: str) -> Reference:
    return Reference.parse(f"{world.name}:{tag}")


def test_a_version_is_taken_by_its_tag_as_long_as_its_channel(world: World, node: Node, fresh: Node) -> None:
    """The summary says which versions name the artifact: by another's tag it is not taken."""
    first = world.promote(0, version="1.0")
    assert node.pull(channel=at(world, "1.0")) == 0
    assert not world.promote(0, version="1.0").written
    again = world.promote(0, NOW + timedelta(seconds=1), version="1.0.0")
    assert again.written
    assert again.sequence > first.sequence
    assert not world.promote(0, NOW + timedelta(seconds=2), version="1.0").written
    renewed = world.promote(0, NOW + HOUR, renew=True, validity=timedelta(days=30))
    assert renewed.written
    for tag in ("1.0", "1.0.0", "stable"):
        assert node.pull(channel=at(world, tag), after=timedelta(days=20)) == 0, tag
    world.promote(1, NOW + 2 * HOUR, version="2.0")
    tags = world.there.repository("prod/tiny").tags
    tags["1.0"] = tags["2.0"]
    assert fresh.pull(channel=at(world, "1.0"), after=3 * HOUR) == 19
    assert node.pull(channel=at(world, "1.0"), after=3 * HOUR) == 18  # its number is not the one that was seen
    assert node.pull(channel=at(world, "2.0"), after=3 * HOUR) == 0


def test_a_layout_without_a_tag_is_asked_by_the_tag_that_it_means(
    world: World, node: Node, fresh: Node, tmp_path: Path
) -> None:
    """`latest`, or the only one: a summary for another channel is none for it."""
    layout = f"oci:{tmp_path}/own"
    value = json.loads((world.root / "policy.json").read_text())
    value["scopes"].append(value["scopes"][0] | {"match": layout})
    path = tmp_path / "own.json"
    path.write_text(json.dumps(value))
    words = ("--policy", path, "--key", world.root / "prod.key")
    assert run("promote", str(world.sources[0]), f"{layout}:stable", *words).code == 0
    node.policy = fresh.policy = load(path)
    assert fresh.pull(channel=Reference.parse(layout), after=None) == 0
    assert run("copy", f"{layout}:stable", f"{layout}:latest").code == 0
    assert node.pull(channel=Reference.parse(f"{layout}:latest"), after=None) == 19
    assert node.pull(channel=Reference.parse(layout), after=None) == 19
    assert node.pull(channel=Reference.parse(f"{layout}:stable"), after=None) == 0


def test_a_site_of_its_own_promotes_for_itself(world: World, node: Node, tmp_path: Path) -> None:
    """Behind an air gap: judged under the canonical name, or by a promoter of the site, with a scope of its own."""
    world.promote(0)
    layout = f"oci:{tmp_path}/site"
    assert run("copy", str(world.channel), f"{layout}:stable").code == 0
    site = Reference.parse(f"{layout}:stable")
    assert node.pull(channel=site) == 12  # no scope
    assert node.pull(channel=site, name=world.name) == 0
    assert run("key", "generate", tmp_path / "site-key", "--no-password").code == 0
    value = json.loads((world.root / "policy.json").read_text())
    value["keys"]["site"] = {"publicKey": (tmp_path / "site-key.pub").read_text(), "roles": ["promoter"]}
    gate = value["scopes"][0]["attestations"][0] | {"from": ["site"]}
    value["scopes"].append(
        value["scopes"][0] | {"match": f"{layout}/own", "environment": "site", "attestations": [gate]}
    )
    path = tmp_path / "site.json"
    path.write_text(json.dumps(value))
    own = f"{layout}/own:stable"
    words = ("--policy", path, "--key", tmp_path / "site-key.key")
    assert run("promote", str(site), own, *words).code == 0
    node.policy = load(path)
    assert node.pull(channel=Reference.parse(own), after=None) == 0
