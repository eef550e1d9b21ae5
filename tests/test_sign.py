"""Signing what is there already: once for each thing that is said, by digest, and again when it is time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from ocimodel.errors import NotFoundError, UsageError
from ocimodel.keys.public import PublicKey
from ocimodel.keys.signer import LocalSigner
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import index_bytes
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store
from ocimodel.trust.policy import TrustPolicy
from ocimodel.verbs.push import push
from ocimodel.verbs.sign import Signed, sign
from ocimodel.verbs.verify import verify_artifact
from tests.attacks.scene import write_model
from tests.signers import ALICE, BOB, CAROL, P256

ACCESS = Access()
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MONTH = timedelta(days=30)


@pytest.fixture
def layout(tmp_path: Path) -> Reference:
    """A model that nobody has signed."""
    reference = Reference.parse(f"oci:{tmp_path / 'layout'}:v1")
    push(write_model(tmp_path / "model"), reference, access=ACCESS)
    return reference


def signatures(reference: Reference) -> int:
    with open_store(reference, ACCESS) as store:
        listed = store.referrers(store.resolve("v1").digest).entries
    return sum(entry.artifact_type == media.SIGSTORE_BUNDLE for entry in listed)


def signing(reference: Reference, signer: LocalSigner = ALICE, **more: object) -> Signed:
    return sign(reference, signer, access=ACCESS, now=NOW, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("signer", [ALICE, BOB, CAROL], ids=["p256", "ed25519", "p384"])
def test_signing_twice_adds_nothing(layout: Reference, signer: LocalSigner) -> None:
    first = signing(layout, signer)
    second = signing(layout, signer)
    assert (first.created, second.created) == (True, False)
    assert first.signature == second.signature
    assert signatures(layout) == 1
    found = verify_artifact(layout, policy=TrustPolicy.of_keys([signer.public]), access=ACCESS)
    assert found.digest == first.subject.digest


class Elsewhere:
    """A key whose signatures are random, as those of devices and services are."""

    def __init__(self) -> None:
        self._key = ec.derive_private_key(P256, ec.SECP256R1())

    @property
    def public(self) -> PublicKey:
        return ALICE.public

    def sign(self, message: bytes, *, pss: bool = False) -> bytes:
        return self._key.sign(message, ec.ECDSA(hashes.SHA256()))


def test_a_random_signature_is_not_added_to_a_good_one(layout: Reference) -> None:
    elsewhere = Elsewhere()
    assert elsewhere.sign(b"x") != elsewhere.sign(b"x")
    first = sign(layout, elsewhere, access=ACCESS)
    second = sign(layout, elsewhere, access=ACCESS)
    assert (first.created, second.created, signatures(layout)) == (True, False, 1)
    assert first.signature == second.signature
    assert sign(layout, elsewhere, access=ACCESS, annotations={"a": "b"}).created
    assert sign(layout, elsewhere, access=ACCESS, expires=MONTH).created
    assert not sign(layout, elsewhere, access=ACCESS).created
    assert not sign(layout, elsewhere, access=ACCESS, expires=MONTH).created
    assert signatures(layout) == 3


def test_the_digest_is_what_is_signed(layout: Reference) -> None:
    signed = signing(layout)
    with open_store(layout, ACCESS) as store:
        digest = store.resolve("v1").digest
    assert signed.subject == layout.at(digest)
    assert signed.signature.tag is None
    assert signed.keyid == ALICE.public.keyid
    assert not signing(layout.tagged(None).at(digest)).created


def test_other_claims_are_another_signature(layout: Reference) -> None:
    signing(layout)
    assert signing(layout, annotations={"team": "vision"}).created
    assert signing(layout, annotations={"team": "audio"}).created
    assert not signing(layout, annotations={"team": "vision"}).created
    assert signing(layout, BOB, annotations={"team": "vision"}).created
    assert signatures(layout) == 4


@pytest.mark.parametrize(
    ("later", "created"),
    [
        (timedelta(0), False),
        (MONTH / 2 - timedelta(seconds=2), False),
        (MONTH / 2 + timedelta(seconds=2), True),
        (MONTH + timedelta(seconds=1), True),
    ],
    ids=["at-once", "before-half", "after-half", "expired"],
)
def test_an_expiring_signature_is_renewed_when_half_is_over(
    layout: Reference, later: timedelta, created: bool
) -> None:
    first = signing(layout, expires=MONTH)
    again = sign(layout, ALICE, access=ACCESS, expires=MONTH, now=NOW + later)
    assert again.created is created
    assert (again.signature == first.signature) is not created


def test_a_good_signature_of_other_claims_or_keys_renews_nothing(layout: Reference) -> None:
    signing(layout, expires=MONTH)
    assert signing(layout, expires=MONTH, annotations={"team": "vision"}).created
    assert signing(layout, BOB, expires=MONTH).created
    assert signing(layout).created  # one that never expires says something else


def test_a_longer_life_is_wanted(layout: Reference) -> None:
    signing(layout, expires=MONTH)
    assert signing(layout, expires=12 * MONTH).created
    assert not signing(layout, expires=MONTH).created


def test_what_cannot_be_signed(layout: Reference) -> None:
    with pytest.raises(NotFoundError):
        signing(layout.tagged("missing"))
    with pytest.raises(NotFoundError):
        signing(layout.at(Digest.of(b"nothing")))
    with pytest.raises(UsageError):
        signing(layout, expires=timedelta(0))
    with pytest.raises(UsageError):
        signing(layout, annotations={media.CLAIM_ENVIRONMENT: "production"})
    assert signatures(layout) == 0


def test_an_index_can_be_signed_as_well(layout: Reference) -> None:
    """A list of models is an artifact; who pulls chooses one of them, and that one has to be signed itself."""
    with open_store(layout, ACCESS) as store:
        model = store.resolve("v1")
        store.put_manifest(index_bytes([model]), media.OCI_INDEX, tag="all")
    signed = signing(layout.tagged("all"))
    found = verify_artifact(layout.tagged("all"), policy=TrustPolicy.of_keys([ALICE.public]), access=ACCESS)
    assert found.digest == signed.subject.digest
    assert signatures(layout) == 0
