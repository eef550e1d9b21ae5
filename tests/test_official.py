"""Every statement that a command writes is one by in-toto's message, and so is its predicate where there is one."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocimodel.oci import media
from tests.commands import run
from tests.models import make_model
from tests.official import check_modelpack, check_statement
from tests.test_record import MODEL


def documents(layout: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((layout / "blobs/sha256").iterdir()):
        try:
            found = json.loads(path.read_bytes())
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


def statements(layout: Path) -> list[dict[str, Any]]:
    """Those within bundles, and those that lie there plainly."""
    found = list(documents(layout))
    envelopes = [item["dsseEnvelope"] for item in found if "dsseEnvelope" in item]
    return [item for item in found if "_type" in item] + [
        json.loads(base64.b64decode(envelope["payload"])) for envelope in envelopes
    ]


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A model on which every command that states something was run."""
    root = tmp_path_factory.mktemp("stated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OCIMODEL_AUDIT_LOG", str(root / "audit.jsonl"))
        _fill(root)
    return [root / "dev", root / "prod"]


def _fill(root: Path) -> None:
    model = make_model(root / "model")
    for name in ("builder", "approver", "promoter"):
        assert run("key", "generate", root / name, "--no-password").code == 0
    (root / "model.yaml").write_text(MODEL)
    (root / "eval.json").write_text('{"accuracy": 0.93, "latency_ms": 12.5}')
    reference, key = f"oci:{root / 'dev'}:v1", ("--key", root / "builder.key")
    steps: tuple[tuple[str | Path, ...], ...] = (
        ("push", model, reference, *key, "--metadata", root / "model.yaml", "--expires", "90d", "-a", "team=risk"),
        *(("attest", reference, "--type", kind, *key) for kind in ("provenance", "bom", "spdx")),
        ("attest", reference, "--metrics", root / "eval.json", "--threshold", "accuracy>=0.9", *key),
        ("sign", reference, "--format", "oms", *key),
        ("approve", reference, "--key", root / "approver.key", "--comment", "looked at"),
    )
    for step in steps:
        ran = run(*step)
        assert ran.code == 0, (step, ran.err)
    ring = {
        name: {"publicKey": (root / f"{name}.pub").read_text(), "roles": [name]}
        for name in ("builder", "approver", "promoter")
    }
    scope = {"match": "oci:**", "environment": "prod", "signatures": {"from": ["builder"]}}
    (root / "policy.json").write_text(json.dumps({"version": 1, "id": "p", "keys": ring, "scopes": [scope]}))
    target = f"oci:{root / 'prod'}:stable"
    ran = run("promote", reference, target, "--policy", root / "policy.json", "--key", root / "promoter.key")
    assert ran.code == 0, ran.err


def test_every_statement_is_valid(layouts: list[Path]) -> None:
    found = [item for layout in layouts for item in statements(layout)]
    for statement in found:
        check_statement(statement)
    assert {item["predicateType"] for item in found} == {
        media.COSIGN_SIGN,
        media.OMS_SIGNATURE,
        media.SLSA_PROVENANCE,
        media.SLSA_SUMMARY,
        media.TEST_RESULT,
        media.APPROVAL,
        "https://cyclonedx.org/bom",
        "https://spdx.dev/Document",
    }


def test_every_config_is_valid(layouts: list[Path]) -> None:
    for layout in layouts:
        configs = [item for item in documents(layout) if "modelfs" in item]
        assert configs
        for config in configs:
            check_modelpack(config)


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "x"},
        {"surprise": 1},
        {"predicate": {"buildDefinition": {"surprise": 1}}},
        {"predicate": {"runDetails": {"metadata": {"startedOn": "yesterday"}}}},
    ],
)
def test_what_is_no_statement(change: dict[str, Any]) -> None:
    statement = {
        "_type": media.STATEMENT_V1,
        "subject": [{"digest": {"sha256": "0" * 64}}],
        "predicateType": media.SLSA_PROVENANCE,
        "predicate": {},
    }
    check_statement(statement)
    with pytest.raises(Exception, match=r"Statement|Provenance|parse|Failed|no field|must be"):
        check_statement({**statement, **change})
