"""Credentials: where they come from, what they are exchanged for, and where they never go."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from ocimodel.errors import AuthenticationError, ConfigurationError, NotFoundError, StorageError, UnavailableError
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.stores.http.challenge import Challenge, parse
from ocimodel.stores.http.credentials import Credential, Credentials, DockerConfig, Given
from ocimodel.stores.http.ecr import WithEcr
from ocimodel.stores.http.policy import TOKEN_BYTES, Patience
from ocimodel.stores.http.transport import Request, Transport
from ocimodel.stores.protocol import Source
from ocimodel.stores.registry import RegistryStore, login, logout, open_registry
from tests.hostile import Basic, Bearer, HostileRegistry, Reply
from tests.hostile import Request as Asked
from tests.real.registry import RealRegistry
from tests.scripted import Authority, Say, Scripted, Seen

FAST = Patience(connect=2.0, stall=5.0, first_delay=0.0, settle=0.001)
ADA = Credential(username="ada", password="correct horse")
NOBODY = DockerConfig(None)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("authority"))


def store(
    registry: HostileRegistry, credentials: Credentials | None = None, *, plain: bool = True
) -> RegistryStore:
    return open_registry(
        Reference.parse(f"{registry.host}/a/model"),
        plain_http=frozenset({registry.host}) if plain else frozenset(),
        credentials=credentials or Given(registry.host, ADA),
        patience=FAST,
    )


def tokens_of(registry: HostileRegistry) -> list[Asked]:
    return [request for request in registry.seen() if request.path == "/token"]


# --- challenges ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], []),
        ([""], []),
        (["Basic"], [("basic", {})]),
        (['Basic realm="x"'], [("basic", {"realm": "x"})]),
        (
            ['Bearer realm="https://a/token",service="a",scope="repository:x:pull,push"'],
            [("bearer", {"realm": "https://a/token", "service": "a", "scope": "repository:x:pull,push"})],
        ),
        (
            ["Bearer realm=https://a/token , service=a"],
            [("bearer", {"realm": "https://a/token", "service": "a"})],
        ),
        (
            ['Bearer realm="https://a/token",service="a", Basic realm="b"'],
            [("bearer", {"realm": "https://a/token", "service": "a"}), ("basic", {"realm": "b"})],
        ),
        (['Basic realm="b"', 'BEARER Realm="c"'], [("basic", {"realm": "b"}), ("bearer", {"realm": "c"})]),
        (["Negotiate "], [("negotiate", {})]),
        (["Negotiate, Basic realm=b"], [("negotiate", {}), ("basic", {"realm": "b"})]),
        (["Negotiate dG9rZW4=, Basic realm=b"], [("negotiate", {}), ("basic", {"realm": "b"})]),
        (['Bearer realm="a\\"b,c"'], [("bearer", {"realm": 'a"b,c'})]),
        (['Bearer realm="a",realm="b"'], [("bearer", {"realm": "a"})]),
        (['Bearer realm = "a" , service = "b"'], [("bearer", {"realm": "a", "service": "b"})]),
        (['Bearer realm="unfinished'], [("bearer", {})]),
        ([", ,"], []),
    ],
)
def test_challenges_in_every_form(lines: list[str], expected: list[tuple[str, dict[str, str]]]) -> None:
    assert parse(lines) == [Challenge(scheme, parameters) for scheme, parameters in expected]


def test_a_huge_challenge_takes_no_time() -> None:
    parse(["Bearer " + "a=b," * 100_000, '"' * 100_000, "a " * 100_000, "x=" * 50_000])


# --- Basic ---------------------------------------------------------------------


def test_basic_is_sent_along_once_it_is_known() -> None:
    with HostileRegistry(auth=Basic()) as registry:
        ours = store(registry)
        for data in (b"one", b"two"):
            ours.put_blob(Source.of(data))
        assert [request.status for request in registry.seen()].count(401) == 1
        assert registry.received() == len(b"onetwo")


def test_wrong_credentials_are_shown_once() -> None:
    with HostileRegistry(auth=Basic()) as registry:
        ours = store(registry, Given(registry.host, Credential(username="ada", password="secret")))
        with pytest.raises(AuthenticationError) as caught:
            ours.get_manifest("v1")
        assert registry.count() == 2
    assert "secret" not in f"{caught.value}{caught.value.hint}{caught.value!r}"


def test_without_credentials_the_way_to_log_in_is_named() -> None:
    with HostileRegistry(auth=Basic()) as registry:
        with pytest.raises(AuthenticationError) as caught:
            store(registry, NOBODY).get_manifest("v1")
        assert f"ocimodel login {registry.host}" in caught.value.hint
        assert registry.count() == 1


def test_credentials_do_not_go_over_a_downgraded_connection() -> None:
    with HostileRegistry(auth=Basic()) as registry:
        with pytest.raises(AuthenticationError) as caught:
            store(registry, plain=False).get_manifest("v1")
        assert f"--plain-http {registry.host}" in caught.value.hint
        assert all("authorization" not in request.headers for request in registry.seen())


def test_credentials_of_one_registry_are_not_shown_to_another() -> None:
    with HostileRegistry(auth=Basic()) as one, HostileRegistry(auth=Basic()) as other:
        transport = Transport(
            plain_http=frozenset({one.host, other.host}), credentials=Given(one.host, ADA), patience=FAST
        )
        RegistryStore(one.host, "a", transport).put_blob(Source.of(b"x"))
        with pytest.raises(AuthenticationError):
            RegistryStore(other.host, "a", transport).put_blob(Source.of(b"x"))
        assert all("authorization" not in request.headers for request in other.seen())


# --- tokens --------------------------------------------------------------------


def test_a_token_is_fetched_for_the_scope_and_kept() -> None:
    with HostileRegistry(auth=Bearer()) as registry:
        ours = store(registry)
        for data in (b"one", b"two"):
            ours.put_blob(Source.of(data))
        asked = tokens_of(registry)
        assert [request.query["scope"] for request in asked] == [
            ["repository:a/model:pull"],
            ["repository:a/model:pull,push"],
        ]
        assert asked[0].query["service"] == ["hostile"]
        assert registry.count("POST", "uploads") == 2  # no POST was sent in vain


def test_anonymous_tokens_need_no_credentials() -> None:
    with HostileRegistry(auth=Bearer(anonymous_pull=True)) as registry:
        ours = store(registry, NOBODY)
        with pytest.raises(NotFoundError):
            ours.get_manifest("v1")
        assert "authorization" not in tokens_of(registry)[0].headers
        with pytest.raises(AuthenticationError) as caught:
            ours.put_blob(Source.of(b"x"))
        assert "login" in caught.value.hint


def test_eight_threads_fetch_one_token() -> None:
    with HostileRegistry(auth=Bearer()) as registry:
        ours = store(registry)
        barrier = threading.Barrier(8)

        def ask(number: int) -> None:
            barrier.wait()
            with pytest.raises(NotFoundError):
                ours.get_manifest(f"v{number}")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(8)))
        assert len(tokens_of(registry)) == 1
        registry.expire_tokens()  # the registry's decision: we cannot know
        barrier.reset()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(8)))
        assert len(tokens_of(registry)) == 2


def test_a_token_is_renewed_before_it_expires() -> None:
    now = [0.0]
    patience = Patience(clock=lambda: now[0], first_delay=0.0)
    with HostileRegistry(auth=Bearer(expires_in=100)) as registry:
        transport = Transport(
            plain_http=frozenset({registry.host}), credentials=Given(registry.host, ADA), patience=patience
        )
        ours = RegistryStore(registry.host, "a/model", transport)
        for moment, tokens in ((0, 1), (80, 1), (91, 2), (150, 2), (190, 3)):
            now[0] = moment
            with pytest.raises(NotFoundError):
                ours.get_manifest("v1")
            assert len(tokens_of(registry)) == tokens


@pytest.mark.parametrize("says", [None, 0, 5])
def test_a_token_lives_a_minute_at_least(says: int | None) -> None:
    now = [0.0]
    with HostileRegistry(auth=Bearer(expires_in=says)) as registry:
        transport = Transport(
            plain_http=frozenset({registry.host}),
            credentials=Given(registry.host, ADA),
            patience=Patience(clock=lambda: now[0]),
        )
        ours = RegistryStore(registry.host, "a/model", transport)
        for moment, tokens in ((0, 1), (49, 1), (51, 2)):
            now[0] = moment
            with pytest.raises(NotFoundError):
                ours.get_manifest("v1")
            assert len(tokens_of(registry)) == tokens


def test_a_refused_token_is_fetched_once_more_and_no_more() -> None:
    with HostileRegistry(auth=Bearer(lifetime=-1)) as registry:
        with pytest.raises(AuthenticationError):
            store(registry).get_manifest("v1")
        assert len(tokens_of(registry)) == 2
        assert registry.count("GET", "manifest") == 3


def test_a_token_that_expires_within_an_upload_is_renewed_and_the_upload_begins_anew() -> None:
    data = os.urandom(3 << 20)
    with HostileRegistry(auth=Bearer()) as registry:
        ours = store(registry)
        spoiled: list[Asked] = []

        def expire(request: Asked) -> None:
            if request.method == "PUT" and request.route == "upload" and not spoiled:
                spoiled.append(request)
                registry.expire_tokens()

        registry.on_request = expire
        moved: list[int] = []
        digest = ours.put_blob(Source.of(data), Digest.of(data), moved.append)
        assert spoiled
        assert registry.blobs[str(digest)] == data
        assert sum(moved) == len(data)
        assert min(moved) < 0


def test_before_a_large_upload_an_old_token_is_renewed() -> None:
    now = [0.0]
    data = bytes(17 << 20)
    with HostileRegistry(auth=Bearer(expires_in=300)) as registry:
        transport = Transport(
            plain_http=frozenset({registry.host}),
            credentials=Given(registry.host, ADA),
            patience=Patience(clock=lambda: now[0]),
        )
        ours = RegistryStore(registry.host, "a/model", transport)
        ours.put_blob(Source.of(b"small"))
        before = len(tokens_of(registry))
        now[0] = 200.0
        ours.put_blob(Source.of(b"small too"))
        assert len(tokens_of(registry)) == before
        ours.put_blob(Source.of(data))
        assert len(tokens_of(registry)) == before + 1


def test_403_is_final_unless_more_scope_is_asked_for() -> None:
    with HostileRegistry(auth=Bearer()) as registry:
        ours = store(registry)
        registry.fail(Reply(403), route="manifest", times=1)
        with pytest.raises(AuthenticationError):
            ours.get_manifest("v1")
        assert registry.count("GET", "manifest") == 1
        wants = f'Bearer realm="{registry.url}/token",scope="repository:a/model:pull",error="insufficient_scope"'
        registry.fail(Reply(403, {"WWW-Authenticate": wants}), route="manifest", times=1)
        with pytest.raises(NotFoundError):
            ours.get_manifest("v1")


def test_the_scope_that_was_demanded_comes_first() -> None:
    asked: list[Seen] = []

    def script(seen: Seen) -> Say:
        if seen.path.startswith("/token"):
            asked.append(seen)
            return Say(body=b'{"access_token":"t0ken"}')
        if "authorization" in seen.headers:
            return Say()
        return Say(
            401, [("WWW-Authenticate", f'Bearer realm="{server.url}/token?x=1",scope="registry:catalog:* a:b:c"')]
        )

    with Scripted(script) as server:
        transport = Transport(plain_http=frozenset({server.host}), credentials=NOBODY, patience=FAST)
        for name in ("one", "two"):
            scopes = (f"repository:{name}:pull",)
            transport.request(Request(method="GET", url=server.url + "/v2/", scopes=scopes)).close()
    queries = [parse_qs(urlsplit(seen.path).query) for seen in asked]
    assert queries[0] == {"x": ["1"], "scope": ["registry:catalog:*", "a:b:c", "repository:one:pull"]}
    assert queries[1] == {"x": ["1"], "scope": ["repository:two:pull"]}  # a demand is for one request only


@pytest.mark.parametrize("post", [True, False])
def test_an_identity_token_is_exchanged(post: bool) -> None:
    with HostileRegistry(auth=Bearer(identity_token="identity-secret")) as registry:
        if not post:
            registry.fail(Reply(404), method="POST", route=None, times=1)
        credential = Credential(username="ada", identity_token="identity-secret")
        ours = store(registry, Given(registry.host, credential))
        if post:
            with pytest.raises(NotFoundError):
                ours.get_manifest("v1")
        else:
            with pytest.raises(AuthenticationError):  # this registry knows no such password
                ours.get_manifest("v1")
        asked = tokens_of(registry)
        assert [request.method for request in asked] == (["POST"] if post else ["POST", "GET"])
        assert all("identity-secret" not in request.raw_query for request in asked)
        if not post:
            pair = base64.b64decode(asked[1].headers["authorization"].removeprefix("Basic ")).decode()
            assert pair == "ada:identity-secret"


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"token":1}', b'{"token":"a b"}', b'{"token":"a\\nX-Evil: 1"}', b"null", b'{"token":""}'],
)
def test_an_answer_without_a_token(body: bytes) -> None:
    def script(seen: Seen) -> Say:
        if seen.path.startswith("/token"):
            return Say(body=body)
        return Say(401, [("WWW-Authenticate", f'Bearer realm="{server.url}/token"')])

    with Scripted(script) as server:
        transport = Transport(plain_http=frozenset({server.host}), credentials=NOBODY, patience=FAST)
        with pytest.raises(AuthenticationError, match="token"):
            transport.request(Request(method="GET", url=server.url))


def test_a_token_answer_is_capped() -> None:
    def script(seen: Seen) -> Say:
        if seen.path.startswith("/token"):
            return Say(body=b'{"token":"' + b"x" * TOKEN_BYTES + b'"}')
        return Say(401, [("WWW-Authenticate", f'Bearer realm="{server.url}/token"')])

    with Scripted(script) as server:
        transport = Transport(plain_http=frozenset({server.host}), credentials=NOBODY, patience=FAST)
        with pytest.raises(Exception, match=str(TOKEN_BYTES)):
            transport.request(Request(method="GET", url=server.url))


def test_a_token_that_drips_is_not_waited_for() -> None:
    def script(seen: Seen) -> Say:
        if seen.path.startswith("/token"):
            return Say(body=(b" " for _ in range(1000)), length=1000, pause=0.01)
        return Say(401, [("WWW-Authenticate", f'Bearer realm="{server.url}/token"')])

    with Scripted(script) as server:
        impatient = Patience(document=0.2, stall=5.0)
        transport = Transport(plain_http=frozenset({server.host}), credentials=NOBODY, patience=impatient)
        with pytest.raises(UnavailableError, match="too long"):
            transport.request(Request(method="GET", url=server.url))


def test_a_token_service_that_is_down_is_75() -> None:
    with HostileRegistry(auth=Bearer()) as registry:
        registry.on_request = lambda request: Reply(503) if request.path == "/token" else None
        with pytest.raises(UnavailableError):
            store(registry).get_manifest("v1")
        assert len(tokens_of(registry)) == 5


# --- realms --------------------------------------------------------------------


@pytest.mark.parametrize(
    "realm",
    [
        "http://auth.example/token",
        "ftp://auth.example/",
        "/token",
        "https://u:p@auth.example/",
        "http://10.0.0.1/t",
        "x",
    ],
)
def test_a_realm_that_is_not_acceptable(realm: str) -> None:
    with HostileRegistry(auth=Bearer(realm=realm)) as registry:
        with pytest.raises(AuthenticationError):
            store(registry).get_manifest("v1")
        assert registry.count() == 1


def test_an_https_registry_has_an_https_realm(authority: Authority) -> None:
    with Scripted(lambda _: Say(body=b'{"token":"x"}')) as realm:
        challenge = [("WWW-Authenticate", f'Bearer realm="{realm.url}/token"')]
        with Scripted(lambda _: Say(401, challenge), tls=authority.server_context()) as server:
            transport = Transport(
                plain_http=frozenset({"127.0.0.1:1"}),
                ca_file=authority.ca_file,
                credentials=Given(server.host, ADA),
                patience=FAST,
            )
            with pytest.raises(AuthenticationError, match="https to http"):
                transport.request(Request(method="GET", url=server.url))
        assert realm.connections == 0


def test_plain_http_for_a_registry_is_not_for_its_realm() -> None:
    service = Bearer(realm="to be filled in")
    with HostileRegistry(auth=service) as registry, Scripted(lambda _: Say(body=b'{"token":"x"}')) as realm:
        service.realm = f"{realm.url}/token"
        with pytest.raises(AuthenticationError) as caught:
            store(registry).get_manifest("v1")
        assert all("authorization" not in seen.headers for seen in realm.seen)
        assert "token service" in caught.value.hint
        both = Transport(
            plain_http=frozenset({registry.host, realm.host}), credentials=Given(registry.host, ADA), patience=FAST
        )
        with pytest.raises(AuthenticationError):
            RegistryStore(registry.host, "a", both).get_manifest("v1")
        assert any("authorization" in seen.headers for seen in realm.seen)


def test_a_realm_that_redirects_does_not_pass_credentials_on() -> None:
    with Scripted(lambda _: Say(body=b'{"token":"x"}')) as other, HostileRegistry(auth=Bearer()) as registry:
        registry.on_request = lambda request: (
            Reply(307, {"Location": f"{other.url}/token"}) if request.path == "/token" else None
        )
        with pytest.raises(AuthenticationError):
            store(registry).get_manifest("v1")
        assert other.seen
        assert all("authorization" not in seen.headers for seen in other.seen)
        identity = Credential(identity_token="secret")
        with pytest.raises(AuthenticationError, match="refused"):
            store(registry, Given(registry.host, identity)).get_manifest("v1")
        assert all(b"secret" not in seen.body for seen in other.seen)


def test_a_realm_that_redirects_into_the_open_is_refused() -> None:
    with HostileRegistry(auth=Bearer()) as registry:
        registry.on_request = lambda request: (
            Reply(307, {"Location": "http://10.0.0.1/token"}) if request.path == "/token" else None
        )
        with pytest.raises(UnavailableError, match="redirects to"):
            store(registry).get_manifest("v1")


def test_an_echoed_token_is_not_repeated() -> None:
    def script(seen: Seen) -> Say:
        if seen.path.startswith("/token"):
            return Say(body=b'{"token":"very-secret"}')
        if "authorization" not in seen.headers:
            return Say(401, [("WWW-Authenticate", f'Bearer realm="{server.url}/token"')])
        said = {"errors": [{"code": "DENIED", "message": f"no: {seen.headers['authorization']}"}]}
        return Say(403, body=json.dumps(said).encode())

    with Scripted(script) as server:
        transport = Transport(plain_http=frozenset({server.host}), credentials=NOBODY, patience=FAST)
        with pytest.raises(AuthenticationError) as caught:
            transport.request(Request(method="GET", url=server.url))
    assert "very-secret" not in caught.value.message
    assert "***" in caught.value.message


# --- where credentials are never sent --------------------------------------------


@pytest.mark.parametrize("auth", [Basic(), Bearer()])
def test_redirected_blobs_are_fetched_without_credentials(auth: Basic | Bearer) -> None:
    data = os.urandom(100_000)
    with HostileRegistry(auth=auth) as registry:
        registry.switches.redirect_blobs = True
        digest = registry.repository("a/model").add_blob(data)
        from ocimodel.oci.descriptor import Descriptor
        from ocimodel.stores.protocol import read_blob

        descriptor = Descriptor(media_type="a/b", digest=Digest.parse(digest), size=len(data))
        assert read_blob(store(registry), descriptor, limit=1 << 20) == data
        elsewhere = registry.seen(server="storage")
        assert elsewhere
        assert all("authorization" not in request.headers for request in elsewhere)


@pytest.mark.parametrize("auth", [Basic(), Bearer()])
def test_an_upload_that_is_sent_elsewhere_goes_without_credentials(auth: Basic | Bearer) -> None:
    data = os.urandom(2 << 20)
    with HostileRegistry(auth=auth) as registry:
        registry.switches.location = "cross-host"
        ours = store(registry)
        with suppress(AuthenticationError, UnavailableError, NotFoundError):  # whether it takes it is its affair
            ours.put_blob(Source.of(data))
        elsewhere = registry.seen(server="storage")
        assert elsewhere
        assert all("authorization" not in request.headers for request in elsewhere)


def test_another_registrys_credentials_are_not_used_for_an_upload_elsewhere() -> None:
    """A registry must not make us write to a third one with what we know of that one."""
    data = os.urandom(2 << 20)

    class Everything:
        def find(self, host: str) -> Credential | None:
            return ADA

    with HostileRegistry(auth=Basic()) as victim, HostileRegistry() as evil:
        evil.on_response = lambda request, response: (
            type(response)(202, {**response.headers, "Location": f"{victim.url}/v2/x/blobs/uploads/1"})
            if request.route == "uploads"
            else None
        )
        transport = Transport(
            plain_http=frozenset({evil.host, victim.host}), credentials=Everything(), patience=FAST
        )
        with pytest.raises(AuthenticationError):
            RegistryStore(evil.host, "a/model", transport).put_blob(Source.of(data))
        assert victim.seen()
        assert all("authorization" not in request.headers for request in victim.seen())


# --- Docker's configuration ----------------------------------------------------


def config(tmp_path: Path, document: object) -> DockerConfig:
    (tmp_path / "config.json").write_text(document if isinstance(document, str) else json.dumps(document))
    return DockerConfig(tmp_path / "config.json", helper_timeout=1.0)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("r.example", "r.example"),
        ("https://r.example", "r.example"),
        ("https://r.example/", "r.example"),
        ("http://R.example/v2/", "r.example"),
        ("r.example:5000", "r.example:5000"),
        ("https://r.example:443", "r.example"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("https://index.docker.io/v1/", "index.docker.io"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_keys_of_the_file_in_all_their_forms(tmp_path: Path, key: str, host: str) -> None:
    found = config(tmp_path, {"auths": {key: {"auth": b64("ada:pass:word\0")}}}).find(host)
    assert found == Credential(username="ada", password="pass:word")


@pytest.mark.parametrize("host", ["r.example:5000", "other.example", "example", "x.r.example", "r.example.evil"])
def test_keys_are_for_their_host_alone(tmp_path: Path, host: str) -> None:
    auths = {"r.example": {"auth": b64("a:b")}, "r.example/team": {"auth": b64("c:d")}}
    assert config(tmp_path, {"auths": auths}).find(host) is None


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"username": "u", "password": "p"}, Credential(username="u", password="p")),
        ({"auth": b64("u:"), "identitytoken": "t"}, Credential(username="u", identity_token="t")),
        ({"auth": b64("<token>:t")}, Credential(identity_token="t")),
        ({"identitytoken": "t"}, Credential(identity_token="t")),
        ({}, None),
        ({"auth": ""}, None),
        (None, None),
        ("x", None),
    ],
)
def test_entries_of_the_file(tmp_path: Path, entry: object, expected: Credential | None) -> None:
    assert config(tmp_path, {"auths": {"r.example": entry}}).find("r.example") == expected


@pytest.mark.parametrize("document", ["{", "[]", "\xff\xfe", '{"auths": {"r.example": {"auth": "%%%"}}}'])
def test_a_broken_file_is_a_configuration_error(tmp_path: Path, document: str) -> None:
    with pytest.raises(ConfigurationError, match=r"config\.json"):
        config(tmp_path, document).find("r.example")


@pytest.mark.parametrize("document", ["", "{}", '{"auths": []}', '{"credHelpers": null}'])
def test_a_file_that_says_nothing(tmp_path: Path, document: str) -> None:
    assert config(tmp_path, document).find("r.example") is None


def test_where_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert DockerConfig.from_environment({"DOCKER_CONFIG": "/x"}).path == Path("/x/config.json")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert DockerConfig.from_environment({}).path == tmp_path / ".docker" / "config.json"
    assert DockerConfig(None).find("r.example") is None
    assert DockerConfig(tmp_path / "none" / "config.json").find("r.example") is None
    assert DockerConfig(tmp_path / "config.json" / "config.json").find("r.example") is None


def test_secrets_are_not_shown() -> None:
    credential = Credential(username="u", password="secret", identity_token="secret")
    transport = Transport(credentials=Given("h.example", credential))
    ours = RegistryStore("h.example", "a", transport)
    assert "secret" not in f"{credential!r}{Given('h', credential)!r}{transport!r}{ours!r}"


# --- helpers -------------------------------------------------------------------

Helper = Callable[[str, str], Path]


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Helper:
    """``helper(name, shell)`` puts docker-credential-NAME on PATH; it notes how it was called."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")

    def make(name: str, shell: str) -> Path:
        log = tmp_path / f"{name}.log"
        program = directory / f"docker-credential-{name}"
        program.write_text(f'#!/bin/sh\nin=$(cat)\necho "$1 $in" >> {log}\n{shell}\n')
        program.chmod(0o755)
        return log

    return make


