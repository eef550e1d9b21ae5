"""Revoked certificates: CRLs and OCSP responses that count and that do not, and what a policy makes of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.attest.notary import NotarySignature
from ocimodel.errors import ConfigurationError
from ocimodel.keys import crls, ocsp
from ocimodel.keys.revocation import Answer, Times
from ocimodel.keys.x509 import parse
from ocimodel.trust.document import parse as parse_policy
from ocimodel.trust.evidence import Candidate
from ocimodel.trust.policy import TrustPolicy
from tests.certificates import SINCE, UNTIL, Made, Wish, ca, chain, make
from tests.notary import NOW, candidate, envelope
from tests.policies import scope
from tests.revoking import GOOD, HOUR, REVOKED, UNKNOWN, crl, response
from tests.test_certificates import judged
from tests.tsa import stamping, token

OCSP_SIGNING = "1.3.6.1.5.5.7.3.9"
PLACE = "http://crl.example/a.crl"


def points(*urls: str) -> tuple[x509.ExtensionType, bool]:
    names = [x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None) for url in urls]
    return x509.CRLDistributionPoints(names), False


def responder(url: str) -> tuple[x509.ExtensionType, bool]:
    method = x509.oid.AuthorityInformationAccessOID.OCSP
    description = x509.AccessDescription(method, x509.UniformResourceIdentifier(url))
    return x509.AuthorityInformationAccess([description]), False


LEAF, BETWEEN, ROOT = CHAIN = chain(
    ca("root", number=1),
    ca("intermediate", number=2, more=(points("http://crl.example/root.crl"),)),
    Wish(more=(points(PLACE), responder("http://ocsp.example/"))),
)
TIMES = Times(now=NOW)


def listed(*lists: bytes, about: Made = LEAF, by: Made = BETWEEN, times: Times = TIMES) -> Answer:
    return crls.by_lists(parse(about.der), parse(by.der), lists, times)


def told(raw: bytes, *lists: bytes, about: Made = LEAF, by: Made = BETWEEN, times: Times = TIMES) -> Answer:
    return ocsp.by_response(parse(about.der), parse(by.der), raw, lists, times)


# --- CRLs -------------------------------------------------------------------------------------------------


def test_a_crl_that_counts() -> None:
    assert listed(crl(BETWEEN)).outcome == "good"
    assert listed(crl(BETWEEN, LEAF)).outcome == "revoked"
    assert listed(crl(ROOT, BETWEEN), about=BETWEEN, by=ROOT).outcome == "revoked"
    assert listed().outcome == "unknown"


@pytest.mark.parametrize(
    "reason",
    [None, x509.ReasonFlags.key_compromise, x509.ReasonFlags.certificate_hold, x509.ReasonFlags.superseded],
)
def test_whatever_the_reason(reason: x509.ReasonFlags | None) -> None:
    assert listed(crl(BETWEEN, LEAF, reason=reason)).outcome == "revoked"


def test_a_revocation_beats_every_good() -> None:
    for lists in ((crl(BETWEEN), crl(BETWEEN, LEAF)), (crl(BETWEEN, LEAF), crl(BETWEEN))):
        assert listed(*lists).outcome == "revoked"


STRANGER = make(ca("intermediate", number=30))
SCOPES: dict[str, dict[str, Any]] = {
    "for authorities": {"only_contains_ca_certs": True},
    "indirect": {"indirect_crl": True},
    "for attributes": {"only_contains_attribute_certs": True},
    "for some reasons": {"only_some_reasons": frozenset({x509.ReasonFlags.key_compromise})},
    "for others": {"full_name": [x509.UniformResourceIdentifier("http://crl.example/b.crl")]},
}


def point(**more: Any) -> tuple[x509.ExtensionType, bool]:
    values: dict[str, Any]
    values = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**(values | more)), True


NOTHING = {
    "of another issuer": crl(ROOT),
    "signed by another": crl(BETWEEN, signer=STRANGER),
    "by one with the same name": crl(STRANGER),
    "too old": crl(BETWEEN, since=NOW - 3 * HOUR, until=NOW - HOUR),
    "of the future": crl(BETWEEN, since=NOW + HOUR, until=NOW + 2 * HOUR),
    "an extension that nobody knows": crl(
        BETWEEN, extensions=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\x05\x00"), True)]
    ),
    "a delta alone": crl(BETWEEN, extensions=[(x509.DeltaCRLIndicator(1), True)]),
    "with a delta that is missing": crl(
        BETWEEN,
        extensions=[(x509.FreshestCRL(points("http://crl.example/d.crl")[0]._distribution_points), False)],  # type: ignore[attr-defined]
    ),
    "nothing": b"",
    "text": b"not a CRL",
    **{name: crl(BETWEEN, extensions=[point(**values)]) for name, values in SCOPES.items()},
}


@pytest.mark.parametrize("raw", NOTHING.values(), ids=NOTHING)
def test_a_crl_that_says_nothing(raw: bytes) -> None:
    assert listed(raw).outcome == "unknown"


def test_a_crl_for_a_part_that_the_certificate_belongs_to() -> None:
    mine = point(full_name=[x509.UniformResourceIdentifier(PLACE)], only_contains_user_certs=True)
    assert listed(crl(BETWEEN, extensions=[mine])).outcome == "good"
    assert listed(crl(BETWEEN, LEAF, extensions=[mine])).outcome == "revoked"
    assert (
        listed(crl(ROOT, extensions=[point(only_contains_user_certs=True)]), about=BETWEEN, by=ROOT).outcome
        == "unknown"
    )


def test_an_issuer_that_must_not_sign_crls() -> None:
    leaf, between, _ = chain(ca("root", number=1), ca("x", number=2, usage=frozenset({"key_cert_sign"})), Wish())
    assert listed(crl(between), about=leaf, by=between).outcome == "unknown"


def test_an_entry_with_an_extension_that_nobody_knows() -> None:
    strange = [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\x05\x00"), True)]
    assert listed(crl(BETWEEN, LEAF, entry_extensions=strange)).outcome == "unknown"


def test_what_was_signed_before_the_key_was_stolen() -> None:
    """Only a trusted time, and only an invalidityDate, which is the authority's word, lets a signature stand."""
    raw = crl(BETWEEN, LEAF, invalid=NOW - HOUR)
    assert listed(raw).outcome == "revoked"
    assert listed(raw, times=replace(TIMES, signed=NOW - 2 * HOUR)).outcome == "good"
    assert listed(raw, times=replace(TIMES, signed=NOW - HOUR)).outcome == "revoked"
    assert listed(crl(BETWEEN, LEAF), times=replace(TIMES, signed=NOW - 2 * HOUR)).outcome == "revoked"


