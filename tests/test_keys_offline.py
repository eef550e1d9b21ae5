"""``verify --offline`` asks no service for a key, whichever it is in. A token in this machine may be asked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ocimodel.keys.specs import LOCAL, SCHEMES
from tests.commands import make_world, run
from tests.transit import TOKEN, Transit

GCP = "projects/p/locations/europe-west3/keyRings/ml/cryptoKeys/release/cryptoKeyVersions/1"
ELSEWHERE = {
    "awskms": "awskms:///alias/release",
    "gcpkms": f"gcpkms://{GCP}",
    "azurekms": "azurekms://vault.example/release",
    "hashivault": "hashivault://release",
    "plugin": "plugin:tell:release",
}


def test_every_scheme_is_either_local_or_not() -> None:
    assert set(ELSEWHERE) | LOCAL == set(SCHEMES)


@pytest.mark.parametrize("how", ["argument", "environment"])
@pytest.mark.parametrize("scheme", ELSEWHERE)
def test_no_service_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, how: str) -> None:
    spec, told = ELSEWHERE[scheme], tmp_path / "told"
    (tmp_path / "ocimodel-tell").write_text(f"#!{sys.executable}\nopen({str(told)!r}, 'w')\n")
    (tmp_path / "ocimodel-tell").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with Transit() as server:
        for name in ("VAULT_ADDR", "AWS_ENDPOINT_URL", "HTTPS_PROXY"):
            monkeypatch.setenv(name, server.url)
        monkeypatch.setenv("VAULT_TOKEN", TOKEN)
        monkeypatch.setenv("OCIMODEL_VERIFY_KEY", spec if how == "environment" else "")
        ran = run(
            "verify", f"oci:{tmp_path}/store:v1", *(["--key", spec] if how == "argument" else []), "--offline"
        )
        assert not server.asked
    assert ran.code == 2
    assert ran.error == (
        f"error: --offline, but a {scheme}: key is in a service that would be asked for it",
        "hint: While online, write it to a file with ocimodel key public KEY > FILE.pub, and give that.",
    )
    assert not told.exists()


def test_its_public_half_in_a_file_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(tmp_path)
    with Transit() as server:
        monkeypatch.setenv("VAULT_ADDR", server.url)
        monkeypatch.setenv("VAULT_TOKEN", TOKEN)
        server.make("release")
        assert run("sign", world.ref, "--key", "hashivault:release").code == 0
        shown = run("key", "public", "hashivault:release", "--output", tmp_path / "release.pub")
        assert shown.code == 0, shown.err
    ran = run("verify", world.ref, "--key", tmp_path / "release.pub", "--offline")
    assert ran.code == 0, ran.err
