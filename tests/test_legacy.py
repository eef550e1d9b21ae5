"""cosign's legacy signatures as evidence, and under the tags of a store: read, written, written by two at once."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.attest import legacy
from ocimodel.errors import FormatError
from ocimodel.keys.signer import LocalSigner
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import index_bytes, manifest_bytes
from ocimodel.oci.reference import Reference
from ocimodel.stores.memory import MemoryStore
from ocimodel.stores.protocol import ReferrerList, Source, Store
from ocimodel.trust.evidence import FAIR_SHARE, MAX_CANDIDATES, Candidate, order
from ocimodel.trust.policy import TrustPolicy
from ocimodel.verbs.attest import attest, show
from ocimodel.verbs.evidence import again, gather
from ocimodel.verbs.legacy_writing import LegacyWriter
from ocimodel.verbs.push import push
from ocimodel.verbs.sign import sign, sign_subject
from ocimodel.verbs.verify import verify_artifact
from tests.attacks.scene import write_model
from tests.legacy import document, manifest, read, signed_layer
from tests.signers import ALICE, BOB, CAROL, MODEL, OTHER, attachment, evidence
from tests.test_sign import ACCESS, MONTH, NOW

LEGACY = LegacyWriter()
PLACE = Reference.parse("registry.example.org/model:v1")


def judged(*candidates: Candidate, keys: tuple[LocalSigner, ...] = (ALICE,), threshold: int = 1) -> tuple[int, str]:
    """Exit code, and the first reason."""
    policy = TrustPolicy.of_keys([signer.public for signer in keys], threshold)
    verdict = policy.evaluate(evidence(*candidates), NOW)
    return verdict.exit_code, verdict.reasons[0].reason if verdict.reasons else ""


def about(other: Descriptor, signer: LocalSigner = ALICE, **more: Any) -> Candidate:
    return read(*signed_layer(signer, json.dumps(document(other)).encode(), **more))


# --- evidence --------------------------------------------------------------------------------


def test_a_good_one() -> None:
    found = read(*signed_layer(ALICE, claims={"k": "v"}))
    assert (found.format, found.signature_like, found.problem) == ("cosign-legacy", True, "")
    assert judged(found) == (0, "")
    assert judged(found, keys=(BOB,)) == (12, "untrusted-signer")


def test_one_for_another_artifact() -> None:
    assert judged(about(OTHER)) == (12, "other-subject")


def test_the_same_key_twice_counts_once() -> None:
    """As two layers, with other claims, and as a bundle besides."""
    mine = [read(*signed_layer(ALICE, claims=claims)) for claims in (None, {}, {"k": "v"})]
    several = [*mine, read(*signed_layer(ALICE, claims={"k": "v"}))]
    policy = TrustPolicy.of_keys([ALICE.public, BOB.public], 2)
    for extra in ([], [attachment(ALICE)]):
        verdict = policy.evaluate(evidence(*several, *extra), NOW)
        assert (verdict.exit_code, verdict.reasons[0].reason) == (12, "too-few")
    assert judged(*several, read(*signed_layer(BOB)), keys=(ALICE, BOB), threshold=2) == (0, "")


def test_claims_of_one_never_help_another() -> None:
    """Alice's says staging, Bob's says production; who trusts Alice for production gets nothing of Bob's."""
    mine = read(*signed_layer(ALICE, claims={media.CLAIM_ENVIRONMENT: "staging"}))
    his = read(*signed_layer(BOB, claims={media.CLAIM_ENVIRONMENT: "production"}))
    context = {"environment": "production"}
    alice = TrustPolicy.of_keys([ALICE.public]).evaluate(evidence(mine, his), NOW, context)
    assert (alice.exit_code, alice.reasons[0].reason) == (17, "metadata-mismatch")
    assert TrustPolicy.of_keys([BOB.public]).evaluate(evidence(mine, his), NOW, context).exit_code == 0


@pytest.mark.parametrize(
    ("expires", "expected"),
    [
        ("2026-03-01T12:00:01Z", (0, "")),
        ("2026-03-01T12:00:00Z", (15, "expired")),
        ("tomorrow", (14, "bad-claim")),
        (1772366401, (14, "bad-claim")),
        (None, (14, "bad-claim")),
    ],
)
def test_the_claim_of_ours(expires: object, expected: tuple[int, str]) -> None:
    """Whatever is no time is an error, and never "no expiry"."""
    assert judged(read(*signed_layer(ALICE, claims={media.CLAIM_EXPIRES: expires}))) == expected


