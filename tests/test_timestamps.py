"""Timestamps: what tokens prove, and what they make of certificates that have expired."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.attest import base64s
from ocimodel.attest.notary import TIMESTAMP
from ocimodel.errors import ConfigurationError, FormatError
from ocimodel.keys import timestamps
from ocimodel.oci import media
from ocimodel.trust.evidence import Candidate
from ocimodel.trust.policy import TrustPolicy
from tests import cose
from tests.certificates import SINCE, TIME_STAMPING, UNTIL, Made, ca, chain, make
from tests.notary import NOW, altered, candidate, envelope
from tests.test_certificates import CHAIN, judged, line, policy
from tests.tsa import BASELINE, authority, stamping, token

TSA = authority(since=SINCE - timedelta(days=99), until=UNTIL + timedelta(days=99))
"""Whose own certificate lives longer than the signer's, and whose authorities do not."""
ROOT = TSA[-1]
MESSAGE = b"a signature"
SECOND = timedelta(seconds=1)


# --- tokens -----------------------------------------------------------------------------------------------


def check(data: bytes, message: bytes = MESSAGE, root: Made = ROOT) -> timestamps.Stamp:
    return timestamps.check(data, message, [root.der])


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_a_good_one(digest: str, kind: str) -> None:
    tsa = authority(kind=kind)
    stamp = check(token(MESSAGE, tsa, NOW, digest=digest), root=tsa[-1])
    assert (stamp.earliest, stamp.latest) == (NOW, NOW)
    assert list(stamp.chain) == [item.der for item in tsa]


@pytest.mark.parametrize("carried", [TSA, TSA[::-1], [*TSA[:2], make(ca("unrelated", number=30))]])
def test_certificates_come_in_any_order(carried: list[Made]) -> None:
    assert list(check(token(MESSAGE, TSA, NOW, carried=carried)).chain) == [item.der for item in TSA]


def test_certificates_that_are_not_sorted() -> None:
    """GlobalSign's authority does not sort them as DER demands, and they are no part of what is signed."""
    sorted_ = token(MESSAGE, TSA, NOW)
    one, two = sorted((item.der for item in TSA[:2]), key=sorted_.index)
    unsorted = sorted_.replace(one + two, two + one)
    assert unsorted != sorted_
    assert check(unsorted) == check(sorted_)


def test_a_response_is_taken_as_well() -> None:
    """As Sigstore's bundles carry it."""
    granted = b"\x30\x03\x02\x01\x00" + token(MESSAGE, TSA, NOW)
    response = b"\x30\x82" + len(granted).to_bytes(2, "big") + granted
    assert check(response) == check(token(MESSAGE, TSA, NOW))


@pytest.mark.parametrize(
    ("accuracy", "policy_", "margin"),
    [
        (None, "1.2.3", timedelta(0)),
        (None, BASELINE, SECOND),
        (timedelta(milliseconds=1500, microseconds=7), "1.2.3", timedelta(milliseconds=1500, microseconds=7)),
        (timedelta(seconds=60), BASELINE, timedelta(seconds=60)),
    ],
)
def test_how_exact_a_time_is(accuracy: timedelta | None, policy_: str, margin: timedelta) -> None:
    stamp = check(token(MESSAGE, TSA, NOW, accuracy=accuracy, policy=policy_))
    assert (stamp.earliest, stamp.latest) == (NOW - margin, NOW + margin)


