"""Keys at Google and Azure: how they are named, and what is said where they cannot be had.

Neither can be had on loopback, so nothing here signs: names, faults of their libraries as these raise them, and
machines without credentials.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core import exceptions as azure_errors
from cryptography.hazmat.primitives.asymmetric import ec
from google.api_core import exceptions as google_errors
from google.auth import exceptions as google_auth_errors

from ocimodel.errors import AuthenticationError, NotFoundError, OcimodelError, UnavailableError, UsageError
from ocimodel.keys.algorithms import Algorithm
from ocimodel.keys.custody import azure, gcp
from ocimodel.keys.specs import load_public, load_signer
from tests.commands import make_world, run

GCP = "projects/p-1/locations/europe-west3/keyRings/ml/cryptoKeys/release"


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without credentials, which asks no metadata service for any."""
    for name in [
        name for name in os.environ if name.startswith(("GOOGLE_", "AZURE_", "GCE_", "CLOUDSDK_", "MSI_"))
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_GCE_CHECK", "true")


# --- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["gcpkms:", "gcpkms://"])
@pytest.mark.parametrize("version", ["cryptoKeyVersions/7", "versions/7"])
def test_google_names(prefix: str, version: str) -> None:
    assert gcp.parse(f"{prefix}{GCP}/{version}") == (f"{GCP}/cryptoKeyVersions/7", "release/7")


def test_a_version_has_to_be_said() -> None:
    with pytest.raises(UsageError, match="no version") as caught:
        load_signer(f"gcpkms://{GCP}")
    assert "/cryptoKeyVersions/1" in caught.value.hint


@pytest.mark.parametrize("rest", ["", "projects/p", f"{GCP}/cryptoKeyVersions/x", f"{GCP}/cryptoKeyVersions/1/y"])
def test_what_is_no_name_at_google(rest: str) -> None:
    with pytest.raises(UsageError, match="not the name"):
        load_signer(f"gcpkms:{rest}")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("azurekms://mlteam.vault.azure.net/release", ("mlteam.vault.azure.net", "release", None)),
        ("azurekms:MLteam.vault.azure.net/release/0af1", ("mlteam.vault.azure.net", "release", "0af1")),
        ("azurekms:mlteam.vault.azure.net/keys/release/0af1", ("mlteam.vault.azure.net", "release", "0af1")),
        ("azurekms:mlteam.managedhsm.azure.net/release", ("mlteam.managedhsm.azure.net", "release", None)),
    ],
)
def test_azure_names(spec: str, expected: tuple[str, str, str | None]) -> None:
    assert azure.parse(spec) == expected


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "release",
        "mlteam.vault.azure.net",
        "mlteam.vault.azure.net.evil.example/release",
        "evil.example/mlteam.vault.azure.net/release",
        "mlteam.vault.azure.net:8443/release",
        "user@mlteam.vault.azure.net/release",
        "a.mlteam.vault.azure.net/release",
    ],
)
def test_a_token_for_azure_goes_nowhere_else(rest: str) -> None:
    with pytest.raises(UsageError, match="not the name"):
        load_signer(f"azurekms://{rest}")


# --- faults ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (google_errors.NotFound, NotFoundError),
        (google_errors.PermissionDenied, AuthenticationError),
        (google_errors.Unauthenticated, AuthenticationError),
        (google_errors.FailedPrecondition, AuthenticationError),
        (google_errors.InvalidArgument, UsageError),
        (google_errors.ServiceUnavailable, UnavailableError),
        (google_errors.DeadlineExceeded, UnavailableError),
        (google_errors.ResourceExhausted, UnavailableError),
        (google_errors.InternalServerError, UnavailableError),
        (google_auth_errors.DefaultCredentialsError, AuthenticationError),
        (google_auth_errors.RefreshError, AuthenticationError),
        (google_auth_errors.TransportError, UnavailableError),
    ],
    ids=lambda value: value.__name__,
)
def test_what_google_says(error: Any, expected: type[OcimodelError]) -> None:
    with pytest.raises(expected) as caught, gcp._told("projects/p"):
        raise error("secret")
    assert "secret" not in f"{caught.value}{caught.value.hint}"


def http(status: int) -> Any:
    response: Any = SimpleNamespace(status_code=status, reason="r")
    return lambda message: azure_errors.HttpResponseError(message, response=response)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (azure_errors.ResourceNotFoundError, NotFoundError),
        (azure_errors.ClientAuthenticationError, AuthenticationError),
        (http(403), AuthenticationError),
        (http(429), UnavailableError),
        (http(503), UnavailableError),
        (http(400), UsageError),
        (azure_errors.ServiceRequestError, UnavailableError),
        (azure_errors.ServiceResponseError, UnavailableError),
    ],
)
def test_what_azure_says(error: Any, expected: type[OcimodelError]) -> None:
    with pytest.raises(expected) as caught, azure._told("azurekms:v/k"):
        raise error("secret")
    assert "secret" not in f"{caught.value}{caught.value.hint}"


def test_a_key_of_azure_is_read_from_its_coordinates() -> None:
    numbers = ec.generate_private_key(ec.SECP384R1()).public_key().public_numbers()

    def found(**more: Any) -> Any:
        x, y = (number.to_bytes(48, "big") for number in (numbers.x, numbers.y))
        return SimpleNamespace(key=SimpleNamespace(**{"kty": "EC", "crv": "P-384", "x": x, "y": y, **more}))

    assert azure._public(found(), "k", "azurekms:v/k").algorithm is Algorithm.ECDSA_P384
    for other in ({"crv": None, "kty": "RSA"}, {"crv": "P-256K"}, {"x": b"\x01"}):
        with pytest.raises(UsageError):
            azure._public(found(**other), "k", "azurekms:v/k")


def test_without_credentials_is_77(tmp_path: Path) -> None:
    """At Google: Azure's library asks the vault itself which credentials it wants."""
    world = make_world(tmp_path)
    ran = run("sign", world.ref, "--key", f"gcpkms://{GCP}/versions/1")
    assert (ran.code, ran.out) == (77, ""), ran.err
    assert "Log in" in ran.error[1]


@pytest.mark.parametrize(
    ("module", "logger"),
    [
        ("azure", "azure.identity._credentials.chained"),
        ("gcp", "google.auth._default"),
        ("aws", "securesystemslib.signer._aws_signer"),
        ("aws", "botocore.credentials"),
        ("vault", "urllib3.connectionpool"),
    ],
)
def test_what_the_libraries_log_is_not_printed(module: str, logger: str) -> None:
    """Python prints warnings that nobody handles, and an error of ours has two lines."""
    code = f"import logging, ocimodel.keys.custody.{module}; logging.getLogger({logger!r}).error('the token is …')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("", "")


@pytest.mark.parametrize(
    ("spec", "module", "extra"),
    [
        (f"gcpkms://{GCP}/versions/1", "google.cloud.kms", "gcpkms"),
        ("azurekms://mlteam.vault.azure.net/release", "azure.keyvault.keys", "azurekms"),
        ("azurekms://mlteam.vault.azure.net/release", "securesystemslib", "azurekms"),
    ],
)
def test_without_the_library_it_says_how_to_get_it(
    spec: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for load in (load_signer, load_public):
        with pytest.raises(UsageError) as caught:
            load(spec)
        assert caught.value.hint == f"pip install 'ocimodel[{extra}]'"
