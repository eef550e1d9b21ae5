"""The main job by its commands, from a model directory to a directory that was pulled, on every kind of place."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.attacks.scene import files_of
from tests.commands import Ran, events, run
from tests.hostile import HostileRegistry
from tests.models import make_model
from tests.real.isolation import isolated_environment
from tests.real.registry import RealRegistry

PLACES = ("layout", "distribution", "referrers_registry", "basic_auth_registry", "token_registry")
SOMEBODY = 65534
EVALUATION = "https://example.org/evaluation/v1"


@dataclass(frozen=True)
class Place:
    """Where a story is told: ``name`` without tag, and the words that every command needs."""

    name: str
    words: tuple[str, ...] = ()
    registry: RealRegistry | None = None

    def run(self, *words: str | Path) -> Ran:
        return run(*words, *self.words)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Each place in turn; where it wants credentials, `ocimodel login` has been given them on stdin."""
    if request.param == "layout":
        return Place(f"oci:{tmp_path / 'layout'}")
    registry: RealRegistry = request.getfixturevalue(request.param)
    words: tuple[str, ...] = ("--plain-http", registry.host)
    if registry.issuer is not None:
        words += ("--plain-http", registry.issuer.realm.split("/")[2])
    found = Place(registry.fresh(), words, registry)
    if registry.username is not None and registry.password is not None:
        assert found.run("list", found.name).code == 77
        monkeypatch.setattr(sys, "stdin", io.StringIO(registry.password + "\n"))
        login = found.run("login", registry.host, "--username", registry.username, "--password-stdin")
        assert login.code == 0, login.err
    return found


@dataclass(frozen=True)
class Keys:
    private: Path
    public: Path


def make_key(directory: Path, name: str = "signing") -> Keys:
    assert run("key", "generate", directory / name, "--no-password").code == 0
    return Keys(directory / f"{name}.key", directory / f"{name}.pub")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return make_key(tmp_path)


def ok(ran: Ran) -> Ran:
    assert ran.code == 0, ran.err
    return ran


# --- the story -------------------------------------------------------------------------------


@pytest.mark.peer
def test_the_whole_story(place: Place, model: Path, keys: Keys, tmp_path: Path) -> None:
    reference = f"{place.name}:v1"
    out = tmp_path / "out"

    pushed = ok(place.run("push", model, reference, "--key", keys.private, "--tag", "stable", "-a", "team=vision"))
    digest = pushed.out.strip().rpartition("@")[2]
    assert pushed.out == f"{reference}@{digest}\n"

    verified = ok(place.run("verify", reference, "--key", keys.public))
    assert verified.out.endswith(f"VERIFIED {reference}@{digest}\n")

    second = make_key(tmp_path, "second")
    assert place.run("verify", reference, "--key", second.public).code == 12
    signed = ok(place.run("sign", reference, "--key", second.private, "--expires", "90d"))
    assert signed.out.startswith(f"{place.name}@sha256:")
    ok(place.run("verify", reference, "--key", second.public, "--full"))

    pulled = ok(place.run("pull", reference, "-o", out, "--verify", "--key", keys.public))
    assert pulled.out == f"{out}\n"
    assert files_of(out) == files_of(model)
    ok(run("verify", out, "--key", keys.public, "--offline", "--full"))
    assert place.run("pull", reference, "-o", out, "--key", keys.public, "--json").document["unchanged"] is True

    assert ok(place.run("list", place.name)).out.split() == ["stable", "v1"]
    inspected = ok(place.run("inspect", f"{place.name}@{digest}", "--json")).document
    assert {entry["path"] for entry in inspected["files"]} == set(files_of(model))
    assert inspected["model"]["architecture"]

    predicate = tmp_path / "evaluation.json"
    predicate.write_text('{"accuracy": 0.93}')
    ok(place.run("attest", reference, "--type", EVALUATION, "--predicate", predicate, "--key", keys.private))
    shown = ok(place.run("attest", "show", reference, "--key", keys.public, "--json")).document["attestations"]
    assert [(item["predicateType"], item["verified"]) for item in shown] == [(EVALUATION, True)]
    tree = ok(place.run("tree", reference)).out
    assert tree.count("https://sigstore.dev/cosign/sign/v1") == 2
    assert tree.count(EVALUATION) == 1

    verbs = [event["type"].split(".")[-2] for event in events() if event["data"]["exitCode"] == 0]
    assert [verb for verb in verbs if verb not in ("login", "generate")] == [
        "push",
        "verify",
        "sign",
        "verify",
        "pull",
        "verify",
        "pull",
        "attest",
    ]
    if place.registry is not None and place.registry.password is not None:
        ok(run("logout", place.registry.host))
        assert place.run("verify", reference, "--key", keys.public).code == 77


