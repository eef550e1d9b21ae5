"""A promotion that is cut off at every write in turn, and two of them at once: what the channel points at."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ocimodel.errors import AuthenticationError, GateError
from ocimodel.keys.specs import load_signer
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store
from ocimodel.trust.files import load
from ocimodel.verbs import promote as verb
from ocimodel.verbs.promote import Promoted, Wish
from ocimodel.verbs.promote_status import Place, standing
from ocimodel.verbs.verify import verify_artifact
from tests.commands import run
from tests.hostile import HostileRegistry, Reply, Request, Response, Switches
from tests.models import make_model

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


class World:
    """A builder's registry, a promoter's, and two models: the older one is promoted already."""

    def __init__(self, root: Path, here: HostileRegistry, there: HostileRegistry) -> None:
        self.root, self.there = root, there
        for name in ("builder", "prod"):
            assert run("key", "generate", root / name, "--no-password").code == 0
        model = make_model(root / "model", gguf=False)
        self.name = f"{there.host}/prod/tiny"
        self.sources = []
        for tag in ("v1", "v2"):
            (model / "note.txt").write_text(tag)
            ran = run("push", model, f"{here.host}/dev/tiny:{tag}", "--key", root / "builder.key")
            assert ran.code == 0, ran.err
            self.sources.append(Reference.parse(ran.out.strip()))
        ring = {
            "ci": {"publicKey": (root / "builder.pub").read_text(), "roles": ["builder"]},
            "prod": {"publicKey": (root / "prod.pub").read_text(), "roles": ["promoter"]},
        }
        gate = {"predicateType": media.SLSA_SUMMARY, "name": "promotion", "from": ["prod"]}
        rules = {"signatures": {"from": ["ci"]}, "attestations": [gate], "environment": "prod"}
        scopes = [{"match": self.name, **rules}, {"match": f"{here.host}/**", "signatures": {"from": ["ci"]}}]
        path = root / "policy.json"
        path.write_text(json.dumps({"version": 1, "keys": ring, "scopes": scopes}))
        self.policy = load(path)
        self.signer = load_signer(str(root / "prod.key"))
        self.channel = Reference.parse(f"{self.name}:stable")

    def wish(self, number: int, **more: Any) -> Wish:
        return Wish(
            source=self.sources[number], target=self.channel, policy=self.policy, signer=self.signer, **more
        )

    def promote(self, number: int, now: datetime = NOW, **more: Any) -> Promoted:
        return verb.promote(self.wish(number, **more), access=Access(), now=now)

    def whole(self) -> str:
        """The digest of the channel, which is whole and verified."""
        found = verify_artifact(self.channel, policy=self.policy, access=Access(), now=NOW, full=True)
        return str(found.digest)

    def summaries(self, digest: Digest) -> int:
        """As anybody finds them; a manifest that no list has is none."""
        with open_store(self.channel, Access()) as store:
            listed = store.referrers(digest).entries
        return sum(item.annotations.get(media.BUNDLE_PREDICATE_TYPE) == media.SLSA_SUMMARY for item in listed)

    def look(self) -> Any:
        place = Place(model="tiny", environment="prod", channel=self.channel, policy=self.policy)
        return standing(place, access=Access(), now=NOW + timedelta(minutes=5))


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """The parameter is how the promoter's registry lists referrers."""
    with ExitStack() as stack:
        here = stack.enter_context(HostileRegistry(Switches(referrers="api")))
        there = stack.enter_context(HostileRegistry(Switches(referrers=getattr(request, "param", "api"))))
        yield World(tmp_path, here, there)


@pytest.mark.parametrize("world", ["api", "404"], indirect=True)
def test_cut_off_at_every_write_in_turn(world: World) -> None:
    """As a kill before each of them: from there on the registry hears nothing any more.

    Where a list of referrers is a tag, which takes its time, only the last ones: what was copied is the same there.
    """
    there = world.there

    def is_write(request: Request) -> bool:
        return request.method in ("PUT", "POST", "PATCH")

    world.promote(0)
    older, newer = (source.digest or Digest.of(b"") for source in world.sources)
    before = there.snapshot()
    there.forget()
    world.promote(1, version="2.0")
    writes = sum(is_write(request) for request in there.requests)
    assert writes >= 12
    left = 0

    def cut(request: Request) -> Reply | None:
        nonlocal left
        left -= is_write(request)
        return Reply(403) if left < 0 else None

    seen = set()
    first = 0 if there.switches.referrers == "api" else writes - 5
    for number in range(first, writes):
        there.restore(before)
        there.on_request, left = cut, number
        with pytest.raises(AuthenticationError):
            world.promote(1, version="2.0")
        there.on_request = None
        seen.add(world.whole())
        world.promote(1, NOW + timedelta(minutes=1), version="2.0")
        assert world.whole() == str(newer)
        assert world.summaries(newer) == 1, number
        assert there.repository("prod/tiny").tags["2.0"] == str(newer)
    assert seen == {str(older)}  # the channel is the last write of all


