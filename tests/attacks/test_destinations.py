"""Whoever may write beside the destination, and what stands there already."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.attacks.scene import FILES, Scene, files_of, write_model
from tests.hostile import Request
from tests.signers import ALICE

SOMEBODY_ELSE = 65534


def staging_name(scene: Scene, suffix: str = "") -> str:
    """What the staging directory is called: anybody who knows the digest can tell."""
    return f".ocimodel-tmp-{scene.out.name}-{scene.subject().digest.hex[:16]}{suffix}"


def victim(scene: Scene) -> Path:
    return write_model(scene.place / "elsewhere", {"file": b"untouched"})


# --- planted beside the destination -----------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".parts"])
def test_a_link_planted_where_files_are_staged(signed: Scene, suffix: str) -> None:
    """Into a directory of somebody who changes the files after they were checked."""
    elsewhere = victim(signed)
    (signed.place / staging_name(signed, suffix)).symlink_to(elsewhere)
    code = signed.pull().code
    assert files_of(elsewhere) == {"file": b"untouched"}
    assert not signed.out.is_symlink()
    assert code in (0, 2, 74)
    if code == 0:
        assert files_of(signed.out) == FILES
    else:
        assert not signed.out.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize("suffix", ["", ".parts"])
def test_a_staging_directory_that_belongs_to_somebody_else(signed: Scene, suffix: str) -> None:
    """He could exchange the files between the check and the rename, and after it."""
    planted = signed.place / staging_name(signed, suffix)
    planted.mkdir(mode=0o777)
    os.chown(planted, SOMEBODY_ELSE, SOMEBODY_ELSE)
    code = signed.pull().code
    assert code in (0, 2, 74)
    if code == 0:
        assert signed.out.stat().st_uid == os.geteuid()
        assert files_of(signed.out) == FILES
    else:
        assert not signed.out.exists()


def test_a_staging_directory_that_others_may_write(signed: Scene) -> None:
    """Ours, but open to all: what lies in it may be anybody's."""
    planted = signed.place / staging_name(signed)
    planted.mkdir()
    planted.chmod(0o777)
    (planted / "extra.py").write_text("import os\n")
    assert signed.pull().code in (0, 2, 74)
    if signed.out.exists():
        assert files_of(signed.out) == FILES
        assert signed.out.stat().st_mode & 0o022 == 0


@pytest.mark.parametrize("name", ["weights.bin", "config.json"])
def test_a_link_planted_for_a_staged_file(signed: Scene, name: str) -> None:
    elsewhere = victim(signed)
    for suffix in ("", ".parts"):
        directory = signed.place / staging_name(signed, suffix)
        directory.mkdir(mode=0o700)
        (directory / name).symlink_to(elsewhere / "file")
    code = signed.pull().code
    assert files_of(elsewhere) == {"file": b"untouched"}
    if code == 0:
        assert files_of(signed.out) == FILES
        assert not any(path.is_symlink() for path in signed.out.rglob("*"))


def test_a_link_planted_for_the_lock(signed: Scene) -> None:
    elsewhere = victim(signed)
    (signed.place / f".ocimodel-tmp-{signed.out.name}.lock").symlink_to(elsewhere / "file")
    assert signed.pull().code in (0, 2, 74)
    assert files_of(elsewhere) == {"file": b"untouched"}


def test_what_an_earlier_pull_left_is_checked_again(signed: Scene) -> None:
    """Files staged by a killed run are hashed anew: changed ones are fetched again, extra ones do not arrive."""
    signed.repository.flip(signed.layers()["weights.bin"], 0)
    pristine = bytes(signed.repository.blobs[signed.layers()["weights.bin"]])
    assert signed.pull().code == 14
    staged = signed.place / staging_name(signed)
    staged.mkdir(mode=0o700, exist_ok=True)
    (staged / "config.json").write_bytes(b"changed")
    (staged / "weights.bin").write_bytes(b"planted" * 50)
    (staged / "extra.py").write_bytes(b"import os\n")
    changed = bytearray(pristine)
    changed[0] ^= 1
    signed.repository.overwrite(signed.layers()["weights.bin"], bytes(changed))
    assert signed.pull().code == 0
    assert files_of(signed.out) == FILES


def test_an_earlier_selection_adds_nothing(signed: Scene) -> None:
    """A first pull that failed had wanted other files."""
    weights = signed.layers()["weights.bin"]
    signed.repository.flip(weights, 0)
    assert signed.pull("--include", "*.json", "--include", "*.bin").code == 14
    signed.repository.flip(weights, 0)
    assert signed.pull("--include", "*.bin").code == 0
    assert files_of(signed.out) == {"weights.bin": FILES["weights.bin"]}
    assert signed.verify(of=signed.out).code == 0


# --- what stands at the destination ------------------------------------------------------------


def test_a_destination_with_other_content_is_left_alone(signed: Scene) -> None:
    write_model(signed.out, {"precious": b"data", "weights.bin": b"other weights"})
    before = files_of(signed.out)
    ran = signed.pull()
    assert ran.code == 2
    assert files_of(signed.out) == before
    assert signed.asked_for() == 0


