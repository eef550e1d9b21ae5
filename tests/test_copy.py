"""Copy between stores of every kind: the same bytes under the same digest, all that refers to it, nothing twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ocimodel.errors import DigestMismatchError, NotFoundError
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import index_bytes, manifest_bytes
from ocimodel.oci.reference import Reference
from ocimodel.stores.http.policy import Patience
from ocimodel.stores.memory import MemoryStore
from ocimodel.stores.protocol import Source, Store
from ocimodel.stores.registry import open_registry
from ocimodel.transfer import replica
from ocimodel.transfer.closure import ALL, NONE, Closure, Wanted, closure_of
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.relay import SMALL, relay
from ocimodel.transfer.replica import Route
from tests.commands import Ran, run
from tests.documents import check
from tests.hostile import HostileRegistry, Switches
from tests.hostile.messages import Drop, Reply, Request
from tests.models import make_model, weights
from tests.store_backends import EMPTY, layout_store, put_empty, put_note, registry_store
from tests.test_imports import imported

KINDS = ("memory", "layout", "hostile-api", "hostile-fallback")
BIG = weights(3 * SMALL + 17, "big")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


def make(kind: str, place: Path, stack: ExitStack) -> Store:
    if kind == "memory":
        return MemoryStore(f"memory/{place.name}")
    if kind == "layout":
        return layout_store(str(place))
    registry = HostileRegistry(Switches(referrers="api" if kind == "hostile-api" else "404"))
    store = registry_store(f"{stack.enter_context(registry).host}/copy/{place.name}", 0.005)
    stack.callback(store.close)
    return store


def blob(store: Store, data: bytes, kind: str = "application/octet-stream") -> Descriptor:
    found = Descriptor(media_type=kind, digest=Digest.of(data), size=len(data))
    store.put_blob(Source.of(data), found.digest)
    return found


def put(store: Store, *layers: Descriptor, tag: str | None = None, **more: Any) -> Descriptor:
    put_empty(store)
    return store.put_manifest(manifest_bytes(config=EMPTY, layers=layers, **more), media.OCI_MANIFEST, tag=tag)


def put_legacy(store: Store, subject: Digest, ending: str, *texts: str) -> Descriptor:
    layers = [blob(store, text.encode(), media.COSIGN_PAYLOAD) for text in texts]
    return put(store, *layers, tag=f"{subject.algorithm}-{subject.hex}.{ending}")


def put_everything(store: Store) -> Descriptor:
    """An index of two artifacts; a signature of one of them, an attestation of that, and legacy tags."""
    first = put(store, blob(store, BIG), blob(store, b"small"))
    second = put(store, blob(store, b"another"), blob(store, b"small"))
    raw = index_bytes([first, second])
    root = store.put_manifest(raw, media.OCI_INDEX, tag="v1")
    note = put_note(store, first, "about the first")
    put_note(store, note, "about the note")
    put_note(store, root, "about the index", "application/vnd.example.other")
    put_legacy(store, root.digest, "sig", "one", "two")
    put_legacy(store, second.digest, "att", "three")
    return root


def everything(store: Store, tag: str = "v1") -> Closure:
    root, raw = store.get_manifest(tag)
    return closure_of(store, root, raw)


def carry(source: Store, target: Store, *, wanted: Wanted = ALL, mount: str | None = None) -> replica.Tally:
    root, raw = source.get_manifest("v1")
    found = closure_of(source, root, raw, wanted)
    route = Route(source=source, target=target, known=set(), mount=mount)
    done = replica.send(route, replica.plan(route, found), Meter())
    replica.tag(route, found, ["v1"])
    return done


def summary(found: Closure) -> dict[str, set[Any]]:
    return {
        "root": {found.root.digest},
        "pieces": {piece.descriptor.digest for piece in found.pieces},
        "legacy": {(item.tag, item.piece.descriptor.digest) for item in found.legacy},
        "blobs": {item.digest for item in found.blobs()},
    }


# --- the same bytes, everywhere ---------------------------------------------------------------------------------


@pytest.mark.parametrize("to", KINDS)
@pytest.mark.parametrize("by", KINDS)
def test_everything_arrives_under_the_same_digest(by: str, to: str, tmp_path: Path, stack: ExitStack) -> None:
    source, target = make(by, tmp_path / "source", stack), make(to, tmp_path / "target", stack)
    root = put_everything(source)
    done = carry(source, target)
    assert (done.mounted, done.manifests, done.legacy) == (0, 6, 2)
    assert target.get_manifest("v1") == source.get_manifest("v1")
    assert target.resolve("v1").digest == root.digest
    there = everything(target)
    assert summary(there) == summary(everything(source))
    assert all(target.has_blob(item) for item in there.blobs())
    assert target.tags() == ["v1"]


@pytest.mark.parametrize("to", KINDS)
def test_a_second_copy_writes_nothing(to: str, tmp_path: Path, stack: ExitStack) -> None:
    source, target = make("layout", tmp_path / "source", stack), make(to, tmp_path / "target", stack)
    put_everything(source)
    carry(source, target)
    assert carry(source, target) == replica.Tally()


def test_subjects_come_before_what_refers_to_them(tmp_path: Path, stack: ExitStack) -> None:
    source = make("layout", tmp_path / "source", stack)
    root = put_everything(source)
    before: set[Digest] = set()
    for piece in everything(source).pieces:
        assert {child.digest for child in piece.children} <= before
        assert piece.subject is None or piece.subject in before
        before.add(piece.descriptor.digest)
    assert root.digest in before


# --- what crosses the network -----------------------------------------------------------------------------------


def test_within_one_registry_no_blob_moves(stack: ExitStack) -> None:
    registry = stack.enter_context(HostileRegistry())
    source, target = (registry_store(f"{registry.host}/{name}", 0.005) for name in ("dev/model", "prod/model"))
    put_everything(source)
    registry.forget()
    done = carry(source, target, mount="dev/model")
    assert (done.sent, done.mounted) == (0, 7)
    assert registry.count("GET", "blob") == 0
    assert {request.received for request in registry.seen("POST")} == {0}
    assert not registry.seen("PATCH")
    assert summary(everything(target)) == summary(everything(source))


@pytest.mark.parametrize("mount", ["no", "error"])
def test_a_registry_that_cannot_mount_gets_the_bytes(mount: Any, stack: ExitStack) -> None:
    registry = stack.enter_context(HostileRegistry(Switches(mount=mount)))
    source, target = (registry_store(f"{registry.host}/{name}", 0.005) for name in ("dev/model", "prod/model"))
    put_everything(source)
    done = carry(source, target, mount="dev/model")
    assert (done.sent, done.mounted) == (7, 0)
    assert summary(everything(target)) == summary(everything(source))


def test_between_two_registries_each_blob_crosses_once(stack: ExitStack) -> None:
    here, there = stack.enter_context(HostileRegistry()), stack.enter_context(HostileRegistry())
    source, target = (registry_store(f"{registry.host}/m/x", 0.005) for registry in (here, there))
    put_everything(source)
    here.forget()
    carry(source, target)
    got = [request.target for request in here.seen("GET", "blob")]
    assert len(got) == len(set(got)) == 7
    total = sum(item.size for item in everything(source).blobs())
    assert here.sent("blob") == there.received("upload") == total
    asked = [request.target for request in there.seen("HEAD", "blob")]
    assert len(set(asked)) == 7
    # Before it is sent, once; and once more where the answer to a large one may not be believed.
    assert sorted(asked) == sorted([*set(asked), str(Digest.of(BIG))])


def test_blobs_that_the_target_has_are_not_read(stack: ExitStack) -> None:
    here, there = stack.enter_context(HostileRegistry()), stack.enter_context(HostileRegistry())
    source, target = (registry_store(f"{registry.host}/m/x", 0.005) for registry in (here, there))
    put_everything(source)
    target.put_blob(Source.of(BIG))
    here.forget()
    assert carry(source, target).sent == 6
    assert str(Digest.of(BIG)) not in [request.target for request in here.seen("GET", "blob")]


def test_a_stream_that_breaks_off_is_taken_up_where_it_broke(stack: ExitStack) -> None:
    here, there = stack.enter_context(HostileRegistry()), stack.enter_context(HostileRegistry())
    source, target = (registry_store(f"{registry.host}/m/x", 0.005) for registry in (here, there))
    put_everything(source)
    here.forget()
    here.fail(Drop(sent=2 * SMALL), route="blob", method="GET", target=str(Digest.of(BIG)), times=1)
    carry(source, target)
    first, second = (item for item in here.seen("GET", "blob") if item.target == str(Digest.of(BIG)))
    assert "range" not in first.headers
    assert int(second.headers["range"].removeprefix("bytes=").split("-")[0]) > 0
    puts = [item for item in there.seen("PUT", "upload") if item.received == len(BIG)]
    assert len(puts) == 1


def test_a_target_that_breaks_off_is_sent_the_rest(stack: ExitStack) -> None:
    """And the source is read again from near there, not from its beginning."""
    here, there = stack.enter_context(HostileRegistry()), stack.enter_context(HostileRegistry())
    source, target = (registry_store(f"{registry.host}/m/x", 0.005) for registry in (here, there))
    data = weights(60 * SMALL, "very big")
    large = blob(source, data)
    here.forget()
    there.fail(Drop(received=50 * SMALL), route="upload", method="PUT", times=1)
    relay(source, target, large, lambda _count: None)
    assert there.blobs[str(large.digest)] == data
    assert there.received("upload") == len(data)
    assert here.sent("blob") < 90 * SMALL


def test_a_source_without_ranges_is_read_past_what_came(stack: ExitStack) -> None:
    here = stack.enter_context(HostileRegistry(Switches(ranges="ignored")))
    source, target = registry_store(f"{here.host}/m/x", 0.005), MemoryStore("memory")
    put_everything(source)
    here.fail(Drop(sent=2 * SMALL), route="blob", method="GET", target=str(Digest.of(BIG)), times=1)
    carry(source, target)
    assert summary(everything(target)) == summary(everything(source))


def test_many_referrers_are_listed_together(stack: ExitStack) -> None:
    """Each write of a list is waited for; forty signatures are no forty such waits."""
    source, there = MemoryStore("memory"), stack.enter_context(HostileRegistry(Switches(referrers="404")))
    target = registry_store(f"{there.host}/m/x", 0.005)
    root = put(source, blob(source, b"model"), tag="v1")
    for number in range(40):
        put_note(source, root, str(number))
    carry(source, target)
    assert len(target.referrers(root.digest).entries) == 40
    tag = f"sha256-{root.digest.hex}"
    assert len([request for request in there.seen("PUT", "manifest") if request.target == tag]) <= 30
    assert carry(source, target) == replica.Tally()


def test_nobody_is_waited_for_where_an_artifact_arrives(stack: ExitStack) -> None:
    """Lists of what the target did not have are written at once; lists of what it had are watched, as always."""
    source, there = MemoryStore("memory"), stack.enter_context(HostileRegistry(Switches(referrers="404")))
    waits: list[float] = []
    reference = Reference.parse(f"{there.host}/m/x")
    target = open_registry(reference, plain_http=frozenset({there.host}), patience=Patience(sleep=waits.append))
    stack.callback(target.close)
    root = put(source, blob(source, b"model"), tag="v1")
    for number in range(3):
        put_note(source, root, str(number))
    carry(source, target)
    assert waits == []
    put_note(source, root, "later")
    carry(source, target)
    assert waits
    assert len(target.referrers(root.digest).entries) == 4


# --- what is wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [BIG, b"small"], ids=["large", "small"])
def test_a_blob_that_is_not_its_digest_is_refused_and_nothing_is_tagged(data: bytes, stack: ExitStack) -> None:
    here, there = stack.enter_context(HostileRegistry()), stack.enter_context(HostileRegistry())
    source, target = (registry_store(f"{registry.host}/m/x", 0.005) for registry in (here, there))
    put_everything(source)
    here.only.flip(str(Digest.of(data)), 3)
    with pytest.raises(DigestMismatchError, match=str(Digest.of(data))):
        carry(source, target)
    assert there.repository("m/x").manifests == {}
    assert str(Digest.of(data)) not in there.repository("m/x").blobs


@pytest.mark.parametrize("data", [BIG, b"small"], ids=["large", "small"])
def test_a_blob_that_the_source_does_not_have(data: bytes, stack: ExitStack) -> None:
    here, there = stack.enter_context(HostileRegistry()), stack.enter_context(HostileRegistry())
    source, target = (registry_store(f"{registry.host}/m/x", 0.005) for registry in (here, there))
    put_everything(source)
    del here.only.blobs[str(Digest.of(data))]
    with pytest.raises(NotFoundError, match=f"{source.name} does not have {Digest.of(data)}, which its manifest"):
        carry(source, target)
    assert there.repository("m/x").manifests == {}


@pytest.mark.parametrize(
    "kind",
    [
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ],
)
def test_a_foreign_layer_that_is_kept_elsewhere(kind: str, stack: ExitStack) -> None:
    here, target = stack.enter_context(HostileRegistry(Switches(check_blobs=False))), MemoryStore("memory")
    source = registry_store(f"{here.host}/m/x", 0.005)
    foreign = Descriptor(media_type=kind, digest=Digest.of(b"elsewhere"), size=9)
    put(source, foreign, tag="v1")
    with pytest.raises(NotFoundError, match="is kept outside"):
        carry(source, target)
    blob(source, b"elsewhere")
    carry(source, target)
    assert target.has_blob(foreign)


def test_a_sparse_index(stack: ExitStack) -> None:
    source = MemoryStore("memory")
    gone = Descriptor(media_type=media.OCI_MANIFEST, digest=Digest.of(b"gone"), size=4)
    source.put_manifest(index_bytes([gone]), media.OCI_INDEX, tag="v1")
    with pytest.raises(NotFoundError, match="lists sha256:"):
        carry(source, MemoryStore("target"))


def test_referrers_that_are_only_listed_are_left_out_and_said(stack: ExitStack) -> None:
    registry = stack.enter_context(HostileRegistry())
    source = registry_store(f"{registry.host}/m/x", 0.005)
    root = put(source, blob(source, b"x"), tag="v1")
    put_note(source, root, "good")
    registry.only.garbage(str(root.digest), 3, real=False)
    target = MemoryStore("memory")
    found = everything(source)
    assert len(found.warnings) == 3
    carry(source, target)
    assert len(target.referrers(root.digest).entries) == 1


def test_a_list_of_referrers_of_something_else(stack: ExitStack) -> None:
    """A registry lists an artifact's referrer under another artifact as well."""
    registry = stack.enter_context(HostileRegistry())
    source = registry_store(f"{registry.host}/m/x", 0.005)
    other = put(source, blob(source, b"y"))
    note = put_note(source, other, "about another")
    root = put(source, blob(source, b"x"), tag="v1")
    registry.only.referrers[str(root.digest)] = dict(registry.only.referrers[str(other.digest)])
    target = MemoryStore("memory")
    carry(source, target)
    with pytest.raises(NotFoundError):
        target.resolve(note.digest)


