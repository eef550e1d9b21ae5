"""Bundles in the hands of others, and where there is no network at all."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.attacks.scene import files_of
from tests.commands import run
from tests.interop.conftest import Pair, pushed
from tests.interop.test_copy import LEGACY, check_at, signed_by_everybody
from tests.models import make_model, weights
from tests.real import peers
from tests.real.cosign import CosignKey, cosign_sign
from tests.real.registry import RealRegistry

MIB = 1024 * 1024

pytestmark = pytest.mark.peer


def saved(file: Path, *words: str | Path) -> Path:
    ran = run("bundle", "save", *words[:1], file, *words[1:])
    assert ran.code == 0, ran.err
    return file


def cut_off() -> list[str]:
    """Words that run a program in a network namespace of its own, with nothing in it."""
    words = ["unshare", "--net", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], check=False).returncode:
        pytest.skip("this machine gives nobody a network namespace")
    return words


def test_a_bundle_is_verified_where_there_is_no_network(
    registry: RealRegistry, model: Path, key: Pair, cosign_key: CosignKey, tmp_path: Path
) -> None:
    alone = cut_off()
    reference = signed_by_everybody(model, registry, key, cosign_key, tmp_path)
    policy = tmp_path / "policy.json"
    policy.write_text(
        run("policy", "init", "--key", key.public, "--key", cosign_key.public, "--threshold", "2").out
    )
    file = tmp_path / "b.tar"
    ran = run("bundle", "save", f"{reference.partition('@')[0]}:v1", file, "--trust", policy, "--json")
    assert ran.code == 0, ran.err
    (trust,) = ran.document["trust"]
    inside = tmp_path / "inside"

    def there(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [*alone, sys.executable, "-m", "ocimodel", *(str(word) for word in words)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert there("list", reference.partition("@")[0]).returncode == 75
    trusting = ("--trust-digest", trust["digest"])
    loaded = there("bundle", "load", file, "--to", f"oci:{inside}", *trusting, "--trust-out", tmp_path / "t")
    assert loaded.returncode == 0, loaded.stderr
    verified = there("verify", f"oci:{inside}:v1", "--policy", tmp_path / "t/policy.json", "--full", "--offline")
    assert verified.returncode == 0, verified.stderr
    pulled = there("pull", f"oci:{inside}:v1", "-o", tmp_path / "out", "--policy", tmp_path / "t/policy.json")
    assert pulled.returncode == 0, pulled.stderr
    assert files_of(tmp_path / "out") == files_of(model)
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 16
    file.write_bytes(data)
    refused = there("bundle", "load", file, "--to", f"oci:{tmp_path}/other", *trusting)
    assert refused.returncode == 14


def test_from_one_kind_of_registry_to_the_other(
    distribution: RealRegistry,
    referrers_registry: RealRegistry,
    model: Path,
    key: Pair,
    cosign_key: CosignKey,
    tmp_path: Path,
) -> None:
    for source, target in ((distribution, referrers_registry), (referrers_registry, distribution)):
        reference = signed_by_everybody(model, source, key, cosign_key, tmp_path)
        repository, _, digest = reference.partition("@")
        file = saved(tmp_path / f"{source.name}.tar", f"{repository}:v1", "--split", "1MiB")
        name = target.fresh()
        ran = run("bundle", "load", file, "--to", f"{name}:v1", "--key", cosign_key.public)
        assert ran.code == 0, ran.err
        check_at(f"{name}@{digest}", digest, key, cosign_key)


def test_skopeo_reads_it_as_it_is_and_oras_unpacked(
    distribution: RealRegistry, model: Path, key: Pair, tmp_path: Path
) -> None:
    reference = pushed(model, distribution.fresh(), "--key", key.private)
    file = saved(tmp_path / "b.tar", f"{reference.partition('@')[0]}:v1")
    raw = peers.run("skopeo", "inspect", "--raw", f"oci-archive:{file}:v1").stdout
    digest = reference.partition("@")[2]
    assert peers.run("skopeo", "manifest-digest", "/dev/stdin", stdin=raw).stdout.strip() == digest
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", file, "-C", tmp_path / "unpacked"], check=True)
    layout = f"{tmp_path}/unpacked:v1"
    assert peers.run("oras", "resolve", "--oci-layout", layout).stdout.strip() == digest
    peers.run("oras", "pull", "--oci-layout", layout, "-o", tmp_path / "out")
    assert files_of(tmp_path / "out") == files_of(model)
    found = peers.run("oras", "discover", "--oci-layout", "--format", "json", layout).stdout
    assert len(json.loads(found)["referrers"]) == 2
    assert run("verify", f"oci:{layout}", "--key", key.public, "--full").code == 0


def test_a_delta_with_a_signature_that_came_later(
    distribution: RealRegistry, model: Path, key: Pair, cosign_key: CosignKey, tmp_path: Path
) -> None:
    """What is new is carried: the same model, a second signature, and one more under cosign's tag."""
    reference = pushed(model, distribution.fresh(), "--key", key.private)
    name = f"{reference.partition('@')[0]}:v1"
    first = saved(tmp_path / "first.tar", name)
    cosign_sign(reference, cosign_key)
    cosign_sign(reference, cosign_key, *LEGACY)
    second = saved(tmp_path / "second.tar", name, "--have", first)
    assert second.stat().st_size < first.stat().st_size / 2
    target = f"oci:{tmp_path / 'inside'}"
    for file in (first, second):
        assert run("bundle", "load", file, "--to", target).code == 0
    ran = run("verify", f"{target}:v1", "--key", cosign_key.public, "--full", "--json")
    assert ran.code == 0, ran.err
    assert {signer["format"] for signer in ran.document["signers"] if signer["status"] == "good"} == {
        "sigstore",
        "cosign-legacy",
    }


def killed(*words: str | Path, after: float) -> int:
    """Run a command and kill it; its exit code."""
    command = [sys.executable, "-m", "ocimodel", *(str(word) for word in words)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    return process.wait(30)


@pytest.mark.slow
def test_saves_and_loads_that_are_killed(distribution: RealRegistry, key: Pair, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", gguf=False)
    for number in range(3):
        (model / f"{number}.bin").write_bytes(weights(60 * MIB, number))
    reference = pushed(model, distribution.fresh(), "--key", key.private)
    name = f"{reference.partition('@')[0]}:v1"
    whole = saved(tmp_path / "whole.tar", name)
    began = time.monotonic()
    saved(tmp_path / "timed.tar", name)
    takes = time.monotonic() - began
    ends = []
    for share in (0.3, 0.5, 0.7, 0.9):
        file = tmp_path / f"{share}.tar"
        ends.append(killed("bundle", "save", name, file, after=share * takes))
        assert not file.exists() or file.read_bytes() == whole.read_bytes()
        assert saved(file, name).read_bytes() == whole.read_bytes()
        file.unlink()
    for share in (0.3, 0.5, 0.7, 0.9):
        layout = f"oci:{tmp_path}/{share}"
        ends.append(killed("bundle", "load", whole, "--to", layout, after=share * takes))
        assert run("verify", f"{layout}:v1", "--key", key.public, "--full").code in (0, 11)
        assert run("bundle", "load", whole, "--to", layout).code == 0
        assert run("verify", f"{layout}:v1", "--key", key.public, "--full").code == 0
        shutil.rmtree(tmp_path / str(share))
    assert -signal.SIGKILL in ends
