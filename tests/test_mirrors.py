"""Mirrors before a registry: who is asked for what, in which order, with which credentials, and who decides."""

from __future__ import annotations

import base64
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ocimodel
from ocimodel.stores.opening import Access
from tests.attacks.scene import FILES, NAME, files_of
from tests.commands import events, run
from tests.hostile import Basic, HostileRegistry, Reply, Request, Response, Switches
from tests.hostile.auth import basic
from tests.hostile.state import OCI_MANIFEST
from tests.mirrors import Site, asked
from tests.scripted import Authority, Scripted
from tests.signers import ALICE, MALLORY
from tests.tls import before


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path) as made:
        made.scene.push()
        made.forget()
        yield made


def targets(registry: HostileRegistry, route: str) -> list[str]:
    return sorted(request.target for request in registry.seen(route=route))


def digests(registry: HostileRegistry) -> set[str]:
    """What was asked for by its digest."""
    return {one.target for one in registry.seen() if ":" in one.target and one.route in ("blob", "manifest")}


# --- who is asked -----------------------------------------------------------------------------------------------


def test_a_healthy_mirror_is_all_that_a_pull_asks(site: Site) -> None:
    mirror = site.mirror()
    ran = site.pull()
    assert (ran.code, ran.err) == (0, "")
    assert files_of(site.out) == FILES
    assert asked(site.origin) == []
    assert mirror.count("GET", "blob") == len(set(targets(mirror, "blob")))


def test_what_may_not_resolve_is_asked_for_digests_alone(site: Site) -> None:
    mirror = site.mirror('"pull"')
    assert site.pull().code == 0
    assert digests(site.origin) == set()
    # The tag, the list of referrers and its fallback, and cosign's two tags.
    assert len(site.origin.seen()) == 5
    assert [one.target for one in mirror.seen() if ":" not in one.target] == []
    assert mirror.count(route="referrers") == 0


def test_a_digest_is_never_resolved(site: Site) -> None:
    mirror = site.mirror('"pull"')
    subject = site.scene.subject().digest
    assert site.pull(reference=f"{site.reference.removesuffix(':v1')}@{subject}").code == 0
    assert [one.target for one in site.origin.seen(route="manifest") if not one.target.startswith("sha256-")] == []
    assert str(subject) in targets(mirror, "manifest")


def test_what_may_not_pull_is_not_asked(site: Site) -> None:
    mirror = site.mirror('"resolve", "push"')
    assert site.pull().code == 0
    assert asked(mirror) == []


def test_every_question_to_a_mirror_names_the_registry(site: Site) -> None:
    mirror = site.mirror()
    mirror.switches.page_size = 1
    assert site.pull().code == 0
    assert {one.parameter("ns") for one in mirror.seen()} == {site.origin.host}
    site.forget(mirror)
    site.say("")
    assert site.pull().code == 0
    assert {one.parameter("ns") for one in site.origin.seen()} == {None}


def test_mirrors_are_asked_in_their_order_and_each_for_what_it_has(site: Site) -> None:
    first, second = site.mirror(empty=True), site.mirror()
    first.repository(NAME).blobs = dict(site.origin.blobs)
    assert site.pull().code == 0
    assert first.count("GET", "blob") == len(set(targets(first, "blob"))) > 0
    assert second.count("GET", "blob") == 0
    assert second.count("GET", "manifest") > 0
    assert asked(site.origin) == []


_REFUSALS = [
    Reply(404),
    Reply(401),
    Reply(403),
    Reply(429),
    Reply(500),
    Reply(400),
    Reply(200, {"Content-Type": "text/html"}, b"<html>log in</html>"),
    Reply(200, {"Content-Type": OCI_MANIFEST}, b"[]"),
    Reply(302, {"Location": "http://169.254.169.254/"}),
    Reply(301, {"Location": "/v2/"}),
]


