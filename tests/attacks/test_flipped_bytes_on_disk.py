"""A flipped byte on a real registry's disk: 14 where it serves the bytes, 75 where it breaks over them itself."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ocimodel.oci import media
from ocimodel.oci.manifest import Manifest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store
from ocimodel.verbs.inspect import inspect
from ocimodel.verbs.push import push
from tests.attacks import impatient
from tests.attacks.scene import files_of
from tests.commands import run
from tests.models import make_model
from tests.real.registry import RealRegistry
from tests.signers import ALICE, BOB

pytestmark = pytest.mark.peer

SEED = 20
SAMPLES = 12


@dataclass(frozen=True)
class Target:
    """A signed model in a real registry. ``digests`` by what they are."""

    registry: RealRegistry
    reference: Reference
    files: dict[str, bytes]
    digests: dict[str, str]
    out: Path
    public: Path

    def pulling(self) -> int:
        return impatient.pulling(self.reference, self.out)

    @contextmanager
    def damaged(self, digest: str, position: int) -> Iterator[None]:
        file = self.registry.blob(digest)
        original = file.read_bytes()
        changed = bytearray(original)
        changed[position] ^= 1 << (position % 8)
        file.write_bytes(bytes(changed))
        try:
            yield
        finally:
            file.write_bytes(original)

    def positions(self, digest: str) -> list[int]:
        """The first byte, the last one, and some between."""
        size = self.registry.blob(digest).stat().st_size
        between = random.Random(f"{SEED}{size}").sample(range(size), min(size, SAMPLES))
        return sorted({0, size - 1, *between})


@pytest.fixture(params=["distribution", "referrers_registry"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    registry: RealRegistry = request.getfixturevalue(request.param)
    model = make_model(tmp_path / "model", gguf=False)
    reference = Reference.parse(f"{registry.fresh()}:v1")
    access = Access(plain_http=frozenset({registry.host}))
    pushed = push(model, reference, access=access, signer=ALICE)
    assert pushed.signature is not None
    with open_store(reference, access) as store:
        listed = store.referrers(pushed.digest).entries
        (signature,) = (entry for entry in listed if entry.artifact_type == media.SIGSTORE_BUNDLE)
        bundle = Manifest.from_bytes(store.get_manifest(signature.digest)[1]).layers[0]
        fallback = str(pushed.digest).replace(":", "-")
        lists = {} if registry.referrers_api else {"list": str(store.get_manifest(fallback)[0].digest)}
    found = inspect(reference, access)
    public = tmp_path / "alice.pub"
    public.write_bytes(ALICE.public.to_pem())
    return Target(
        registry=registry,
        reference=reference,
        files=files_of(model),
        digests={
            "manifest": str(pushed.digest),
            "signature": str(signature.digest),
            "bundle": str(bundle.digest),
            **lists,
            **{entry.path: str(entry.descriptor.digest) for entry in found.files},
        },
        out=tmp_path / "out",
        public=public,
    )


@pytest.mark.parametrize("target", ["distribution"], indirect=True)  # the other one keeps manifests in memory
@pytest.mark.parametrize("what", ["manifest", "signature", "list"])
def test_a_flipped_byte_in_a_manifest(target: Target, what: str) -> None:
    digest = target.digests[what]
    for position in target.positions(digest):
        with target.damaged(digest, position):
            assert target.pulling() in (14, 75), position
            assert not target.out.exists()
    assert target.pulling() == 0


def test_a_flipped_byte_in_the_bundle(target: Target) -> None:
    for position in target.positions(target.digests["bundle"]):
        with target.damaged(target.digests["bundle"], position):
            assert target.pulling() == 14
            assert not target.out.exists()
    assert target.pulling() == 0


@pytest.mark.parametrize("name", ["model-00001-of-00002.safetensors", "config.json", "modeling_tiny.py"])
def test_a_flipped_byte_in_a_file(target: Target, name: str) -> None:
    digest = target.digests[name]
    for number, position in enumerate(target.positions(digest)):
        with target.damaged(digest, position):
            destination = target.out / str(number)
            assert impatient.pulling(target.reference, destination) == 14, position
            assert not destination.exists()
    assert target.pulling() in (0, 2)


def test_a_flipped_byte_by_command(target: Target) -> None:
    """As a user sees it: the code, the file's name, nothing at the destination; and well again afterwards."""
    words: list[str | Path] = ["pull", str(target.reference), "-o", target.out, "--key", target.public]
    with target.damaged(target.digests["config.json"], 5):
        ran = run(*words)
        assert ran.code == 14
        assert "config.json" in ran.err
        assert not target.out.exists()
    with target.damaged(target.digests["tokenizer.json"], 0):
        ran = run("verify", str(target.reference), "--key", target.public, "--full")
        assert ran.code == 14
    ran = run(*words)
    assert ran.code == 0, ran.err
    assert files_of(target.out) == target.files


def test_another_key_while_the_weights_are_gone(target: Target) -> None:
    """Trust comes before the first byte: with another key nobody learns that they are gone."""
    file = target.registry.blob(target.digests["model-00001-of-00002.safetensors"])
    file.rename(file.with_name("away"))
    try:
        assert impatient.pulling(target.reference, target.out, key=BOB.public) == 12
        assert target.pulling() in (11, 75)
        assert not target.out.exists()
    finally:
        file.with_name("away").rename(file)


def test_a_blob_that_is_gone_or_cut(target: Target) -> None:
    file = target.registry.blob(target.digests["config.json"])
    original = file.read_bytes()
    try:
        file.write_bytes(original[:-1])
        assert target.pulling() in (14, 75)
        file.unlink()
        assert target.pulling() in (11, 75)
        assert not target.out.exists()
    finally:
        file.write_bytes(original)
    assert target.pulling() == 0
