"""Timestamps that we have made: what a retired key signed counts by them, and notation and cosign verify them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ocimodel.trust.claims import format_time
from tests.certificates import Made, pem, recent
from tests.commands import run
from tests.interop.conftest import Pair, generate, pushed
from tests.interop.test_notation import Files, issued
from tests.real import peers
from tests.real.cosign import CosignKey, cosign_sign, cosign_verify
from tests.real.notation import Notation
from tests.real.oms import oms_verify
from tests.real.registry import RealRegistry
from tests.tsa import authority, serving

pytestmark = pytest.mark.peer

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def tsa() -> tuple[Made, ...]:
    return authority(20, **recent())


def roots(place: Path, **authorities: tuple[Made, ...]) -> None:
    for name, certificates in authorities.items():
        (place / f"{name}.pem").write_bytes(certificates[-1].pem)


def policy(place: Path, public: Path, **standing: object) -> Path:
    """A policy that trusts a key which has ended, and the authority in ``tsa.pem``."""
    document = {
        "version": 1,
        "keys": {"ci": {"publicKey": public.read_text(), **standing}},
        "timestampAuthorities": {"acme-tsa": {"rootsFile": "tsa.pem"}},
        "scopes": [{"match": "**", "signatures": {"from": ["ci"]}, "formats": {"deny": []}}],
    }
    path = place / "policy.json"
    path.write_text(json.dumps(document))
    return path


def ends(time: datetime) -> list[tuple[dict[str, str], int]]:
    """Ways in which a key ends at ``time``, and the exit code for what it did not sign before."""
    at = format_time(time)
    return [
        ({"status": "retired", "retiredAt": at}, 15),
        ({"status": "revoked", "compromisedSince": at}, 16),
        ({"validUntil": at}, 15),
    ]


def test_a_key_that_ended(
    distribution: RealRegistry, model: Path, key: Pair, tmp_path: Path, tsa: tuple[Made, ...]
) -> None:
    """Counts where the token is from before, and does not where it is from after, or where there is none."""
    roots(tmp_path, tsa=tsa)
    repository = distribution.fresh()
    with serving(tsa) as url:
        stamp = ("--timestamp-url", url, "--timestamp-root", tmp_path / "tsa.pem")
        stamped = pushed(model, repository, "--key", key.private, *stamp)
    plain = pushed(model, distribution.fresh(), "--key", key.private)
    now = datetime.now(UTC)
    # Any of these would be valid without its end; an end that is to come tells a token from before.
    for standing, code in ends(now + HOUR):
        accepted = policy(tmp_path, key.public, **standing)
        assert run("verify", stamped, "--policy", accepted).code == 0
        assert run("verify", plain, "--policy", accepted).code == (0 if "validUntil" in standing else code)
    for standing, code in ends(now - HOUR):
        refused = policy(tmp_path, key.public, **standing)
        assert [run("verify", item, "--policy", refused).code for item in (stamped, plain)] == [code, code]
    late = policy(tmp_path, key.public, status="retired", retiredAt=format_time(now + HOUR))
    pulled = run("pull", stamped, "-o", tmp_path / "out", "--policy", late)
    assert pulled.code == 0, pulled.err
    assert run("verify", tmp_path / "out", "--policy", late, "--as", repository, "--offline").code == 0
    assert "by acme-tsa" in run("policy", "explain", late, stamped).out


@pytest.mark.parametrize("kind", ["p256", "p521", "rsa3072"])
def test_notation_verifies_our_token(
    distribution: RealRegistry,
    model: Path,
    notation: Notation,
    tmp_path: Path,
    tsa: tuple[Made, ...],
    kind: str,
) -> None:
    """At level strict, in a trust policy with a store of such authorities, each hash with its key."""
    roots(tmp_path, tsa=tsa, stranger=authority(50, **recent()))
    files = Files(tmp_path, issued(kind))
    reference = pushed(model, distribution.fresh())
    with serving(tsa) as url:
        files.sign(reference, "--timestamp-url", url, "--timestamp-root", str(tmp_path / "tsa.pem"))
    notation.trust(files.root)
    for name, fine in (("tsa", True), ("stranger", False)):
        notation.run("cert", "add", "--type", "tsa", "--store", name, tmp_path / f"{name}.pem")
        notation.policy(["ca:test", f"tsa:{name}"])
        assert (notation.verify(reference, check=False).returncode == 0) == fine
        assert run("verify", reference, "--policy", files.policy(timestampRootsFile=f"{name}.pem")).code == (
            0 if fine else 13
        )
    late = policy(tmp_path, files.public, status="retired", retiredAt=format_time(datetime.now(UTC) + HOUR))
    assert run("verify", reference, "--policy", late).code == 0


@pytest.mark.parametrize("words", [(), ("--format", "cosign-legacy")], ids=["bundle", "legacy"])
def test_cosign_verifies_our_token(
    distribution: RealRegistry, model: Path, tmp_path: Path, tsa: tuple[Made, ...], words: tuple[str, ...]
) -> None:
    """With a trusted root that has the authority, and with no other."""
    key = generate(tmp_path)
    reference, plain = pushed(model, distribution.fresh()), pushed(model, distribution.fresh())
    with serving(tsa) as url:
        ran = run("sign", reference, "--key", key.private, "--timestamp-url", url, *words)
        assert ran.code == 0, ran.err
    assert run("sign", plain, "--key", key.private, *words).code == 0
    for name, certificates, fine in (("mine", tsa, True), ("stranger", authority(50, **recent()), False)):
        flags = ["--use-signed-timestamps", *trusting(tmp_path / name, certificates, legacy=bool(words))]
        found = cosign_verify(reference, key.public, *flags, check=False)
        assert (found.returncode == 0) == fine, found.stderr
        # Under its legacy tags, cosign looks at those tokens that are there.
        assert (cosign_verify(plain, key.public, *flags, check=False).returncode == 0) == bool(words)


def test_model_signing_minds_no_token(
    distribution: RealRegistry, model: Path, key: Pair, tmp_path: Path, tsa: tuple[Made, ...]
) -> None:
    reference = pushed(model, distribution.fresh())
    with serving(tsa) as url:
        ran = run("sign", reference, "--key", key.private, "--format", "oms", "--timestamp-url", url)
        assert ran.code == 0, ran.err
    assert run("pull", reference, "-o", tmp_path / "out", "--oms-out", tmp_path / "model.sig").code == 0
    assert "signedTimestamp" in (tmp_path / "model.sig").read_text()
    assert oms_verify(tmp_path / "out", tmp_path / "model.sig", key.public).returncode == 0


@pytest.mark.parametrize("peer", ["cosign", "cosign-legacy", "notation"])
def test_tokens_of_others_count_here(
    distribution: RealRegistry,
    model: Path,
    cosign_key: CosignKey,
    notation: Notation,
    tmp_path: Path,
    tsa: tuple[Made, ...],
    peer: str,
) -> None:
    roots(tmp_path, tsa=tsa)
    reference, public = pushed(model, distribution.fresh()), cosign_key.public
    with serving(tsa) as url:
        if peer == "notation":
            files = Files(tmp_path, issued())
            public = files.public
            notation.key("mine", files.key, files.chain)
            notation.sign(reference, "--timestamp-url", url, "--timestamp-root-cert", str(tmp_path / "tsa.pem"))
        else:
            words = ["--new-bundle-format=false"] if peer == "cosign-legacy" else []
            cosign_sign(reference, cosign_key, f"--timestamp-server-url={url}", *words)
    now = datetime.now(UTC)
    for end, code in ((now + HOUR, 0), (now - HOUR, 15)):
        late = policy(tmp_path, public, status="retired", retiredAt=format_time(end))
        ran = run("verify", reference, "--policy", late)
        assert ran.code == code, ran.err


def trusting(place: Path, certificates: tuple[Made, ...], *, legacy: bool) -> list[str]:
    """What tells cosign to trust an authority."""
    place.mkdir()
    chain, root = place / "chain.pem", place / "root.json"
    chain.write_bytes(pem(certificates))
    if legacy:
        return [f"--timestamp-certificate-chain={chain}"]
    peers.run("cosign", "trusted-root", "create", f"--tsa=url=http://tsa,certificate-chain={chain}", "--out", root)
    return [f"--trusted-root={root}"]
