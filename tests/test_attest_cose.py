"""Notary signatures as COSE, and the CBOR that they are made of."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.attest import cbor
from ocimodel.attest.cbor import Tagged
from ocimodel.attest.notary import (
    AGENT,
    AUTHENTIC_TIME,
    AUTHORITY,
    EXPIRY,
    SCHEME,
    TIME,
    TIMESTAMP,
    NotUnderstoodError,
)
from ocimodel.attest.notary_cose import decode
from ocimodel.errors import FormatError
from ocimodel.oci import media
from ocimodel.trust.policy import TrustPolicy
from tests.certificates import good
from tests.cose import SECONDS, dump, envelope
from tests.notary import NOW, candidate
from tests.signers import MODEL, OTHER
from tests.test_certificates import AUTHORITIES, CHAIN, PLAIN, judged


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa2048", "rsa3072", "rsa4096"])
def test_a_good_one(kind: str) -> None:
    certificates = good(kind)
    blob = envelope(certificates, expires=SECONDS + 86_400)
    found = decode(blob)
    assert (found.time, found.expires) == (NOW, NOW + timedelta(days=1))
    (subject,) = found.subjects_of(MODEL)
    assert subject.annotations == {"team": "risk"}
    assert list(found.certificates) == [item.der for item in certificates]
    trust = TrustPolicy.of_keys([certificates[0].signer.public])
    assert judged(trust, candidate(blob, kind=media.NOTARY_COSE)) == (0, "")
    assert judged(trust, candidate(blob, kind=media.NOTARY_COSE), now=NOW + timedelta(days=1)) == (15, "expired")


@pytest.mark.parametrize("trust", [PLAIN, AUTHORITIES], ids=["key", "authority"])
def test_what_becomes_of_others(trust: TrustPolicy) -> None:
    def verdict(**how: Any) -> tuple[int, str]:
        return judged(trust, candidate(envelope(CHAIN, **how), kind=media.NOTARY_COSE))

    assert verdict() == (0, "")
    assert verdict(signature=b"x" * 64) == (14, "bad-signature")
    assert verdict(protected={1: -35}) == (14, "bad-signature")
    assert verdict(payload=json.dumps({"targetArtifact": OTHER.to_dict()}).encode()) == (12, "other-subject")
    assert verdict(protected={"x": 1, 2: [SCHEME, "x"]}) == (12, "untrusted-signer")
    assert verdict(unprotected={33: [CHAIN[0].der, CHAIN[2].der]}) == (13, "certificate")
    # A JWS that calls itself COSE, and the other way round.
    assert judged(trust, candidate(envelope(CHAIN)))[0] == 12


def test_a_signing_authority() -> None:
    headers: dict[int | str, Any]
    headers = {SCHEME: AUTHORITY, TIME: None, AUTHENTIC_TIME: Tagged(1, SECONDS), 2: [SCHEME, AUTHENTIC_TIME]}
    assert decode(envelope(CHAIN, protected=headers)).scheme == AUTHORITY


def test_a_token_is_carried_along() -> None:
    assert decode(envelope(CHAIN, unprotected={TIMESTAMP: b"token"})).timestamps == (b"token",)


LATER = Tagged(1, SECONDS + 1)
MALFORMED: dict[str, dict[str, Any]] = {
    "no algorithm": {"protected": {1: None}},
    "EdDSA": {"protected": {1: -8}},
    "an algorithm by name": {"protected": {1: "ES256"}},
    "no content type": {"protected": {3: None}},
    "a content type by number": {"protected": {3: 50}},
    "no scheme": {"protected": {SCHEME: None}},
    "nothing critical": {"protected": {2: None}},
    "an empty list": {"protected": {2: []}},
    "the scheme is not critical": {"protected": {2: [EXPIRY], EXPIRY: LATER}},
    "expiry is not critical": {"protected": {EXPIRY: LATER}},
    "no time": {"protected": {TIME: None}},
    "a time without a tag": {"protected": {TIME: SECONDS}},
    "a time as text": {"protected": {TIME: Tagged(0, "2026-03-02T00:00:00Z")}},
    "a time beyond time": {"protected": {TIME: Tagged(1, 2**60)}},
    "a time before 1970": {"protected": {TIME: Tagged(1, -1)}},
    "expired when it was made": {"protected": {EXPIRY: Tagged(1, SECONDS), 2: [SCHEME, EXPIRY]}},
    "no chain": {"unprotected": {33: None}},
    "one certificate and no list": {"unprotected": {33: CHAIN[0].der}},
    "an empty chain": {"unprotected": {33: []}},
    "a chain of texts": {"unprotected": {33: ["x"]}},
    "too many certificates": {"unprotected": {33: [CHAIN[0].der] * 17}},
    "an algorithm that is not signed": {"unprotected": {1: -7}},
    "critical and not signed": {"unprotected": {2: []}},
    "an expiry that is not signed": {"unprotected": {EXPIRY: LATER}},
    "a header in both": {"protected": {"k": 1}, "unprotected": {"k": 1}},
    "a token that is none": {"unprotected": {TIMESTAMP: "x"}},
    "an agent that is no text": {"unprotected": {AGENT: 1}},
    "no signature": {"signature": b""},
    "a signature of 8 KiB": {"signature": b"x" * 8192},
    "no payload": {"payload": b""},
    "a payload that is no JSON": {"payload": b"x"},
    "another tag": {"tag": 98},
    "no tag": {"tag": None},
}


@pytest.mark.parametrize("how", MALFORMED.values(), ids=MALFORMED)
def test_envelopes_that_are_malformed(how: dict[str, Any]) -> None:
    with pytest.raises(FormatError) as refused:
        decode(envelope(CHAIN, **how))
    assert not isinstance(refused.value, NotUnderstoodError)


@pytest.mark.parametrize(
    "headers",
    [
        {"x": 1, 2: [SCHEME, "x"]},
        {2: [SCHEME, 1]},
        {4: b"mine", 2: [SCHEME, 4]},
        {3: "text/plain"},
        {SCHEME: "notary.x509.later"},
        {"io.cncf.notary.verificationPlugin": "x"},
    ],
)
def test_headers_that_are_not_understood(headers: dict[int | str, Any]) -> None:
    with pytest.raises(NotUnderstoodError):
        decode(envelope(CHAIN, protected=headers))


def test_what_is_inside_may_be_of_any_kind() -> None:
    values: list[Any] = [b"x", [b"x"] * 3, [b"x"] * 5, {}, 7]
    for value in values:
        with pytest.raises(FormatError):
            decode(dump(Tagged(18, value)))
    documents: list[list[Any]] = [
        [{}, {}, b"p", b"s"],
        [b"\x01", {}, b"p", b"s"],
        [b"\xa0", [], b"p", b"s"],
        [b"\xa0", {}, None, b"s"],
    ]
    for parts in documents:
        with pytest.raises(FormatError):
            decode(dump(Tagged(18, parts)))


BLOB = envelope(CHAIN)


def test_no_byte_can_be_changed() -> None:
    """But for the name of the software and an unrelated certificate's spelling, which nobody believes."""
    agent = BLOB.index(b"tests")
    for position in range(len(BLOB)):
        changed = bytearray(BLOB)
        changed[position] ^= 1
        found = candidate(bytes(changed), kind=media.NOTARY_COSE)
        if judged(AUTHORITIES, found)[0] == 0:
            key = BLOB.index(AGENT.encode())
            # How many bits of a BIT STRING are unused: where these are 0, the signature is the same.
            spelling = BLOB[position - 2] == 3 and BLOB[position : position + 2] == b"\x000"
            assert agent <= position < agent + 5 or key - 2 <= position < key + len(AGENT) or spelling


