"""``azurekms:`` keys: Azure Key Vault, and Managed HSM.

    azurekms:VAULT.vault.azure.net/KEY[/VERSION]
    azurekms://…  as cosign writes it; ``keys/KEY/VERSION``, as Azure's own key ids have it, is taken too

Guarantees: the digest alone goes to the service, over HTTPS, and to a host of Azure's alone, since a token is sent
there as well. Credentials are what Azure's DefaultAzureCredential finds.

What it does not do: RSA keys, which securesystemslib does not know at Azure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from azure.core import exceptions
from azure.identity import DefaultAzureCredential
from azure.keyvault.keys import KeyClient
from securesystemslib.signer import AzureSigner

from ocimodel.errors import AuthenticationError, NotFoundError, UnavailableError, UsageError
from ocimodel.keys.custody import rest_of, shapes, sslib
from ocimodel.keys.custody.remote import RemoteSigner
from ocimodel.keys.public import PublicKey
from ocimodel.keys.signer import Signer
from ocimodel.keys.specs import Password

_HOSTS = (
    r"vault\.azure\.(?:net|cn)|vault\.usgovcloudapi\.net|vault\.microsoftazure\.de|managedhsm\.azure\.(?:net|cn)"
)
_KEY = re.compile(
    rf"(?P<vault>[A-Za-z0-9-]{{3,24}}\.(?:{_HOSTS}))/(?:keys/)?(?P<name>[A-Za-z0-9-]{{1,127}})"
    r"(?:/(?P<version>[A-Za-z0-9]{1,64}))?"
)
_HINT = "Write azurekms:VAULT.vault.azure.net/KEY or azurekms:VAULT.vault.azure.net/KEY/VERSION."
_CURVES = {"P-256": "secp256r1", "P-384": "secp384r1", "P-521": "secp521r1"}


def signer(spec: str, _password: Password) -> Signer:
    """Raises as `Custodian.signer` does."""
    vault, name, version = parse(spec)
    place = f"azurekms:{vault}/{name}"
    with _told(place):
        found = KeyClient(vault_url=f"https://{vault}/", credential=DefaultAzureCredential()).get_key(name, version)
    public = _public(found, name, place)
    with _told(place):
        # By the version that was just told: a rotation in between would be another key.
        custodian = AzureSigner(str(found.id), sslib.key_of(public, pss=False))

    def ask(message: bytes, _pss: bool) -> bytes:
        with _told(place):
            return sslib.signed(custodian, message)

    return RemoteSigner(public, ask, place=place)


def public(spec: str, password: Password) -> PublicKey:
    """Raises as `Custodian.public` does."""
    return signer(spec, password).public


def parse(spec: str) -> tuple[str, str, str | None]:
    """Vault, key and version of a spec. Raises `UsageError`."""
    match = _KEY.fullmatch(rest_of(spec))
    if match is None:
        raise UsageError("azurekms: not the name of a key in a vault of Azure's", hint=_HINT)
    return match["vault"].lower(), match["name"], match["version"]


def _public(found: Any, name: str, place: str) -> PublicKey:
    curve = _CURVES.get(str(getattr(found.key, "crv", None) or ""))
    if curve is None:
        raise UsageError(
            f"{place}: keys of the kind {str(found.key.kty)[:20]} at Azure are not supported",
            hint="Use an EC key on P-256, P-384 or P-521.",
        )
    x, y = (int.from_bytes(number, "big") for number in (found.key.x, found.key.y))
    return PublicKey.from_der(shapes.from_coordinates(curve, x, y), label=name)


@contextmanager
def _told(place: str) -> Iterator[None]:
    """What Azure says, as errors of ours, by name."""
    try:
        yield
    except exceptions.ResourceNotFoundError:
        raise NotFoundError(f"{place}: no such key", hint="Check the vault, the key and the version.") from None
    except exceptions.ClientAuthenticationError as error:
        raise AuthenticationError(
            f"{place}: no usable Azure credentials ({_name(error)})", hint="Log in: az login.", reason="custody"
        ) from None
    except exceptions.HttpResponseError as error:
        status = error.status_code or 0
        if status in (401, 403):
            raise AuthenticationError(
                f"{place}: Azure refuses ({status})",
                hint="Assign the role Key Vault Crypto User, and check that the key is enabled.",
                reason="custody",
            ) from None
        if status == 429 or status >= 500:
            raise _unavailable(place, str(status)) from None
        raise UsageError(f"{place}: Azure does not accept the request ({status})", hint=_HINT) from None
    except exceptions.AzureError as error:
        raise _unavailable(place, _name(error)) from None


def _unavailable(place: str, why: str) -> UnavailableError:
    return UnavailableError(
        f"{place}: Azure does not answer as it should ({why})", hint="Run the same command again.", reason="custody"
    )


def _name(error: BaseException) -> str:
    return type(error).__name__
