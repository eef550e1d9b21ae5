"""A policy as an artifact that root keys have signed: published, fetched, kept, and judged anew each time."""

from __future__ import annotations

import base64
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ocimodel.attest.referrer import EMPTY
from ocimodel.errors import ConfigurationError
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import manifest_bytes
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store
from ocimodel.stores.protocol import Source
from ocimodel.transfer import keptpolicy
from ocimodel.trust.claims import format_time
from ocimodel.trust.source import OciSource, TufSource, parse
from tests.commands import Ran, World, events, make_world, run
from tests.documents import check, problems
from tests.real.peers import peer
from tests.real.registries import RealRegistry, docker_registry
from tests.real.servers import server
from tests.signers import ALICE


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


class Trust:
    """A policy, the keys of those who keep it, and a node's trust source."""

    def __init__(self, world: World, place: str, *, threshold: int = 1, **more: Any) -> None:
        self.world, self.root, self.place = world, world.root, place
        for name in ("root-a", "root-b", "root-c"):
            if not (self.root / f"{name}.key").exists():
                assert run("key", "generate", self.root / name, "--no-password").code == 0
        self.file = self.root / "prod.json"
        self.file.write_text(run("policy", "init", "--key", world.pub, "--environment", "prod").out)
        self.source = self.root / "trust.json"
        self.configure(threshold=threshold, **more)

    def configure(self, *, threshold: int = 1, roots: tuple[str, ...] = ("root-a", "root-b"), **more: Any) -> None:
        said = {
            "source": self.place,
            "rootKeys": [f"{name}.pub" for name in roots],
            "threshold": threshold,
            **more,
        }
        assert problems(said, "trust-source") == []
        self.source.write_text(json.dumps(said))

    def change(self, **members: Any) -> None:
        value = json.loads(self.file.read_text())
        value |= {"serial": value["serial"] + 1, **members}
        self.file.write_text(json.dumps(value))

    def push(self, *more: str | Path, key: str = "root-a") -> Ran:
        return run("policy", "push", self.file, self.place, "--key", self.root / f"{key}.key", *more)

    def verify(self, *more: str | Path) -> Ran:
        return run("verify", self.world.ref, "--policy", self.source, *more)

    def kept(self) -> Path:
        return next(Path(os.environ["OCIMODEL_STATE_DIR"]).glob("trust/*/policy.json"))


@pytest.fixture
def trust(world: World) -> Trust:
    made = Trust(world, f"oci:{world.root}/trust:current")
    assert made.push().code == 0
    return made


# --- publishing and taking ------------------------------------------------------------------------------------


def test_a_published_policy_decides(trust: Trust) -> None:
    ran = trust.verify("--json")
    document = check(ran.document)
    assert (ran.code, document["outcome"], ran.err) == (0, "pass", "")
    assert events()[-1]["data"]["policy"]["id"] == "prod"
    trust.change(revoked={"digests": [{"digest": trust.world.digest, "reason": "leaked"}]})
    assert trust.verify().code == 0, "what was not published changes nothing"
    assert trust.push().code == 0
    assert trust.verify().code == 16


def test_publishing_twice_changes_nothing(trust: Trust) -> None:
    again = trust.push("--json")
    document = check(again.document)
    assert (again.code, document["signature"]["created"], document["moved"]) == (0, False, True)
    assert events()[-1]["type"].endswith("policy.push.v1")


def test_a_threshold_of_roots_moves_the_tag(trust: Trust) -> None:
    trust.configure(threshold=2)
    assert trust.verify().code == 12, "one root signed it"
    trust.change()
    first = trust.push("--source", trust.source)
    assert (first.code, "the tag was not moved" in first.err) == (0, True)
    assert trust.verify().code == 12
    again = trust.push("--source", trust.source)
    assert "the tag was not moved" in again.err, "the same key twice is one root"
    assert trust.push("--source", trust.source, key="root-c").code == 0
    assert trust.verify().code == 12, "a stranger is no root"
    second = trust.push("--source", trust.source, key="root-b")
    assert (second.code, second.err) == (0, "")
    assert trust.verify().code == 0


