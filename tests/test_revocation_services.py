"""Services that say whether certificates were revoked: who is asked, what is kept, and what an outage comes to."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ocimodel.attest.referrer import EMPTY
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.stores.layout import LayoutStore
from ocimodel.stores.protocol import Source
from tests.attacks.scene import write_model
from tests.certificates import Wish, ca, chain, make, pem, recent
from tests.commands import Ran, run
from tests.notary import altered, manifest
from tests.revoking import HOUR, REVOKED, Service, crl, response, serving
from tests.test_revocation import OCSP_SIGNING, points, responder

NOW = datetime.now(UTC).replace(microsecond=0)
FRESH: dict[str, Any] = {"since": NOW - HOUR, "until": NOW + 9 * HOUR}


class Scene:
    """A signed model in a layout, by a certificate whose authorities have services on loopback."""

    def __init__(self, place: Path, service: Service) -> None:
        self.place, self.service = place, service
        self.leaf, self.between, self.root = self.chain = chain(
            ca("root", number=1, **recent()),
            ca("intermediate", number=2, more=(points(f"{service.url}/root.crl"),), **recent()),
            Wish(more=(points(f"{service.url}/a.crl"), responder(f"{service.url}/ocsp")), **recent()),  # type: ignore[arg-type]
        )
        (place / "chain.pem").write_bytes(pem(self.chain))
        (place / "root.pem").write_bytes(self.root.pem)
        self.key = self.leaf.write_key(place / "leaf.key")
        self.model = f"oci:{place / 'layout'}:v1"
        assert run("push", write_model(place / "model"), self.model).code == 0
        words = ("--format", "notation", "--key", self.key, "--certificate", place / "chain.pem")
        assert run("sign", self.model, *words).code == 0
        self.good()

    def good(self) -> None:
        """Nobody is revoked."""
        self.service.says("/root.crl", crl(self.root, **FRESH))
        self.service.says("/a.crl", crl(self.between, **FRESH))
        self.service.says("/ocsp", response(self.between, self.leaf, **FRESH))

    def policy(self, mode: str = "online", **line: Any) -> Path:
        revocation: dict[str, Any] = {"mode": mode, **line}
        document = {
            "version": 1,
            "certificates": {"acme": {"rootsFile": "root.pem", "subjects": ["*"], "revocation": revocation}},
            "scopes": [{"match": "**", "signatures": {"from": ["acme"]}, "formats": {"deny": []}}],
        }
        path = self.place / "policy.json"
        path.write_text(json.dumps(document))
        return path

    def verify(self, *words: str | Path, mode: str = "online", **line: Any) -> Ran:
        self.service.asked.clear()
        return run("verify", self.model, "--policy", self.policy(mode, **line), *words)

    def age(self, seconds: float) -> None:
        """Make what is kept older."""
        for path in self.kept():
            os.utime(path, (time.time() - seconds,) * 2)

    def kept(self) -> list[Path]:
        folder = Path(os.environ["OCIMODEL_CACHE_DIR"]) / "revocation"
        return [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as found:
        yield found


@pytest.fixture
def scene(tmp_path: Path, service: Service) -> Scene:
    return Scene(tmp_path, service)


def test_who_is_asked(scene: Scene) -> None:
    """OCSP where there is a responder, a CRL where there is none; once an hour."""
    assert scene.verify().code == 0
    assert sorted(scene.service.asked) == ["GET /root.crl", "POST /ocsp"]
    assert scene.verify().code == 0
    assert scene.service.asked == []
    scene.age(3601)
    assert scene.verify().code == 0
    assert sorted(scene.service.asked) == ["GET /root.crl", "POST /ocsp"]


@pytest.mark.parametrize("mode", ["off", "offline"])
def test_nobody_is_asked_unless_the_policy_says_online(scene: Scene, mode: str) -> None:
    assert scene.verify(mode=mode).code == (0 if mode == "off" else 13)
    assert scene.service.asked == []


def test_nobody_is_asked_with_offline(scene: Scene) -> None:
    assert scene.verify("--offline").code == 13
    assert scene.service.asked == []
    assert scene.verify().code == 0
    assert scene.verify("--offline").code == 0
    assert scene.service.asked == []


def test_nobody_is_asked_about_chains_that_nobody_trusts(scene: Scene, tmp_path: Path) -> None:
    """Anybody who may push could name any service in a certificate of his own."""
    stranger = chain(ca("root", number=9, **recent()), ca("x", number=8, **recent()))[-1]
    (tmp_path / "root.pem").write_bytes(stranger.pem)
    assert scene.verify().code == 12
    assert scene.service.asked == []


def test_nobody_is_asked_for_a_signature_that_is_forged(scene: Scene) -> None:
    """The chain is the real one, which anybody can copy."""
    other = f"oci:{scene.place / 'other'}:v1"
    folder = write_model(scene.place / "another", {"config.json": b"{}"})
    assert run("push", folder, other).code == 0
    _attach(scene.place / "other", altered(scene.chain, signature="AAAA"))
    scene.service.asked.clear()
    assert run("verify", other, "--policy", scene.policy()).code != 0
    assert scene.service.asked == []


def _attach(layout: Path, blob: bytes) -> None:
    """Put an envelope beside the one model of a layout."""
    store = LayoutStore(layout, create=False)
    subject, _ = store.get_manifest("v1")
    store.put_blob(Source.of(media.EMPTY_JSON), EMPTY.digest)
    store.put_blob(Source.of(blob), Digest.of(blob))
    store.put_manifest(manifest(blob, to=subject), media.OCI_MANIFEST)
    store.close()


def revoke_by_ocsp(scene: Scene) -> None:
    scene.service.says("/ocsp", response(scene.between, scene.leaf, REVOKED, **FRESH))


def revoke_by_crl(scene: Scene) -> None:
    scene.service.says("/ocsp", b"", status=500)
    scene.service.says("/a.crl", crl(scene.between, scene.leaf, **FRESH))


def revoke_the_intermediate(scene: Scene) -> None:
    scene.service.says("/root.crl", crl(scene.root, scene.between, **FRESH))


@pytest.mark.parametrize("revoke", [revoke_by_ocsp, revoke_by_crl, revoke_the_intermediate])
def test_a_revoked_one(scene: Scene, revoke: Any) -> None:
    revoke(scene)
    ran = scene.verify("--json")
    assert (ran.code, ran.document["reasons"][0]["reason"]) == (16, "revoked-certificate")
    # Once it is known, it needs no service.
    scene.service.answers.clear()
    assert scene.verify(mode="offline").code == 16


def test_a_revocation_is_noticed_within_the_hour(scene: Scene) -> None:
    assert scene.verify().code == 0
    revoke_by_ocsp(scene)
    assert scene.verify().code == 0
    scene.age(3601)
    assert scene.verify().code == 16


def test_without_ocsp_the_crl_is_asked(scene: Scene) -> None:
    for document, status in ((b"", 503), (b"garbage", 200), (bytes.fromhex("30030a0103"), 200)):
        scene.service.says("/ocsp", document, status=status)
        assert scene.verify().code == 0
        assert {"POST /ocsp", "GET /a.crl"} <= set(scene.service.asked)
        for path in scene.kept():
            path.unlink()


def test_an_outage_is_no_refusal(scene: Scene) -> None:
    """It is worth another try, so it is 75 and not 13."""
    scene.service.answers.clear()
    ran = scene.verify("--json")
    assert (ran.code, ran.document["class"]) == (75, "availability")
    assert "404" in ran.err
    scene.good()
    assert scene.verify().code == 0


def test_an_outage_after_a_success(scene: Scene) -> None:
    """What was heard counts until it says itself that it is too old."""
    assert scene.verify().code == 0
    scene.service.answers.clear()
    scene.age(8 * 3600)
    assert scene.verify().code == 0
    assert scene.service.asked != []
    assert scene.verify(mode="offline").code == 0
    for path in scene.kept():
        path.unlink()
    assert scene.verify(mode="offline").code == 13


def test_what_is_too_old_does_not_count(scene: Scene) -> None:
    old: dict[str, Any] = {"since": NOW - 9 * HOUR, "until": NOW - HOUR}
    scene.service.says("/root.crl", crl(scene.root, **old))
    assert scene.verify().code == 13


def test_garbage_is_not_kept(scene: Scene) -> None:
    """A captive portal answers everything with 200."""
    for path in ("/ocsp", "/a.crl", "/root.crl"):
        scene.service.says(path, b"<html>Welcome</html>")
    assert scene.verify().code == 75
    assert scene.kept() == []
    scene.good()
    assert scene.verify().code == 0


def test_a_cache_that_is_damaged_or_cannot_be_written(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert scene.verify().code == 0
    for path in scene.kept():
        path.write_bytes(b"damaged")
    assert scene.verify("--offline").code == 13
    assert scene.verify().code == 0
    blocked = scene.place / "file"
    blocked.write_text("")
    monkeypatch.setenv("OCIMODEL_CACHE_DIR", str(blocked))
    assert scene.verify().code == 0


def test_crls_that_the_policy_names(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "root.crl").write_bytes(crl(scene.root, **FRESH))
    (tmp_path / "a.crl").write_bytes(crl(scene.between, **FRESH))
    files = ["root.crl", "a.crl"]
    assert scene.verify(mode="offline", crlFiles=files).code == 0
    (tmp_path / "a.crl").write_bytes(crl(scene.between, scene.leaf, **FRESH))
    assert scene.verify(mode="offline", crlFiles=files).code == 16
    assert scene.service.asked == []


def test_a_directory_that_was_pulled(scene: Scene, tmp_path: Path) -> None:
    """By its receipt: the same is asked, and offline what was heard when it was pulled is enough."""
    pulled = run("pull", scene.model, "-o", tmp_path / "out", "--policy", scene.policy())
    assert pulled.code == 0, pulled.err
    scene.service.answers.clear()
    assert run("verify", tmp_path / "out", "--policy", scene.policy(), "--offline").code == 0
    scene.age(3601)
    scene.service.asked.clear()
    assert run("verify", tmp_path / "out", "--policy", scene.policy(), "--offline").code == 0
    assert scene.service.asked == []
    scene.good()
    revoke_by_ocsp(scene)
    assert run("verify", tmp_path / "out", "--policy", scene.policy()).code == 16


def test_deltas_are_fetched(scene: Scene) -> None:
    name = x509.UniformResourceIdentifier(f"{scene.service.url}/delta.crl")
    place = x509.FreshestCRL([x509.DistributionPoint([name], None, None, None)])
    scene.service.says("/root.crl", crl(scene.root, extensions=[(place, False)], **FRESH))
    indicator = [(x509.DeltaCRLIndicator(7), True)]
    for revoked, code in (((), 0), ((scene.between,), 16)):
        scene.service.says("/delta.crl", crl(scene.root, *revoked, number=8, extensions=indicator, **FRESH))
        assert scene.verify().code == code
        assert "GET /delta.crl" in scene.service.asked
        scene.age(3601)


def test_a_delegate_answers(scene: Scene) -> None:
    by = make(Wish(number=40, purposes=(OCSP_SIGNING,), **recent()), scene.between)  # type: ignore[arg-type]
    scene.service.says("/ocsp", response(scene.between, scene.leaf, by=by, carried=[by], **FRESH))
    assert scene.verify().code == 0
    assert "GET /a.crl" not in scene.service.asked
