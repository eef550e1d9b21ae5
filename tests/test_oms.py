"""OMS signatures in a store: over the files alone they approve the files alone, whatever else a manifest says."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ocimodel.attest import oms
from ocimodel.attest.referrer import attach
from ocimodel.errors import FormatError, NotFoundError, Refusal, UnsignedError, UntrustedError, UsageError
from ocimodel.keys.sealing import seal
from ocimodel.keys.signer import LocalSigner
from ocimodel.model.artifact import ModelArtifact
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest, manifest_bytes
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import open_store
from ocimodel.stores.protocol import Source
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.recognition import files_of
from ocimodel.trust.verdict import Verified
from ocimodel.verbs.attaching import store_attachment
from ocimodel.verbs.attest import attest
from ocimodel.verbs.oms import OmsWriter
from ocimodel.verbs.open import open_model
from ocimodel.verbs.pull import pull
from ocimodel.verbs.push import push
from ocimodel.verbs.sign import sign
from ocimodel.verbs.verify import verify_artifact
from ocimodel.verbs.verify_directory import verify_directory
from tests.attacks.scene import write_model
from tests.commands import run
from tests.signers import ALICE, BOB, CAROL, MALLORY
from tests.test_sign import ACCESS, MONTH, NOW

OMS = OmsWriter()


@pytest.fixture
def layout(tmp_path: Path) -> Reference:
    """A model that nobody has signed."""
    reference = Reference.parse(f"oci:{tmp_path / 'layout'}:v1")
    push(write_model(tmp_path / "model"), reference, access=ACCESS)
    return reference


def over_files(reference: Reference, signer: LocalSigner = ALICE, *, of: str = "v1") -> None:
    """Attach to ``reference`` what `model_signing` would have signed of the files under the tag ``of``."""
    with open_store(reference, ACCESS) as store:
        artifact = ModelArtifact.of(Manifest.from_bytes(store.get_manifest(of)[1]))
        subject, _ = store.get_manifest(reference.tag or "v1")
        document = json.loads(oms.statement_bytes("m", files_of(artifact), subject.digest, {}))
        del document["predicate"][media.OMS_MANIFEST]
        bundle = oms.bundle_of(seal(signer, json.dumps(document).encode()), signer.public.to_pem())
        store_attachment(store, subject, attach(bundle, subject, predicate_type=media.OMS_SIGNATURE, keyid=""))


def forged(reference: Reference, *, tag: str = "forged", nameless: bool = False, keep: bool = True) -> Reference:
    """The same files in a manifest with a provenance, a chunk index and notes that nobody signed."""
    with open_store(reference, ACCESS) as store:
        manifest = Manifest.from_bytes(store.get_manifest("v1")[1])
        layers = [layer for layer in manifest.layers if layer.media_type != media.PROVENANCE_LAYER]
        lie = b'{"forged": true}'
        store.put_blob(Source.of(lie))
        extra = Descriptor(media_type=media.PROVENANCE_LAYER, digest=Digest.of(lie), size=len(lie))
        if nameless:
            extra = replace(extra, media_type="application/x")
        raw = manifest_bytes(
            config=manifest.config,
            layers=[*layers, extra] if keep else layers,
            artifact_type=manifest.artifact_type,
            annotations={"note": "forged", media.CHUNK_INDEX_ANNOTATION: str(Digest.of(lie))},
        )
        store.put_manifest(raw, media.OCI_MANIFEST, tag=tag)
    return reference.tagged(tag)


def judged(reference: Reference, *signers: LocalSigner, threshold: int = 1) -> Verified:
    policy = TrustPolicy.of_keys([signer.public for signer in signers or (ALICE,)], threshold)
    found = verify_artifact(reference, policy=policy, access=ACCESS, now=NOW).verdict.verified
    assert found is not None
    return found


# --- ours ------------------------------------------------------------------------------------


@pytest.mark.parametrize("signer", [ALICE, CAROL], ids=["p256", "p384"])
def test_signing_twice_adds_nothing(layout: Reference, signer: LocalSigner) -> None:
    first, second = (sign(layout, signer, access=ACCESS, writer=OMS) for _ in range(2))
    assert (first.created, second.created) == (True, False)
    assert first.signature == second.signature
    assert first.format == "oms"
    assert not judged(layout, signer).files_only


def test_with_an_expiry_nothing_is_added_while_it_is_young(layout: Reference) -> None:
    def signing(days: int) -> bool:
        now = NOW + timedelta(days=days)
        return sign(layout, ALICE, access=ACCESS, expires=MONTH, now=now, writer=OMS).created

    assert [signing(0), signing(10), signing(20)] == [True, False, True]


def test_it_approves_no_other_manifest_with_the_same_files(layout: Reference) -> None:
    signed = sign(layout, ALICE, access=ACCESS, writer=OMS)
    other = forged(layout)
    with open_store(layout, ACCESS) as store:
        subject, _ = store.get_manifest("forged")
        manifest = Manifest.from_bytes(store.get_manifest(str(signed.signature.digest))[1])
        bundle = next(
            store.blob_path(layer.digest).read_bytes()  # type: ignore[attr-defined]
            for layer in manifest.layers
        )
        made = attach(bundle, subject, predicate_type=media.OMS_SIGNATURE, keyid=ALICE.public.keyid)
        store_attachment(store, subject, made)
    with pytest.raises(UntrustedError, match="another artifact"):
        judged(other)
    assert judged(layout).keyids


def test_only_keys_that_model_signing_knows(layout: Reference) -> None:
    with pytest.raises(UsageError, match="ECDSA"):
        sign(layout, BOB, access=ACCESS, writer=OMS)


def test_layers_that_are_no_files(layout: Reference) -> None:
    with pytest.raises(UsageError, match="no files"):
        sign(forged(layout, nameless=True), ALICE, access=ACCESS, writer=OMS)


def test_an_attestation_of_that_type_is_not_made(layout: Reference) -> None:
    with pytest.raises(UsageError, match="signature"):
        attest(layout, media.OMS_SIGNATURE, b"{}", ALICE, access=ACCESS)


def test_it_is_handed_out_if_it_is_good(layout: Reference, tmp_path: Path) -> None:
    def pulling(name: str, *signers: LocalSigner) -> Path:
        policy = TrustPolicy.of_keys([signer.public for signer in signers]) if signers else None
        where = tmp_path / f"{name}.sig"
        pull(layout, tmp_path / name, policy=policy, access=ACCESS, oms_out=where)
        return where

    with pytest.raises(NotFoundError, match="no OMS signature"):
        pulling("none")
    sign(layout, MALLORY, access=ACCESS, writer=OMS)
    sign(layout, ALICE, access=ACCESS)
    with pytest.raises(NotFoundError, match="by a trusted key"):
        pulling("mallorys", ALICE)
    assert not (tmp_path / "mallorys").exists()
    sign(layout, ALICE, access=ACCESS, writer=OMS)
    unverified, verified = pulling("unverified"), pulling("verified", ALICE)
    assert unverified.read_bytes() != verified.read_bytes()


# --- over the files alone --------------------------------------------------------------------


def test_it_approves_the_files_and_nothing_else(layout: Reference, tmp_path: Path) -> None:
    other = forged(layout)
    over_files(other)
    grant = judged(other)
    assert grant.files_only
    policy = TrustPolicy.of_keys([ALICE.public])
    with pytest.raises(NotFoundError, match="provenance"):
        pull(other, tmp_path / "p", policy=policy, access=ACCESS, provenance_out=tmp_path / "provenance")
    pull(other, tmp_path / "out", policy=policy, access=ACCESS)
    assert not (tmp_path / "provenance").exists()
    with open_model(other, keys=[ALICE.public], access=ACCESS) as model:
        assert model.read("README.md") == b"# Tiny\n"


def test_a_forged_index_does_not_speak_for_a_changed_file(layout: Reference, tmp_path: Path) -> None:
    """Whoever makes the manifest makes the index, and would change the file to what it says."""
    over_files(layout)
    policy = TrustPolicy.of_keys([ALICE.public])
    out = tmp_path / "out"
    pull(layout, out, policy=policy, access=ACCESS)
    for more in ({}, {"reference": layout}):
        found = verify_directory(out, policy=policy, access=ACCESS, **more)  # type: ignore[arg-type]
        assert "chunks" not in {check.name for check in found.checks}
    sign(layout, ALICE, access=ACCESS)
    found = verify_directory(out, policy=policy, access=ACCESS, reference=layout)
    assert "chunks" in {check.name for check in found.checks}


def test_beside_a_signature_of_the_manifest_it_takes_nothing_away(layout: Reference) -> None:
    over_files(layout)
    assert judged(layout).files_only
    sign(layout, CAROL, access=ACCESS)
    assert not judged(layout, ALICE, CAROL).files_only
    assert judged(layout, ALICE, CAROL, threshold=2).files_only
    sign(layout, ALICE, access=ACCESS)
    assert not judged(layout, ALICE, CAROL, threshold=2).files_only


def test_nobody_vouches_for_the_rest_of_it(layout: Reference, tmp_path: Path) -> None:
    """A promotion would, and a provenance that nobody signed says nothing of where a model comes from."""
    (tmp_path / "alice.key").write_bytes(ALICE.private_pem(None))
    (tmp_path / "alice.key").chmod(0o600)
    (tmp_path / "alice.pub").write_bytes(ALICE.public.to_pem())
    document = {
        "version": 1,
        "keys": {"alice": {"publicKeyFile": "alice.pub"}},
        "scopes": [{"match": "**", "signatures": {"from": ["alice"]}}],
    }
    (tmp_path / "policy.json").write_text(json.dumps(document))
    base = {"uri": f"{layout.path}:base", "digest": {"sha256": "0" * 64}, "name": "base"}
    definition = {
        "buildType": "https://example.org/b",
        "externalParameters": {},
        "resolvedDependencies": [{**base, "annotations": {"role": "base-model", "relation": "finetune"}}],
    }
    predicate = {"buildDefinition": definition, "runDetails": {"builder": {"id": "https://example.org/b"}}}
    push(tmp_path / "model", layout, access=ACCESS, provenance=json.dumps(predicate).encode())
    target = f"oci:{tmp_path / 'production'}:prod"
    words = ("--policy", tmp_path / "policy.json", "--key", tmp_path / "alice.key")
    over_files(layout)
    ran = run("promote", str(layout), target, *words, "--json")
    assert (ran.code, ran.document["reasons"][0]["reason"]) == (12, "files-only"), ran.err
    said = [edge["verified"] for edge in lineage_of(layout, tmp_path)["bases"]]
    assert said == [False]
    sign(layout, ALICE, access=ACCESS)
    assert run("promote", str(layout), target, *words).code == 0
    assert [edge["verified"] for edge in lineage_of(layout, tmp_path)["bases"]] == [True]


def lineage_of(reference: Reference, place: Path) -> Any:
    ran = run("lineage", str(reference), "--key", place / "alice.pub", "--json")
    assert ran.code == 0, ran.err
    assert ran.document["model"]["verified"] is True
    return ran.document["model"]


def test_over_the_files_of_another(layout: Reference, tmp_path: Path) -> None:
    push(write_model(tmp_path / "other", {"weights.bin": b"evil"}), layout.tagged("evil"), access=ACCESS)
    over_files(layout.tagged("evil"), of="v1")
    with pytest.raises(UntrustedError, match="another artifact"):
        judged(layout.tagged("evil"))


def test_a_layer_that_nobody_can_name_is_not_signed(layout: Reference) -> None:
    other = forged(layout, nameless=True)
    over_files(other)
    with pytest.raises(UntrustedError):
        judged(other)


def test_an_attestation_does_not_become_one(layout: Reference) -> None:
    attest(layout, "x:y", b"{}", ALICE, access=ACCESS)
    with pytest.raises(UnsignedError):
        judged(layout)


def test_no_bit_of_it_can_be_flipped(layout: Reference) -> None:
    over_files(layout)
    with open_store(layout, ACCESS) as store:
        subject, _ = store.get_manifest("v1")
        (entry,) = (
            item
            for item in store.referrers(subject.digest).entries
            if item.annotations.get(media.BUNDLE_PREDICATE_TYPE) == media.OMS_SIGNATURE
        )
        manifest = Manifest.from_bytes(store.get_manifest(entry.digest)[1])
        path = store.blob_path(manifest.layers[0].digest)  # type: ignore[attr-defined]
    good = path.read_bytes()
    path.chmod(0o600)
    for position in range(0, len(good), 7):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        with pytest.raises(Refusal):
            judged(layout)
    path.write_bytes(good)
    assert judged(layout).keyids


def test_a_manifest_that_cannot_be_read_as_a_model(layout: Reference) -> None:
    """It is not about it then; nothing falls over."""
    with open_store(layout, ACCESS) as store:
        bad = json.loads(store.get_manifest("v1")[1])
        bad["layers"][0]["annotations"] = {media.FILEPATH: "../../etc/passwd"}
        store.put_manifest(json.dumps(bad).encode(), media.OCI_MANIFEST, tag="bad")
    over_files(layout.tagged("bad"), of="v1")
    with pytest.raises(UntrustedError):
        judged(layout.tagged("bad"))
    with pytest.raises(FormatError):
        ModelArtifact.of(Manifest.from_bytes(b"{}"))