# --- which referrers --------------------------------------------------------------------------------------------


def test_filters(tmp_path: Path, stack: ExitStack) -> None:
    source = make("layout", tmp_path / "source", stack)
    put_everything(source)
    for wanted, manifests, legacy in [
        (NONE, 3, 0),
        (Wanted(("application/vnd.example.other",)), 4, 0),
        (Wanted(("application/vnd.example.n*",)), 5, 0),  # what refers to the note comes with it
        (Wanted(("*cosign*sig*",)), 3, 1),
        (ALL, 6, 2),
    ]:
        done = carry(source, MemoryStore("memory"), wanted=wanted)
        assert (done.manifests, done.legacy) == (manifests, legacy), wanted


# --- cosign's tags ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", KINDS)
def test_signatures_that_the_target_has_stay(to: str, tmp_path: Path, stack: ExitStack) -> None:
    source, target = MemoryStore("memory"), make(to, tmp_path / "target", stack)
    root = put(source, blob(source, b"model"), tag="v1")
    put_legacy(source, root.digest, "sig", "one", "two")
    put_legacy(target, root.digest, "sig", "zero", "two")
    assert carry(source, target).legacy == 1
    tag = f"sha256-{root.digest.hex}.sig"
    document = json.loads(target.get_manifest(tag)[1])
    assert [layer["digest"] for layer in document["layers"]] == [
        str(Digest.of(text)) for text in (b"zero", b"two", b"one")
    ]
    assert carry(source, target).legacy == 0
    put_legacy(source, root.digest, "sig", "one", "two", "zero", "three")
    assert carry(source, target).legacy == 1
    assert len(json.loads(target.get_manifest(tag)[1])["layers"]) == 4