def test_files_travel_in_the_policy(world: World) -> None:
    trust = Trust(world, f"oci:{world.root}/trust:current")
    value = json.loads(trust.file.read_text())
    for line in value["keys"].values():
        del line["publicKey"]
        line["publicKeyFile"] = "alice.pub"
    trust.file.write_text(json.dumps(value))
    assert trust.push().code == 0
    world.pub.rename(world.root / "elsewhere.pub")
    assert trust.verify().code == 0


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"serial": None}, "serial number"),
        ({"id": None}, "has no id"),
        ({"expires": "2020-01-01"}, "expires"),
    ],
)
def test_what_is_not_published(members: dict[str, Any], why: str, world: World) -> None:
    trust = Trust(world, f"oci:{world.root}/trust:current")
    value = json.loads(trust.file.read_text()) | members
    trust.file.write_text(json.dumps({key: item for key, item in value.items() if item is not None}))
    ran = trust.push()
    assert ran.code in (2, 3)
    assert why in ran.err
    assert not (world.root / "trust").exists()


def test_a_serial_number_is_given_once(trust: Trust) -> None:
    value = json.loads(trust.file.read_text())
    trust.file.write_text(json.dumps(value | {"expires": "2099-01-01T00:00:00Z"}))
    ran = trust.push()
    assert (ran.code, '"serial": 2' in ran.err) == (2, True)
    trust.file.write_text(json.dumps(value | {"serial": 2, "id": "dev"}))
    assert "is the policy 'prod'" in trust.push().err
    assert run("policy", "push", trust.file, trust.world.ref, "--key", trust.root / "root-a.key").code == 2


# --- attacks --------------------------------------------------------------------------------------------------


def test_an_older_policy_put_back_is_refused(trust: Trust) -> None:
    shutil.copytree(trust.root / "trust", trust.root / "old")
    trust.change(revoked={"digests": [{"digest": trust.world.digest, "reason": "leaked"}]})
    assert (trust.push().code, trust.verify().code) == (0, 16)
    swap(trust, "old")
    ran = trust.verify("--json")
    document = check(ran.document)
    assert (ran.code, document["class"], document["reasons"][0]["reason"]) == (18, "lifecycle", "rollback")
    assert trust.verify("--offline").code == 16, "what it knows, it still knows"
    # A node that has seen nothing cannot know better.
    shutil.rmtree(os.environ["OCIMODEL_STATE_DIR"])
    assert trust.verify().code == 0


def test_another_policy_of_the_same_serial_is_refused(trust: Trust) -> None:
    assert trust.verify().code == 0
    shutil.rmtree(trust.root / "trust")
    value = json.loads(trust.file.read_text())
    trust.file.write_text(json.dumps(value | {"expires": "2099-01-01T00:00:00Z"}))
    assert trust.push().code == 0
    assert trust.verify().code == 18


def test_another_policy_of_the_same_roots_is_refused(trust: Trust) -> None:
    assert trust.verify().code == 0
    shutil.rmtree(trust.root / "trust")
    trust.change(id="sandbox")
    assert trust.push().code == 0
    ran = trust.verify()
    assert (ran.code, "'sandbox'" in ran.err) == (12, True)
    trust.configure(id="prod")
    assert trust.verify().code == 12
    trust.configure(id="sandbox")
    assert trust.verify().code == 0


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (None, 10),
        ("root-c", 12),
        ("alice", 12),
    ],
)
def test_what_no_root_signed_is_refused(key: str | None, code: int, trust: Trust) -> None:
    assert trust.verify().code == 0
    shutil.rmtree(trust.root / "trust")
    trust.change()
    assert trust.push(key=key or "root-c").code == 0
    if key is None:
        unsign(trust.root / "trust")
    assert trust.verify().code == code
    assert trust.verify("--offline").code == 0


