"""Credentials for Amazon's registries, by the ECR backend of ``oras`` (which asks ``boto3``).

Imported only for such a host, where Docker's configuration says nothing of it and ``boto3`` is installed, since it
brings ``requests`` along. Of the backend only the exchange with Amazon is used: our transport carries the result,
and decides which origin may see it.
"""

from __future__ import annotations

import base64
import binascii
import re
from importlib.util import find_spec
from types import SimpleNamespace

from ocimodel.errors import AuthenticationError
from ocimodel.stores.http.credentials import Credential, Credentials
from ocimodel.stores.http.origins import printable

_HOST = re.compile(r"[0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com")


class WithEcr:
    """``first``, and for an Amazon registry that it does not know, the credentials of the environment."""

    def __init__(self, first: Credentials) -> None:
        self._first = first

    def find(self, host: str) -> Credential | None:
        """Raises AuthenticationError where Amazon gives none."""
        found = self._first.find(host)
        if found is None and _HOST.fullmatch(host) and find_spec("boto3"):
            return ask_amazon(host)
        return found


def ask_amazon(host: str) -> Credential:
    """A password for twelve hours, for whoever the environment says we are."""
    from oras.auth.ecr import EcrAuth

    challenge = {"Www-Authenticate": f'Basic realm="https://{host}/",service="ecr.amazonaws.com"'}
    try:
        headers, _ = EcrAuth().authenticate_request(SimpleNamespace(headers=challenge), {})
        pair = base64.b64decode(headers["Authorization"].removeprefix("Basic "), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, KeyError):
        raise AuthenticationError(f"Amazon answers without a usable password for {host}") from None
    except Exception as error:  # noqa: BLE001  # botocore's errors have no common root, and all mean: no
        raise AuthenticationError(
            f"Amazon gives no password for {host}: {printable(str(error), 160)}",
            hint="Check the AWS credentials of the environment (aws sts get-caller-identity).",
        ) from None
    username, _, password = pair.partition(":")
    return Credential(username=username, password=password)
