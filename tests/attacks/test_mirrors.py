"""Mirrors that lie: what arrives is right, and comes from the registry; without it, nothing arrives."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

import ocimodel
from ocimodel.model.artifact import ModelArtifact
from ocimodel.model.chunkindex import ChunkIndex
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest
from ocimodel.stores.http import hosts
from ocimodel.stores.http.mirrors import Means, open_mirrored
from ocimodel.stores.http.policy import Patience
from ocimodel.stores.opening import Access
from ocimodel.stores.protocol import Store
from ocimodel.transfer.chunkread import ChunkReader
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.selection import Selection
from ocimodel.transfer.staging import STAGING_PREFIX
from ocimodel.trust.policy import TrustPolicy
from ocimodel.verbs.archives import members
from ocimodel.verbs.deciding import decide
from ocimodel.verbs.indexing import fetch_index
from ocimodel.verbs.unpack import unpack
from tests.attacks.scene import FILES, NAME, code_of, files_of
from tests.commands import run
from tests.hostile import Action, Basic, Drop, HostileRegistry, Reply, Request, Response, Stall
from tests.mirrors import Site
from tests.scripted import Say, Scripted, Seen
from tests.signers import ALICE, MALLORY, attachment

LARGE = 17 * 1024 * 1024
QUICK = Patience(connect=2.0, stall=0.3, tries=1, wall=1.0, document=0.4, sleep=lambda _seconds: None)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path) as made:
        made.scene.push()
        made.forget()
        yield made


def large(site: Site) -> str:
    """A model with a file that comes in ranges; the digest of that file."""
    data = bytes(range(251)) * (LARGE // 251 + 1)
    site.scene.push({"weights.bin": data[:LARGE]})
    site.forget()
    return site.scene.layers()["weights.bin"]


def parts(site: Site) -> dict[str, str]:
    """Every digest that a verified pull needs, by what it is."""
    manifest = site.scene.manifest()
    return {
        "manifest": str(site.scene.subject().digest),
        "signature": site.scene.signature(),
        "bundle": site.scene.bundle(),
        "config": manifest["config"]["digest"],
        "index": manifest["annotations"][media.CHUNK_INDEX_ANNOTATION],
        **site.scene.layers(),
    }


def fresh(site: Site, monkeypatch: pytest.MonkeyPatch, name: str) -> Path:
    """A node that knows nothing, and has nothing of a pull that was refused; its cache."""
    for left in (site.out, *site.out.parent.glob(f"{STAGING_PREFIX}*")):
        shutil.rmtree(left, ignore_errors=True)
    for variable in ("OCIMODEL_CACHE_DIR", "OCIMODEL_STATE_DIR"):
        monkeypatch.setenv(variable, str(site.place / variable / name))
    return site.place / "OCIMODEL_CACHE_DIR" / name


def only_right_bytes(cache: Path) -> bool:
    """Whether all that the cache has under a SHA-256 has that SHA-256."""
    return all(Digest.of(path.read_bytes()).hex == path.name for path in cache.glob("blobs/sha256/*"))


def pull(site: Site) -> int:
    arguments = ("-o", site.out, "--key", site.scene.public(), "--cache", "copy")
    return site.run("pull", site.reference, *arguments).code


def arrived(site: Site) -> bool:
    return files_of(site.out) == FILES


# --- other bytes ------------------------------------------------------------------------------------------------


def flip(mirror: HostileRegistry, digest: str) -> None:
    repository = mirror.repository(NAME)
    document = repository.manifests.get(digest)
    data = document.raw if document else repository.blobs[digest]
    repository.flip(digest, len(data) // 2)


def shorten(mirror: HostileRegistry, digest: str) -> None:
    mirror.repository(NAME).truncate(digest, 1)


@pytest.mark.parametrize("damage", [flip, shorten])
def test_other_bytes_at_a_mirror_come_from_the_registry(
    site: Site, damage: Callable[[HostileRegistry, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = site.mirror()
    right, reachable = mirror.snapshot(), site.hosts
    for what, digest in parts(site).items():
        mirror.restore(right)
        damage(mirror, digest)
        site.say(reachable)
        site.forget()
        cache = fresh(site, monkeypatch, what)
        assert pull(site) == 0, what
        assert arrived(site), what
        assert digest in {one.target for one in site.origin.seen()} or what == "manifest", what
        assert only_right_bytes(cache)
        if damage is not flip:
            continue
        site.cut()
        cache = fresh(site, monkeypatch, f"{what}, cut off")
        assert pull(site) == 75, what
        assert site.scene.nothing_arrived()
        assert only_right_bytes(cache)


def test_one_bad_chunk_is_all_that_the_registry_is_asked_for(site: Site) -> None:
    weights = large(site)
    mirror = site.mirror()
    mirror.repository(NAME).flip(weights, LARGE // 2)
    assert site.pull().code == 0
    assert Digest.of((site.out / "weights.bin").read_bytes()) == Digest.parse(weights)
    assert 0 < site.origin.sent("blob") < LARGE
    assert mirror.sent("blob") > 0


def test_without_an_index_the_whole_file_comes_again(site: Site) -> None:
    data = bytes(range(251)) * (LARGE // 251)
    site.scene.put_layers([site.scene.layer(data, "weights.bin")])
    site.forget()
    mirror = site.mirror()
    mirror.repository(NAME).flip(str(Digest.of(data)), LARGE // 2)
    assert site.pull().code == 0
    assert (site.out / "weights.bin").read_bytes() == data
    assert site.origin.sent("blob") >= len(data)


def test_a_second_mirror_does_not_spoil_what_the_first_one_did(site: Site) -> None:
    first, second = site.mirror(), site.mirror()
    for digest in parts(site).values():
        flip(first, digest)
        shorten(second, digest)
    assert site.pull().code == 0
    assert arrived(site)


@pytest.mark.parametrize("mode", ["short", "wrong-start", "wrong-total", "ignored"])
def test_ranges_that_lie(site: Site, mode: str) -> None:
    weights = large(site)
    mirror = site.mirror()
    mirror.switches.ranges = mode  # type: ignore[assignment]
    mirror.repository(NAME).flip(weights, 100)
    assert site.pull().code == 0
    assert Digest.of((site.out / "weights.bin").read_bytes()) == Digest.parse(weights)


@pytest.mark.parametrize("said", [-1, 1, 10**12])
def test_a_size_of_the_index_that_lies(site: Site, said: int) -> None:
    """Nothing that is signed says it."""
    mirror = site.mirror()
    index = parts(site)["index"]

    def lie(request: Request, response: Response) -> None:
        if request.target == index and request.method == "HEAD":
            response.headers["Content-Length"] = str(len(response.body) + said)

    mirror.on_response = lie
    assert site.pull().code == 0
    assert arrived(site)


def test_a_page_without_an_end(site: Site) -> None:
    mirror = site.mirror()
    mirror.fail(Reply(200, {"Content-Type": media.OCI_MANIFEST}, b" " * (5 * 1024 * 1024)), route="manifest")
    mirror.fail(Reply(200, {"Content-Type": media.OCI_INDEX}, b" " * (17 * 1024 * 1024)), route="referrers")
    assert site.pull().code == 0
    assert arrived(site)


# --- streams that break, stall or drip ----------------------------------------------------------------------------


@contextmanager
def opened(site: Site, patience: Patience = QUICK) -> Iterator[Store]:
    found = hosts.read(site.config, site.origin.host)
    assert found is not None
    store = open_mirrored(site.scene.reference, found, Means(patience=patience), lambda _text: None)
    try:
        yield store
    finally:
        store.close()


def impatient(site: Site) -> int:
    """What `pull` does, for somebody who waits less than a person does."""

    def act() -> None:
        with opened(site) as store:
            subject, raw = store.get_manifest("v1")
            policy = TrustPolicy.of_keys([ALICE.public])
            verdict, _, _ = decide(store, subject, raw, store.name, policy, datetime.now(UTC), {})
            grant = verdict.raise_if_refused()
            artifact = ModelArtifact.of(Manifest.from_bytes(raw))
            unpack(grant, artifact, store, site.out, selection=Selection(), force=False, previous=(), meter=Meter())

    return code_of(act)


@pytest.mark.parametrize("action", [Drop(), Drop(sent=40), Stall(5, sent=40)])
@pytest.mark.parametrize("route", ["manifest", "referrers", "blob"])
def test_a_mirror_that_breaks_off_or_falls_silent(site: Site, action: Action, route: str) -> None:
    mirror = site.mirror()
    mirror.fail(action, route=route)
    assert impatient(site) == 0
    assert arrived(site)


def test_a_large_file_that_breaks_off_again_and_again(site: Site) -> None:
    weights = large(site)
    mirror = site.mirror()
    mirror.fail(Drop(sent=1024 * 1024), route="blob", target=weights)
    assert impatient(site) == 0
    assert Digest.of((site.out / "weights.bin").read_bytes()) == Digest.parse(weights)


def test_a_mirror_that_drips_is_given_up(site: Site) -> None:
    data = bytes(range(256)) * 4096
    site.scene.push({"weights.bin": data})
    site.forget()
    weights = site.scene.layers()["weights.bin"]

    def drip(seen: Seen) -> Say:
        if weights not in seen.path:
            return Say(404)
        return Say(body=(data[at : at + 512] for at in range(0, len(data), 512)), length=len(data), pause=0.02)

    with Scripted(drip) as mirror:
        site.add(mirror.url)
        assert impatient(site) == 0
        assert [one for one in mirror.seen if weights in one.path and one.method == "GET"]
    assert (site.out / "weights.bin").read_bytes() == data
    assert 0 < site.origin.sent("blob") < 2 * len(data)


def test_a_mirror_that_failed_is_left_alone_for_a_while(site: Site) -> None:
    now = [1000.0]
    mirror = site.mirror()
    mirror.fail(Reply(500))
    layer = Digest.parse(site.scene.layers()["weights.bin"])
    with opened(site, Patience(tries=1, clock=lambda: now[0])) as store:
        for _turn in range(3):
            assert store.blob_size(layer) == len(FILES["weights.bin"])
        assert mirror.count() == 1
        mirror.rules.clear()
        now[0] += 31
        assert store.blob_size(layer) == len(FILES["weights.bin"])
        assert mirror.count() == 2


def test_a_mirror_that_has_nothing_of_a_model_is_not_asked_for_each_of_its_files(site: Site) -> None:
    now = [1000.0]
    mirror = site.mirror(empty=True)
    layers = [Digest.parse(site.origin.repository(NAME).add_blob(b"%d" % number)) for number in range(40)]
    with opened(site, Patience(tries=1, clock=lambda: now[0])) as store:
        assert [store.blob_size(layer) for layer in layers] == [len(b"%d" % number) for number in range(40)]
        assert mirror.count() == 16
        mirror.restore(site.origin.snapshot())
        now[0] += 31
        assert store.blob_size(layers[0]) == 1
        assert mirror.count() == 17


# --- signatures -------------------------------------------------------------------------------------------------


def test_signatures_that_a_mirror_forged(site: Site) -> None:
    mirror = site.mirror()
    subject = site.scene.subject()
    for number in range(200):
        made = attachment(MALLORY, {"n": str(number)}, about=subject, to=subject, keyid=ALICE.public.keyid)
        mirror.repository(NAME).add_blob(made.bundle)
        mirror.repository(NAME).add_manifest(made.manifest)
    mirror.repository(NAME).add_blob(media.EMPTY_JSON)
    listed = mirror.repository(NAME).referrers[str(subject.digest)]
    del listed[site.scene.signature()]
    assert site.verify().code == 0
    site.cut()
    assert site.verify().code == 75


def test_a_tag_that_a_mirror_moved(site: Site) -> None:
    """Who may resolve is believed where a tag stands, as containerd does; nobody is believed about signatures."""
    other = site.scene.push({"weights.bin": b"another"}, signer=MALLORY, tag="other")
    mirror = site.mirror()
    mirror.repository(NAME).tags["v1"] = str(other)
    assert site.pull().code == 12
    assert site.scene.nothing_arrived()
    assert site.scene.asked_for() == 0
    site.say(site.hosts.replace(', "resolve"', ""))
    assert site.pull().code == 0
    assert arrived(site)


def test_a_tag_that_leads_to_other_bytes_than_it_says(site: Site) -> None:
    mirror = site.mirror()
    mirror.switches.digest_header = "wrong"
    assert site.pull().code == 0
    assert arrived(site)


# --- credentials ------------------------------------------------------------------------------------------------


def test_a_mirror_that_sends_us_to_the_registry_gets_nothing_shown_there(site: Site, docker_config: Path) -> None:
    site.origin.auth = Basic()
    credentials = {"auths": {site.origin.host: {"username": "ada", "password": "correct horse"}}}
    (docker_config / "config.json").write_text(json.dumps(credentials))

    def send_on(request: Request) -> Reply:
        return Reply(307, {"Location": f"{site.origin.url}{request.path}?from=mirror"})

    mirror = site.mirror()
    mirror.on_request = send_on
    assert site.pull("--plain-http", site.origin.host).code == 0
    sent_on = [one for one in site.origin.seen() if one.parameter("from") == "mirror"]
    assert sent_on
    assert not any("authorization" in one.headers for one in (*sent_on, *mirror.seen()))


# --- whoever reads ------------------------------------------------------------------------------------------------


def test_whoever_reads_gets_right_bytes(site: Site, tmp_path: Path) -> None:
    weights = large(site)
    mirror = site.mirror()
    right = mirror.snapshot()

    def damage(*digests: str) -> None:
        mirror.restore(right)
        for digest in digests:
            flip(mirror, digest)
        site.forget()

    damage(*parts(site).values())
    assert site.verify("--full").code == 0
    damage(weights)
    assert site.run("copy", site.reference, f"oci:{tmp_path}/copy:v1").code == 0
    assert run("verify", f"oci:{tmp_path}/copy:v1", "--key", site.scene.public(), "--full").code == 0
    damage(weights)
    assert site.run("bundle", "save", site.reference, tmp_path / "models.tar").code == 0
    damage(weights)
    with ocimodel.open(
        site.reference, keys=[site.scene.public()], access=Access(registry_config=site.config)
    ) as model:
        assert Digest.of(model.read("weights.bin", limit=LARGE)) == Digest.parse(weights)


def test_one_bad_chunk_that_is_read_alone(site: Site) -> None:
    weights = large(site)
    mirror = site.mirror()
    mirror.repository(NAME).flip(weights, LARGE - 1)
    manifest = ModelArtifact.of(
        Manifest.from_bytes(site.origin.manifests[str(site.scene.subject().digest)].raw)
    ).manifest
    with opened(site) as store:
        index = ChunkIndex.named_by(manifest, fetch_index(store, manifest))
        assert index is not None
        digest = Digest.parse(weights)
        blob = Descriptor(media_type="application/octet-stream", digest=digest, size=LARGE)
        reader = ChunkReader(store, blob, "weights.bin", index.layers[digest], index.algorithm)
        assert len(reader.read(LARGE - 10, LARGE)) == 10
    assert 0 < site.origin.sent("blob") < LARGE


def test_an_archive_of_small_files(site: Site) -> None:
    pushed = run("push", many(site.place / "many"), site.reference, "--key", site.scene.private())
    assert pushed.code == 0, pushed.err
    (archive,) = (one for one in site.scene.manifest()["layers"] if one["mediaType"].endswith("tar"))
    mirror = site.mirror()
    mirror.repository(NAME).flip(archive["digest"], 600)
    blob = Descriptor(media_type=archive["mediaType"], digest=Digest.parse(archive["digest"]), size=archive["size"])
    with opened(site) as store:
        assert len(members(store, blob)) > 1000


def many(place: Path) -> Path:
    place.mkdir()
    for number in range(1001):
        (place / f"{number}.txt").write_text(str(number))
    return place