OTHER = authority(first=40)
WRONG = {
    "of another message": token(b"another", TSA, NOW),
    "by a root that nobody trusts": token(MESSAGE, OTHER, NOW),
    "signed by another key": token(MESSAGE, TSA, NOW, signer=OTHER[0]),
    "without certificates": token(MESSAGE, TSA, NOW, carried=[]),
    "without the intermediate": token(MESSAGE, TSA, NOW, carried=TSA[:1]),
    "by who must not stamp": token(MESSAGE, CHAIN, NOW),
    "before the authority was there": token(MESSAGE, TSA, SINCE - SECOND),
    "after the authority had gone": token(MESSAGE, TSA, UNTIL + SECOND),
    "by an old hash": token(MESSAGE, TSA, NOW, digest="sha1"),
    "exact to a day": token(MESSAGE, TSA, NOW, accuracy=timedelta(days=1)),
    "nothing": b"",
    "a sequence": b"\x30\x00",
    "too large": b"\x30" * (256 * 1024 + 1),
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_one_that_proves_nothing(data: bytes) -> None:
    with pytest.raises(FormatError):
        check(data)


GOOD = token(MESSAGE, TSA, NOW)


@settings(max_examples=400)
@given(st.integers(0, len(GOOD) * 8 - 1))
def test_no_bit_makes_it_say_something_else(bit: int) -> None:
    changed = bytearray(GOOD)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        stamp = check(bytes(changed))
    except FormatError:
        return
    assert stamp == check(GOOD)


@given(st.binary(max_size=200))
def test_anything_may_stand_for_a_token(data: bytes) -> None:
    with pytest.raises(FormatError):
        check(data)


# --- signatures -------------------------------------------------------------------------------------------


def stamped(time: datetime, tsa: tuple[Made, ...] = TSA, message: bytes | None = None, **how: Any) -> Candidate:
    """A signature by CHAIN, with a token over its signature."""
    unstamped = envelope(CHAIN)
    signed = candidate(unstamped).signed
    assert signed is not None
    data = token(signed.signature if message is None else message, tsa, time, **how)
    return candidate(with_token(unstamped, data))


def with_token(unstamped: bytes, data: bytes) -> bytes:
    document = json.loads(unstamped)
    document["header"][TIMESTAMP] = base64s.encode(data)
    return json.dumps(document).encode()


def trust(timestamp: str | None = None, root: Made = ROOT, **more: Any) -> TrustPolicy:
    stamps: dict[str, Any]
    stamps = {"timestampRoots": root.pem.decode(), **({"timestamp": timestamp} if timestamp else {})}
    return policy({"acme": line(**stamps, **more)})


ALWAYS, LATE = trust(), trust("afterExpiry")
AFTER = UNTIL + timedelta(days=30)
BOTH = pytest.mark.parametrize("policy_", [ALWAYS, LATE], ids=["always", "afterExpiry"])


@BOTH
def test_certificates_may_expire_after_a_timestamp(policy_: TrustPolicy) -> None:
    assert judged(policy_, stamped(NOW)) == (0, "")
    assert judged(policy_, stamped(NOW), now=AFTER) == (0, "")
    assert judged(policy(), stamped(NOW), now=AFTER) == (15, "certificate-expired")


def test_in_cose_as_well() -> None:
    signed = candidate(cose.envelope(CHAIN), kind=media.NOTARY_COSE).signed
    assert signed is not None
    unprotected: dict[int | str, Any] = {TIMESTAMP: token(signed.signature, TSA, NOW)}
    blob = cose.envelope(CHAIN, signature=signed.signature, unprotected=unprotected)
    assert judged(ALWAYS, candidate(blob, kind=media.NOTARY_COSE), now=AFTER) == (0, "")


@BOTH
@pytest.mark.parametrize(
    ("how", "early"),
    [
        ({"message": b"another signature"}, 13),
        ({"tsa": OTHER}, 13),
        ({"signer": OTHER[0]}, 13),
    ],
)
def test_a_timestamp_that_proves_nothing(policy_: TrustPolicy, how: dict[str, Any], early: int) -> None:
    assert judged(policy_, stamped(NOW, **how))[0] == (early if policy_ is ALWAYS else 0)
    assert judged(policy_, stamped(NOW, **how), now=AFTER) == (15, "certificate-expired")


@BOTH
def test_no_timestamp(policy_: TrustPolicy) -> None:
    found = candidate(envelope(CHAIN))
    assert judged(policy_, found) == ((13, "timestamp") if policy_ is ALWAYS else (0, ""))
    assert judged(policy_, found, now=AFTER) == (15, "certificate-expired")
    assert judged(policy_, candidate(with_token(envelope(CHAIN), b"x")))[0] == (13 if policy_ is ALWAYS else 0)


@BOTH
def test_a_timestamp_outside_of_validity(policy_: TrustPolicy) -> None:
    """By an authority that lived before and after the signer."""
    long = {"since": SINCE - timedelta(days=99), "until": UNTIL + timedelta(days=99)}
    tsa = chain(ca("time", number=21, **long), stamping(**long))
    accept = trust("always" if policy_ is ALWAYS else "afterExpiry", tsa[-1])
    for time in (SINCE - SECOND, UNTIL + SECOND):
        assert judged(accept, stamped(time, tsa), now=AFTER) == (15, "certificate-expired")
    for time in (SINCE, UNTIL):
        assert judged(accept, stamped(time, tsa), now=AFTER) == (0, "")
        # The token leaves a second open in which the certificate was not valid.
        assert judged(accept, stamped(time, tsa, accuracy=SECOND), now=AFTER) == (15, "certificate-expired")


def test_a_timestamp_of_the_future() -> None:
    assert judged(ALWAYS, stamped(NOW + SECOND)) == (13, "timestamp")
    assert judged(LATE, stamped(NOW + SECOND)) == (0, "")


def test_who_must_not_stamp() -> None:
    """OpenSSL is content with these, the Notary Project is not."""
    for wrong in (
        stamping(purposes=(TIME_STAMPING, "1.3.6.1.5.5.7.3.3")),
        stamping(usage=frozenset({"digital_signature", "key_encipherment"})),
        stamping(usage=None),
    ):
        tsa = chain(ca("time", number=21), wrong)
        assert judged(trust(root=tsa[-1]), stamped(NOW, tsa)) == (13, "timestamp")


def test_a_trusted_time_counts_for_the_line() -> None:
    retired = trust(status="retired", retiredAt="2026-03-02T00:00:00Z")
    assert judged(retired, stamped(NOW)) == (0, "")
    assert judged(retired, stamped(NOW + SECOND), now=NOW + timedelta(days=1)) == (15, "retired-key")
    stolen = trust(status="revoked", compromisedSince="2026-03-02T00:00:01Z")
    assert judged(stolen, stamped(NOW)) == (0, "")
    assert judged(stolen, stamped(NOW + SECOND), now=NOW + timedelta(days=1)) == (16, "revoked-key")


@BOTH
def test_a_signature_ends_whatever_its_timestamp_says(policy_: TrustPolicy) -> None:
    unstamped = envelope(CHAIN, expires=NOW + timedelta(days=1))
    signed = candidate(unstamped).signed
    assert signed is not None
    found = candidate(with_token(unstamped, token(signed.signature, TSA, NOW)))
    assert judged(policy_, found) == (0, "")
    assert judged(policy_, found, now=NOW + timedelta(days=1)) == (15, "expired")


@pytest.mark.parametrize(
    "value",
    [
        line(timestamp="always"),
        line(timestampRoots=ROOT.pem.decode(), timestamp="never"),
        line(timestampRoots="x"),
        line(timestampRoots=ROOT.pem.decode(), timestampRootsFile="x"),
        line(timestampRoots=ROOT.pem.decode(), kind="signingAuthority"),
        line(timestampRoots=TSA[0].pem.decode()),
    ],
)
def test_a_line_that_is_malformed(value: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"certificates\.acme"):
        policy({"acme": value})


def test_the_signature_is_still_checked() -> None:
    forged = altered(CHAIN, signature=base64s.encode_url(b"x" * 64))
    assert judged(ALWAYS, candidate(with_token(forged, token(b"x" * 64, TSA, NOW)))) == (14, "bad-signature")
