"""``sign --format notation`` and ``key certificate``: what is written, what is refused, and nothing twice."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ocimodel.attest import notary_jws
from ocimodel.keys import selfsigned, x509
from ocimodel.keys.signer import Signer
from ocimodel.oci import media
from ocimodel.trust import chains
from tests.attacks.scene import write_model
from tests.certificates import SINCE, UNTIL, Made, Wish, ca, chain, pem, recent
from tests.commands import Ran, events, run
from tests.documents import check
from tests.signers import ALICE, BOB, CAROL

SUBJECT = "C=US, ST=WA, O=acme, CN=models"


def fresh(**wishes: Any) -> tuple[Made, ...]:
    """A chain that is valid now."""
    return chain(ca("root", number=1, **recent()), Wish(**{**recent(), **wishes}))


class Place:
    """A layout with a model, and the files of a signer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = f"oci:{folder / 'layout'}:v1"
        assert run("push", write_model(folder / "model"), self.model).code == 0

    def sign(
        self, certificates: tuple[Made, ...], *words: str, signer: Made | None = None, chained: bytes = b""
    ) -> Ran:
        (self.folder / "chain.pem").write_bytes(chained or pem(certificates))
        private = (signer or certificates[0]).write_key(self.folder / "leaf.key")
        format_ = ("--format", "notation", "--certificate", self.folder / "chain.pem")
        return run("sign", self.model, "--key", private, *format_, *words, "--json")

    def public(self, made: Made) -> Path:
        path = self.folder / "leaf.pub"
        path.write_bytes(made.signer.public.to_pem())
        return path

    def referrers(self) -> list[dict[str, Any]]:
        """The manifests of the signatures."""
        found = []
        for path in (self.folder / "layout" / "blobs" / "sha256").iterdir():
            document = _json(path.read_bytes())
            if isinstance(document, dict) and document.get("artifactType") == media.NOTARY_SIGNATURE:
                found.append(document)
        return found

    def blob(self, digest: str) -> bytes:
        return (self.folder / "layout" / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_what_is_written(place: Place) -> None:
    """The manifest that the Notary Project specifies, whose list of thumbprints notation writes in lower case."""
    made = fresh()
    ran = place.sign(made, "-a", "team=risk", "--expires", "90d")
    assert ran.code == 0, ran.err
    (signer,) = check(ran.document)["signers"]
    assert (signer["format"], signer["status"]) == ("notation", "created")
    (manifest,) = place.referrers()
    assert manifest["config"]["mediaType"] == media.OCI_EMPTY
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == media.NOTARY_JWS
    thumbs = [x509.parse(item.der).thumbprint for item in made]
    assert json.loads(manifest["annotations"]["io.cncf.notary.x509chain.thumbprint#S256"]) == thumbs
    found = notary_jws.decode(place.blob(layer["digest"]))
    assert list(found.certificates) == [item.der for item in made]
    assert found.expires is not None
    assert found.expires - found.time == timedelta(days=90)
    # Our own claim of an end is the header that the format has for it.
    assert found.target.annotations == {"team": "risk"}
    assert str(found.target.digest) == manifest["subject"]["digest"]
    assert "notation" in json.dumps(events()[-1])


@pytest.mark.parametrize("kind", ["p256", "rsa2048"])
@pytest.mark.parametrize("words", [(), ("--expires", "90d"), ("-a", "k=v")], ids=["plain", "expiry", "claims"])
def test_nothing_is_signed_twice(place: Place, kind: str, words: tuple[str, ...]) -> None:
    """Although each signature states its time, and RSASSA-PSS is salted."""
    made = fresh(kind=kind)
    first, second = place.sign(made, *words), place.sign(made, *words)
    assert (first.code, second.code) == (0, 0)
    assert first.document["signature"]["digest"] == second.document["signature"]["digest"]
    assert (first.document["signature"]["created"], second.document["signature"]["created"]) == (True, False)
    assert len(place.referrers()) == 1


def test_what_is_another_signature(place: Place) -> None:
    """Other claims, an end, another chain for the same key, another key, another format."""
    made = fresh()
    again = fresh()
    steps: list[tuple[tuple[Made, ...], list[str]]] = [
        (made, []),
        (made, ["-a", "k=v"]),
        (made, ["--expires", "90d"]),
        (again, []),
        (fresh(number=4), []),
    ]
    for number, (certificates, words) in enumerate(steps, start=1):
        assert place.sign(certificates, *words).code == 0
        assert len(place.referrers()) == number
    private = made[0].write_key(place.folder / "leaf.key")
    assert run("sign", place.model, "--key", private).code == 0
    ran = run("verify", place.model, "--key", place.public(made[0]), "--json")
    assert [signer["status"] for signer in ran.document["signers"]].count("good") == 5


BROKEN = {
    "another key's": (fresh, {"signer": fresh(number=5)[0]}, 2),
    "a certificate that has expired": (lambda: chain(Wish(since=SINCE, until=SINCE + timedelta(days=1))), {}, 15),
    "a certificate that is not valid yet": (
        lambda: chain(Wish(since=UNTIL + timedelta(days=900), until=UNTIL + timedelta(days=901))),
        {},
        15,
    ),
    "a chain without its root": (lambda: fresh()[:1], {}, 13),
    "a chain in the wrong order": (lambda: fresh()[::-1], {}, 13),
    "a certificate for servers": (lambda: fresh(purposes=("1.3.6.1.5.5.7.3.1",)), {}, 13),
    "no certificate": (fresh, {"chained": b"text"}, 2),
    "the private key": (
        fresh,
        {"chained": b"-----BEGIN PRIVATE KEY-----\nMII=\n-----END PRIVATE KEY-----\n"},
        2,
    ),
}


@pytest.mark.parametrize(("make", "how", "code"), BROKEN.values(), ids=BROKEN)
def test_nothing_is_signed_that_nobody_would_take(place: Place, make: Any, how: dict[str, Any], code: int) -> None:
    ran = place.sign(make(), **how)
    assert ran.code == code, ran.err
    assert place.referrers() == []


def test_claims_and_keys_that_the_notary_project_does_not_have(place: Place, tmp_path: Path) -> None:
    assert place.sign(fresh(), "-a", "io.cncf.notary.x=1").code == 2
    private = tmp_path / "bob.key"
    private.write_bytes(BOB.private_pem(None))
    (tmp_path / "chain.pem").write_bytes(pem(fresh()))
    words = ("--format", "notation", "--certificate", tmp_path / "chain.pem")
    ran = run("sign", place.model, "--key", private, *words)
    assert (ran.code, "ed25519" in ran.err) == (2, True)
    missing = run(
        "sign", place.model, "--key", private, "--format", "notation", "--certificate", tmp_path / "none.pem"
    )
    assert missing.code == 11
    for format_ in ("sigstore", "cosign-legacy", "oms"):
        assert run("sign", place.model, "--key", private, "--format", format_, *words[2:]).code == 2


# --- certificates -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa-2048", "rsa-3072"])
def test_a_certificate_for_a_key(place: Place, tmp_path: Path, kind: str) -> None:
    assert run("key", "generate", tmp_path / "own", "--no-password", "--type", kind).code == 0
    ran = run("key", "certificate", tmp_path / "own.key", "--subject", SUBJECT, "--json")
    assert ran.code == 0, ran.err
    told = check(ran.document)["certificate"]
    (der,) = x509.read_pem((tmp_path / "own.crt").read_bytes(), "own.crt")
    made = x509.parse(der)
    assert (told["thumbprint"], told["subject"], told["keyid"]) == (made.thumbprint, SUBJECT, made.keyid)
    assert chains.broken([made]) == ""
    assert made.not_after - made.not_before == timedelta(days=365)
    words = ("--format", "notation", "--certificate", tmp_path / "own.crt")
    assert run("sign", place.model, "--key", tmp_path / "own.key", *words).code == 0
    assert run("verify", place.model, "--key", tmp_path / "own.pub").code == 0


@pytest.mark.parametrize("signer", [ALICE, CAROL], ids=["P-256", "P-384"])
def test_the_same_certificate_for_the_same_arguments(signer: Signer) -> None:
    names = (("C", "US"), ("ST", "WA"), ("O", "acmé"), ("CN", "x"))
    one, two = (selfsigned.certificate(signer, names, SINCE, UNTIL) for _ in range(2))
    assert one == two
    made = x509.parse(one)
    assert (made.not_before, made.not_after, made.authority) == (SINCE, UNTIL, False)
    assert dict(made.subject)["O"] == "acmé"
    late = selfsigned.certificate(signer, names, SINCE, UNTIL.replace(year=2051))
    assert x509.parse(late).not_after.year == 2051
    assert x509.parse(late).serial != made.serial


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--subject", "O=acme"), 2),
        (("--subject", "C=USA, ST=WA, O=acme"), 2),
        (("--subject", "C=US, ST=WA, O=acme, X=y"), 2),
        (("--subject", SUBJECT, "--valid-for", "tomorrow"), 2),
        ((), 2),
    ],
)
def test_a_certificate_that_is_not_made(tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    private = tmp_path / "own.key"
    private.write_bytes(ALICE.private_pem(None))
    assert run("key", "certificate", private, *words).code == code
    assert not (tmp_path / "own.crt").exists()


def test_where_a_certificate_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = tmp_path / "own.key"
    private.write_bytes(ALICE.private_pem(None))
    words = ("key", "certificate", private, "--subject", SUBJECT)
    assert run(*words, "--valid-for", "30d", "-o", tmp_path / "a.pem").code == 0
    assert run(*words, "-o", tmp_path / "a.pem").code == 2
    assert run(*words).code == 0
    assert run(*words).code == 2
    monkeypatch.setenv("SIGNING_PEM", ALICE.private_pem(None).decode())
    from_environment = ("key", "certificate", "env:SIGNING_PEM", "--subject", SUBJECT)
    assert run(*from_environment).code == 2
    assert run(*from_environment, "-o", tmp_path / "b.pem").code == 0
    private.write_bytes(BOB.private_pem(None))
    ran = run(*words, "-o", tmp_path / "c.pem")
    assert (ran.code, "ed25519" in ran.err) == (2, True)


def test_a_certificate_in_the_place_of_a_key(place: Place) -> None:
    (place.folder / "leaf.crt").write_bytes(fresh()[0].pem)
    ran = run("verify", place.model, "--key", place.folder / "leaf.crt")
    assert (ran.code, "that is a certificate" in ran.err) == (2, True)
