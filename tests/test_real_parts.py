"""The real parts do what the other tests take for granted of them."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.real.cosign import cosign_attest, cosign_sign, cosign_verify, import_key
from tests.real.isolation import log_in
from tests.real.peers import peer, run
from tests.real.registries import PASSWORD, READER, USERNAME
from tests.real.servers import free_port, server, status_of
from tests.real.tokens import SERVICE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.real.cosign import CosignKey
    from tests.real.registry import RealRegistry, Throttle
    from tests.real.softhsm import SoftHsm
    from tests.real.tokens import TokenIssuer

pytestmark = pytest.mark.peer

CONTENT = b"weights, as it were\n" * 100
ARTIFACT_TYPE = "application/vnd.example.test"


def push(registry: RealRegistry, directory: Path) -> str:
    """Push one file with oras; `REPO@DIGEST` of what came of it."""
    (directory / "model.bin").write_bytes(CONTENT)
    repository = registry.fresh()
    arguments = ["--plain-http", "--artifact-type", ARTIFACT_TYPE, "--format", "json"]
    pushed = run("oras", "push", *arguments, f"{repository}:v1", "model.bin", cwd=directory)
    return f"{repository}@{json.loads(pushed.stdout)['digest']}"


# --- registries -----------------------------------------------------------------


def test_a_registry_takes_from_oras_what_crane_and_skopeo_give_back(
    real_registry: RealRegistry, tmp_path: Path
) -> None:
    reference = push(real_registry, tmp_path)
    manifest = run("crane", "manifest", "--insecure", reference).stdout
    (blob,) = json.loads(manifest)["layers"]
    repository = reference.partition("@")[0]

    raw = run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{reference}").stdout
    fetched = run("crane", "blob", "--insecure", f"{repository}@{blob['digest']}").stdout

    assert raw == manifest
    assert fetched.encode() == CONTENT


@pytest.mark.parametrize("name", ["distribution", "referrers_registry"])
def test_a_blob_changed_on_disk_is_what_the_registry_serves(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    registry: RealRegistry = request.getfixturevalue(name)
    reference = push(registry, tmp_path)
    (blob,) = json.loads(run("crane", "manifest", reference).stdout)["layers"]
    file = registry.blob(blob["digest"])
    assert file.read_bytes() == CONTENT

    file.write_bytes(b"W" + CONTENT[1:])

    repository = reference.partition("@")[0].removeprefix(registry.host)
    with urllib.request.urlopen(f"http://{registry.host}/v2{repository}/blobs/{blob['digest']}") as answer:
        assert answer.read() == b"W" + CONTENT[1:]


def test_only_the_referrers_registry_has_the_api(real_registry: RealRegistry, tmp_path: Path) -> None:
    reference = push(real_registry, tmp_path)
    attach = ["--plain-http", "--artifact-type", "application/vnd.example.note"]
    run("oras", "attach", *attach, reference, "model.bin", cwd=tmp_path)

    found = run("oras", "discover", "--plain-http", "--format", "json", reference).stdout
    repository = reference.partition("@")[0]
    tags = run("crane", "ls", "--insecure", repository).stdout.split()

    assert [entry["artifactType"] for entry in json.loads(found)["referrers"]] == [attach[-1]]
    assert any(tag.startswith("sha256-") for tag in tags) is not real_registry.referrers_api


def test_the_referrers_api_filters_and_answers_for_unknown_subjects(
    referrers_registry: RealRegistry, tmp_path: Path
) -> None:
    reference = push(referrers_registry, tmp_path)
    attach = ["--plain-http", "--artifact-type", "application/vnd.example.note"]
    run("oras", "attach", *attach, reference, "model.bin", cwd=tmp_path)
    repository, _, digest = reference.removeprefix(referrers_registry.host + "/").partition("@")
    base = f"http://{referrers_registry.host}/v2/{repository}/referrers"

    def referrers(subject: str, **query: str) -> tuple[list[str], str | None]:
        with urllib.request.urlopen(f"{base}/{subject}?{urlencode(query)}") as answer:
            assert answer.headers["Content-Type"] == "application/vnd.oci.image.index.v1+json"
            entries = json.load(answer)["manifests"]
            return [entry["artifactType"] for entry in entries], answer.headers["OCI-Filters-Applied"]

    assert referrers(digest) == ([attach[-1]], None)
    assert referrers(digest, artifactType=attach[-1]) == ([attach[-1]], "artifactType")
    assert referrers(digest, artifactType="application/other") == ([], "artifactType")
    assert referrers("sha256:" + "0" * 64) == ([], None)


@pytest.mark.parametrize("name", ["basic_auth_registry", "token_registry"])
def test_without_credentials_nothing_is_given(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    registry: RealRegistry = request.getfixturevalue(name)
    assert status_of(registry.host) == 401
    refused = run("oras", "repo", "tags", "--plain-http", registry.fresh(), check=False)
    assert refused.returncode != 0


def test_a_server_that_cannot_start_is_given_up(tmp_path: Path) -> None:
    program = peer("docker-registry")
    with (
        pytest.raises(Exception, match="no-such-file"),
        server(lambda port: [program, "serve", tmp_path / f"no-such-file-{port}"], log=tmp_path / "log"),
    ):
        pytest.fail("it started")


def test_servers_listen_on_loopback_only(real_registry: RealRegistry) -> None:
    port = int(real_registry.host.rpartition(":")[2])
    with open("/proc/net/tcp") as four, open("/proc/net/tcp6") as six:
        lines = [line.split() for line in [*four, *six]]
    listening = {local for _, local, _, state, *_ in lines if state == "0A" and local.endswith(f":{port:04X}")}
    assert listening == {f"0100007F:{port:04X}"}


# --- tokens -----------------------------------------------------------------------


def test_a_token_is_asked_for_with_the_scope_that_is_needed(
    token_registry: RealRegistry, token_issuer: TokenIssuer, docker_config: Path, tmp_path: Path
) -> None:
    log_in(docker_config, token_registry)
    reference = push(token_registry, tmp_path)
    repository = reference.partition("@")[0].removeprefix(token_registry.host + "/")

    asked = {scope for request in token_issuer.requests for scope in request.scopes}
    assert f"repository:{repository}:pull,push" in asked
    assert {request.account for request in token_issuer.requests} == {USERNAME}
    assert {request.service for request in token_issuer.requests} == {SERVICE}


def ask(registry: RealRegistry, repository: str, token: str) -> int:
    """The status of a manifest's HEAD with a bearer token: 404 is what one gets who may read."""
    request = urllib.request.Request(
        f"http://{registry.host}/v2/{repository}/manifests/v1",
        headers={"Authorization": f"Bearer {token}"},
        method="HEAD",
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def post(issuer: TokenIssuer, **form: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(issuer.realm, urlencode(form).encode()) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_password_buys_a_refresh_token_and_that_buys_tokens(
    token_registry: RealRegistry, token_issuer: TokenIssuer
) -> None:
    asking = {"service": SERVICE, "scope": "repository:a/b:pull", "client_id": "test"}
    status, bought = post(
        token_issuer,
        grant_type="password",
        username=USERNAME,
        password=PASSWORD,
        access_type="offline",
        **asking,
    )
    assert status == 200
    refresh = str(bought["refresh_token"])
    status, again = post(token_issuer, grant_type="refresh_token", refresh_token=refresh, **asking)

    assert status == 200
    assert ask(token_registry, "a/b", str(again["access_token"])) == 404
    assert ask(token_registry, "a/other", str(again["access_token"])) == 401
    assert post(token_issuer, grant_type="refresh_token", refresh_token="made up", **asking)[0] == 401
    assert [request.grant for request in token_issuer.requests] == [
        "password",
        "refresh_token",
        "refresh_token",
    ]
    token_issuer.accepts_post = False
    assert post(token_issuer, grant_type="refresh_token", refresh_token=refresh, **asking)[0] == 404


def test_a_token_is_refused_when_its_time_is_over(token_registry: RealRegistry, token_issuer: TokenIssuer) -> None:
    token_issuer.lifetime = 2
    token = token_issuer.token(USERNAME, ("repository:a/b:pull",))
    assert ask(token_registry, "a/b", token) == 404
    time.sleep(3.2)
    assert ask(token_registry, "a/b", token) == 401


def test_a_reader_is_granted_no_more_than_pull(
    token_registry: RealRegistry, token_issuer: TokenIssuer, docker_config: Path, tmp_path: Path
) -> None:
    (docker_config / "config.json").write_text("{}")
    (tmp_path / "model.bin").write_bytes(CONTENT)
    login = ["--username", READER, "--password", PASSWORD]
    target = f"{token_registry.fresh()}:v1"
    refused = run("oras", "push", "--plain-http", *login, target, "model.bin", cwd=tmp_path, check=False)
    assert refused.returncode != 0
    assert any("push" in scope for request in token_issuer.requests for scope in request.scopes)


def test_an_anonymous_token_reads_where_the_issuer_allows_it(
    token_registry: RealRegistry, token_issuer: TokenIssuer
) -> None:
    assert ask(token_registry, "a/b", token_issuer.token(None, ("repository:a/b:pull",))) == 401
    token_issuer.anonymous_pull = True
    assert ask(token_registry, "a/b", token_issuer.token(None, ("repository:a/b:pull,push",))) == 404


# --- signers -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["distribution", "referrers_registry"])
def test_cosign_verifies_what_it_signed(
    name: str, request: pytest.FixtureRequest, cosign_key: CosignKey, tmp_path: Path
) -> None:
    reference = push(request.getfixturevalue(name), tmp_path)
    unsigned = cosign_verify(reference, cosign_key.public, check=False)
    cosign_sign(reference, cosign_key, "-a", "env=prod")

    assert unsigned.returncode != 0
    cosign_verify(reference, cosign_key.public, "-a", "env=prod")
    assert cosign_verify(reference, cosign_key.public, "-a", "env=dev", check=False).returncode != 0


def test_cosign_signs_with_a_key_of_ours(distribution: RealRegistry, tmp_path: Path) -> None:
    pem = tmp_path / "own.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    reference = push(distribution, tmp_path)
    imported = import_key(pem, tmp_path)
    cosign_sign(reference, imported)
    cosign_verify(reference, imported.public)


def test_cosign_attests(distribution: RealRegistry, cosign_key: CosignKey, tmp_path: Path) -> None:
    reference = push(distribution, tmp_path)
    predicate = tmp_path / "predicate.json"
    predicate.write_text('{"passed": true}')
    cosign_attest(reference, cosign_key, "https://example.test/evaluation", predicate)
    offline = ["--insecure-ignore-tlog=true", "--allow-http-registry"]
    kind = ["--type", "https://example.test/evaluation"]
    run("cosign", "verify-attestation", "--key", cosign_key.public, *kind, *offline, reference)


def test_notation_verifies_what_it_signed(distribution: RealRegistry, isolated: Path, tmp_path: Path) -> None:
    reference = push(distribution, tmp_path)
    run("notation", "cert", "generate-test", "--default", "tests.example")
    run("notation", "sign", "--insecure-registry", reference)
    policy = {
        "version": "1.0",
        "trustPolicies": [
            {
                "name": "tests",
                "registryScopes": ["*"],
                "signatureVerification": {"level": "strict"},
                "trustStores": ["ca:tests.example"],
                "trustedIdentities": ["*"],
            }
        ],
    }
    (isolated / "config/notation/trustpolicy.json").write_text(json.dumps(policy))
    assert "Successfully verified" in run("notation", "verify", "--insecure-registry", reference).stdout


# --- the rest --------------------------------------------------------------------------


def test_a_throttled_registry_is_the_same_one_but_slower(
    distribution: RealRegistry, throttled: Throttle, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(bytes(300_000))
    slow = throttled(distribution, "200k")
    repository = slow.fresh()
    pushed = run("oras", "push", "--plain-http", f"{repository}:v1", "model.bin", cwd=tmp_path)
    assert "Pushed" in pushed.stdout
    (blob,) = json.loads(run("crane", "manifest", f"{repository}:v1").stdout)["layers"]

    started = time.monotonic()
    path = f"{repository.removeprefix(slow.host)}/blobs/{blob['digest']}"
    with urllib.request.urlopen(f"http://{slow.host}/v2{path}") as answer:
        assert len(answer.read()) == 300_000
    assert time.monotonic() - started > 0.8  # a floor that the limit guarantees, not a speed


def test_a_token_in_software_holds_a_key(softhsm: SoftHsm, tmp_path: Path) -> None:
    pem = tmp_path / "own.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    softhsm.import_key(pem, "signer")
    shown = run("softhsm2-util", "--show-slots", "--module", softhsm.module).stdout
    assert softhsm.label in shown


def test_promtool_reads_metrics() -> None:
    text = "# HELP tests_total Tests that ran.\n# TYPE tests_total counter\ntests_total 1\n"
    run("promtool", "check", "metrics", stdin=text)


def test_a_test_has_a_home_of_its_own(isolated: Path, docker_config: Path) -> None:
    shown = run("skopeo", "--version")
    assert "skopeo" in shown.stdout
    assert docker_config.parent == isolated
    assert list(docker_config.iterdir()) == []


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_what_is_missing_is_a_failure_in_ci_and_a_skip_elsewhere(
    ci: str, outcome: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no-such-tool"):
        peer("no-such-tool")


def test_a_free_port_is_free() -> None:
    assert status_of(f"127.0.0.1:{free_port()}") is None
