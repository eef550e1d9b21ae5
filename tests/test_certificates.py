"""Notary signatures under plain keys and under certificate authorities: what each is worth."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.attest.cbor import Tagged
from ocimodel.attest.notary import AUTHENTIC_TIME, AUTHORITY, SCHEME, TIME, NotarySignature, payload_of
from ocimodel.errors import ConfigurationError
from ocimodel.oci import media
from ocimodel.oci.manifest import Manifest
from ocimodel.trust.document import parse
from ocimodel.trust.evidence import Candidate, order
from ocimodel.trust.policy import TrustPolicy
from tests import cose
from tests.certificates import SINCE, UNTIL, Made, Wish, ca, chain, good, make, pem
from tests.documents import problems
from tests.notary import NOW, altered, candidate, envelope, manifest
from tests.policies import no_files, scope
from tests.signers import ALICE, MODEL, OTHER, attachment, evidence

CHAIN = good()
ROOT = CHAIN[-1]
KEY = CHAIN[0].signer.public


def line(root: Made = ROOT, subjects: Any = ("*",), **more: Any) -> dict[str, Any]:
    return {"roots": root.pem.decode(), "subjects": list(subjects), **more}


def policy(lines: dict[str, Any] | None = None, **more: Any) -> TrustPolicy:
    """Wants one signature by somebody of these lines."""
    lines = lines or {"acme": line()}
    document = {
        "version": 1,
        "certificates": lines,
        "scopes": [scope("**", signatures={"from": list(lines), **more}, freshness={"clockLeeway": "0s"})],
    }
    return parse(json.dumps(document).encode(), no_files)


PLAIN = TrustPolicy.of_keys([KEY])
AUTHORITIES = policy()


def thumbprint(item: Made) -> str:
    return hashlib.sha256(item.der).hexdigest()


def judged(trust: TrustPolicy, *found: Candidate, now: datetime = NOW) -> tuple[int, str]:
    """Exit code, and the first reason."""
    verdict = trust.evaluate(evidence(*found), now)
    return verdict.exit_code, verdict.reasons[0].reason if verdict.reasons else ""


# --- what both have in common -----------------------------------------------------------------------------

BOTH = pytest.mark.parametrize("trust", [PLAIN, AUTHORITIES], ids=["key", "authority"])


@BOTH
def test_a_good_one(trust: TrustPolicy) -> None:
    assert judged(trust, candidate(envelope(CHAIN, {"k": "v"}))) == (0, "")
    report = trust.evaluate(evidence(candidate(envelope(CHAIN, {"k": "v"}))), NOW).signers[0]
    assert (report.format, report.keyid, report.claims) == ("notation", KEY.keyid, {"k": "v"})


@BOTH
def test_the_end_of_a_signature(trust: TrustPolicy) -> None:
    found = candidate(envelope(CHAIN, expires=NOW + timedelta(days=1)))
    assert judged(trust, found) == (0, "")
    assert judged(trust, found, now=NOW + timedelta(days=1)) == (15, "expired")


@BOTH
def test_the_claim_of_ours_is_an_end_as_well(trust: TrustPolicy) -> None:
    early = {media.CLAIM_EXPIRES: "2026-03-02T00:00:00Z"}
    assert judged(trust, candidate(envelope(CHAIN, early)), now=NOW) == (15, "expired")


@BOTH
@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (SINCE - timedelta(seconds=1), "certificate-not-yet-valid"),
        (UNTIL + timedelta(seconds=1), "certificate-expired"),
    ],
)
@pytest.mark.parametrize("position", [0, 1, 2], ids=["leaf", "intermediate", "root"])
def test_every_certificate_has_to_be_valid(trust: TrustPolicy, now: datetime, reason: str, position: int) -> None:
    long = {"since": SINCE - timedelta(days=9), "until": UNTIL + timedelta(days=9)}
    wishes = [ca("root", number=1, **long), ca("intermediate", number=2, **long), Wish(**long)]  # type: ignore[arg-type]
    wishes[2 - position] = replace(wishes[2 - position], since=SINCE, until=UNTIL)
    certificates = chain(*wishes)
    trust = TrustPolicy.of_keys([KEY]) if trust is PLAIN else policy({"acme": line(certificates[-1])})
    found = candidate(envelope(certificates))
    assert judged(trust, found) == (0, "")
    assert judged(trust, found, now=now) == (15, reason)


@BOTH
def test_a_chain_that_is_not_in_order(trust: TrustPolicy) -> None:
    leaf, between, root = CHAIN
    for carried in ([leaf, root], [leaf, between, root, root], [leaf, root, between]):
        assert judged(trust, candidate(envelope(CHAIN, carried=carried))) == (13, "certificate")


@BOTH
def test_one_for_another_artifact(trust: TrustPolicy) -> None:
    assert judged(trust, candidate(envelope(CHAIN, about=OTHER))) == (12, "other-subject")
    assert judged(trust, candidate(envelope(CHAIN), to=OTHER)) == (12, "other-subject")
    assert judged(trust, candidate(envelope(CHAIN, about=replace(MODEL, size=8)))) == (12, "other-subject")


@BOTH
def test_another_payload_or_signature(trust: TrustPolicy) -> None:
    payload = json.dumps({"targetArtifact": OTHER.to_dict()}).encode()
    assert judged(trust, candidate(altered(CHAIN, payload=payload, resign=False))) == (14, "bad-signature")
    assert judged(trust, candidate(altered(CHAIN, signature="AAAA"))) == (14, "bad-signature")
    other = altered(CHAIN, protected={"kid": "x"}, resign=False)
    assert judged(trust, candidate(other)) == (14, "bad-signature")


@BOTH
@pytest.mark.parametrize("name", ["ES384", "ES512", "PS256", "PS384"])
def test_the_wrong_algorithm_for_the_key(trust: TrustPolicy, name: str) -> None:
    assert judged(trust, candidate(altered(CHAIN, protected={"alg": name}))) == (14, "bad-signature")


@BOTH
def test_a_signature_that_asks_for_more_than_is_known(trust: TrustPolicy) -> None:
    found = candidate(altered(CHAIN, protected={"x": 1, "crit": [SCHEME, "x"]}))
    assert (found.damaged, found.signature_like) == (False, True)
    assert judged(trust, found) == (12, "untrusted-signer")


@BOTH
def test_a_bad_one_spoils_nothing(trust: TrustPolicy) -> None:
    fine = candidate(envelope(CHAIN))
    for bad in (
        candidate(b"{"),
        candidate(altered(CHAIN, signature="AAAA")),
        candidate(envelope(CHAIN, about=OTHER)),
        candidate(envelope(CHAIN, expires=NOW - timedelta(days=1), time=NOW - timedelta(days=2))),
        candidate(envelope(CHAIN, carried=[CHAIN[0], ROOT])),
    ):
        assert judged(trust, bad)[0] != 0
        assert judged(trust, bad, fine, bad) == (0, "")


@BOTH
def test_garbage_that_names_the_signer(trust: TrustPolicy) -> None:
    """By the annotation that a registry lists, too."""
    thumbs = json.dumps([thumbprint(item) for item in CHAIN])
    named = candidate(b"{", annotations={media.NOTARY_THUMBPRINTS: thumbs, media.KEY_ID: KEY.keyid})
    assert judged(trust, named) == (14, "malformed")
    assert judged(trust, candidate(b"{")) == (12, "untrusted-signer")


@BOTH
def test_no_byte_of_a_jws_can_be_changed(trust: TrustPolicy) -> None:
    """But in what is not signed and says nothing: the software's name, and under a key, whose authority it was."""
    blob = envelope(CHAIN, {"k": "v"}, expires=NOW + timedelta(days=1))
    original = json.loads(blob)
    signed = ("payload", "protected", "signature")
    for position in range(len(blob)):
        changed = bytearray(blob)
        changed[position] ^= 1
        found = candidate(bytes(changed))
        if judged(trust, found)[0] == 0:
            now = json.loads(bytes(changed))
            assert [now[name] for name in signed] == [original[name] for name in signed]
            assert now["header"]["x5c"] == original["header"]["x5c"]


