"""Ways around a policy: each is an attack, and each is refused."""

from __future__ import annotations

import base64
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from ocimodel.model.provenance import MAX_BYTES
from ocimodel.oci import media
from tests.commands import run


class Evil:
    """What runs a command when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("echo this must never run",)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name in ("alice", "mallory"):
        assert run("key", "generate", tmp_path / name, "--no-password").code == 0
    return tmp_path


def pushed(here: Path, files: dict[str, bytes], *more: str | Path) -> str:
    model = here / "model"
    model.mkdir()
    for name, data in files.items():
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_bytes(data)
    ref = f"oci:{here}/store:v1"
    ran = run("push", model, ref, "--key", here / "alice.key", *more)
    assert ran.code == 0, ran.err
    return ref


def policy(here: Path, *argv: str, **members: Any) -> Path:
    ran = run("policy", "init", "--key", here / "alice.pub", *argv)
    assert ran.code == 0, ran.err
    value = json.loads(ran.out)
    value["scopes"][0] |= members
    path = here / "policy.json"
    path.write_text(json.dumps(value))
    return path


def nothing_is_left(here: Path, name: str = "out") -> bool:
    """Neither the destination, nor a staging area with what was refused in it."""
    return not [path for path in here.iterdir() if path.name.startswith((name, ".ocimodel"))]


def test_a_pickle_under_another_name_among_thousands_of_small_files(here: Path) -> None:
    files = {f"part/{number:04}.txt": b"text" for number in range(1200)} | {"part/0777.json": pickle.dumps(Evil())}
    ref = pushed(here, files)
    listed = run("inspect", ref, "--json").document["files"]
    assert "part/0777.json" not in {item["path"] for item in listed}, "it comes in an archive, which names no files"
    ran = run("pull", ref, "-o", here / "out", "--policy", policy(here))
    assert ran.code == 19
    assert "part/0777.json" in ran.err
    assert nothing_is_left(here)


def test_a_pickle_that_the_manifest_calls_a_document(here: Path) -> None:
    ref = pushed(here, {"config.json": b"{}", "README.md": pickle.dumps(Evil(), 0)})
    ran = run("pull", ref, "-o", here / "out", "--policy", policy(here, "--mode", "enforce"))
    assert (ran.code, nothing_is_left(here)) == (19, True)


def test_a_pickle_that_is_there_already(here: Path) -> None:
    """A directory that an unverified pull filled is not blessed by a second one that fetches nothing."""
    ref = pushed(here, {"config.json": b"{}", "weights.dat": pickle.dumps(Evil())})
    out = here / "out"
    out.mkdir()
    assert run("pull", ref, "-o", out).code == 0
    assert run("pull", ref, "-o", out, "--policy", policy(here)).code == 19
    assert run("verify", out, "--policy", policy(here)).code == 19


def test_a_directory_that_claims_to_come_from_a_softer_scope(here: Path) -> None:
    ref = pushed(here, {"config.json": b"{}"})
    receipt = here / "receipt.json"
    assert run("pull", ref, "-o", here / "out", "--receipt", receipt).code == 0
    rules = policy(here, "--scope", "registry.example/sandbox/**")
    (kept,) = [
        path for path in Path(os.environ["OCIMODEL_STATE_DIR"]).rglob("*") if path.is_file() and _is_receipt(path)
    ]
    value = json.loads(kept.read_text())
    value["reference"] = f"registry.example/sandbox/x@{value['digest']}"
    kept.write_text(json.dumps(value))
    assert run("verify", here / "out", "--policy", rules).code == 12


def _is_receipt(path: Path) -> bool:
    try:
        return "referrers" in json.loads(path.read_text())
    except ValueError:
        return False


def test_a_receipt_with_a_better_provenance(here: Path) -> None:
    """What the receipt keeps of the provenance is held against the signed manifest."""
    document = {
        "buildDefinition": {
            "buildType": "https://example.org/build",
            "externalParameters": {"model": {"name": "m", "version": "1.0"}},
        },
        "runDetails": {"builder": {"id": "https://example.org"}},
    }
    (here / "provenance.json").write_text(json.dumps(document))
    ref = pushed(here, {"config.json": b"{}"}, "--provenance", here / "provenance.json")
    rules = policy(here, context={"model.version": "<2"})
    assert run("pull", ref, "-o", here / "out", "--policy", rules).code == 0
    assert run("verify", here / "out", "--policy", rules).code == 0
    rules = policy(here, context={"model.version": ">=2"})
    assert run("verify", here / "out", "--policy", rules).code == 17
    (kept,) = [
        path for path in Path(os.environ["OCIMODEL_STATE_DIR"]).rglob("*") if path.is_file() and _is_receipt(path)
    ]
    value = json.loads(kept.read_text())
    better = base64.b64decode(value["provenance"]).replace(b'"1.0"', b'"2.0"')
    value["provenance"] = base64.b64encode(better).decode()
    kept.write_text(json.dumps(value))
    assert run("verify", here / "out", "--policy", rules).code == 14


def test_a_provenance_that_is_too_large_to_be_read_before_the_verdict(here: Path) -> None:
    from ocimodel.oci.digest import Digest
    from ocimodel.oci.reference import Reference
    from ocimodel.stores.opening import Access, open_store
    from ocimodel.stores.protocol import Source

    ref = pushed(here, {"config.json": b"{}"})
    with open_store(Reference.parse(ref), Access()) as store:
        _, raw = store.get_manifest("v1")
        manifest = json.loads(raw)
        huge = b" " * (MAX_BYTES + 1)
        store.put_blob(Source.of(huge))
        for layer in manifest["layers"]:
            if layer["mediaType"] == media.PROVENANCE_LAYER:
                layer |= {"digest": str(Digest.of(huge)), "size": len(huge)}
        store.put_manifest(json.dumps(manifest).encode(), media.OCI_MANIFEST, tag="huge")
    target = f"oci:{here}/store:huge"
    assert run("sign", target, "--key", here / "alice.key").code == 0
    rules = policy(here, context={"model.version": ">=1"})
    assert run("pull", target, "-o", here / "out", "--policy", rules).code == 14
    assert nothing_is_left(here)


def test_a_private_key_in_a_policy_is_not_repeated(here: Path) -> None:
    secret = (here / "alice.key").read_text()
    value = {
        "version": 1,
        "keys": {"alice": {"publicKey": secret}},
        "scopes": [{"match": "**", "signatures": {"from": ["alice"]}}],
    }
    (here / "policy.json").write_text(json.dumps(value))
    ran = run("policy", "check", here / "policy.json", "--json")
    assert ran.code == 3
    assert secret.splitlines()[1] not in ran.out + ran.err
    assert "private key" in ran.err


def test_a_scope_that_would_take_over_by_its_stars(here: Path) -> None:
    """Two scopes that tie are refused; which one would win is nobody's guess."""
    path = policy(here)
    value = json.loads(path.read_text())
    value["scopes"].append({"match": "*", "signatures": {"from": []}, "mode": "audit"})
    path.write_text(json.dumps(value))
    assert run("policy", "check", path).code == 3