def during(world: World, method: str, target: str, what: Callable[[], object]) -> None:
    """Once, when the registry has answered such a request but before anybody hears it."""
    done = False

    def respond(request: Request, _response: Response) -> None:
        nonlocal done
        if not done and (request.method, request.target) == (method, target):
            done = True
            what()

    world.there.on_response = respond


def test_of_two_at_once_the_lower_number_gives_way(world: World) -> None:
    """The other one is done while this one writes its version tag."""
    later = NOW + timedelta(seconds=1)
    during(world, "PUT", "1.0", lambda: world.promote(1, later))
    with pytest.raises(GateError, match="came first") as caught:
        world.promote(0, version="1.0")
    assert caught.value.reason == "overtaken"
    assert world.whole() == str(world.sources[1].digest)
    assert world.look().state == "verified"


def test_of_two_at_once_the_higher_number_looks_again(world: World) -> None:
    """The lower one's tag comes right after this one's: it looked before there was anything to see."""
    world.promote(0)
    tags = world.there.repository("prod/tiny").tags
    during(world, "PUT", "stable", lambda: tags.update(stable=str(world.sources[0].digest)))
    world.promote(1, NOW + timedelta(seconds=1))
    assert world.whole() == str(world.sources[1].digest)


def test_the_instant_that_remains_is_seen_in_the_status(world: World) -> None:
    """The higher one is wholly done between the lower one's last look and its tag."""
    later = NOW + timedelta(seconds=1)
    looked = 0

    def request(request: Request) -> None:
        nonlocal looked
        if (request.method, request.target) == ("PUT", "stable") and not looked:
            looked = 1
            world.promote(1, later, version="2.0")

    world.there.on_request = request
    world.promote(0, version="1.0")
    found = world.look()
    assert (found.state, str(found.digest)) == ("drift", str(world.sources[0].digest))
    assert found.newest[0] == world.sources[1].digest
    # To promote the newer one again puts it right, and adds no summary.
    done = world.promote(1, later + timedelta(seconds=1))
    assert (done.written, done.moved) == (False, ("stable",))
    assert world.look().state == "verified"


@pytest.mark.parametrize("world", ["api", "404"], indirect=True)
def test_a_tag_that_somebody_put_back_is_drift(world: World) -> None:
    world.promote(0, version="1.0")
    world.promote(1, NOW + timedelta(seconds=1), version="2.0")
    assert world.look().state == "verified"
    assert world.look().since == "2026-11-23T12:00:01Z"
    world.there.repository("prod/tiny").tags["stable"] = str(world.sources[0].digest)
    found = world.look()
    assert (found.state, found.exit_code) == ("drift", 18)
    assert found.newest[0] == world.sources[1].digest
    back = replace(world.wish(0), rollback="2.0 is slow")
    verb.promote(back, access=Access(), now=NOW + timedelta(minutes=2))
    found = world.look()
    assert (found.state, found.held.summary.reason, found.since) == (
        "verified",
        "2.0 is slow",
        "2026-11-23T12:02:00Z",
    )


def test_what_nobody_promoted_and_what_has_ended_is_refused(world: World) -> None:
    assert world.look().state == "empty"
    world.promote(0, validity=timedelta(minutes=1))
    found = world.look()  # five minutes later
    assert (found.state, found.held.good) == ("refused", False)
    assert run("copy", str(world.sources[1]), str(world.channel)).code == 0
    found = world.look()
    assert (found.state, found.exit_code, found.held) == ("refused", 19, None)
    world.there.fail(Reply(403))
    found = world.look()
    assert (found.state, found.exit_code) == ("unreachable", 77)