ANSWER = """echo '{"ServerURL":"x","Username":"%s","Secret":"s3cret"}'"""


def test_the_order_is_helper_of_the_host_then_store_then_file(tmp_path: Path, helper: Helper) -> None:
    helper("one", ANSWER % "one")
    helper("two", ANSWER % "two")
    auths = {"r.example": {"auth": b64("file:x")}}
    both = config(tmp_path, {"credHelpers": {"r.example": "one"}, "credsStore": "two", "auths": auths})
    assert both.find("r.example") == Credential(username="one", password="s3cret")
    assert both.find("other.example") == Credential(username="two", password="s3cret")
    mixed = config(tmp_path, {"credHelpers": {"other.example": "one"}, "auths": auths})
    assert mixed.find("r.example") == Credential(username="file", password="x")


def test_a_helper_may_give_an_identity_token_and_is_asked_as_docker_asks(tmp_path: Path, helper: Helper) -> None:
    log = helper("one", ANSWER % "<token>")
    found = config(tmp_path, {"credsStore": "one"}).find("docker.io")
    assert found == Credential(identity_token="s3cret")
    assert log.read_text() == "get https://index.docker.io/v1/\n"


@pytest.mark.parametrize(
    "shell",
    [
        "echo 'credentials not found in native keychain'; exit 1",
        """echo '{"ServerURL":"","Username":"","Secret":""}'""",
    ],
)
def test_a_helper_that_knows_nothing_means_anonymous(tmp_path: Path, helper: Helper, shell: str) -> None:
    helper("one", shell)
    assert config(tmp_path, {"credsStore": "one"}).find("r.example") is None


