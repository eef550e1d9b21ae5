"""Pushes that are killed: what had arrived is not sent again, and what is kept for that stays with the user."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocimodel.model.scan import Identity
from ocimodel.transfer.pushing import NOTED, Note, Pushing
from tests.commands import run
from tests.hostile import HostileRegistry, Stall
from tests.hostile import Request as Asked
from tests.models import weights

MIB = 1 << 20


@pytest.fixture
def registry() -> Iterator[HostileRegistry]:
    with HostileRegistry() as one:
        yield one


def identity(path: Path) -> Identity:
    return Identity.of(path.stat())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    return path


# --- notes -----------------------------------------------------------------------------------


def test_a_note_outlives_its_writer_and_goes_when_it_is_done(tmp_path: Path, file: Path) -> None:
    pushing = Pushing(tmp_path, "r/a")
    pushing.begin()
    with pushing.noting(identity(file), NOTED) as note:
        assert note is not None
        note.write(b"a longer note")
        note.write(b"a note")
    again = Pushing(tmp_path, "r/a")
    assert again.interrupted
    with again.noting(identity(file), NOTED) as note:
        assert note is not None
        assert note.read() == b"a note"
    again.done()
    assert list((tmp_path / "pushing").iterdir()) == []
    assert not Pushing(tmp_path, "r/a").interrupted


def test_a_note_is_for_one_repository_and_one_file(tmp_path: Path, file: Path) -> None:
    pushing = Pushing(tmp_path, "r/a")
    pushing.begin()
    with pushing.noting(identity(file), NOTED) as note:
        assert note is not None
        note.write(b"a note")
    with Pushing(tmp_path, "r/b").noting(identity(file), NOTED) as note:
        assert note is not None
        assert note.read() == b""
    os.utime(file, ns=(1, 1))
    with pushing.noting(identity(file), NOTED) as note:
        assert note is not None
        assert note.read() == b""


def test_one_upload_at_a_time_has_the_note(tmp_path: Path) -> None:
    first, second = Note(tmp_path / "note"), Note(tmp_path / "note")
    first.write(b"mine")
    second.write(b"not mine")
    assert (first.read(), second.read()) == (b"mine", b"")
    second.clear()
    second.close()
    assert (tmp_path / "note").read_bytes() == b"mine"
    first.close()
    third = Note(tmp_path / "note")
    assert third.read() == b"mine"
    third.clear()
    assert not (tmp_path / "note").exists()
    third.write(b"too late")
    assert not (tmp_path / "note").exists()


def test_notes_are_for_the_user_alone(tmp_path: Path, file: Path) -> None:
    before = os.umask(0)
    try:
        pushing = Pushing(tmp_path, "r/a")
        pushing.begin()
        with pushing.noting(identity(file), NOTED) as note:
            assert note is not None
            note.write(b"secret")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "pushing").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "pushing").iterdir()} == {0o600}


def test_old_notes_go_and_marks_and_held_notes_stay(tmp_path: Path) -> None:
    folder = tmp_path / "pushing"
    folder.mkdir()
    for name in ("aa", "aa-bb", "aa-cc", "aa-dd"):
        (folder / name).write_bytes(b"x")
        if name != "aa-dd":
            os.utime(folder / name, (1, 1))
    held = Note(folder / "aa-cc")
    Pushing(tmp_path, "r/a").begin()
    assert {path.name for path in folder.iterdir()} >= {"aa", "aa-cc", "aa-dd"}
    assert not (folder / "aa-bb").exists()
    held.close()


def test_without_a_place_nothing_is_kept(file: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file")
    for place in (None, tmp_path / "cache", tmp_path / "missing"):
        pushing = Pushing(place, "r/a")
        assert not pushing.interrupted
        pushing.begin()
        with pushing.noting(identity(file), NOTED) as note:
            if note is not None:
                note.write(b"x")
                assert note.read() == b""
                note.clear()
        pushing.done()
    small = Pushing(tmp_path, "r/a")
    small.begin()
    with small.noting(identity(file), NOTED - 1) as note:
        assert note is None


def test_a_link_in_a_notes_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / "note").symlink_to(tmp_path / "target")
    note = Note(tmp_path / "note")
    assert note.read() == b""
    note.write(b"overwritten")
    note.clear()
    assert (tmp_path / "target").read_bytes() == b"precious"


# --- commands that are killed ------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text('{"model_type": "llama"}\n')
    for number in range(3):
        (directory / f"weights-{number}.bin").write_bytes(weights(40 * MIB, f"weights {number}"))
    return directory


def pushing_until(registry: HostileRegistry, model: Path, name: str, received: int) -> None:
    """Run a push, and kill it when so many bytes of blobs have come."""
    words = ["push", str(model), name, "--quiet"]
    process = subprocess.Popen([sys.executable, "-m", "ocimodel", *words], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if registry.received("upload") >= received:
            break
        time.sleep(0.002)
    process.kill()
    _, said = process.communicate()
    assert process.returncode == -9, said
    before = -1
    while before != registry.received("upload"):  # what was on its way still arrives
        before = registry.received("upload")
        time.sleep(0.1)


@pytest.mark.slow
def test_a_killed_push_is_carried_on(registry: HostileRegistry, model: Path) -> None:
    """Three kills: what had arrived, of finished files and of others, is never sent again."""
    name = f"{registry.host}/models/killed:v1"
    for received in (20 * MIB, 60 * MIB, 95 * MIB):
        pushing_until(registry, model, name, received)
    before = registry.received("upload")
    done = run("push", model, name, "--json")
    assert done.code == 0, done.err
    total = sum(path.stat().st_size for path in model.iterdir())
    extra = registry.received("upload") - total
    assert before > 95 * MIB
    assert extra < 2 * MIB  # documents, and small blobs that come again
    assert run("verify", name, "--full", "--key", _key(model)).code == 10  # all of it is there, unsigned
    assert run("pull", name, "-o", model.parent / "out").code == 0
    for path in model.iterdir():
        assert (model.parent / "out" / path.name).read_bytes() == path.read_bytes()
    assert list((Path(os.environ["OCIMODEL_CACHE_DIR"]) / "pushing").iterdir()) == []


def _key(model: Path) -> Path:
    assert run("key", "generate", model.parent / "alice", "--no-password").code == 0
    return model.parent / "alice.pub"


@pytest.mark.slow
def test_two_pushes_at_once_do_not_share_an_upload(registry: HostileRegistry, model: Path) -> None:
    """The second one finds the notes of the first one held, and sends for itself."""
    name = f"{registry.host}/models/twice:v1"
    stalled: list[Asked] = []

    def stall(request: Asked) -> Stall | None:
        if request.method == "PATCH" and len(stalled) < 3:
            stalled.append(request)
            return Stall(seconds=3)
        return None

    registry.on_request = stall
    first = subprocess.Popen([sys.executable, "-m", "ocimodel", "push", str(model), name, "--quiet"])
    deadline = time.monotonic() + 30
    while not stalled and time.monotonic() < deadline:
        time.sleep(0.01)
    assert run("push", model, name).code == 0
    assert first.wait(60) == 0
    assert registry.count("GET", "upload") == 0
