"""The manifest that attaches a signature: to the byte what we write, and in which disguises we know one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ocimodel.attest.referrer import EMPTY, signature_format, signature_layer
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest
from tests.signers import ALICE, BOB, MODEL, attachment

ALICE_BUNDLE = (
    b'{"dsseEnvelope":{"payload":"eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEiLCJwcmVkaWNhdGUiOn'
    b"t9LCJwcmVkaWNhdGVUeXBlIjoiaHR0cHM6Ly9zaWdzdG9yZS5kZXYvY29zaWduL3NpZ24vdjEiLCJzdWJqZWN0IjpbeyJkaWdlc3Qi"
    b"Onsic2hhMjU2IjoiOTdmZjhhMzU1NDRkY2Y0MGFkODQwNDcwNzQ0MzlkZDZhYTNhMGJlNDY5ZWE1NzhhMWIxYzAxN2Q5MzllYzYxYy"
    b'J9fV19","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"MEQCIAgD+ou5A0TSczGsidv6tGsk'
    b'm1TIvxjVrHB8OybTeztWAiA5NKgqW8G0tJwGg7KQCYOg9/9hJQbe9Kfm3XUuU5AzwA=="}]},"mediaType":"application/vnd.'
    b'dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"Wnp4zKSg9CDZvGK7Zpw8J1njn3I'
    b'9OuENy+DwgVoH7NQ="}}}'
)
"""P-256, no claims. cosign 3.1.1 accepts it."""

BOB_BUNDLE = (
    b'{"dsseEnvelope":{"payload":"eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEiLCJwcmVkaWNhdGUiOn'
    b"t9LCJwcmVkaWNhdGVUeXBlIjoiaHR0cHM6Ly9zaWdzdG9yZS5kZXYvY29zaWduL3NpZ24vdjEiLCJzdWJqZWN0IjpbeyJhbm5vdGF0"
    b"aW9ucyI6eyJlbnYiOiJwcm9kIn0sImRpZ2VzdCI6eyJzaGEyNTYiOiI5N2ZmOGEzNTU0NGRjZjQwYWQ4NDA0NzA3NDQzOWRkNmFhM2"
    b'EwYmU0NjllYTU3OGExYjFjMDE3ZDkzOWVjNjFjIn19XX0=","payloadType":"application/vnd.in-toto+json","signatures'
    b'":[{"sig":"7fxi0NulmnAiu2cdaawWtpNlRLvOXBJEH5rBViOpRPa0bZSCZX3tKWg1DEi21y0Yx+dUhAMof/KJd0LDnRw1Bg=="}]}'
    b',"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint"'
    b':"BuP9j9opu2CrWVV95h7bCuzbIxE0vjDnW0Vfjht5L6k="}}}'
)
"""Ed25519, with a claim."""


def test_the_bundle_to_the_byte() -> None:
    assert attachment(ALICE).bundle == ALICE_BUNDLE
    assert attachment(BOB, {"env": "prod"}).bundle == BOB_BUNDLE


def test_the_manifest_to_the_byte() -> None:
    digests = [str(attachment(*args).descriptor.digest) for args in ((ALICE,), (BOB, {"env": "prod"}))]
    assert digests == [
        "sha256:6880978d2608497d6714d05a4187385949051f4e7b4f439c62016eba2199943d",
        "sha256:646dfa6cd90720a8f85c41402cc803cdd22ef453b1e196aae69aa3210921a100",
    ]


def test_the_manifest_is_that_of_the_bundle_specification() -> None:
    made = attachment(ALICE)
    assert json.loads(made.manifest) == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "size": 2,
        },
        "layers": [
            {
                "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
                "digest": str(Digest.of(ALICE_BUNDLE)),
                "size": len(ALICE_BUNDLE),
            }
        ],
        "subject": {"mediaType": MODEL.media_type, "digest": str(MODEL.digest), "size": MODEL.size},
        "annotations": {
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1",
            "io.github.ocimodel.keyid": ALICE.public.keyid,
        },
    }


def test_the_descriptor_names_the_key() -> None:
    descriptor = attachment(ALICE).descriptor
    assert descriptor.annotations[media.KEY_ID] == ALICE.public.keyid
    assert descriptor.artifact_type == media.SIGSTORE_BUNDLE
    assert EMPTY.size == len(media.EMPTY_JSON)


def manifest(**changes: Any) -> Manifest:
    document = json.loads(attachment(ALICE).manifest) | changes
    kept = {key: value for key, value in document.items() if value is not None}
    return Manifest.from_bytes(json.dumps(kept).encode())


def layer(kind: str) -> dict[str, Any]:
    return {"mediaType": kind, "digest": str(MODEL.digest), "size": 1}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "sigstore"),
        ({"artifactType": None}, "sigstore"),
        ({"artifactType": media.OCI_EMPTY}, "sigstore"),
        ({"artifactType": None, "config": layer(media.SIGSTORE_BUNDLE), "layers": []}, "sigstore"),
        ({"layers": [layer("application/octet-stream")]}, "sigstore"),
        ({"artifactType": media.NOTARY_SIGNATURE, "layers": [layer("application/jose+json")]}, "notation"),
        ({"artifactType": None, "layers": [layer("application/cose")]}, "notation"),
        ({"artifactType": media.COSIGN_ARTIFACT, "layers": [layer("application/x")]}, "cosign-legacy"),
        ({"artifactType": "application/spdx+json", "layers": [layer("application/x")]}, None),
        ({"artifactType": None, "layers": []}, None),
    ],
    ids=str,
)
def test_a_signature_is_known_by_its_manifest(changes: dict[str, Any], expected: str | None) -> None:
    assert signature_format(manifest(**changes)) == expected


def test_cosigns_quirk_is_tolerated() -> None:
    config = json.loads(attachment(ALICE).manifest)["config"] | {"artifactType": media.SIGSTORE_BUNDLE}
    assert signature_format(manifest(config=config)) == "sigstore"


def test_only_one_layer_is_worth_reading() -> None:
    found = signature_layer(manifest())
    assert found is not None
    assert found.size == len(ALICE_BUNDLE)
    twice = [layer(media.SIGSTORE_BUNDLE)] * 2
    assert signature_layer(manifest(layers=twice)) is None
    assert signature_layer(manifest(artifactType="application/x", layers=[layer("application/x")])) is None
