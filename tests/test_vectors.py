"""Vectors that others made (sigstore-conformance), read from beside the checkout and never copied into it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ocimodel.attest.bundle import Bundle
from ocimodel.attest.envelope import Envelope
from ocimodel.attest.referrer import attach
from ocimodel.attest.statement import Statement
from ocimodel.errors import FormatError, UnsignedError, UntrustedError, UsageError
from ocimodel.keys.public import PublicKey
from ocimodel.keys.sealing import verify_message
from ocimodel.keys.specs import load_public
from ocimodel.oci import media
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