def test_a_model_that_a_root_signed_is_no_policy(trust: Trust) -> None:
    place = f"oci:{trust.root}/trust:current"
    assert run("push", trust.world.model, place, "--key", trust.root / "root-a.key").code == 0
    ran = trust.verify()
    assert (ran.code, "is no policy" in ran.err) == (14, True)


def test_a_flipped_byte_of_a_policy(trust: Trust) -> None:
    for blob in (trust.root / "trust/blobs/sha256").iterdir():
        data = blob.read_bytes()
        if b'"scopes"' in data:
            blob.chmod(0o600)
            blob.write_bytes(data.replace(b"enforce", b"audit  "))
    assert trust.verify().code == 14


def test_a_root_signature_that_has_ended_is_stale_trust(trust: Trust) -> None:
    trust.change()
    assert trust.push("--expires", "1s").code == 0
    trust.change()
    assert trust.push("--expires", "1s").code == 0
    code = 0
    until = datetime.now(UTC) + timedelta(seconds=30)
    while code == 0 and datetime.now(UTC) < until:
        code = trust.verify().code
    assert code == 21
    assert trust.push("--expires", "1h").code == 0
    assert trust.verify().code == 0, "a new signature over the same policy is looked for"


@pytest.mark.peer
def test_attacks_in_real_registries(
    real_registry: RealRegistry, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may push to where the policy is moves the tag to what he likes."""
    hosts = [real_registry.host]
    if real_registry.issuer is not None:
        hosts.append(real_registry.issuer.realm.split("/")[2])
    monkeypatch.setenv("OCIMODEL_PLAIN_HTTP", " ".join(hosts))
    trust = Trust(world, f"{real_registry.fresh('trust')}:current", threshold=2)
    reference = Reference.parse(trust.place)

    def publish() -> str:
        trust.push("--source", trust.source)
        done = trust.push("--source", trust.source, key="root-b")
        assert (done.code, done.err) == (0, "")
        return done.out.strip().partition("@")[2]

    def point_at(digest: str) -> None:
        with open_store(reference, Access(plain_http=frozenset(hosts))) as store:
            subject, raw = store.get_manifest(digest)
            store.put_manifest(raw, subject.media_type, tag="current")

    first = publish()
    assert trust.verify().code == 0
    trust.change(revoked={"digests": [{"digest": world.digest, "reason": "leaked"}]})
    second = publish()
    assert trust.verify().code == 16
    point_at(first)
    assert trust.verify().code == 18
    value = json.loads(trust.file.read_text())
    trust.file.write_text(json.dumps(value | {"serial": 9, "revoked": {"digests": []}}))
    one = trust.push("--source", trust.source)
    point_at(one.out.strip().partition("@")[2])
    assert trust.verify().code == 12, "one root of two"
    unsigned = trust.file.read_bytes().replace(b'"serial": 9', b'"serial": 8')
    layer = Descriptor(media_type=media.POLICY, digest=Digest.of(unsigned), size=len(unsigned))
    with open_store(reference, Access(plain_http=frozenset(hosts))) as store:
        store.put_blob(Source.of(unsigned), layer.digest)
        raw = manifest_bytes(config=EMPTY, layers=[layer], artifact_type=media.POLICY)
        store.put_manifest(raw, media.OCI_MANIFEST, tag="current")
    assert trust.verify().code == 10
    point_at(second)
    assert trust.verify().code == 16


def test_processes_at_once_remember_the_newest(trust: Trust) -> None:
    def look() -> None:
        codes.append(trust.verify().code)

    codes: list[int] = []
    for serial in range(2, 6):
        trust.change()
        assert trust.push().code == 0
        threads = [threading.Thread(target=look) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        kept = json.loads(base64.b64decode(json.loads(trust.kept().read_text())["policy"]))
        assert kept["serial"] == serial
    assert set(codes) == {0}


# --- the network is cut ---------------------------------------------------------------------------------------


@pytest.fixture(params=["distribution", "referrers"])
def stoppable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A registry of each kind: its host, and what stops it."""
    with ExitStack() as stack:
        if request.param == "distribution":
            host = stack.enter_context(docker_registry(tmp_path / "registry")).host
        else:
            program, log = peer("referrers-registry"), tmp_path / "log"
            root = tmp_path / "registry"
            host = stack.enter_context(server(lambda port: [program, "-dir", root, "-port", str(port)], log=log))
        yield host, stack.close


@pytest.mark.peer
def test_a_node_that_is_cut_off_decides_the_same(
    world: World, stoppable: tuple[str, Callable[[], None]], tmp_path: Path
) -> None:
    host, stop = stoppable
    trust = Trust(world, f"{host}/trust/prod:current", threshold=2, maxAge="7d")
    good, bad = f"{host}/models/good:v1", f"{host}/models/bad:v1"
    assert run("push", world.model, good, "--key", world.key).code == 0
    (world.model / "README.md").write_text("another one")
    pushed = run("push", world.model, bad, "--key", world.key)
    for name in ("good", "bad"):
        assert run("pull", f"{host}/models/{name}:v1", "-o", tmp_path / name, "--key", world.pub).code == 0
    digest = pushed.out.strip().partition("@")[2]
    trust.change(revoked={"digests": [{"digest": digest, "reason": "leaked"}]})
    trust.push("--source", trust.source)
    assert trust.push("--source", trust.source, key="root-b").code == 0

    def decide() -> list[int]:
        return [run("verify", tmp_path / name, "--policy", trust.source).code for name in ("good", "bad")]

    assert decide() == [0, 16]
    stop()
    assert decide() == [0, 16]
    ran = run("verify", tmp_path / "good", "--policy", trust.source)
    assert "cannot be asked" in ran.err
    assert "serial number 2" in ran.err
    offline = run("verify", tmp_path / "good", "--policy", trust.source, "--offline")
    assert (offline.code, "not to be used" in offline.err) == (0, True)

    confirmed_before(trust, timedelta(days=6))
    assert decide() == [0, 16]
    confirmed_before(trust, timedelta(days=8))
    assert decide() == [21, 16], "too old to accept by; what was revoked stays so"
    confirmed_before(trust, timedelta(days=-1))
    assert decide() == [21, 16], "a time to come says nothing of its age"
    shutil.rmtree(os.environ["OCIMODEL_STATE_DIR"])
    assert run("verify", tmp_path / "good", "--policy", trust.source).code in (11, 75)


def test_the_policy_itself_ends(trust: Trust) -> None:
    trust.change(expires=format_time(datetime.now(UTC) - timedelta(days=1)))
    assert trust.push().code == 0
    assert trust.verify().code == 21


# --- what is kept ---------------------------------------------------------------------------------------------


def test_what_was_kept_is_judged_anew(trust: Trust) -> None:
    assert trust.verify().code == 0
    trust.configure(roots=("root-b",))
    shutil.rmtree(trust.root / "trust")
    ran = trust.verify()
    assert ran.code == 11, "its roots are others now"
    assert "kept none that counts" in ran.err


def test_what_was_kept_and_changed_is_refused(trust: Trust) -> None:
    assert trust.verify().code == 0
    shutil.rmtree(trust.root / "trust")
    path = trust.kept()
    value = json.loads(path.read_text())
    policy = base64.b64decode(value["policy"]).replace(b"enforce", b"audit  ")
    path.write_text(json.dumps(value | {"policy": base64.b64encode(policy).decode()}))
    assert trust.verify().code == 14
    path.write_text("{}")
    ran = trust.verify()
    assert (ran.code, "is damaged" in ran.err) == (74, True)


def test_a_node_that_cannot_remember_says_so(trust: Trust) -> None:
    place = keptpolicy.folder(Path(os.environ["OCIMODEL_STATE_DIR"]), trust.place)
    (place / ".policy.json.lock").mkdir(parents=True, mode=0o700)  # no disk is read-only to root
    place.chmod(0o700)
    ran = trust.verify()
    assert (ran.code, "cannot remember" in ran.err) == (0, True)


def test_a_place_that_others_may_write_is_not_used(trust: Trust) -> None:
    assert trust.verify().code == 0
    trust.kept().parent.chmod(0o777)
    assert trust.verify().code == 74


# --- the file -------------------------------------------------------------------------------------------------

PEM = ALICE.public.to_pem().decode()


def read(name: str) -> bytes:
    assert name in ("a.pub", "root.json")
    return ALICE.public.to_pem()


def test_what_a_source_says() -> None:
    said = {"source": "registry.example/trust:x", "rootKeys": ["a.pub"], "maxAge": "7d", "id": "prod", "version": 1}
    found = parse(json.dumps(said).encode(), read)
    assert isinstance(found, OciSource)
    assert (found.threshold, found.max_age, found.id) == (1, timedelta(days=7), "prod")
    tuf = parse(b'{"source": "tuf+https://t.example/x/", "root": "root.json"}', read)
    assert isinstance(tuf, TufSource)
    assert (tuf.url, tuf.target) == ("https://t.example/x", "policy.json")


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"source": "registry.example/trust"}, "rootKeys"),
        ({"source": "registry.example/trust", "rootKeys": []}, "rootKeys"),
        ({"source": "registry.example/trust", "rootKeys": ["a.pub", PEM]}, r"rootKeys\[1\]"),
        ({"source": "registry.example/trust", "rootKeys": ["a.pub"], "threshold": 2}, "threshold"),
        ({"source": "registry.example/trust", "rootKeys": ["a.pub"], "threshold": 0}, "threshold"),
        ({"source": "registry.example/trust", "rootKeys": [PEM], "root": "root.json"}, "root"),
        ({"source": "registry.example/trust", "rootKeys": [PEM], "maxAge": "a week"}, "maxAge"),
        ({"source": f"registry.example/trust@sha256:{'0' * 64}", "rootKeys": [PEM]}, "source"),
        ({"source": "oci:trust", "rootKeys": [PEM]}, "source"),
        ({"source": "not a reference", "rootKeys": [PEM]}, "source"),
        ({"source": "registry.example/trust", "rootKeys": [PEM], "version": 2}, "version"),
        ({"source": "tuf+https://t.example"}, "root"),
        ({"source": "tuf+ftp://t.example", "root": "root.json"}, "source"),
        ({"source": "tuf+https://t.example?x", "root": "root.json"}, "source"),
        ({"source": "tuf+https://t.example", "root": "root.json", "target": "../x"}, "target"),
        ({"source": "tuf+https://t.example", "root": "root.json", "rootKeys": [PEM]}, "rootKeys"),
    ],
)
def test_what_is_no_source(said: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigurationError, match=f": {path}:") as caught:
        parse(json.dumps(said).encode(), read)
    assert caught.value.exit_code == 3


def test_a_source_is_not_a_policy_to_change(trust: Trust) -> None:
    ran = run("revoke", "key", "alice", "--policy", trust.source, "--reason", "x")
    assert (ran.code, "policy push" in ran.err) == (2, True)


# --- helpers --------------------------------------------------------------------------------------------------


def swap(trust: Trust, other: str) -> None:
    shutil.rmtree(trust.root / "trust")
    shutil.copytree(trust.root / other, trust.root / "trust")


def unsign(layout: Path) -> None:
    """Take everything away that refers to something."""
    index = layout / "index.json"
    value = json.loads(index.read_text())
    value["manifests"] = [
        item for item in value["manifests"] if "org.opencontainers.image.ref.name" in item.get("annotations", {})
    ]
    index.write_text(json.dumps(value))


def confirmed_before(trust: Trust, ago: timedelta) -> None:
    path = trust.kept()
    value = json.loads(path.read_text())
    value["checkedAt"] = format_time(datetime.now(UTC) - ago)
    path.write_text(json.dumps(value))