# --- the command ------------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path, stack: ExitStack) -> World:
    return World(tmp_path, stack.enter_context(HostileRegistry()), stack.enter_context(HostileRegistry()))


class World:
    """Two registries, the first one with a model, signed by ``key``."""

    def __init__(self, root: Path, here: HostileRegistry, there: HostileRegistry) -> None:
        self.root, self.here, self.there = root, here, there
        self.key, self.pub = root / "a.key", root / "a.pub"
        for name in ("a", "other"):
            assert run("key", "generate", root / name, "--no-password").code == 0
        self.model = make_model(root / "model", gguf=False)
        self.source = f"{here.host}/dev/tiny"
        self.target = f"{there.host}/prod/tiny"
        pushed = run("push", self.model, f"{self.source}:v1", "--key", self.key, "--tag", "v2")
        assert pushed.code == 0, pushed.err
        self.digest = pushed.out.strip().partition("@")[2]

    def copy(self, *words: str | Path) -> Ran:
        return run("copy", *words)


def test_it_prints_what_the_target_is(world: World) -> None:
    ran = world.copy(f"{world.source}:v1", world.target)
    assert (ran.code, ran.out) == (0, f"{world.target}:v1@{world.digest}\n")
    assert run("verify", f"{world.target}:v1", "--key", world.pub, "--full").code == 0
    renamed = world.copy(f"{world.source}:v1", f"{world.target}:stable")
    assert renamed.out == f"{world.target}:stable@{world.digest}\n"
    pinned = world.copy(f"{world.source}@{world.digest}", f"oci:{world.root}/lay", "--json")
    assert check(pinned.document)["copies"][0]["target"] == f"oci:{world.root}/lay@{world.digest}"
    assert run("list", f"oci:{world.root}/lay").out == ""
    assert run("verify", f"oci:{world.root}/lay@{world.digest}", "--key", world.pub).code == 0