def test_those_that_name_a_trusted_root_are_read_first() -> None:
    named = {media.NOTARY_THUMBPRINTS: json.dumps([thumbprint(item).upper() for item in CHAIN])}
    mine = Manifest.from_bytes(manifest(envelope(CHAIN), annotations=named)).descriptor
    others = [attachment(ALICE, {"n": str(number)}).descriptor for number in range(200)]
    assert order([*others, mine], AUTHORITIES.keyids)[0][0] == mine


# --- plain keys -------------------------------------------------------------------------------------------


def test_a_key_is_trusted_whatever_its_chain_leads_to() -> None:
    other = chain(ca("elsewhere", number=5), Wish())
    assert judged(PLAIN, candidate(envelope(other))) == (0, "")
    assert judged(PLAIN, candidate(envelope(chain(Wish())))) == (0, "")


def test_another_key() -> None:
    stranger = good(number=4)
    assert judged(PLAIN, candidate(envelope(stranger))) == (12, "untrusted-signer")
    # Somebody else's certificate in front of what this key has signed.
    swapped = candidate(envelope(CHAIN, carried=stranger))
    assert judged(PLAIN, swapped) == (12, "untrusted-signer")


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa2048", "rsa3072", "rsa4096"])
def test_every_kind_of_key(kind: str) -> None:
    certificates = good(kind)
    found = candidate(envelope(certificates))
    assert judged(TrustPolicy.of_keys([certificates[0].signer.public]), found) == (0, "")
    assert judged(AUTHORITIES, candidate(envelope(chain(ca("root", number=1), Wish(kind=kind))))) == (
        12,
        "untrusted-signer",
    )
    assert judged(policy({"acme": line(certificates[-1])}), found) == (0, "")


