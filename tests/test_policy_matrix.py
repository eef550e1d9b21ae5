"""Each exit code of a refusal, by its artifact in a real registry, in the three modes, and by nothing else."""

from __future__ import annotations

import copy
import json
import os
import pickle
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ocimodel.oci import media
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store
from ocimodel.stores.protocol import Source
from tests import notary
from tests.certificates import Made, Wish, ca, chain, pem, recent
from tests.commands import Ran, events, run
from tests.documents import check
from tests.real.registry import RealRegistry

MODES = ("enforce", "warn", "audit")
SOFT = ("warn", "audit")
ALWAYS = {14, 16}
"""Refused in every mode."""

PAST, FUTURE = "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"
EVALUATION = "https://example.org/evaluation"
PROVENANCE = {
    "buildDefinition": {
        "buildType": "https://example.org/build",
        "externalParameters": {"model": {"name": "tiny", "version": "1.4.2"}},
        "internalParameters": {"environment": {"accelerator": "H100"}},
    },
    "runDetails": {"builder": {"id": "https://example.org/ci"}},
}

CRL_AT = x509.DistributionPoint([x509.UniformResourceIdentifier("http://127.0.0.1:1/crl")], None, None, None)


def issued(*wishes: dict[str, Any]) -> tuple[Made, ...]:
    """A chain that is valid now: a root, and what is below it."""
    below = (Wish(**{**recent(), "number": 2 + n, **wish}) for n, wish in enumerate(wishes))
    return chain(ca("root", number=1, **recent()), *below)


CHAINS = {
    "chained": issued({"more": ((x509.CRLDistributionPoints([CRL_AT]), False),)}),
    "for-servers": issued({"purposes": ("1.3.6.1.5.5.7.3.1",)}),
    "below-a-leaf": issued({}, {}),
    "without-root": issued({})[:1],
}
"""Tags, and by which chain what they name is signed. Only the first is in order."""


class Evil:
    """What runs a command when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("echo this must never run",)


@dataclass(frozen=True)
class Shelf:
    """A repository with an artifact for each case, and the keys."""

    root: Path
    repository: str

    def ref(self, tag: str) -> str:
        return f"{self.repository}:{tag}"

    def digest(self, tag: str) -> str:
        ran = run("inspect", self.ref(tag), "--json")
        assert ran.code == 0, ran.err
        return str(ran.document["digest"])

    def envelope(self, tag: str, made: tuple[Made, ...]) -> None:
        """Sign in Notation's format: our command signs by no chain that nobody would take."""
        with open_store(Reference.parse(self.ref(tag)), Access()) as store:
            subject, _ = store.get_manifest(tag)
            blob = notary.envelope(made, about=subject, time=datetime.now(UTC).replace(microsecond=0))
            store.put_blob(Source.of(blob))
            store.put_blob(Source.of(media.EMPTY_JSON))
            store.put_manifest(notary.manifest(blob, to=subject), media.OCI_MANIFEST)

    def policy(self, **changes: Any) -> dict[str, Any]:
        """Alice builds, Bob evaluates; one signature by Alice, whatever else is changed."""
        rules: dict[str, Any] = {
            "match": f"{self.repository.partition('/')[0]}/**",
            "environment": "prod",
            "signatures": {"from": ["alice"]},
            "context": {"model.version": ">=1.4,<2"},
            "freshness": {"clockLeeway": "0s"},
        }
        rules |= changes.pop("scope", {})
        keys = {
            name: {"publicKey": (self.root / f"{name}.pub").read_text(), "roles": [role]}
            for name, role in (("alice", "builder"), ("bob", "evaluator"))
        }
        return {"version": 1, "id": "matrix", "keys": keys, "scopes": [rules], "expires": FUTURE} | changes