def test_a_bad_signature_matters_only_where_it_names_the_key() -> None:
    layer, data = signed_layer(ALICE)
    swapped = {
        **layer.annotations,
        media.COSIGN_SIGNATURE: signed_layer(BOB)[0].annotations[media.COSIGN_SIGNATURE],
    }
    bad = read(replace(layer, annotations=swapped), data)
    named = read(replace(layer, annotations={**swapped, media.KEY_ID: ALICE.public.keyid}), data)
    assert judged(bad) == (12, "untrusted-signer")
    assert judged(named) == (14, "bad-signature")
    assert judged(bad, named, read(layer, data)) == (0, "")


def test_an_attestation_approves_nothing() -> None:
    statement = (
        b'{"_type":"https://in-toto.io/Statement/v1","predicate":{},"predicateType":"x:y","subject":[%b]}'
        % (json.dumps({"digest": {"sha256": MODEL.digest.hex}}).encode())
    )
    bundle = json.loads(attachment(ALICE, statement=statement, predicate_type="x:y").bundle)
    envelope = json.dumps(bundle["dsseEnvelope"]).encode()
    layer = Descriptor(media_type=media.DSSE_ENVELOPE, digest=Digest.of(envelope), size=len(envelope))
    found = read(layer, envelope)
    assert (found.format, found.signature_like, found.problem) == ("cosign-legacy", False, "")
    assert judged(found) == (10, "unsigned")


def test_layers_that_name_a_trusted_key_come_first() -> None:
    plain, named = signed_layer(ALICE)[0], signed_layer(ALICE, keyid=ALICE.public.keyid)[0]
    statement = replace(plain, media_type=media.DSSE_ENVELOPE)
    chosen, _ = order([statement, plain, attachment(BOB).descriptor, named], {ALICE.public.keyid})
    assert chosen == [named, plain, attachment(BOB).descriptor, statement]


FLIPPED = signed_layer(ALICE, claims={"team": "risk"}, keyid=ALICE.public.keyid)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, len(FLIPPED[1]) * 8 - 1), st.booleans())
def test_no_bit_of_the_payload_can_be_flipped(bit: int, honest: bool) -> None:
    """Neither under its old digest, nor under the one that it has then."""
    layer, data = FLIPPED
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    flipped = bytes(changed)
    named = replace(layer, digest=Digest.of(flipped)) if honest else layer
    assert judged(read(named, flipped))[0] in (12, 14)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_character_of_the_signature_can_be_changed(data: st.DataObject) -> None:
    layer, payload = FLIPPED
    text = layer.annotations[media.COSIGN_SIGNATURE]
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda character: character != text[place]))
    signature = text[:place] + other + text[place + 1 :]
    changed = replace(layer, annotations={**layer.annotations, media.COSIGN_SIGNATURE: signature})
    assert judged(read(changed, payload))[0] == 14


@given(st.binary(), st.dictionaries(st.text(max_size=9), st.text()), st.sampled_from(sorted(legacy.LAYERS)))
def test_any_layer_becomes_a_candidate(data: bytes, annotations: dict[str, str], kind: str) -> None:
    listed = Descriptor(media_type=kind, digest=Digest.of(data), size=len(data), annotations=annotations)
    assert read(listed, data).problem
    assert read(replace(listed, digest=MODEL.digest), data).damaged


# --- in a store ------------------------------------------------------------------------------


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore("registry.example.org/model")


@pytest.fixture
def subject(store: MemoryStore) -> Descriptor:
    return store.put_manifest(model_manifest(), media.OCI_MANIFEST, tag="v1")


def model_manifest() -> bytes:
    return manifest_bytes(config=MODEL, layers=[])


def tag(store: Store, subject: Descriptor, *layers: tuple[Descriptor, bytes], ending: str = "sig") -> None:
    for _, data in layers:
        store.put_blob(Source.of(data))
    raw, config = manifest(*(layer for layer, _ in layers))
    store.put_blob(Source.of(config))
    store.put_manifest(raw, media.OCI_MANIFEST, tag=legacy.tag_of(subject.digest, ending))


def code(store: Store, subject: Descriptor, signer: LocalSigner = ALICE) -> int:
    policy = TrustPolicy.of_keys([signer.public])
    return policy.evaluate(gather(store, subject, store.name, policy.keyids)[0], NOW).exit_code


def signed_of(signer: LocalSigner, subject: Descriptor, **more: Any) -> tuple[Descriptor, bytes]:
    return signed_layer(signer, json.dumps(document(subject)).encode(), **more)


def test_nothing_there_is_unsigned(store: MemoryStore, subject: Descriptor) -> None:
    assert code(store, subject) == 10