def test_what_it_says_in_json(world: World) -> None:
    document = check(world.copy(f"{world.source}:v1", world.target, "--json").document)
    (copied,) = document["copies"]
    assert document["reference"] == copied["target"] == f"{world.target}:v1@{world.digest}"
    assert copied["sentBytes"] == copied["missingBytes"] == world.there.received("upload")
    assert (copied["verified"], copied["referrers"], copied["unchanged"]) == (False, 2, False)
    again = check(world.copy(f"{world.source}:v1", world.target, "--json").document)["copies"][0]
    assert (again["unchanged"], again["sentBlobs"], again["presentBytes"]) == (True, 0, copied["sentBytes"])


def test_a_dry_run_writes_nothing(world: World) -> None:
    ran = world.copy(f"{world.source}:v1", world.target, "--dry-run")
    assert ran.code == 0, ran.err
    assert "nothing written" in ran.out
    document = check(world.copy(f"{world.source}:v1", world.target, "--dry-run", "--json").document)
    assert document["copies"][0]["missingBytes"] > 0
    assert {request.method for request in world.there.requests} <= {"GET", "HEAD"}
    assert world.copy(f"{world.source}:v1", f"oci:{world.root}/lay", "--dry-run").code == 0
    assert not (world.root / "lay").exists()


