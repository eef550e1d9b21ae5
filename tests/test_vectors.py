"""Vectors that others made (sigstore-conformance), read from beside the checkout and never copied into it."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ocimodel.attest.bundle import Bundle
from ocimodel.attest.envelope import Envelope
from ocimodel.attest.referrer import attach
from ocimodel.attest.signed import SignedStatement
from ocimodel.attest.statement import Statement
from ocimodel.errors import FormatError, UnsignedError, UntrustedError, UsageError
from ocimodel.keys.keyless import TrustedRoot
from ocimodel.keys.public import PublicKey
from ocimodel.keys.sealing import opens as is_signed_by
from ocimodel.keys.sealing import verify_message
from ocimodel.keys.specs import load_public
from ocimodel.oci import media
from ocimodel.trust.evidence import read_candidate
from ocimodel.trust.keyless import IdentityEntry
from ocimodel.trust.policy import TrustPolicy
from tests.signers import ALICE, MODEL, evidence, opens
from tests.test_trust import NOW

PLACE = Path(os.environ.get("OCIMODEL_VECTORS") or Path(__file__).parents[2] / "shared" / "vectors")
SIGSTORE = PLACE / "sigstore"

pytestmark = pytest.mark.skipif(
    not SIGSTORE.is_dir(), reason="the vectors are not beside the checkout; OCIMODEL_VECTORS names their place"
)


def raw(case: str) -> bytes:
    return (SIGSTORE / case / "bundle.sigstore.json").read_bytes()


def artifact() -> bytes:
    return hashlib.sha256((SIGSTORE / "a.txt").read_bytes()).digest()


def enveloped(case: str) -> tuple[Envelope, PublicKey]:
    """The envelope, and the key of the certificate that came with it: whom it proves, nobody has checked."""
    bundle = Bundle.from_bytes(raw(case))
    assert bundle.envelope is not None
    certificate = x509.load_der_x509_certificate(bundle.certificates[0])
    der = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return bundle.envelope, PublicKey.from_der(der)


@pytest.mark.parametrize(
    "case",
    ["bundle-invalid-base64-signature_fail", "bundle-malformed-json_fail", "bundle-unknown-version_fail"],
)
def test_what_is_no_bundle_is_refused(case: str) -> None:
    with pytest.raises(FormatError):
        Bundle.from_bytes(raw(case))


def test_a_file_signed_by_a_managed_key() -> None:
    key = load_public(str(SIGSTORE / "managed-key-happy-path" / "key.pub"))
    bundle = Bundle.from_bytes(raw("managed-key-happy-path"))
    assert bundle.hint == key.hint
    assert verify_message(bundle, key, artifact())
    assert not verify_message(bundle, key, hashlib.sha256(b"another file").digest())
    assert not verify_message(bundle, ALICE.public, artifact())


def test_the_wrong_key_is_not_even_one() -> None:
    bundle = Bundle.from_bytes(raw("managed-key-wrong-key_fail"))
    assert bundle.message is not None
    with pytest.raises(UsageError):
        load_public(str(SIGSTORE / "managed-key-wrong-key_fail" / "key.pub"))


def test_a_statement_signed_with_a_certificate_opens_with_its_key() -> None:
    envelope, key = enveloped("happy-path-intoto-in-dsse-v3")
    assert opens(key, envelope)
    assert Statement.from_bytes(envelope.payload).subjects[0].digest == {"sha256": artifact().hex()}


def test_a_damaged_signature_opens_with_nothing() -> None:
    envelope, key = enveloped("dsse-invalid-sig_fail")
    assert not opens(key, envelope)


# --- every case there is ---------------------------------------------------------------------

_WORKFLOW = ".github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"
BEACON = (
    f"https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/{_WORKFLOW}",
    "https://token.actions.githubusercontent.com",
)
"""Who signed the cases without a key."""

CASES = sorted(path.parent.name for path in SIGSTORE.glob("*/bundle.sigstore.json"))


def trusted_root(case: str) -> TrustedRoot:
    """The case's own, or that of the public instance, which the package `sigstore` brings along."""
    own = SIGSTORE / case / "trusted_root.json"
    if own.exists():
        return TrustedRoot.from_bytes(own.read_bytes())
    found = files("sigstore") / "_store" / quote("https://tuf-repo-cdn.sigstore.dev", safe="") / "trusted_root.json"
    return TrustedRoot.from_bytes(found.read_bytes())


