"""``gcpkms:`` keys: Google Cloud KMS.

    gcpkms:projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/V
    gcpkms://…  as cosign writes it; ``versions/V`` at the end is taken too

Guarantees: the digest alone goes to the service. The version is part of the name, so that a rotation never changes
who signs without anybody saying so. Credentials are Google's application default ones.

What it does not do: Ed25519 keys, which securesystemslib does not know at Google.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError, TransportError
from securesystemslib.exceptions import UnsupportedAlgorithmError
from securesystemslib.signer import GCPSigner

from ocimodel.errors import AuthenticationError, NotFoundError, UnavailableError, UsageError
from ocimodel.keys.custody import rest_of, sslib
from ocimodel.keys.custody.remote import RemoteSigner
from ocimodel.keys.public import PublicKey
from ocimodel.keys.signer import Signer
from ocimodel.keys.specs import Password

_PART = r"[A-Za-z0-9_.:-]{1,200}"
_KEY = re.compile(
    rf"(projects/{_PART}/locations/{_PART}/keyRings/{_PART}/cryptoKeys/(?P<name>{_PART}))"
    rf"(?:/(?:cryptoKeyVersions|versions)/(?P<version>[0-9]{{1,9}}))?"
)
_HINT = "Write gcpkms:projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/1."


def signer(spec: str, _password: Password) -> Signer:
    """Raises as `Custodian.signer` does."""
    resource, label = parse(spec)
    with _told(resource):
        uri, key = GCPSigner.import_(resource)
        found = PublicKey.from_pem(key.keyval["public"].encode("ascii"), label=label)
        custodian = GCPSigner.from_priv_key_uri(uri, key)

    def ask(message: bytes, pss: bool) -> bytes:
        if key.scheme != sslib.scheme_of(found, pss=pss):
            raise UsageError(
                f"gcpkms:{label}: this version of the key signs by {key.scheme} only, which does not fit",
                hint="Make a version with another algorithm: EC_SIGN_P256_SHA256 fits everywhere.",
            )
        with _told(resource):
            return sslib.signed(custodian, message)

    return RemoteSigner(found, ask, place=f"gcpkms:{label}")


def public(spec: str, password: Password) -> PublicKey:
    """Raises as `Custodian.public` does."""
    return signer(spec, password).public


def parse(spec: str) -> tuple[str, str]:
    """The resource's full name, and what people call the key. Raises `UsageError`."""
    match = _KEY.fullmatch(rest_of(spec))
    if match is None:
        raise UsageError("gcpkms: not the name of a key's version", hint=_HINT)
    if match["version"] is None:
        raise UsageError(
            "gcpkms: the name says no version of the key, and each version is another key",
            hint=f"Add /cryptoKeyVersions/1: gcloud kms keys versions list --key {match['name']} shows them.",
        )
    return f"{match[1]}/cryptoKeyVersions/{match['version']}", f"{match['name']}/{match['version']}"


@contextmanager
def _told(resource: str) -> Iterator[None]:
    """What Google says, as errors of ours, by name."""
    place = f"gcpkms:{resource}"
    try:
        yield
    except exceptions.NotFound:
        raise NotFoundError(f"{place}: no such key", hint="Check the name and the project.") from None
    except (exceptions.Forbidden, exceptions.Unauthorized) as error:
        raise AuthenticationError(
            f"{place}: Google Cloud refuses ({_name(error)})",
            hint="Grant roles/cloudkms.signerVerifier on this key.",
            reason="custody",
        ) from None
    except exceptions.FailedPrecondition:
        raise AuthenticationError(
            f"{place}: this version of the key is not enabled", hint="Enable it, or use another.", reason="custody"
        ) from None
    except exceptions.InvalidArgument:
        raise UsageError(f"{place}: Google Cloud does not accept the request", hint=_HINT) from None
    except TransportError as error:
        raise _unavailable(place, error) from None
    except GoogleAuthError as error:
        raise AuthenticationError(
            f"{place}: no usable Google Cloud credentials ({_name(error)})",
            hint="Log in: gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS.",
            reason="custody",
        ) from None
    except UnsupportedAlgorithmError:
        raise UsageError(
            f"{place}: keys of this algorithm are not supported", hint="EC_SIGN_P256_SHA256 fits everywhere."
        ) from None
    except exceptions.GoogleAPIError as error:
        raise _unavailable(place, error) from None


def _unavailable(place: str, error: BaseException) -> UnavailableError:
    return UnavailableError(
        f"{place}: Google Cloud does not answer as it should ({_name(error)})",
        hint="Run the same command again.",
        reason="custody",
    )


def _name(error: BaseException) -> str:
    return type(error).__name__
