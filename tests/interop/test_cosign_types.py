"""`cosign verify-attestation` accepts our statements of each type, and we those of `cosign attest`."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.commands import run
from tests.interop.conftest import Pair, generate, pushed
from tests.official import check_cyclonedx, check_spdx, check_statement
from tests.real import peers
from tests.real.cosign import CosignKey, cosign_attest, cosign_sign
from tests.real.registry import RealRegistry
from tests.test_record import MODEL

pytestmark = pytest.mark.peer

EVALUATION = "https://example.org/evaluation/v1"
SPDX3 = "https://spdx.dev/Document/v3"
TYPES = {
    "slsaprovenance1": ("https://slsa.dev/provenance/v1", "provenance"),
    "cyclonedx": ("https://cyclonedx.org/bom", "bom"),
    "spdxjson": ("https://spdx.dev/Document", "spdx"),
    SPDX3: (SPDX3, SPDX3),
    EVALUATION: (EVALUATION, EVALUATION),
}
"""What cosign calls it: the URI, and what we call it."""


@dataclass(frozen=True)
class Attested:
    reference: str
    predicates: dict[str, Path]
    key: Pair


@pytest.fixture(scope="module")
def attested(distribution: RealRegistry, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Attested:
    """A model with one statement of ours of each type, and the predicates in files."""
    place = tmp_path_factory.mktemp("attested")
    key = generate(place)
    (place / "model.yaml").write_text(MODEL)
    (place / "evaluation.json").write_text('{"accuracy": 0.9310, "passed": true}')
    reference = pushed(model, distribution.fresh(), "--metadata", place / "model.yaml")
    predicates = {EVALUATION: place / "evaluation.json"}
    for uri, name in TYPES.values():
        given = ("--predicate", predicates[EVALUATION]) if uri == EVALUATION else ()
        ran = run("attest", reference, "--type", name, *given, "--key", key.private)
        assert ran.code == 0, ran.err
    for found in show(reference, key.public):
        predicates.setdefault(found["predicateType"], place / f"{len(predicates)}.json").write_text(
            json.dumps(found["predicate"])
        )
    return Attested(reference, predicates, key)


def show(reference: str, public: Path) -> list[dict[str, Any]]:
    answer = run("attest", "show", reference, "--key", public, "--json")
    assert answer.code == 0, answer.err
    found = answer.document["attestations"]
    assert isinstance(found, list)
    return found


def cosign_says(reference: str, public: Path, kind: str) -> list[dict[str, Any]]:
    """The statements of one type that cosign verified; none where it refuses."""
    words = ("--type", kind, "--insecure-ignore-tlog=true", "--allow-http-registry", reference)
    done = peers.run("cosign", "verify-attestation", "--key", public, *words, check=False)
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    return [json.loads(base64.b64decode(json.loads(line)["payload"])) for line in lines]


@pytest.mark.parametrize("kind", TYPES)
def test_cosign_accepts_ours(kind: str, attested: Attested, tmp_path: Path) -> None:
    (statement,) = cosign_says(attested.reference, attested.key.public, kind)
    assert statement["predicateType"] == TYPES[kind][0]
    check_statement(statement)
    stranger = generate(tmp_path, name="stranger")
    assert cosign_says(attested.reference, stranger.public, kind) == []


def test_cosign_finds_no_other(attested: Attested) -> None:
    assert cosign_says(attested.reference, attested.key.public, "https://example.org/another") == []


def test_we_accept_cosigns(
    registry: RealRegistry, model: Path, attested: Attested, cosign_key: CosignKey, tmp_path: Path
) -> None:
    reference = pushed(model, registry.fresh())
    for kind, (uri, _) in TYPES.items():
        cosign_attest(reference, cosign_key, kind, attested.predicates[uri])
    found = {item["predicateType"]: item for item in show(reference, cosign_key.public)}
    assert set(found) == {uri for uri, _ in TYPES.values()}
    for uri, item in found.items():
        assert item["verified"], uri
        given = json.loads(attested.predicates[uri].read_text())
        if uri == "https://slsa.dev/provenance/v1":
            # It rewrites this type, without the extension fields that SLSA allows; given by its URI it does not.
            given = {name: value for name, value in given.items() if ":" not in name}
        assert item["predicate"] == given, uri
    check_cyclonedx(found["https://cyclonedx.org/bom"]["predicate"])
    check_spdx(found[SPDX3]["predicate"])
    gates = [{"predicateType": uri, "from": ["cosign"]} for uri in found]
    policy = {
        "version": 1,
        "keys": {"cosign": {"publicKeyFile": str(cosign_key.public)}},
        "scopes": [{"match": "**", "signatures": {"from": ["cosign"]}, "attestations": gates}],
    }
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(policy))
    refused = run("verify", reference, "--policy", path)
    assert refused.code == 10, "statements are no signature"
    cosign_sign(reference, cosign_key)
    ran = run("verify", reference, "--policy", path)
    assert ran.code == 0, ran.err


def test_cosign_keeps_extension_fields_of_a_type_that_is_named_by_its_uri(
    distribution: RealRegistry, model: Path, attested: Attested, cosign_key: CosignKey
) -> None:
    reference = pushed(model, distribution.fresh())
    uri = "https://slsa.dev/provenance/v1"
    cosign_attest(reference, cosign_key, uri, attested.predicates[uri])
    (found,) = show(reference, cosign_key.public)
    assert (found["verified"], found["predicate"]) == (True, json.loads(attested.predicates[uri].read_text()))