@pytest.mark.parametrize(
    ("shell", "kind", "match"),
    [
        ("echo 'the keychain is locked'; exit 1", AuthenticationError, "the keychain is locked"),
        ("""echo '{"Secret":"s3cret"}'; exit 1""", AuthenticationError, "status 1"),
        ("echo nonsense", ConfigurationError, "JSON"),
        ("echo '[]'", ConfigurationError, "JSON"),
        ("exec sleep 30", AuthenticationError, "1 s"),
    ],
)
def test_a_helper_that_fails(tmp_path: Path, helper: Helper, shell: str, kind: type[Exception], match: str) -> None:
    helper("one", shell)
    with pytest.raises(kind, match=match) as caught:
        config(tmp_path, {"credsStore": "one"}).find("r.example")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", ["../../bin/sh", "a b", "-x", 7, "a/b"])
def test_a_helper_has_a_plain_name(tmp_path: Path, name: object) -> None:
    with pytest.raises(ConfigurationError):
        config(tmp_path, {"credsStore": name}).find("r.example")


def test_a_helper_is_not_looked_for_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "docker-credential-x" / "y"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n{ANSWER % 'evil'}\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError):
        config(tmp_path, {"credsStore": "x/y"}).find("r.example")
    assert not (tmp_path / "ran").exists()


