"""What holds for any evidence: no pass without enough valid signatures, no pass after any flipped bit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.attest import base64s
from ocimodel.attest.bundle import Bundle
from ocimodel.attest.referrer import Attachment, attach
from ocimodel.attest.statement import attestation_statement
from ocimodel.errors import SEVERITY
from ocimodel.jsonio import Node
from ocimodel.keys.signer import LocalSigner
from ocimodel.oci import media
from ocimodel.trust.claims import format_time
from ocimodel.trust.evidence import Candidate, read_candidate
from ocimodel.trust.policy import TrustPolicy
from tests.signers import ALICE, BOB, CAROL, MALLORY, MODEL, OTHER, attachment, evidence, opens, read

SIGNERS = {"alice": ALICE, "bob": BOB, "carol": CAROL, "mallory": MALLORY}
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Recipe:
    """How a candidate is made, from which follows whether it is good."""

    signer: str
    about_model: bool
    attached: bool
    is_signature: bool
    hours_left: int | None
    environment: str | None
    named: str | None
    flip: int | None

    def candidate(self) -> Candidate:
        claims = {}
        if self.hours_left is not None:
            claims[media.CLAIM_EXPIRES] = format_time(NOW + timedelta(hours=self.hours_left))
        if self.environment is not None:
            claims[media.CLAIM_ENVIRONMENT] = self.environment
        subject = MODEL if self.about_model else OTHER
        made = attachment(
            SIGNERS[self.signer],
            claims,
            statement=None if self.is_signature else attestation_statement(subject.digest, "a:b", b"{}", claims),
            about=subject,
            to=MODEL if self.attached else OTHER,
            keyid=SIGNERS[self.named].public.keyid if self.named else "",
        )
        return read(made if self.flip is None else flipped_signature(made, self.flip))

    def is_good(self, environment: str | None) -> bool:
        return (
            self.about_model
            and self.attached
            and self.is_signature
            and (self.hours_left is None or self.hours_left > 0)
            and (environment is None or self.environment in (None, environment))
            and self.flip is None
        )


def flipped_signature(made: Attachment, bit: int) -> Attachment:
    document = json.loads(made.bundle)
    (entry,) = document["dsseEnvelope"]["signatures"]
    entry["sig"] = base64s.encode(flip(base64s.decode(Node(entry["sig"])), bit))
    keyid = made.descriptor.annotations.get(media.KEY_ID, "")
    return attach(json.dumps(document).encode(), MODEL, predicate_type=media.COSIGN_SIGN, keyid=keyid)


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8 % len(data)] ^= 1 << bit % 8
    return bytes(changed)


RECIPES = st.builds(
    Recipe,
    signer=st.sampled_from(sorted(SIGNERS)),
    about_model=st.booleans() | st.just(True),
    attached=st.just(True) | st.booleans(),
    is_signature=st.just(True) | st.booleans(),
    hours_left=st.none() | st.integers(-2, 2),
    environment=st.none() | st.sampled_from(["production", "staging"]),
    named=st.none() | st.sampled_from(sorted(SIGNERS)),
    flip=st.none() | st.integers(0, 511),
)
STRANGE = st.builds(
    Candidate,
    digest=st.just(MODEL.digest),
    size=st.integers(),
    names=st.frozensets(st.sampled_from([signer.public.keyid for signer in SIGNERS.values()]) | st.text()),
    format=st.sampled_from(["", "sigstore", "notation"]),
    signature_like=st.booleans(),
    subject=st.none() | st.just(MODEL),
    signed=st.none() | st.just(read(attachment(ALICE)).signed) | st.just(read(attachment(BOB, about=OTHER)).signed),
    problem=st.text(),
    damaged=st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(
    recipes=st.lists(RECIPES, max_size=6),
    trusted=st.sets(st.sampled_from(sorted(SIGNERS)), max_size=3),
    threshold=st.integers(1, 3),
    environment=st.none() | st.sampled_from(["production", "staging"]),
    truncated=st.booleans(),
)
def test_it_passes_with_enough_good_signatures_and_never_without(
    recipes: list[Recipe],
    trusted: set[str],
    threshold: int,
    environment: str | None,
    truncated: bool,
) -> None:
    threshold = min(threshold, max(1, len(trusted)))
    policy = TrustPolicy.of_keys([SIGNERS[name].public for name in sorted(trusted)], threshold)
    context = {} if environment is None else {"environment": environment}
    found = evidence(*(recipe.candidate() for recipe in recipes), truncated=truncated)
    verdict = policy.evaluate(found, NOW, context)
    good = {recipe.signer for recipe in recipes if recipe.signer in trusted and recipe.is_good(environment)}
    assert (verdict.outcome == "pass") == (len(good) >= threshold)
    assert (verdict.verified is not None) == (verdict.outcome == "pass")
    if verdict.outcome == "fail":
        assert verdict.reasons
        assert verdict.exit_code in SEVERITY
    if not any(recipe.is_signature for recipe in recipes) and not truncated and trusted:
        assert verdict.exit_code in (10, 14)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(STRANGE, max_size=5),
    st.integers(1, 2),
    st.datetimes(timezones=st.just(UTC)),
    st.dictionaries(st.text(), st.text()),
    st.booleans(),
)
def test_it_judges_anything(
    candidates: list[Candidate], threshold: int, now: datetime, context: dict[str, str], truncated: bool
) -> None:
    policy = TrustPolicy.of_keys([CAROL.public, BOB.public], threshold)
    verdict = policy.evaluate(evidence(*candidates, truncated=truncated), now, context)
    # Bob's statement never comes with Bob's envelope here: a parsed statement proves nothing by itself.
    assert verdict.outcome == "fail"
    assert verdict.exit_code in SEVERITY


def bits(data: bytes) -> Iterator[bytes]:
    return (flip(data, bit) for bit in range(len(data) * 8))


def passes(candidate: Candidate, signer: LocalSigner) -> bool:
    return TrustPolicy.of_keys([signer.public]).evaluate(evidence(candidate), NOW).outcome == "pass"


@pytest.mark.parametrize("signer", [ALICE, BOB, CAROL], ids=["P-256", "Ed25519", "P-384"])
def test_no_bit_of_payload_or_signature_can_be_flipped(signer: LocalSigner) -> None:
    envelope = Bundle.from_bytes(attachment(signer).bundle).envelope
    assert envelope is not None
    assert opens(signer.public, envelope)
    assert not any(opens(signer.public, replace(envelope, payload=data)) for data in bits(envelope.payload))
    assert not any(opens(signer.public, replace(envelope, signature=data)) for data in bits(envelope.signature))
    kinds = (kind.decode("latin-1") for kind in bits(envelope.payload_type.encode()))
    assert not any(opens(signer.public, replace(envelope, payload_type=kind)) for kind in kinds)


def test_no_bit_of_the_stored_documents_can_be_flipped() -> None:
    made = attachment(ALICE)
    assert passes(read(made), ALICE)
    for bundle in bits(made.bundle):
        assert not passes(read_candidate(made.descriptor, made.manifest, bundle), ALICE)
    for manifest in bits(made.manifest):
        assert not passes(read_candidate(made.descriptor, manifest, made.bundle), ALICE)


def test_a_bundle_with_another_envelope_never_passes_whatever_the_manifest_says() -> None:
    made = attachment(ALICE)
    original = Bundle.from_bytes(made.bundle).envelope
    for changed in bits(made.bundle):
        candidate = read(attach(changed, MODEL, predicate_type=media.COSIGN_SIGN, keyid=""))
        if passes(candidate, ALICE):
            # Only the hint is left to change, which names a key and proves nothing.
            assert candidate.signed == read(made).signed
            assert Bundle.from_bytes(changed).envelope == original
