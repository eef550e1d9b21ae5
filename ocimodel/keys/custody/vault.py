"""``hashivault:`` keys: the transit engine of HashiCorp Vault and of OpenBao.

    hashivault:KEY[/VERSION]
    hashivault://KEY  as cosign writes it

Guarantees: the digest alone goes to the server (of Ed25519 keys, which sign messages, the whole statement). The
server is VAULT_ADDR's and no other, also where it redirects; the token VAULT_TOKEN's, or that of ``vault login``.
The mount is TRANSIT_SECRET_ENGINE_PATH's, as for cosign; ``transit`` where that is not set.

securesystemslib signs with Ed25519 keys of Vault's alone; cosign makes ECDSA ones there, so Vault's own client is
used here.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hvac
from hvac import exceptions

from ocimodel.errors import AuthenticationError, NotFoundError, UnavailableError, UsageError
from ocimodel.keys import backend
from ocimodel.keys.custody import rest_of, shapes
from ocimodel.keys.custody.remote import RemoteSigner, digest_of, patiently
from ocimodel.keys.public import PublicKey
from ocimodel.keys.signer import Signer
from ocimodel.keys.specs import Password

_KEY = re.compile(r"(?P<name>\w(?:[\w.-]{0,250}\w)?)(?:/(?P<version>[0-9]{1,9}))?", re.ASCII)
_MOUNT = re.compile(r"\w[\w.-]*(/\w[\w.-]*){0,9}", re.ASCII)
_HASHES = {"sha256": "sha2-256", "sha384": "sha2-384", "sha512": "sha2-512"}
_SECONDS = 20


def signer(spec: str, _password: Password) -> Signer:
    """Raises as `Custodian.signer` does."""
    name, wanted = parse(spec)
    place = f"hashivault:{name}"
    transit, mount = _transit()

    def read() -> dict[str, Any]:
        with _told(place):
            return _data(transit.read_key(name=name, mount_point=mount), place)

    data = patiently(read)
    version, public = _public(data, wanted, name, place)

    def ask(message: bytes, pss: bool) -> bytes:
        what = _request(public, message, pss=pss)

        def sign() -> bytes:
            with _told(place):
                return _signature(
                    transit.sign_data(name=name, key_version=version, mount_point=mount, **what), version, place
                )

        return patiently(sign)

    return RemoteSigner(public, ask, place=place)


def public(spec: str, password: Password) -> PublicKey:
    """Raises as `Custodian.public` does."""
    return signer(spec, password).public


def parse(spec: str) -> tuple[str, int | None]:
    """Name and version of a key. Raises `UsageError`."""
    match = _KEY.fullmatch(rest_of(spec))
    if match is None:
        raise UsageError(
            "hashivault: not the name of a key", hint="Write hashivault:KEY or hashivault:KEY/VERSION."
        )
    return match["name"], int(match["version"]) if match["version"] else None


def _transit() -> tuple[Any, str]:
    address = os.environ.get("VAULT_ADDR")
    if not address:
        raise UsageError("hashivault: nothing says where Vault is", hint="Set VAULT_ADDR, as for vault itself.")
    mount = os.environ.get("TRANSIT_SECRET_ENGINE_PATH") or "transit"
    if not _MOUNT.fullmatch(mount):
        raise UsageError("hashivault: TRANSIT_SECRET_ENGINE_PATH is not the path of a mount")
    client = hvac.Client(
        url=address,
        timeout=_SECONDS,
        namespace=os.environ.get("VAULT_NAMESPACE") or None,
        # The token would go wherever it is sent. A standby server asks the active one by itself.
        allow_redirects=False,
    )
    if not client.token:
        raise AuthenticationError(
            "hashivault: no token for Vault", hint="Log in: vault login, or set VAULT_TOKEN.", reason="custody"
        )
    return client.secrets.transit, mount


def _public(data: dict[str, Any], wanted: int | None, name: str, place: str) -> tuple[int, PublicKey]:
    versions = data.get("keys")
    version = wanted if wanted is not None else data.get("latest_version")
    found = versions.get(str(version)) if isinstance(versions, dict) else None
    if found is None:
        raise NotFoundError(f"{place}: the key has no version {version}", hint=f"vault read transit/keys/{name}")
    text = found.get("public_key") if isinstance(found, dict) else None
    if not isinstance(text, str) or not isinstance(version, int):
        raise UsageError(f"{place}: this key is not for signing", hint="Make one of the type ecdsa-p256.")
    try:
        if data.get("type") == "ed25519":
            return version, PublicKey.from_der(shapes.from_ed25519(base64.b64decode(text)), label=name)
        return version, PublicKey.from_der(backend.public_from_pem(text.encode("ascii", "replace")), label=name)
    except ValueError:
        raise UsageError(f"{place}: keys of this type are not supported", hint=backend.HINT) from None


def _request(public: PublicKey, message: bytes, *, pss: bool) -> dict[str, Any]:
    if public.algorithm.scheme.hash is None:
        return {"hash_input": base64.b64encode(message).decode("ascii")}
    name, digest = digest_of(public, message, pss=pss)
    what = {
        "hash_input": base64.b64encode(digest).decode("ascii"),
        "hash_algorithm": _HASHES[name],
        "prehashed": True,
    }
    if public.algorithm.scheme.family == "ecdsa":
        return {**what, "marshaling_algorithm": "asn1"}
    if pss:
        return {**what, "signature_algorithm": "pss", "salt_length": "hash"}
    return {**what, "signature_algorithm": "pkcs1v15"}


def _signature(answer: Any, version: int, place: str) -> bytes:
    text = _data(answer, place).get("signature")
    prefix = f"vault:v{version}:"
    try:
        if isinstance(text, str) and text.startswith(prefix):
            return base64.b64decode(text.removeprefix(prefix), validate=True)
    except binascii.Error:
        pass
    raise _unavailable(place, "no signature in the answer")


def _data(answer: Any, place: str) -> dict[str, Any]:
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, dict):
        raise _unavailable(place, "not an answer of Vault's")
    return data


@contextmanager
def _told(place: str) -> Iterator[None]:
    """What Vault says, as errors of ours: by name, since its texts can hold what was sent."""
    try:
        yield
    except exceptions.InvalidPath:
        raise NotFoundError(
            f"{place}: no such key", hint="Check the name, TRANSIT_SECRET_ENGINE_PATH and VAULT_NAMESPACE."
        ) from None
    except (exceptions.Forbidden, exceptions.Unauthorized):
        raise AuthenticationError(
            f"{place}: Vault refuses",
            hint="Allow read on transit/keys/KEY and update on transit/sign/KEY; is the token still good?",
            reason="custody",
        ) from None
    except exceptions.InvalidRequest:
        raise UsageError(
            f"{place}: Vault does not accept the request", hint="Does this key sign? Is the version old?"
        ) from None
    except (exceptions.VaultError, OSError) as error:  # all that requests raises is an OSError
        if isinstance(error, ValueError):
            hint = "Write https://vault.example.com:8200."
            raise UsageError("hashivault: VAULT_ADDR is not a URL", hint=hint) from None
        raise _unavailable(place, type(error).__name__) from None


def _unavailable(place: str, why: str) -> UnavailableError:
    return UnavailableError(
        f"{place}: Vault does not answer as it should ({why})", hint="Run the same command again.", reason="custody"
    )