def test_a_helper_that_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="docker-credential-absent"):
        config(tmp_path, {"credsStore": "absent"}).find("r.example")


# --- login, logout -------------------------------------------------------------


@pytest.mark.parametrize("auth", [Basic(), Bearer()])
def test_login_verifies_then_writes(tmp_path: Path, auth: Basic | Bearer) -> None:
    directory = tmp_path / "new"
    ours = DockerConfig(directory / "config.json")
    with HostileRegistry(auth=auth) as registry:
        plain = frozenset({registry.host})
        with pytest.raises(AuthenticationError):
            login(registry.host, "ada", "wrong", plain_http=plain, config=ours, patience=FAST)
        assert not directory.exists()
        where = login(registry.host, "ada", "correct horse", plain_http=plain, config=ours, patience=FAST)
        assert where == str(directory / "config.json")
        store(registry, ours).put_blob(Source.of(b"x"))
        assert stat.S_IMODE((directory / "config.json").stat().st_mode) == 0o600
        assert logout(registry.host, config=ours)
        assert not logout(registry.host, config=ours)
        assert ours.find(registry.host) is None


def test_login_does_not_send_a_password_in_the_open(tmp_path: Path) -> None:
    with HostileRegistry(auth=Basic()) as registry:
        with pytest.raises(AuthenticationError) as caught:
            login(registry.host, "ada", "correct horse", config=DockerConfig(tmp_path / "c"), patience=FAST)
        assert "--plain-http" in caught.value.hint
        assert all("authorization" not in request.headers for request in registry.seen())
    with HostileRegistry() as registry, pytest.raises(AuthenticationError):
        login(registry.host, "ada", "correct horse", config=DockerConfig(tmp_path / "c"), patience=FAST)
    assert not (tmp_path / "c").exists()


