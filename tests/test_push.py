"""Pushing: what goes where in which order, and what is not pushed at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ocimodel.errors import (
    ConfigurationError,
    IntegrityError,
    OcimodelError,
    StorageError,
    UnavailableError,
    UnsafePathError,
    UsageError,
)
from ocimodel.keys.public import PublicKey
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store
from ocimodel.trust.policy import TrustPolicy
from ocimodel.verbs.inspect import inspect, list_tags
from ocimodel.verbs.push import Pushed, push
from ocimodel.verbs.verify import verify_artifact
from tests.hostile import HostileRegistry, Reply, Request, Switches
from tests.models import make_model, weights
from tests.signers import ALICE, BOB

ACCESS = Access()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model", gguf=False)


@pytest.fixture
def layout(tmp_path: Path) -> Reference:
    return Reference.parse(f"oci:{tmp_path / 'layout'}:v1")


def pushing(registry: HostileRegistry, model: Path, name: str = "models/tiny:v1", **more: Any) -> Pushed:
    access = Access(plain_http=frozenset({registry.host}))
    return push(model, Reference.parse(f"{registry.host}/{name}"), access=access, **more)


# --- order ------------------------------------------------------------------------------------


def test_blobs_then_manifest_then_signature_then_tags(model: Path) -> None:
    with HostileRegistry() as registry:
        pushed = pushing(registry, model, signer=ALICE, extra_tags=["stable", "v1.0"])
        puts = [request for request in registry.seen("PUT") if request.route in ("upload", "manifest")]
    assert pushed.signature is not None
    targets = [request.target for request in puts if request.route == "manifest"]
    assert targets[0] == str(pushed.digest)
    assert targets.index(str(pushed.signature.signature.digest)) < targets.index("v1")
    assert sorted(targets[-3:]) == ["stable", "v1", "v1.0"]
    assert targets[-1] == "v1"
    first = next(at for at, request in enumerate(puts) if request.route == "manifest")
    model_blobs = {layer["digest"] for layer in json.loads(registry.manifests[str(pushed.digest)].raw)["layers"]}
    sent_later = {request.parameter("digest") for request in puts[first:] if request.route == "upload"}
    assert not model_blobs & sent_later


@dataclass(frozen=True)
class Broken:
    """A signer whose device does not answer."""

    public: PublicKey = ALICE.public

    def sign(self, message: bytes, *, pss: bool = False) -> bytes:
        raise UnavailableError("the device does not answer")


def test_a_signature_that_cannot_be_made_moves_no_tag(model: Path, layout: Reference) -> None:
    first = push(model, layout, access=ACCESS, signer=ALICE)
    (model / "config.json").write_text('{"model_type": "llama"}\n')
    with pytest.raises(UnavailableError):
        push(model, layout, access=ACCESS, signer=Broken())
    with open_store(layout, ACCESS) as store:
        assert store.resolve("v1").digest == first.digest


@pytest.mark.parametrize("route", ["upload", "manifest", "referrers"])
def test_a_registry_that_refuses_something_gets_no_tag(model: Path, route: str) -> None:
    with HostileRegistry() as registry:
        registry.fail(Reply(403), route=route)
        with pytest.raises(OcimodelError) as caught:
            pushing(registry, model, signer=ALICE)
        assert caught.value.exit_code == 77
        registry.rules.clear()
        assert registry.repository("models/tiny").tags == {}
        pushed = pushing(registry, model, signer=ALICE)
        assert registry.tags == {"v1": str(pushed.digest)}


@pytest.mark.parametrize("kind", ["manifest", "list"])
def test_a_registry_that_trips_over_two_who_push_the_same(model: Path, kind: str) -> None:
    """docker-registry 2.8 answers 400 DIGEST_INVALID while somebody else writes the same manifest or list; once."""
    body = json.dumps({"errors": [{"code": "DIGEST_INVALID", "message": "provided digest did not match"}]})
    stumbles: list[str] = []

    def stumble(request: Request) -> Reply | None:
        if request.method != "PUT" or request.route != "manifest" or stumbles:
            return None
        if (kind == "list") != (media.OCI_INDEX in request.headers.get("content-type", "")):
            return None
        stumbles.append(request.target)
        return Reply(400, {"Content-Type": "application/json"}, body.encode())

    with HostileRegistry(Switches(referrers="404")) as registry:
        registry.on_request = stumble
        pushed = pushing(registry, model, signer=ALICE)
        assert registry.tags["v1"] == str(pushed.digest)
        assert len(stumbles) == 1


# --- what is in it ----------------------------------------------------------------------------


def test_a_push_says_what_it_did(model: Path, layout: Reference) -> None:
    pushed = push(model, layout, access=ACCESS, signer=ALICE)
    files = [path for path in model.rglob("*") if path.is_file()]
    assert (pushed.files, pushed.total_bytes) == (len(files), sum(path.stat().st_size for path in files))
    assert str(pushed.reference) == f"{layout}@{pushed.digest}"
    assert pushed.signature is not None
    assert pushed.signature.created
    again = push(model, layout, access=ACCESS, signer=ALICE)
    assert (again.digest, again.sent_bytes) == (pushed.digest, 0)
    assert again.signature is not None
    assert not again.signature.created


def test_equal_files_are_one_blob(layout: Reference, tmp_path: Path) -> None:
    data = weights(200_000)
    for name in ("a.bin", "b.bin", "sub/c.bin"):
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_bytes(data)
    with HostileRegistry() as registry:
        pushing(registry, tmp_path / "model")
        pushing(registry, tmp_path / "model", name="models/tiny:v2")
        assert registry.received("upload") + registry.received("uploads") < 4 * len(data)
        assert sum(len(blob) for blob in registry.blobs.values()) < 2 * len(data)


def test_the_order_of_the_disk_and_times_say_nothing(model: Path, tmp_path: Path) -> None:
    digests = set()
    for number in range(2):
        copy = tmp_path / f"copy{number}"
        for path in sorted((path for path in model.rglob("*") if path.is_file()), reverse=bool(number)):
            target = copy / path.relative_to(model)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            target.chmod(0o600 if number else 0o755)
            os.utime(target, (number * 10**8, number * 10**8))
        digests.add(push(copy, Reference.parse(f"oci:{tmp_path}/layout{number}:v1"), access=ACCESS).digest)
    assert len(digests) == 1


def test_a_provenance_of_the_users_own(model: Path, layout: Reference) -> None:
    builder = "https://example.org/builders/gpu-7"
    predicate = {
        "buildDefinition": {"buildType": "https://example.org/training/v1", "externalParameters": {}},
        "runDetails": {"builder": {"id": builder}},
    }
    pushed = push(model, layout, access=ACCESS, provenance=json.dumps(predicate).encode())
    found = inspect(layout, ACCESS)
    assert found.provenance is not None
    assert found.provenance.builder == builder
    assert pushed.digest != push(model, layout, access=ACCESS).digest


@pytest.mark.parametrize("document", [b"", b"[]", b"{", b'{"a": 1, "a": 2}', b"\xff"])
def test_a_malformed_provenance_is_refused_before_a_byte_moves(model: Path, document: bytes) -> None:
    with HostileRegistry() as registry:
        with pytest.raises(ConfigurationError):
            pushing(registry, model, provenance=document)
        assert registry.received("upload") == 0


# --- what is not pushed ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"annotations": {"team": "vision"}}, UsageError),
        ({"expires": timedelta(days=1)}, UsageError),
        ({"signer": ALICE, "annotations": {media.CLAIM_EXPIRES: "2090-01-01T00:00:00Z"}}, UsageError),
        ({"signer": ALICE, "expires": timedelta(0)}, UsageError),
        ({"extra_tags": ["a b"]}, UsageError),
        ({"extra_tags": ["sha256-" + "0" * 64]}, UsageError),
    ],
    ids=["claims-unsigned", "expiry-unsigned", "reserved-claim", "expired-at-once", "bad-tag", "reserved-tag"],
)
def test_what_cannot_be_meant(model: Path, layout: Reference, more: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        push(model, layout, access=ACCESS, **more)


def test_a_digest_is_no_place_to_push_to(model: Path, layout: Reference) -> None:
    with pytest.raises(UsageError):
        push(model, layout.at(Digest.of(b"x")), access=ACCESS)


def test_a_directory_without_files(tmp_path: Path, layout: Reference) -> None:
    for directory in (tmp_path / "missing", tmp_path / "empty"):
        if directory.name == "empty":
            (directory / "below").mkdir(parents=True)
        with pytest.raises(UsageError):
            push(directory, layout, access=ACCESS)


def link(directory: Path) -> None:
    (directory / "secret.json").symlink_to("/etc/hostname")


def colliding(directory: Path) -> None:
    (directory / "readme.MD").write_text("another\n")


def unsafe(directory: Path) -> None:
    (directory / "a\nb.json").write_text("{}\n")


def pipe(directory: Path) -> None:
    os.mkfifo(directory / "pipe")


@pytest.mark.parametrize("spoil", [link, colliding, unsafe, pipe])
def test_a_file_that_cannot_travel(model: Path, layout: Reference, spoil: Callable[[Path], None]) -> None:
    spoil(model)
    with pytest.raises((UnsafePathError, UsageError)):
        push(model, layout, access=ACCESS)


def test_names_of_our_own_are_left_out(model: Path, layout: Reference) -> None:
    before = push(model, layout, access=ACCESS)
    for name in (".ocimodel/provenance.intoto.json", ".ocimodel-tmp-x/weights.bin", ".git/config"):
        (model / name).parent.mkdir()
        (model / name).write_text("x")
    assert push(model, layout, access=ACCESS).digest == before.digest


def test_a_list_of_referrers_is_not_pushed_over(model: Path, layout: Reference) -> None:
    """The tag under which a registry without the API lists another model's signatures."""
    with pytest.raises(UsageError):
        push(model, layout.tagged("sha256-" + "0" * 64), access=ACCESS)