def test_all_tags(world: World) -> None:
    ran = world.copy(world.source, world.target, "--all-tags")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines() == [f"{world.target}:{tag}@{world.digest}" for tag in ("v1", "v2")]
    got = [request.target for request in world.here.seen("GET", "blob")]
    assert len(got) == len(set(got))


def test_a_list_of_references(world: World, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text(f"# both\n{world.source}:v1\n\n{world.source}:v2 {world.there.host}/elsewhere:x\n")
    ran = world.copy("--from-file", file, f"{world.there.host}/mirror")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines() == [
        f"{world.there.host}/mirror/dev/tiny:v1@{world.digest}",
        f"{world.there.host}/elsewhere:x@{world.digest}",
    ]
    assert world.copy("--from-file", file).code == 2


def test_many_are_told_in_order_and_the_last_one_wins(world: World, tmp_path: Path) -> None:
    lines, digests = [], []
    for number in range(12):
        name = f"{world.here.host}/dev/m{number}:v1"
        (world.model / "number.txt").write_text(str(number))
        digests.append(run("push", world.model, name, "--key", world.key).out.strip().partition("@")[2])
        lines.append(f"{name} {world.there.host}/x/m:{'same' if number % 3 else number}\n")
    file = tmp_path / "list.txt"
    file.write_text("".join(lines))
    ran = world.copy("--from-file", file)
    assert ran.code == 0, ran.err
    assert [line.partition("@")[2] for line in ran.out.splitlines()] == digests
    assert world.there.repository("x/m").tags["same"] == digests[-1]
    assert len(world.there.repository("x/m").tags) == 5


def test_one_that_is_refused_does_not_keep_the_others(world: World, tmp_path: Path) -> None:
    unsigned = run("push", world.model, f"{world.here.host}/dev/unsigned:v1")
    assert unsigned.code == 0
    file = tmp_path / "list.txt"
    names = ("unsigned:v1", "absent:v1", "tiny:v1")
    file.write_text("".join(f"{world.here.host}/dev/{name} {world.there.host}/x/{name}\n" for name in names))
    ran = world.copy("--from-file", file, "--key", world.pub, "--json")
    assert ran.code == 10
    document = check(ran.document)
    assert [copied["verified"] for copied in document["copies"]] == [True]
    assert [(failure["exitCode"], failure["reason"]) for failure in document["failures"]] == [
        (10, "unsigned"),
        (11, "not-found"),
    ]
    assert "2 of 3 not copied" in ran.err
    assert set(world.there.repositories) & {"x/unsigned", "x/absent"} == set()


def test_nothing_is_read_of_what_the_policy_refuses(world: World) -> None:
    world.here.forget()
    ran = world.copy(f"{world.source}:v1", world.target, "--key", world.root / "other.pub")
    assert ran.code == 12
    layers = {layer["digest"] for layer in json.loads(world.here.only.manifests[world.digest].raw)["layers"]}
    assert not layers & {request.target for request in world.here.seen("GET", "blob")}
    assert world.there.requests == []
    signed = world.copy(f"{world.source}:v1", world.target, "--key", world.pub, "--json")
    assert check(signed.document)["copies"][0]["verified"] is True
    assert signed.document["signers"][0]["status"] == "good"


def test_what_is_judged_and_carried_is_read_once(world: World) -> None:
    world.here.forget()
    assert world.copy(f"{world.source}:v1", world.target, "--key", world.pub).code == 0
    blobs = Counter(request.target for request in world.here.seen("GET", "blob"))
    manifests = Counter(request.target for request in world.here.seen("GET", "manifest"))
    assert len(blobs) > 4
    assert set(blobs.values()) == {1}
    assert {target for target, times in manifests.items() if times > 1 and target.startswith("sha256:")} == set()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("{source}:v1",), "needs SRC and DST"),
        (("{source}:v1", "{target}", "--verify"), "--verify needs"),
        (("{source}:v1", "{target}", "--as", "a.b/c"), "--as needs"),
        (("{source}:v1", "{target}", "--no-referrers", "--referrers", "x"), "exclude each other"),
        (("{source}:v1", "{target}", "--all-tags"), "copies a repository"),
        (("{source}:v1", "{target}@sha256:" + "0" * 64), "names another digest"),
        (("{source}:v1", "{target}:sha256-" + "0" * 64), "what refers to a manifest"),
        (("--from-file", "absent.txt"), "cannot read"),
    ],
)
def test_command_lines_that_cannot_be_meant(world: World, words: tuple[str, ...], text: str) -> None:
    ran = world.copy(*(word.format(source=world.source, target=world.target) for word in words))
    assert ran.code == 2
    assert text in ran.err
    assert world.there.requests == []


def test_a_server_that_is_down_ends_it_and_says_how_far_it_came(world: World) -> None:
    def down(request: Request) -> Reply | None:
        return Reply(403) if request.repository == "prod/second" else None

    world.there.on_request = down
    file = world.root / "list.txt"
    file.write_text(
        "".join(f"{world.source}:v1 {world.there.host}/prod/{name}:v1\n" for name in ("first", "second", "third"))
    )
    ran = world.copy("--from-file", file, "--json")
    assert ran.code == 77
    assert [copied["target"].split("@")[0] for copied in check(ran.document)["copies"]] == [
        f"{world.there.host}/prod/first:v1"
    ]
    assert "prod/third" not in world.there.repositories


def test_a_copy_that_nobody_judges_imports_nothing_that_judges(world: World) -> None:
    modules = imported("copy", f"{world.source}:v1", world.target)
    assert not {name for name in modules if name.startswith(("cryptography", "ocimodel.keys", "ocimodel.trust"))}