@pytest.fixture(scope="module")
def shelf(referrers_registry: RealRegistry, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    root = tmp_path_factory.mktemp("matrix")
    found = Shelf(root, referrers_registry.fresh("matrix"))
    for name in ("alice", "bob", "mallory"):
        assert run("key", "generate", root / name, "--no-password").code == 0
    (root / "roots.pem").write_bytes(pem([made[-1] for made in CHAINS.values() if len(made) > 1]))
    (root / "leaf.pub").write_bytes(CHAINS["without-root"][0].signer.public.to_pem())
    (root / "provenance.json").write_text(json.dumps(PROVENANCE))
    (root / "predicate.json").write_text('{"accuracy": 0.95}')

    def push(tag: str, key: str | None, files: dict[str, bytes] | None = None, *more: str) -> None:
        model = root / "models" / tag
        model.mkdir(parents=True)
        for name, data in ({"config.json": b"{}", "notes.md": tag.encode()} | (files or {})).items():
            (model / name).write_bytes(data)
        signing = ["--key", str(root / f"{key}.key")] if key else []
        ran = run("push", model, found.ref(tag), "--provenance", root / "provenance.json", *signing, *more)
        assert ran.code == 0, ran.err

    push("good", "alice")
    push("unsigned", None)
    push("stranger", "mallory")
    push("attested", None)
    push("expired", "alice", None, "--expires", "1s")
    push("revoked", "alice")
    push("pickle", "alice", {"model.pkl": pickle.dumps(Evil())})
    push("renamed", "alice", {"model.weights": pickle.dumps(Evil(), 0)})
    push("flipped", "alice", {"model.dat": bytes(range(256)) * 64})
    push("twice", "alice")
    for more in (["-a", "once=more"], ["--format", "oms"], ["--format", "cosign-legacy"]):
        assert run("sign", found.ref("twice"), "--key", root / "alice.key", *more).code == 0
    push("lent", "alice")
    assert run("sign", found.ref("lent"), "--key", root / "bob.key", "--expires", "90d").code == 0
    for tag, made in CHAINS.items():
        push(tag, None)
        found.envelope(tag, made)
    attest = ("attest", found.ref("attested"), "--type", EVALUATION)
    assert run(*attest, "--predicate", root / "predicate.json", "--key", root / "alice.key").code == 0
    attest = ("attest", found.ref("good"), "--type", EVALUATION)
    assert run(*attest, "--predicate", root / "predicate.json", "--key", root / "bob.key").code == 0
    listed = run("inspect", found.ref("flipped"), "--json").document
    (layer,) = [item for item in listed["files"] if item["path"] == "model.dat"]
    blob = referrers_registry.blob(layer["digest"])
    data = bytearray(blob.read_bytes())
    data[77] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(data)
    time.sleep(1.1)  # until what ends after a second has ended
    return found


@dataclass(frozen=True)
class Case:
    """An artifact, and a policy under which it is refused with ``code``."""

    code: int
    reason: str
    tag: str
    rules: dict[str, Any] | None = None
    members: dict[str, Any] | None = None
    only_pull: bool = False

    def policy(self, shelf: Shelf, mode: str) -> dict[str, Any]:
        members = copy.deepcopy(self.members or {})
        if "revoked" in members:
            members["revoked"] = {"digests": [{"digest": shelf.digest(self.tag), "reason": "poisoned"}]}
        if "certificates" in members:
            roots = (shelf.root / "roots.pem").read_text()
            members["certificates"] = {"acme": {"roots": roots, "subjects": ["*"], **members["certificates"]}}
            if self.reason == "timestamp":
                members["certificates"]["acme"]["timestampRoots"] = roots
        value = shelf.policy(**members)
        value["scopes"][0] |= {"mode": mode, **(self.rules or {})}
        if self.tag == "without-root":
            value["keys"]["acme"] = {"publicKey": (shelf.root / "leaf.pub").read_text()}
        if self.reason == "revoked-key":
            value["keys"]["alice"]["status"] = "revoked"
        if self.reason == "retired-key":
            value["keys"]["alice"] |= {"status": "retired", "retiredAt": PAST}
        if self.reason == "key-not-yet-valid":
            value["keys"]["alice"]["validFrom"] = FUTURE
        return value


ACME = {"signatures": {"from": ["acme"]}}
GATE = {"predicateType": EVALUATION, "from": ["bob"]}
CASES = {
    "10-unsigned": Case(10, "unsigned", "unsigned"),
    "10-attested-only": Case(10, "unsigned", "attested"),
    "12-stranger": Case(12, "untrusted-signer", "stranger"),
    "12-too-few": Case(12, "too-few", "good", {"signatures": {"from": ["alice", "bob"], "threshold": 2}}),
    "12-one-key-often": Case(12, "too-few", "twice", {"signatures": {"from": ["alice", "bob"], "threshold": 2}}),
    "12-role": Case(12, "untrusted-signer", "good", {"signatures": {"roles": {"evaluator": 1}}}),
    "12-nobody": Case(12, "no-key", "good", {"signatures": {"from": []}}),
    "13-purpose": Case(13, "certificate", "for-servers", ACME, {"certificates": {}}),
    "13-no-authority": Case(13, "certificate", "below-a-leaf", ACME, {"certificates": {}}),
    "13-no-root": Case(13, "certificate", "without-root", ACME),
    "13-no-timestamp": Case(13, "timestamp", "chained", ACME, {"certificates": {}}),
    "13-unheard-of": Case(
        13, "revocation-unknown", "chained", ACME, {"certificates": {"revocation": {"mode": "offline"}}}
    ),
    "14-flipped": Case(14, "digest-mismatch", "flipped", {"formats": {"deny": []}}, only_pull=True),
    "15-expired": Case(15, "expired", "expired"),
    "15-no-end": Case(15, "no-expiry", "good", {"freshness": {"requireExpiry": True}}),
    "15-an-end-of-another": Case(15, "no-expiry", "lent", {"freshness": {"requireExpiry": True}}),
    "15-retired": Case(15, "retired-key", "good"),
    "15-early": Case(15, "key-not-yet-valid", "good"),
    "16-digest": Case(16, "revoked-digest", "revoked", members={"revoked": {}}),
    "16-key": Case(16, "revoked-key", "good"),
    "17-version": Case(17, "metadata-mismatch", "good", {"context": {"model.version": ">=2"}}),
    "17-accelerator": Case(17, "metadata-mismatch", "good", {"context": {"accelerator": ["T4"]}}),
    "18-floor": Case(18, "rollback", "good", {"minSequence": 3}),
    "19-missing": Case(19, "missing-attestation", "revoked", {"attestations": [GATE]}),
    "19-fails": Case(
        19,
        "attestation-fails",
        "good",
        {"attestations": [{**GATE, "schema": {"properties": {"accuracy": {"minimum": 0.99}}}}]},
    ),
    "19-named-pickle": Case(19, "format-denied", "pickle"),
    "19-renamed-pickle": Case(19, "format-denied", "renamed", only_pull=True),
    "21-stale": Case(21, "stale-policy", "good", members={"expires": PAST}),
}


def written(path: Path, value: dict[str, Any]) -> Path:
    path.write_text(json.dumps(value))
    return path


def judged(ran: Ran) -> tuple[int, int, str, set[str]]:
    document = check(ran.document)
    assert document["exitCode"] == ran.code
    return ran.code, document["wouldExit"], document["outcome"], {item["reason"] for item in document["reasons"]}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CASES)