def test_what_the_file_says_of_other_things_is_kept(tmp_path: Path) -> None:
    before = {
        "psFormat": "x",
        "auths": {"other.example": {"auth": b64("a:b")}, "https://r.example/v1/": {}},
        "n": 1.5,
    }
    ours = config(tmp_path, before)
    (tmp_path / "config.json").chmod(0o644)
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "config.json")
    DockerConfig(link).store("r.example", Credential(username="u", password="p"))
    after = json.loads((tmp_path / "config.json").read_text())
    assert after == {**before, "auths": {"other.example": {"auth": b64("a:b")}, "r.example": {"auth": b64("u:p")}}}
    assert link.is_symlink()
    assert stat.S_IMODE((tmp_path / "config.json").stat().st_mode) == 0o600
    assert ours.erase("r.example")
    assert json.loads((tmp_path / "config.json").read_text())["auths"] == {"other.example": {"auth": b64("a:b")}}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "link.json"]


def test_an_identity_token_is_stored_as_one(tmp_path: Path) -> None:
    ours = DockerConfig(tmp_path / "config.json")
    ours.store("docker.io", Credential(identity_token="t"))
    assert json.loads((tmp_path / "config.json").read_text())["auths"].keys() == {"https://index.docker.io/v1/"}
    assert ours.find("docker.io") == Credential(identity_token="t")


