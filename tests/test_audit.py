"""Audit events: what they hold, what they never hold, and that each line stands there whole."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import stat
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ocimodel import jsonio
from ocimodel.audit import log, surroundings
from ocimodel.audit.event import MAX_BYTES, Actor, Event
from ocimodel.audit.redact import redact
from ocimodel.errors import Reason, StorageError

DIGEST = "sha256:" + "0" * 64
EVENT = Event(
    verb="verify",
    id="00ff",
    host="node-1",
    time=datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC),
    outcome="fail",
    exit_code=12,
    would_exit=12,
    klass="trust",
    reasons=(Reason("trust", "untrusted-signer", "a signature, but by no trusted key"),),
    actor=Actor(uid=1000, ci_run="github:acme/models/actions/runs/7"),
    tool="0.1.0",
    requested="registry.example/ml/bert:1.4",
    name="registry.example/ml/bert",
    digest=DIGEST,
    mode="enforce",
    environment="prod",
    context={"environment": "prod"},
    durations={"totalMs": 12},
)


def data(event: Event) -> dict[str, Any]:
    decoded = json.loads(event.line())
    assert isinstance(decoded["data"], dict)
    return decoded["data"]


def test_an_event_is_a_cloud_event() -> None:
    event = json.loads(EVENT.line())
    assert {key: event[key] for key in ("specversion", "type", "source", "id", "subject", "time")} == {
        "specversion": "1.0",
        "type": "io.github.ocimodel.verify.v1",
        "source": "/ocimodel/node-1",
        "id": "00ff",
        "subject": f"registry.example/ml/bert@{DIGEST}",
        "time": "2026-03-01T12:00:00.123Z",
    }


def test_an_event_has_a_canonical_form() -> None:
    assert jsonio.canonical(json.loads(EVENT.line()))


def test_without_a_digest_the_subject_is_what_was_asked_for() -> None:
    assert replace(EVENT, digest=None).subject == "registry.example/ml/bert:1.4"


def test_a_key_event_names_its_verb() -> None:
    assert json.loads(replace(EVENT, verb="key.generate").line())["type"] == "io.github.ocimodel.key.generate.v1"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        pytest.param("https://me:pw@reg.example/v2/", "https://reg.example/v2/", id="userinfo"),
        pytest.param("bad reference 'me:pw@reg.example/m'", "bad reference 'reg.example/m'", id="no-scheme"),
        pytest.param("me:p:w@reg.example:5000/m", "reg.example:5000/m", id="colon-in-the-password"),
        pytest.param("https://s3.example/b?X-Amz-Signature=ab#f", "https://s3.example/b", id="query"),
        pytest.param("sent Bearer eyJhbGciOi.x-y_z", "sent Bearer …", id="bearer"),
        pytest.param(f"reg.example/m:tag@{DIGEST}", f"reg.example/m:tag@{DIGEST}", id="a-digest-is-no-password"),
        pytest.param(f"oci:./models:tag@{DIGEST}", f"oci:./models:tag@{DIGEST}", id="a-layout-is-no-user"),
    ],
)
def test_credentials_are_taken_out(text: str, clean: str) -> None:
    assert redact(text) == clean


def test_no_field_of_an_event_keeps_a_secret() -> None:
    secret = "https://me:hunter2@reg.example/v2/?token=hunter2"
    event = replace(
        EVENT,
        requested=secret,
        reasons=(Reason("availability", "registry", secret),),
        signers=[{"keyid": "k", "identity": secret, "claims": {secret: secret}}],
        context={"url": secret},
        policy={"id": secret},
    )
    assert b"hunter2" not in event.line()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"requested": "x" * 10**6}, id="text"),
        pytest.param({"reasons": [Reason("trust", "r", "d" * 5000)] * 5000}, id="reasons"),
        pytest.param({"signers": [{"keyid": "k" * 900, "identity": "i" * 900}] * 128}, id="signers"),
        pytest.param({"context": {f"{n}" * 300: "v" * 2000 for n in range(500)}}, id="context"),
    ],
)
def test_the_size_of_an_event_is_bounded(change: Mapping[str, Any]) -> None:
    line = replace(EVENT, **change).line()
    assert len(line) <= MAX_BYTES + 100
    assert line.count(b"\n") == 1
    assert json.loads(line)["data"]["truncated"]
    assert json.loads(line)["data"]["exitCode"] == 12


def test_names_that_are_not_unicode_stay_json() -> None:
    assert data(replace(EVENT, requested="model-\udcff"))["requestedRef"] == "model-\udcff"


def test_a_line_is_appended_and_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "audit.jsonl"
    log.append(EVENT.line(), path)
    log.append(EVENT.line(), path)
    assert len(path.read_text().splitlines()) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_torn_line_of_somebody_else_does_not_swallow_ours(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"half": ')
    log.append(EVENT.line(), path)
    assert path.read_bytes() == b'{"half": \n' + EVENT.line()


def _append_many(path: Path, count: int) -> None:
    for _ in range(count):
        log.append(EVENT.line(), path)


def test_lines_of_several_processes_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_append_many, args=(path, 25)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    lines = path.read_bytes().splitlines(keepends=True)
    assert lines == [EVENT.line()] * 100


def test_a_directory_in_the_way_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write the audit log"):
        log.append(EVENT.line(), tmp_path)


def test_a_pipe_that_nobody_reads_does_not_hang(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(StorageError, match=os.strerror(errno.ENXIO)):
        log.append(EVENT.line(), pipe)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_a_storage_error() -> None:
    with pytest.raises(StorageError, match=os.strerror(errno.ENOSPC)):
        log.append(EVENT.line(), Path("/dev/full"))


def test_where_events_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OCIMODEL_AUDIT_LOG", str(tmp_path / "a"))
    assert log.destination() == tmp_path / "a"
    monkeypatch.setenv("OCIMODEL_AUDIT_LOG", "-")
    assert log.destination() is None
    monkeypatch.delenv("OCIMODEL_AUDIT_LOG")
    monkeypatch.setenv("OCIMODEL_STATE_DIR", str(tmp_path / "state"))
    assert log.destination() == tmp_path / "state" / "audit.jsonl"


def test_the_stream_is_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    log.append(EVENT.line(), None)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", EVENT.line().decode())


def test_the_run_of_a_ci_system_is_named_without_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "GITHUB_ACTIONS": "true",
        "GITHUB_RUN_ID": "42",
        "GITHUB_REPOSITORY": "acme/models",
        "GITHUB_TOKEN": "hunter2",
    }.items():
        monkeypatch.setenv(name, value)
    assert surroundings.actor() == Actor(uid=os.getuid(), ci_run="github:acme/models/actions/runs/42")