def test_layers_are_candidates_and_are_kept_for_the_receipt(store: MemoryStore, subject: Descriptor) -> None:
    tag(store, subject, signed_of(BOB, subject), signed_of(ALICE, subject))
    found, documents = gather(store, subject, store.name, ())
    assert [item.format for item in found.candidates] == ["cosign-legacy"] * 2
    assert TrustPolicy.of_keys([ALICE.public, BOB.public], 2).evaluate(found, NOW).exit_code == 0
    assert again(subject, store.name, documents, model_manifest()).candidates == found.candidates


def test_garbage_under_the_tag_spoils_nothing(store: MemoryStore, subject: Descriptor) -> None:
    layer, data = signed_of(ALICE, subject)
    tag(store, subject, signed_of(BOB, subject), (layer, data))
    raw = json.loads(store.get_manifest(legacy.tag_of(subject.digest, "sig"))[1])
    gone = replace(layer, digest=MODEL.digest)
    raw["layers"] = [{}, None, gone.to_dict(), *raw["layers"], {"mediaType": "text/plain"}]
    store.put_manifest(
        json.dumps(raw).encode(), media.OCI_MANIFEST, tag=legacy.tag_of(subject.digest, legacy.SIGNATURES)
    )
    assert code(store, subject) == 0
    assert code(store, subject, CAROL) == 12


@pytest.mark.parametrize("what", [b"{}", index_bytes([])], ids=["nothing", "index"])
def test_a_tag_that_holds_something_else(store: MemoryStore, subject: Descriptor, what: bytes) -> None:
    """It is a damaged candidate: not "unsigned", and no harm to a signature elsewhere."""
    store.put_manifest(what, media.OCI_INDEX, tag=legacy.tag_of(subject.digest, legacy.SIGNATURES))
    assert code(store, subject) == 12
    with pytest.raises(FormatError, match="something else"):
        sign_subject(store, PLACE, subject, ALICE, writer=LEGACY)
    sign_subject(store, PLACE, subject, ALICE)
    assert code(store, subject) == 0


def test_no_more_than_128_are_read(store: MemoryStore, subject: Descriptor) -> None:
    garbage = [signed_of(BOB, subject, keyid=f"{number}") for number in range(2 * MAX_CANDIDATES)]
    unnamed, named = signed_of(ALICE, subject), signed_of(ALICE, subject, keyid=ALICE.public.keyid)
    tag(store, subject, *garbage, unnamed)
    found, _ = gather(store, subject, store.name, [ALICE.public.keyid])
    assert (len(found.candidates), found.truncated) == (MAX_CANDIDATES, True)
    assert code(store, subject) == 12
    tag(store, subject, *garbage, named)
    assert code(store, subject) == 0


def test_layers_of_a_referrer_count_each(store: MemoryStore, subject: Descriptor) -> None:
    """One referrer does not bring more candidates than all together may be."""
    layers = [signed_of(BOB, subject, keyid=f"{number}") for number in range(2 * MAX_CANDIDATES)]
    named = signed_of(ALICE, subject, keyid=ALICE.public.keyid)
    for count in (1, 2 * MAX_CANDIDATES):
        chosen = [*layers[:count], named]
        for _, data in chosen:
            store.put_blob(Source.of(data))
        config = Descriptor(media_type=media.COSIGN_ARTIFACT, digest=MODEL.digest, size=7)
        raw = manifest_bytes(config=config, layers=[layer for layer, _ in chosen], subject=subject)
        store.put_manifest(raw, media.OCI_MANIFEST)
        found, _ = gather(store, subject, store.name, [ALICE.public.keyid])
        assert len(found.candidates) == min(MAX_CANDIDATES, count + 1)
        assert found.truncated == (count > 1)
        assert code(store, subject) == 0


def test_a_referrer_of_another_artifact(store: MemoryStore, subject: Descriptor) -> None:
    """A list that says that it is of this one."""

    class Liar(MemoryStore):
        def referrers(self, subject: Digest, *, limit: int = 100_000) -> ReferrerList:
            return super().referrers(OTHER.digest, limit=limit)

    liar = Liar(store.name)
    found = liar.put_manifest(model_manifest(), media.OCI_MANIFEST)
    layer, data = signed_of(ALICE, found)
    liar.put_blob(Source.of(data))
    config = Descriptor(media_type=media.COSIGN_ARTIFACT, digest=MODEL.digest, size=7)
    liar.put_manifest(manifest_bytes(config=config, layers=[layer], subject=OTHER), media.OCI_MANIFEST)
    assert code(liar, found) == 12


def test_one_that_is_larger_than_its_share_is_read_last(store: MemoryStore, subject: Descriptor) -> None:
    large = json.dumps(document(subject, {"pad": "x" * 60_000} | {f"{n}": "x" * 60_000 for n in range(3)})).encode()
    assert len(large) > FAIR_SHARE
    tag(store, subject, signed_layer(ALICE, large), signed_of(BOB, subject))
    assert code(store, subject) == 0


