"""Signing again: what an old key has signed well, with what it claims, and of a stolen key only what is known."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ocimodel.attest.statement import signature_statement
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store
from ocimodel.trust.claims import format_time
from ocimodel.verbs.attaching import store_attachment
from tests.commands import Ran, events, run
from tests.documents import check
from tests.real.registry import RealRegistry
from tests.signers import ALICE, BOB, attachment


class Repository:
    """Artifacts under tags, and keys beside it."""

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name = root, name
        for key in ("old", "new", "other"):
            assert run("key", "generate", root / key, "--no-password").code == 0

    def push(self, tag: str, *more: str, key: str = "old", content: str = "") -> str:
        model = self.root / "model"
        model.mkdir(exist_ok=True)
        (model / "config.json").write_text(json.dumps({"release": content or tag}))
        ran = run("push", model, f"{self.name}:{tag}", "--key", self.root / f"{key}.key", *more)
        assert ran.code == 0, ran.err
        return ran.out.strip().partition("@")[2]

    def resign(self, *more: str | Path, old: str = "old", new: str = "new", name: str = "") -> Ran:
        keys = ("--old-key", self.root / f"{old}.pub", "--key", self.root / f"{new}.key")
        return run("resign", name or self.name, *keys, *more)

    def signed(self, tag: str, key: str = "new") -> int:
        return run("verify", f"{self.name}:{tag}", "--key", self.root / f"{key}.pub").code

    def claims(self, tag: str, key: str = "new") -> list[dict[str, str]]:
        document = run("verify", f"{self.name}:{tag}", "--key", self.root / f"{key}.pub", "--json").document
        return [signer["claims"] for signer in document["signers"] if signer["status"] == "good"]

    def policy(self, **old: Any) -> Path:
        value = json.loads(
            run("policy", "init", "--key", self.root / "old.pub", "--key", self.root / "new.pub").out
        )
        value["keys"]["old"] |= old
        path = self.root / "policy.json"
        path.write_text(json.dumps(value))
        return path


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path, f"oci:{tmp_path}/store")


def outcomes(ran: Ran) -> dict[str, str]:
    assert ran.code == 0, ran.err
    return {tag: item["outcome"] for item in check(ran.document)["artifacts"] for tag in item["tags"]}


# --- rotation -------------------------------------------------------------------------------------------------


def test_everything_that_the_old_key_signed(repository: Repository) -> None:
    repository.push("v1", "-a", "team=vision")
    repository.push("v2", "--expires", "30d")
    repository.push("v3", key="other")
    dry = outcomes(repository.resign("--dry-run", "--json"))
    assert (dry, repository.signed("v1")) == ({"v1": "signed", "v2": "signed", "v3": "none"}, 12)
    ran = repository.resign("--json")
    assert outcomes(ran) == dry
    assert [repository.signed(tag) for tag in ("v1", "v2", "v3")] == [0, 0, 12]
    assert [repository.signed(tag, "old") for tag in ("v1", "v2")] == [0, 0], "the old signatures stay"
    assert repository.claims("v1") == [{"team": "vision"}]
    assert repository.claims("v2") == repository.claims("v2", "old") != [{}]
    event = [item for item in events() if item["type"].endswith("resign.v1")][-1]
    assert {signer["status"] for signer in event["data"]["signers"]} == {"created"}
    again = repository.resign("--json")
    assert outcomes(again) == {"v1": "present", "v2": "present", "v3": "none"}
    assert check(again.document)["signers"] == []
    assert "0 artifacts signed, 2 already, 0 left" in repository.resign().out


def test_another_end(repository: Repository) -> None:
    repository.push("v1", "--expires", "30d")
    assert outcomes(repository.resign("--expires", "90d", "--json")) == {"v1": "signed"}
    (claims,) = repository.claims("v1")
    end = datetime.fromisoformat(claims[media.CLAIM_EXPIRES])
    assert end - datetime.now(UTC) > timedelta(days=80)
    assert outcomes(repository.resign("--expires", "90d", "--json")) == {"v1": "present"}


def test_claims_of_ours_are_carried_over(repository: Repository) -> None:
    repository.push("v1", key="other")
    signed = ("--sequence", "41", "--environment", "prod", "--channel", "stable")
    assert run("sign", f"{repository.name}:v1", "--key", repository.root / "old.key", *signed).code == 0
    assert outcomes(repository.resign("--json")) == {"v1": "signed"}
    assert repository.claims("v1") == [
        {media.CLAIM_SEQUENCE: "41", media.CLAIM_ENVIRONMENT: "prod", media.CLAIM_CHANNEL: "stable"}
    ]


def test_several_signatures_by_the_old_key(repository: Repository) -> None:
    repository.push("v1")
    for number in ("1", "2"):
        assert (
            run("sign", f"{repository.name}:v1", "--key", repository.root / "old.key", "-a", f"n={number}").code
            == 0
        )
    repository.resign()
    assert sorted(claims.get("n", "") for claims in repository.claims("v1")) == ["", "1", "2"]


def test_one_artifact_alone(repository: Repository) -> None:
    digest = repository.push("v1")
    repository.push("v2")
    assert outcomes(repository.resign("--json", name=f"{repository.name}:v1")) == {"v1": "signed"}
    assert repository.signed("v2") == 12
    ran = repository.resign("--json", name=f"{repository.name}@{digest}")
    assert check(ran.document)["artifacts"][0]["outcome"] == "present"


def test_what_has_expired_is_left(repository: Repository) -> None:
    digest = repository.push("v1", key="other")
    with open_store(Reference.parse(repository.name), Access()) as store:
        subject, _ = store.get_manifest(Digest.parse(digest))
        past = format_time(datetime.now(UTC) - timedelta(days=1))
        statement = signature_statement(subject.digest, {media.CLAIM_EXPIRES: past})
        store_attachment(store, subject, attachment(ALICE, about=subject, to=subject, statement=statement))
    (repository.root / "alice.pub").write_bytes(ALICE.public.to_pem())
    ran = repository.resign("--json", old="alice")
    assert outcomes(ran) == {"v1": "left"}
    assert "expired" in ran.err


def test_attestations_on_request(repository: Repository) -> None:
    digest = repository.push("v1")
    predicate = repository.root / "predicate.json"
    predicate.write_text('{"accuracy": 0.90}')
    ref = f"{repository.name}@{digest}"
    said = ("--type", "https://example.org/evaluation/v1", "--predicate", predicate)
    assert run("attest", ref, *said, "--key", repository.root / "old.key").code == 0
    repository.resign()
    new = repository.root / "new.pub"

    def shown() -> list[str]:
        document = run("attest", "show", ref, "--key", new, "--json").document
        return [item["status"] for item in document["attestations"]]

    assert shown().count("good") == 0
    assert outcomes(repository.resign("--attestations", "--json")) == {"v1": "signed"}
    assert shown().count("good") == 1
    assert outcomes(repository.resign("--attestations", "--json")) == {"v1": "present"}


# --- a stolen key ---------------------------------------------------------------------------------------------


def test_of_a_stolen_key_only_what_is_known(repository: Repository) -> None:
    good = repository.push("v1")
    repository.push("v2")
    policy = repository.policy(status="revoked", reason="stolen")
    ran = repository.resign("--policy", policy)
    assert (ran.code, "--known-good" in ran.err) == (2, True)
    listed = repository.root / "good.txt"
    listed.write_text(f"# from the audit log\n{repository.name}@{good}   # v1\n\n")
    ran = repository.resign("--policy", policy, "--known-good", listed, "--json")
    assert outcomes(ran) == {"v1": "signed", "v2": "left"}
    assert "was not signed: it is not known to be good" in ran.err
    assert check(ran.document)["outcome"] == "warn"
    assert (repository.signed("v1"), repository.signed("v2")) == (0, 12)


def test_a_list_makes_the_old_key_a_stolen_one(repository: Repository) -> None:
    repository.push("v1")
    empty = repository.root / "good.txt"
    empty.write_text("")
    assert outcomes(repository.resign("--known-good", empty, "--json")) == {"v1": "left"}


def test_what_a_thief_claims_of_a_good_artifact_is_not_said_again(repository: Repository) -> None:
    digest = repository.push("v1", "-a", "checked=yes")
    mine = run("verify", f"{repository.name}:v1", "--key", repository.root / "old.pub", "--json").document
    forged = run("sign", f"{repository.name}:v1", "--key", repository.root / "old.key", "--sequence", "9" * 18)
    assert forged.code == 0
    listed = repository.root / "good.txt"
    listed.write_text(digest)
    ran = repository.resign("--known-good", listed, "--json")
    assert outcomes(ran) == {"v1": "left"}
    assert "says several things" in ran.err
    listed.write_text(f"{digest}\n{mine['signers'][0]['digest']}\n")
    assert outcomes(repository.resign("--known-good", listed, "--json")) == {"v1": "signed"}
    assert repository.claims("v1") == [{"checked": "yes"}]


def test_a_revoked_digest_is_never_signed(repository: Repository) -> None:
    digest = repository.push("v1")
    policy = repository.policy()
    assert run("revoke", "digest", digest, "--policy", policy, "--reason", "leaked").code == 0
    listed = repository.root / "good.txt"
    listed.write_text(digest)
    ran = repository.resign("--policy", policy, "--known-good", listed, "--json")
    assert outcomes(ran) == {"v1": "left"}
    assert "leaked" in ran.err


def test_a_trusted_time_before_the_theft(repository: Repository) -> None:
    """A promoter's summary lists the signature: it was there then, whoever has the key now."""
    assert run("key", "generate", repository.root / "promoter", "--no-password").code == 0
    repository.push("v1")
    keys = ("--key", repository.root / "old.pub", "--promoter", repository.root / "promoter.pub")
    policy = repository.root / "p.json"
    before = json.loads(run("policy", "init", *keys, "--environment", "prod").out)
    without = {**before, "scopes": [{**before["scopes"][0], "attestations": []}]}
    policy.write_text(json.dumps(without))
    promoted = run(
        *("promote", f"{repository.name}:v1", f"{repository.name}:stable", "--policy", policy),
        *("--key", repository.root / "promoter.key"),
    )
    assert promoted.code == 0, promoted.err
    repository.push("v2")
    hour = timedelta(hours=1)
    after, early = format_time(datetime.now(UTC) + hour), format_time(datetime.now(UTC) - hour)
    policy.write_text(json.dumps(before))
    assert repository.resign("--before", after).code == 2, "nobody says whose times count"
    revoked = ("--policy", policy, "--reason", "stolen", "--compromised-since", after)
    assert run("revoke", "key", "old", *revoked).code == 0
    never = repository.resign("--policy", policy, "--before", early, "--json")
    assert set(outcomes(never).values()) == {"left"}
    ran = repository.resign("--policy", policy, "--json")
    assert outcomes(ran) == {"stable": "signed", "v1": "signed", "v2": "left"}