def accepted(case: str) -> bool:
    """Whether the bundle speaks for ``a.txt``, by the case's key, else by the identity that signed these."""
    try:
        bundle = Bundle.from_bytes(raw(case))
        pem = SIGSTORE / case / "key.pub"
        key = load_public(str(pem)) if pem.exists() else None
        if bundle.envelope is None:
            return key is not None and verify_message(bundle, key, artifact())
        statement = Statement.from_bytes(bundle.envelope.payload)
    except (FormatError, UsageError):
        return False
    signed = SignedStatement(
        statement=statement,
        signature=bundle.envelope.signature,
        certificates=bundle.certificates,
        timestamps=bundle.timestamps,
    )
    about = any(subject.digest.get("sha256") == artifact().hex() for subject in statement.subjects)
    if key is not None:
        return about and is_signed_by(key, signed)
    found = trusted_root(case).recognise(signed, bundle.raw, lambda *who: who == BEACON)
    return about and found is not None and not found.problem


def not_read(case: str) -> str:
    """Why a good bundle is refused all the same."""
    document = json.loads(raw(case))
    if "0.3" not in document["mediaType"]:
        return "an older version of bundles, which is not read"
    if "messageSignature" in document and not (SIGSTORE / case / "key.pub").exists():
        return "a file's signature by a certificate; only statements are verified so"
    return ""


@pytest.mark.parametrize("case", CASES or ["absent"])
def test_each_case_gets_its_verdict(case: str) -> None:
    good = not case.endswith("_fail")
    reason = not_read(case) if good else ""
    assert accepted(case) == (good and not reason)
    if reason:
        pytest.skip(reason)


def test_the_happy_path_as_evidence() -> None:
    """Recognised by its identity, and not about this artifact."""
    case = "happy-path-intoto-in-dsse-v3"
    found = trusted_root(case)
    line = IdentityEntry(id="beacon", subject=BEACON[0], issuer=BEACON[1], root=found)
    made = attach(raw(case), MODEL, predicate_type=media.COSIGN_SIGN, keyid="")
    candidate = read_candidate(made.descriptor, made.manifest, made.bundle)
    assert candidate.signed is not None
    opening = line.opens(candidate.signed, NOW, timedelta(0))
    assert opening is not None
    assert opening.problem is None
    assert opening.time == datetime(2024, 12, 16, 18, 42, 56, tzinfo=UTC)
    for other in (replace(line, subject="another"), replace(line, issuer="https://accounts.example.org")):
        assert other.opens(candidate.signed, NOW, timedelta(0)) is None


@pytest.mark.parametrize("case", sorted(path.name for path in SIGSTORE.glob("*_fail")) or ["absent"])
def test_no_bad_bundle_approves_an_artifact(case: str) -> None:
    refused(case)


@pytest.mark.parametrize("case", ["happy-path-intoto-in-dsse-v3", "managed-key-happy-path"])
def test_neither_does_a_good_one_that_no_trusted_key_made(case: str) -> None:
    refused(case)


def refused(case: str) -> None:
    found = attach(raw(case), MODEL, predicate_type=media.COSIGN_SIGN, keyid="")
    verdict = TrustPolicy.of_keys([ALICE.public]).evaluate(evidence(found), NOW)
    # Their statements are provenance and the like: where they parse, they are attestations, not signatures.
    attestation = [report.status for report in verdict.signers] == ["attestation"]
    with pytest.raises(UnsignedError if attestation else UntrustedError):
        verdict.raise_if_refused()