# --- authorities ------------------------------------------------------------------------------------------


def test_a_root_that_nobody_trusts() -> None:
    other = chain(ca("root", number=9), ca("intermediate", number=2), Wish())
    assert judged(AUTHORITIES, candidate(envelope(other))) == (12, "untrusted-signer")


def test_a_trusted_root_behind_somebody_elses_chain() -> None:
    stranger = chain(ca("root", number=9), Wish(number=4))
    assert judged(AUTHORITIES, candidate(envelope(stranger, carried=[*stranger, ROOT]))) == (13, "certificate")
    assert judged(AUTHORITIES, candidate(envelope(stranger, carried=[stranger[0], ROOT]))) == (13, "certificate")
    alone = chain(Wish(number=4))
    assert judged(AUTHORITIES, candidate(envelope(alone, carried=[*alone, ROOT]))) == (13, "certificate")


def test_an_intermediate_may_be_what_is_trusted() -> None:
    assert judged(policy({"acme": line(CHAIN[1])}), candidate(envelope(CHAIN))) == (0, "")


def test_a_certificate_that_stands_for_itself() -> None:
    alone = chain(Wish())
    assert judged(policy({"acme": line(alone[0])}), candidate(envelope(alone))) == (0, "")
    assert judged(AUTHORITIES, candidate(envelope(alone))) == (12, "untrusted-signer")


def test_whom_the_authority_may_certify() -> None:
    found = candidate(envelope(CHAIN))
    for subject, code in (
        ("C=US, ST=WA, O=acme", 0),
        ("x509.subject: CN=signer, O=acme, S=WA, C=US", 0),
        ("C=US, ST=WA, O=acme, CN=somebody", 12),
        ("C=US, ST=WA, O=other", 12),
    ):
        assert judged(policy({"acme": line(subjects=[subject])}), found)[0] == code
    several = line(subjects=["C=US, ST=WA, O=other", "C=US, ST=WA, O=acme, CN=signer"])
    assert judged(policy({"acme": several}), found) == (0, "")


def test_a_bad_signature_of_somebody_else_under_the_root_is_nobodys() -> None:
    """Whoever has a certificate by the same authority is not one of ours, so nothing of ours is damaged."""
    trust = policy({"acme": line(subjects=["C=US, ST=WA, O=acme, CN=somebody"])})
    assert judged(trust, candidate(altered(CHAIN, signature="AAAA"))) == (12, "untrusted-signer")


def test_who_signs_twice_counts_once() -> None:
    """With two certificates for one key, or by one authority under two names of the policy."""
    again = chain(ca("root", number=1), ca("intermediate", number=2), Wish(serial=77))
    lines = {"one": line(), "two": line(again[-1])}
    trust = policy(lines, threshold=2)
    both = [candidate(envelope(CHAIN)), candidate(envelope(again))]
    assert judged(trust, *both) == (12, "too-few")
    other = chain(ca("root", number=1), Wish(number=4))
    lines["two"] = line(other[-1])
    assert judged(policy(lines, threshold=2), both[0], candidate(envelope(other))) == (0, "")


def test_a_plain_key_and_its_certificate_count_once() -> None:
    document = {
        "version": 1,
        "keys": {"key": {"publicKey": KEY.to_pem().decode()}},
        "certificates": {"acme": line()},
        "scopes": [scope("**", signatures={"from": ["key", "acme"], "threshold": 2})],
    }
    trust = parse(json.dumps(document).encode(), no_files)
    assert judged(trust, candidate(envelope(CHAIN))) == (12, "too-few")


