"""The chain of environments: what its file may say, promotions by it, and what runs where."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ocimodel.oci import media
from tests.commands import events, run
from tests.documents import check, problems
from tests.models import make_model

ENVIRONMENTS = ("dev", "staging", "prod")
CHANNELS = {"dev": "rc", "staging": "next", "prod": "stable"}
KEYS = ("builder", "to-staging", "to-prod", "stranger")


class Chain:
    """Three layouts, each with a policy file of its own, and the file that names them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in KEYS:
            assert run("key", "generate", root / name, "--no-password").code == 0
        self.model = make_model(root / "model", gguf=False)
        for name in ENVIRONMENTS:
            self.write_policy(name)
        self.file = root / "environments.yaml"
        self.write()
        self.digest = self.push()

    def push(self) -> str:
        ran = run("push", self.model, self.channel("dev"), "--key", self.root / "builder.key")
        assert ran.code == 0, ran.err
        return ran.out.strip().partition("@")[2]

    def newer(self) -> str:
        (self.model / "config.json").write_text('{"model_type": "llama", "newer": true}')
        return self.push()

    def channel(self, name: str) -> str:
        return f"oci:{self.root}/{name}/fraud:{CHANNELS[name]}"

    def write_policy(self, name: str, **promotion: Any) -> None:
        ring = {"builder": {"publicKeyFile": "builder.pub", "roles": ["builder"]}}
        scope: dict[str, Any] = {
            "match": f"oci:{self.root}/{name}/**",
            "environment": name,
            "signatures": {"from": ["builder"]},
        }
        if name != "dev":
            ring[name] = {"publicKeyFile": f"to-{name}.pub", "roles": ["promoter"]}
            scope["attestations"] = [{"predicateType": media.SLSA_SUMMARY, "name": "promotion", "from": [name]}]
        if promotion:
            scope["promotion"] = promotion
        policy = {"version": 1, "id": name, "keys": ring, "scopes": [scope]}
        (self.root / f"{name}.json").write_text(json.dumps(policy))

    def value(self) -> dict[str, Any]:
        listed: list[dict[str, Any]] = [
            {
                "name": name,
                "repository": f"oci:{name}/{{model}}",
                "channel": CHANNELS[name],
                "policy": f"{name}.json",
            }
            for name in ENVIRONMENTS
        ]
        return {"version": 1, "models": ["fraud"], "environments": listed}

    def write(self, change: Callable[[dict[str, Any]], None] = lambda _value: None) -> None:
        value = self.value()
        change(value)
        self.file.write_text(yaml.safe_dump(value))

    def promote(self, model: str, to: str, *words: str | Path, key: str | None = None) -> Any:
        keys = ("--key", self.root / f"{key or f'to-{to}'}.key")
        return run("promote", model, "--to", to, "--environments", self.file, *keys, *words)

    def status(self) -> dict[str, dict[str, Any]]:
        document = check(run("promote", "status", "--environments", self.file, "--json").document)
        return {row["environment"]: row for row in document["environments"]}


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path)


def test_from_dev_to_production_by_names(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(chain.root)  # where environments.yaml is found by itself
    assert problems(chain.value(), "environments") == []
    staging = run("promote", "fraud", "--from", "dev", "--to", "staging", "--key", "to-staging.key")
    assert (staging.code, staging.out) == (0, f"{chain.channel('staging')}@{chain.digest}\n"), staging.err
    prod = ("promote", "fraud", "--from", "staging", "--to", "prod", "--key", "to-prod.key", "--version", "1.0")
    document = check(run(*prod, "--json").document)
    assert document["promotion"]["movedTags"] == ["1.0", "stable"]
    assert [gate["outcome"] for gate in document["gates"] if gate["name"] == "lineage"] == ["pass"]
    shown = run("promote", "status")
    assert shown.code == 0
    rows = chain.status()
    assert {name: row["state"] for name, row in rows.items()} == {
        "dev": "unpromoted",
        "staging": "verified",
        "prod": "verified",
    }
    assert rows["prod"]["digest"] == chain.digest
    assert rows["prod"]["versions"] == ["1.0"]
    assert rows["prod"]["by"]["name"] == "prod"
    assert rows["prod"]["sequence"] == document["promotion"]["sequence"]
    assert rows["prod"]["expires"] == document["promotion"]["expires"]
    assert rows["prod"]["samePolicy"]
    assert [row.split()[0] for row in shown.out.splitlines()[:4]] == ["ENVIRONMENT", *ENVIRONMENTS]
    assert events()[-1]["type"] == "io.github.ocimodel.promote.status.v1"


def test_nothing_is_skipped(chain: Chain) -> None:
    assert chain.promote("fraud", "prod", "--from", "dev").code == 2
    assert chain.promote("fraud", "dev", key="to-prod").code == 2
    assert chain.promote("fraud", "moon", key="to-prod").code == 2
    assert chain.promote("fraud", "prod").code == 11  # it never came to staging
    assert run("copy", chain.channel("dev"), chain.channel("staging")).code == 0
    ran = chain.promote("fraud", "prod", "--json")
    assert ran.code == 19
    assert [gate["name"] for gate in ran.document["gates"] if gate["outcome"] == "fail"] == ["lineage"]
    assert chain.status()["prod"]["state"] == "empty"


@pytest.mark.parametrize("words", [("fraud:1.0", "x:y"), ("Fraud",), ("fraud/",), ("fraud", "--from", "prod")])
def test_command_lines_that_cannot_be_meant(chain: Chain, words: tuple[str, ...]) -> None:
    assert chain.promote(words[0], "staging", *words[1:]).code == 2


def test_the_key_is_the_promoters(chain: Chain) -> None:
    """Also where the policy would take another one: the chain names one of them."""

    def named(value: dict[str, Any]) -> None:
        value["environments"][1]["promoter"] = "stranger.pub"
        value["environments"][1]["key"] = "to-staging.key"

    chain.write(named)
    words = ("promote", "fraud", "--to", "staging", "--environments", chain.file, "--json")
    ran = run(*words)
    assert ran.code == 12
    assert [gate["name"] for gate in ran.document["gates"] if gate["outcome"] == "fail"] == ["promoter"]
    assert not (chain.root / "staging").exists()
    chain.write(lambda value: value["environments"][1].update(key="to-staging.key", promoter="to-staging.pub"))
    assert run(*words).code == 0
    assert chain.status()["staging"]["by"]["name"] == "staging"