@pytest.mark.parametrize(
    ("reply", "route"),
    [
        *((reply, None) for reply in _REFUSALS),
        *((_REFUSALS[0], route) for route in ("blob", "manifest", "referrers")),
        *((_REFUSALS[4], route) for route in ("blob", "referrers")),
        (_REFUSALS[6], "manifest"),
        (_REFUSALS[8], "blob"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Reply) else str(value),
)
def test_what_a_mirror_does_not_give_comes_from_the_registry(site: Site, reply: Reply, route: str | None) -> None:
    mirror = site.mirror()
    mirror.fail(reply, route=route)
    ran = site.pull()
    assert ran.code == 0, ran.err
    assert files_of(site.out) == FILES


def test_a_mirror_that_is_not_there_is_passed_over_and_named_once(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    site.add(f"http://127.0.0.1:{port}")
    ran = site.pull()
    assert ran.code == 0
    assert ran.err.count(f"warning: the mirror http://127.0.0.1:{port} is passed over") == 1
    assert "cannot connect" in ran.err
    assert "error" not in ran.err


def test_a_mirror_may_be_below_a_path(site: Site) -> None:
    with HostileRegistry() as mirror:
        mirror.repositories[f"cache/hub/{NAME}"] = site.origin.repository(NAME)
        site.add(f"{mirror.url}/v2/cache/hub", more="override_path = true")
        assert site.pull().code == 0
        assert mirror.count("GET", "blob") > 0
    assert asked(site.origin) == []


def test_the_default_is_for_every_registry_that_has_no_file(site: Site) -> None:
    mirror = site.mirror()
    (site.config / site.origin.host).rename(site.config / "_default")
    assert site.pull().code == 0
    assert asked(site.origin) == []
    site.say("")
    mirror.forget()
    assert site.pull().code == 0
    assert asked(mirror) == []


def test_docker_hub_is_called_as_its_own_api_does(site: Site) -> None:
    with HostileRegistry() as mirror:
        mirror.repositories["library/tiny"] = site.origin.repository(NAME)
        site.say(f'[host."{mirror.url}"]\n', "docker.io")
        assert site.pull(reference="docker.io/tiny:v1").code == 0
        assert {one.parameter("ns") for one in mirror.seen()} == {"docker.io"}


def test_nothing_is_read_unless_it_is_asked_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = site.mirror()
    assert site.scene.pull().code == 0
    assert asked(mirror) == []
    monkeypatch.setenv("OCIMODEL_REGISTRY_CONFIG", str(site.config))
    assert run("verify", site.reference, "--key", site.scene.public()).code == 0
    assert mirror.count("GET", "manifest") > 0


def test_a_file_that_cannot_be_meant_ends_the_command(site: Site) -> None:
    site.say('[host."https://m.example"]\ncapabilities = ["steal"]\n')
    ran = site.pull()
    assert ran.code == 3
    assert "hosts.toml" in ran.error[0]
    assert asked(site.origin) == []
    site.say("novelty = 1\n")
    ran = site.pull()
    assert ran.code == 0
    assert "warning: " in ran.err
    assert "novelty is not known" in ran.err


# --- where the registry is ----------------------------------------------------------------------------------------


def test_a_server_stands_in_for_the_registry_under_its_name(site: Site, tmp_path: Path) -> None:
    """A closed site: the name is that of the outside, and nobody goes there."""
    site.say(f'server = "{site.origin.url}"\n', "registry.invalid")
    name = f"registry.invalid/{NAME}"
    policy = tmp_path / "policy.json"
    policy.write_text(run("policy", "init", "--key", site.scene.public(), "--scope", "registry.invalid/**").out)
    pulled = site.run("pull", f"{name}:v1", "-o", site.out, "--policy", policy)
    assert pulled.code == 0, pulled.err
    assert events()[-1]["subject"].startswith(f"{name}@sha256:")
    assert {one.parameter("ns") for one in site.origin.seen()} == {"registry.invalid"}
    pushed = site.run("push", site.out, f"{name}:v2", "--key", site.scene.private())
    assert pushed.code == 0, pushed.err
    assert "v2" in site.origin.repository(NAME).tags


def test_pushes_go_to_the_registry_and_never_to_a_mirror(site: Site, tmp_path: Path) -> None:
    mirror = site.mirror('"pull", "resolve", "push"')
    model = tmp_path / "other"
    model.mkdir()
    (model / "weights.bin").write_bytes(b"other weights")
    assert site.run("push", model, f"{site.origin.host}/{NAME}:v2", "--key", site.scene.private()).code == 0
    assert site.run("sign", site.reference, "--key", site.scene.private(MALLORY)).code == 0
    assert (
        site.run(
            "attest",
            site.reference,
            "--type",
            "custom",
            "--predicate",
            _note(tmp_path),
            "--key",
            site.scene.private(),
        ).code
        == 0
    )
    assert asked(mirror) == []
    assert "v2" in site.origin.repository(NAME).tags


def _note(place: Path) -> Path:
    path = place / "note.json"
    path.write_text('{"says": "well"}')
    return path


def test_a_registry_without_the_capability_is_not_pushed_to(site: Site, tmp_path: Path) -> None:
    site.say(f'capabilities = ["pull", "resolve"]\nserver = "{site.origin.url}"\n')
    before = site.origin.snapshot()
    ran = site.run("push", site.scene.place / "model-v1", f"{site.origin.host}/{NAME}:v2")
    assert ran.code == 3
    assert "pushed" in ran.error[0]
    assert site.origin.snapshot() == before
    assert site.pull().code == 0


# --- credentials ------------------------------------------------------------------------------------------------


def _log_in(docker_config: Path, **hosts: Basic) -> None:
    auths = {
        host: {"auth": base64.b64encode(f"{who.username}:{who.password}".encode()).decode()}
        for host, who in hosts.items()
    }
    (docker_config / "config.json").write_text(json.dumps({"auths": auths}))


def _shown(registry: HostileRegistry) -> set[str]:
    return {one.headers["authorization"] for one in registry.seen() if "authorization" in one.headers}


def test_each_host_gets_its_own_credentials(site: Site, docker_config: Path) -> None:
    of_origin, of_mirror = Basic("ada", "origin's"), Basic("bob", "mirror's")
    mirror, other = site.mirror('"pull"'), site.mirror('"pull"')
    site.origin.auth, mirror.auth = of_origin, of_mirror
    _log_in(docker_config, **{site.origin.host: of_origin, mirror.host: of_mirror})
    plain = ("--plain-http", site.origin.host, "--plain-http", mirror.host)
    mirror.repository(NAME).blobs.clear()
    assert site.pull(*plain).code == 0
    assert len(_shown(site.origin)) == len(_shown(mirror)) == 1
    assert _shown(site.origin) != _shown(mirror)
    assert other.count("GET", "blob") > 0
    assert _shown(other) == set()
    # A mirror that asks for what nobody has for it is passed over.
    site.forget(mirror, other)
    other.auth = mirror.auth = Basic("eve", "what the origin takes?")
    assert site.pull(*plain).code == 0
    assert _shown(other) == set()
    assert _shown(mirror) <= {basic("bob", "mirror's")}


def test_over_plain_http_a_mirror_gets_no_credentials(site: Site, docker_config: Path) -> None:
    mirror = site.mirror(more='header = { Authorization = "Basic c2VjcmV0", X-Told = "yes" }')
    mirror.auth = Basic()
    _log_in(docker_config, **{mirror.host: Basic()})
    assert site.pull().code == 0
    assert _shown(mirror) == set()
    assert {one.headers.get("x-told") for one in mirror.seen()} == {"yes"}
    assert site.origin.count("GET", "blob") > 0


def test_headers_go_to_their_host_and_nowhere_else(site: Site) -> None:
    header = 'header = { Authorization = "Basic c2VjcmV0", X-Told = "yes", User-Agent = "node" }'
    mirror = site.mirror('"pull"', header)
    mirror.switches.redirect_blobs = True
    assert site.pull("--plain-http", mirror.host).code == 0
    to_mirror, to_storage = mirror.seen(server="registry"), mirror.seen(server="storage")
    assert {one.headers.get("x-told") for one in to_mirror} == {"yes"}
    assert {one.headers.get("user-agent") for one in to_mirror} == {"node"}
    assert _shown(mirror) == {"Basic c2VjcmV0"}
    assert to_storage
    assert not any("x-told" in one.headers or "authorization" in one.headers for one in to_storage)
    assert not any("x-told" in one.headers or "authorization" in one.headers for one in site.origin.seen())
    assert {one.parameter("ns") for one in to_storage} == {None}


# --- TLS --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("authority"))


def test_a_mirrors_own_authority_and_client_certificate(site: Site, authority: Authority) -> None:
    with HostileRegistry() as behind:
        behind.restore(site.origin.snapshot())
        context = authority.server_context()
        context.load_verify_locations(authority.ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
        with Scripted(before(behind.host), tls=context) as mirror:
            ours = f'ca = "{authority.ca_file}"\n'
            site.add(mirror.url, more=f'{ours}client = "{authority._chain}"')
            ran = site.pull()
            assert (ran.code, ran.err) == (0, "")
            assert asked(site.origin) == []
            # Without either it is passed over, and the registry is none the worse.
            for less in (ours, f'client = "{authority._chain}"', "skip_verify = true"):
                site.say(f'[host."{mirror.url}"]\n{less}')
                site.forget()
                ran = site.pull()
                assert ran.code == 0, ran.err
                assert "is passed over" in ran.err
                assert site.origin.count("GET", "blob") > 0
            assert "certificates are always verified" in ran.err


@pytest.mark.parametrize("line", ['ca = "none.pem"', 'client = "none.pem"', 'client = [["ca.pem", "ca.pem"]]'])
def test_a_certificate_that_cannot_be_used_ends_the_command(site: Site, authority: Authority, line: str) -> None:
    site.say(f'[host."https://127.0.0.1:9"]\n{line.replace("ca.pem", str(authority.ca_file))}\n')
    ran = site.pull()
    assert ran.code == 3
    assert "hosts.toml" in ran.error[1]


# --- what changes: lists of referrers ----------------------------------------------------------------------------


def _hide(mirror: HostileRegistry) -> None:
    mirror.switches.strip_referrers = True


def _no_api(mirror: HostileRegistry) -> None:
    mirror.switches.referrers = "404"


def _garbage(mirror: HostileRegistry) -> None:
    mirror.repository(NAME).referrers = {
        subject: {
            digest: {**entry, "annotations": {}, "digest": "sha256:" + "0" * 64} for digest, entry in listed.items()
        }
        for subject, listed in mirror.repository(NAME).referrers.items()
    }


@pytest.mark.parametrize("lie", [_hide, _no_api, _garbage])
def test_a_mirror_that_hides_signatures_hides_nothing(site: Site, lie: Callable[[HostileRegistry], None]) -> None:
    mirror = site.mirror()
    lie(mirror)
    assert site.pull().code == 0
    assert site.origin.count("GET", "referrers") == 1
    assert digests(site.origin) == set()
    # Where the registry cannot be asked, nobody says "unsigned" on a mirror's word.
    site.cut()
    ran = site.pull()
    assert ran.code == 75
    assert "what its mirrors show does not suffice" in ran.error[0]
    assert not site.out.exists()


def test_unsigned_is_what_the_registry_says(site: Site) -> None:
    site.scene.push({"weights.bin": b"unsigned"}, signer=None, tag="bare")
    site.mirror()
    bare = site.reference.replace(":v1", ":bare")
    assert site.pull(reference=bare).code == 10
    site.cut()
    assert site.pull(reference=bare).code == 75


def test_a_signature_that_is_new_is_found_although_the_mirror_is_old(site: Site) -> None:
    site.scene.push({"weights.bin": b"new"}, signer=MALLORY, tag="new")
    site.mirror()
    site.scene.attach(ALICE, site.scene.subject("new"))
    new = site.reference.replace(":v1", ":new")
    assert site.verify(reference=new).code == 0
    assert run("verify", new, "--key", site.scene.public(MALLORY), "--registry-config", site.config).code == 0
    site.cut()
    assert site.verify(reference=new).code == 75
    assert run("verify", new, "--key", site.scene.public(MALLORY), "--registry-config", site.config).code == 0


def test_what_is_revoked_is_refused_whoever_can_be_asked(site: Site, tmp_path: Path) -> None:
    site.mirror()
    policy = tmp_path / "policy.json"
    policy.write_text(run("policy", "init", "--key", site.scene.public(), "--scope", f"{site.origin.host}/**").out)
    digest = str(site.scene.subject().digest)
    assert run("revoke", "digest", digest, "--policy", policy, "--reason", "poisoned").code == 0
    site.cut()
    ran = site.run("verify", site.reference, "--policy", policy)
    assert ran.code == 16


def test_a_refusal_of_the_registry_itself_is_told_as_such(site: Site) -> None:
    mirror = site.mirror('"pull"')
    site.origin.auth = Basic()
    assert site.pull().code == 77
    site.origin.auth = None
    assert site.pull(reference=site.reference.replace(":v1", ":none")).code == 11
    assert asked(mirror) == []


def test_what_looks_at_everything_asks_the_registry_for_its_lists(site: Site, tmp_path: Path) -> None:
    mirror = site.mirror()
    site.scene.attach(MALLORY, site.scene.subject())
    listed = site.run("tree", site.reference, "--json")
    assert listed.code == 0
    assert listed.out.count('"digest"') >= 3
    target = f"oci:{tmp_path}/copy:v1"
    copied = site.run("copy", site.reference, target)
    assert copied.code == 0, copied.err
    assert run("verify", target, "--key", site.scene.public(MALLORY)).code == 0
    # What the mirror has, it is asked for; the stranger's signature came after its time.
    had = set(mirror.repository(NAME).blobs) | set(mirror.repository(NAME).manifests)
    assert digests(site.origin) & had == set()
    assert mirror.count("GET", "blob") > 0
    assert site.run("bundle", "save", site.reference, tmp_path / "b.tar", "--json").code == 0
    site.cut()
    assert site.run("copy", site.reference, f"oci:{tmp_path}/other:v1").code == 75


def test_a_model_is_opened_through_mirrors(site: Site) -> None:
    site.mirror()
    access = Access(registry_config=site.config)
    with ocimodel.open(site.reference, keys=[site.scene.public()], access=access) as model:
        assert model.read("weights.bin") == FILES["weights.bin"]
    assert asked(site.origin) == []


# --- what changes: tags -----------------------------------------------------------------------------------------


def test_an_old_tag_is_bounded_by_what_was_signed(site: Site, tmp_path: Path) -> None:
    """A mirror that may resolve may be behind; state, floors and expiry decide how far."""
    policy = tmp_path / "policy.json"
    made = run(
        "policy", "init", "--key", site.scene.public(), "--scope", f"{site.origin.host}/**", "--environment", "prod"
    )
    policy.write_text(made.out)

    def number(sequence: int) -> None:
        arguments = ("--sequence", str(sequence), "--environment", "prod", "--channel", "v1")
        site.scene.push({"weights.bin": b"number %d" % sequence}, signer=None)
        assert run("sign", site.reference, "--key", site.scene.private(), *arguments).code == 0

    number(1)
    mirror, old = site.mirror(), site.origin.repository(NAME).tags["v1"]
    number(2)

    def pull() -> int:
        import shutil

        shutil.rmtree(site.out, ignore_errors=True)
        return site.run("pull", site.reference, "-o", site.out, "--policy", policy).code

    assert pull() == 0  # a fresh node cannot know
    assert (site.out / "weights.bin").read_bytes() == b"number 1"
    mirror.restore(site.origin.snapshot())
    assert pull() == 0
    assert (site.out / "weights.bin").read_bytes() == b"number 2"
    mirror.repository(NAME).tags["v1"] = old
    assert pull() == 18  # and one that has seen the newer one does
    site.say(site.hosts.replace(', "resolve"', ""))
    assert pull() == 0


def test_a_tag_is_resolved_once(site: Site) -> None:
    mirror = site.mirror()
    other = str(site.scene.push({"weights.bin": b"other"}, tag="later"))
    first = str(site.scene.subject().digest)
    site.forget()

    def move(request: Request, _response: Response) -> None:
        if request.target == "v1":
            for registry in (site.origin, mirror):
                registry.repository(NAME).tags["v1"] = other

    mirror.on_response = move
    assert site.pull("--json").document["digest"] == first
    assert files_of(site.out) == FILES
    assert [one.target for one in (*mirror.seen(), *site.origin.seen()) if one.target == "v1"] == ["v1"]


def test_a_mirror_without_the_api_shows_its_fallback(site: Site) -> None:
    with Site(site.place / "second", HostileRegistry(Switches(referrers="404")).__enter__()) as other:
        other.scene.place.mkdir(parents=True, exist_ok=True)
        other.scene.push()
        other.forget()
        mirror = other.mirror()
        mirror.switches.referrers = "404"
        assert other.pull().code == 0
        assert asked(other.origin) == []