def with_delta(*revoked: Made, number: int | None = 7) -> bytes:
    place = x509.FreshestCRL(
        [x509.DistributionPoint([x509.UniformResourceIdentifier("http://crl.example/d.crl")], None, None, None)]
    )
    return crl(BETWEEN, *revoked, number=number, extensions=[(place, False)])


def delta(*revoked: Made, least: int = 7, number: int | None = 8, **more: Any) -> bytes:
    extensions = [(x509.DeltaCRLIndicator(least), True), *more.pop("extensions", [])]
    return crl(BETWEEN, *revoked, number=number, extensions=extensions, **more)


def test_a_delta_completes_its_crl() -> None:
    assert crls.deltas(with_delta()) == ("http://crl.example/d.crl",)
    assert listed(with_delta(), delta()).outcome == "good"
    assert listed(with_delta(), delta(LEAF)).outcome == "revoked"
    assert listed(with_delta(LEAF), delta()).outcome == "revoked"
    assert listed(with_delta(LEAF), delta(LEAF, reason=x509.ReasonFlags.remove_from_crl)).outcome == "good"


@pytest.mark.parametrize(
    "raw",
    [
        delta(least=8, number=9),
        delta(least=5, number=6),
        delta(number=None),
        delta(signer=STRANGER),
        delta(since=NOW - 3 * HOUR, until=NOW - HOUR),
        delta(extensions=[point(only_contains_user_certs=True)]),
    ],
)
def test_a_delta_that_does_not(raw: bytes) -> None:
    assert listed(with_delta(), raw).outcome == "unknown"
    assert listed(with_delta(number=None), raw).outcome == "unknown"


# --- OCSP -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("digest", [hashes.SHA1(), hashes.SHA256(), hashes.SHA384()])  # noqa: S303
@pytest.mark.parametrize(("status", "outcome"), [(GOOD, "good"), (REVOKED, "revoked"), (UNKNOWN, "unknown")])
def test_a_response_by_the_issuer(digest: hashes.HashAlgorithm, status: Any, outcome: str) -> None:
    assert told(response(BETWEEN, LEAF, status, digest=digest)).outcome == outcome


def delegate(**wishes: Any) -> Made:
    return make(Wish(number=40, purposes=(OCSP_SIGNING,), **wishes), BETWEEN)


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa2048"])
def test_a_response_by_a_delegate(kind: str) -> None:
    by = delegate(kind=kind)
    assert told(response(BETWEEN, LEAF, by=by, carried=[by])).outcome == "good"
    assert told(response(BETWEEN, LEAF, REVOKED, by=by, carried=[ROOT, by])).outcome == "revoked"


def test_a_delegate_who_was_revoked() -> None:
    by, forever = delegate(), delegate(more=((x509.OCSPNoCheck(), False),))
    for who, outcome in ((by, "unknown"), (forever, "good")):
        raw = response(BETWEEN, LEAF, by=who, carried=[who])
        assert told(raw, crl(BETWEEN)).outcome == "good"
        assert told(raw, crl(BETWEEN, who)).outcome == outcome


