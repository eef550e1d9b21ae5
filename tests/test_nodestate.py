"""A node takes nothing older than what it has seen, and sees only what it took."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.attest.statement import attestation_statement, signature_statement
from ocimodel.errors import RollbackError, StorageError
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store
from ocimodel.transfer.nodestate import Channel, Seen, advance, floor, read
from ocimodel.transfer.places import state_dir
from ocimodel.trust.files import load
from ocimodel.verbs.attaching import store_attachment
from ocimodel.verbs.pull import pull
from ocimodel.verbs.push import push
from ocimodel.verbs.verify import verify_artifact
from tests.commands import run
from tests.signers import ALICE, BOB, CAROL, attachment

CHANNEL = Channel(environment="prod", name="registry.example/m", tag="stable")
ONE = Digest.of(b"1")


def seen(number: int, *by: str) -> Seen:
    return Seen(sequence=number, digest=ONE, by=by or ("k",))


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


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"sequence":-1,"digest":"x","by":[]}', b"x" * 100_000])
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


def released_by(model: Path, signer: Any, number: int) -> Reference:
    """A model of its own under the tag, which ``signer`` alone signs with the number."""
    (model / "config.json").write_text(json.dumps({"release": number, "by": signer.public.label}))
    reference = Reference.parse(f"oci:{model.parent / 'store'}:stable")
    pushed = push(model, reference, access=Access())
    with open_store(reference, Access()) as store:
        subject, _ = store.get_manifest(pushed.digest)
        statement = signature_statement(subject.digest, {media.CLAIM_SEQUENCE: str(number)})
        store_attachment(store, subject, attachment(signer, about=subject, to=subject, statement=statement))
    return reference


def test_a_stolen_key_cannot_end_all_releases(model: Path, tmp_path: Path) -> None:
    """Whoever has it signs the highest number there is; once it is revoked, counting starts anew."""
    path = policy(tmp_path / "p.json", ALICE, BOB)
    pull(released_by(model, ALICE, 10**18 - 1), tmp_path / "a", policy=load(path), access=Access())
    reference = released_by(model, BOB, 6)
    with pytest.raises(RollbackError):
        pull(reference, tmp_path / "b", policy=load(path), access=Access())
    assert run("key", "retire", "k0", "--policy", path).code == 0
    with pytest.raises(RollbackError):
        pull(reference, tmp_path / "b", policy=load(path), access=Access())
    assert run("revoke", "key", "k0", "--policy", path, "--reason", "stolen").code == 0
    pull(reference, tmp_path / "b", policy=load(path), access=Access())
    released_by(model, BOB, 5)
    with pytest.raises(RollbackError):
        pull(reference, tmp_path / "c", policy=load(path), access=Access())


def test_the_number_of_a_summary_is_its_promoters(model: Path, tmp_path: Path) -> None:
    """Another builder resets nothing; the promoter's key is what the number hangs on."""

    def with_gate(*builders: Any) -> Any:
        value = json.loads(policy(tmp_path / "p.json", *builders).read_text())
        value["keys"]["promoter"] = {"publicKey": CAROL.public.to_pem().decode(), "roles": ["promoter"]}
        value["scopes"][0]["attestations"] = [
            {"predicateType": "https://example.org/release", "from": ["promoter"]}
        ]
        (tmp_path / "p.json").write_text(json.dumps(value))
        return load(tmp_path / "p.json")

    def promoted(builder: Any, number: int) -> Reference:
        (model / "config.json").write_text(json.dumps({"release": number, "by": builder.public.label}))
        reference = Reference.parse(f"oci:{model.parent / 'store'}:stable")
        pushed = push(model, reference, access=Access(), signer=builder)
        with open_store(reference, Access()) as store:
            subject, _ = store.get_manifest(pushed.digest)
            kind = "https://example.org/release"
            said = attestation_statement(subject.digest, kind, b"{}", {media.CLAIM_SEQUENCE: str(number)})
            made = attachment(CAROL, about=subject, to=subject, statement=said, predicate_type=kind)
            store_attachment(store, subject, made)
        return reference

    pull(promoted(ALICE, 9), tmp_path / "a", policy=with_gate(ALICE), access=Access())
    reference = promoted(BOB, 5)
    with pytest.raises(RollbackError):
        pull(reference, tmp_path / "b", policy=with_gate(BOB), access=Access())


def test_a_node_that_cannot_remember_says_so_and_goes_by_the_floor(model: Path, tmp_path: Path) -> None:
    path = policy(tmp_path / "p.json", ALICE)
    reference = released(model, 9)
    place = Channel(environment="prod", name=f"oci:{tmp_path / 'store'}", tag="stable").path(state_dir())
    (place.parent / f".{place.name}.lock").mkdir(parents=True)  # no disk is read-only to root
    pulled = pull(reference, tmp_path / "a", policy=load(path), access=Access())
    assert any("cannot remember" in warning for warning in pulled.warnings)
    value = json.loads(path.read_text())
    value["scopes"][0]["minSequence"] = 10
    path.write_text(json.dumps(value))
    with pytest.raises(RollbackError):
        pull(reference, tmp_path / "b", policy=load(path), access=Access())


# --- sign --sequence ------------------------------------------------------------------------------------------


def test_releases_by_command(model: Path, tmp_path: Path) -> None:
    assert run("key", "generate", tmp_path / "release", "--no-password").code == 0
    key, ref = tmp_path / "release.key", f"oci:{tmp_path}/store:stable"
    path = tmp_path / "p.json"
    path.write_text(run("policy", "init", "--key", tmp_path / "release.pub", "--environment", "prod").out)

    def release(number: int, *more: str) -> None:
        (model / "config.json").write_text(json.dumps({"release": number}))
        assert run("push", model, ref, "--key", key).code == 0
        signed = run("sign", ref, "--key", key, "--sequence", str(number), "--environment", "prod", *more)
        assert signed.code == 0, signed.err

    def take(name: str) -> int:
        return run("pull", ref, "-o", tmp_path / name, "--policy", path).code

    release(41)
    assert take("a") == 0
    release(42, "--channel", "stable", "--expires", "1d")
    assert take("b") == 0
    again = run(
        "sign", ref, "--key", key, "--sequence", "42", "--environment", "prod", "--channel", "stable", "--json"
    )
    assert again.document["signature"]["created"], "one without an end says something else"
    release(41)
    assert take("c") == 18


@pytest.mark.parametrize(
    "more", [("--sequence", "-1"), ("--sequence", "x"), ("--sequence", str(10**18)), ("--environment", "a\nb")]
)
def test_what_cannot_be_claimed(more: tuple[str, ...], model: Path, tmp_path: Path) -> None:
    assert run("key", "generate", tmp_path / "release", "--no-password").code == 0
    ref = f"oci:{tmp_path}/store:stable"
    assert run("push", model, ref).code == 0
    assert run("sign", ref, "--key", tmp_path / "release.key", *more).code == 2


def test_a_claim_for_another_environment_does_not_count(model: Path, tmp_path: Path) -> None:
    assert run("key", "generate", tmp_path / "release", "--no-password").code == 0
    ref, path = f"oci:{tmp_path}/store:stable", tmp_path / "p.json"
    assert run("push", model, ref).code == 0
    assert run("sign", ref, "--key", tmp_path / "release.key", "--environment", "dev").code == 0
    path.write_text(run("policy", "init", "--key", tmp_path / "release.pub", "--environment", "prod").out)
    assert run("verify", ref, "--policy", path).code == 17