def test_login_and_logout_use_the_helper(tmp_path: Path, helper: Helper) -> None:
    log = helper("one", f'case "$1" in get) {ANSWER % "ada"} ;; esac')
    ours = config(tmp_path, {"credsStore": "one"})
    assert ours.store("r.example", Credential(username="u", password="s3cret")) == "docker-credential-one"
    assert "s3cret" not in (tmp_path / "config.json").read_text()
    assert ours.erase("r.example")
    calls = log.read_text().splitlines()
    assert json.loads(calls[0].removeprefix("store ")) == {
        "ServerURL": "r.example",
        "Username": "u",
        "Secret": "s3cret",
    }
    assert calls[-1] == "erase r.example"


def test_without_a_home_nothing_can_be_stored() -> None:
    with pytest.raises(StorageError) as caught:
        DockerConfig(None).store("r.example", Credential(username="u", password="p"))
    assert "DOCKER_CONFIG" in caught.value.hint


# --- Amazon --------------------------------------------------------------------

ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
BOTO3 = """
class Client:
    def get_authorization_token(self):
        if {fails}: raise RuntimeError("Unable to locate credentials")
        return {{"authorizationData": [{{"authorizationToken": "{token}"}}]}}
def client(name, region_name):
    assert (name, region_name) == ("ecr", "eu-west-1")
    return Client()
"""