def by_(who: Made, **more: Any) -> bytes:
    return response(BETWEEN, LEAF, by=who, carried=[who], **more)


UNSAID = {
    "about another certificate": response(BETWEEN, make(Wish(number=9), BETWEEN)),
    "of another issuer": response(BETWEEN, LEAF, of=ROOT),
    "signed by another": by_(STRANGER),
    "too old": response(BETWEEN, LEAF, since=NOW - 3 * HOUR, until=NOW - HOUR),
    "of the future": response(BETWEEN, LEAF, since=NOW + HOUR, until=NOW + 2 * HOUR),
    "without an end": response(BETWEEN, LEAF, until=None),
    "by one who may not": by_(make(Wish(number=41), BETWEEN)),
    "by somebody else's delegate": by_(make(Wish(number=42, purposes=(OCSP_SIGNING,)), ROOT)),
    "by a delegate of before": by_(delegate(since=SINCE, until=NOW - HOUR)),
    "by a delegate to come": by_(delegate(since=NOW + HOUR)),
    "by a delegate with a small key": by_(delegate(kind="rsa1024")),
    "by a delegate who does not sign": by_(delegate(usage=frozenset({"key_agreement"}))),
    "by a delegate who is not in it": response(BETWEEN, LEAF, by=delegate()),
    "by the leaf itself": by_(LEAF),
    "try later": bytes.fromhex("30030a0103"),
    "nothing": b"",
    "text": b"not a response",
    "too large": b"0" * (64 * 1024 + 1),
}


@pytest.mark.parametrize("raw", UNSAID.values(), ids=UNSAID)
def test_a_response_that_says_nothing(raw: bytes) -> None:
    assert told(raw).outcome == "unknown"


def test_what_is_asked() -> None:
    asked = x509.ocsp.load_der_ocsp_request(ocsp.request(parse(LEAF.der), parse(BETWEEN.der)))
    assert asked.serial_number == LEAF.certificate.serial_number


# --- whatever comes -----------------------------------------------------------------------------------------

SAID = [
    crl(BETWEEN, LEAF, invalid=NOW, reason=x509.ReasonFlags.key_compromise),
    with_delta(),
    response(BETWEEN, LEAF, REVOKED),
]


@settings(max_examples=500)
@given(st.sampled_from(SAID), st.data())
def test_no_bit_makes_a_revoked_one_good(raw: bytes, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    document = bytes(changed)
    assert listed(document).outcome != "good"
    assert told(document).outcome != "good"
    assert crls.is_one(document) or not crls.deltas(document)


@given(st.binary(max_size=300))
def test_anything_may_stand_for_a_document(raw: bytes) -> None:
    assert listed(raw).outcome == told(raw).outcome == "unknown"
    assert not crls.is_one(raw)


# --- what a policy makes of it ----------------------------------------------------------------------------


def policy(mode: str | None, *files: bytes, line: dict[str, Any] | None = None) -> TrustPolicy:
    names = {f"{number}.crl": data for number, data in enumerate(files)}
    revocation = {"mode": mode, **({"crlFiles": list(names)} if names else {})}
    entry = {
        "roots": ROOT.pem.decode(),
        "subjects": ["*"],
        **({"revocation": revocation} if mode else {}),
        **(line or {}),
    }
    document = {
        "version": 1,
        "certificates": {"acme": entry},
        "scopes": [scope("**", signatures={"from": ["acme"]}, freshness={"clockLeeway": "0s"})],
    }
    return parse_policy(json.dumps(document).encode(), names.__getitem__)


def informed(
    *, responses: tuple[bytes, ...] = (), lists: tuple[bytes, ...] = (), of: tuple[Made, ...] = CHAIN
) -> Candidate:
    found = candidate(envelope(of))
    assert isinstance(found.signed, NotarySignature)
    return replace(found, signed=replace(found.signed, responses=responses, crls=lists))


ABOVE = crl(ROOT)
MODES = pytest.mark.parametrize("mode", ["offline", "online"])


def test_nobody_is_asked_where_the_policy_does_not_say_so() -> None:
    for mode in (None, "off"):
        assert judged(policy(mode), informed(lists=(crl(BETWEEN, LEAF),))) == (0, "")


@MODES
@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"lists": (ABOVE, crl(BETWEEN))}, (0, "")),
        ({"lists": (ABOVE,), "responses": (response(BETWEEN, LEAF),)}, (0, "")),
        ({"lists": (ABOVE, crl(BETWEEN, LEAF))}, (16, "revoked-certificate")),
        ({"lists": (ABOVE,), "responses": (response(BETWEEN, LEAF, REVOKED),)}, (16, "revoked-certificate")),
        ({"lists": (crl(ROOT, BETWEEN), crl(BETWEEN))}, (16, "revoked-certificate")),
        (
            {"lists": (ABOVE, crl(BETWEEN, LEAF)), "responses": (response(BETWEEN, LEAF),)},
            (16, "revoked-certificate"),
        ),
        ({"lists": (ABOVE,)}, (13, "revocation-unknown")),
        ({"lists": (crl(BETWEEN),)}, (13, "revocation-unknown")),
        ({}, (13, "revocation-unknown")),
        ({"lists": (ABOVE,), "responses": (response(BETWEEN, LEAF, UNKNOWN),)}, (13, "revocation-unknown")),
        ({"lists": (ABOVE, crl(BETWEEN)), "responses": (response(BETWEEN, LEAF, UNKNOWN),)}, (0, "")),
        ({"lists": (ABOVE, crl(BETWEEN, until=NOW - timedelta(seconds=1)))}, (13, "revocation-unknown")),
    ],
)
def test_what_was_found_out(mode: str, found: dict[str, Any], expected: tuple[int, str]) -> None:
    assert judged(policy(mode), informed(**found)) == expected


