"""From what a user writes for a key to a key.

    KEY = PATH | "env:" NAME | SCHEME ":" …

Guarantees: a password is asked for only where the key is encrypted. Errors name the key's spec, never its bytes
and never a password. Each scheme is one entry of `SCHEMES`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ocimodel.errors import NotFoundError, StorageError, UsageError
from ocimodel.keys import guard, pem
from ocimodel.keys.public import PublicKey
from ocimodel.keys.signer import LocalSigner, Signer

if TYPE_CHECKING:
    from ocimodel.keys.custody import Custodian

Password = Callable[[], bytes | None]
"""Gives the password of a key; empty where it has been said that there is none, None where nobody can tell."""

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):")
_ENV = "env"


def no_password() -> bytes | None:
    """For keys that are not encrypted."""
    return None


def load_signer(spec: str, password: Password = no_password) -> Signer:
    """The private key that ``spec`` names.

    Raises:
        UsageError: it is no private key, its password is wrong or missing, or its scheme is not known.
        NotFoundError: there is no such file or variable.
        AuthenticationError: the device or the service that holds the key does not let us.
        UnavailableError: it did not answer.
    """
    guard.shut()
    scheme = scheme_of(spec)
    if scheme is not None:
        return SCHEMES[scheme]().signer(spec, password)
    return local_signer(read(spec), password, label=label_of(spec))


def load_public(spec: str, password: Password = no_password, *, offline: bool = False) -> PublicKey:
    """The public key that ``spec`` names. ``password`` is for tokens that show it to those who log in only.

    Args:
        offline: no service is asked for it: a key in one is refused.

    Raises:
        UsageError: it is a private key, no key at all, its scheme is not known, or ``offline`` rules it out.
        NotFoundError: there is no such file or variable, or no such key where it is said to be.
        AuthenticationError: the device or the service does not let us.
        UnavailableError: it did not answer.
    """
    scheme = scheme_of(spec)
    if offline and scheme is not None and scheme not in LOCAL:
        raise UsageError(
            f"--offline, but a {scheme}: key is in a service that would be asked for it",
            hint="While online, write it to a file with ocimodel key public KEY > FILE.pub, and give that.",
        )
    if scheme is not None:
        return SCHEMES[scheme]().public(spec, password)
    return PublicKey.from_pem(read(spec), label=label_of(spec))


def local_signer(data: bytes, password: Password = no_password, *, label: str = "") -> LocalSigner:
    """The private key in a PEM file's bytes. Raises `UsageError`."""
    guard.shut()
    what = label or "the key"
    found = [(kind, block) for kind, block in pem.blocks(data) if pem.PRIVATE.search(kind)]
    if len(found) != 1:
        public = any(kind == "PUBLIC KEY" for kind, _ in pem.blocks(data))
        raise UsageError(
            f"{what}: that is a public key; signing needs the private one"
            if public and not found
            else f"{what}: not one private key in PEM",
            hint="Make a key with ocimodel key generate NAME and sign with NAME.key.",
        )
    ((kind, block),) = found
    secret: bytes | None = None
    if pem.is_encrypted(kind, block):
        secret = password()
        if secret is None:
            raise UsageError(
                f"{what} is encrypted and no password was given",
                hint="Set OCIMODEL_KEY_PASSWORD, or run where a terminal can ask for it.",
            )
    from ocimodel.keys import backend

    if kind in pem.COSIGN:
        from ocimodel.keys import cosign

        return LocalSigner(backend.private_from_der(cosign.decrypt(block, secret or b"", what)), label=label)
    try:
        return LocalSigner(backend.private_from_pem(block, secret or None), label=label)
    except UsageError as error:
        raise UsageError(f"{what}: {error.message}", hint=error.hint) from None
    except (ValueError, TypeError):
        problem = "wrong password, or a damaged key" if secret is not None else "damaged, or not PKCS#8"
        raise UsageError(f"{what}: {problem}", hint="Check the password and the file.") from None


def scheme_of(spec: str) -> str | None:
    """The scheme of a key that lives elsewhere, or None for a file or a variable. Raises `UsageError`."""
    if "-----BEGIN" in spec or "\n" in spec:
        # Never repeated: it may be a private key, and logs of pipelines are public.
        raise UsageError(
            "a key itself stands where its name is wanted",
            hint="Give a file's path, or put the PEM into an environment variable and write env:NAME.",
        )
    match = _SCHEME.match(spec)
    if match is None or match[1] == _ENV:
        return None
    if match[1] in SCHEMES:
        return match[1]
    if Path(spec).exists():
        return None
    raise UsageError(
        f"{match[1]}: is no scheme for keys",
        hint=f"Known are env: and {', '.join(f'{name}:' for name in SCHEMES)}; anything else is a file's path.",
    )


def read(spec: str, env: Mapping[str, str] = os.environ) -> bytes:
    """The bytes behind a path or ``env:NAME``."""
    if spec.startswith(_ENV + ":"):
        name = spec.removeprefix(_ENV + ":")
        value = env.get(name)
        if not value:
            raise NotFoundError(f"the environment has no key in {name}", hint=f"Put the PEM text into {name}.")
        return value.encode("utf-8", "surrogateescape")
    try:
        with open(spec, "rb") as stream:
            return stream.read(pem.MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(
            f"there is no key file {spec}", hint="Check the path; ocimodel key generate NAME makes one."
        ) from None
    except IsADirectoryError:
        raise UsageError(f"{spec} is a directory, not a key file") from None
    except OSError as error:
        raise StorageError(f"cannot read the key file {spec}: {error.strerror}") from error


def label_of(spec: str) -> str:
    """What people call the key: its file's name, or the variable's."""
    return spec if spec.startswith(_ENV + ":") else os.path.basename(spec)


def _token() -> Custodian:
    from ocimodel.keys.custody import token

    return token


def _aws() -> Custodian:
    from ocimodel.keys.custody import library

    library("awskms", "boto3", "securesystemslib")
    from ocimodel.keys.custody import aws

    return aws


def _gcp() -> Custodian:
    from ocimodel.keys.custody import library

    library("gcpkms", "google.cloud.kms", "securesystemslib")
    from ocimodel.keys.custody import gcp

    return gcp


def _azure() -> Custodian:
    from ocimodel.keys.custody import library

    library("azurekms", "azure.identity", "azure.keyvault.keys", "securesystemslib")
    from ocimodel.keys.custody import azure

    return azure


def _vault() -> Custodian:
    from ocimodel.keys.custody import library

    library("hashivault", "hvac", extra="vault")
    from ocimodel.keys.custody import vault

    return vault


def _plugin() -> Custodian:
    from ocimodel.keys.custody import plugin

    return plugin


LOCAL = frozenset({"pkcs11"})
"""Schemes of keys that are in this machine. A plugin may speak to anybody, so it is not among them."""

SCHEMES: dict[str, Callable[[], Custodian]] = {
    "pkcs11": _token,
    "awskms": _aws,
    "gcpkms": _gcp,
    "azurekms": _azure,
    "hashivault": _vault,
    "plugin": _plugin,
}
"""Where keys live that never leave their device or service, and who speaks to it.

Specs come with one colon or, as cosign writes them, with ``://``; each takes both.
"""
