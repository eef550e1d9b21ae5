"""No byte of a layer is asked for before the whole verdict has passed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocimodel.oci import media
from tests.attacks.scene import Scene
from tests.hostile import Request
from tests.signers import ALICE, BOB


def kinds(scene: Scene) -> list[str]:
    """What was asked for, in order, in the words of the contract."""
    manifest = scene.manifest()
    names = dict.fromkeys(scene.layers().values(), "layer")
    names |= {
        manifest["config"]["digest"]: "config",
        manifest["annotations"].get(media.CHUNK_INDEX_ANNOTATION, ""): "index",
        scene.bundle(): "signature",
    }

    def kind(request: Request) -> str:
        if request.route == "blob":
            return names.get(request.target, "blob")
        return request.route

    return [kind(request) for request in scene.registry.seen()]


def test_signatures_first_then_layers(signed: Scene) -> None:
    assert signed.pull().code == 0
    asked = kinds(signed)
    assert asked[0] == "manifest"
    assert {"referrers", "signature", "layer", "config"} <= set(asked)
    decided = max(at for at, kind in enumerate(asked) if kind in ("referrers", "signature", "manifest"))
    assert not {"layer", "config", "index"} & set(asked[:decided])


@pytest.mark.parametrize("key", [BOB, ALICE], ids=["another-key", "no-signature"])
@pytest.mark.parametrize(
    "more",
    [(), ("--include", "*.json"), ("--force",), ("--provenance-out", "provenance.json"), ("--receipt", "r.json")],
    ids=lambda words: words[0] if words else "plain",
)
def test_a_refusal_asks_for_no_layer(scene: Scene, key: object, more: tuple[str, ...]) -> None:
    scene.push(signer=BOB if key is ALICE else ALICE)
    if key is ALICE:
        scene.repository.referrers.clear()
    scene.registry.forget()
    words = [str(scene.place / word) if word.endswith(".json") and word[0] != "*" else word for word in more]
    assert scene.pull(*words, key=key).code in (10, 12)  # type: ignore[arg-type]
    wanted = {request.target for request in scene.registry.seen(route="blob")}
    assert not wanted & {*scene.layers().values(), scene.manifest()["config"]["digest"]}
    assert scene.registry.count("HEAD", "blob") == 0
    assert scene.nothing_arrived()
    assert not (scene.place / "provenance.json").exists()
    assert not (scene.place / "r.json").exists()


def test_verify_asks_for_no_layer_at_all(signed: Scene) -> None:
    assert signed.verify().code == 0
    assert signed.asked_for(*signed.layers()) == 0
    assert signed.verify("--full").code == 0
    assert signed.asked_for() == 3


def test_a_directory_is_judged_before_a_file_of_it_is_read(signed: Scene, tmp_path: Path) -> None:
    """With another key the changed file is not even looked at."""
    assert signed.pull().code == 0
    (signed.out / "weights.bin").write_bytes(b"changed")
    assert signed.verify(of=signed.out, key=BOB).code == 12
    assert signed.verify(of=signed.out).code == 14
