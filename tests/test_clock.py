"""A wrong clock is told from what has expired: another label, and never another verdict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimodel.oci import media
from ocimodel.stores.http.clock import offset
from ocimodel.trust.claims import format_time
from ocimodel.trust.clock import blame_clock
from ocimodel.trust.verdict import Verdict
from tests.commands import Ran, events, run
from tests.documents import check
from tests.hostile import HostileRegistry, Response
from tests.policies import document, line, policy, ring, scope
from tests.signers import ALICE, BOB, attachment, evidence

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

# --- pure -----------------------------------------------------------------------------------------------------


def judged(claims: dict[str, str], ahead: timedelta | None, signer: Any = ALICE, **members: Any) -> Verdict:
    rules, found = policy(document(**members)), evidence(attachment(signer, claims))
    return blame_clock(rules.evaluate(found, NOW), rules, found, NOW, {}, ahead)


def expires(time: datetime) -> dict[str, str]:
    return {media.CLAIM_EXPIRES: format_time(time)}


def test_a_clock_that_is_ahead_explains_what_has_expired() -> None:
    verdict = judged(expires(NOW - HOUR), -3 * HOUR)
    assert (verdict.outcome, verdict.exit_code, verdict.klass) == ("fail", 15, "clock")
    assert {reason.klass for reason in verdict.reasons} == {"clock"}
    assert verdict.verified is None


def test_a_clock_that_is_behind_explains_what_is_not_yet_valid() -> None:
    ahead = ring(alice=line(ALICE, "builder", validFrom=format_time(NOW + HOUR)))
    verdict = judged({}, 2 * HOUR, keys=ahead)
    assert (verdict.exit_code, verdict.klass) == (15, "clock")


def test_stale_trust_too() -> None:
    verdict = judged({}, -3 * HOUR, expires=format_time(NOW - HOUR))
    assert (verdict.exit_code, verdict.klass) == (21, "clock")


@pytest.mark.parametrize("ahead", [None, timedelta(0), timedelta(seconds=4), 3 * HOUR, -HOUR / 2, timedelta.max])
def test_what_explains_nothing(ahead: timedelta | None) -> None:
    verdict = judged(expires(NOW - HOUR), ahead)
    assert (verdict.exit_code, verdict.klass, verdict.clock) == (15, "lifecycle", None)


def test_what_else_is_wrong_is_no_matter_of_clocks() -> None:
    by_a_stranger = judged(expires(NOW - HOUR), -3 * HOUR, signer=BOB)
    assert (by_a_stranger.exit_code, by_a_stranger.klass) == (12, "trust")
    below = judged(
        expires(NOW - HOUR) | {media.CLAIM_ENVIRONMENT: "dev"}, -3 * HOUR, scopes=[scope(environment="prod")]
    )
    assert below.clock is None
    retired = ring(alice=line(ALICE, "builder", status="retired", retiredAt=format_time(NOW - HOUR)))
    assert judged({}, -3 * HOUR, keys=retired).klass == "lifecycle", (
        "that nobody knows its time is no clock's fault"
    )


def test_what_passes_is_not_labelled() -> None:
    assert judged(expires(NOW + HOUR), 3 * HOUR).clock is None


@given(st.integers(-10_000, 10_000), st.integers(-10_000, 10_000))
def test_the_verdict_never_changes(end: int, ahead: int) -> None:
    rules = policy()
    found = evidence(attachment(ALICE, expires(NOW + timedelta(seconds=end))))
    before = rules.evaluate(found, NOW)
    after = blame_clock(before, rules, found, NOW, {}, timedelta(seconds=ahead))
    assert (after.exit_code, after.outcome, after.would_exit) == (
        before.exit_code,
        before.outcome,
        before.would_exit,
    )
    assert (after.verified is None) == (before.verified is None)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"date": format_datetime(NOW + HOUR, usegmt=True)}, HOUR),
        ({"date": "Sun, 01 Nov 2026 13:00:00 -0000"}, HOUR),
        ({"date": format_datetime(NOW + HOUR, usegmt=True), "age": "0"}, HOUR),
        ({"date": format_datetime(NOW - HOUR, usegmt=True), "age": "3600"}, None),
        ({"date": "yesterday"}, None),
        ({"date": ""}, None),
        ({}, None),
    ],
)
def test_what_a_server_says(headers: dict[str, str], found: timedelta | None) -> None:
    assert offset(headers, NOW) == found


# --- over HTTP ------------------------------------------------------------------------------------------------


class Node:
    """A model whose signature has just ended, in a registry whose clock can be another."""

    def __init__(self, registry: HostileRegistry, root: Path) -> None:
        self.registry, self.root = registry, root
        self.ref = f"{registry.host}/models/m:v1"
        assert run("key", "generate", root / "alice", "--no-password").code == 0
        (root / "m").mkdir()
        (root / "m/config.json").write_text("{}")
        assert run("push", root / "m", self.ref, "--key", root / "alice.key", "--expires", "1s").code == 0
        self.policy = root / "p.json"
        value = json.loads(run("policy", "init", "--key", root / "alice.pub").out)
        value["scopes"][0]["freshness"] = {"clockLeeway": "0s"}
        self.policy.write_text(json.dumps(value))
        until = datetime.now(UTC) + timedelta(seconds=30)
        while self.verify().code == 0 and datetime.now(UTC) < until:
            pass

    def verify(self, *more: str) -> Ran:
        return run("verify", self.ref, "--policy", self.policy, *more)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with HostileRegistry() as registry:
        yield Node(registry, tmp_path)


def test_a_wrong_clock_is_named(node: Node) -> None:
    plain = check(node.verify("--json").document)
    assert (plain["exitCode"], plain["class"]) == (15, "lifecycle")
    node.registry.switches.ahead = -3600
    ran = node.verify("--json")
    document = check(ran.document)
    assert (ran.code, document["exitCode"], document["class"], document["outcome"]) == (15, 15, "clock", "fail")
    assert {reason["class"] for reason in document["reasons"]} == {"clock"}
    assert "59 min" in document["hint"] or "1 h 0 min" in document["hint"]
    assert "ahead of it" in document["hint"]
    assert events()[-1]["data"]["class"] == "clock"
    pulled = run("pull", node.ref, "-o", node.root / "out", "--policy", node.policy)
    assert (pulled.code, (node.root / "out").exists()) == (15, False)


def test_the_date_of_a_cache_is_not_believed(node: Node) -> None:
    node.registry.switches.ahead = -3600

    def aged(_request: object, response: Response) -> Response:
        return Response(response.status, {**response.headers, "Age": "3600"}, response.body)

    node.registry.on_response = aged
    document = check(node.verify("--json").document)
    assert (document["exitCode"], document["class"]) == (15, "lifecycle")


def test_in_a_soft_mode_it_is_a_label_as_well(node: Node) -> None:
    value = json.loads(node.policy.read_text())
    value["scopes"][0]["mode"] = "warn"
    node.policy.write_text(json.dumps(value))
    node.registry.switches.ahead = -3600
    document = check(node.verify("--json").document)
    assert (document["exitCode"], document["wouldExit"], document["class"]) == (0, 15, "clock")
