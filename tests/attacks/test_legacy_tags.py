"""cosign's legacy tags: anyone who may push can write them, and a registry may not answer about them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ocimodel.attest import legacy
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from tests.attacks import impatient
from tests.attacks.scene import Scene
from tests.commands import run
from tests.hostile import Reply
from tests.legacy import document, manifest, signed_layer
from tests.signers import ALICE, MALLORY

SIG, ATT = legacy.SIGNATURES, legacy.ATTESTATIONS


def tagged(scene: Scene, *layers: tuple[Descriptor, bytes], ending: str = SIG) -> str:
    """Put layers under the tag of the model; what the tag is called."""
    name = legacy.tag_of(scene.subject().digest, ending)
    raw, config = manifest(*(layer for layer, _ in layers))
    for data in (config, *(data for _, data in layers)):
        scene.repository.add_blob(data)
    scene.repository.add_manifest(raw, media.OCI_MANIFEST, name)
    return name


def by(signer: object, scene: Scene, **more: Any) -> tuple[Descriptor, bytes]:
    return signed_layer(signer, json.dumps(document(scene.subject())).encode(), **more)  # type: ignore[arg-type]


@pytest.fixture
def legacy_signed(scene: Scene) -> Scene:
    """A registry with one model, signed by Alice under the tag alone."""
    scene.push(signer=None)
    tagged(scene, by(ALICE, scene))
    scene.registry.forget()
    return scene


def test_it_is_found_without_any_referrer(legacy_signed: Scene) -> None:
    assert legacy_signed.pull().code == 0
    assert legacy_signed.verify(of=legacy_signed.out).code == 0
    assert legacy_signed.verify(key=MALLORY).code == 12


def test_no_layer_is_asked_for_before_the_verdict(legacy_signed: Scene) -> None:
    assert legacy_signed.pull(key=MALLORY).code == 12
    assert legacy_signed.asked_for() == 0
    assert legacy_signed.nothing_arrived()


@pytest.mark.parametrize("ending", [SIG, ATT])
@pytest.mark.parametrize(
    ("status", "code"), [(429, 75), (500, 75), (503, 75), (504, 75), (401, 77), (403, 77), (404, 10)]
)
def test_a_tag_about_which_there_is_no_answer_is_not_unsigned(
    scene: Scene, ending: str, status: int, code: int
) -> None:
    scene.push(signer=None)
    target = legacy.tag_of(scene.subject().digest, ending)
    scene.registry.fail(Reply(status), route="manifest", target=target)
    assert impatient.verifying(scene.reference) == code


@pytest.mark.parametrize(("status", "code"), [(503, 75), (401, 77), (404, 12)])
def test_a_payload_that_does_not_come(legacy_signed: Scene, status: int, code: int) -> None:
    _, data = by(ALICE, legacy_signed)
    digest = legacy_signed.repository.add_blob(data)
    legacy_signed.registry.fail(Reply(status), route="blob", target=digest)
    assert impatient.verifying(legacy_signed.reference) == code


def test_garbage_under_the_tag_hides_no_referrer(signed: Scene) -> None:
    name = tagged(signed, by(MALLORY, signed), by(MALLORY, signed, keyid=ALICE.public.keyid))
    assert signed.pull().code == 0
    for raw in (b"", b"{}", b"\xff", b"[" * 100_000, b"x" * (5 * 1024 * 1024)):
        digest = signed.repository.add_manifest(b'{"x":%d}' % len(raw), media.OCI_MANIFEST, name)
        signed.repository.overwrite(digest, raw)
        assert signed.verify().code == 0


def test_a_thousand_layers_are_not_a_thousand_requests(legacy_signed: Scene) -> None:
    payload = json.dumps(document(legacy_signed.subject())).encode()
    many = [signed_layer(MALLORY, payload + b" " * number) for number in range(1000)]
    tagged(legacy_signed, *many, by(ALICE, legacy_signed, keyid=ALICE.public.keyid))
    assert legacy_signed.verify().code == 0
    assert legacy_signed.registry.count("GET", "blob") <= 128
    tagged(legacy_signed, *many, by(ALICE, legacy_signed))
    ran = legacy_signed.verify("--json")
    assert (ran.code, ran.document["reasons"][0]["reason"]) == (12, "too-many")


def test_a_payload_larger_than_all_that_is_read(legacy_signed: Scene) -> None:
    layer, data = by(MALLORY, legacy_signed, keyid=ALICE.public.keyid)
    large = data[:-1] + b" " * (17 * 1024 * 1024) + b"}"
    size = replace(layer, digest=type(layer.digest).of(large), size=len(large))
    tagged(legacy_signed, (size, large), by(ALICE, legacy_signed))
    legacy_signed.registry.forget()
    assert legacy_signed.verify().code == 0
    assert legacy_signed.registry.sent("blob") < 1024 * 1024


def test_a_signature_moved_from_another_model(scene: Scene) -> None:
    """The tag is a name and proves nothing: the digest in the payload decides."""
    scene.push({"weights.bin": b"good"}, signer=None)
    moved = by(ALICE, scene)
    scene.push({"weights.bin": b"evil"}, signer=None)
    tagged(scene, moved)
    ran = scene.pull("--json")
    assert (ran.code, ran.document["reasons"][0]["reason"]) == (12, "other-subject")
    assert scene.nothing_arrived()


def test_where_it_lies_makes_no_approval_of_it_and_takes_none(scene: Scene) -> None:
    """What was signed does: neither the type of a layer, nor the tag that it stands under."""
    scene.push(signer=None)
    layer, data = by(ALICE, scene)
    tagged(scene, (replace(layer, media_type=media.DSSE_ENVELOPE), data))
    assert scene.verify().code == 10
    tagged(scene, (layer, data), ending=ATT)
    assert scene.verify().code == 0


def test_a_tree_shows_what_stands_under_the_tags(signed: Scene) -> None:
    tagged(signed, by(ALICE, signed, keyid=ALICE.public.keyid), by(MALLORY, signed))
    layer, data = by(MALLORY, signed)
    attestation = replace(layer, media_type=media.DSSE_ENVELOPE, annotations={"predicateType": "https://x/\x1b[2J"})
    tagged(signed, (attestation, data), ending=ATT)
    ran = run("tree", str(signed.reference), "--json")
    assert ran.code == 0
    children = ran.document["tree"]["referrers"]
    kinds = [child["artifactType"] for child in children]
    assert kinds.count(media.COSIGN_PAYLOAD) == 2
    assert kinds.count(media.DSSE_ENVELOPE) == 1
    assert ALICE.public.keyid in {
        child["keyid"] for child in children if child["artifactType"] == media.COSIGN_PAYLOAD
    }
    assert "\x1b" not in run("tree", str(signed.reference)).out
    many = [by(MALLORY, signed, keyid=f"{number}") for number in range(2000)]
    tagged(signed, *many)
    ran = run("tree", str(signed.reference), "--json")
    assert len(ran.document["tree"]["referrers"]) <= 1000
    assert not ran.document["tree"]["complete"]
    digest = signed.repository.add_manifest(b"{}", media.OCI_MANIFEST, legacy.tag_of(signed.subject().digest, SIG))
    signed.repository.overwrite(digest, b"no JSON")
    assert run("tree", str(signed.reference)).code == 0
