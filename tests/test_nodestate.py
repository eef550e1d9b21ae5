"""A node takes nothing older than what it has seen, and sees only what it took."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.attest.statement import signature_statement
from ocimodel.errors import RollbackError, StorageError
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store
from ocimodel.transfer.nodestate import Channel, Seen, advance, floor, read
from ocimodel.trust.files import load
from ocimodel.verbs.attaching import store_attachment
from ocimodel.verbs.pull import pull
from ocimodel.verbs.push import push
from ocimodel.verbs.verify import verify_artifact
from tests.signers import ALICE, BOB, attachment

CHANNEL = Channel(environment="prod", name="registry.example/m", tag="stable")
ONE = Digest.of(b"1")


def seen(number: int, *keyids: str) -> Seen:
    return Seen(sequence=number, digest=ONE, keyids=keyids or ("k",))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 10**18), min_size=1, max_size=8))
def test_the_highest_stays(tmp_path_factory: pytest.TempPathFactory, numbers: list[int]) -> None:
    state = tmp_path_factory.mktemp("state")
    for number in numbers:
        advance(state, CHANNEL, seen(number), ["k"])
    assert floor(state, CHANNEL, ["k"]) == max(numbers)


def test_each_channel_is_its_own(tmp_path: Path) -> None:
    advance(tmp_path, CHANNEL, seen(7), ["k"])
    for other in ({"environment": "dev"}, {"name": "registry.example/n"}, {"tag": "beta"}):
        said = {"environment": "prod", "name": "registry.example/m", "tag": "stable", **other}
        assert floor(tmp_path, Channel(**said), ["k"]) == 0


def test_it_starts_anew_only_with_other_keys(tmp_path: Path) -> None:
    advance(tmp_path, CHANNEL, seen(7, "old"), ["old"])
    assert floor(tmp_path, CHANNEL, ["old", "new"]) == 7
    assert floor(tmp_path, CHANNEL, ["new"]) == 0
    advance(tmp_path, CHANNEL, seen(3, "new"), ["new"])
    assert floor(tmp_path, CHANNEL, ["new"]) == 3


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"sequence":-1,"digest":"x","keyids":[]}', b"x" * 100_000])
def test_a_damaged_memory_is_no_memory_of_nothing(tmp_path: Path, data: bytes) -> None:
    advance(tmp_path, CHANNEL, seen(7), ["k"])
    CHANNEL.path(tmp_path).write_bytes(data)
    with pytest.raises(StorageError, match="is damaged") as caught:
        read(tmp_path, CHANNEL)
    assert caught.value.exit_code == 74


# --- a node -------------------------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    return tmp_path / "model"


def released(model: Path, number: int, tag: str = "stable") -> Reference:
    """A model of its own, signed with the sequence number, under the tag."""
    (model / "config.json").write_text(json.dumps({"release": number}))
    reference = Reference.parse(f"oci:{model.parent / 'store'}:{tag}")
    pushed = push(model, reference, access=Access())
    with open_store(reference, Access()) as store:
        subject, _ = store.get_manifest(pushed.digest)
        claims = {media.CLAIM_SEQUENCE: str(number)}
        made = attachment(ALICE, about=subject, to=subject, statement=signature_statement(subject.digest, claims))
        store_attachment(store, subject, made)
    return reference


def policy(path: Path, *signers: Any, mode: str = "enforce") -> Path:
    keys = {f"k{number}": {"publicKey": signer.public.to_pem().decode()} for number, signer in enumerate(signers)}
    scope = {"match": "oci:**", "environment": "prod", "mode": mode, "signatures": {"from": list(keys)}}
    path.write_text(json.dumps({"version": 1, "keys": keys, "scopes": [scope]}))
    return path


def test_nothing_older_is_taken(model: Path, tmp_path: Path) -> None:
    trust = load(policy(tmp_path / "p.json", ALICE))
    released(model, 5)
    reference = released(model, 9)
    pull(reference, tmp_path / "a", policy=trust, access=Access())
    released(model, 5)
    with pytest.raises(RollbackError):
        pull(reference, tmp_path / "b", policy=trust, access=Access())
    assert not (tmp_path / "b").exists()
    with pytest.raises(RollbackError):
        verify_artifact(reference, policy=trust, access=Access())
    released(model, 9)
    pull(reference, tmp_path / "b", policy=trust, access=Access())
    released(model, 12)
    pull(reference, tmp_path / "c", policy=trust, access=Access())


def test_a_soft_mode_teaches_nothing(model: Path, tmp_path: Path) -> None:
    soft = load(policy(tmp_path / "soft.json", ALICE, mode="warn"))
    reference = released(model, 9)
    pull(reference, tmp_path / "a", policy=soft, access=Access())
    released(model, 5)
    pull(reference, tmp_path / "b", policy=load(policy(tmp_path / "p.json", ALICE)), access=Access())


def test_a_refused_pull_teaches_nothing(model: Path, tmp_path: Path) -> None:
    strict = load(policy(tmp_path / "p.json", ALICE))
    reference = released(model, 9)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").write_text("mine")
    with pytest.raises(Exception, match="taken"):
        pull(reference, tmp_path / "taken", policy=strict, access=Access())
    released(model, 5)
    pull(reference, tmp_path / "b", policy=strict, access=Access())


def test_a_new_signer_counts_from_where_he_likes(model: Path, tmp_path: Path) -> None:
    reference = released(model, 9)
    pull(reference, tmp_path / "a", policy=load(policy(tmp_path / "p.json", ALICE)), access=Access())
    both = load(policy(tmp_path / "both.json", ALICE, BOB))
    released(model, 5)
    with pytest.raises(RollbackError):
        pull(reference, tmp_path / "b", policy=both, access=Access())