def test_a_file_that_grows_while_it_is_sent(tmp_path: Path) -> None:
    """Whoever writes it meanwhile, the manifest never names bytes that nobody meant."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights.bin").write_bytes(weights(30 * 1024 * 1024))
    with HostileRegistry() as registry:

        def on_request(request: Any) -> None:
            if request.method == "PATCH" or (request.method == "PUT" and request.route == "upload"):
                with (model / "weights.bin").open("ab") as file:
                    file.write(b"more")

        registry.on_request = on_request
        with pytest.raises(IntegrityError):
            pushing(registry, model, signer=ALICE)
        assert registry.repository("models/tiny").tags == {}


def test_a_file_that_cannot_be_read(model: Path, layout: Reference) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (model / "config.json").chmod(0)
    with pytest.raises((StorageError, UsageError)):
        push(model, layout, access=ACCESS)


# --- tags ----------------------------------------------------------------------------------------


def test_tags_move_and_the_old_model_stays(model: Path, layout: Reference) -> None:
    first = push(model, layout, access=ACCESS, signer=ALICE, extra_tags=["stable"])
    (model / "config.json").write_text('{"model_type": "llama"}\n')
    second = push(model, layout, access=ACCESS, signer=BOB)
    assert list_tags(layout, ACCESS) == ("stable", "v1")
    with open_store(layout, ACCESS) as store:
        assert store.resolve("v1").digest == second.digest
        assert store.resolve("stable").digest == first.digest
    policy = TrustPolicy.of_keys([ALICE.public])
    assert verify_artifact(layout.tagged("stable"), policy=policy, access=ACCESS).digest == first.digest


def test_the_default_tag(model: Path, tmp_path: Path) -> None:
    pushed = push(model, Reference.parse(f"oci:{tmp_path / 'layout'}"), access=ACCESS)
    assert pushed.reference.tag == "latest"
