"""Secrets stay where they are: not in outputs, not in the audit log, not in receipts, not on other hosts."""

from __future__ import annotations

import base64
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocimodel.stores.http.credentials import Credential, DockerConfig
from tests.attacks.scene import Scene, write_model
from tests.commands import Ran, run
from tests.hostile import Basic, Bearer, HostileRegistry, Reply, Request, Response
from tests.signers import ALICE

USER, PASSWORD = "ada", "s3cret-Pa55word"
ENCODED = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.fixture(params=["basic", "bearer"])
def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """A registry that wants credentials."""
    auth = Basic(USER, PASSWORD) if request.param == "basic" else Bearer(USER, PASSWORD)
    with HostileRegistry(auth=auth) as registry:
        yield Scene(registry, tmp_path)


def login(scene: Scene, monkeypatch: pytest.MonkeyPatch, password: str = PASSWORD, *more: str) -> Ran:
    monkeypatch.setattr(sys, "stdin", io.StringIO(password + "\n"))
    return run(
        "login",
        scene.registry.host,
        "--username",
        USER,
        "--password-stdin",
        "--plain-http",
        scene.registry.host,
        *more,
    )


def push(scene: Scene, *more: str | Path) -> Ran:
    model = write_model(scene.place / "model")
    plain = ("--plain-http", scene.registry.host)
    return run("push", model, str(scene.reference), "--key", scene.private(), *plain, *more)


def secrets(scene: Scene) -> list[str]:
    tokens = list(scene.registry.auth.tokens) if isinstance(scene.registry.auth, Bearer) else []
    return [PASSWORD, ENCODED, base64.b64encode(PASSWORD.encode()).decode(), *tokens]


def leaks(scene: Scene, *ran: Ran) -> list[str]:
    """Secrets in what was printed or written, the file of the credentials apart."""
    home = Path(os.environ["HOME"])
    written = [
        path.read_bytes().decode(errors="replace")
        for place in (home, scene.place)
        for path in place.rglob("*")
        if path.is_file() and path.name not in ("config.json", "alice.key")
    ]
    texts = [*(one.out + one.err for one in ran), *written]
    private = scene.private().read_text().splitlines()[1]
    return [secret for secret in [*secrets(scene), private] if any(secret in text for text in texts)]


