"""Notary signatures as JWS: what is read, what is refused and how, and what is written."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ocimodel.attest import base64s
from ocimodel.attest.notary import (
    AGENT,
    AUTHENTIC_TIME,
    AUTHORITY,
    EXPIRY,
    SCHEME,
    TIME,
    TIMESTAMP,
    X509,
    NotUnderstoodError,
    payload_of,
)
from ocimodel.attest.notary_jws import Draft, decode
from ocimodel.errors import FormatError, UsageError
from ocimodel.jsonio import Node
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from tests.certificates import good
from tests.notary import NOW, altered, envelope
from tests.signers import MODEL, OTHER

CHAIN = good()
THUMBS = [item.der for item in CHAIN]


def test_a_good_one() -> None:
    ends = NOW + timedelta(days=1)
    found = decode(envelope(CHAIN, {"team": "risk"}, expires=ends))
    assert (found.algorithm, found.scheme, found.time, found.expires) == ("ES256", X509, NOW, ends)
    assert list(found.certificates) == THUMBS
    assert (found.format, found.approves, found.statement) == ("notation", True, None)
    (subject,) = found.subjects_of(MODEL)
    assert subject.annotations == {"team": "risk"}
    assert found.subjects_of(OTHER) == ()


@pytest.mark.parametrize("change", ["media_type", "size"])
def test_it_is_about_media_type_and_size_as_well(change: str) -> None:
    values = {"media_type": MODEL.media_type, "digest": MODEL.digest, "size": MODEL.size}
    values[change] = media.DOCKER_MANIFEST if change == "media_type" else MODEL.size + 1
    assert decode(envelope(CHAIN)).subjects_of(Descriptor(**values)) == ()  # type: ignore[arg-type]


def test_the_same_arguments_give_the_same_bytes() -> None:
    def draft() -> Draft:
        return Draft.of(MODEL, {"b": "2", "a": "1"}, algorithm="ES256", time=NOW, expires=None)

    assert draft().signed(b"s", THUMBS, agent="x") == draft().signed(b"s", THUMBS, agent="x")


def protected(**headers: Any) -> bytes:
    """Signed anew, with headers by their last parts."""
    names = {"scheme": SCHEME, "time": TIME, "expiry": EXPIRY, "authentic": AUTHENTIC_TIME}
    return altered(CHAIN, protected={names.get(name, name): value for name, value in headers.items()})


STAMP = "2026-03-02T00:00:00Z"
LATER = "2026-04-02T00:00:00Z"


@pytest.mark.parametrize(
    "text",
    [STAMP, "2026-03-02T08:00:00+08:00", "2026-03-01T16:00:00-08:00", "2026-03-02T00:00:00.999999999Z"],
)
def test_times_have_any_offset(text: str) -> None:
    assert decode(protected(time=text)).time == datetime(2026, 3, 2, tzinfo=UTC)


def test_a_signing_authority_states_the_time() -> None:
    critical = [SCHEME, AUTHENTIC_TIME, EXPIRY]
    found = decode(protected(scheme=AUTHORITY, time=None, authentic=STAMP, expiry=LATER, crit=critical))
    assert (found.scheme, found.time) == (AUTHORITY, datetime(2026, 3, 2, tzinfo=UTC))


MALFORMED = {
    "no algorithm": {"alg": None},
    "none": {"alg": "none"},
    "a symmetric algorithm": {"alg": "HS256"},
    "an algorithm that others have": {"alg": "RS256"},
    "EdDSA": {"alg": "EdDSA"},
    "no content type": {"cty": None},
    "no scheme": {"scheme": None},
    "no time": {"time": None},
    "a number for a time": {"time": 1},
    "a time without a zone": {"time": "2026-03-02T00:00:00"},
    "a time that is none": {"time": "2026-13-02T00:00:00Z"},
    "a time before time": {"time": "0001-01-01T00:00:00+08:00"},
    "nothing critical": {"crit": None},
    "an empty list": {"crit": []},
    "the scheme is not critical": {"crit": [EXPIRY], "expiry": LATER},
    "expiry is not critical": {"expiry": LATER},
    "expiry is critical and missing": {"crit": [SCHEME, EXPIRY]},
    "critical twice": {"crit": [SCHEME, SCHEME]},
    "the time is critical": {"crit": [SCHEME, TIME]},
    "expired before it was made": {"expiry": "2026-03-01T23:59:59Z", "time": STAMP, "crit": [SCHEME, EXPIRY]},
    "expired when it was made": {"expiry": STAMP, "time": STAMP, "crit": [SCHEME, EXPIRY]},
    "two times": {"authentic": STAMP},
    "an authority without its time": {"scheme": AUTHORITY, "crit": [SCHEME, AUTHENTIC_TIME], "time": None},
    "an authority with the other time": {
        "scheme": AUTHORITY,
        "authentic": STAMP,
        "crit": [SCHEME, AUTHENTIC_TIME],
    },
    "an authority whose time is not critical": {
        "scheme": AUTHORITY,
        "authentic": STAMP,
        "time": None,
        "crit": [SCHEME],
    },
}  # fmt: skip


@pytest.mark.parametrize("headers", MALFORMED.values(), ids=MALFORMED)
def test_headers_that_are_malformed(headers: dict[str, Any]) -> None:
    with pytest.raises(FormatError) as refused:
        decode(protected(**headers))
    assert not isinstance(refused.value, NotUnderstoodError)


NOT_UNDERSTOOD = {
    "a critical header": {"com.example.thing": 1, "crit": [SCHEME, "com.example.thing"]},
    "a critical header that is missing": {"crit": [SCHEME, "com.example.thing"]},
    "a registered name is critical": {"crit": [SCHEME, "alg"]},
    "b64": {"b64": False, "crit": [SCHEME, "b64"]},
    "a plugin": {
        "io.cncf.notary.verificationPlugin": "com.example.plugin",
        "crit": [SCHEME, "io.cncf.notary.verificationPlugin"],
    },
    "a plugin that is not critical": {"io.cncf.notary.verificationPlugin": "com.example.plugin"},
    "another scheme": {"scheme": "notary.x509.later"},
    "another payload": {"cty": "application/vnd.cncf.notary.payload.v2+json"},
}


@pytest.mark.parametrize("headers", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD)
def test_headers_that_are_not_understood(headers: dict[str, Any]) -> None:
    with pytest.raises(NotUnderstoodError):
        decode(protected(**headers))


def test_headers_that_nobody_has_to_understand() -> None:
    assert decode(protected(kid="mine", **{"com.example.thing": {"a": [1]}})).algorithm == "ES256"


DOCUMENT = json.loads(envelope(CHAIN))
HEADER = DOCUMENT["header"]


def raw(**members: Any) -> bytes:
    """Members replaced as they are, or left out where they are None."""
    changed = DOCUMENT | members
    return json.dumps({name: value for name, value in changed.items() if value is not None}).encode()


BROKEN = {
    "not JSON": b"{",
    "an array": b"[]",
    "a key twice": envelope(CHAIN)[:-1] + b',"payload":"e30"}',
    "one more member": raw(signatures=[]),
    "compact": json.dumps(f"{DOCUMENT['protected']}.{DOCUMENT['payload']}.{DOCUMENT['signature']}").encode(),
    "no payload": raw(payload=None),
    "a padded payload": raw(payload=DOCUMENT["payload"] + "="),
    "no protected": raw(protected=None),
    "protected in plain text": raw(protected='{"alg":"ES256"}'),
    "protected that is no object": raw(protected=base64s.encode_url(b"[]")),
    "a protected header twice": raw(protected=base64s.encode_url(b'{"alg":"ES256","alg":"ES256"}')),
    "no signature": raw(signature=None),
    "an empty signature": raw(signature=""),
    "a padded signature": raw(signature=DOCUMENT["signature"] + "=="),
    "another alphabet": raw(signature="+/+/"),
    "bits to spare": raw(signature="eB"),
    "a signature of 8 KiB": raw(signature=base64s.encode_url(b"x" * 8192)),
    "no header": raw(header=None),
    "no certificates": raw(header={}),
    "an empty chain": raw(header={"x5c": []}),
    "an empty certificate": raw(header={"x5c": [""]}),
    "base64url in the chain": raw(header={"x5c": ["-_-_"]}),
    "too many certificates": raw(header={"x5c": HEADER["x5c"] * 6}),
    "a certificate of 100 KiB": raw(header={"x5c": [base64s.encode(b"x" * 102_400)]}),
    "an algorithm that is not signed": raw(header=HEADER | {"alg": "ES256"}),
    "critical and not signed": raw(header=HEADER | {"crit": []}),
    "an expiry that is not signed": raw(header=HEADER | {EXPIRY: LATER}),
    "a header in both": altered(CHAIN, protected={"kid": "a"}, header=HEADER | {"kid": "a"}),
    "a token that is none": raw(header=HEADER | {TIMESTAMP: "?"}),
    "an agent that is no text": raw(header=HEADER | {AGENT: 1}),
    "a payload that is no JSON": altered(CHAIN, payload=b"x"),
    "a payload that is empty": altered(CHAIN, payload=b""),
    "nothing to approve": altered(CHAIN, payload=b"{}"),
    "two things to approve": altered(CHAIN, payload=b'{"targetArtifact":{},"targetArtifact":{}}'),
    "more than an artifact": altered(CHAIN, payload=payload_of(MODEL, {})[:-1] + b',"subject":[]}'),
    "a digest that is none": altered(
        CHAIN, payload=b'{"targetArtifact":{"mediaType":"a/b","digest":"sha256:00","size":1}}'
    ),
    "claims that are no texts": altered(
        CHAIN,
        payload=json.dumps({"targetArtifact": {**MODEL.to_dict(), "annotations": {"a": 1}}}).encode(),
    ),
}


@pytest.mark.parametrize("envelope_", BROKEN.values(), ids=BROKEN)
def test_envelopes_that_are_broken(envelope_: bytes) -> None:
    with pytest.raises(FormatError):
        decode(envelope_)


def test_an_unknown_header_that_is_not_signed_says_nothing() -> None:
    """notation's own vectors spell the agent's name in another way."""
    assert decode(raw(header=HEADER | {"io.cncf.notary.SigningAgent": "x"})).certificates


def test_a_token_is_carried_along() -> None:
    assert decode(envelope(CHAIN, token=b"token")).timestamps == (b"token",)


def test_claims_that_the_notary_project_keeps_for_itself() -> None:
    with pytest.raises(UsageError, match="reserved"):
        payload_of(MODEL, {"io.cncf.notary.x": "1"})
    with pytest.raises(UsageError, match="Unicode"):
        payload_of(MODEL, {"a": "\ud800"})


@given(st.binary(max_size=64))
def test_base64url_has_one_spelling(data: bytes) -> None:
    text = base64s.encode_url(data)
    assert base64s.decode_url(Node(text)) == data
    for other in (text + "=", text + "\n", text + "A", "=" + text):
        with contextlib.suppress(FormatError):
            assert base64s.encode_url(base64s.decode_url(Node(other))) == other


@given(st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
def test_anything_is_an_envelope_or_malformed(data: bytes) -> None:
    with pytest.raises(FormatError):
        decode(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([*DOCUMENT, "x5c", TIMESTAMP]), JSON)
@example("payload", "\x80")
def test_any_member_may_be_anything(name: str, value: Any) -> None:
    """It is read, or it is a `FormatError`."""
    changed = DOCUMENT | {name: value} if name in DOCUMENT else DOCUMENT | {"header": HEADER | {name: value}}
    with contextlib.suppress(FormatError):
        decode(json.dumps(changed).encode())


@given(st.sampled_from(["alg", "cty", "crit", SCHEME, TIME, EXPIRY, AUTHENTIC_TIME]), JSON)
def test_any_header_may_be_anything(name: str, value: Any) -> None:
    headers = json.loads(base64s.decode_url(Node(DOCUMENT["protected"]))) | {name: value}
    with contextlib.suppress(FormatError):
        decode(raw(protected=base64s.encode_url(json.dumps(headers).encode())))