def test_a_line_that_is_retired_or_revoked() -> None:
    found = candidate(envelope(CHAIN))
    retired = line(status="retired", retiredAt="2026-06-01T00:00:00Z")
    assert judged(policy({"acme": retired}), found) == (15, "retired-key")
    assert judged(policy({"acme": line(status="revoked")}), found) == (16, "revoked-key")


def by_authority(certificates: tuple[Made, ...], when: str = "2026-02-01T00:00:00Z") -> Candidate:
    headers = {SCHEME: AUTHORITY, AUTHENTIC_TIME: when, "io.cncf.notary.signingTime": None}
    return candidate(altered(certificates, protected={**headers, "crit": [SCHEME, AUTHENTIC_TIME]}))


def test_a_signing_authority_is_trusted_as_one_or_not_at_all() -> None:
    found = by_authority(CHAIN)
    authority = policy({"acme": line(kind="signingAuthority")})
    assert judged(authority, found) == (0, "")
    assert judged(AUTHORITIES, found) == (12, "untrusted-signer")
    assert judged(authority, candidate(envelope(CHAIN))) == (12, "untrusted-signer")


def test_a_signing_authority_states_the_time() -> None:
    """So its certificates may have expired since, and must have been valid then."""
    authority = policy({"acme": line(kind="signingAuthority")})
    assert judged(authority, by_authority(CHAIN), now=UNTIL + timedelta(days=900)) == (0, "")
    before, after = "2025-12-31T23:59:59Z", "2027-01-01T00:00:01Z"
    for when in (before, after):
        assert judged(authority, by_authority(CHAIN, when)) == (15, "certificate-expired")
    retired = line(kind="signingAuthority", status="retired", retiredAt="2026-02-01T00:00:00Z")
    assert judged(policy({"acme": retired}), by_authority(CHAIN)) == (0, "")
    assert judged(policy({"acme": retired}), by_authority(CHAIN, "2026-02-01T00:00:01Z"))[0] == 15


# --- the policy file --------------------------------------------------------------------------------------

LINE = line()
BAD = {
    "no roots": {"subjects": ["*"]},
    "roots twice": {**LINE, "rootsFile": "x"},
    "roots that are none": {**LINE, "roots": "x"},
    "a leaf": {**LINE, "roots": CHAIN[0].pem.decode()},
    "a leaf among roots": {**LINE, "roots": pem(CHAIN).decode()},
    "a key": {**LINE, "roots": ALICE.public.to_pem().decode()},
    "no subjects": {"roots": LINE["roots"]},
    "an empty list": {**LINE, "subjects": []},
    "everybody and somebody": {**LINE, "subjects": ["*", "C=US,ST=WA,O=acme"]},
    "a subject that is too wide": {**LINE, "subjects": ["O=acme"]},
    "one that covers another": {**LINE, "subjects": ["C=US,ST=WA,O=acme", "C=US,ST=WA,O=acme,CN=x"]},
    "a subject of hexadecimals": {**LINE, "subjects": ["C=US,ST=WA,O=#0402"]},
    "another kind": {**LINE, "kind": "tsa"},
    "an unknown member": {**LINE, "root": "x"},
}


@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
def test_a_line_that_is_malformed(value: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"certificates\.acme"):
        policy({"acme": value})


def test_roots_come_from_a_file_as_well() -> None:
    document = {
        "version": 1,
        "certificates": {"acme": {"rootsFile": "roots.pem", "subjects": ["*"]}},
        "scopes": [scope("**", signatures={"from": ["acme"]})],
    }
    other = make(ca("other", number=6))
    trust = parse(json.dumps(document).encode(), {"roots.pem": pem([other, ROOT])}.__getitem__)
    assert judged(trust, candidate(envelope(CHAIN))) == (0, "")


@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
def test_the_published_schema_knows_most_of_that(value: dict[str, Any]) -> None:
    """What it cannot know is what is in a PEM file, and in the parts of a subject."""
    document = {"version": 1, "certificates": {"acme": value}, "scopes": []}
    unseen = ("roots that", "a leaf", "a key", "everybody", "a subject", "one that")
    name = next(name for name, bad in BAD.items() if bad is value)
    assert bool(problems(document, "policy")) == (not name.startswith(unseen))


