"""``awskms:`` keys: AWS Key Management Service.

    awskms:KEY               KEY is a key's id, its ARN, alias/NAME, or an alias's ARN
    awskms://[ENDPOINT]/KEY  as cosign writes it; ENDPOINT is HOST[:PORT], and always HTTPS

Guarantees: the digest alone goes to the service. The region is the ARN's, else AWS_REGION, else what boto3 finds.
Credentials are what boto3 finds. The service needs to allow kms:GetPublicKey and kms:Sign.

What it does not do: Ed25519 keys, which securesystemslib does not know at AWS.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore import exceptions
from botocore.config import Config
from securesystemslib.signer import AWSSigner, SSlibKey

from ocimodel.errors import AuthenticationError, NotFoundError, UnavailableError, UsageError
from ocimodel.keys.custody import shapes, sslib
from ocimodel.keys.custody.remote import RemoteSigner
from ocimodel.keys.public import PublicKey
from ocimodel.keys.signer import Signer
from ocimodel.keys.specs import Password

_KEY = re.compile(
    r"(arn:[a-z0-9-]{1,30}:kms:(?P<region>[a-z0-9-]{1,40}):[0-9]{12}:(key|alias)/)?"
    r"(alias/)?(?P<name>[A-Za-z0-9/_-]{1,256})"
)
_ENDPOINT = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?")
_HINT = "Write awskms:alias/NAME, or the ARN of the key: awskms:arn:aws:kms:REGION:ACCOUNT:key/ID."
_PATIENCE = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "max_attempts": 4})

_NO_SUCH = {"NotFoundException"}
_DENIED = {
    "AccessDeniedException",
    "DisabledException",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "KMSInvalidStateException",
    "OptInRequired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}

_LOGIN = tuple(
    getattr(exceptions, name)
    for name in (
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
        "TokenRetrievalError",
        "SSOError",
        "LoginError",
    )
    if hasattr(exceptions, name)
)


class _Custodian(AWSSigner):
    """securesystemslib's signer with a client of ours, which knows region, endpoint and patience."""

    aws_algos = AWSSigner.aws_algos | {"ecdsa-sha2-nistp521": "ECDSA_SHA_512"}

    def __init__(self, aws_key_id: str, public_key: SSlibKey, client: Any) -> None:
        self.aws_key_id = aws_key_id
        self._public_key = public_key
        self.client = client
        self.aws_algo = self.aws_algos[public_key.scheme]


def signer(spec: str, _password: Password) -> Signer:
    """Raises as `Custodian.signer` does."""
    client, key = _client(spec)
    place = f"awskms:{key}"
    with _told(place):
        answer = client.get_public_key(KeyId=key)
    if answer["KeyUsage"] != "SIGN_VERIFY":
        raise UsageError(f"{place}: this key is not for signing", hint="Make one with the usage SIGN_VERIFY.")
    public = PublicKey.from_der(shapes.from_der(answer["PublicKey"]), label=key)
    if public.algorithm.scheme.hash is None:
        raise UsageError(f"{place}: {public.algorithm} keys at AWS are not supported", hint="Use ECC_NIST_P256.")

    def ask(message: bytes, pss: bool) -> bytes:
        # By the id that was just told: what an alias points to may change.
        custodian = _Custodian(answer["KeyId"], sslib.key_of(public, pss=pss), client)
        with _told(place):
            return sslib.signed(custodian, message)

    return RemoteSigner(public, ask, place=place)


def public(spec: str, password: Password) -> PublicKey:
    """Raises as `Custodian.public` does."""
    return signer(spec, password).public


def parse(spec: str) -> tuple[str | None, str, str | None]:
    """Endpoint, key and region of a spec. Raises `UsageError`."""
    rest = spec.partition(":")[2]
    endpoint = ""
    if rest.startswith("//"):
        endpoint, _, rest = rest[2:].partition("/")
    match = _KEY.fullmatch(rest)
    if match is None or (endpoint and not _ENDPOINT.fullmatch(endpoint)):
        raise UsageError("awskms: not the name of a key", hint=_HINT)
    return f"https://{endpoint}" if endpoint else None, rest, match["region"]


def _client(spec: str) -> tuple[Any, str]:
    endpoint, key, region = parse(spec)
    try:
        # A session of our own: the library's keeps the credentials that it found first.
        client = boto3.session.Session().client(
            "kms",
            region_name=region or os.environ.get("AWS_REGION") or None,
            endpoint_url=endpoint,
            config=_PATIENCE,
        )
    except exceptions.NoRegionError:
        raise UsageError("awskms: nothing says in which region the key is", hint="Set AWS_REGION.") from None
    except (exceptions.BotoCoreError, ValueError) as error:
        raise UsageError(f"awskms: the AWS configuration is not usable ({_name(error)})") from None
    return client, key


@contextmanager
def _told(place: str) -> Iterator[None]:
    """What AWS says, as errors of ours: by name, since its texts can hold what was sent."""
    try:
        yield
    except exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))[:60]
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _NO_SUCH:
            raise NotFoundError(
                f"{place}: no such key", hint="Check its name, the region and the account."
            ) from None
        if code in _DENIED or status in (401, 403):
            raise AuthenticationError(
                f"{place}: AWS refuses ({code})",
                hint="Allow kms:GetPublicKey and kms:Sign on this key, and check that it is enabled.",
                reason="custody",
            ) from None
        if status >= 500 or "Throttl" in code or code in ("KeyUnavailableException", "LimitExceededException"):
            raise _unavailable(place, code) from None
        raise UsageError(f"{place}: AWS does not accept the request ({code})", hint=_HINT) from None
    except _LOGIN as error:
        raise AuthenticationError(
            f"{place}: no usable AWS credentials ({_name(error)})",
            hint="Log in (aws sso login), or set AWS_PROFILE.",
            reason="custody",
        ) from None
    except exceptions.BotoCoreError as error:
        raise _unavailable(place, _name(error)) from None


def _unavailable(place: str, why: str) -> UnavailableError:
    return UnavailableError(
        f"{place}: AWS does not answer as it should ({why})", hint="Run the same command again.", reason="custody"
    )


def _name(error: BaseException) -> str:
    return type(error).__name__