def test_amazon_is_asked_only_where_nothing_else_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Credential(username="u", password="p")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "boto3.py").write_text(BOTO3.format(fails=False, token=b64("AWS:s3cret")))
    monkeypatch.delitem(__import__("sys").modules, "boto3", raising=False)
    assert WithEcr(NOBODY).find("123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example") is None
    assert WithEcr(NOBODY).find(ECR) == Credential(username="AWS", password="s3cret")
    assert WithEcr(Given(ECR, known)).find(ECR) == known


def test_amazon_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "boto3.py").write_text(BOTO3.format(fails=True, token=""))
    monkeypatch.delitem(__import__("sys").modules, "boto3", raising=False)
    with pytest.raises(AuthenticationError, match="Unable to locate credentials"):
        WithEcr(NOBODY).find(ECR)


# --- real ones -----------------------------------------------------------------


def test_basic_auth_on_a_real_registry(basic_auth_registry: RealRegistry, docker_config: Path) -> None:
    registry = basic_auth_registry
    reference = Reference.parse(registry.fresh())
    plain = frozenset({registry.host})
    data = os.urandom(3 << 20)
    with pytest.raises(AuthenticationError):
        open_registry(reference, plain_http=plain, patience=FAST).put_blob(Source.of(data))
    assert registry.username is not None
    assert registry.password is not None
    login(registry.host, registry.username, registry.password, plain_http=plain)
    assert (docker_config / "config.json").exists()
    assert open_registry(reference, plain_http=plain, patience=FAST).put_blob(Source.of(data)) == Digest.of(data)


