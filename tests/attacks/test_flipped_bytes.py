"""A flipped byte, at any position of any document and blob: refused, and nothing at the destination.

Thousands of runs against a registry in this process; on a real registry's disk: `test_flipped_bytes_on_disk`.
"""

from __future__ import annotations

import pytest

from ocimodel.oci import media
from tests.attacks.scene import Scene
from tests.signers import ALICE, BOB

MASKS = (0x01, 0x20, 0x80)
"""Each position gets one: another letter, the other case, no text any more."""


def size_of(scene: Scene, digest: str) -> int:
    document = scene.repository.manifests.get(digest)
    return len(document.raw if document else scene.repository.blobs[digest])


def codes(scene: Scene, digest: str) -> set[int]:
    """What pulling says to each flipped byte of ``digest``. Checks that nothing arrived."""
    pristine = scene.registry.snapshot()
    found: set[int] = set()
    for position in range(size_of(scene, digest)):
        scene.repository.flip(digest, position, MASKS[position % len(MASKS)])
        code = scene.pulling()
        assert code, f"byte {position} of {digest} may be changed"
        assert scene.nothing_arrived(), f"byte {position} of {digest}"
        found.add(code)
        scene.registry.restore(pristine)
    assert scene.pulling() == 0
    return found


def test_a_flipped_byte_in_the_manifest(signed: Scene) -> None:
    assert codes(signed, str(signed.subject().digest)) == {14}


@pytest.mark.parametrize("name", ["weights.bin", "config.json", "README.md"])
def test_a_flipped_byte_in_a_file(signed: Scene, name: str) -> None:
    assert codes(signed, signed.layers()[name]) == {14}


def test_a_flipped_byte_in_the_config(signed: Scene) -> None:
    assert codes(signed, signed.manifest()["config"]["digest"]) == {14}


def test_a_flipped_byte_in_the_provenance(signed: Scene) -> None:
    assert codes(signed, signed.layers()[media.PROVENANCE_PATH]) == {14}


def test_a_flipped_byte_in_the_chunk_index(signed: Scene) -> None:
    assert codes(signed, signed.manifest()["annotations"][media.CHUNK_INDEX_ANNOTATION]) == {14}


def test_a_flipped_byte_in_the_only_signature(signed: Scene) -> None:
    """It names the trusted key, and no other candidate suffices."""
    assert codes(signed, signed.signature()) == {14}
    assert signed.asked_for() == 3  # by the last pull, when all was well again


def test_a_flipped_byte_in_the_bundle_of_the_only_signature(signed: Scene) -> None:
    assert codes(signed, signed.bundle()) == {14}


def test_a_flipped_byte_in_one_signature_of_two_spoils_nothing(signed: Scene) -> None:
    good = signed.signature()
    bundle = signed.bundle()
    signed.attach(ALICE, signed.subject(), claims={"second": "signature"})
    pristine = signed.registry.snapshot()
    for digest in (good, bundle):
        for position in range(0, size_of(signed, digest), 3):
            signed.repository.flip(digest, position, MASKS[position % len(MASKS)])
            assert signed.verifying() == 0, f"byte {position} of {digest}"
            signed.registry.restore(pristine)


def test_a_flipped_byte_in_a_signature_that_names_nobody(scene: Scene) -> None:
    """It could be anyone's: no good candidate, and no proof of damage to one of ours."""
    scene.push(signer=None)
    scene.attach(ALICE, scene.subject(), keyid="")
    assert scene.verifying() == 0
    digest = scene.signature()
    pristine = scene.registry.snapshot()
    for position in range(0, size_of(scene, digest), 5):
        scene.repository.flip(digest, position)
        assert scene.pulling() in (10, 12, 14)
        assert scene.nothing_arrived()
        scene.registry.restore(pristine)


def test_a_flipped_byte_in_the_fallback_list(signed: Scene) -> None:
    """The tag's bytes are not what the registry itself calls them."""
    signed.registry.switches.referrers = "404"
    subject = str(signed.subject().digest)
    listed = signed.repository.write_fallback(subject)
    assert codes(signed, listed) == {14}


def test_a_flipped_byte_in_a_large_file_that_comes_in_ranges(scene: Scene) -> None:
    size = 17 * 1024 * 1024
    block = bytes(range(251)) * 4096
    data = (block * (size // len(block) + 1))[:size]
    scene.push({"config.json": b"{}\n", "weights.bin": data})
    digest = scene.layers()["weights.bin"]
    for position in (0, 8 * 1024 * 1024 - 1, 8 * 1024 * 1024, size - 1):
        changed = bytearray(data)
        changed[position] ^= 1
        scene.repository.overwrite(digest, bytes(changed))
        # A place of its own for each: what a refused pull had checked is not fetched again.
        assert scene.pulling(scene.out / str(position)) == 14
        assert not (scene.out / str(position)).exists()
    scene.repository.overwrite(digest, data)
    assert scene.pulling() == 0


def test_a_blob_that_is_cut_or_grows_by_a_byte(signed: Scene) -> None:
    pristine = signed.registry.snapshot()
    for digest in [*signed.layers().values(), signed.manifest()["config"]["digest"]]:
        whole = bytes(signed.repository.blobs[digest])
        for number, changed in enumerate((b"", whole[:-1], whole + b"\0")):
            signed.repository.overwrite(digest, changed)
            assert signed.pulling(signed.out / digest / str(number)) == 14
            assert not (signed.out / digest / str(number)).exists()
            signed.registry.restore(pristine)


def test_a_flipped_byte_is_seen_where_the_artifact_is(signed: Scene) -> None:
    """`verify --full` reads every layer, and so does whoever pulls without a key."""
    pristine = signed.registry.snapshot()
    for digest in [*signed.layers().values(), signed.manifest()["config"]["digest"]]:
        signed.repository.flip(digest, size_of(signed, digest) // 2)
        assert signed.verifying(full=True) == 14
        assert signed.pulling(signed.out / digest, signer=None) == 14
        assert not (signed.out / digest).exists()
        signed.registry.restore(pristine)


def test_a_flipped_byte_says_which_file(signed: Scene) -> None:
    signed.repository.flip(signed.layers()["weights.bin"], 7)
    ran = signed.pull("--json")
    assert ran.code == ran.document["exitCode"] == 14
    assert ran.document["class"] == "integrity"
    assert "weights.bin" in ran.document["reasons"][0]["detail"]
    assert signed.pull(key=BOB).code == 12  # nobody is told more before he is trusted
