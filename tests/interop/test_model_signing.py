"""model_signing accepts on a pulled directory what we signed in a registry; we accept what it signed on a disk."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.commands import run
from tests.interop.conftest import Pair, generate, pushed
from tests.models import make_model
from tests.real import peers
from tests.real.oms import oms_sign, oms_verify
from tests.real.registry import RealRegistry

pytestmark = pytest.mark.peer

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def signed(reference: str, pair: Pair, *more: str) -> None:
    ran = run("sign", reference, "--key", pair.private, "--format", "oms", *more)
    assert ran.code == 0, ran.err


def pulled(reference: str, place: Path, *more: str | Path) -> tuple[Path, Path]:
    """The directory, and its model.sig beside it."""
    directory, signature = place / "pulled", place / "model.sig"
    ran = run("pull", reference, "-o", directory, "--oms-out", signature, *more)
    assert ran.code == 0, ran.err
    return directory, signature


def attached(reference: str, signature: Path) -> None:
    """A signature by `model_signing`, put beside the artifact by somebody else's tool."""
    where, name = signature.parent, signature.name
    words = ["attach", "--plain-http", "--no-tty", "--artifact-type", BUNDLE, reference, f"{name}:{BUNDLE}"]
    peers.run("oras", *words, cwd=where)


@pytest.mark.parametrize("kind", ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521"])
def test_model_signing_verifies_our_signature(
    distribution: RealRegistry, model: Path, tmp_path: Path, kind: str
) -> None:
    pair, other = generate(tmp_path, kind), generate(tmp_path, kind, "other")
    reference = pushed(model, distribution.fresh())
    signed(reference, pair, "-a", "team=risk", "--expires", "90d")
    directory, signature = pulled(reference, tmp_path, "--key", pair.public)
    assert "succeeded" in oms_verify(directory, signature, pair.public).stdout
    assert oms_verify(directory, signature, other.public, check=False).returncode != 0
    assert run("verify", directory, "--key", pair.public, "--offline").code == 0
    changed = next(path for path in directory.rglob("*") if path.is_file())
    changed.write_bytes(changed.read_bytes() + b" ")
    assert oms_verify(directory, signature, pair.public, check=False).returncode != 0


def test_one_push_that_signs_for_model_signing(
    registry: RealRegistry, model: Path, tmp_path: Path, key: Pair
) -> None:
    reference = f"{registry.fresh()}:v1"
    ran = run("push", model, reference, "--key", key.private, "--format", "oms")
    assert ran.code == 0, ran.err
    directory, signature = pulled(reference, tmp_path, "--key", key.public)
    oms_verify(directory, signature, key.public)


def test_files_that_model_signing_ignores_travel_too(registry: RealRegistry, tmp_path: Path, key: Pair) -> None:
    model = make_model(tmp_path / "model")
    (model / ".gitattributes").write_text("*.bin filter=lfs\n")
    (model / ".github").mkdir()
    (model / ".github" / "x.yaml").write_text("{}\n")
    reference = pushed(model, registry.fresh())
    signed(reference, key)
    directory, signature = pulled(reference, tmp_path, "--key", key.public)
    assert (directory / ".gitattributes").exists()
    oms_verify(directory, signature, key.public)
    oms_verify(directory, signature, key.public, "--no-ignore-git-paths")


def test_files_that_share_an_archive(distribution: RealRegistry, tmp_path: Path, key: Pair) -> None:
    """More than a thousand files: the small ones are in archives, whose digests are not theirs."""
    model = tmp_path / "model"
    for number in range(1010):
        path = model / f"part-{number % 7}" / f"{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{{"number": {number}}}')
    reference = pushed(model, distribution.fresh())
    signed(reference, key)
    directory, signature = pulled(reference, tmp_path, "--key", key.public)
    oms_verify(directory, signature, key.public)
    statement = oms_statement(signature)
    assert len(statement["predicate"]["resources"]) == 1010


def oms_statement(signature: Path) -> Any:
    return json.loads(base64.b64decode(json.loads(signature.read_bytes())["dsseEnvelope"]["payload"]))


def test_our_root_digest_is_theirs(distribution: RealRegistry, model: Path, tmp_path: Path, key: Pair) -> None:
    reference = pushed(model, distribution.fresh())
    signed(reference, key)
    _, ours = pulled(reference, tmp_path, "--key", key.public)
    theirs = tmp_path / "theirs.sig"
    oms_sign(model, theirs, key.private)
    mine, other = oms_statement(ours), oms_statement(theirs)
    assert mine["subject"][0]["digest"] == other["subject"][0]["digest"]
    assert mine["predicate"]["resources"] == other["predicate"]["resources"]


@pytest.mark.parametrize("kind", ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521"])
def test_we_verify_a_signature_by_model_signing(
    distribution: RealRegistry, model: Path, tmp_path: Path, kind: str
) -> None:
    pair, other = generate(tmp_path, kind), generate(tmp_path, kind, "other")
    oms_sign(model, tmp_path / "theirs.sig", pair.private)
    reference = pushed(model, distribution.fresh())
    attached(reference, tmp_path / "theirs.sig")
    ran = run("verify", reference, "--key", pair.public, "--json")
    assert ran.code == 0, ran.err
    (signer,) = ran.document["signers"]
    assert (signer["format"], signer["status"], signer["detail"]) == ("oms", "good", "over the files alone")
    assert run("verify", reference, "--key", other.public).code == 12
    directory, signature = pulled(reference, tmp_path, "--key", pair.public)
    assert signature.read_bytes() == (tmp_path / "theirs.sig").read_bytes()
    oms_verify(directory, signature, pair.public)
    assert run("verify", directory, "--key", pair.public, "--offline").code == 0
    assert run("verify", directory, "--key", other.public, "--offline").code == 12


def test_a_signature_by_model_signing_over_other_files(
    distribution: RealRegistry, model: Path, tmp_path: Path, key: Pair
) -> None:
    """One file more, one less, one changed: it is not about this artifact."""
    signature = tmp_path / "theirs.sig"
    oms_sign(model, signature, key.private)
    for name in ("more", "less", "changed", "git"):
        place = make_model(tmp_path / name)
        config = next(place.rglob("*.json"))
        if name == "less":
            config.unlink()
        elif name == "changed":
            config.write_text("{}")
        else:
            (place / {"more": "more.txt", "git": ".gitattributes"}[name]).write_text("x")
        reference = pushed(place, distribution.fresh())
        attached(reference, signature)
        ran = run("verify", reference, "--key", key.public, "--json")
        assert (ran.code, ran.document["reasons"][0]["reason"]) == (12, "other-subject"), name


@pytest.mark.parametrize(
    "how", [("--no-ignore-git-paths",), ("--ignore-paths", "README.md")], ids=["git", "ignored"]
)
def test_what_its_signer_left_out_is_not_signed(
    distribution: RealRegistry, tmp_path: Path, key: Pair, how: tuple[str, ...]
) -> None:
    model = make_model(tmp_path / "model")
    (model / ".gitattributes").write_text("x\n")
    (model / "README.md").write_text("# x\n")
    words = [str(model / word) if word == "README.md" else word for word in how]
    oms_sign(model, tmp_path / "theirs.sig", key.private, *words)
    reference = pushed(model, distribution.fresh())
    attached(reference, tmp_path / "theirs.sig")
    assert run("verify", reference, "--key", key.public).code == (0 if len(how) == 1 else 12)


def test_nobody_else_takes_it_for_their_own(
    distribution: RealRegistry, model: Path, tmp_path: Path, key: Pair
) -> None:
    """cosign finds no signature of its kind, and ours beside it still passes."""
    reference = pushed(model, distribution.fresh())
    signed(reference, key)
    offline = ["--insecure-ignore-tlog=true", "--allow-http-registry"]

    def cosign() -> subprocess.CompletedProcess[str]:
        return peers.run("cosign", "verify", "--key", key.public, *offline, reference, check=False)

    assert cosign().returncode != 0
    assert run("sign", reference, "--key", key.private).code == 0
    assert cosign().returncode == 0
    assert run("verify", reference, "--key", key.public).code == 0