@pytest.mark.peer
def test_some_files_and_then_the_others(place: Place, model: Path, keys: Keys, tmp_path: Path) -> None:
    reference, out = f"{place.name}:v1", tmp_path / "out"
    ok(place.run("push", model, reference, "--key", keys.private))
    ok(place.run("pull", reference, "-o", out, "--key", keys.public, "--include", "*.json"))
    assert set(files_of(out)) == {name for name in files_of(model) if name.endswith(".json")}
    assert ok(run("verify", out, "--key", keys.public)).out.count("skip") == 1
    assert place.run("pull", reference, "-o", out, "--key", keys.public, "--include", "nothing").code == 11
    ok(place.run("pull", reference, "-o", out, "--key", keys.public))
    assert files_of(out) == files_of(model)
    ok(run("verify", out, "--key", keys.public))


@pytest.mark.peer
def test_what_a_shell_gets(distribution: RealRegistry, model: Path, keys: Keys, tmp_path: Path) -> None:
    """``d=$(ocimodel push …)``: the reference and nothing else, ready for the next command."""
    name = distribution.fresh()
    ocimodel = f"{shlex.quote(sys.executable)} -m ocimodel"
    script = f"""
    set -e
    d=$({ocimodel} push {shlex.quote(str(model))} {name}:v1 --key {shlex.quote(str(keys.private))})
    o=$({ocimodel} pull "$d" -o {shlex.quote(str(tmp_path / "out"))} --key {shlex.quote(str(keys.public))})
    printf '[%s]\\n[%s]\\n' "$d" "$o"
    """
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first.startswith(f"[{name}:v1@sha256:")
    assert len(first) == len(f"[{name}:v1@sha256:]") + 64
    assert second == f"[{tmp_path / 'out'}]"
    assert files_of(tmp_path / "out") == files_of(model)


