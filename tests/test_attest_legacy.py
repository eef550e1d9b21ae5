"""cosign's legacy documents: what is read of them, and what never is."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimodel.attest import legacy
from ocimodel.attest.legacy import LegacySignature, appended, layers_of, read_layer, tag_of
from ocimodel.attest.signed import SignedStatement
from ocimodel.errors import DigestMismatchError, FormatError
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from tests.legacy import document, manifest, signed_layer
from tests.signers import ALICE, BOB, MODEL, OTHER, attachment
from tests.test_trust_evidence import JSON

SIGNATURE = {media.COSIGN_SIGNATURE: "c2ln"}
BY_COSIGN = (
    b'{"critical":{"identity":{"docker-reference":"localhost:5000/models/fraud"},"image":{"docker-manifest-digest":'
    b'"sha256:3f060d35170db7c97ec9e8993ed5cf0d886b0baa09fb4ceeab36231a7e990f60"},"type":"cosign container image '
    b'signature"},"optional":{"env":"prod"}}'
)
"""As cosign 3.1.1 wrote it, but for the registry's name."""


def parsed(payload: Any, annotations: dict[str, str] | None = None) -> LegacySignature:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return LegacySignature.from_bytes(raw, annotations or SIGNATURE)


def test_what_cosign_writes() -> None:
    found = parsed(BY_COSIGN)
    assert found.message == BY_COSIGN
    assert found.claims == {"env": "prod"}
    assert (found.format, found.approves, found.statement) == ("cosign-legacy", True, None)
    assert legacy.payload(found.digest, "localhost:5000/models/fraud", {"env": "prod"}) == BY_COSIGN


def test_the_tags() -> None:
    digest = Digest.of(b"")
    assert tag_of(digest, legacy.SIGNATURES) == f"sha256-{digest.hex}.sig"
    assert tag_of(digest, legacy.ATTESTATIONS) == f"sha256-{digest.hex}.att"


def test_it_is_about_one_digest() -> None:
    found = parsed(document(claims={"k": "v"}))
    (subject,) = found.subjects_of(MODEL)
    assert subject.annotations == {"k": "v"}
    assert subject.is_of(MODEL.digest)
    assert found.subjects_of(OTHER) == ()


@pytest.mark.parametrize("absent", [document(), {"critical": document()["critical"]}, document(claims={})], ids=str)
def test_without_claims(absent: dict[str, Any]) -> None:
    assert parsed(absent).claims == {}


def test_a_claim_that_is_no_text_becomes_its_json() -> None:
    """podman writes a number for the time. Nothing is dropped: a claim that is there is compared."""
    claims = {"creator": "podman", "timestamp": 1690000000, "gpu": None, "of": {"b": [1.5], "a": True}}
    assert parsed(document(claims=claims)).claims == {
        "creator": "podman",
        "timestamp": "1690000000",
        "gpu": "null",
        "of": '{"a": true, "b": [1.5]}',
    }


