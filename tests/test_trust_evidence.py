"""Evidence: whatever a registry sends becomes a candidate, and no amount of garbage hides a signature."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimodel.attest.referrer import Attachment, attach
from ocimodel.attest.statement import attestation_statement
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.trust.evidence import (
    FAIR_SHARE,
    MAX_CANDIDATES,
    MAX_TOTAL_BYTES,
    Candidate,
    order,
    read_candidate,
)
from tests.signers import ALICE, BOB, MODEL, attachment, read

EVALUATION = "https://example.org/evaluation"


def entry(number: int, kind: str | None = media.SIGSTORE_BUNDLE, **annotations: str) -> Descriptor:
    """A line of a referrers list; annotations by the last part of their names."""
    names = {"keyid": media.KEY_ID, "predicate": media.BUNDLE_PREDICATE_TYPE}
    return Descriptor(
        media_type=media.OCI_MANIFEST,
        digest=Digest.of(b"%d" % number),
        size=500,
        artifact_type=kind,
        annotations={names[key]: value for key, value in annotations.items()},
    )


def altered(found: Attachment, **changes: Any) -> Candidate:
    """The same bundle under a manifest with members replaced, or removed where the change is None."""
    document = json.loads(found.manifest) | changes
    raw = json.dumps({key: value for key, value in document.items() if value is not None}).encode()
    return read_candidate(replace(found.descriptor, digest=Digest.of(raw)), raw, found.bundle)


# --- the order of reading --------------------------------------------------------------------


def test_those_that_name_a_trusted_key_come_first() -> None:
    mine = ALICE.public.keyid
    other = entry(1, "application/spdx+json")
    attestation = entry(2, predicate=EVALUATION)
    unnamed = entry(3)
    untyped = entry(4, None)
    cosigns = entry(5, media.OCI_EMPTY)
    foreign = entry(6, keyid=BOB.public.keyid)
    named_attestation = entry(7, predicate=EVALUATION, keyid=mine)
    named = entry(8, keyid=mine, predicate=media.COSIGN_SIGN)
    named_and_mistyped = entry(9, "application/spdx+json", keyid=mine)
    notary = entry(10, media.NOTARY_SIGNATURE)
    entries = [
        other, attestation, unnamed, untyped, cosigns, foreign, named_attestation, named,
        named_and_mistyped, notary,
    ]  # fmt: skip
    chosen, truncated = order(entries, {mine})
    assert chosen == [
        named, named_and_mistyped, named_attestation, unnamed, untyped, cosigns, foreign, notary,
        attestation, other,
    ]  # fmt: skip
    assert not truncated


def test_garbage_does_not_hide_a_signature_that_names_its_key() -> None:
    garbage = [entry(number) for number in range(10_000)]
    named = entry(10_000, keyid=ALICE.public.keyid)
    chosen, truncated = order([*garbage, named], {ALICE.public.keyid})
    assert chosen[0] == named
    assert (len(chosen), truncated) == (MAX_CANDIDATES, True)
    chosen, truncated = order([*garbage, named], ())
    assert named not in chosen
    assert truncated


def test_as_many_as_are_read_are_not_too_many() -> None:
    assert order([entry(number) for number in range(MAX_CANDIDATES)], ())[1] is False
    assert order([], ()) == ([], False)
    assert FAIR_SHARE * MAX_CANDIDATES <= MAX_TOTAL_BYTES


@pytest.mark.parametrize("keyid", ["", "alice", "sha256:" + "A" * 64, "\x1b[2J", ALICE.public.hint])
def test_only_a_key_id_names_a_key(keyid: str) -> None:
    candidate = Candidate.unreadable(entry(1, keyid=keyid), "gone")
    assert candidate.names == frozenset()


# --- reading ---------------------------------------------------------------------------------


def test_a_signature_as_it_should_be() -> None:
    made = attachment(ALICE, {"k": "v"})
    candidate = read(made)
    assert candidate.names == {ALICE.public.keyid}
    assert candidate.subject is not None
    assert (candidate.subject.digest, candidate.format) == (MODEL.digest, "sigstore")
    assert candidate.statement is not None
    assert candidate.statement.is_signature
    assert candidate.signature_like
    assert candidate.size == len(made.manifest) + len(made.bundle)
    assert not candidate.problem


def test_the_hint_names_a_key_too() -> None:
    assert read(attachment(ALICE, keyid="")).names == {ALICE.public.keyid}


def test_cosigns_list_entry_and_manifest() -> None:
    made = attachment(ALICE, keyid="")
    document = json.loads(made.manifest)
    candidate = altered(made, config=document["config"] | {"artifactType": media.SIGSTORE_BUNDLE})
    assert not candidate.problem
    listed = Descriptor(
        media_type=made.descriptor.media_type,
        digest=made.descriptor.digest,
        size=made.descriptor.size,
        artifact_type=media.OCI_EMPTY,
    )
    assert read_candidate(listed, made.manifest, made.bundle) == read(made)


def test_another_digest_than_the_lists() -> None:
    made = attachment(ALICE)
    assert "expected" in read_candidate(made.descriptor, made.manifest + b" ", made.bundle).problem
    candidate = read_candidate(made.descriptor, made.manifest, made.bundle + b" ")
    assert candidate.damaged
    assert candidate.names == {ALICE.public.keyid}


@pytest.mark.parametrize("layers", [[], 2])
def test_a_signature_manifest_has_one_layer(layers: Any) -> None:
    made = attachment(ALICE)
    given_layers = json.loads(made.manifest)["layers"] * 2 if layers == 2 else []
    candidate = altered(made, layers=given_layers)
    assert candidate.damaged
    assert "exactly one layer" in candidate.problem


def test_what_is_not_a_signature() -> None:
    layer = {"mediaType": "text/plain", "digest": str(MODEL.digest), "size": 7}
    candidate = altered(attachment(ALICE), artifactType="application/spdx+json", layers=[layer])
    assert (candidate.format, candidate.signature_like, candidate.damaged) == ("", False, False)


def test_a_format_that_is_not_read() -> None:
    made = attachment(ALICE)
    layer = {**made.layer.to_dict(), "mediaType": "application/vnd.example.envelope"}
    candidate = altered(made, artifactType=media.NOTARY_SIGNATURE, layers=[layer], annotations=None)
    assert (candidate.format, candidate.signature_like, candidate.damaged) == ("notation", True, False)


def test_an_index_is_no_signature() -> None:
    raw = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
    candidate = read_candidate(replace(entry(1), digest=Digest.of(raw)), raw, b"")
    assert candidate.damaged


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b'{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}',
        b"\xff",
        b"[" * 5000,
        attachment(ALICE).bundle.replace(b"eyJ", b"e30"),
        attachment(ALICE).bundle[:-1] + b',"mediaType":""}',
    ],
)
def test_a_bundle_that_is_none(content: bytes) -> None:
    candidate = read(attach(content, MODEL, predicate_type=media.COSIGN_SIGN, keyid=ALICE.public.keyid))
    assert candidate.damaged
    assert candidate.signature_like
    assert candidate.statement is None


def test_signatures_over_bytes_and_by_certificates_are_recognised() -> None:
    document = json.loads(attachment(ALICE).bundle)
    by_certificate = document | {"verificationMaterial": {"certificate": {"rawBytes": "bGVhZg=="}}}
    del document["dsseEnvelope"]
    document["messageSignature"] = {
        "messageDigest": {"algorithm": "SHA2_256", "digest": "eA=="},
        "signature": "c2ln",
    }
    for content, problem in ((document, "approves no artifact"), (by_certificate, "")):
        raw = json.dumps(content).encode()
        candidate = read(attach(raw, MODEL, predicate_type=media.COSIGN_SIGN, keyid=""))
        assert problem in candidate.problem
        assert bool(candidate.problem) == bool(problem)
        assert (candidate.damaged, candidate.signature_like) == (False, True)
        assert candidate.signed is None or candidate.signed.certificates == (b"leaf",)


def test_an_attestation_is_none_by_its_statement() -> None:
    statement = attestation_statement(MODEL.digest, EVALUATION, b"{}")
    assert not read(attachment(ALICE, statement=statement, predicate_type=EVALUATION)).signature_like
    assert read(attachment(ALICE, predicate_type=EVALUATION)).signature_like


def test_messages_cannot_draw() -> None:
    raw = attachment(ALICE).bundle[:-1] + b',"\\u001b[2J\\n":1}'
    candidate = read(attach(raw, MODEL, predicate_type=media.COSIGN_SIGN, keyid=""))
    assert candidate.problem.isprintable()


# --- totality --------------------------------------------------------------------------------

DESCRIPTORS = st.builds(
    entry,
    st.integers(),
    st.sampled_from([None, "", media.SIGSTORE_BUNDLE, media.OCI_EMPTY, media.NOTARY_SIGNATURE, "a/b"]),
    keyid=st.one_of(st.text(), st.just(ALICE.public.keyid)),
    predicate=st.one_of(st.text(), st.just(media.COSIGN_SIGN)),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.lists(DESCRIPTORS), st.sets(st.just(ALICE.public.keyid)))
def test_order_only_reorders(entries: list[Descriptor], trusted: set[str]) -> None:
    chosen, truncated = order(entries, trusted)
    assert sorted(map(id, chosen)) == sorted(map(id, entries))
    assert not truncated


@given(DESCRIPTORS, st.binary() | JSON.map(lambda value: json.dumps(value).encode()), st.binary())
def test_any_bytes_become_a_candidate(listed: Descriptor, manifest: bytes, blob: bytes) -> None:
    assert read_candidate(listed, manifest, blob).problem
    assert read_candidate(replace(listed, digest=Digest.of(manifest)), manifest, blob).problem


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_blob_becomes_a_candidate(blob: bytes) -> None:
    assert read(attach(blob, MODEL, predicate_type=media.COSIGN_SIGN, keyid="")).problem


@given(JSON, st.lists(st.sampled_from(["dsseEnvelope", "payload", "signatures", "verificationMaterial", "x"])))
def test_any_member_anywhere_becomes_a_candidate(value: Any, path: list[str]) -> None:
    document = json.loads(attachment(ALICE).bundle)
    here = document
    for step in path[:-1]:
        here = here[step] if isinstance(here.get(step), dict) else here
    here[path[-1] if path else "mediaType"] = value
    raw = json.dumps(document).encode()
    candidate = read(attach(raw, MODEL, predicate_type=media.COSIGN_SIGN, keyid=""))
    assert candidate.problem or candidate.statement is not None
