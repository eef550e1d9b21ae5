"""Attacks on Notary Project signatures: on who signed, on what was signed, and on whoever looks at it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from ocimodel.attest import base64s
from ocimodel.attest.notary import SCHEME
from ocimodel.jsonio import Node
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.trust.evidence import FAIR_SHARE
from tests import cose, notary
from tests.attacks.scene import Scene
from tests.certificates import Made, Wish, ca, chain, recent
from tests.commands import Ran
from tests.test_certificates import thumbprint

ROOT, LEAF = ca("root", number=1, **recent()), Wish(**recent())  # type: ignore[arg-type]
CHAIN = chain(ROOT, LEAF)
STRANGER = chain(ca("root", number=9, **recent()), Wish(number=8, **recent()))  # type: ignore[arg-type]


class Notary:
    """A scene whose model is signed by CHAIN, and a policy that trusts its root."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        scene.push(signer=None)
        self.subject = scene.subject()
        (scene.place / "root.pem").write_bytes(CHAIN[-1].pem)
        line = {"rootsFile": "root.pem", "subjects": ["C=US, ST=WA, O=acme, CN=signer"]}
        document = {
            "version": 1,
            "certificates": {"acme": line},
            "scopes": [{"match": "**", "signatures": {"from": ["acme"]}, "formats": {"deny": []}}],
        }
        self.policy = scene.place / "policy.json"
        self.policy.write_text(json.dumps(document))

    def envelope(self, certificates: tuple[Made, ...] = CHAIN, **how: Any) -> bytes:
        about = how.pop("about", self.subject)
        return notary.envelope(certificates, about=about, **how)

    def attach(
        self, blob: bytes, *, kind: str = media.NOTARY_JWS, annotations: dict[str, str] | None = None
    ) -> None:
        repository = self.scene.repository
        repository.add_blob(blob)
        repository.add_blob(media.EMPTY_JSON)
        repository.add_manifest(notary.manifest(blob, kind=kind, to=self.subject, annotations=annotations))

    def pull(self) -> Ran:
        return self.scene.pull("--policy", self.policy, key=None)

    def refused(self, *codes: int) -> bool:
        ran = self.pull()
        assert ran.code in codes, ran.err
        assert self.scene.asked_for() == 0
        return self.scene.nothing_arrived()


@pytest.fixture
def attacked(scene: Scene) -> Notary:
    return Notary(scene)


def test_the_scene_itself(attacked: Notary) -> None:
    assert attacked.refused(10)
    attacked.attach(attacked.envelope())
    assert attacked.pull().code == 0


def other(subject: Descriptor) -> Descriptor:
    return Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size + 1)


def altered(document: bytes, **headers: Any) -> bytes:
    """Other protected headers, under the old signature."""
    value = json.loads(document)
    protected = json.loads(base64s.decode_url(Node(value["protected"]))) | headers
    value["protected"] = base64s.encode_url(json.dumps(protected).encode())
    return json.dumps(value).encode()


def test_a_trusted_chain_in_front_of_a_strangers_signature(attacked: Notary) -> None:
    attacked.attach(attacked.envelope(STRANGER, carried=CHAIN))
    assert attacked.refused(14)


def test_a_trusted_root_behind_a_strangers_leaf(attacked: Notary) -> None:
    attacked.attach(attacked.envelope(STRANGER, carried=[STRANGER[0], CHAIN[-1]]))
    attacked.attach(attacked.envelope(STRANGER, carried=[*STRANGER, CHAIN[-1]]))
    assert attacked.refused(13, 12)


def test_a_root_of_the_same_name(attacked: Notary) -> None:
    attacked.attach(attacked.envelope(STRANGER))
    assert attacked.refused(12)


def test_somebody_else_whom_the_authority_knows(attacked: Notary) -> None:
    subject = (("C", "US"), ("ST", "WA"), ("O", "acme"), ("CN", "intern"))
    intern = chain(ROOT, Wish(subject=subject, number=7, **recent()))  # type: ignore[arg-type]
    attacked.attach(attacked.envelope(intern))
    assert attacked.refused(12)