def test_the_whole_story_without_a_secret(guarded: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ("--plain-http", guarded.registry.host)
    ran = [
        login(guarded, monkeypatch),
        push(guarded, "--debug"),
        guarded.pull("--json", "--debug", *plain),
        guarded.verify("--json", *plain),
        run("tree", str(guarded.reference), *plain),
        run("inspect", str(guarded.reference), "--json", *plain),
        run("list", guarded.reference.name, *plain),
        run("logout", guarded.registry.host),
    ]
    assert [one.code for one in ran] == [0] * len(ran)
    assert leaks(guarded, *ran) == []


def test_failures_tell_no_secret(guarded: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong passwords, refusals, errors in which the registry repeats what it was sent."""
    plain = ("--plain-http", guarded.registry.host)
    ran = [login(guarded, monkeypatch), push(guarded)]
    assert [one.code for one in ran] == [0, 0]

    def echo(request: Request, response: Response) -> Response | None:
        sent = request.headers.get("authorization", "")
        if request.route not in ("manifest", "referrers"):
            return None
        errors = {"errors": [{"code": "DENIED", "message": f"you sent {sent} {sent.partition(' ')[2]}"}]}
        return Response(403, {"Content-Type": "application/json"}, json.dumps(errors).encode())

    guarded.registry.on_response = echo
    failed = [
        guarded.pull("--debug", *plain),
        guarded.pull("--json", *plain),
        guarded.verify("--debug", *plain),
        push(guarded, "--debug"),
        run("tree", str(guarded.reference), "--debug", *plain),
    ]
    assert {one.code for one in failed} == {77}
    guarded.registry.on_response = None
    wrong = login(guarded, monkeypatch, "other-" + PASSWORD, "--debug")
    assert wrong.code == 77
    assert leaks(guarded, *ran, *failed, wrong) == []


def test_a_signed_url_is_not_printed(signed: Scene) -> None:
    """A redirect to an object store carries its own secret in the query."""
    signed.registry.switches.redirect_blobs = True
    signed.registry.fail(Reply(403, {}, b"<Error>expired</Error>"), route="storage")
    ran = signed.pull("--debug")
    assert ran.code == 77
    signatures = [request.parameter("signature") for request in signed.registry.seen(route="storage")]
    assert signatures
    assert not any(signature and signature in ran.out + ran.err for signature in signatures)


@pytest.mark.parametrize("auth", [Basic(USER, PASSWORD), Bearer(USER, PASSWORD)], ids=["basic", "bearer"])
@pytest.mark.parametrize("way", ["blobs", "uploads", "pages", "manifests"])
def test_credentials_do_not_travel_to_another_host(
    auth: Basic | Bearer, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redirects, upload locations and Link headers that lead elsewhere: elsewhere gets no Authorization."""
    with HostileRegistry(auth=auth) as registry:
        scene = Scene(registry, tmp_path)
        plain = ("--plain-http", registry.host)
        assert login(scene, monkeypatch).code == 0
        if way == "uploads":
            registry.switches.location = "cross-host"
        assert push(scene).code in (0, 75, 77)
        if way == "blobs":
            registry.switches.redirect_blobs = True
        elif way == "pages":
            registry.switches.page_size, registry.switches.links = 1, "cross-host"
        elif way == "manifests":
            where = {"Location": f"{registry.storage_url}/v2/models/tiny/manifests/v1"}
            registry.fail(Reply(307, where), route="manifest", target="v1")
        expected = {"blobs": (0,), "uploads": (0, 11), "pages": (75,), "manifests": (75, 77)}[way]
        assert scene.pull(*plain).code in expected
        assert not [request for request in registry.seen(server="storage") if "authorization" in request.headers]


def test_a_realm_elsewhere_gets_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry names a token service of somebody else's, in plain HTTP."""
    with HostileRegistry(auth=Bearer(USER, PASSWORD)) as registry:
        scene = Scene(registry, tmp_path)
        assert login(scene, monkeypatch).code == 0
        assert isinstance(registry.auth, Bearer)
        registry.auth.realm = f"{registry.storage_url}/token"
        plain = ("--plain-http", registry.host)
        assert scene.pull(*plain).code == 77
        stolen = [request for request in registry.seen(server="storage") if "authorization" in request.headers]
        assert stolen == []


def test_credentials_are_not_sent_in_the_open(tmp_path: Path) -> None:
    """A loopback registry that speaks plain HTTP gets them only where that was asked for."""
    with HostileRegistry(auth=Basic(USER, PASSWORD)) as registry:
        scene = Scene(registry, tmp_path)
        DockerConfig.from_environment().store(registry.host, Credential(username=USER, password=PASSWORD))
        ran = scene.pull()
        assert ran.code == 77
        assert f"--plain-http {registry.host}" in ran.err
        assert not [request for request in registry.seen() if "authorization" in request.headers]


def test_the_file_of_credentials_is_the_users_own(guarded: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert login(guarded, monkeypatch).code == 0
    file = Path(os.environ["DOCKER_CONFIG"]) / "config.json"
    assert file.stat().st_mode & 0o077 == 0
    assert ENCODED in file.read_text()


def test_a_key_in_the_environment_is_not_printed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = ALICE.private_pem(None).decode()
    monkeypatch.setenv("SIGNING_PEM", pem)
    scene.push(signer=None)
    ran = [
        run("sign", str(scene.reference), "--key", "env:SIGNING_PEM", "--debug"),
        run("verify", str(scene.reference), "--key", "env:SIGNING_PEM", "--debug"),
    ]
    assert [one.code for one in ran] == [0, 2]
    assert leaks(scene, *ran) == []


def test_a_key_in_the_place_of_its_file_is_not_printed(scene: Scene) -> None:
    """``--key "$SIGNING_PEM"`` instead of ``--key env:SIGNING_PEM``: a slip, and logs of pipelines are public."""
    pem = ALICE.private_pem(None).decode()
    ran = [
        run("sign", str(scene.reference), "--key", pem),
        run("verify", str(scene.reference), "--key", pem.replace("\n", "\\n")),
    ]
    assert {one.code for one in ran} <= {2, 11}
    assert leaks(scene, *ran) == []
