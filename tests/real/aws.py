"""AWS on loopback: moto's server in a process of its own."""

from __future__ import annotations

import os
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.real.servers import server

REGION = "eu-central-1"
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Aws:
    """``host`` is ``127.0.0.1:PORT``. Whoever asks is let in until `guard` is called."""

    host: str

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def client(self, service: str, **more: str) -> Any:
        import boto3

        credentials = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        return boto3.client(service, endpoint_url=self.url, region_name=REGION, **{**credentials, **more})

    def key(self, spec: str = "ECC_NIST_P256", alias: str | None = None, usage: str = "SIGN_VERIFY") -> str:
        """A new key; its ARN."""
        kms = self.client("kms")
        arn = str(kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["Arn"])
        if alias is not None:
            kms.create_alias(AliasName=f"alias/{alias}", TargetKeyId=arn)
        return arn

    def stranger(self) -> dict[str, str]:
        """The credentials of a user who may do nothing, as variables of the environment."""
        iam = self.client("iam")
        name = f"stranger-{next(_numbers)}"
        iam.create_user(UserName=name)
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return {"AWS_ACCESS_KEY_ID": made["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"]}

    def guard(self) -> None:
        """From now on everybody needs a permission."""
        self._post("reset-auth", b"0")

    def open(self) -> None:
        """From now on nobody does."""
        self._post("reset-auth", b"inf")

    def _post(self, what: str, body: bytes) -> None:
        request = urllib.request.Request(f"{self.url}/moto-api/{what}", body, {"Content-Type": "text/plain"})
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200


@pytest.fixture(scope="session")
def aws_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """One process for all tests."""
    program = Path(__file__).with_name("moto_server.py")
    log = tmp_path_factory.mktemp("moto") / "log"
    with server(lambda port: [sys.executable, program, "--port", str(port)], log=log, path="/moto-api/") as host:
        yield Aws(host)


@pytest.fixture
def aws(aws_server: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """What a machine's environment says of where AWS is and who asks."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL": aws_server.url,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing-secret-access-key",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    yield aws_server
    aws_server.open()