def test_each_refusal_in_each_mode(shelf: Shelf, tmp_path: Path, name: str, mode: str) -> None:
    case = CASES[name]
    policy = written(tmp_path / "policy.json", case.policy(shelf, mode))
    assert run("policy", "check", policy).code == 0
    out = tmp_path / "out"
    ran = run("pull", shelf.ref(case.tag), "-o", out, "--policy", policy, "--json", "--cache", "off")
    refused = mode == "enforce" or case.code in ALWAYS
    assert judged(ran) == (
        case.code if refused else 0,
        case.code,
        "fail" if refused else "warn",
        {case.reason},
    )
    assert out.exists() != refused
    assert ("warning: " in ran.err) == (mode == "warn" and not refused)
    event = events()[-1]["data"]
    assert (event["mode"], event["exitCode"], event["wouldExit"]) == (mode, ran.code, case.code)
    assert (event["environment"], event["policy"]["id"]) == ("prod", "matrix")
    if not refused:
        assert ran.document["verified"] is False
    if not case.only_pull:
        assert judged(run("verify", shelf.ref(case.tag), "--policy", policy, "--json"))[:2] == (ran.code, case.code)
        explained = check(run("policy", "explain", policy, shelf.ref(case.tag), "--json").document)
        assert (explained["exitCode"], explained["wouldExit"]) == (0, case.code)
        assert any(item["remedy"] for item in explained["checks"])
    hard = run(
        "pull", shelf.ref(case.tag), "-o", tmp_path / "hard", "--policy", policy, "--enforce", "--cache", "off"
    )
    assert hard.code == case.code
    assert not (tmp_path / "hard").exists()


