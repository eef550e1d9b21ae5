"""Envelope, statement, bundle, base64: what is taken, what is refused, and to the byte what is written."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimodel.attest import base64s, bundle, envelope, statement
from ocimodel.attest.bundle import Bundle, public_key_bundle
from ocimodel.attest.envelope import Envelope, pae
from ocimodel.attest.statement import Statement, attestation_statement, signature_statement
from ocimodel.errors import FormatError, UsageError
from ocimodel.jsonio import Node
from ocimodel.oci import media
from ocimodel.oci.digest import Digest

DIGEST = Digest.of(b"a model")
OTHER = Digest.of(b"another model")


def bundle_document(**changes: Any) -> dict[str, Any]:
    """A good bundle, with members replaced, or removed where the change is None."""
    payload = base64s.encode(signature_statement(DIGEST))
    document: dict[str, Any] = {
        "mediaType": media.SIGSTORE_BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": "aGludA=="}},
        "dsseEnvelope": {
            "payload": payload,
            "payloadType": media.INTOTO_PAYLOAD,
            "signatures": [{"sig": "c2ln"}],
        },
    }
    return {key: value for key, value in (document | changes).items() if value is not None}


def parse(**changes: Any) -> Bundle:
    return Bundle.from_bytes(json.dumps(bundle_document(**changes)).encode())


def dsse(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = bundle_document()["dsseEnvelope"]
    return {key: value for key, value in (document | changes).items() if value is not None}


def statement_document(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(signature_statement(DIGEST))
    return {key: value for key, value in (document | changes).items() if value is not None}


def parse_statement(**changes: Any) -> Statement:
    return Statement.from_bytes(json.dumps(statement_document(**changes)).encode())


# --- pre-authentication encoding ---------------------------------------------------------


def test_pae_is_the_protocols_own_example() -> None:
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected


def test_pae_counts_bytes() -> None:
    assert pae("tèst", "wörld".encode()) == b"DSSEv1 5 t\xc3\xa8st 6 w\xc3\xb6rld"


@given(st.text(), st.binary(), st.text(), st.binary())
def test_pae_is_injective(kind: str, body: bytes, other_kind: str, other_body: bytes) -> None:
    if pae(kind, body) == pae(other_kind, other_body):
        assert (kind, body) == (other_kind, other_body)


# --- base64 --------------------------------------------------------------------------------


@given(st.binary())
def test_base64_has_one_spelling(data: bytes) -> None:
    assert base64s.decode(Node(base64s.encode(data))) == data


@pytest.mark.parametrize(
    "text",
    ["QQ", "QQ=", "QQ==\n", " QQ==", "QR==", "Q Q==", "_-8=", "QUJD=", "QQ==QQ==", "Q\u0661==", "é"],
)
def test_base64_in_any_other_spelling_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        base64s.decode(Node(text))


# --- envelope ------------------------------------------------------------------------------


def test_an_envelope_keeps_the_bytes_that_were_signed() -> None:
    found = parse().envelope
    assert found is not None
    assert found.payload == signature_statement(DIGEST)
    assert found.signed == pae(media.INTOTO_PAYLOAD, found.payload)
    assert Envelope.from_node(Node(found.to_dict())) == found


def test_a_keyid_says_nothing() -> None:
    assert parse(dsseEnvelope=dsse(signatures=[{"sig": "c2ln", "keyid": "x"}])) == parse()


@pytest.mark.parametrize(
    "changes",
    [
        {"signatures": []},
        {"signatures": [{"sig": "c2ln"}, {"sig": "c2ln"}]},
        {"signatures": [{"sig": ""}]},
        {"signatures": [{"keyid": "x"}]},
        {"signatures": [{"sig": "c2ln", "cert": "x"}]},
        {"signatures": [{"sig": base64s.encode(bytes(envelope.MAX_SIGNATURE + 1))}]},
        {"signatures": None},
        {"payloadType": "application/json"},
        {"payloadType": None},
        {"payload": None},
        {"payload": "e30"},
        {"payload": 1},
        {"extra": 1},
    ],
    ids=str,
)
def test_an_envelope_that_is_not_just_so_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(FormatError) as caught:
        parse(dsseEnvelope=dsse(**changes))
    assert caught.value.path.startswith("dsseEnvelope")


# --- statement -----------------------------------------------------------------------------


def test_a_signature_statement_is_what_cosign_writes() -> None:
    assert json.loads(signature_statement(DIGEST)) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": DIGEST.hex}}],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    }


def test_claims_stand_in_the_subjects_annotations() -> None:
    parsed = Statement.from_bytes(signature_statement(DIGEST, {"env": "prod", "a": "ü"}))
    assert parsed.is_signature
    (subject,) = parsed.subjects_of(DIGEST)
    assert subject.annotations == {"a": "ü", "env": "prod"}
    assert parsed.subjects_of(OTHER) == ()


def test_statements_do_not_depend_on_the_order_of_claims() -> None:
    one = signature_statement(DIGEST, {"a": "1", "b": "2"})
    assert one == signature_statement(DIGEST, {"b": "2", "a": "1"})
    assert signature_statement(DIGEST, {}) == signature_statement(DIGEST)


def test_a_claim_that_is_not_text_is_the_callers_mistake() -> None:
    with pytest.raises(UsageError):
        signature_statement(DIGEST, {"a": "\udc80"})


def test_an_attestation_keeps_its_numbers_as_they_were_written() -> None:
    predicate = b' {"accuracy": 0.910, "loss": 1e-07} \n'
    raw = attestation_statement(DIGEST, "https://example.org/evaluation", predicate, {"k": "v"})
    assert b'{"accuracy": 0.910, "loss": 1e-07},"predicateType"' in raw
    parsed = Statement.from_bytes(raw)
    assert not parsed.is_signature
    assert parsed.predicate["accuracy"] == 0.91
    assert parsed.predicate_type == "https://example.org/evaluation"


@pytest.mark.parametrize(
    ("kind", "predicate"),
    [
        (media.COSIGN_SIGN, b"{}"),
        ("", b"{}"),
        ("two words", b"{}"),
        ("https://example.org/\x1b[2J", b"{}"),
        ("https://example.org", b"[]"),
        ("https://example.org", b"{"),
        ("https://example.org", b'{"a":1,"a":2}'),
        ("https://example.org", b'{},"predicateType":"https://sigstore.dev/cosign/sign/v1"'),
    ],
)
def test_an_attestation_cannot_pass_for_a_signature(kind: str, predicate: bytes) -> None:
    with pytest.raises(FormatError):
        attestation_statement(DIGEST, kind, predicate)


def test_version_0_1_is_read() -> None:
    parsed = parse_statement(
        _type=media.STATEMENT_V01, subject=[{"name": "reg/repo", "digest": {"sha256": DIGEST.hex}}]
    )
    assert parsed.subjects[0].name == "reg/repo"


def test_a_digest_counts_under_its_own_algorithm_only() -> None:
    parsed = parse_statement(subject=[{"digest": {"sha512": DIGEST.hex}}])
    assert parsed.subjects_of(DIGEST) == ()


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"_type": "https://in-toto.io/Statement/v2"}, "_type"),
        ({"_type": None}, "_type"),
        ({"predicateType": None}, "predicateType"),
        ({"predicateType": ""}, "predicateType"),
        ({"predicateType": "a\nb"}, "predicateType"),
        ({"predicate": None}, "predicate"),
        ({"predicate": []}, "predicate"),
        ({"predicate": "x"}, "predicate"),
        ({"subject": None}, "subject"),
        ({"subject": []}, "subject"),
        ({"subject": [{"digest": {"sha256": "00"}}] * (statement.MAX_SUBJECTS + 1)}, "subject"),
        ({"subject": [{"digest": {f"a{n}": "00" for n in range(33)}}]}, "subject[0].digest"),
        ({"subject": [{"digest": {"sha256": "xyz"}}]}, "subject[0].digest"),
        ({"subject": [{"digest": {"sha256": 1}}]}, "subject[0].digest.sha256"),
        ({"subject": [{"annotations": {"a": 1}}]}, "subject[0].annotations.a"),
        ({"subject": [{"digests": {}}]}, "subject[0].digests"),
        ({"extra": 1}, "extra"),
    ],
    ids=str,
)
def test_a_statement_that_is_not_just_so_is_refused(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_statement(**changes)
    assert caught.value.path == path


def test_a_key_that_stands_twice_is_refused() -> None:
    raw = signature_statement(DIGEST)
    with pytest.raises(FormatError):
        Statement.from_bytes(raw[:-1] + b',"predicate":{}}')


# --- bundle --------------------------------------------------------------------------------


def test_what_is_written_is_read_and_deterministic() -> None:
    made = Envelope(payload=signature_statement(DIGEST), signature=b"sig")
    raw = public_key_bundle(made, "aGludA==")
    assert raw == public_key_bundle(made, "aGludA==")
    assert json.loads(raw) == bundle_document()
    assert Bundle.from_bytes(raw) == parse()
    assert b"keyid" not in raw


@pytest.mark.parametrize(
    "kind",
    [
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        "application/vnd.dev.sigstore.bundle+json;version=0.3",
        "application/vnd.dev.sigstore.bundle+json; version=0.3",
    ],
)
def test_version_0_3_in_its_spellings(kind: str) -> None:
    assert parse(mediaType=kind).envelope is not None


LOG_ENTRY = {
    "logIndex": "1",
    "logId": {"keyId": "eA=="},
    "kindVersion": {"kind": "dsse", "version": "0.0.1"},
    "integratedTime": "1",
    "inclusionPromise": {"signedEntryTimestamp": "eA=="},
    "inclusionProof": {"logIndex": "1", "rootHash": "eA==", "hashes": [], "checkpoint": {"envelope": "x"}},
    "canonicalizedBody": "eA==",
}


def test_log_entries_and_timestamps_are_kept_and_not_judged() -> None:
    found = parse(
        verificationMaterial={
            "publicKey": {"hint": "h"},
            "tlogEntries": [LOG_ENTRY],
            "timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": "dG9rZW4="}]},
        }
    )
    assert (found.log_entries, found.timestamps) == (1, (b"token",))


def test_certificates_are_recognised() -> None:
    leaf = {"rawBytes": "bGVhZg=="}
    assert parse(verificationMaterial={"certificate": leaf}).certificates == (b"leaf",)
    chain = parse(verificationMaterial={"x509CertificateChain": {"certificates": [leaf, leaf]}})
    assert (chain.hint, len(chain.certificates)) == (None, 2)


def test_a_message_signature_is_recognised() -> None:
    found = parse(
        dsseEnvelope=None,
        messageSignature={
            "messageDigest": {"algorithm": "SHA2_256", "digest": base64s.encode(bytes(32))},
            "signature": "c2ln",
        },
    )
    assert found.envelope is None
    assert found.message is not None
    assert found.message.signature == b"sig"


@pytest.mark.parametrize(
    "changes",
    [
        {"mediaType": None},
        {"mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1"},
        {"mediaType": "application/vnd.dev.sigstore.bundle+json;version=99.9"},
        {"mediaType": "application/vnd.dev.sigstore.bundle.v0.4+json"},
        {"mediaType": "application/json"},
        {"dsseEnvelope": None},
        {"messageSignature": {"messageDigest": {"algorithm": "SHA2_256", "digest": ""}, "signature": "c2ln"}},
        {"verificationMaterial": None},
        {"verificationMaterial": {}},
        {"verificationMaterial": {"publicKey": {"hint": "h"}, "certificate": {"rawBytes": "eA=="}}},
        {"verificationMaterial": {"publicKey": {"hint": "h", "rawBytes": ""}}},
        {"verificationMaterial": {"publicKey": {"hint": "h"}, "extra": 1}},
        {"verificationMaterial": {"x509CertificateChain": {"certificates": []}}},
        {"verificationMaterial": {"publicKey": {}, "tlogEntries": [LOG_ENTRY] * 33}},
        {"verificationMaterial": {"publicKey": {}, "tlogEntries": [LOG_ENTRY | {"extra": 1}]}},
        {"verificationMaterial": {"publicKey": {}, "tlogEntries": [LOG_ENTRY | {"logId": {"x": 1}}]}},
        {"extra": 1},
    ],
    ids=str,
)
def test_a_bundle_that_is_not_just_so_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        parse(**changes)


@pytest.mark.parametrize("signature", ["", base64s.encode(bytes(envelope.MAX_SIGNATURE + 1))])
def test_a_message_signature_has_a_sane_size(signature: str) -> None:
    digest = {"algorithm": "SHA2_256", "digest": ""}
    with pytest.raises(FormatError):
        parse(dsseEnvelope=None, messageSignature={"messageDigest": digest, "signature": signature})


def test_a_bundle_over_its_cap_is_not_even_decoded() -> None:
    with pytest.raises(FormatError, match="more than"):
        Bundle.from_bytes(b"[" * (bundle.MAX_BYTES + 1))


def test_the_largest_statement_fits_into_a_bundle() -> None:
    assert len(base64.b64encode(bytes(statement.MAX_BYTES))) + 4096 < bundle.MAX_BYTES