# --- misuse ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [("--known-good", "none.txt"), ("--before", "yesterday")])
def test_what_cannot_be_meant(more: tuple[str, str], repository: Repository) -> None:
    repository.push("v1")
    assert repository.resign(*more).code == 2
    assert repository.resign(old="new").code == 2


def test_a_list_that_is_none(repository: Repository) -> None:
    repository.push("v1")
    listed = repository.root / "good.txt"
    for text in ("latest\n", "sha256:12\n"):
        listed.write_text(text)
        ran = repository.resign("--known-good", listed)
        assert (ran.code, "line 1" in ran.err) == (2, True)


def test_a_bad_signature_that_names_the_old_key_is_not_said_again(repository: Repository) -> None:
    """Anybody who may push can attach one; nothing is signed because of it."""
    digest = repository.push("v1", key="other")
    with open_store(Reference.parse(repository.name), Access()) as store:
        subject, _ = store.get_manifest(Digest.parse(digest))
        forged = attachment(BOB, about=subject, to=subject, keyid=ALICE.public.keyid)
        store_attachment(store, subject, forged)
    (repository.root / "alice.pub").write_bytes(ALICE.public.to_pem())
    assert outcomes(repository.resign("--json", old="alice")) == {"v1": "none"}
    assert repository.signed("v1") == 12


@pytest.mark.peer
def test_over_real_registries(real_registry: RealRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository(tmp_path, real_registry.fresh())
    hosts = [real_registry.host]
    if real_registry.issuer is not None:
        hosts.append(real_registry.issuer.realm.split("/")[2])
    monkeypatch.setenv("OCIMODEL_PLAIN_HTTP", " ".join(hosts))
    repository.push("v1", "-a", "team=vision")
    repository.push("v2")
    repository.push("v3", key="other")
    assert outcomes(repository.resign("--json")) == {"v1": "signed", "v2": "signed", "v3": "none"}
    assert outcomes(repository.resign("--json")) == {"v1": "present", "v2": "present", "v3": "none"}
    assert repository.claims("v1") == [{"team": "vision"}]