def test_an_identical_destination_is_done(signed: Scene) -> None:
    write_model(signed.out)
    ran = signed.pull("--json")
    assert ran.code == 0
    assert ran.document["unchanged"] is True
    assert signed.asked_for() == 0
    assert signed.verify(of=signed.out).code == 0


def test_an_identical_destination_with_one_more_file_is_foreign(signed: Scene) -> None:
    write_model(signed.out, FILES | {"extra.py": b"import os\n"})
    assert signed.pull().code == 2


def test_an_identical_destination_is_still_judged(signed: Scene) -> None:
    """Files that are right already do not make a model right that nobody trusted has signed."""
    from tests.signers import BOB

    write_model(signed.out)
    assert signed.pull(key=BOB).code == 12
    assert signed.verify(of=signed.out).code == 11


def test_force_replaces_the_models_files_and_no_others(signed: Scene) -> None:
    write_model(signed.out, {"precious": b"data", "weights.bin": b"other weights"})
    ran = signed.pull("--force")
    assert ran.code == 0
    assert files_of(signed.out) == FILES | {"precious": b"data"}
    assert "precious" in ran.err
    assert signed.verify(of=signed.out).code == 14  # and the foreign file is named when it is looked at


def test_force_does_not_outlive_a_refusal(signed: Scene) -> None:
    """What stood there stays as it was until the whole verdict, and every byte, is good."""
    from tests.signers import BOB

    write_model(signed.out, {"weights.bin": b"the old ones"})
    assert signed.pull("--force", key=BOB).code == 12
    signed.repository.flip(signed.layers()["README.md"], 0)
    assert signed.pull("--force").code == 14
    assert files_of(signed.out)["weights.bin"] == b"the old ones"


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["plain", "force"])
def test_links_at_the_destination_are_not_followed(scene: Scene, force: tuple[str, ...]) -> None:
    """A file of the model is a link to elsewhere, and a directory of the model is one."""
    scene.push({"weights.bin": b"weights", "sub/config.json": b"{}"})
    elsewhere = victim(scene)
    scene.out.mkdir()
    (scene.out / "weights.bin").symlink_to(elsewhere / "file")
    (scene.out / "sub").symlink_to(elsewhere)
    assert scene.pull(*force).code == (0 if force else 2)
    assert files_of(elsewhere) == {"file": b"untouched"}
    if force:
        assert not any(path.is_symlink() for path in scene.out.rglob("*"))
        assert files_of(scene.out) == {"weights.bin": b"weights", "sub/config.json": b"{}"}


def test_a_destination_that_is_a_file_or_a_dead_link(signed: Scene) -> None:
    signed.out.write_bytes(b"precious")
    assert signed.pull().code == 2
    assert signed.pull("--force").code == 2
    assert signed.out.read_bytes() == b"precious"
    signed.out.unlink()
    signed.out.symlink_to(signed.place / "nowhere")
    assert signed.pull().code == 2
    assert not (signed.place / "nowhere").exists()


def test_a_receipt_that_cannot_be_kept_stops_before_the_download(
    signed: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = signed.place / "state"
    state.write_bytes(b"no directory")
    monkeypatch.setenv("OCIMODEL_STATE_DIR", str(state))
    assert signed.pull().code == 74
    assert signed.asked_for() == 0
    assert signed.nothing_arrived()


def test_another_tags_receipt_does_not_speak_for_this_directory(signed: Scene) -> None:
    """Pulled twice into one place: the second receipt counts, and what the first one brought is gone."""
    assert signed.pull().code == 0
    signed.push({"weights.bin": b"second", "new.json": b"{}"}, signer=ALICE, tag="v2")
    assert signed.pull(tag="v2").code == 2
    assert signed.pull("--force", tag="v2").code == 0
    assert files_of(signed.out) == {"weights.bin": b"second", "new.json": b"{}"}
    assert signed.verify(of=signed.out).code == 0


def test_two_models_pulled_into_one_directory_at_once(scene: Scene) -> None:
    """An empty volume, and two jobs with two versions: one of them gets it, never a mixture."""
    scene.push({"weights.bin": b"one", "only-one.json": b"{}"})
    scene.push({"weights.bin": b"two", "only-two.json": b"{}"}, tag="v2")
    scene.out.mkdir()
    asked, go_on = threading.Event(), threading.Event()
    first = scene.layers()["weights.bin"]

    def on_request(request: Request) -> None:
        if request.route == "blob" and request.target == first and request.method == "GET":
            asked.set()
            go_on.wait(20)

    scene.registry.on_request = on_request
    with ThreadPoolExecutor(max_workers=2) as pool:
        one = pool.submit(scene.pulling)
        assert asked.wait(20)
        two = pool.submit(lambda: scene.pull(tag="v2").code)
        with suppress(TimeoutError):
            two.result(timeout=1.5)
        go_on.set()
        codes = (one.result(), two.result())
    arrived = files_of(scene.out)
    expected = {
        (0, 2): {"weights.bin": b"one", "only-one.json": b"{}"},
        (2, 0): {"weights.bin": b"two", "only-two.json": b"{}"},
    }
    assert expected[codes] == arrived
    assert scene.verify(of=scene.out).code == 0