# --- writing ---------------------------------------------------------------------------------


@pytest.fixture
def layout(tmp_path: Path) -> Reference:
    """A model that nobody has signed."""
    reference = Reference.parse(f"oci:{tmp_path / 'layout'}:v1")
    push(write_model(tmp_path / "model"), reference, access=ACCESS)
    return reference


def verified(reference: Reference, signer: LocalSigner) -> set[str]:
    found = verify_artifact(reference, policy=TrustPolicy.of_keys([signer.public]), access=ACCESS, now=NOW)
    return {report.format for report in found.verdict.signers if report.status == "good"}


@pytest.mark.parametrize("signer", [ALICE, BOB, CAROL], ids=["p256", "ed25519", "p384"])
def test_signing_twice_adds_nothing(layout: Reference, signer: LocalSigner) -> None:
    first, second = (sign(layout, signer, access=ACCESS, writer=LEGACY) for _ in range(2))
    assert (first.created, second.created) == (True, False)
    assert first.signature == second.signature
    assert verified(layout, signer) == {"cosign-legacy"}
    assert sign(layout, signer, access=ACCESS).created
    assert verified(layout, signer) == {"cosign-legacy", "sigstore"}


def test_the_payload_does_not_say_where_a_layout_lies(layout: Reference) -> None:
    signed = sign(layout, ALICE, access=ACCESS, writer=LEGACY)
    place = Path(layout.path) / "blobs" / "sha256"
    raw = (place / str(signed.signature.digest).partition(":")[2]).read_bytes()
    (layer,) = legacy.layers_of(raw)[0]
    assert b'"docker-reference":""' in (place / layer.digest.hex).read_bytes()


def test_with_an_expiry_nothing_is_added_while_it_is_young(layout: Reference) -> None:
    def signing(now: datetime, writer: LegacyWriter = LEGACY) -> bool:
        return sign(layout, ALICE, access=ACCESS, expires=MONTH, now=now, writer=writer).created

    assert signing(NOW)
    assert not signing(NOW + MONTH / 3)
    assert signing(NOW + 2 * MONTH / 3)
    first = sign(layout, ALICE, access=ACCESS, expires=MONTH, now=NOW + 2 * MONTH / 3)
    assert first.created, "a signature of one format does not stand for one of another"


def test_the_layout_still_has_one_tag(layout: Reference) -> None:
    """The name without a tag means its only one, signatures or not."""
    sign(layout, ALICE, access=ACCESS, writer=LEGACY)
    assert verified(layout.tagged(None), ALICE) == {"cosign-legacy"}


def test_attesting_twice_adds_nothing(layout: Reference) -> None:
    def attesting(predicate: bytes) -> bool:
        return attest(layout, "x:y", predicate, ALICE, access=ACCESS, format="cosign-legacy").created

    assert [attesting(b"{}"), attesting(b"{}"), attesting(b'{"a":1}')] == [True, False, True]
    _, found = show(layout, keys=[ALICE.public], access=ACCESS)
    assert [(item.status, item.predicate_type) for item in found] == [("good", "x:y")] * 2


class Racing(MemoryStore):
    """Somebody else writes the tag between our reading and our writing, as often as it is said."""

    def __init__(self, name: str, times: int) -> None:
        super().__init__(name)
        self.times = times

    def put_manifest(self, raw: bytes, media_type: str, *, tag: str | None = None) -> Descriptor:
        stored = super().put_manifest(raw, media_type, tag=tag)
        if tag is not None and tag.endswith(".sig") and self.times:
            self.times -= 1
            theirs, config = manifest(signed_layer(BOB, claims={"time": f"{self.times}"})[0])
            self.put_blob(Source.of(config))
            super().put_manifest(theirs, media_type, tag=tag)
        return stored


def test_who_is_overwritten_writes_again_and_loses_nobody() -> None:
    store = Racing("registry.example.org/model", 3)
    subject = store.put_manifest(model_manifest(), media.OCI_MANIFEST)
    assert sign_subject(store, PLACE, subject, ALICE, writer=LEGACY).created
    listed, _ = legacy.layers_of(store.get_manifest(legacy.tag_of(subject.digest, legacy.SIGNATURES))[1])
    assert len(listed) == 4
    assert code(store, subject) == 0


def test_several_writers_at_once(store: MemoryStore, subject: Descriptor) -> None:
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            sign_subject(store, PLACE, subject, ALICE, annotations={"n": f"{number}"}, writer=LEGACY)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    found, _ = gather(store, subject, store.name, ())
    verdict = TrustPolicy.of_keys([ALICE.public]).evaluate(found, datetime.now(UTC) + timedelta(days=1))
    assert sorted(report.claims["n"] for report in verdict.signers) == list("012345")
