"""The policy file: what is read, what is refused with which field, and that schema and decoder agree."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.errors import ConfigurationError
from ocimodel.model.formats import FORMATS
from ocimodel.trust import files
from ocimodel.trust.document import parse
from ocimodel.trust.remarks import remarks
from ocimodel.trust.verdict import SOFTENABLE
from tests.documents import problems, schema
from tests.policies import document, line, no_files, policy, ring, scope
from tests.signers import ALICE, BOB, MALLORY

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DIGEST = "sha256:" + "0" * 64
PEM = ALICE.public.to_pem().decode()

EVERYTHING = document(
    scope(
        "reg.acme/ml-prod/**",
        environment="prod",
        mode="warn",
        checks={"expiry": "enforce", "metadata": "audit", "integrity": "enforce"},
        signatures={"threshold": 2, "from": ["alice", "bob"], "roles": {"approver": 1}},
        attestations=[
            {
                "predicateType": "https://example.org/evaluation",
                "name": "accuracy",
                "from": ["carol"],
                "schema": {"properties": {"accuracy": {"minimum": 0.9}}, "required": ["accuracy"]},
                "maxAge": "30d",
                "time": "measuredAt",
            },
            {"predicateType": "slsaprovenance1", "roles": ["builder"], "threshold": 1},
        ],
        formats={"allow": ["safetensors", "gguf"], "deny": ["onnx"]},
        context={"model.version": ">=1.4,<2", "accelerator": ["H100", "H200"], "stage": "final"},
        minSequence=7,
        freshness={"clockLeeway": "5m", "maxAge": "7d", "requireExpiry": True, "maxValidity": "90d"},
        cacheVerify="fast",
        exemptions=[{"digest": DIGEST, "reason": "old", "owner": "ops", "expires": "2027-01-01T00:00:00Z"}],
    ),
    scope("oci:**"),
    id="prod-2026-11",
    serial=7,
    issued="2026-05-01T00:00:00Z",
    expires="2026-12-01T00:00:00Z",
    revoked={"digests": [{"digest": DIGEST, "reason": "poisoned", "replacedBy": "1.4.1"}]},
    keys=ring(
        bob=line(BOB, "approver", status="retired", retiredAt="2026-05-01T00:00:00Z", replacedBy="carol"),
        mallory=line(MALLORY, status="revoked", compromisedSince="2026-01-01T00:00:00Z", reason="stolen"),
    ),
)


def test_everything_is_read() -> None:
    found = policy(EVERYTHING)
    assert (found.id, found.serial, found.expires) == ("prod-2026-11", 7, datetime(2026, 12, 1, tzinfo=UTC))
    rules = found.rules_for("reg.acme/ml-prod/bert")
    assert rules is not None
    assert (rules.environment, rules.mode, rules.cache_verify, rules.min_sequence) == ("prod", "warn", "fast", 7)
    assert rules.demand.places == ("approver", "any")
    assert rules.demand.entries == {"alice", "bob"}
    assert [(gate.title, gate.demand.entries) for gate in rules.gates] == [
        ("accuracy", frozenset({"carol"})),
        ("https://slsa.dev/provenance/v1", frozenset({"alice"})),
    ]
    assert rules.gates[0].time == ("measuredAt",)
    assert rules.formats.allow == frozenset({"safetensors", "gguf"})
    assert rules.formats.deny == frozenset({"onnx", "pickle"})
    assert (rules.leeway, rules.max_age, rules.longest) == (
        timedelta(minutes=5),
        timedelta(days=7),
        timedelta(days=90),
    )
    assert str(rules.exemptions[DIGEST]).startswith("exempted by ops until 2027-01-01")
    assert found.rules_for("elsewhere/x") is None
    bob = found.ring.named("bob")
    assert bob is not None
    assert (bob.standing.status, bob.standing.replaced_by) == ("retired", "carol")
    assert problems(EVERYTHING, "policy") == []


def test_what_is_not_said_is_strict() -> None:
    rules = policy().rules_for("registry.example.org/model")
    assert rules is not None
    assert (rules.mode, rules.leeway, rules.cache_verify) == ("enforce", timedelta(seconds=60), "always")
    plain = policy(document({"match": "**", "signatures": {"from": ["alice"]}})).rules_for("x")
    assert plain is not None
    assert plain.formats.refuses("pickle")
    assert not plain.formats.refuses("safetensors")


@pytest.mark.parametrize(
    "formats", [{}, {"deny": ["onnx"]}, {"allow": ["safetensors"]}, {"allow": ["onnx"], "deny": []}]
)
def test_pickles_are_out_unless_they_are_allowed(formats: dict[str, Any]) -> None:
    rules = policy(document(scope(formats=formats))).rules_for("registry.example.org/model")
    assert rules is not None
    assert rules.formats.refuses("pickle")


@pytest.mark.parametrize("formats", [{"deny": []}, {"allow": ["pickle"]}, {"allow": ["pickle"], "deny": ["onnx"]}])
def test_pickles_are_let_in_by_whoever_says_so(formats: dict[str, Any]) -> None:
    rules = policy(document(scope(formats=formats))).rules_for("registry.example.org/model")
    assert rules is not None
    assert not rules.formats.refuses("pickle")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no-version": ({"version": None}, "version"),
    "other-version": ({"version": 2}, "version"),
    "unknown": ({"threshold": 1}, "threshold"),
    "no-scopes": ({"scopes": None}, "scopes"),
    "scope-unknown": ({"scopes": [scope(mod="warn")]}, "scopes[0].mod"),
    "match-missing": ({"scopes": [{"signatures": {"from": []}}]}, "scopes[0].match"),
    "match-empty": ({"scopes": [scope("")]}, "scopes[0].match"),
    "match-brace": ({"scopes": [scope("a/{b,c}")]}, "scopes[0].match"),
    "match-tag": ({"scopes": [scope("a/b@sha256")]}, "scopes[0].match"),
    "no-signatures": ({"scopes": [{"match": "**"}]}, "scopes[0].signatures"),
    "nobody": ({"scopes": [scope(signatures={"threshold": 1})]}, "scopes[0].signatures"),
    "stranger": ({"scopes": [scope(signatures={"from": ["dave"]})]}, "scopes[0].signatures.from[0]"),
    "twice": ({"scopes": [scope(signatures={"from": ["alice", "alice"]})]}, "scopes[0].signatures.from"),
    "too-many": ({"scopes": [scope(signatures={"from": ["alice"], "threshold": 2})]}, "scopes[0].signatures"),
    "zero": ({"scopes": [scope(signatures={"from": ["alice"], "threshold": 0})]}, "scopes[0].signatures.threshold"),
    "true": ({"scopes": [scope(signatures={"from": ["alice"], "threshold": True})]}, "threshold"),
    "role": ({"scopes": [scope(signatures={"roles": {"boss": 1}})]}, "scopes[0].signatures.roles.boss"),
    "role-unfilled": ({"scopes": [scope(signatures={"from": ["alice"], "roles": {"approver": 1}})]}, "approver"),
    "mode": ({"scopes": [scope(mode="off")]}, "scopes[0].mode"),
    "check": ({"scopes": [scope(checks={"luck": "warn"})]}, "scopes[0].checks.luck"),
    "check-mode": ({"scopes": [scope(checks={"expiry": "skip"})]}, "scopes[0].checks.expiry"),
    "soft-revocation": ({"scopes": [scope(checks={"revocation": "warn"})]}, "scopes[0].checks.revocation"),
    "soft-integrity": ({"scopes": [scope(checks={"integrity": "audit"})]}, "scopes[0].checks.integrity"),
    "gate-type": ({"scopes": [scope(attestations=[{"predicateType": "x", "from": ["alice"]}])]}, "predicateType"),
    "gate-signature": (
        {
            "scopes": [
                scope(attestations=[{"predicateType": "https://sigstore.dev/cosign/sign/v1", "from": ["alice"]}])
            ]
        },
        "attestations[0].predicateType",
    ),
    "gate-nobody": ({"scopes": [scope(attestations=[{"predicateType": "https://e/x"}])]}, "attestations[0]"),
    "gate-no-such-role": (
        {"scopes": [scope(attestations=[{"predicateType": "https://e/x", "roles": ["evaluator"]}])]},
        "attestations[0].roles",
    ),
    "gate-schema": (
        {
            "scopes": [
                scope(attestations=[{"predicateType": "https://e/x", "from": ["bob"], "schema": {"type": 1}}])
            ]
        },
        "attestations[0].schema",
    ),
    "gate-remote": (
        {
            "scopes": [
                scope(
                    attestations=[
                        {
                            "predicateType": "https://e/x",
                            "from": ["bob"],
                            "schema": {"properties": {"a": {"$ref": "https://evil.example/s"}}},
                        }
                    ]
                )
            ]
        },
        "attestations[0].schema.properties.a",
    ),
    "format": ({"scopes": [scope(formats={"deny": ["exe"]})]}, "scopes[0].formats.deny[0]"),
    "format-both": (
        {"scopes": [scope(formats={"allow": ["onnx"], "deny": ["onnx"]})]},
        "scopes[0].formats.deny",
    ),
    "context-range": ({"scopes": [scope(context={"model.version": ">=one"})]}, "scopes[0].context.model.version"),
    "context-empty": ({"scopes": [scope(context={"accelerator": []})]}, "scopes[0].context.accelerator"),
    "floor": ({"scopes": [scope(minSequence=-1)]}, "scopes[0].minSequence"),
    "leeway": ({"scopes": [scope(freshness={"clockLeeway": "2h"})]}, "scopes[0].freshness.clockLeeway"),
    "leeway-number": ({"scopes": [scope(freshness={"clockLeeway": 60})]}, "scopes[0].freshness.clockLeeway"),
    "age-without-issue": ({"scopes": [scope(freshness={"maxAge": "7d"})]}, "scopes[0].freshness.maxAge"),
    "cache": ({"scopes": [scope(cacheVerify="never")]}, "scopes[0].cacheVerify"),
    "exemption-owner": (
        {"scopes": [scope(exemptions=[{"digest": DIGEST, "reason": "r", "expires": "2027-01-01T00:00:00Z"}])]},
        "scopes[0].exemptions[0].owner",
    ),
    "exemption-blank": (
        {
            "scopes": [
                scope(
                    exemptions=[{"digest": DIGEST, "reason": " ", "owner": "o", "expires": "2027-01-01T00:00:00Z"}]
                )
            ]
        },
        "scopes[0].exemptions[0].reason",
    ),
    "exemption-for-ever": (
        {"scopes": [scope(exemptions=[{"digest": DIGEST, "reason": "r", "owner": "o"}])]},
        "scopes[0].exemptions[0].expires",
    ),
    "tie": ({"scopes": [scope("a/*"), scope("a/**")]}, "scopes[0] and scopes[1]"),
    "key-none": ({"keys": {"a": {"roles": []}}}, "keys.a"),
    "key-two": ({"keys": {"a": {"publicKey": PEM, "publicKeyFile": "a.pub"}}}, "keys.a"),
    "key-bad": ({"keys": {"a": {"publicKey": "no key"}}}, "keys.a.publicKey"),
    "key-name": ({"keys": {"a b": {"publicKey": PEM}}}, "keys.a b"),
    "key-role": ({"keys": {"a": {"publicKey": PEM, "roles": ["boss"]}}}, "keys.a.roles[0]"),
    "key-status": ({"keys": {"a": {"publicKey": PEM, "status": "lost"}}}, "keys.a.status"),
    "key-time": ({"keys": {"a": {"publicKey": PEM, "validFrom": "yesterday"}}}, "keys.a.validFrom"),
    "key-retired": ({"keys": {"a": {"publicKey": PEM, "status": "retired"}}}, "keys.a"),
    "key-retired-active": ({"keys": {"a": {"publicKey": PEM, "retiredAt": "2026-01-01T00:00:00Z"}}}, "retiredAt"),
    "key-compromised": (
        {"keys": {"a": {"publicKey": PEM, "compromisedSince": "2026-01-01T00:00:00Z"}}},
        "keys.a.compromisedSince",
    ),
    "key-window": (
        {
            "keys": {
                "a": {"publicKey": PEM, "validFrom": "2026-02-01T00:00:00Z", "validUntil": "2026-01-01T00:00:00Z"}
            }
        },
        "keys.a.validUntil",
    ),
    "key-twice": ({"keys": {"a": {"publicKey": PEM}, "b": {"publicKey": PEM}}}, "twice"),
    "revoked": ({"revoked": {"digests": [{"digest": "sha256:0", "reason": "r"}]}}, "revoked.digests[0].digest"),
    "revoked-why": ({"revoked": {"digests": [{"digest": DIGEST}]}}, "revoked.digests[0].reason"),
    "revoked-key": ({"revoked": {"keys": []}}, "revoked.keys"),
    "expires": ({"expires": "2026-12-01"}, "expires"),
    "serial": ({"serial": -1}, "serial"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_no_policy_may_be(case: str) -> None:
    change, field = WRONG[case]
    with pytest.raises(ConfigurationError, match=re.escape(field)) as caught:
        policy(document(scope()) | change)
    assert caught.value.exit_code == 3
    assert caught.value.hint


# What the schema cannot know: names, ties, numbers that do not go together, times, patterns, PEM.
BEYOND = {
    *("stranger", "too-many", "role-unfilled", "gate-type", "gate-signature", "gate-no-such-role", "gate-schema"),
    *("gate-remote", "format-both", "context-range", "leeway", "age-without-issue", "exemption-blank", "tie"),
    *("key-bad", "key-window", "key-twice", "match-brace", "match-tag"),
}


@pytest.mark.parametrize("case", sorted(set(WRONG) - BEYOND))
def test_the_schema_refuses_it_as_well(case: str) -> None:
    assert problems(document(scope()) | WRONG[case][0], "policy")


@pytest.mark.parametrize("case", sorted(BEYOND))
def test_the_schema_claims_no_more_than_it_knows(case: str) -> None:
    assert problems(document(scope()) | WRONG[case][0], "policy") == []


def test_the_schema_names_every_format_and_check() -> None:
    value = schema("policy")
    assert value["$defs"]["formats"]["items"]["enum"] == list(FORMATS)
    checks = value["$defs"]["scope"]["properties"]["checks"]["properties"]
    assert set(checks) == {*SOFTENABLE, "integrity", "revocation"}


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in steps:
        found += _places(child, (*path, key))
    return found


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(_places(EVERYTHING)),
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just([]) | st.just({}) | st.just("remove"),
)
def test_a_changed_field_is_read_or_refused_and_nothing_else(path: tuple[Any, ...], value: Any) -> None:
    changed = copy.deepcopy(EVERYTHING)
    here = changed
    for step in path[:-1]:
        here = here[step]
    if value == "remove":
        del here[path[-1]]
    else:
        here[path[-1]] = value
    try:
        found = policy(changed)
    except ConfigurationError:
        pass
    else:
        assert found.scopes is not None
        # null stands for "absent" in the decoder alone.
        assert value is None or problems(changed, "policy") == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'{"version":1,"version":1,"scopes":[]}',
        b"\xff",
        b'{"version":1,"scopes":[]',
        b"\x00" * 99,
    ],
)
def test_what_is_no_document(data: bytes) -> None:
    with pytest.raises(ConfigurationError):
        parse(data, no_files)


def test_a_document_that_is_too_large() -> None:
    with pytest.raises(ConfigurationError, match="bytes"):
        parse(b" " * (4 * 1024 * 1024 + 1), no_files)


@pytest.mark.parametrize("section", ["certificates", "identities"])
def test_a_name_stands_for_one_line_alone(section: str) -> None:
    with pytest.raises(ConfigurationError):
        policy(document() | {section: {"alice": {}}})


# --- files ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "alice.pub").write_bytes(ALICE.public.to_pem())
    return tmp_path


VALUE = document(scope()) | {"keys": {"alice": {"publicKeyFile": "keys/alice.pub", "roles": ["builder"]}}}


def test_keys_are_looked_for_beside_the_policy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "policy.json"
    path.write_text(json.dumps(VALUE))
    monkeypatch.chdir("/")
    found = files.load(path)
    assert found.keyids == {ALICE.public.keyid}
    assert found.digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_a_missing_key_names_the_file(folder: Path) -> None:
    path = folder / "policy.json"
    path.write_text(json.dumps(VALUE).replace("alice.pub", "bob.pub"))
    with pytest.raises(ConfigurationError, match=r"bob\.pub"):
        files.load(path)


@pytest.mark.parametrize("name", ["absent.json", "keys"])
def test_no_policy_is_no_policy(folder: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="there is no policy"):
        files.load(folder / name)


@pytest.mark.parametrize("ending", ["yaml", "yml", "YAML"])
def test_yaml_says_the_same(folder: Path, ending: str) -> None:
    written = folder / "policy.json"
    written.write_text(json.dumps(EVERYTHING))
    other = folder / f"policy.{ending}"
    other.write_text(yaml.safe_dump(EVERYTHING))
    one, two = files.load(written), files.load(other)
    assert (one.ring, one.scopes, one.expires) == (two.ring, two.scopes, two.expires)
    assert two.digest == f"sha256:{hashlib.sha256(other.read_bytes()).hexdigest()}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 1\nversion: 1\nscopes: []\n", "twice"),
        ("version: 1\nscopes: &a []\nkeys: *a\n", "anchors"),
        ("version: 1\nscopes: !!python/object/apply:os.system [id]\n", "tags"),
        ("version: 1\nscopes: []\n---\nversion: 1\n", "document"),
        ("version: 1\nscopes: [\n", "line"),
        ("version: 1\nscopes: []\n1: x\n", "key"),
        ("\tversion: 1\n", "line"),
        ("version: 1\nscopes: []\nmode: off\n", "mode"),
    ],
)
def test_yaml_says_nothing_that_json_could_not(folder: Path, text: str, message: str) -> None:
    path = folder / "policy.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        files.load(path)


# --- remarks --------------------------------------------------------------------------------------------------


def test_a_good_policy_needs_no_word() -> None:
    value = document(scope()) | {"keys": {"alice": line(ALICE, "builder")}}
    assert list(remarks(policy(value), NOW)) == []


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (document() | {"scopes": []}, "no scope"),
        (document(expires="2026-06-05T00:00:00Z"), "good only until 2026-06-05"),
        (document(expires="2026-05-05T00:00:00Z"), "too old since"),
        (document(scope(mode="audit")), "mode audit"),
        (document(scope(signatures={"from": []})), "accepts nothing"),
        (document(keys=ring(alice=line(ALICE, "builder", "approver"))), "builds and approves"),
        (
            document(keys=ring(alice=line(ALICE, status="retired", retiredAt="2026-01-01T00:00:00Z"))),
            "too few active signers",
        ),
        (document(keys=ring(alice=line(ALICE, validUntil="2026-06-03T00:00:00Z"))), "alice is valid until"),
        (document(keys=ring(mallory=line(MALLORY))), "mallory is asked for in no scope"),
        (
            document(
                scope(
                    exemptions=[
                        {"digest": DIGEST, "reason": "r", "owner": "ops", "expires": "2026-01-01T00:00:00Z"}
                    ]
                )
            ),
            "exemption",
        ),
    ],
)
def test_what_is_valid_and_yet_worth_a_word(value: dict[str, Any], word: str) -> None:
    assert any(word in remark for remark in remarks(policy(value), NOW))


# --- the page -------------------------------------------------------------------------------------------------

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "policy.md"


def _fields(value: Any) -> set[str]:
    """The names of all members that the schema knows, but for those of its definitions."""
    found: set[str] = set()
    for key, child in value.items() if isinstance(value, dict) else ():
        if key == "properties":
            found |= set(child)
        found |= _fields(child)
    for child in value if isinstance(value, list) else ():
        found |= _fields(child)
    return found


def test_the_page_shows_a_valid_policy_and_names_every_field_and_format() -> None:
    text = PAGE.read_text()
    shown = json.loads(text.partition("```json\n")[2].partition("```")[0])
    assert problems(shown, "policy") == []
    keys = {"ci": ALICE, "evaluation": BOB, "carol": MALLORY}
    files_of = {f"{name}.pub": signer.public.to_pem() for name, signer in keys.items()}
    assert len(parse(json.dumps(shown).encode(), files_of.__getitem__).scopes) == 2
    told = set(re.findall(r"`([A-Za-z0-9.-]+)`", text)) | set(re.findall(r'"([A-Za-z$]+)":', text))
    told |= {part for name in told for part in name.split(".")}
    assert set(FORMATS) <= told
    assert _fields(schema("policy")) - told - {"$schema"} == set()