def test_tokens_on_a_real_registry(token_registry: RealRegistry, docker_config: Path) -> None:
    registry = token_registry
    assert registry.issuer is not None
    assert registry.username is not None
    assert registry.password is not None
    issuer = registry.issuer
    plain = frozenset({registry.host, urlsplit(issuer.realm).netloc})
    with pytest.raises(AuthenticationError):
        login(registry.host, registry.username, "wrong", plain_http=plain, patience=FAST)
    login(registry.host, registry.username, registry.password, plain_http=plain, patience=FAST)
    ours = open_registry(Reference.parse(registry.fresh()), plain_http=plain, patience=FAST)
    data = os.urandom(3 << 20)
    issuer.requests.clear()
    assert ours.put_blob(Source.of(data)) == Digest.of(data)
    assert ours.put_blob(Source.of(data), Digest.of(data)) == Digest.of(data)
    assert len(issuer.requests) == 2  # one to read, one to write
    refresh = issuer.refresh_token(registry.username)
    DockerConfig(docker_config / "config.json").store(
        registry.host, Credential(username=registry.username, identity_token=refresh)
    )
    again = open_registry(Reference.parse(registry.fresh()), plain_http=plain, patience=FAST)
    assert again.put_blob(Source.of(data)) == Digest.of(data)
    assert {request.grant for request in issuer.requests[2:]} == {"refresh_token"}
    issuer.accepts_post = False
    with pytest.raises(AuthenticationError):
        open_registry(Reference.parse(registry.fresh()), plain_http=plain, patience=FAST).tags()


def test_a_token_that_the_real_registry_finds_expired(token_registry: RealRegistry) -> None:
    registry = token_registry
    assert registry.issuer is not None
    assert registry.username is not None
    assert registry.password is not None
    issuer = registry.issuer
    issuer.lifetime = 3
    issuer.announce_expiry = False
    credentials = Given(registry.host, Credential(username=registry.username, password=registry.password))
    plain = frozenset({registry.host, urlsplit(issuer.realm).netloc})
    ours = open_registry(
        Reference.parse(registry.fresh()), plain_http=plain, credentials=credentials, patience=FAST
    )
    ours.put_blob(Source.of(b"one"))
    threading.Event().wait(3.2)
    before = len(issuer.requests)
    ours.put_blob(Source.of(b"two"))
    assert len(issuer.requests) == before + 2