@pytest.mark.peer
def test_sign_without_a_key_and_with_one_in_the_environment(
    place: Place, model: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert place.run("push", model, f"{place.name}:v1", "--sign").code == 2
    assert place.run("list", place.name).code in (0, 11)
    monkeypatch.setenv("OCIMODEL_SIGNING_KEY", str(keys.private))
    ok(place.run("push", model, f"{place.name}:v1"))
    assert place.run("verify", f"{place.name}:v1", "--key", keys.public).code == 10
    ok(place.run("push", model, f"{place.name}:v1", "--sign"))
    ok(place.run("verify", f"{place.name}:v1", "--key", keys.public))


# --- pushing again ------------------------------------------------------------------------------


@pytest.fixture
def counting() -> Iterator[HostileRegistry]:
    """A registry that counts."""
    with HostileRegistry() as registry:
        yield registry


def uploads(registry: HostileRegistry) -> int:
    """Bytes of blobs that were sent, and sessions that were begun for them."""
    return registry.received("upload") + registry.received("uploads") + registry.count("POST", "uploads")


def test_pushing_again_sends_nothing(counting: HostileRegistry, keys: Keys, tmp_path: Path) -> None:
    """The same directory, a copy of it with other times, and a model of which one file changed."""
    model = make_model(tmp_path / "model", hidden=256)
    name = f"{counting.host}/models/tiny"
    first = ok(run("push", model, f"{name}:v1", "--key", keys.private)).out
    assert uploads(counting) > 100_000
    digest = first.strip().rpartition("@")[2]
    referrers = len(counting.repository("models/tiny").referrers[digest])

    copy = shutil.copytree(model, tmp_path / "copy")
    for number, path in enumerate(sorted(copy.rglob("*"))):
        os.utime(path, (number, number))
    for directory, tag in ((model, "v1"), (copy, "v1"), (copy, "v2")):
        counting.forget()
        again = ok(run("push", directory, f"{name}:{tag}", "--key", keys.private, "--json")).document
        assert again["digest"] == digest
        assert again["signature"]["created"] is False
        assert again["sentBytes"] == 0
        assert uploads(counting) == 0
    assert len(counting.repository("models/tiny").referrers[digest]) == referrers

    (copy / "config.json").write_text('{"model_type": "llama"}\n')
    counting.forget()
    changed = ok(run("push", copy, f"{name}:v3", "--key", keys.private, "--json")).document
    assert changed["digest"] != digest
    assert 0 < counting.received("upload") < 20_000


@pytest.mark.peer
def test_a_real_registry_gets_no_blob_twice(distribution: RealRegistry, model: Path, keys: Keys) -> None:
    """Counted by its own log."""
    name = distribution.fresh()

    def sent() -> int:
        return sum(
            f"/v2/{name.partition('/')[2]}/blobs/uploads" in line and '"POST' in line
            for line in distribution.log.read_text(errors="replace").splitlines()
        )

    ok(run("push", model, f"{name}:v1", "--key", keys.private))
    before = sent()
    assert before > 5
    ok(run("push", model, f"{name}:v1", "--key", keys.private))
    assert sent() == before


@pytest.mark.peer
def test_every_place_gives_one_digest(
    distribution: RealRegistry, referrers_registry: RealRegistry, model: Path, tmp_path: Path
) -> None:
    places = (f"oci:{tmp_path / 'layout'}", distribution.fresh(), referrers_registry.fresh())
    digests = {ok(run("push", model, f"{name}:v1")).out.strip().rpartition("@")[2] for name in places}
    assert len(digests) == 1


# --- who and where ------------------------------------------------------------------------------


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that another user may enter."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def as_somebody(home: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command line as a user who owns nothing but a home."""
    home.mkdir(exist_ok=True)
    environment = {"PATH": os.defpath, **isolated_environment(home)}
    for directory in (home, *home.rglob("*")):
        os.chown(directory, SOMEBODY, SOMEBODY)
    command = [sys.executable, "-m", "ocimodel", *map(str, words)]
    try:
        return subprocess.run(
            command,
            env=environment,
            user=SOMEBODY,
            group=SOMEBODY,
            extra_groups=(),
            capture_output=True,
            text=True,
        )
    except PermissionError as error:
        return subprocess.CompletedProcess(command, 126, "", str(error))


@pytest.fixture
def somebody(open_place: Path) -> Path:
    """The home of a user who owns nothing else; a skip where there can be none."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    if as_somebody(open_place / "home", "--version").returncode != 0:
        pytest.skip(f"another user cannot run {sys.executable}")
    return open_place / "home"


def test_another_user_pushes_a_directory_that_he_may_only_read(
    counting: HostileRegistry, keys: Keys, open_place: Path, somebody: Path
) -> None:
    """The same digest as its owner's, and nothing written beside the files."""
    model = make_model(open_place / "model", gguf=False)
    before = files_of(model)
    for path in (model, *model.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    key = Path(shutil.copy(keys.private, open_place))
    key.chmod(0o644)
    name = f"{counting.host}/models/tiny"
    theirs = as_somebody(somebody, "push", model, f"{name}:v1", "--key", key)
    assert theirs.returncode == 0, theirs.stderr
    assert (
        ok(run("push", model, f"{name}:v2", "--key", keys.private)).out.rpartition("@")[2]
        == (theirs.stdout.rpartition("@")[2])
    )
    assert files_of(model) == before
    ok(run("verify", f"{name}:v1", "--key", keys.public))


def test_a_mount_point_whose_parent_nobody_may_write(
    counting: HostileRegistry, model: Path, keys: Keys, open_place: Path, somebody: Path
) -> None:
    """As a volume in a pod: an empty directory of ours in a directory that is not."""
    name = f"{counting.host}/models/tiny:v1"
    ok(run("push", model, name, "--key", keys.private))
    volume = open_place / "volume"
    volume.mkdir()
    os.chown(volume, SOMEBODY, SOMEBODY)
    public = Path(shutil.copy(keys.public, open_place))
    public.chmod(0o644)
    inode = volume.stat().st_ino
    done = as_somebody(somebody, "pull", name, "-o", volume, "--key", public)
    assert done.returncode == 0, done.stderr
    assert files_of(volume) == files_of(model)
    assert volume.stat().st_ino == inode
    assert sorted(path.name for path in open_place.iterdir()) == ["home", "signing.pub", "volume"]
    again = as_somebody(somebody, "pull", name, "-o", volume, "--key", public, "--json")
    assert '"unchanged": true' in again.stdout


def test_an_empty_directory_is_filled_and_stays_the_same_one(
    counting: HostileRegistry, model: Path, keys: Keys, tmp_path: Path
) -> None:
    name = f"{counting.host}/models/tiny:v1"
    ok(run("push", model, name, "--key", keys.private))
    out = tmp_path / "out"
    out.mkdir()
    inode = out.stat().st_ino
    ok(run("pull", name, "-o", out, "--key", keys.public))
    assert (out.stat().st_ino, files_of(out)) == (inode, files_of(model))
    ok(run("verify", out, "--key", keys.public))