def changed(path: str, value: Any) -> dict[str, Any]:
    found = document()
    *steps, last = path.split("/")
    here = found
    for step in steps:
        here = here[step]
    here[last] = value
    return found


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "JSON"),
        (b"[]", "object"),
        (b"null", "object"),
        (b'{"critical":{},"critical":{}}', "twice"),
        (changed("more", 1), "more"),
        (changed("critical", None), "critical"),
        (changed("critical/type", "atomic container signature"), "critical.type"),
        (changed("critical/type", None), "critical.type"),
        (changed("critical/more", 1), "critical.more"),
        (changed("critical/identity", {}), "docker-reference"),
        (changed("critical/identity/more", 1), "identity.more"),
        (changed("critical/identity/docker-reference", 7), "docker-reference"),
        (changed("critical/image/more", 1), "image.more"),
        (changed("critical/image/docker-manifest-digest", "md5:1"), "critical.image.docker-manifest-digest"),
        (changed("critical/image/docker-manifest-digest", f"sha256:{'A' * 64}"), "docker-manifest-digest"),
        (changed("optional", []), "optional"),
        (b" " * (legacy.MAX_PAYLOAD + 1), "more than"),
    ],
)
def test_a_payload_that_is_none(payload: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        parsed(payload)


@pytest.mark.parametrize("signature", [None, "", "c2ln\n", "c2l", "c2lnZ", "****", "A" * 8000])
def test_a_signature_that_is_none(signature: str | None) -> None:
    annotations = {} if signature is None else {media.COSIGN_SIGNATURE: signature}
    with pytest.raises(FormatError, match="signature"):
        parsed(document(), annotations or {"other": "x"})


def test_certificates_and_times_are_carried_along() -> None:
    pem = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"
    leaf, chain = pem.format("bGVhZg=="), pem.format("b25l") + pem.format("cm9v\ndA==")
    more = {
        media.COSIGN_CERTIFICATE: leaf,
        media.COSIGN_CHAIN: chain,
        media.COSIGN_TIMESTAMP: '{"SignedRFC3161Timestamp":"dG9rZW4="}',
    }
    found = parsed(document(), SIGNATURE | more)
    assert found.certificates == (b"leaf", b"one", b"root")
    assert found.timestamps == (b"token",)
    for key, text in (
        (media.COSIGN_CERTIFICATE, "no PEM"),
        (media.COSIGN_CERTIFICATE, pem.format("bGVhZg=")),
        (media.COSIGN_CHAIN, pem.format("b25l") * 40),
        (media.COSIGN_TIMESTAMP, "{}"),
        (media.COSIGN_TIMESTAMP, "token"),
    ):
        with pytest.raises(FormatError):
            parsed(document(), SIGNATURE | more | {key: text})


def test_a_layer_is_what_its_descriptor_promises() -> None:
    layer, data = signed_layer(ALICE)
    assert isinstance(read_layer(layer, data), LegacySignature)
    with pytest.raises(DigestMismatchError):
        read_layer(layer, data + b" ")


def test_a_layer_of_an_attestation() -> None:
    envelope = json.dumps(json.loads(attachment(ALICE).bundle)["dsseEnvelope"]).encode()
    layer = Descriptor(media_type=media.DSSE_ENVELOPE, digest=Digest.of(envelope), size=len(envelope))
    found = read_layer(layer, envelope)
    assert isinstance(found, SignedStatement)
    assert (found.format, found.approves) == ("cosign-legacy", True)
    twice = json.loads(envelope)
    twice["signatures"] *= 2
    for bad in (b"{}", b"", json.dumps(twice).encode()):
        with pytest.raises(FormatError):
            read_layer(Descriptor(media_type=media.DSSE_ENVELOPE, digest=Digest.of(bad), size=len(bad)), bad)


# --- the manifest ----------------------------------------------------------------------------


def test_a_manifest_lists_each_signature_once() -> None:
    first, _ = signed_layer(ALICE)
    second, _ = signed_layer(BOB)
    raw, config = manifest(first, second, first)
    assert layers_of(raw) == ([first, second], 0)
    assert len(json.loads(config)["rootfs"]["diff_ids"]) == 3


def test_a_malformed_layer_spoils_no_other() -> None:
    good, _ = signed_layer(ALICE)
    document = json.loads(manifest(good)[0])
    foreign = {"mediaType": "text/plain", "digest": str(MODEL.digest), "size": 7}
    document["layers"] = [None, 7, {}, {"digest": "sha256:x"}, foreign, *document["layers"], {"annotations": 1}]
    assert layers_of(json.dumps(document).encode()) == ([good], 5)


def test_appending_keeps_what_others_wrote() -> None:
    first, _ = signed_layer(ALICE)
    second, _ = signed_layer(BOB)
    theirs = json.loads(manifest(first)[0])
    theirs |= {"annotations": {"theirs": "é"}, "x": [1.5, None]}
    theirs["layers"][0]["urls"] = ["https://example.org"]
    raw, config = appended(json.dumps(theirs).encode(), [second])
    ours = json.loads(raw)
    assert ours["layers"][0] == theirs["layers"][0]
    assert (ours["annotations"], ours["x"]) == (theirs["annotations"], theirs["x"])
    assert ours["config"]["digest"] == str(Digest.of(config))
    assert json.loads(config)["rootfs"]["diff_ids"] == [str(first.digest), str(second.digest)]


def test_a_manifest_of_docker_becomes_one_of_oci() -> None:
    """An old cosign could be told to write them so."""
    first, _ = signed_layer(ALICE)
    theirs = json.loads(manifest(first)[0]) | {"mediaType": media.DOCKER_MANIFEST}
    ours = json.loads(appended(json.dumps(theirs).encode(), [])[0])
    assert ours["mediaType"] == media.OCI_MANIFEST


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"layers":{}}', b'{"manifests":[]}'])
def test_what_is_no_manifest(raw: bytes) -> None:
    layer, _ = signed_layer(ALICE)
    with pytest.raises(FormatError):
        layers_of(raw)
    with pytest.raises(FormatError):
        appended(raw, [layer])


def test_more_than_registries_take() -> None:
    layer, _ = signed_layer(ALICE)
    with pytest.raises(FormatError, match="registries take"):
        appended(None, [layer] * 20_000)


# --- totality --------------------------------------------------------------------------------


@given(
    st.binary() | JSON.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(
        st.sampled_from(
            [media.COSIGN_SIGNATURE, media.COSIGN_CERTIFICATE, media.COSIGN_CHAIN, media.COSIGN_TIMESTAMP]
        ),
        st.text() | st.binary().map(lambda data: base64.b64encode(data).decode()),
    ),
    st.sampled_from(sorted(legacy.LAYERS)),
)
def test_any_layer_is_read_or_refused(data: bytes, annotations: dict[str, str], kind: str) -> None:
    layer = Descriptor(media_type=kind, digest=Digest.of(data), size=len(data), annotations=annotations)
    with pytest.raises(FormatError):
        read_layer(layer, data)


@given(JSON, st.lists(st.sampled_from(["critical", "identity", "image", "type", "optional", "x"]), max_size=3))
def test_any_member_anywhere_is_read_or_refused(value: Any, path: list[str]) -> None:
    payload = document(claims={"k": "v"})
    here = payload
    for step in path[:-1]:
        here = here[step] if isinstance(here.get(step), dict) else here
    here[path[-1] if path else "critical"] = value
    raw = json.dumps(payload).encode()
    try:
        found = parsed(raw)
    except FormatError:
        return
    assert found.message == raw
    assert all(isinstance(text, str) for text in found.claims.values())


@given(st.binary() | JSON.map(lambda value: json.dumps({"layers": value}).encode()))
def test_any_manifest_is_listed_or_refused(raw: bytes) -> None:
    try:
        listed, malformed = layers_of(raw)
    except FormatError:
        return
    assert len(listed) + malformed <= len(json.loads(raw)["layers"])
