"""notation as a peer, with a configuration of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.real.isolation import isolated_environment
from tests.real.peers import peer, run

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Notation:
    """``home`` holds its keys, its trust store and its policy; each test has its own."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return isolated_environment(self.home)

    @property
    def config(self) -> Path:
        return self.home / "config" / "notation"

    def run(self, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run("notation", *words, env=self.environment, check=check)

    def trust(
        self, root: Path, *, kind: str = "ca", identities: tuple[str, ...] = ("*",), level: str = "strict"
    ) -> None:
        """From now on, whoever has a chain that ends in ``root`` is trusted, for every repository."""
        added = self.run("cert", "add", "--type", kind, "--store", "test", root, check=False)
        assert added.returncode == 0 or "already exists" in added.stderr
        self.policy([f"{kind}:test"], identities, level)

    def policy(self, stores: list[str], identities: tuple[str, ...] = ("*",), level: str = "strict") -> None:
        rule = {
            "name": "tests",
            "registryScopes": ["*"],
            "signatureVerification": {"level": level},
            "trustStores": stores,
            "trustedIdentities": list(identities),
        }
        path = self.config / "trustpolicy.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"version": "1.0", "trustPolicies": [rule]}))
        path.chmod(0o600)

    def key(self, name: str, private: Path, chain: Path) -> None:
        """Let `sign` use a key file of ours under ``name``."""
        path = self.config / "signingkeys.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        keys = [{"name": name, "keyPath": str(private), "certPath": str(chain)}]
        path.write_text(json.dumps({"default": name, "keys": keys}))
        path.chmod(0o600)

    def generate(self, name: str) -> Path:
        """A test key with a certificate of its own, trusted; the certificate's path."""
        self.run("cert", "generate-test", "--default", name)
        return self.config / "localkeys" / f"{name}.crt"

    def sign(self, reference: str, *words: str) -> None:
        self.run("sign", "--insecure-registry", *words, reference)

    def verify(self, reference: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("verify", "--insecure-registry", *words, reference, check=check)


@pytest.fixture
def notation(tmp_path: Path) -> Notation:
    """A fresh configuration, in which nobody is trusted."""
    peer("notation")
    return Notation(tmp_path / "notation")
