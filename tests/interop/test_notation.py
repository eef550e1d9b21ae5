"""notation 1.3: it verifies what we sign, at level strict, and we verify what it signs."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pkcs11
import pytest

from tests.certificates import Made, Wish, ca, chain, pem, recent
from tests.commands import run
from tests.interop.conftest import generate, pushed
from tests.real.notation import Notation
from tests.real.registry import RealRegistry
from tests.real.softhsm import SoftHsm
from tests.revoking import GOOD, REVOKED, UNKNOWN, crl, response
from tests.revoking import serving as serving_status
from tests.test_revocation import points, responder
from tests.tsa import authority, serving

pytestmark = pytest.mark.peer


def alone(kind: str = "p256") -> tuple[Made, ...]:
    """A certificate that stands for itself."""
    return chain(Wish(kind=kind, **recent()))  # type: ignore[arg-type]


def issued(kind: str = "p256") -> tuple[Made, ...]:
    """Leaf, intermediate and root."""
    root, between = ca("root", number=1, **recent()), ca("intermediate", number=2, **recent())
    return chain(root, between, Wish(kind=kind, **recent()))  # type: ignore[arg-type]


class Files:
    """A chain on the disk: what commands get."""

    def __init__(self, place: Path, certificates: tuple[Made, ...]) -> None:
        self.place = place
        self.key = certificates[0].write_key(place / "leaf.key")
        self.chain, self.root, self.public = place / "chain.pem", place / "root.pem", place / "leaf.pub"
        self.chain.write_bytes(pem(certificates))
        self.root.write_bytes(certificates[-1].pem)
        self.public.write_bytes(certificates[0].signer.public.to_pem())

    def policy(self, **more: object) -> Path:
        """A policy that trusts the root, for whomever it certifies."""
        line = {"rootsFile": "root.pem", "subjects": ["*"], **more}
        document = {
            "version": 1,
            "certificates": {"them": line},
            "scopes": [{"match": "**", "signatures": {"from": ["them"]}, "formats": {"deny": []}}],
        }
        path = self.place / "policy.json"
        path.write_text(json.dumps(document))
        return path

    def sign(self, reference: str, *words: str) -> None:
        ran = run("sign", reference, "--format", "notation", "--key", self.key, "--certificate", self.chain, *words)
        assert ran.code == 0, ran.err


KINDS = ("rsa2048", "rsa3072", "rsa4096", "p256", "p384", "p521")


@pytest.mark.parametrize("make", [alone, issued], ids=["alone", "chain"])
@pytest.mark.parametrize("kind", KINDS)
def test_notation_verifies_what_we_sign(
    distribution: RealRegistry, model: Path, notation: Notation, tmp_path: Path, kind: str, make: object
) -> None:
    files = Files(tmp_path, (alone if make is alone else issued)(kind))
    reference = pushed(model, distribution.fresh())
    files.sign(reference)
    assert notation.verify(reference, check=False).returncode != 0
    notation.trust(files.root)
    notation.verify(reference)
    assert run("verify", reference, "--key", files.public).code == 0


def test_one_push_that_signs_for_notation(
    registry: RealRegistry, model: Path, notation: Notation, tmp_path: Path
) -> None:
    files = Files(tmp_path, issued())
    reference = f"{registry.fresh()}:v1"
    signing = ("--key", files.key, "--format", "notation", "--certificate", files.chain, "--expires", "90d")
    ran = run("push", model, reference, *signing, "--json")
    assert ran.code == 0, ran.err
    notation.trust(files.root)
    notation.verify(ran.document["reference"].replace(":v1@", "@"))
    assert run("verify", reference, "--policy", files.policy()).code == 0


ENVELOPES = pytest.mark.parametrize("envelope", ["jws", "cose"])


@ENVELOPES
@pytest.mark.parametrize("make", [alone, issued], ids=["alone", "chain"])
@pytest.mark.parametrize("kind", KINDS)
def test_we_verify_what_notation_signs(
    distribution: RealRegistry,
    model: Path,
    notation: Notation,
    tmp_path: Path,
    kind: str,
    make: object,
    envelope: str,
) -> None:
    files = Files(tmp_path, (alone if make is alone else issued)(kind))
    notation.key("mine", files.key, files.chain)
    reference = pushed(model, distribution.fresh())
    assert run("verify", reference, "--key", files.public).code == 10
    notation.sign(reference, "--user-metadata", "team=risk", "--signature-format", envelope)
    ran = run("verify", reference, "--key", files.public, "--json")
    assert ran.code == 0, ran.err
    (signer,) = ran.document["signers"]
    assert (signer["format"], signer["status"], signer["claims"]) == ("notation", "good", {"team": "risk"})


def test_both_kinds_of_registry(registry: RealRegistry, model: Path, notation: Notation, tmp_path: Path) -> None:
    """Expiry, claims, and nothing twice."""
    files = Files(tmp_path, issued())
    reference = pushed(model, registry.fresh())
    files.sign(reference, "-a", "team=risk", "--expires", "90d")
    files.sign(reference, "-a", "team=risk", "--expires", "90d")
    notation.trust(files.root)
    notation.verify(reference, "--user-metadata", "team=risk")
    assert notation.verify(reference, "--user-metadata", "team=else", check=False).returncode != 0
    listed = run("tree", reference, "--json")
    assert str(listed.document).count("application/vnd.cncf.notary.signature") == 1
    ran = run("verify", reference, "--key", files.public, "--json")
    (signer,) = ran.document["signers"]
    assert (signer["status"], signer["claims"]) == ("good", {"team": "risk"})


@ENVELOPES
def test_what_notation_signs_is_judged_as_notation_judges_it(
    registry: RealRegistry, model: Path, notation: Notation, tmp_path: Path, envelope: str
) -> None:
    """Under a policy with the same root and subjects as notation's."""
    files = Files(tmp_path, issued())
    notation.key("mine", files.key, files.chain)
    reference = pushed(model, registry.fresh())
    notation.sign(reference, "--signature-format", envelope)
    other = tmp_path / "other"
    other.mkdir()
    stranger = Files(other, chain(ca("root", number=5, **recent()), Wish(number=6, **recent())))  # type: ignore[arg-type]
    here = files.policy()
    assert run("verify", reference, "--policy", here).code == 0
    assert run("verify", reference, "--policy", stranger.policy()).code == 12
    for subject, code in (("C=US, ST=WA, O=acme", 0), ("C=US, ST=WA, O=other", 12)):
        notation.trust(files.root, identities=(f"x509.subject: {subject}",))
        assert (notation.verify(reference, check=False).returncode == 0) == (code == 0)
        assert run("verify", reference, "--policy", files.policy(subjects=[subject])).code == code
    pulled = run("pull", reference, "-o", tmp_path / "out", "--policy", files.policy())
    assert pulled.code == 0, pulled.err
    assert run("verify", tmp_path / "out", "--policy", here, "--as", reference.partition("@")[0]).code == 0