def test_a_subject_that_only_looks_like_the_right_one(attacked: Notary) -> None:
    """Two names of a kind, and a name that holds what another program might split."""
    for subject in (
        (("C", "US"), ("ST", "WA"), ("O", "acme"), ("CN", "signer"), ("CN", "intern")),
        (("C", "US"), ("ST", "WA"), ("O", "evil"), ("CN", "signer,O=acme")),
        (("C", "US"), ("ST", "WA"), ("O", "acme,CN=signer")),
    ):
        attacked.attach(attacked.envelope(chain(ROOT, Wish(subject=subject, number=7, **recent()))))  # type: ignore[arg-type]
    assert attacked.refused(12)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "ES384", "PS256", "RS256"])
def test_another_algorithm(attacked: Notary, algorithm: str) -> None:
    attacked.attach(altered(attacked.envelope(), alg=algorithm))
    assert attacked.refused(12, 14)


def test_a_longer_life(attacked: Notary) -> None:
    """An expiry that is taken out, or put off, under the old signature."""
    expired = attacked.envelope(expires=notary.NOW + timedelta(seconds=1))
    attacked.attach(expired)
    attacked.attach(altered(expired, **{"io.cncf.notary.expiry": "2099-01-01T00:00:00Z"}))
    value = json.loads(expired)
    protected = json.loads(base64s.decode_url(Node(value["protected"])))
    del protected["io.cncf.notary.expiry"]
    value["protected"] = base64s.encode_url(json.dumps(protected | {"crit": [SCHEME]}).encode())
    attacked.attach(json.dumps(value).encode())
    assert attacked.refused(14)


def test_headers_that_are_not_signed(attacked: Notary) -> None:
    value = json.loads(attacked.envelope())
    for name, said in (("alg", "none"), ("crit", []), ("io.cncf.notary.expiry", "2099-01-01T00:00:00Z")):
        attacked.attach(json.dumps(value | {"header": value["header"] | {name: said}}).encode())
    assert attacked.refused(12)


def test_a_critical_header_that_nobody_understands(attacked: Notary) -> None:
    headers = {"com.example.only-on-tuesdays": True, "crit": [SCHEME, "com.example.only-on-tuesdays"]}
    attacked.attach(notary.altered(CHAIN, protected=headers))
    assert attacked.refused(12)


def test_another_artifact_of_the_same_digest(attacked: Notary) -> None:
    """Media type and size are signed, too."""
    attacked.attach(attacked.envelope(about=other(attacked.subject)))
    assert attacked.refused(12)


def test_a_signature_of_another_model_that_is_moved_here(attacked: Notary) -> None:
    attacked.attach(notary.envelope(CHAIN))
    assert attacked.refused(12)


def test_one_payload_signed_and_another_shown(attacked: Notary) -> None:
    """A member that stands twice: some readers take the first, some the last."""
    wrong = json.loads(notary.envelope(CHAIN))["payload"]
    signed = attacked.envelope().decode()
    attacked.attach(signed.replace('"payload":', f'"payload":"{wrong}","payload":', 1).encode())
    assert attacked.refused(12)


def test_a_jws_that_is_called_cose_and_the_other_way_round(attacked: Notary) -> None:
    attacked.attach(attacked.envelope(), kind=media.NOTARY_COSE)
    attacked.attach(cose.envelope(CHAIN), kind=media.NOTARY_JWS)
    assert attacked.refused(12)


def test_garbage_does_not_hide_a_signature(attacked: Notary) -> None:
    """CVE-2023-33957: without end. Those that name a trusted root are read first, and no more than 128."""
    named = {media.NOTARY_THUMBPRINTS: json.dumps([thumbprint(item) for item in CHAIN])}
    for number in range(300):
        attacked.attach(b'{"garbage":%d}' % number)
    attacked.attach(attacked.envelope(), annotations=named)
    assert attacked.pull().code == 0


def test_garbage_that_names_the_root_spoils_nothing(attacked: Notary) -> None:
    named = {media.NOTARY_THUMBPRINTS: json.dumps([thumbprint(item) for item in CHAIN])}
    for number in range(20):
        attacked.attach(b'{"garbage":%d}' % number, annotations=named)
    attacked.attach(b"x" * (FAIR_SHARE + 1), annotations=named)
    attacked.attach(attacked.envelope())
    assert attacked.pull().code == 0


def test_a_chain_without_end(attacked: Notary) -> None:
    """More certificates than are read, and the same ones in a circle."""
    root = CHAIN[-1]
    attacked.attach(attacked.envelope(carried=[CHAIN[0], *[root] * 40]))
    attacked.attach(attacked.envelope(carried=[CHAIN[0], root, CHAIN[0], root]))
    assert attacked.refused(12, 13)
