"""Verifying a directory: by its receipt without a network, or by what it was pulled from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ocimodel.errors import IntegrityError, NotFoundError, UnsignedError, UntrustedError, UsageError
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access
from ocimodel.transfer import receipt as receipts
from ocimodel.transfer.places import state_dir
from ocimodel.trust.policy import TrustPolicy
from ocimodel.verbs.judging import Verification
from ocimodel.verbs.pull import pull
from ocimodel.verbs.push import push
from ocimodel.verbs.verify_directory import verify_directory
from tests.attacks.scene import files_of
from tests.models import make_model
from tests.signers import ALICE, BOB

ACCESS = Access()
POLICY = TrustPolicy.of_keys([ALICE.public])


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    found = Reference.parse(f"oci:{tmp_path / 'layout'}:v1")
    push(make_model(tmp_path / "model"), found, access=ACCESS, signer=ALICE)
    return found


@pytest.fixture
def pulled(reference: Reference, tmp_path: Path) -> Path:
    pull(reference, tmp_path / "out", policy=POLICY, access=ACCESS)
    return tmp_path / "out"


def verifying(directory: Path, policy: TrustPolicy = POLICY, **more: Any) -> Verification:
    return verify_directory(directory, policy=policy, access=ACCESS, **more)


def reasons(directory: Path, **more: Any) -> dict[str, str]:
    """Why it is refused: the kind of problem by the file's name."""
    with pytest.raises(IntegrityError) as caught:
        verifying(directory, **more)
    return {reason.detail.split(" ")[0]: reason.reason for reason in caught.value.reasons}


def test_a_good_directory_says_what_was_checked(pulled: Path, reference: Reference) -> None:
    found = verifying(pulled)
    assert found.reference.startswith(f"{reference}@")
    assert {check.outcome for check in found.checks} == {"pass"}
    assert {"manifest", "signature", "set"} <= {check.name for check in found.checks}
    full = verifying(pulled, full=True)
    count = len(files_of(pulled))
    assert any(check.name == "files" and f"{count} files" in check.detail for check in full.checks)


def test_it_needs_no_store(pulled: Path, tmp_path: Path) -> None:
    (tmp_path / "layout").rename(tmp_path / "elsewhere")
    assert verifying(pulled).verdict.outcome == "pass"


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("by", ["receipt", "reference"])
def test_each_kind_of_change_is_named(pulled: Path, reference: Reference, full: bool, by: str) -> None:
    more = {"full": full} | ({"reference": reference} if by == "reference" else {})
    data = (pulled / "model-00001-of-00002.safetensors").read_bytes()
    (pulled / "model-00001-of-00002.safetensors").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    (pulled / "config.json").write_text("{}\n")
    (pulled / "LICENSE").unlink()
    (pulled / "extra" / "deep").mkdir(parents=True)
    (pulled / "extra" / "deep" / "evil.py").write_text("import os\n")
    os.mkfifo(pulled / "pipe")
    (pulled / "README.md").unlink()
    (pulled / "README.md").symlink_to("config.json")
    (pulled / "tokenizer.json").unlink()
    (pulled / "tokenizer.json").mkdir()
    assert reasons(pulled, **more) == {
        "model-00001-of-00002.safetensors": "changed-file",
        "config.json": "changed-file",
        "LICENSE": "missing-file",
        "extra/deep/evil.py": "extra-file",
        "pipe": "extra-file",
        "README.md": "not-a-file",
        "tokenizer.json": "missing-file",
    }


def test_empty_directories_say_nothing(pulled: Path) -> None:
    (pulled / "empty" / "below").mkdir(parents=True)
    verifying(pulled)


def test_by_another_path_to_the_same_directory(
    pulled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "link"
    link.symlink_to(pulled)
    monkeypatch.chdir(tmp_path)
    for path in (link, Path("out"), Path("./link"), pulled / ".." / "out", pulled / "gguf" / ".."):
        verifying(path)


def test_without_a_receipt(pulled: Path, reference: Reference) -> None:
    receipts.forget(state_dir(), pulled)
    with pytest.raises(NotFoundError) as caught:
        verifying(pulled)
    assert "--ref" in caught.value.hint
    verifying(pulled, reference=reference)


def test_a_copy_made_by_hand(pulled: Path, reference: Reference, tmp_path: Path) -> None:
    """Any directory can be held against a reference, however it came to be."""
    verifying(tmp_path / "model", reference=reference)
    (tmp_path / "model" / "config.json").write_text("{}\n")
    assert reasons(tmp_path / "model", reference=reference) == {"config.json": "changed-file"}


def test_another_version_than_the_one_that_was_pulled(pulled: Path, reference: Reference, tmp_path: Path) -> None:
    (tmp_path / "model" / "config.json").write_text("{}\n")
    push(tmp_path / "model", reference, access=ACCESS, signer=ALICE)
    verifying(pulled)
    assert reasons(pulled, reference=reference) == {"config.json": "changed-file"}


def test_the_signature_is_judged_anew(pulled: Path, reference: Reference, tmp_path: Path) -> None:
    with pytest.raises(UntrustedError):
        verifying(pulled, TrustPolicy.of_keys([BOB.public]))
    with pytest.raises(UntrustedError):
        verifying(pulled, TrustPolicy.of_keys([ALICE.public, BOB.public], threshold=2))


def test_a_pull_without_a_policy_can_be_judged_later(reference: Reference, tmp_path: Path) -> None:
    """Its receipt keeps what there was to judge."""
    pull(reference, tmp_path / "unverified", policy=None, access=ACCESS)
    verifying(tmp_path / "unverified")
    with pytest.raises(UntrustedError):
        verifying(tmp_path / "unverified", TrustPolicy.of_keys([BOB.public]))
    unsigned = reference.tagged("unsigned")
    (tmp_path / "model" / "config.json").write_text("{}\n")
    push(tmp_path / "model", unsigned, access=ACCESS)
    pull(unsigned, tmp_path / "unsigned", policy=None, access=ACCESS)
    with pytest.raises(UnsignedError):
        verifying(tmp_path / "unsigned")


def test_a_selection_is_what_is_expected(reference: Reference, tmp_path: Path) -> None:
    out = tmp_path / "some"
    pull(reference, out, policy=POLICY, access=ACCESS, include=["*.json"])
    found = verifying(out)
    (skipped,) = [check for check in found.checks if check.outcome == "skip"]
    assert "README.md" in skipped.detail
    verifying(out, reference=reference)
    (out / "README.md").write_bytes((tmp_path / "model" / "README.md").read_bytes())
    assert reasons(out) == {"README.md": "extra-file"}


def test_what_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(UsageError):
            verifying(path)


def test_many_problems_are_counted(pulled: Path) -> None:
    for number in range(150):
        (pulled / f"extra{number:03}.py").write_text("x\n")
    with pytest.raises(IntegrityError, match="and 149 more") as caught:
        verifying(pulled)
    assert len(caught.value.reasons) <= 101
