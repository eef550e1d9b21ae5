"""A hardware token in software: what a PKCS#11 key lives in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.real.peers import PEERS, peer, run, unavailable

_PLACES = (PEERS / "stable/usr/lib", Path("/usr/lib"), Path("/usr/local/lib"))


@dataclass(frozen=True, slots=True)
class SoftHsm:
    """A token that is initialised and empty. ``environment`` is what its module needs to find it."""

    module: Path
    label: str
    pin: str
    environment: dict[str, str]

    def import_key(self, pem: Path, label: str, identifier: str = "01") -> None:
        """Put an unencrypted PKCS#8 PEM into the token under ``label``."""
        token = ["--token", self.label, "--pin", self.pin, "--label", label, "--id", identifier]
        module = ["--module", str(self.module)]
        run("softhsm2-util", "--import", pem, *token, *module, env=self.environment)


@pytest.fixture
def softhsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    """A fresh token; ``SOFTHSM2_CONF`` points at it for this process too."""
    peer("softhsm2-util")
    tokens, config = tmp_path / "tokens", tmp_path / "softhsm2.conf"
    tokens.mkdir()
    config.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(config))
    hsm = SoftHsm(module(), "ocimodel-tests", "1234", {"SOFTHSM2_CONF": str(config)})
    made = ["--init-token", "--free", "--label", hsm.label, "--pin", hsm.pin, "--so-pin", "5678"]
    run("softhsm2-util", *made, "--module", hsm.module)
    return hsm


def module() -> Path:
    """SoftHSM's library."""
    found = [
        Path(directory) / "libsofthsm2.so"
        for place in _PLACES
        for directory, _, files in os.walk(place)
        if "libsofthsm2.so" in files
    ]
    if not found:
        unavailable("libsofthsm2.so is not to be found: run `make peers`")
    return found[0]