@MODES
def test_crls_that_the_policy_names(mode: str) -> None:
    pem = b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(crl(BETWEEN)) + b"-----END X509 CRL-----\n"
    assert judged(policy(mode, ABOVE, pem), informed()) == (0, "")
    assert judged(policy(mode, ABOVE, crl(BETWEEN, LEAF)), informed()) == (16, "revoked-certificate")
    assert judged(policy(mode, ABOVE), informed()) == (13, "revocation-unknown")


@MODES
def test_certificates_that_name_no_service(mode: str) -> None:
    """They cannot be revoked, unless the policy has a CRL of their issuer."""
    silent = chain(ca("root", number=1), ca("intermediate", number=2), Wish())
    trusted = {"roots": silent[-1].pem.decode()}
    assert judged(policy(mode, line=trusted), informed(of=silent)) == (0, "")
    assert judged(policy(mode, crl(silent[1], silent[0]), line=trusted), informed(of=silent)) == (
        16,
        "revoked-certificate",
    )
    stale = crl(silent[1], until=NOW - timedelta(seconds=1))
    assert judged(policy(mode, stale, line=trusted), informed(of=silent)) == (13, "revocation-unknown")


def test_a_revoked_certificate_beats_an_expired_one() -> None:
    found = informed(lists=(ABOVE, crl(BETWEEN, LEAF, until=UNTIL + 9 * HOUR)))
    assert judged(policy("offline"), found, now=UNTIL + HOUR) == (16, "revoked-certificate")


def test_the_authority_that_stamps_is_asked_about_too() -> None:
    stamper, root = tsa = chain(
        ca("time", number=21, usage=frozenset({"key_cert_sign", "crl_sign"})),
        stamping(more=(points("http://crl.example/t.crl"),)),
    )
    found = informed(lists=(ABOVE, crl(BETWEEN)))
    assert found.signed is not None
    signed = replace(found.signed, timestamps=(token(found.signed.signature, tsa, NOW),))  # type: ignore[type-var]
    trust = policy("offline", line={"timestampRoots": root.pem.decode()})

    def verdict(*lists: bytes) -> tuple[int, str]:
        assert isinstance(signed, NotarySignature)
        return judged(trust, replace(found, signed=replace(signed, crls=(ABOVE, crl(BETWEEN), *lists))))

    assert verdict(crl(root)) == (0, "")
    assert verdict(crl(root, stamper)) == (13, "timestamp")
    assert verdict() == (13, "timestamp")


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"mode": "sometimes"},
        {"mode": "off", "crlFiles": ["0.crl"]},
        {"mode": "offline", "crlFiles": ["text"]},
        {"mode": "offline", "crlFiles": "0.crl"},
        {"mode": "offline", "crls": []},
        "online",
    ],
)
def test_a_line_that_is_malformed(value: Any) -> None:
    files: Callable[[str], bytes] = {"0.crl": ABOVE, "text": b"x"}.__getitem__
    line = {"roots": ROOT.pem.decode(), "subjects": ["*"], "revocation": value}
    document = {
        "version": 1,
        "certificates": {"acme": line},
        "scopes": [scope("**", signatures={"from": ["acme"]})],
    }
    with pytest.raises(ConfigurationError, match=r"certificates\.acme"):
        parse_policy(json.dumps(document).encode(), files)


def test_times() -> None:
    assert Times(now=datetime.max.replace(tzinfo=NOW.tzinfo), leeway=HOUR).within(NOW, NOW)
    assert Times(now=datetime.min.replace(tzinfo=NOW.tzinfo), leeway=HOUR).within(NOW, NOW)