@pytest.mark.parametrize("mode", MODES)
def test_the_good_one_passes_in_every_mode(shelf: Shelf, tmp_path: Path, mode: str) -> None:
    value = shelf.policy(scope={"mode": mode, "attestations": [GATE]})
    value["scopes"][0]["environment"] = "prod"
    policy = written(tmp_path / "policy.json", value)
    out = tmp_path / "out"
    assert judged(run("pull", shelf.ref("good"), "-o", out, "--policy", policy, "--json")) == (0, 0, "pass", set())
    assert judged(run("verify", shelf.ref("good"), "--policy", policy, "--json")) == (0, 0, "pass", set())
    # The directory has no name but its path; told where it is from, it is judged like its source.
    assert run("verify", out, "--policy", policy).code == 12
    named = run("verify", out, "--policy", policy, "--as", shelf.repository, "--json", "--offline")
    assert judged(named) == (0, 0, "pass", set())


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.code != 14])
def test_what_is_refused_passes_once_that_one_thing_is_put_right(shelf: Shelf, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    value = shelf.policy()
    value["scopes"][0] |= {"formats": {"deny": []}}
    if case.code == 13:
        value = Case(13, "", "", ACME, {"certificates": {}}).policy(shelf, "enforce")
        if case.tag != "chained":
            shelf.envelope(case.tag, CHAINS["chained"])
    elif case.tag in ("unsigned", "attested", "stranger", "expired"):
        ran = run("sign", shelf.ref(case.tag), "--key", shelf.root / "alice.key", "-a", f"put-right={name}")
        assert ran.code == 0, ran.err
    policy = written(tmp_path / "policy.json", value)
    try:
        assert run("verify", shelf.ref(case.tag), "--policy", policy).code == 0
    finally:
        if case.tag in ("unsigned", "attested", "stranger", "expired", *CHAINS):
            _forget(shelf, case.tag)


def test_every_code_is_among_them() -> None:
    """11 is no refusal but has its test below; 20 means nothing yet."""
    assert {case.code for case in CASES.values()} | {11, 20} == set(range(10, 22))


@pytest.mark.parametrize("mode", MODES)
def test_nothing_that_is_not_there_is_let_through_in_any_mode(shelf: Shelf, tmp_path: Path, mode: str) -> None:
    policy = written(tmp_path / "policy.json", shelf.policy(scope={"mode": mode}))
    ran = run("pull", shelf.ref("nowhere"), "-o", tmp_path / "out", "--policy", policy, "--json")
    assert (ran.code, ran.document["outcome"], (tmp_path / "out").exists()) == (11, "error", False)
    assert run("verify", shelf.ref("nowhere"), "--policy", policy).code == 11


UNDER_ONE_POLICY: dict[str, set[tuple[int, str]]] = {
    "good": set(),
    "revoked": set(),
    "twice": set(),
    "lent": set(),
    "renamed": set(),
    "flipped": set(),
    "unsigned": {(10, "unsigned")},
    "attested": {(10, "unsigned")},
    "stranger": {(12, "untrusted-signer")},
    "chained": set(),
    "for-servers": {(13, "certificate")},
    "below-a-leaf": {(13, "certificate")},
    "without-root": {(12, "untrusted-signer")},
    "expired": {(15, "expired")},
    "pickle": {(19, "format-denied")},
}
"""What `verify`, which reads no weights, says of each artifact where either Alice or acme may sign."""


@pytest.mark.parametrize("mode", MODES)
def test_a_code_is_reached_by_nothing_else(shelf: Shelf, tmp_path: Path, mode: str) -> None:
    """One policy for all: what is wrong with one artifact is said of that one, and nothing besides."""
    rules = {"mode": mode, "signatures": {"from": ["alice", "acme"]}}
    policy = written(tmp_path / "policy.json", Case(0, "", "", rules, {"certificates": {}}).policy(shelf, mode))
    for tag, wanted in UNDER_ONE_POLICY.items():
        found = judged(run("verify", shelf.ref(tag), "--policy", policy, "--json"))
        would = next(iter(code for code, _ in wanted), 0)
        code = would if mode == "enforce" else 0
        outcome = "pass" if not would else "fail" if code else "warn"
        assert found == (code, would, outcome, {reason for _, reason in wanted}), tag


def _forget(shelf: Shelf, tag: str) -> None:
    """Cases share artifacts: each gets a new one, since signatures are never taken away."""
    model = shelf.root / "models" / tag
    (model / "notes.md").write_text(f"{tag} {time.monotonic_ns()}")
    key = {"stranger": "mallory", "expired": "alice"}.get(tag)
    signing = ["--key", str(shelf.root / f"{key}.key")] if key else []
    signing += ["--expires", "1s"] if tag == "expired" else []
    ran = run("push", model, shelf.ref(tag), "--provenance", shelf.root / "provenance.json", *signing)
    assert ran.code == 0, ran.err
    if tag in CHAINS:
        shelf.envelope(tag, CHAINS[tag])
    if tag == "expired":
        time.sleep(1.1)


@pytest.mark.parametrize("mode", MODES)
def test_a_name_without_a_scope_is_refused_in_every_mode(shelf: Shelf, tmp_path: Path, mode: str) -> None:
    value = shelf.policy(scope={"mode": mode, "match": "elsewhere.example/**"})
    policy = written(tmp_path / "policy.json", value)
    assert judged(run("verify", shelf.ref("good"), "--policy", policy, "--json")) == (12, 12, "fail", {"no-scope"})
    assert "Add a scope" in run("verify", shelf.ref("good"), "--policy", policy).error[1]
    named = ("verify", shelf.ref("good"), "--policy", policy, "--as", "elsewhere.example/x", "--json")
    assert judged(run(*named))[:2] == (0, 0)


@pytest.mark.parametrize("mode", SOFT)
def test_a_revoked_digest_beats_an_exemption(shelf: Shelf, tmp_path: Path, mode: str) -> None:
    digest = shelf.digest("revoked")
    exemption = {"digest": digest, "reason": "r", "owner": "ops", "expires": FUTURE}
    value = shelf.policy(
        scope={"mode": mode, "exemptions": [exemption]}, revoked={"digests": [{"digest": digest, "reason": "r"}]}
    )
    policy = written(tmp_path / "policy.json", value)
    assert run("verify", shelf.ref("revoked"), "--policy", policy).code == 16


def test_no_layer_is_asked_for_before_the_verdict_but_the_provenance(
    shelf: Shelf, referrers_registry: RealRegistry, tmp_path: Path
) -> None:
    """Of an artifact whose signature suffices and whose metadata does not, only the provenance was fetched."""
    policy = written(tmp_path / "policy.json", CASES["17-version"].policy(shelf, "enforce"))
    before = referrers_registry.log.read_text()
    assert run("pull", shelf.ref("good"), "-o", tmp_path / "out", "--policy", policy, "--cache", "off").code == 17
    asked = referrers_registry.log.read_text()[len(before) :]
    listed = run("inspect", shelf.ref("good"), "--json").document
    assert not [item["path"] for item in listed["files"] if f"/blobs/{item['digest']}" in asked]
