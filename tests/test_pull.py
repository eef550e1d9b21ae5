"""Pulling: what arrives, what is left as it is, and what the caller is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ocimodel.errors import NotFoundError, UnsignedError, UntrustedError, UsageError
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import index_bytes
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store
from ocimodel.transfer import receipt as receipts
from ocimodel.transfer.places import state_dir
from ocimodel.trust.policy import TrustPolicy
from ocimodel.verbs.pull import Pulled, pull
from ocimodel.verbs.push import push
from ocimodel.verbs.verify_directory import verify_directory
from tests.attacks.scene import files_of, write_model
from tests.hostile import HostileRegistry
from tests.models import make_model, weights
from tests.signers import ALICE, BOB

ACCESS = Access()
POLICY = TrustPolicy.of_keys([ALICE.public])
CHOSEN = {"config.json", "generation_config.json", "model.safetensors.index.json", "README.md"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


@pytest.fixture
def reference(tmp_path: Path, model: Path) -> Reference:
    """A layout with that model, signed by Alice."""
    found = Reference.parse(f"oci:{tmp_path / 'layout'}:v1")
    push(model, found, access=ACCESS, signer=ALICE)
    return found


def pulling(reference: Reference, out: Path, policy: TrustPolicy | None = POLICY, **more: Any) -> Pulled:
    return pull(reference, out, policy=policy, access=ACCESS, **more)


# --- what arrives ---------------------------------------------------------------------------------


def test_what_was_pushed_is_what_arrives(reference: Reference, model: Path, tmp_path: Path) -> None:
    pulled = pulling(reference, tmp_path / "out")
    assert files_of(tmp_path / "out") == files_of(model)
    assert pulled.files == len(files_of(model))
    assert pulled.total_bytes == pulled.fetched_bytes == sum(len(data) for data in files_of(model).values())
    assert pulled.verdict is not None
    assert pulled.verdict.outcome == "pass"
    assert str(pulled.reference).endswith(f"@{pulled.digest}")
    assert not pulled.unchanged
    assert not list((tmp_path / "out").rglob(".*"))


def test_modes_are_ordinary(reference: Reference, tmp_path: Path) -> None:
    pulling(reference, tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["*.json"], [], lambda name: name.endswith(".json")),
        ([], ["*.safetensors", "gguf/*"], lambda name: not name.endswith((".safetensors", ".gguf"))),
        (["gguf/*"], [], lambda name: name.startswith("gguf/")),
        (["*.json", "README.md"], ["tokenizer*"], lambda name: name in CHOSEN),
        (["config.json"], [], lambda name: name == "config.json"),
    ],
    ids=["kind", "without-weights", "directory", "both", "one"],
)
def test_only_what_was_asked_for(
    reference: Reference, model: Path, tmp_path: Path, include: Sequence[str], exclude: Sequence[str], expected: Any
) -> None:
    pulled = pulling(reference, tmp_path / "out", include=include, exclude=exclude)
    wanted = {name: data for name, data in files_of(model).items() if expected(name)}
    assert files_of(tmp_path / "out") == wanted
    assert pulled.files == len(wanted)
    assert receipts.read(state_dir(), tmp_path / "out").partial
    verify_directory(tmp_path / "out", policy=POLICY, access=ACCESS)


def test_a_selection_of_nothing(reference: Reference, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        pulling(reference, tmp_path / "out", include=["*.onnx"])
    assert not (tmp_path / "out").exists()


def test_by_digest_and_by_tag(reference: Reference, model: Path, tmp_path: Path) -> None:
    digest = pulling(reference, tmp_path / "one").digest
    pinned = reference.tagged(None).at(digest)
    assert pulling(pinned, tmp_path / "two").digest == digest
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two") == files_of(model)


def test_the_provenance_goes_where_it_is_wanted_and_nowhere_else(reference: Reference, tmp_path: Path) -> None:
    document = tmp_path / "papers" / "provenance.json"
    pulling(reference, tmp_path / "out", provenance_out=document)
    statement = json.loads(document.read_bytes())
    assert statement["predicateType"] == media.SLSA_PROVENANCE
    assert not any("provenance" in name for name in files_of(tmp_path / "out"))


def test_no_provenance_to_write(tmp_path: Path) -> None:
    """An artifact by other tools; it is told before a file is written."""
    reference = Reference.parse(f"oci:{tmp_path / 'layout'}:v1")
    push(write_model(tmp_path / "model"), reference, access=ACCESS)
    with open_store(reference, ACCESS) as store:
        document = json.loads(store.get_manifest("v1")[1])
        document["layers"] = [layer for layer in document["layers"] if layer["mediaType"] != media.PROVENANCE_LAYER]
        store.put_manifest(json.dumps(document).encode(), media.OCI_MANIFEST, tag="v1")
    with pytest.raises(NotFoundError):
        pulling(reference, tmp_path / "out", None, provenance_out=tmp_path / "provenance.json")
    assert not (tmp_path / "out").exists()
    pulling(reference, tmp_path / "out", None)


def test_the_receipt_is_written_last_and_copied(reference: Reference, tmp_path: Path) -> None:
    pulled = pulling(reference, tmp_path / "out", receipt=tmp_path / "receipt.json")
    assert pulled.receipt.read_bytes() == (tmp_path / "receipt.json").read_bytes()
    receipt = receipts.read(state_dir(), tmp_path / "out")
    assert (receipt.digest, receipt.verified, receipt.partial) == (pulled.digest, True, False)
    assert pulled.receipt.stat().st_mode & 0o077 == 0


# --- what is said about it ----------------------------------------------------------------------------


def test_without_a_policy_nobody_vouches(reference: Reference, tmp_path: Path) -> None:
    pulled = pulling(reference, tmp_path / "out", None)
    assert pulled.verdict is None
    assert not receipts.read(state_dir(), tmp_path / "out").verified


def test_a_policy_without_keys_accepts_nothing(reference: Reference, tmp_path: Path) -> None:
    with pytest.raises(UntrustedError):
        pulling(reference, tmp_path / "out", TrustPolicy.of_keys([]))
    assert not (tmp_path / "out").exists()


def test_two_of_two(reference: Reference, tmp_path: Path, model: Path) -> None:
    policy = TrustPolicy.of_keys([ALICE.public, BOB.public], threshold=2)
    with pytest.raises(UntrustedError):
        pulling(reference, tmp_path / "out", policy)
    push(model, reference, access=ACCESS, signer=BOB)
    pulled = pulling(reference, tmp_path / "out", policy)
    assert pulled.verdict is not None
    assert [signer.status for signer in pulled.verdict.signers] == ["good", "good"]


def test_what_is_not_there(reference: Reference, tmp_path: Path) -> None:
    for missing in (
        reference.tagged("v2"),
        reference.tagged(None).at(Digest.of(b"nothing")),
        Reference.parse(f"oci:{tmp_path / 'nowhere'}:v1"),
    ):
        with pytest.raises(NotFoundError):
            pulling(missing, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "nowhere").exists()


def test_an_index_is_not_a_model(reference: Reference, tmp_path: Path) -> None:
    with open_store(reference, ACCESS) as store:
        store.put_manifest(index_bytes([store.resolve("v1")]), media.OCI_INDEX, tag="all")
    with pytest.raises(UnsignedError):
        pulling(reference.tagged("all"), tmp_path / "out")
    with pytest.raises(NotFoundError, match="index"):
        pulling(reference.tagged("all"), tmp_path / "out", None)


# --- again --------------------------------------------------------------------------------------------


def test_pulling_again_fetches_nothing(reference: Reference, tmp_path: Path) -> None:
    pulling(reference, tmp_path / "out")
    again = pulling(reference, tmp_path / "out")
    assert (again.unchanged, again.fetched_bytes) == (True, 0)


def test_a_missing_file_comes_back(reference: Reference, model: Path, tmp_path: Path) -> None:
    """What stands there is part of this very model, so the pull carries on."""
    pulling(reference, tmp_path / "out")
    (tmp_path / "out" / "config.json").unlink()
    again = pulling(reference, tmp_path / "out", cache="off")
    assert again.fetched_bytes == len(files_of(model)["config.json"])
    assert files_of(tmp_path / "out") == files_of(model)


def test_a_changed_file_is_not_overwritten_unasked(reference: Reference, model: Path, tmp_path: Path) -> None:
    pulling(reference, tmp_path / "out")
    (tmp_path / "out" / "config.json").write_text("mine\n")
    with pytest.raises(UsageError):
        pulling(reference, tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_text() == "mine\n"
    pulling(reference, tmp_path / "out", force=True)
    assert files_of(tmp_path / "out") == files_of(model)


def test_another_version_over_the_first_one(reference: Reference, model: Path, tmp_path: Path) -> None:
    """With force: files that only the first one had go, files of nobody's stay, and are told of."""
    pulling(reference, tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine\n")
    (model / "modeling_tiny.py").unlink()
    (model / "new.json").write_text("{}\n")
    push(model, reference, access=ACCESS, signer=ALICE)
    with pytest.raises(UsageError):
        pulling(reference, tmp_path / "out")
    pulled = pulling(reference, tmp_path / "out", force=True)
    assert files_of(tmp_path / "out") == files_of(model) | {"notes.txt": b"mine\n"}
    assert any("notes.txt" in warning for warning in pulled.warnings)


def test_two_pulls_into_one_place(reference: Reference, model: Path, tmp_path: Path) -> None:
    """One waits for the other, and finds its work done."""
    ended: list[Pulled] = []
    threads = [
        threading.Thread(target=lambda: ended.append(pulling(reference, tmp_path / "out"))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ended) == 3
    assert sorted(pulled.unchanged for pulled in ended) == [False, True, True]
    assert files_of(tmp_path / "out") == files_of(model)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".ocimodel")]


def test_only_what_changed_crosses_the_network(tmp_path: Path) -> None:
    """The second version takes from the first one what they share, and every byte is checked on the way.

    Of three chunks one is new, one was damaged in the first copy, one is taken from there.
    """
    model = tmp_path / "model"
    data = weights(40 * 1024 * 1024)
    write_model(model, {"weights.bin": data, "config.json": b"{}\n"})
    with HostileRegistry() as registry:
        access = Access(plain_http=frozenset({registry.host}))
        reference = Reference.parse(f"{registry.host}/models/tiny:v1")
        push(model, reference, access=access, signer=ALICE)
        pull(reference, tmp_path / "one", policy=POLICY, access=access)
        changed = bytearray(data)
        changed[5] ^= 1
        (model / "weights.bin").write_bytes(bytes(changed))
        push(model, reference, access=access, signer=ALICE)
        (tmp_path / "one" / "weights.bin").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        registry.forget()
        pulled = pull(reference, tmp_path / "two", policy=POLICY, access=access)
        assert len(data) // 2 < registry.sent("blob") < len(data) * 3 // 4
    assert files_of(tmp_path / "two")["weights.bin"] == bytes(changed)
    assert len(data) // 4 < pulled.copied_bytes < len(data) // 2
