"""Vectors of notation's own tests, read from beside the checkout and never copied into it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ocimodel.attest import notary_jws
from ocimodel.keys import x509
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.trust.document import parse
from ocimodel.trust.evidence import Candidate, Evidence
from ocimodel.trust.policy import TrustPolicy
from tests.notary import candidate
from tests.policies import no_files, scope
from tests.test_vectors import PLACE

NOTATION = PLACE / "notation"
NOW = datetime(2026, 6, 1, tzinfo=UTC)

pytestmark = pytest.mark.skipif(
    not NOTATION.is_dir(), reason="the vectors are not beside the checkout; OCIMODEL_VECTORS names their place"
)


def raw(name: str) -> bytes:
    return (NOTATION / name).read_bytes()


def alpine() -> Descriptor:
    """What jws_signature.sig and cose_signature.sig are about."""
    (entry,) = json.loads(raw("oci-layout-index.json"))["manifests"]
    return Descriptor(media_type=entry["mediaType"], digest=Digest.parse(entry["digest"]), size=entry["size"])


def target(name: str) -> Descriptor:
    return notary_jws.decode(raw(name)).target


def policy(roots: bytes, subject: str = "*") -> TrustPolicy:
    line = {"roots": roots.decode(), "subjects": [subject]}
    document = {
        "version": 1,
        "certificates": {"them": line},
        "scopes": [scope("**", signatures={"from": ["them"]})],
    }
    return parse(json.dumps(document).encode(), no_files)


def root_of(name: str) -> bytes:
    """The last certificate that a vector carries, for a policy that trusts it."""
    from cryptography import x509 as library
    from cryptography.hazmat.primitives.serialization import Encoding

    der = notary_jws.decode(raw(name)).certificates[-1]
    return library.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


def judged(trust: TrustPolicy, found: Candidate, subject: Descriptor, now: datetime = NOW) -> tuple[int, str]:
    name = "registry.example.org/model"
    verdict = trust.evaluate(Evidence(subject=subject, name=name, candidates=[found], listed=1), now)
    return verdict.exit_code, verdict.reasons[0].reason if verdict.reasons else ""


TEST_ROOT = "NotationTestRoot.pem"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ca_valid_sig_env.json", (0, "")),
        ("ca_expired_sig_env.json", (15, "expired")),
        ("ca_invalid_sig_env.json", (12, "untrusted-signer")),
    ],
)
def test_a_chain_to_the_root_of_the_tests(name: str, expected: tuple[int, str]) -> None:
    """The invalid one has a padded payload, so nothing of it is read and it names nobody."""
    subject = target("ca_valid_sig_env.json")
    found = candidate(raw(name), to=subject)
    assert judged(policy(raw(TEST_ROOT)), found, subject) == expected
    assert judged(policy(raw(TEST_ROOT), "C=US, ST=WA, O=Notary"), found, subject) == expected
    assert judged(policy(raw(TEST_ROOT), "C=US, ST=WA, O=other"), found, subject)[0] == 12
    assert judged(policy(raw("wabbit-networks.io.crt")), found, subject)[0] == 12


def test_the_invalid_one_is_damaged() -> None:
    found = candidate(raw("ca_invalid_sig_env.json"))
    assert (found.damaged, found.signature_like) == (True, True)
    named = candidate(raw("ca_invalid_sig_env.json"), annotations={media.NOTARY_THUMBPRINTS: thumbprints()})
    assert judged(policy(raw(TEST_ROOT)), named, target("ca_valid_sig_env.json")) == (14, "malformed")


def thumbprints() -> str:
    return json.dumps([x509.parse(item).thumbprint for item in x509.read_pem(raw(TEST_ROOT), TEST_ROOT)])


def test_a_certificate_that_lived_for_a_day() -> None:
    name = "sig_env_with_metadata.json"
    found = candidate(raw(name), to=target(name))
    assert judged(policy(root_of(name)), found, target(name)) == (15, "certificate-expired")
    before = datetime(2023, 1, 1, tzinfo=UTC)
    assert judged(policy(root_of(name)), found, target(name), before) == (15, "certificate-not-yet-valid")


def test_one_with_claims() -> None:
    name = "sig_env_with_metadata.json"
    valid = datetime(2023, 1, 11, 12, tzinfo=UTC)
    found = candidate(raw(name), to=target(name))
    assert judged(policy(root_of(name)), found, target(name), valid) == (0, "")
    assert found.signed is not None
    (subject,) = found.signed.subjects_of(target(name))
    assert subject.annotations == {
        "io.wabbit-networks.buildId": "123",
        "io.wabbit-networks.buildTime": "1672944615",
    }
    assert judged(policy(raw("wabbit-networks.io.crt")), found, target(name), valid)[0] == 12


def test_one_of_a_layout() -> None:
    name = "jws_signature.sig"
    found = candidate(raw(name), to=alpine())
    assert judged(policy(root_of(name)), found, alpine()) == (0, "")
    assert judged(policy(root_of(name), "C=US, ST=WA, L=Seattle, O=Notary, CN=alpine"), found, alpine()) == (0, "")
    other = target("ca_valid_sig_env.json")
    assert judged(policy(root_of(name)), candidate(raw(name), to=other), other) == (12, "other-subject")


def test_one_in_cose() -> None:
    blob = raw("cose_signature.sig")
    found = candidate(blob, kind=media.NOTARY_COSE, to=alpine())
    # The certificate is the one of the JWS.
    assert judged(policy(root_of("jws_signature.sig")), found, alpine()) == (0, "")
    assert judged(policy(raw(TEST_ROOT)), found, alpine())[0] == 12
    damaged = candidate(blob[:-1] + b"x", kind=media.NOTARY_COSE, to=alpine())
    assert judged(policy(root_of("jws_signature.sig")), damaged, alpine()) == (14, "bad-signature")


@pytest.mark.parametrize("name", ["ca_valid_sig_env.json", "jws_signature.sig"])
def test_no_byte_can_be_changed(name: str) -> None:
    """Under a policy: whatever changes, it does not pass, but for what the format does not sign."""
    subject, trust, original = target(name), policy(root_of(name)), raw(name)
    document = json.loads(original)
    for position in range(0, len(original), 7):
        changed = bytearray(original)
        changed[position] ^= 1
        found = candidate(bytes(changed), to=subject)
        if judged(trust, found, subject)[0] == 0:
            now: Any = json.loads(bytes(changed))
            assert {key: now[key] for key in ("payload", "protected", "signature")} == {
                key: document[key] for key in ("payload", "protected", "signature")
            }
            assert now["header"]["x5c"] == document["header"]["x5c"]
