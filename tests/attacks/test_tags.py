"""Tags that move, and registries that answer one thing and mean another: a tag is resolved once."""

from __future__ import annotations

import pytest

from tests.attacks.scene import FILES, Scene, files_of
from tests.hostile import Action, Alter, Request, Response
from tests.hostile.state import digest_of
from tests.signers import ALICE

EVIL = {name: b"evil " + data for name, data in FILES.items()}


def move_after_resolving(scene: Scene, tag: str = "v1") -> None:
    """The tag moves to v2 as soon as somebody has resolved it."""
    target = scene.repository.tags["v2"]
    moved: list[str] = []

    def on_response(request: Request, _response: Response) -> None:
        if request.route == "manifest" and request.target == tag and request.method in ("GET", "HEAD"):
            scene.repository.tags[tag] = target
            moved.append(tag)

    scene.registry.on_response = on_response


@pytest.mark.parametrize("key", [ALICE, None], ids=["verified", "unverified"])
def test_a_tag_that_moves_between_resolve_and_fetch(signed: Scene, key: object) -> None:
    """To a model that is signed as well: what was resolved first is what arrives."""
    first = signed.subject().digest
    signed.push(EVIL, tag="v2")
    move_after_resolving(signed)
    ran = signed.pull("--json", key=key)  # type: ignore[arg-type]
    assert ran.code == 0
    assert ran.document["digest"] == str(first)
    assert files_of(signed.out) == FILES
    assert sum(request.target == "v1" for request in signed.registry.seen(route="manifest")) == 1


def test_a_tag_that_moves_while_the_first_model_goes_away(signed: Scene) -> None:
    """Then nothing arrives: never a mixture, never the other one."""
    weights = signed.layers()["weights.bin"]
    signed.push(EVIL, tag="v2")
    move_after_resolving(signed)
    del signed.repository.blobs[weights]
    assert signed.pull().code == 11
    assert signed.nothing_arrived()


def test_a_tag_that_moves_while_it_is_verified(signed: Scene) -> None:
    first = signed.subject().digest
    signed.push(EVIL, tag="v2", signer=None)
    move_after_resolving(signed)
    ran = signed.verify("--full", "--json")
    assert ran.code == 0
    assert ran.document["digest"] == str(first)
    assert ran.document["reference"].endswith(f"v1@{first}")
    signed.registry.on_response = None
    assert signed.verify().code == 10


def test_a_tag_that_moves_while_it_is_signed(scene: Scene) -> None:
    """The signature is for what was resolved, and is not usable for the other one."""
    from tests.commands import run

    scene.push(signer=None)
    first = scene.subject().digest
    scene.push(EVIL, tag="v2", signer=None)
    move_after_resolving(scene)
    assert run("sign", str(scene.reference), "--key", scene.private()).code == 0
    scene.registry.on_response = None
    assert scene.verify().code == 10
    assert scene.verify(of=f"{scene.reference.name}@{first}").code == 0


def test_a_registry_that_answers_a_digest_with_something_else(signed: Scene) -> None:
    signed.push(EVIL, tag="v2")
    first = str(signed.subject().digest)
    other = signed.repository.manifests[signed.repository.tags["v2"]]
    signed.repository.manifests[first] = other
    pinned = f"{signed.reference.name}@{first}"
    assert signed.verify(of=pinned).code == 14
    assert signed.pull().code == 14
    assert signed.nothing_arrived()


@pytest.mark.parametrize("mode", ["wrong", "missing"])
def test_a_digest_header_that_is_a_lie_or_absent(signed: Scene, mode: str) -> None:
    """It is never what a manifest is believed by: at worst nothing is delivered."""
    signed.registry.switches.digest_header = mode  # type: ignore[assignment]
    assert signed.pull().code == (14 if mode == "wrong" else 0)
    assert signed.out.exists() is (mode == "missing")


def test_an_older_model_under_the_tag_is_another_digest(signed: Scene) -> None:
    """A registry may go back to what was signed before; whoever pinned the digest notices."""
    old = signed.subject().digest
    signed.push(EVIL, tag="v2")
    new = signed.repository.tags["v2"]
    signed.repository.tags["v1"] = str(old)
    assert signed.verify(of=f"{signed.reference}@{new}").code == 0
    del signed.repository.manifests[new]
    assert signed.verify(of=f"{signed.reference}@{new}").code == 11


def test_a_manifest_that_changes_between_two_answers(signed: Scene) -> None:
    """The second answer to the same digest is other bytes: whatever asks twice checks twice."""
    seen: list[int] = []

    def on_request(request: Request) -> Action | None:
        if request.route != "manifest" or request.target.startswith("sha256-"):
            return None
        seen.append(request.number)
        if len(seen) == 1:
            return None

        def change(response: Response) -> Response:
            response.body = bytes(response.body).replace(b"weights.bin", b"wEights.bin")
            response.headers["Docker-Content-Digest"] = digest_of(response.body)
            return response

        return Alter(change)

    signed.registry.on_request = on_request
    assert signed.pull().code in (0, 14)
    if signed.out.exists():
        assert files_of(signed.out) == FILES
