"""The manifests under deploy/: valid for Kubernetes, as strict as they say, and what their commands do is run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ocimodel.errors import SEVERITY
from tests.commands import run
from tests.documents import schema
from tests.hostile import HostileRegistry
from tests.models import make_model
from tests.real.registry import RealRegistry

FOLDER = Path(__file__).resolve().parents[1] / "deploy/kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))
VERSIONS = ("1.31", "1.37")
"""podFailurePolicy and the failures of single indexes are there from the first of them on."""


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def workload(name: str) -> dict[str, Any]:
    (found,) = (item for item in documents(FOLDER / name) if item["kind"] in ("Job", "Deployment"))
    return found


def pod(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = workload(name)["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_it(path: Path, version: str) -> None:
    for document in documents(path):
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("name", ["scan.yaml", "copy.yaml", "serving.yaml"])
def test_nothing_is_allowed_that_is_not_needed(name: str) -> None:
    spec = pod(name)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    named = {volume["name"] for volume in spec["volumes"]}
    for container in [*spec.get("initContainers", ()), *spec["containers"]]:
        context = container["securityContext"]
        assert context == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {mount["name"] for mount in container["volumeMounts"]} <= named


@pytest.mark.parametrize("name", ["scan.yaml", "copy.yaml"])
def test_a_job_shares_the_work_and_tries_again_what_may_help(name: str) -> None:
    spec = workload(name)["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    environment = {item["name"]: item["value"] for item in container["env"]}
    assert (spec["completionMode"], str(spec["completions"])) == ("Indexed", environment["OCIMODEL_SHARDS"])
    by_code = [rule for rule in spec["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    actions = {code: rule["action"] for rule in by_code for code in rule["onExitCodes"]["values"]}
    assert sum(len(rule["onExitCodes"]["values"]) for rule in by_code) == len(actions), "one rule a code"
    assert {rule["onExitCodes"]["containerName"] for rule in by_code} == {container["name"]}
    assert set(actions) | {0} == set(schema("answer")["$defs"]["exitCode"]["enum"])
    assert {actions[code] for code in SEVERITY} == {"FailIndex"}
    assert {code for code, action in actions.items() if action == "Count"} == {74, 75, 130, 143}


def test_the_policy_that_comes_along_lets_nothing_pass(tmp_path: Path) -> None:
    (config,) = documents(FOLDER / "policy.yaml")
    policy = tmp_path / "policy.json"
    policy.write_text(config["data"]["policy.json"])
    assert run("policy", "check", policy).code == 0
    with HostileRegistry() as registry:
        name = f"{registry.host}/ml/tiny:v1"
        assert run("key", "generate", tmp_path / "k", "--no-password").code == 0
        model = make_model(tmp_path / "model", gguf=False)
        assert run("push", model, name, "--key", tmp_path / "k.key").code == 0
        judged = run("verify", name, "--policy", policy, "--as", "registry.example.com/ml/tiny")
        assert judged.code == 12, judged.err


# --- shares, as pods do them --------------------------------------------------------------------------------------


class Pods:
    """What a Job would run: its own words and variables, each volume a directory."""

    def __init__(self, name: str, root: Path) -> None:
        (container,) = pod(name)["containers"]
        self._root = root
        self._command = [sys.executable, "-m", "ocimodel", *map(self._inside, container["args"])]
        self._environment = {item["name"]: self._inside(item["value"]) for item in container["env"]}
        for mount in container["volumeMounts"]:
            Path(self._inside(mount["mountPath"])).mkdir(parents=True, exist_ok=True)
        (root / "credentials/config.json").write_text('{"auths": {}}')

    def _inside(self, text: str) -> str:
        return re.sub(r"(^|=)(/(?:list|policy|scratch|credentials)(?:/|$))", rf"\g<1>{self._root}\g<2>", text)

    @property
    def count(self) -> int:
        return int(self._environment["OCIMODEL_SHARDS"])

    def start(self, index: int) -> subprocess.Popen[str]:
        """One pod, with an empty volume of its own, no home, and a user without a name."""
        own_volume = self._root / "scratch"
        own = {
            key: value.replace(str(own_volume), f"{own_volume}/{index}") for key, value in self._environment.items()
        }
        command = [word.replace(str(own_volume), f"{own_volume}/{index}") for word in self._command]
        variables = {"PATH": os.environ["PATH"], "JOB_COMPLETION_INDEX": str(index), **own}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=variables, stdout=pipe, stderr=pipe, text=True, cwd=self._root)

    def run(self, index: int) -> list[str]:
        process = self.start(index)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return [line for line in out.splitlines() if "@sha256:" in line]


@pytest.mark.peer
def test_shares_of_a_job_cover_all_exactly_once(
    distribution: RealRegistry, referrers_registry: RealRegistry, tmp_path: Path
) -> None:
    assert run("key", "generate", tmp_path / "ours", "--no-password").code == 0
    model = make_model(tmp_path / "model", gguf=False)
    stem = distribution.fresh("fleet")
    pairs = []
    for number in range(6):
        (model / "number.txt").write_text(str(number))
        tags = ("--tag", f"also-{number}")
        pushed = run("push", model, f"{stem}/m{number}:v{number}", *tags, "--key", tmp_path / "ours.key")
        assert pushed.code == 0, pushed.err
        target = f"{referrers_registry.host}/{stem.partition('/')[2]}/m{number}:v{number}"
        pairs.append((pushed.out.strip().partition("@")[0], f"{target}@{pushed.out.strip().partition('@')[2]}"))

    scanning, copying = Pods("scan.yaml", tmp_path / "scan"), Pods("copy.yaml", tmp_path / "copy")
    policy = run("policy", "init", "--key", tmp_path / "ours.pub", "--scope", f"{distribution.host}/**").out
    for root in ("scan", "copy"):
        (tmp_path / root / "policy/policy.json").write_text(policy)
    (tmp_path / "scan/list/list.txt").write_text(f"{distribution.host}/{stem.partition('/')[2]}/*\n")
    lines = [f"{source} {target.partition('@')[0]}\n" for source, target in pairs]
    (tmp_path / "copy/list/list.txt").write_text("# all\n" + "".join(lines))

    parts = [scanning.run(index) for index in range(scanning.count)]
    judged = [line.split()[2].partition("@")[0] for part in parts for line in part]
    wanted = {f"{stem}/m{number}:{tag}{number}" for number in range(6) for tag in ("v", "also-")}
    assert sorted(judged) == sorted(wanted)
    assert sum(bool(part) for part in parts) > 1

    # One pod of the copy is killed at work, and its share run again.
    process = copying.start(1)
    time.sleep(0.4)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    copied = [line for index in range(copying.count) for line in copying.run(index)]
    assert sorted(copied) == sorted(target for _, target in pairs)
    again = copying.run(1)
    assert set(again) <= set(copied)
    report = json.loads((tmp_path / "scan/scratch/0/report.jsonl").read_text().splitlines()[-1])
    assert report["complete"] is True
