"""notation 1.3: it verifies what we sign, at level strict, and we verify what it signs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.certificates import Made, Wish, ca, chain, pem, recent
from tests.commands import run
from tests.interop.conftest import pushed
from tests.real.notation import Notation
from tests.real.registry import RealRegistry

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
        self.key = certificates[0].write_key(place / "leaf.key")
        self.chain, self.root, self.public = place / "chain.pem", place / "root.pem", place / "leaf.pub"
        self.chain.write_bytes(pem(certificates))
        self.root.write_bytes(certificates[-1].pem)
        self.public.write_bytes(certificates[0].signer.public.to_pem())

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


@pytest.mark.parametrize("make", [alone, issued], ids=["alone", "chain"])
@pytest.mark.parametrize("kind", KINDS)
def test_we_verify_what_notation_signs(
    distribution: RealRegistry, model: Path, notation: Notation, tmp_path: Path, kind: str, make: object
) -> None:
    files = Files(tmp_path, (alone if make is alone else issued)(kind))
    notation.key("mine", files.key, files.chain)
    reference = pushed(model, distribution.fresh())
    assert run("verify", reference, "--key", files.public).code == 10
    notation.sign(reference, "--user-metadata", "team=risk")
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
