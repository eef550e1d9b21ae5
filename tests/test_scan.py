"""Scan: every tag of many repositories, each judged as `verify` would, in shares that add up to the whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ocimodel.errors import UnavailableError
from ocimodel.oci import media
from ocimodel.oci.manifest import index_bytes
from ocimodel.stores.opening import Access
from ocimodel.trust.policy import TrustPolicy
from ocimodel.verbs.scan import Place, Question, scan
from ocimodel.verbs.sharding import Shard
from tests.commands import Ran, events, run
from tests.documents import check
from tests.hostile import HostileRegistry, Switches
from tests.hostile.messages import Reply
from tests.models import make_model
from tests.real.servers import free_port
from tests.store_backends import layout_store, put_model, put_note

NAMES = ("ml/good", "ml/other", "ml/plain", "other/good")


@dataclass(frozen=True)
class Fleet:
    """A registry with models: signed by the trusted key, by another one, and by nobody."""

    root: Path
    registry: HostileRegistry
    digests: dict[str, str]

    @property
    def host(self) -> str:
        return self.registry.host

    @property
    def policy(self) -> Path:
        return self.root / "policy.json"

    def pub(self, name: str) -> Path:
        return self.root / f"{name}.pub"

    def scan(self, *words: str | Path) -> Ran:
        return run("scan", *words, "--policy", self.policy)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        registry = stack.enter_context(HostileRegistry())
        model = make_model(tmp_path / "model", gguf=False)
        for name in ("ours", "theirs"):
            assert run("key", "generate", tmp_path / name, "--no-password").code == 0
        digests = {}
        for number, name in enumerate(NAMES):
            (model / "number.txt").write_text(str(number))
            key = {"good": "ours", "other": "theirs"}.get(name.rpartition("/")[2])
            words = ("--key", tmp_path / f"{key}.key") if key else ()
            ran = run("push", model, f"{registry.host}/{name}:v1", "--tag", "stable", *words)
            assert ran.code == 0, ran.err
            digests[name] = ran.out.strip().partition("@")[2]
        fleet = Fleet(tmp_path, registry, digests)
        policy = run("policy", "init", "--key", fleet.pub("ours"), "--scope", f"{registry.host}/**")
        fleet.policy.write_text(policy.out)
        registry.forget()
        yield fleet


def rows(ran: Ran) -> list[str]:
    return [line for line in ran.out.splitlines() if line.startswith(("pass ", "warn ", "fail ", "error "))]


def test_every_tag_is_judged_and_the_most_serious_code_is_returned(fleet: Fleet) -> None:
    ran = fleet.scan(f"{fleet.host}/ml/good", f"{fleet.host}/ml/other", f"{fleet.host}/ml/plain")
    assert ran.code == 12, ran.err
    assert [row.split()[:3] for row in rows(ran)] == [
        [outcome, code, f"{fleet.host}/{name}:{tag}@{fleet.digests[name]}"]
        for name, outcome, code in (
            ("ml/good", "pass", "-"),
            ("ml/other", "fail", "12"),
            ("ml/plain", "fail", "10"),
        )
        for tag in ("stable", "v1")
    ]
    assert ran.out.splitlines()[-1] == "6 artifacts: 2 with 12, 2 with 10, 2 passed"
    assert "4 of 6 did not pass" in ran.error[0]
    assert fleet.scan(f"{fleet.host}/ml/good").code == 0


def test_a_verdict_is_that_of_verify(fleet: Fleet) -> None:
    document = check(fleet.scan(fleet.host, "--json").document)
    for row in document["artifacts"]:
        verified = run("verify", row["reference"], "--policy", fleet.policy, "--json").document
        for key in ("exitCode", "wouldExit", "class", "outcome", "signers"):
            assert verified[key] == row[key]
        assert [row["reason"]] == [reason["reason"] for reason in verified["reasons"][:1]] or row["reason"] is None
    assert document["counts"] == {"12": 2, "10": 2, "pass": 4}


def test_each_tag_is_resolved_once_and_each_digest_judged_once(fleet: Fleet) -> None:
    assert fleet.scan(f"{fleet.host}/ml/good").code == 0
    asked = [request.target for request in fleet.registry.requests if request.route == "manifest"]
    assert sorted(asked.count(tag) for tag in ("v1", "stable")) == [1, 1]
    assert len(fleet.registry.seen("GET", "referrers")) == 1
    assert len(fleet.registry.seen("GET", "blob")) == 1, "the signature alone"


def test_a_whole_registry_and_a_part_of_it(fleet: Fleet) -> None:
    whole = fleet.scan(fleet.host)
    assert len(rows(whole)) == 8
    assert len(rows(fleet.scan(f"{fleet.host}/ml/*"))) == 6
    assert fleet.scan(f"{fleet.host}/other/*").code == 0
    fleet.registry.on_request = lambda request: Reply(404) if "_catalog" in request.path else None
    ran = fleet.scan(fleet.host)
    assert ran.code == 11
    assert "does not list its repositories" in ran.error[0]


def test_what_a_key_has_signed(fleet: Fleet) -> None:
    ran = fleet.scan(fleet.host, "--signed-by", fleet.pub("theirs"), "--json")
    document = check(ran.document)
    (keyid,) = document["signedBy"]
    assert [row["reference"].partition("@")[0] for row in document["artifacts"]] == [
        f"{fleet.host}/ml/other:{tag}" for tag in ("stable", "v1")
    ]
    assert {row["signedBy"][keyid] for row in document["artifacts"]} == {"verified"}
    assert (document["others"], document["signedBy"][keyid]["verified"]) == (6, 2)
    # Its id alone is not enough to check a signature with.
    by_id = check(fleet.scan(fleet.host, "--signed-by", keyid, "--json").document)
    assert by_id["signedBy"][keyid] == {"verified": 0, "claimed": 2, "unknown": 0}
    revoked = run("revoke", "key", fleet.pub("ours"), "--policy", fleet.policy, "--reason", "stolen")
    assert revoked.code == 0, revoked.err
    ran = fleet.scan(fleet.host, "--signed-by", fleet.pub("ours"))
    assert (ran.code, len(rows(ran))) == (16, 4)
    assert ran.out.splitlines()[-1].endswith(": 4 verified")


def test_an_event_a_verdict(fleet: Fleet) -> None:
    before = len(events())
    fleet.scan(f"{fleet.host}/ml/good", f"{fleet.host}/ml/plain")
    left = events()[before:]
    assert [event["type"].split(".")[3:-1] for event in left] == [["scan"]] * 4 + [["scan", "run"]]
    assert [event["data"]["exitCode"] for event in left] == [0, 0, 10, 10, 10]
    assert left[0]["subject"] == f"{fleet.host}/ml/good@{fleet.digests['ml/good']}"
    assert left[0]["data"]["policy"]["digest"] == left[-1]["data"]["policy"]["digest"]


def test_shares_add_up_to_the_whole(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sorted(rows(fleet.scan(fleet.host)))
    parts = [rows(fleet.scan(fleet.host, "--shard", f"{index}/3")) for index in range(3)]
    assert sorted(row for part in parts for row in part) == whole
    assert sum(bool(part) for part in parts) > 1
    monkeypatch.setenv("OCIMODEL_SHARDS", "3")
    for index, part in enumerate(parts):
        monkeypatch.setenv("JOB_COMPLETION_INDEX", str(index))
        assert rows(fleet.scan(fleet.host)) == part


def test_a_share_depends_on_the_name_alone() -> None:
    # Golden: a job that is resumed by another version must do the same share.
    names = [f"registry.example/ml/m{number}:v1" for number in range(12)]
    found = [next(index for index in range(4) if Shard(index, 4).owns(name)) for name in names]
    assert found == [2, 2, 3, 1, 1, 0, 3, 3, 3, 3, 0, 2]


def test_one_that_cannot_be_had_keeps_none_of_the_others(fleet: Fleet) -> None:
    ran = fleet.scan(f"{fleet.host}/ml/none", f"{fleet.host}/ml/good:v9", f"{fleet.host}/ml/good", "--json")
    assert ran.code == 11
    document = check(ran.document)
    assert [(row["outcome"], row["exitCode"]) for row in document["artifacts"]] == [
        ("error", 11),
        ("error", 11),
        ("pass", 0),
        ("pass", 0),
    ]


def test_a_registry_that_is_away_ends_it() -> None:
    host = f"127.0.0.1:{free_port()}"
    places = [Place.parse(f"{host}/away/m{number}:v1") for number in range(40)]
    question = Question(policy=TrustPolicy.of_keys([]))
    scanning = scan(places, question, access=Access(hasty=True), now=datetime.now(UTC))
    assert [next(scanning).exit_code for _ in range(8)] == [75] * 8
    with pytest.raises(UnavailableError, match="8 in a row"):
        next(scanning)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "nothing to scan"),
        (("a.b/c", "--shard", "4/4"), "no share 4 of 4"),
        (("a.b/c", "--shard", "1"), "not I/N"),
        (("a.b/c", "--shard", "0/2", "--shards", "2"), "--shard and --shards"),
        (("a.b/c", "--shards", "2"), "does not say which"),
        (("a.b/c", "--jobs", "0"), "--jobs 0"),
        (("host", "--jobs", "1"), "not taken for a host"),
        (("--from-file", "absent.txt"), "cannot read"),
    ],
)
def test_command_lines_that_cannot_be_meant(fleet: Fleet, words: tuple[str, ...], text: str) -> None:
    ran = fleet.scan(*words)
    assert ran.code == 2
    assert text in ran.err


def test_it_needs_somebody_to_trust() -> None:
    assert run("scan", "registry.example/a").code == 2


def test_places() -> None:
    assert Place.parse("registry.example") == Place(host="registry.example")
    assert Place.parse("registry.example/ml/*") == Place(host="registry.example", glob="ml/*")
    layout = Place.parse("oci:./a*b:v1").reference
    assert layout is not None
    assert (layout.path, layout.tag) == ("./a*b", "v1")


# --- what no tag names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["registry", "layout"])
def test_what_no_tag_names_any_more(kind: str, tmp_path: Path) -> None:
    with HostileRegistry(Switches(referrers="404")) as registry:
        name = f"{registry.host}/ml/moved" if kind == "registry" else f"oci:{tmp_path}/layout"
        model = make_model(tmp_path / "model", gguf=False)
        assert run("key", "generate", tmp_path / "ours", "--no-password").code == 0
        digests = []
        for number in range(2):
            (model / "number.txt").write_text(str(number))
            ran = run("push", model, f"{name}:v1", "--key", tmp_path / "ours.key")
            digests.append(ran.out.strip().partition("@")[2])
        words = ("scan", name, "--key", tmp_path / "ours.pub", "--json")
        assert [row["digest"] for row in check(run(*words).document)["artifacts"]] == digests[1:]
        ran = run(*words, "--untagged")
        assert ran.code == 0, ran.err
        assert [row["reference"] for row in check(ran.document)["artifacts"]] == [
            f"{name}:v1@{digests[1]}",
            f"{name}@{digests[0]}",
        ]


def test_the_manifests_of_an_index(tmp_path: Path) -> None:
    store = layout_store(str(tmp_path / "layout"))
    children = [put_model(store, text) for text in ("one", "two")]
    root = store.put_manifest(index_bytes(children), media.OCI_INDEX, tag="v1")
    put_note(store, root, "refers to it, and is no artifact")
    assert run("key", "generate", tmp_path / "ours", "--no-password").code == 0
    words = ("scan", f"oci:{tmp_path}/layout:v1", "--key", tmp_path / "ours.pub", "--json")
    assert [row["digest"] for row in run(*words).document["artifacts"]] == [str(root.digest)]
    found = check(run(*words, "--untagged").document)["artifacts"]
    assert {row["digest"] for row in found} == {str(item.digest) for item in (root, *children)}


def test_an_attestation_of_another_artifact_is_not_what_a_key_has_signed(fleet: Fleet) -> None:
    """Whoever may push can hang a signature, or an attestation, of one artifact at another."""
    statement = fleet.root / "statement.json"
    statement.write_text("{}")
    name, kind = f"{fleet.host}/ml/good", "https://example.com/tested/v1"
    ran = run("attest", f"{name}:v1", "--type", kind, "--predicate", statement, "--key", fleet.root / "theirs.key")
    assert ran.code == 0, ran.err
    attached = ran.out.strip().rpartition("@")[2]
    source, target = (fleet.registry.repository(f"ml/{where}") for where in ("good", "plain"))
    moved = json.loads(source.manifests[attached].raw)
    raw = target.manifests[fleet.digests["ml/plain"]].raw
    moved["subject"] |= {"digest": fleet.digests["ml/plain"], "size": len(raw)}
    grafted = json.dumps(moved).encode()
    target.blobs |= source.blobs
    target.add_manifest(grafted, media.OCI_MANIFEST)
    document = check(fleet.scan(fleet.host, "--signed-by", fleet.pub("theirs"), "--json").document)
    signed = {
        row["reference"].partition("@")[0].partition("/")[2]: row["signedBy"] for row in document["artifacts"]
    }
    assert {name for name, by in signed.items() if "verified" in by.values()} == {
        "ml/good:stable",
        "ml/good:v1",
        "ml/other:stable",
        "ml/other:v1",
    }


# --- reports, and going on --------------------------------------------------------------------------------------


def test_a_scan_that_was_ended_goes_on(fleet: Fleet) -> None:
    report = fleet.root / "report.jsonl"
    whole = fleet.scan(fleet.host, "--report", report)
    lines = report.read_bytes().splitlines(keepends=True)
    assert [json.loads(line)["reference"] for line in lines[1:-1]] == [row.split()[2] for row in rows(whole)]
    assert json.loads(lines[-1]) == {"complete": True, "counts": {"12": 2, "10": 2, "pass": 4}}
    report.write_bytes(b"".join(lines[:4]) + lines[4][:20])
    fleet.registry.forget()
    again = fleet.scan(fleet.host, "--report", report)
    assert (again.code, again.out.splitlines()[-1]) == (whole.code, whole.out.splitlines()[-1])
    assert rows(again) == rows(whole)[3:]
    assert "which judged 3" in again.err
    asked = [request for request in fleet.registry.seen("GET", "manifest") if request.target in ("v1", "stable")]
    assert len(asked) == 5
    assert report.read_bytes() == b"".join(lines)
    assert fleet.scan(fleet.host, "--report", report, "--json").document["counts"] == {"12": 2, "10": 2, "pass": 4}
    assert len(report.read_bytes().splitlines()) == len(lines), "a complete one is begun anew"


def test_a_report_of_another_question_does_not_go_on(fleet: Fleet) -> None:
    report = fleet.root / "report.jsonl"
    fleet.scan(fleet.host, "--report", report)
    lines = report.read_bytes().splitlines(keepends=True)
    report.write_bytes(b"".join(lines[:-1]))
    revoked = run("revoke", "key", fleet.pub("ours"), "--policy", fleet.policy, "--reason", "stolen")
    assert revoked.code == 0, revoked.err
    assert len(rows(fleet.scan(fleet.host, "--report", report))) == 8
    report.write_bytes(b"no report\n")
    assert len(rows(fleet.scan(fleet.host, "--report", report))) == 8
    assert fleet.scan(fleet.host, "--report", fleet.root / "model").code == 74


def test_what_could_not_be_judged_is_tried_again(fleet: Fleet) -> None:
    report = fleet.root / "report.jsonl"
    fleet.registry.on_request = lambda request: Reply(403) if request.repository == "ml/good" else None
    ran = fleet.scan(f"{fleet.host}/ml/good:v1", f"{fleet.host}/other/good", "--report", report)
    assert ran.code == 77
    report.write_bytes(b"".join(report.read_bytes().splitlines(keepends=True)[:-1]))
    fleet.registry.on_request = None
    ran = fleet.scan(f"{fleet.host}/ml/good:v1", f"{fleet.host}/other/good", "--report", report)
    assert (ran.code, len(rows(ran))) == (0, 1)
    assert ran.out.splitlines()[-1] == "3 artifacts: 3 passed"
