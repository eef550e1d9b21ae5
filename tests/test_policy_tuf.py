"""A policy from a TUF repository: a real one, made by python-tuf, over loopback HTTP and from a directory."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from ocimodel.trust.claims import format_time
from tests.commands import Ran, World, make_world, run
from tests.documents import problems
from tests.tufrepo import TufRepository, served


class Node:
    """A node that follows a repository."""

    def __init__(self, tmp_path: Path, stack: ExitStack) -> None:
        self.world: World = make_world(tmp_path)
        self.repository = TufRepository(tmp_path / "tuf")
        self.host = stack.enter_context(served(tmp_path / "tuf"))
        self.stop = stack.close
        self.source = tmp_path / "trust.json"
        self.configure()
        self.document = json.loads(run("policy", "init", "--key", self.world.pub, "--environment", "prod").out)
        self.publish()

    def configure(self, place: str = "", **more: Any) -> None:
        shutil.copy(self.repository.directory / "root.json", self.source.parent / "root.json")
        said = {"source": place or f"tuf+http://{self.host}", "root": "root.json", **more}
        assert problems(said, "trust-source") == []
        self.source.write_text(json.dumps(said))

    def publish(self, *, ends: dict[str, datetime] | None = None, **members: Any) -> None:
        self.document |= members
        self.document["serial"] += 1
        self.repository.policy(json.dumps(self.document).encode(), **(ends or {}))

    def revoke(self) -> None:
        self.publish(revoked={"digests": [{"digest": self.world.digest, "reason": "leaked"}]})

    def verify(self, *more: str) -> Ran:
        return run("verify", self.world.ref, "--policy", self.source, *more)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with ExitStack() as stack:
        yield Node(tmp_path, stack)


def test_a_policy_over_http_and_its_next_version(node: Node) -> None:
    ran = node.verify()
    assert (ran.code, ran.err) == (0, "")
    node.revoke()
    assert node.verify().code == 16


def test_a_policy_from_a_directory(node: Node) -> None:
    node.configure(f"tuf+file://{node.repository.directory}")
    assert node.verify().code == 0
    node.revoke()
    assert node.verify().code == 16


def test_the_root_rotates(node: Node) -> None:
    assert node.verify().code == 0
    repository = node.repository
    new = CryptoSigner.generate_ecdsa()
    repository.root.revoke_key(repository.keys["root"][0].public_key.keyid, "root")
    repository.root.add_key(new.public_key, "root")
    repository.root.version += 1
    repository.keys["root"].append(new)
    repository.publish_root(signers=4)
    node.revoke()
    assert node.verify().code == 16


def test_cut_off_it_decides_the_same(node: Node) -> None:
    node.revoke()
    assert node.verify().code == 16
    node.stop()
    for more in ((), ("--offline",)):
        ran = node.verify(*more)
        assert (ran.code, "cannot be asked" in ran.err) == (16, True), ran.err
    shutil.rmtree(os.environ["OCIMODEL_STATE_DIR"])
    assert node.verify().code == 75


def test_cut_off_until_it_is_too_old(node: Node) -> None:
    node.configure(maxAge="7d")
    assert node.verify().code == 0
    node.stop()
    assert node.verify().code == 0
    checked = next(Path(os.environ["OCIMODEL_STATE_DIR"]).glob("trust/*/trusted.json"))
    value = json.loads(checked.read_text())
    checked.write_text(json.dumps(value | {"checkedAt": format_time(datetime.now(UTC) - timedelta(days=8))}))
    assert node.verify().code == 21


# --- attacks --------------------------------------------------------------------------------------------------


def test_older_metadata_put_back_is_refused(node: Node, tmp_path: Path) -> None:
    assert node.verify().code == 0
    shutil.copytree(node.repository.directory, tmp_path / "old")
    node.revoke()
    assert node.verify().code == 16
    shutil.copytree(tmp_path / "old/metadata", node.repository.directory / "metadata", dirs_exist_ok=True)
    assert node.verify().code == 18
    assert node.verify("--offline").code == 16


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_metadata_that_has_ended_is_stale(role: str, node: Node) -> None:
    assert node.verify().code == 0
    node.publish(ends={role: datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)})
    ran = node.verify()
    assert (ran.code, "expired" in ran.err) == (21, True)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_metadata_by_another_key_is_refused(role: str, node: Node) -> None:
    assert node.verify().code == 0
    node.repository.keys[role][0] = CryptoSigner.generate_ecdsa()
    node.revoke()
    ran = node.verify()
    assert ran.code == 12
    assert node.verify("--offline").code == 0


def test_half_of_a_version_is_none(node: Node, tmp_path: Path) -> None:
    assert node.verify().code == 0
    node.revoke()
    for path in (node.repository.directory / "targets").iterdir():
        path.rename(tmp_path / path.name)
    ran = node.verify()
    assert (ran.code, "cannot be asked" in ran.err) == (0, True)
    for path in tmp_path.glob("*.policy.json"):
        path.rename(node.repository.directory / "targets" / path.name)
    assert node.verify().code == 16
    folders = list(next(Path(os.environ["OCIMODEL_STATE_DIR"]).glob("trust/*")).glob("*/"))
    assert len(folders) == 2, "what the client has seen, and what was trusted last"


def test_a_root_by_one_of_three_is_refused(node: Node) -> None:
    repository = node.repository
    repository.root.version += 1
    repository.publish_root(signers=1)
    assert node.verify().code == 12


def test_another_policy_in_the_place_of_the_target(node: Node) -> None:
    for path in (node.repository.directory / "targets").iterdir():
        path.write_bytes(path.read_bytes().replace(b"enforce", b"audit  "))
    assert node.verify().code == 14


def test_a_target_without_end(node: Node) -> None:
    for path in (node.repository.directory / "targets").iterdir():
        path.write_bytes(path.read_bytes() + b" " * 10_000_000)
    assert node.verify().code == 14


def test_metadata_that_is_none(node: Node) -> None:
    (node.repository.directory / "metadata/timestamp.json").write_text("{}")
    assert node.verify().code == 14


def test_there_is_no_such_target(node: Node) -> None:
    node.configure(target="other.json")
    assert node.verify().code == 11


def test_a_policy_that_calls_itself_otherwise(node: Node) -> None:
    node.configure(id="sandbox")
    assert node.verify().code == 12


def test_a_first_root_that_is_not_the_repositorys(node: Node, tmp_path: Path) -> None:
    other = TufRepository(tmp_path / "other")
    shutil.copy(other.directory / "root.json", tmp_path / "root.json")
    assert node.verify().code == 12


def test_plain_http_elsewhere_is_not_spoken(node: Node) -> None:
    node.configure("tuf+http://trust.invalid/x")
    ran = node.verify()
    assert (ran.code, "plain HTTP" in ran.err) == (2, True)


def test_what_was_kept_and_changed_is_not_believed(node: Node) -> None:
    node.revoke()
    assert node.verify().code == 16
    node.stop()
    folder = next(Path(os.environ["OCIMODEL_STATE_DIR"]).glob("trust/*"))
    place = folder / json.loads((folder / "trusted.json").read_text())["kept"]
    target = place / "targets/policy.json"
    target.write_bytes(target.read_bytes().replace(b"leaked", b"lovely"))
    assert node.verify().code == 75, "the client does not take it, and there is nobody to ask"
    metadata = Metadata.from_file(str(place / "metadata/timestamp.json"))
    metadata.signed.version += 1
    metadata.to_file(str(place / "metadata/timestamp.json"))
    assert node.verify().code == 12
