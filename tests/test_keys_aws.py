"""Keys in AWS KMS, against moto's server on loopback."""

from __future__ import annotations

import base64
import http.server
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ocimodel.errors import AuthenticationError, NotFoundError, UnavailableError, UsageError
from ocimodel.keys.algorithms import Algorithm
from ocimodel.keys.custody import aws as custodian
from ocimodel.keys.specs import load_public, load_signer
from tests.commands import events, make_world, run
from tests.real.aws import REGION, Aws

MESSAGE = b"what is signed"
SPECS = {
    "ECC_NIST_P256": Algorithm.ECDSA_P256,
    "ECC_NIST_P384": Algorithm.ECDSA_P384,
    "ECC_NIST_P521": Algorithm.ECDSA_P521,
    "RSA_2048": Algorithm.RSA_2048,
    "RSA_3072": Algorithm.RSA_3072,
}


@pytest.mark.parametrize("spec", SPECS)
def test_kms_signs(aws: Aws, spec: str) -> None:
    arn = aws.key(spec)
    signer = load_signer(f"awskms:{arn}")
    assert signer.public.algorithm is SPECS[spec]
    assert signer.public.verify(signer.sign(MESSAGE), MESSAGE)
    assert signer.public.verify(signer.sign(MESSAGE, pss=True), MESSAGE, pss=True)
    assert load_public(f"awskms:///{arn}") == signer.public


def test_a_key_has_many_names(aws: Aws) -> None:
    arn = aws.key(alias="release")
    identifier = arn.rpartition("/")[2]
    account = arn.split(":")[4]
    names = [
        f"awskms:{identifier}",
        f"awskms:///{identifier}",
        "awskms:alias/release",
        "awskms:///alias/release",
        f"awskms:arn:aws:kms:{REGION}:{account}:alias/release",
    ]
    assert {load_public(name).keyid for name in names} == {load_public(f"awskms:{arn}").keyid}


def test_an_arn_says_the_region(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    arn = aws.key()
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert load_public(f"awskms:{arn}").algorithm is Algorithm.ECDSA_P256
    with pytest.raises(NotFoundError):
        load_public(f"awskms:{arn.rpartition('/')[2]}")
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(UsageError, match="region") as caught:
        load_public(f"awskms:{arn.rpartition('/')[2]}")
    assert "AWS_REGION" in caught.value.hint


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("awskms:alias/a", (None, "alias/a", None)),
        ("awskms:///alias/a", (None, "alias/a", None)),
        ("awskms://localhost:4566/alias/a", ("https://localhost:4566", "alias/a", None)),
        (
            "awskms:///arn:aws-cn:kms:cn-north-1:123456789012:key/mrk-1",
            (None, "arn:aws-cn:kms:cn-north-1:123456789012:key/mrk-1", "cn-north-1"),
        ),
    ],
)
def test_spellings(spec: str, expected: tuple[str | None, str, str | None]) -> None:
    assert custodian.parse(spec) == expected


@pytest.mark.parametrize(
    "spec", ["awskms:", "awskms://", "awskms://host", "awskms://user:pw@host/k", "awskms:a b", "awskms:alias/a?x=y"]
)
def test_what_is_no_name(spec: str) -> None:
    with pytest.raises(UsageError, match="not the name of a key"):
        load_signer(spec)


# --- faults ------------------------------------------------------------------------------------------------------


def test_no_such_key_is_11(aws: Aws) -> None:
    with pytest.raises(NotFoundError, match="no such key"):
        load_signer("awskms:alias/nobody")


def test_who_may_not_is_77(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    arn = aws.key()
    stranger = aws.stranger()
    aws.guard()
    for name, value in stranger.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AuthenticationError, match="AWS refuses") as caught:
        load_signer(f"awskms:{arn}")
    assert "kms:Sign" in caught.value.hint
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODY")
    with pytest.raises(AuthenticationError):
        load_signer(f"awskms:{arn}")


def test_without_credentials_is_77(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(AuthenticationError, match="no usable AWS credentials"):
        load_signer("awskms:alias/a")


def test_a_key_that_is_switched_off_is_77(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    arn = aws.key()
    with answering(400, {"__type": "DisabledException", "message": f"{arn} is disabled."}) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(AuthenticationError, match="DisabledException"):
            load_signer(f"awskms:{arn}")


def test_a_key_for_something_else_is_refused(aws: Aws) -> None:
    with pytest.raises(UsageError):
        load_signer(f"awskms:{aws.key('RSA_2048', usage='ENCRYPT_DECRYPT')}")


def test_nobody_there_is_75(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match="EndpointConnectionError"):
        load_signer("awskms:alias/a")


@pytest.mark.parametrize(
    ("status", "code"), [(500, "KMSInternalException"), (400, "ThrottlingException"), (503, "Whatever")]
)
def test_a_service_in_trouble_is_75(aws: Aws, monkeypatch: pytest.MonkeyPatch, status: int, code: str) -> None:
    with answering(status, {"__type": code, "message": "secret"}) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(UnavailableError, match=code) as caught:
            load_signer("awskms:alias/a")
    assert "secret" not in caught.value.message


def test_another_key_under_the_same_name_is_noticed(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody in between, or an alias that points elsewhere: what comes back is no signature by the key."""
    alice, mallory = aws.key(), load_signer(f"awskms:{aws.key()}")
    shown = base64.b64encode(load_signer(f"awskms:{alice}").public.der).decode()
    forged = {
        "KeyId": alice,
        "KeyUsage": "SIGN_VERIFY",
        "PublicKey": shown,
        "Signature": base64.b64encode(mallory.sign(MESSAGE)).decode(),
    }
    with answering(200, forged) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        signer = load_signer(f"awskms:{alice}")
        with pytest.raises(UnavailableError, match="something else than a signature"):
            signer.sign(MESSAGE)


@contextmanager
def answering(status: int, body: dict[str, str]) -> Iterator[str]:
    """A server that has one answer for everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(UsageError) as caught:
        load_signer("awskms:alias/a")
    assert caught.value.hint == "pip install 'ocimodel[awskms]'"


# --- as a user would ---------------------------------------------------------------------------------------------


def test_commands_take_a_key_in_kms(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arn = aws.key(alias="ci")
    world = make_world(tmp_path)
    assert run("key", "public", "awskms:alias/ci", "-o", tmp_path / "ci.pub").code == 0
    ran = run("sign", world.ref, "--key", "awskms:///alias/ci", "--debug")
    assert ran.code == 0, ran.err
    assert run("verify", world.ref, "--key", tmp_path / "ci.pub").code == 0
    assert run("key", "import", f"awskms:{arn}", tmp_path / "copy", "--no-password").code == 2
    stranger = aws.stranger()
    aws.guard()
    for name, value in stranger.items():
        monkeypatch.setenv(name, value)
    denied = run("sign", world.ref, "--key", f"awskms:{arn}", "--debug")
    assert denied.code == 77
    assert denied.out == ""
    secret = stranger["AWS_SECRET_ACCESS_KEY"]
    assert secret not in denied.err + json.dumps(events())
