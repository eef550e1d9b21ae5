"""cosign as a peer: keys it made, and the two commands that need a dozen flags to stay offline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.real.isolation import isolated_environment
from tests.real.peers import run

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

_NO_PASSWORD = {"COSIGN_PASSWORD": ""}


@dataclass(frozen=True, slots=True)
class CosignKey:
    """A key pair in cosign's own files, encrypted with the empty password."""

    private: Path
    public: Path


@pytest.fixture(scope="session")
def cosign_key(tmp_path_factory: pytest.TempPathFactory) -> CosignKey:
    """A key pair made by ``cosign generate-key-pair``."""
    directory = tmp_path_factory.mktemp("cosign")
    run(
        "cosign",
        "generate-key-pair",
        "--output-key-prefix",
        "cosign",
        env=_NO_PASSWORD | isolated_environment(directory / "home"),
        cwd=directory,
    )
    return CosignKey(directory / "cosign.key", directory / "cosign.pub")


def import_key(pem: Path, directory: Path, prefix: str = "imported") -> CosignKey:
    """Our unencrypted PKCS#8 PEM as a key pair of cosign's, by ``cosign import-key-pair``."""
    arguments = ["--key", str(pem), "--output-key-prefix", prefix, "--yes"]
    run("cosign", "import-key-pair", *arguments, env=_NO_PASSWORD, cwd=directory)
    return CosignKey(directory / f"{prefix}.key", directory / f"{prefix}.pub")


def cosign_sign(reference: str, key: CosignKey, *arguments: str) -> None:
    """Sign ``REPO@DIGEST`` with a key; nothing leaves for a transparency log."""
    offline = ["--tlog-upload=false", "--use-signing-config=false", "--allow-http-registry", "--yes"]
    run("cosign", "sign", "--key", key.private, *offline, *arguments, reference, env=_NO_PASSWORD)


def cosign_verify(
    reference: str, public: Path, *arguments: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """What ``cosign verify --key`` says of ``reference``."""
    offline = ["--insecure-ignore-tlog=true", "--allow-http-registry"]
    return run("cosign", "verify", "--key", public, *offline, *arguments, reference, check=check)


def cosign_attest(reference: str, key: CosignKey, predicate_type: str, predicate: Path, *arguments: str) -> None:
    """Attach a signed statement with ``cosign attest``, offline."""
    offline = ["--tlog-upload=false", "--use-signing-config=false", "--allow-http-registry", "--yes"]
    what = ["--type", predicate_type, "--predicate", str(predicate)]
    run("cosign", "attest", "--key", key.private, *what, *offline, *arguments, reference, env=_NO_PASSWORD)