@pytest.mark.parametrize(
    "value",
    [
        LINE,
        {**LINE, "kind": "signingAuthority", "roles": ["builder"]},
        {**LINE, "timestampRootsFile": "tsa.pem", "timestamp": "afterExpiry"},
        {**LINE, "revocation": {"mode": "offline", "crlFiles": ["a.crl"]}},
    ],
)
def test_the_published_schema_takes_what_is_right(value: dict[str, Any]) -> None:
    assert problems({"version": 1, "certificates": {"acme": value}, "scopes": []}, "policy") == []


# --- any mixture ------------------------------------------------------------------------------------------

ALICE_, BOB_ = (
    chain(ca("root", number=1), ca("intermediate", number=2), Wish(subject=subject, number=number))
    for number, subject in (
        (60, (("C", "US"), ("ST", "WA"), ("O", "acme"), ("CN", "alice"))),
        (61, (("C", "US"), ("ST", "WA"), ("O", "acme"), ("CN", "bob"))),
    )
)
NOBODY = chain(ca("root", number=62), Wish(number=63))
PEOPLE = {"alice": ALICE_, "bob": BOB_, "nobody": NOBODY}


@dataclass(frozen=True)
class Recipe:
    """How a candidate is made, from which follows whether it is good."""

    who: str
    about_model: bool
    attached: bool
    ended: bool
    chained: str
    flip: int | None
    in_cose: bool

    def candidate(self) -> Candidate:
        people = PEOPLE[self.who]
        carried = {"whole": people, "rootless": people[:-1], "twice": (*people, people[-1]), "other": ALICE_}
        expires = NOW - timedelta(days=1) if self.ended else NOW + timedelta(days=1)
        about = MODEL if self.about_model else OTHER
        blob = (
            cose.envelope(
                people,
                payload=payload_of(about, {}),
                expires=int(expires.timestamp()),
                unprotected={33: [item.der for item in carried[self.chained]]},
                protected={TIME: Tagged(1, int((NOW - timedelta(days=2)).timestamp()))},
            )
            if self.in_cose
            else envelope(
                people, about=about, expires=expires, time=NOW - timedelta(days=2), carried=carried[self.chained]
            )
        )
        kind = media.NOTARY_COSE if self.in_cose else media.NOTARY_JWS
        found = candidate(blob, kind=kind, to=MODEL if self.attached else OTHER)
        if self.flip is None or not isinstance(found.signed, NotarySignature):
            return found
        changed = bytearray(found.signed.signature)
        changed[self.flip // 8 % len(changed)] ^= 1 << self.flip % 8
        return replace(found, signed=replace(found.signed, signature=bytes(changed)))

    @property
    def is_good(self) -> bool:
        fits = self.chained == "whole" or (self.chained == "other" and self.who == "alice")
        return self.about_model and self.attached and not self.ended and fits and self.flip is None


RECIPES = st.builds(
    Recipe,
    who=st.sampled_from(sorted(PEOPLE)),
    about_model=st.just(True) | st.booleans(),
    attached=st.just(True) | st.booleans(),
    ended=st.just(False) | st.booleans(),
    chained=st.just("whole") | st.sampled_from(["whole", "rootless", "twice", "other"]),
    flip=st.none() | st.integers(0, 511),
    in_cose=st.booleans(),
)


@settings(max_examples=200, deadline=None)
@given(
    recipes=st.lists(RECIPES, max_size=5),
    trusted=st.sets(st.sampled_from(["alice", "bob"]), min_size=1),
    threshold=st.integers(1, 2),
)
def test_it_passes_with_enough_good_signatures_and_never_without(
    recipes: list[Recipe], trusted: set[str], threshold: int
) -> None:
    threshold = min(threshold, len(trusted))
    lines = {
        name: line(PEOPLE[name][-1], [f"C=US, ST=WA, O=acme, CN={name}"], roots=_roots())
        for name in sorted(trusted)
    }
    verdict = policy(lines, threshold=threshold).evaluate(
        evidence(*(recipe.candidate() for recipe in recipes)), NOW
    )
    good = {recipe.who for recipe in recipes if recipe.who in trusted and recipe.is_good}
    assert (verdict.outcome == "pass") == (len(good) >= threshold)
    assert verdict.exit_code in (0, 10, 12, 13, 14, 15)


def _roots() -> str:
    return pem([ALICE_[-1], BOB_[-1]]).decode()
