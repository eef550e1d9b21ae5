"""Test results that are forged, replayed, hidden or swapped: nothing is signed that did not pass."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ocimodel.attest.statement import attestation_statement
from ocimodel.oci import media
from tests.attacks.scene import Scene
from tests.attacks.test_referrers import flood
from tests.attacks.test_tags import EVIL, move_after_resolving
from tests.commands import Ran, run
from tests.hostile import Reply, Request
from tests.signers import ALICE, BOB, MALLORY, OTHER

PASSED = b'{"result":"PASSED","configuration":[{"name":"suite"}]}'
FAILED = b'{"result":"FAILED","configuration":[{"name":"suite"}]}'


@pytest.fixture
def unsigned(scene: Scene) -> Scene:
    """A model of Alice's that she has not signed; Bob evaluates."""
    scene.push(signer=None)
    scene.registry.forget()
    return scene


def result(
    scene: Scene, predicate: bytes = PASSED, *, signer: Any = BOB, kind: str = media.TEST_RESULT, **how: Any
) -> None:
    about = how.pop("about", scene.subject())
    statement = attestation_statement(about.digest, kind, predicate)
    scene.attach(signer, scene.subject(), statement=statement, predicate_type=how.pop("called", kind), **how)


def sign(scene: Scene, *more: str) -> Ran:
    words = ("--require-attestation", "test-result", "--attestation-key", scene.public(BOB))
    return run("sign", str(scene.reference), "--key", scene.private(), *words, *more)


def is_signed(scene: Scene) -> bool:
    return scene.verify().code == 0


def test_the_scene(unsigned: Scene) -> None:
    assert sign(unsigned).code == 19
    result(unsigned)
    assert sign(unsigned).code == 0
    assert is_signed(unsigned)


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"signer": MALLORY}, id="by somebody else"),
        pytest.param({"signer": MALLORY, "keyid": BOB.public.keyid}, id="in another's name"),
        pytest.param({"signer": ALICE}, id="by the builder"),
        pytest.param({"about": OTHER}, id="about another model"),
        pytest.param({"predicate": FAILED}, id="that failed"),
        pytest.param({"kind": "https://example.com/test-result"}, id="of another type"),
        pytest.param({"kind": "https://example.com/x", "called": media.TEST_RESULT}, id="called another type"),
        pytest.param({"predicate": b'{"result":["PASSED"],"configuration":[]}'}, id="not a word"),
        pytest.param({"predicate": b'{"result":"passed","configuration":[]}'}, id="in small letters"),
        pytest.param({"predicate": PASSED[:-1] + b',"failedTests":["a"]}'}, id="with failed tests"),
        pytest.param(
            {"predicate": json.dumps({"result": "PASSED", "configuration": [{"uri": media.SCAN}]}).encode()},
            id="by the scanner",
        ),
    ],
)
def test_results_that_do_not_count(unsigned: Scene, how: dict[str, Any]) -> None:
    result(unsigned, **how)
    assert sign(unsigned).code == 19
    assert not is_signed(unsigned)


def test_a_result_that_says_both(unsigned: Scene) -> None:
    """The same key twice: which one a reader takes is up to the reader, so nobody takes it."""
    said = b'{"result":"FAILED","configuration":[],"result":"PASSED"}'
    statement = b'{"_type":"%b","predicate":%b,"predicateType":"%b","subject":[{"digest":{"sha256":"%b"}}]}' % (
        media.STATEMENT_V1.encode(),
        said,
        media.TEST_RESULT.encode(),
        unsigned.subject().digest.hex.encode(),
    )
    unsigned.attach_unchecked(BOB, statement)
    assert sign(unsigned).code == 19


def test_a_result_about_two_things(unsigned: Scene) -> None:
    """One subject, named twice with different claims, is ambiguous; two models are each what they are."""
    digest = {"digest": {"sha256": unsigned.subject().digest.hex}}
    document = {"_type": media.STATEMENT_V1, "predicateType": media.TEST_RESULT, "predicate": json.loads(PASSED)}
    twice = {**document, "subject": [digest, {**digest, "annotations": {"a": "b"}}]}
    unsigned.attach_unchecked(BOB, json.dumps(twice).encode())
    assert sign(unsigned).code == 19
    both = {**document, "subject": [digest, {"digest": {"sha256": OTHER.digest.hex}}]}
    unsigned.attach_unchecked(BOB, json.dumps(both).encode())
    assert sign(unsigned).code == 0


def test_a_signature_is_no_result_and_a_result_no_signature(unsigned: Scene) -> None:
    unsigned.attach(BOB, unsigned.subject())
    assert sign(unsigned).code == 19
    result(unsigned)
    assert run("verify", str(unsigned.reference), "--key", unsigned.public(ALICE)).code == 12
    assert sign(unsigned).code == 0


def test_a_registry_that_hides_the_result(unsigned: Scene) -> None:
    result(unsigned)
    unsigned.registry.switches.strip_referrers = True
    assert sign(unsigned).code == 19


def test_a_registry_that_does_not_say(unsigned: Scene) -> None:
    """No answer is neither "missing" nor "passed", and nothing is signed."""
    result(unsigned)

    def refuse(request: Request) -> Reply | None:
        return Reply(403) if request.route == "referrers" else None

    unsigned.registry.on_request = refuse
    refused = sign(unsigned)
    assert refused.code == 77, refused.err
    unsigned.registry.on_request = None
    assert not is_signed(unsigned)


@pytest.mark.parametrize("mode", ["api", "404"], ids=["api", "fallback-tag"])
def test_a_flood_of_garbage_around_the_result(unsigned: Scene, mode: str) -> None:
    result(unsigned)
    flood(unsigned, mode, 1000)
    unsigned.registry.switches.referrers = "api"
    assert sign(unsigned).code == 0


def test_a_tag_that_moves_after_the_result_was_looked_at(unsigned: Scene) -> None:
    """What is signed is the model that passed, and not the one that the tag names by then."""
    result(unsigned)
    first = unsigned.subject().digest
    unsigned.push(EVIL, tag="v2", signer=None)
    move_after_resolving(unsigned)
    ran = sign(unsigned, "--json")
    assert (ran.code, ran.document["digest"]) == (0, str(first))
    unsigned.registry.on_response = None
    assert unsigned.verify().code == 10, "the tag names the other one now, which nobody has signed"
    assert unsigned.verify(of=f"{unsigned.reference.name}@{first}").code == 0


def test_no_layer_is_read_before_the_result_is_there(unsigned: Scene) -> None:
    assert sign(unsigned).code == 19
    assert unsigned.asked_for() == 0