@ENVELOPES
def test_what_has_expired(
    distribution: RealRegistry, model: Path, notation: Notation, tmp_path: Path, envelope: str
) -> None:
    """The signature: with a certificate that has ended, notation does not sign. A policy has a minute of leeway."""
    files = Files(tmp_path, issued())
    notation.key("mine", files.key, files.chain)
    reference = pushed(model, distribution.fresh())
    notation.sign(reference, "--signature-format", envelope, "--expiry", "1s")
    notation.trust(files.root)
    deadline = datetime.now(UTC) + timedelta(seconds=2)
    while datetime.now(UTC) < deadline:
        time.sleep(0.2)
    assert notation.verify(reference, check=False).returncode != 0
    for trust in (("--key", files.public), ("--policy", files.policy())):
        ran = run("verify", reference, *trust, "--json")
        expected = (15, ["expired"]) if trust[0] == "--key" else (0, [])
        assert (ran.code, [item["reason"] for item in ran.document["reasons"]]) == expected


@ENVELOPES
def test_timestamps(
    distribution: RealRegistry, model: Path, notation: Notation, tmp_path: Path, envelope: str
) -> None:
    """notation stamps at an authority of the tests' own, and both of us look who it was."""
    files = Files(tmp_path, issued())
    tsa, stranger = authority(20, **recent()), authority(50, **recent())
    for name, certificates in (("tsa", tsa), ("stranger", stranger)):
        (tmp_path / f"{name}.pem").write_bytes(certificates[-1].pem)
    notation.key("mine", files.key, files.chain)
    reference = pushed(model, distribution.fresh())
    with serving(tsa) as url:
        words = ["--timestamp-url", url, "--timestamp-root-cert", str(tmp_path / "tsa.pem")]
        notation.sign(reference, "--signature-format", envelope, *words)
    for name, fine in (("tsa", True), ("stranger", False)):
        notation.run("cert", "add", "--type", "tsa", "--store", name, tmp_path / f"{name}.pem")
        notation.trust(files.root)
        notation.policy(["ca:test", f"tsa:{name}"])
        assert (notation.verify(reference, check=False).returncode == 0) == fine
        ran = run("verify", reference, "--policy", files.policy(timestampRootsFile=f"{name}.pem"))
        assert ran.code == (0 if fine else 13), ran.err
    files.sign(unstamped := pushed(model, distribution.fresh()))
    assert notation.verify(unstamped, check=False).returncode != 0
    assert run("verify", unstamped, "--policy", files.policy(timestampRootsFile="tsa.pem")).code == 13


