"""The hostile registry itself: faithful, as oras, crane and skopeo find; each switch does what it says."""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, IncompleteRead
from pathlib import Path
from typing import Any

import pytest

from tests.hostile import (
    Alter,
    Basic,
    Bearer,
    Drop,
    HostileRegistry,
    Reply,
    Request,
    Response,
    Stall,
    Switches,
    digest_of,
    index_of,
)
from tests.real.peers import run

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
BLOB = bytes(range(256)) * 8
EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2}
REPO = "/v2/team/model"


class Answer:
    """Status, lower-case headers and body of one exchange."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    registry: HostileRegistry, method: str, path: str, body: bytes | None = None, host: str = "", **headers: str
) -> Answer:
    connection = HTTPConnection(host or registry.host, timeout=10)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read())
    finally:
        connection.close()


def manifest(subject: str | None = None, **annotations: str) -> bytes:
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example",
        "config": EMPTY,
        "layers": [EMPTY],
        "annotations": annotations,
    }
    if subject:
        document["subject"] = {"mediaType": OCI_MANIFEST, "digest": subject, "size": 2}
    return json.dumps(document).encode()


def start(registry: HostileRegistry) -> str:
    answer = ask(registry, "POST", f"{REPO}/blobs/uploads/", b"")
    assert answer.status == 202
    return answer.headers["location"]


@pytest.fixture
def registry() -> Iterator[HostileRegistry]:
    with HostileRegistry() as running:
        repository = running.repository("team/model")
        repository.add_blob(BLOB)
        repository.add_blob(b"{}")
        repository.add_manifest(manifest(), OCI_MANIFEST, "v1")
        yield running


@pytest.fixture
def digest() -> str:
    return digest_of(BLOB)


# Faithful


def test_ping_and_errors(registry: HostileRegistry) -> None:
    assert ask(registry, "GET", "/v2/").status == 200
    for path, code in (
        (f"{REPO}/blobs/sha256:{'0' * 64}", "BLOB_UNKNOWN"),
        (f"{REPO}/manifests/v2", "MANIFEST_UNKNOWN"),
        ("/v2/nobody/here/tags/list", "NAME_UNKNOWN"),
        ("/v2/Bad/manifests/v1", "UNSUPPORTED"),
    ):
        answer = ask(registry, "GET", path)
        assert (answer.status, answer.json()["errors"][0]["code"]) == (404, code)


def test_blobs_and_ranges(registry: HostileRegistry, digest: str) -> None:
    whole = ask(registry, "GET", f"{REPO}/blobs/{digest}")
    assert (whole.status, whole.body) == (200, BLOB)
    assert whole.headers["docker-content-digest"] == digest
    head = ask(registry, "HEAD", f"{REPO}/blobs/{digest}")
    assert (head.status, head.headers["content-length"], head.body) == (200, str(len(BLOB)), b"")
    for wanted, start, stop in (("0-0", 0, 1), ("5-9", 5, 10), ("2000-", 2000, 2048), ("-8", 2040, 2048)):
        part = ask(registry, "GET", f"{REPO}/blobs/{digest}", Range=f"bytes={wanted}")
        assert (part.status, part.body) == (206, BLOB[start:stop])
        assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/2048"
    assert ask(registry, "GET", f"{REPO}/blobs/{digest}", Range="bytes=2048-").status == 416


def test_manifests(registry: HostileRegistry) -> None:
    raw = manifest(a="b")
    put = ask(registry, "PUT", f"{REPO}/manifests/v2", raw, Content_Type=OCI_MANIFEST)
    assert (put.status, put.headers["docker-content-digest"]) == (201, digest_of(raw))
    assert "oci-subject" not in put.headers
    for target in ("v2", digest_of(raw)):
        got = ask(registry, "GET", f"{REPO}/manifests/{target}", Accept=f"{OCI_INDEX}, {OCI_MANIFEST}")
        assert (got.status, got.body, got.headers["content-type"]) == (200, raw, OCI_MANIFEST)
    assert ask(registry, "GET", f"{REPO}/manifests/v2", Accept=OCI_INDEX).status == 404
    assert ask(registry, "GET", f"{REPO}/tags/list").json() == {"name": "team/model", "tags": ["v1", "v2"]}


@pytest.mark.parametrize(
    ("target", "raw", "kind", "code"),
    [
        ("v2", manifest(), OCI_INDEX, "MANIFEST_INVALID"),
        ("v2", b"no json", OCI_MANIFEST, "MANIFEST_INVALID"),
        (f"sha256:{'0' * 64}", manifest(), OCI_MANIFEST, "DIGEST_INVALID"),
        ("v2", manifest().replace(digest_of(b"{}")[7:].encode(), b"0" * 64), OCI_MANIFEST, "MANIFEST_BLOB_UNKNOWN"),
        ("v2", index_of([{**EMPTY, "digest": f"sha256:{'1' * 64}"}]), OCI_INDEX, "MANIFEST_BLOB_UNKNOWN"),
    ],
)
def test_manifests_that_are_not_taken(
    registry: HostileRegistry, target: str, raw: bytes, kind: str, code: str
) -> None:
    answer = ask(registry, "PUT", f"{REPO}/manifests/{target}", raw, Content_Type=kind)
    assert (answer.status, answer.json()["errors"][0]["code"]) == (400, code)
    assert registry.tags == {"v1": digest_of(manifest())}


def test_referrers(registry: HostileRegistry) -> None:
    subject = digest_of(manifest())
    raw = manifest(subject, n="1")
    put = ask(registry, "PUT", f"{REPO}/manifests/{digest_of(raw)}", raw, Content_Type=OCI_MANIFEST)
    assert put.headers["oci-subject"] == subject
    answer = ask(registry, "GET", f"{REPO}/referrers/{subject}")
    assert (answer.status, answer.headers["content-type"]) == (200, OCI_INDEX)
    (entry,) = answer.json()["manifests"]
    assert entry == {
        "mediaType": OCI_MANIFEST,
        "digest": digest_of(raw),
        "size": len(raw),
        "artifactType": "application/vnd.example",
        "annotations": {"n": "1"},
    }
    for kind, count in (("application/vnd.example", 1), ("application/other", 0)):
        some = ask(registry, "GET", f"{REPO}/referrers/{subject}?artifactType={kind}")
        assert len(some.json()["manifests"]) == count
        assert some.headers["oci-filters-applied"] == "artifactType"
    none = ask(registry, "GET", f"/v2/nobody/referrers/{subject}")
    assert (none.status, none.json()["manifests"]) == (200, [])


@pytest.mark.parametrize("way", ["whole", "stream", "chunks", "post", "sha512"])
def test_uploads(registry: HostileRegistry, way: str) -> None:
    data = b"new" + BLOB
    digest = digest_of(data, "sha512" if way == "sha512" else "sha256")
    if way == "post":
        done = ask(registry, "POST", f"{REPO}/blobs/uploads/?digest={digest}", data)
    else:
        place, rest = start(registry), data
        if way == "stream":
            place = ask(registry, "PATCH", place, data).headers["location"]
            rest = b""
        elif way == "chunks":
            for first, last in ((0, 999), (1000, 1999)):
                chunk = data[first : last + 1]
                answer = ask(registry, "PATCH", place, chunk, Content_Range=f"{first}-{last}")
                assert (answer.status, answer.headers["range"]) == (202, f"0-{last}")
                place, rest = answer.headers["location"], data[2000:]
        done = ask(registry, "PUT", f"{place}&digest={digest}", rest)
    assert (done.status, done.headers["location"]) == (201, f"{REPO}/blobs/{digest}")
    assert registry.blobs[digest] == data
    assert not registry.sessions


def test_a_body_without_a_length(registry: HostileRegistry) -> None:
    connection = HTTPConnection(registry.host)
    pieces = (BLOB[i : i + 100] for i in range(0, len(BLOB), 100))
    connection.request("PATCH", start(registry), pieces, {"Transfer-Encoding": "chunked"}, encode_chunked=True)
    answer = connection.getresponse()
    assert answer.headers["Range"] == f"0-{len(BLOB) - 1}"
    answer.read()
    connection.close()


def test_uploads_out_of_step(registry: HostileRegistry, digest: str) -> None:
    place = start(registry)
    first = ask(registry, "PATCH", place, b"abc", Content_Range="0-2")
    assert ask(registry, "PATCH", place, b"def", Content_Range="3-5").status == 416, "an old Location"
    place = first.headers["location"]
    assert ask(registry, "PATCH", place, b"ghi", Content_Range="6-8").status == 416, "a gap"
    assert ask(registry, "PATCH", place, b"ghi", Content_Range="3-9").status == 400, "lengths differ"
    status = ask(registry, "GET", place)
    assert (status.status, status.headers["range"]) == (204, "0-2")
    assert ask(registry, "PUT", f"{place.replace('%2F', '/')}&digest={digest}", b"").status == 400, "altered query"
    assert ask(registry, "PUT", f"{place}&digest={digest}", b"").status == 400, "another digest"
    assert ask(registry, "GET", place).status == 404
    gone = start(registry)
    assert ask(registry, "DELETE", gone).status == 204
    assert ask(registry, "PATCH", gone, b"x").status == 404
    assert ask(registry, "PATCH", start(registry).replace("team", "other"), b"x").status == 404


def test_mounts(registry: HostileRegistry, digest: str) -> None:
    into = "/v2/other/place/blobs/uploads/"
    assert ask(registry, "POST", f"{into}?mount={digest}&from=team/model", b"").status == 201
    assert registry.repository("other/place").blobs == {digest: BLOB}
    assert ask(registry, "POST", f"{into}?mount=sha256:{'0' * 64}&from=team/model", b"").status == 202


def test_deletion(registry: HostileRegistry, digest: str) -> None:
    subject = digest_of(manifest())
    registry.only.garbage(subject, 2)
    (first, second) = registry.only.referrers[subject]
    assert ask(registry, "DELETE", f"{REPO}/manifests/{first}").status == 202
    assert list(registry.only.referrers[subject]) == [second]
    assert ask(registry, "DELETE", f"{REPO}/manifests/v1").status == 202
    assert registry.tags == {}
    assert ask(registry, "DELETE", f"{REPO}/blobs/{digest}").status == 202
    assert ask(registry, "DELETE", f"{REPO}/blobs/{digest}").status == 404


def test_connections_are_kept(registry: HostileRegistry, digest: str) -> None:
    connection = HTTPConnection(registry.host)
    for method, path, body in (
        ("GET", "/v2/", None),
        ("HEAD", f"{REPO}/blobs/{digest}", None),
        ("PUT", f"{REPO}/manifests/bad", b"x" * 100_000),
        ("PATCH", f"{REPO}/blobs/uploads/none", b"y" * 100_000),
        ("GET", f"{REPO}/blobs/{digest}", None),
    ):
        connection.request(method, path, body)
        socket = connection.sock
        connection.getresponse().read()
        assert connection.sock is socket
    connection.close()


def test_what_happened_is_recorded(registry: HostileRegistry, digest: str) -> None:
    ask(registry, "GET", f"{REPO}/blobs/{digest}", Range="bytes=0-9", Authorization="Basic x")
    ask(registry, "PUT", f"{REPO}/manifests/v1", manifest(), Content_Type=OCI_MANIFEST)
    get, put = registry.requests
    assert (get.method, get.route, get.repository, get.target) == ("GET", "blob", "team/model", digest)
    assert (get.headers["range"], get.headers["authorization"]) == ("bytes=0-9", "Basic x")
    assert (get.status, get.sent, put.received, put.number) == (206, 10, len(manifest()), 1)
    assert (registry.count("GET"), registry.count(route="manifest"), registry.count("GET", "manifest")) == (1, 1, 0)
    assert (registry.sent("blob"), registry.received("manifest")) == (10, len(manifest()))
    registry.forget()
    assert registry.requests == []


# Peers


@pytest.fixture
def peer_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model.bin").write_bytes(BLOB)
    (tmp_path / "sbom.txt").write_text("sbom")
    return tmp_path


@pytest.mark.peer
@pytest.mark.parametrize("referrers", ["api", "404"])
@pytest.mark.parametrize("auth", [None, Basic(), Bearer()], ids=["open", "basic", "bearer"])
def test_oras_finds_it_a_registry(peer_home: Path, referrers: Any, auth: Any) -> None:
    with HostileRegistry(Switches(referrers=referrers, strict_location=False), auth=auth) as registry:
        name = f"{registry.host}/team/model"
        options = ["--plain-http"]
        if auth:
            options += ["--username", auth.username, "--password", auth.password]
        run("oras", "push", *options, f"{name}:v1", "model.bin", cwd=peer_home)
        attach = ["--artifact-type", "application/vnd.example.sbom", f"{name}:v1", "sbom.txt"]
        run("oras", "attach", *options, *attach, cwd=peer_home)
        tree = json.loads(run("oras", "discover", *options, "--format", "json", f"{name}:v1").stdout)
        assert [entry["artifactType"] for entry in tree["referrers"]] == ["application/vnd.example.sbom"]
        run("oras", "pull", *options, f"{name}:v1", "-o", peer_home / "out")
        assert (peer_home / "out" / "model.bin").read_bytes() == BLOB
        tags = run("oras", "repo", "tags", *options, name).stdout.split()
        assert ("v1" in tags, len(tags)) == (True, 1 if referrers == "api" else 2)


@pytest.mark.peer
def test_crane_and_skopeo_agree(registry: HostileRegistry) -> None:
    name = f"{registry.host}/team/model"
    expected = digest_of(manifest())
    assert run("crane", "digest", "--insecure", f"{name}:v1").stdout.strip() == expected
    raw = run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}:v1").stdout
    assert digest_of(raw.encode()) == expected
    assert run("crane", "ls", "--insecure", name).stdout.split() == ["v1"]
    run("crane", "copy", "--insecure", f"{name}:v1", f"{registry.host}/other/copy:v2")
    assert registry.repository("other/copy").tags == {"v2": expected}


# Who may


def test_basic(digest: str) -> None:
    with HostileRegistry(auth=Basic("ada", "pw")) as registry:
        refused = ask(registry, "GET", "/v2/")
        assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Basic realm="hostile"')
        right = "Basic " + base64.b64encode(b"ada:pw").decode()
        assert ask(registry, "GET", "/v2/", Authorization=right).status == 200
        assert ask(registry, "GET", "/v2/", Authorization=right[:-4] + "eHg=").status == 401


def test_bearer() -> None:
    auth = Bearer("ada", "pw", identity_token="refresh", anonymous_pull=True)
    with HostileRegistry(auth=auth) as registry:
        registry.repository("team/model").add_manifest(manifest(), OCI_MANIFEST, "v1")
        path = f"{REPO}/manifests/v1"
        challenge = ask(registry, "GET", path).headers["www-authenticate"]
        assert challenge == (
            f'Bearer realm="{registry.url}/token",service="hostile",scope="repository:team/model:pull"'
        )

        def token(scope: str, **headers: str) -> str:
            answer = ask(registry, "GET", f"/token?service=hostile&scope={scope}", None, "", **headers)
            return "Bearer " + answer.json()["token"] if answer.status == 200 else str(answer.status)

        pull = token("repository:team/model:pull")
        assert ask(registry, "GET", path, Authorization=pull).status == 200
        pushing = ask(registry, "POST", f"{REPO}/blobs/uploads/", b"", Authorization=pull)
        assert pushing.status == 401
        assert 'error="insufficient_scope"' in pushing.headers["www-authenticate"]
        assert "pull,push" in pushing.headers["www-authenticate"]
        ada = "Basic " + base64.b64encode(b"ada:pw").decode()
        push = token("repository:team/model:pull,push", Authorization=ada)
        assert ask(registry, "POST", f"{REPO}/blobs/uploads/", b"", Authorization=push).status == 202
        assert ask(registry, "GET", "/v2/other/manifests/v1", Authorization=push).status == 401
        assert token("repository:team/model:pull", Authorization=ada[:-4] + "eHg=") == "401"
        form = b"grant_type=refresh_token&refresh_token=refresh&scope=repository:team/model:pull"
        refreshed = "Bearer " + ask(registry, "POST", "/token", form).json()["token"]
        assert ask(registry, "GET", path, Authorization=refreshed).status == 200
        assert ask(registry, "POST", "/token", form.replace(b"=refresh&", b"=wrong&")).status == 401
        registry.expire_tokens()
        late = ask(registry, "GET", path, Authorization=pull)
        assert (late.status, 'error="invalid_token"' in late.headers["www-authenticate"]) == (401, True)


# Switches


@pytest.mark.parametrize(("way", "status"), [("404", 404), ("400", 400), ("405", 405), ("303", 303), ("html", 200)])
def test_no_referrers(registry: HostileRegistry, way: Any, status: int) -> None:
    registry.switches.referrers = way
    answer = ask(registry, "GET", f"{REPO}/referrers/{digest_of(manifest())}")
    assert answer.status == status
    assert answer.headers.get("content-type") != OCI_INDEX
    raw = manifest(digest_of(manifest()))
    put = ask(registry, "PUT", f"{REPO}/manifests/x", raw, Content_Type=OCI_MANIFEST)
    assert "oci-subject" not in put.headers
    registry.switches.oci_subject = True
    put = ask(registry, "PUT", f"{REPO}/manifests/x", raw, Content_Type=OCI_MANIFEST)
    assert "oci-subject" in put.headers


def test_referrers_that_lie(registry: HostileRegistry) -> None:
    subject = digest_of(manifest())
    garbage = registry.only.garbage(subject, 3)

    def listed(query: str = "") -> list[str]:
        found = ask(registry, "GET", f"{REPO}/referrers/{subject}{query}").json()["manifests"]
        return [entry["digest"] for entry in found]

    assert listed() == [entry["digest"] for entry in garbage]
    registry.switches.hide_newest = 1
    assert listed() == [entry["digest"] for entry in garbage[:2]]
    registry.switches.strip_referrers = True
    assert listed() == []
    registry.switches = Switches(filter_referrers=False)
    assert len(listed("?artifactType=application/other")) == 3
    for entry in garbage:
        raw = ask(registry, "GET", f"{REPO}/manifests/{entry['digest']}").body
        assert digest_of(raw) == entry["digest"]
        assert json.loads(raw)["subject"]["digest"] == subject


def test_ten_thousand(registry: HostileRegistry) -> None:
    subject = digest_of(manifest())
    registry.only.garbage(subject, 10_000)
    registry.only.write_fallback(subject)
    assert len(ask(registry, "GET", f"{REPO}/referrers/{subject}").json()["manifests"]) == 10_000
    tag = ask(registry, "GET", f"{REPO}/manifests/{subject.replace(':', '-')}")
    assert len(tag.json()["manifests"]) == 10_000


@pytest.mark.parametrize("links", ["relative", "absolute"])
@pytest.mark.parametrize("what", ["tags/list", "referrers"])
def test_pages(registry: HostileRegistry, links: Any, what: str) -> None:
    subject = digest_of(manifest())
    registry.only.garbage(subject, 5)
    registry.tags.update({f"t{number}": subject for number in range(4)})
    registry.switches = Switches(page_size=2, links=links)
    path = f"{REPO}/{what}" + (f"/{subject}" if what == "referrers" else "")
    found: list[Any] = []
    for _ in range(3):
        answer = ask(registry, "GET", path)
        found += answer.json()["manifests" if what == "referrers" else "tags"]
        link = answer.headers.get("link", "<>").split(">")[0][1:]
        path = link.removeprefix(registry.url)
        assert link.startswith(registry.url if links == "absolute" and link else "")
    assert not path
    assert len(found) == 5
    assert found == sorted(found, key=str) or what == "referrers"


def test_links_that_lead_astray(registry: HostileRegistry) -> None:
    registry.switches = Switches(page_size=1, links="loop")
    for _ in range(3):
        answer = ask(registry, "GET", f"{REPO}/tags/list?_at=1")
        assert answer.json()["tags"] == ["v1"]
        assert "_at=1" in answer.headers["link"]
    registry.tags["v2"] = registry.tags["v1"]
    registry.switches.links = "cross-host"
    assert registry.storage_url in ask(registry, "GET", f"{REPO}/tags/list").headers["link"]
    registry.switches = Switches(null_tags=True)
    assert ask(registry, "GET", f"{REPO}/tags/list").json()["tags"] is None


def test_gitlab(registry: HostileRegistry) -> None:
    registry.switches.fallback_is_subject = True
    tag = digest_of(manifest()).replace(":", "-")
    assert ask(registry, "GET", f"{REPO}/manifests/{tag}").body == manifest()


@pytest.mark.parametrize(
    ("switches", "check"),
    [
        (Switches(digest_header="missing"), lambda a: "docker-content-digest" not in a.headers),
        (Switches(digest_header="wrong"), lambda a: a.headers["docker-content-digest"] != digest_of(BLOB)),
        (Switches(ranges="ignored"), lambda a: (a.status, a.body) == (200, BLOB)),
        (Switches(ranges="wrong-start"), lambda a: a.headers["content-range"] == "bytes 6-9/2048"),
        (Switches(ranges="wrong-total"), lambda a: a.headers["content-range"] == "bytes 5-9/2049"),
        (Switches(ranges="short"), lambda a: (a.headers["content-range"], len(a.body)) == ("bytes 5-6/2048", 2)),
        (Switches(ranges="closed"), lambda a: a.body == BLOB[5:10]),
        (Switches(gzip=True, ranges="ignored"), lambda a: gzip.decompress(a.body) == BLOB),
        (Switches(warning="be careful"), lambda a: a.headers["warning"] == '299 - "be careful"'),
    ],
)
def test_bodies(registry: HostileRegistry, digest: str, switches: Switches, check: Any) -> None:
    registry.switches = switches
    assert check(ask(registry, "GET", f"{REPO}/blobs/{digest}", Range="bytes=5-9"))


def test_open_ranges_may_be_refused(registry: HostileRegistry, digest: str) -> None:
    registry.switches.ranges = "closed"
    assert ask(registry, "GET", f"{REPO}/blobs/{digest}", Range="bytes=5-").status == 416


def test_blobs_elsewhere(registry: HostileRegistry, digest: str) -> None:
    registry.switches = Switches(redirect_blobs=True, signed_uses=2)
    answer = ask(registry, "GET", f"{REPO}/blobs/{digest}")
    assert (answer.status, answer.headers["location"].startswith(registry.storage_url)) == (307, True)
    assert ask(registry, "HEAD", f"{REPO}/blobs/{digest}").status == 200
    host, _, path = answer.headers["location"].removeprefix("http://").partition("/")
    assert ask(registry, "GET", f"/{path}", host=host, Authorization="Bearer x").status == 400
    assert ask(registry, "GET", f"/{path}", host=host).body == BLOB
    assert ask(registry, "GET", f"/{path}", host=host, Range="bytes=1-2").body == BLOB[1:3]
    assert ask(registry, "GET", f"/{path}", host=host).status == 403
    assert registry.count(server="storage") == 4
    assert registry.seen(server="storage")[0].headers["authorization"] == "Bearer x"


@pytest.mark.parametrize(
    ("switches", "status"),
    [
        (Switches(chunks=False), 405),
        (Switches(max_patch=5), 416),
        (Switches(patch_status=201), 201),
        (Switches(stale_range=True), 202),
    ],
)
def test_chunks_that_are_not_liked(registry: HostileRegistry, switches: Switches, status: int) -> None:
    registry.switches = switches
    answer = ask(registry, "PATCH", start(registry), b"abcdef", Content_Range="0-5")
    assert answer.status == status
    if switches.stale_range:
        again = ask(registry, "PATCH", answer.headers["location"], b"ghi", Content_Range="6-8")
        assert again.headers["range"] == "0-5"


def test_other_uploads_that_are_not_liked(registry: HostileRegistry, digest: str) -> None:
    registry.switches = Switches(streams=False, max_put=10, manifest_limit=10, min_chunk=7, mount="error")
    answer = ask(registry, "POST", f"{REPO}/blobs/uploads/", b"")
    assert answer.headers["oci-chunk-min-length"] == "7"
    assert ask(registry, "PATCH", start(registry), b"abc").status == 405
    assert ask(registry, "PUT", f"{start(registry)}&digest={digest}", BLOB).status == 413
    assert ask(registry, "PUT", f"{REPO}/manifests/v1", manifest(), Content_Type=OCI_MANIFEST).status == 413
    assert ask(registry, "POST", f"{REPO}/blobs/uploads/?mount={digest}&from=team/model", b"").status == 500
    registry.switches = Switches(mount="no", single_post=False)
    assert ask(registry, "POST", f"{REPO}/blobs/uploads/?mount={digest}&from=team/model", b"").status == 202
    refused = ask(registry, "POST", f"{REPO}/blobs/uploads/?digest={digest}", BLOB)
    assert refused.status == 400


@pytest.mark.parametrize("location", ["relative", "absolute", "cross-host"])
@pytest.mark.parametrize("bare", [True, False])
def test_locations(registry: HostileRegistry, location: Any, bare: bool) -> None:
    registry.switches = Switches(location=location, bare_location=bare)
    place = start(registry)
    base = {"relative": "", "absolute": registry.url, "cross-host": registry.storage_url}[location]
    assert place.startswith(f"{base}{REPO}/blobs/uploads/")
    assert ("?" in place) is not bare
    path = place.removeprefix(base)
    host = base.removeprefix("http://")
    join = "?" if bare else "&"
    assert ask(registry, "PUT", f"{path}{join}digest={digest_of(b'x')}", b"x", host=host).status == 201
    if location == "cross-host":
        assert ask(registry, "PUT", path, b"x", host=host, Authorization="Bearer x").status == 400


# Damage


def test_damage_and_repair(registry: HostileRegistry, digest: str) -> None:
    whole = registry.snapshot()
    registry.only.flip(digest, 7)
    registry.only.truncate(digest_of(b"{}"), 1)
    registry.only.overwrite(digest_of(manifest()), b"other")
    body = ask(registry, "GET", f"{REPO}/blobs/{digest}").body
    assert [i for i, (a, b) in enumerate(zip(body, BLOB, strict=True)) if a != b] == [7]
    assert ask(registry, "GET", f"{REPO}/blobs/{digest_of(b'{}')}").body == b"{"
    assert ask(registry, "GET", f"{REPO}/manifests/v1").body == b"other"
    registry.tags.clear()
    registry.restore(whole)
    assert ask(registry, "GET", f"{REPO}/blobs/{digest}").body == BLOB
    assert ask(registry, "GET", f"{REPO}/manifests/v1").body == manifest()


# Faults


def test_replies(registry: HostileRegistry, digest: str) -> None:
    rule = registry.fail(Reply(503, {"Retry-After": "1"}, b"busy"), route="blob", times=2, skip=1)
    path = f"{REPO}/blobs/{digest}"
    assert [ask(registry, "GET", path).status for _ in range(4)] == [200, 503, 503, 200]
    assert rule.times == 0
    assert ask(registry, "GET", "/v2/").status == 200
    registry.fail(Reply(429), method="PUT")
    assert ask(registry, "PUT", f"{REPO}/manifests/v1", b"x").status == 429
    assert registry.requests[-1].received == 1


def test_connections_break(registry: HostileRegistry, digest: str) -> None:
    path = f"{REPO}/blobs/{digest}"
    registry.on_request = lambda request: Drop() if request.route == "ping" else None
    with pytest.raises((OSError, HTTPException)):
        ask(registry, "GET", "/v2/")
    registry.on_request = lambda _request: Drop(sent=100)
    with pytest.raises((OSError, HTTPException)):
        ask(registry, "GET", path)
    assert registry.requests[-1].sent == 100


@pytest.mark.parametrize("keep", [True, False])
def test_uploads_break(registry: HostileRegistry, keep: bool) -> None:
    registry.switches.keep_broken_sessions = keep
    place = start(registry)
    registry.fail(Drop(received=1000), method="PATCH", times=1)
    with pytest.raises((OSError, HTTPException)):
        ask(registry, "PATCH", place, BLOB)
    status = ask(registry, "GET", place)
    assert (status.status, status.headers.get("range")) == ((204, "0-999") if keep else (404, None))


def test_silence(registry: HostileRegistry, digest: str) -> None:
    registry.fail(Stall(0.2, sent=100), route="blob")
    begun = time.monotonic()
    assert ask(registry, "GET", f"{REPO}/blobs/{digest}").body == BLOB
    assert time.monotonic() - begun >= 0.2


@pytest.mark.parametrize("length", ["3000", "100"])
def test_content_length_may_lie(registry: HostileRegistry, digest: str, length: str) -> None:
    def lie(response: Response) -> Response:
        response.headers["Content-Length"] = length
        return response

    registry.fail(Alter(lie), route="blob")
    if length == "100":
        assert ask(registry, "GET", f"{REPO}/blobs/{digest}").body == BLOB[:100]
    else:
        with pytest.raises(IncompleteRead):
            ask(registry, "GET", f"{REPO}/blobs/{digest}")


def test_a_tag_can_move_between_two_requests(registry: HostileRegistry) -> None:
    other = registry.only.add_manifest(manifest(other="yes"))

    def move(request: Request) -> None:
        if request.number == 1:
            registry.tags["v1"] = other

    registry.on_request = move
    answers = [ask(registry, "GET", f"{REPO}/manifests/v1") for _ in range(2)]
    assert [answer.headers["docker-content-digest"] for answer in answers] == [digest_of(manifest()), other]


def test_the_last_word(registry: HostileRegistry) -> None:
    """An update is lost after it was made and before it was answered."""

    def undo(request: Request, response: Response) -> Response | None:
        if request.method == "PUT":
            registry.tags.pop("v2")
            return Response(response.status, {**response.headers, "X-Undone": "yes"}, response.body)
        return None

    registry.on_response = undo
    put = ask(registry, "PUT", f"{REPO}/manifests/v2", manifest(), Content_Type=OCI_MANIFEST)
    assert (put.status, put.headers["x-undone"]) == (201, "yes")
    assert ask(registry, "GET", f"{REPO}/manifests/v2").status == 404


def test_large_bodies_do_not_stay_in_memory(registry: HostileRegistry) -> None:
    data = bytes(32 * 1024 * 1024)
    digest = digest_of(data)
    assert ask(registry, "PUT", f"{start(registry)}&digest={digest}", data).status == 201
    assert isinstance(registry.blobs[digest], memoryview)
    assert ask(registry, "GET", f"{REPO}/blobs/{digest}").body == data


def test_its_own_bugs_are_not_hidden() -> None:
    def bug(_request: Request) -> None:
        raise KeyError("a bug")

    def use() -> None:
        with HostileRegistry() as registry:
            registry.on_request = bug
            with pytest.raises((OSError, HTTPException)):
                ask(registry, "GET", "/v2/")

    with pytest.raises(KeyError, match="a bug"):
        use()