# --- CBOR -------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=40) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.integers(-(2**64), 2**64 - 1) | st.text(max_size=8), inner, max_size=4)
        | st.builds(Tagged, st.integers(0, 2**64 - 1), inner)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_there_and_back(value: Any) -> None:
    with contextlib.suppress(FormatError):  # nested too deeply
        assert cbor.loads(dump(value), limit=10_000) == value


@settings(max_examples=500)
@given(st.binary(max_size=60))
def test_every_document_has_one_spelling(data: bytes) -> None:
    try:
        value = cbor.loads(data, limit=60)
    except FormatError:
        return
    assert dump(value) == data


@pytest.mark.parametrize(
    "data",
    [
        "",
        "18",
        "1817",
        "190017",
        "1a00000100",
        "1b0000000000000001",
        "1c",
        "1f",
        "5f4101ff",
        "9f01ff",
        "bf0101ff",
        "4201",
        "62c328",
        "8201",
        "a101",
        "a201010102",
        "a14001",
        "a1f501",
        "f6f6",
        "f7",
        "f0",
        "f818",
        "f90000",
        "fb3ff0000000000000",
        "9bffffffffffffffff",
        "bbffffffffffffffff",
        "5bffffffffffffffff",
        "81" * 20 + "01",
        "c1",
    ],
)
def test_what_is_no_document(data: str) -> None:
    with pytest.raises(FormatError):
        cbor.loads(bytes.fromhex(data), limit=100)


def test_a_document_that_is_too_large() -> None:
    with pytest.raises(FormatError, match="more than 3 bytes"):
        cbor.loads(b"\x43abc", limit=3)