@pytest.mark.parametrize("revoked", ["nobody", "leaf", "intermediate", "unknown"])
def test_revocation(
    distribution: RealRegistry, model: Path, notation: Notation, tmp_path: Path, revoked: str
) -> None:
    """notation asks at level strict; we ask where the policy says so. The verdicts are the same."""
    now = datetime.now(UTC).replace(microsecond=0)
    times: dict[str, Any] = {"since": now - timedelta(hours=1), "until": now + timedelta(hours=1)}
    with serving_status() as service:
        leaf, between, root = certificates = chain(
            ca("root", number=1, **recent()),
            ca("intermediate", number=2, more=(points(f"{service.url}/root.crl"),), **recent()),
            Wish(more=(responder(f"{service.url}/ocsp"),), **recent()),  # type: ignore[arg-type]
        )
        files = Files(tmp_path, certificates)
        reference = pushed(model, distribution.fresh())
        files.sign(reference)
        status = {"leaf": REVOKED, "unknown": UNKNOWN}.get(revoked, GOOD)
        service.says("/ocsp", response(between, leaf, status, **times))
        service.says("/root.crl", crl(root, *([between] if revoked == "intermediate" else []), **times))
        notation.trust(files.root)
        peer = notation.verify(reference, check=False)
        ran = run("verify", reference, "--policy", files.policy(revocation={"mode": "online"}))
    assert (peer.returncode == 0) == (revoked == "nobody"), peer.stderr
    assert ran.code == {"nobody": 0, "unknown": 13}.get(revoked, 16), ran.err
    assert {item.partition(" ")[0] for item in service.asked} == {"GET", "POST"}


@pytest.mark.parametrize("kind", ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa-2048", "rsa-3072", "rsa-4096"])
def test_notation_takes_a_certificate_that_we_made(
    distribution: RealRegistry, model: Path, notation: Notation, tmp_path: Path, kind: str
) -> None:
    """At level strict, and it signs with it."""
    pair = generate(tmp_path, kind)
    chain_ = pair.private.with_suffix(".crt")
    subject = "C=US, ST=WA, O=acme, CN=models"
    assert run("key", "certificate", pair.private, "--subject", subject).code == 0
    ours, theirs = pushed(model, distribution.fresh()), pushed(model, distribution.fresh())
    words = ("--format", "notation", "--key", pair.private, "--certificate", chain_)
    assert run("sign", ours, *words).code == 0
    notation.key("mine", pair.private, chain_)
    notation.sign(theirs)
    notation.trust(chain_, identities=(f"x509.subject: {subject}",))
    for reference in (ours, theirs):
        notation.verify(reference)
        assert run("verify", reference, "--key", pair.public).code == 0


def test_a_key_in_a_token(
    distribution: RealRegistry, model: Path, notation: Notation, tmp_path: Path, softhsm: SoftHsm
) -> None:
    """Nobody can take it out: it signs its certificate, and the artifact."""
    pair = generate(tmp_path)
    softhsm.import_key(pair.private, "models")
    pkcs11.lib(str(softhsm.module)).reinitialize()
    (tmp_path / "pin").write_text(softhsm.pin)
    query = f"module-path={softhsm.module}&pin-source=file:{tmp_path / 'pin'}"
    uri = f"pkcs11:token={softhsm.label};object=models?{query}"
    chain_ = tmp_path / "token.crt"
    subject = ("--subject", "C=US, ST=WA, O=acme")
    try:
        assert run("key", "certificate", uri, *subject, "-o", chain_).code == 0
        reference = pushed(model, distribution.fresh())
        words = ("--format", "notation", "--key", uri, "--certificate", chain_)
        assert run("sign", reference, *words).code == 0
    finally:
        pkcs11.lib(str(softhsm.module)).finalize()
    notation.trust(chain_)
    notation.verify(reference)
