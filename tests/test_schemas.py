"""The schemas themselves: valid, self-contained, and neither laxer nor stricter than what they describe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ocimodel.cli.app import _path, app
from ocimodel.errors import FormatError
from ocimodel.oci import media
from ocimodel.transfer.receipt import VERSION, Receipt
from ocimodel.trust.claims import parse_time
from tests.commands import make_world, run
from tests.documents import SCHEMAS, problems, schema

NAMES = sorted(path.name.removesuffix(".schema.json") for path in SCHEMAS.glob("*.schema.json"))
DIGEST = "sha256:" + "0" * 64
ANSWER: dict[str, Any] = {
    "command": "verify",
    "reference": None,
    "digest": None,
    "outcome": "error",
    "exitCode": 2,
    "wouldExit": 2,
    "class": "usage",
    "reasons": [{"class": "usage", "reason": "usage", "detail": "x"}],
    "hint": "y",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_valid_and_says_where_it_lives(name: str) -> None:
    value = schema(name)
    Draft202012Validator.check_schema(value)
    assert value["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert value["$id"] == f"{media.URI}schemas/{name}.schema.json"
    assert value["title"]
    assert value["description"]


def test_every_command_has_a_schema() -> None:
    import typer

    commands = [
        _path(typer.main.get_command(app), name.split()).removeprefix("ocimodel ")
        for name in (
            "push",
            "pull",
            "sign",
            "verify",
            "attest",
            "inspect",
            "tree",
            "list",
            "login",
            "logout",
            "demo",
        )
    ]
    assert set(commands) <= set(NAMES)
    assert {"key", "attest-show", "answer", "audit-event", "receipt", "claims"} <= set(NAMES)


def test_a_failure_is_an_answer() -> None:
    assert problems(ANSWER, "answer") == []
    assert problems(ANSWER, "verify") == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"exitCode": 0}, id="success-that-is-an-error"),
        pytest.param({"exitCode": 20}, id="unknown-exit-code"),
        pytest.param({"outcome": "pass"}, id="failure-that-passes"),
        pytest.param({"reasons": []}, id="no-reason"),
        pytest.param({"digest": "sha256:0"}, id="digest"),
        pytest.param({"class": "other"}, id="class"),
        pytest.param({"reasons": [{"class": "usage", "reason": "Not A Name", "detail": ""}]}, id="reason"),
        pytest.param({"signers": [{"keyid": "k"}]}, id="signer"),
    ],
)
def test_what_no_answer_may_be(change: dict[str, Any]) -> None:
    assert problems(ANSWER | change, "answer")


@pytest.mark.parametrize(
    "name",
    sorted(
        set(NAMES)
        - {"answer", "audit-event", "receipt", "claims", "chunk-index", "policy", "model", "trust-source"}
        - {"environments"}
    ),
)
def test_a_command_has_no_members_that_its_schema_does_not_know(name: str) -> None:
    command = "key list" if name == "key" else name.replace("-", " ")
    failure = ANSWER | {"command": command}
    assert problems(failure, name) == []
    assert problems(failure | {"surprise": 1}, name)
    assert problems(failure | {"command": "other"}, name)


@pytest.mark.parametrize("name", ["push", "pull", "sign", "attest", "verify", "inspect", "tree"])
def test_a_success_is_pinned(name: str) -> None:
    success = {"command": name, "exitCode": 0, "outcome": "pass", "class": "none", "reasons": []}
    assert any("reference" in problem for problem in problems(ANSWER | success | {"reference": "a/b:1"}, name))


# --- receipts: decoder and schema agree -----------------------------------------------------------------------


@pytest.fixture
def receipt(tmp_path: Path) -> dict[str, Any]:
    world = make_world(tmp_path)
    path = tmp_path / "receipt.json"
    assert run("pull", world.ref, "-o", tmp_path / "d", "--key", world.pub, "--receipt", path).code == 0
    value = json.loads(path.read_text())
    assert isinstance(value, dict)
    return value


def test_a_receipt_is_valid(receipt: dict[str, Any]) -> None:
    assert problems(receipt, "receipt") == []
    assert Receipt.from_bytes(json.dumps(receipt).encode()).to_dict() == receipt


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", VERSION + 1),
        ("version", None),
        ("directory", 1),
        ("manifest", None),
        ("referrers", {}),
        ("referrers", [{}]),
        ("include", "x"),
        ("members", []),
        ("verified", "yes"),
    ],
)
def test_what_no_receipt_may_be(field: str, value: object, receipt: dict[str, Any]) -> None:
    receipt[field] = value
    assert problems(receipt, "receipt")
    with pytest.raises(FormatError):
        Receipt.from_bytes(json.dumps(receipt).encode())


# --- claims ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["2026-03-01T12:00:00Z", "2026-03-01T12:00:00.5Z"])
def test_times_that_claims_may_hold(text: str) -> None:
    assert problems({media.CLAIM_EXPIRES: text}, "claims") == []
    parse_time(text)


@pytest.mark.parametrize(
    "text", ["", "never", "2026-03-01", "2026-03-01T12:00:00+00:00", "2026-03-01T12:00:00", "0"]
)
def test_times_that_no_claim_may_hold(text: str) -> None:
    assert problems({media.CLAIM_EXPIRES: text}, "claims")
    with pytest.raises(FormatError):
        parse_time(text)


def test_remarks_and_claims() -> None:
    assert problems({"team": "vision", media.CLAIM_ENVIRONMENT: "prod"}, "claims") == []
    assert problems({media.PREFIX + "unknown": "x"}, "claims")
    assert problems({"team": 1}, "claims")
