"""Documents held against what their makers publish: schemas, and bindings that are generated from them.

CycloneDX comes with cyclonedx-python-lib, SPDX's bindings with spdx-python-model, in-toto's and SLSA's with
in-toto-attestation; ``make peers`` fetches the JSON Schemas of SPDX and ModelPack.
"""

from __future__ import annotations

import io
import json
import warnings
from functools import cache
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.real.peers import PEERS

SCHEMAS = PEERS / "schemas"


@cache
def fetched(name: str) -> dict[str, Any] | None:
    """A schema that ``make peers`` fetched; None where it could not."""
    path = SCHEMAS / name
    return json.loads(path.read_text()) if path.exists() else None


def check_cyclonedx(document: dict[str, Any]) -> None:
    validation = pytest.importorskip("cyclonedx.validation.json", reason="cyclonedx-python-lib is not installed")
    schema = pytest.importorskip("cyclonedx.schema")
    validator = validation.JsonStrictValidator(schema.SchemaVersion.V1_6)
    assert validator.validate_str(json.dumps(document)) is None


def check_spdx(document: dict[str, Any]) -> None:
    """By the bindings that SPDX generates from its SHACL model: types, patterns, cardinalities, no others."""
    library = pytest.importorskip("spdx_python_model", reason="spdx-python-model is not installed")
    model, objects = library.load_data(document)
    assert not objects.missing_ids, "every element that is referred to is in the document"
    written = io.BytesIO()
    model.JSONLDSerializer().write(objects, written)
    again = json.loads(written.getvalue())
    assert _elements(again) == _elements(document), "nothing is lost on the way through the library"


def check_spdx_schema(document: dict[str, Any]) -> None:
    """By SPDX's JSON Schema, which takes seconds."""
    schema = fetched("spdx/schema-v3.0.1.json")
    if schema is None:
        pytest.skip("the JSON Schema of SPDX was not fetched: run `make peers`")
    assert document["@context"] == schema["properties"]["@context"]["const"]
    validator = Draft202012Validator(schema)
    # One element of each kind, by its type and its properties, and the beginnings of its lists: all of their values
    # are looked at by the model below.
    kinds = {(item["type"], *sorted(item)): item for item in document["@graph"]}
    for item in kinds.values():
        item = {key: value[:2] if isinstance(value, list) else value for key, value in item.items()}
        # The class that the element names, of all that the schema would try in vain one by one.
        chosen = {"$ref": f"#/$defs/{item['type']}", "unevaluatedProperties": False}
        found = [error.message for error in validator.evolve().descend(item, chosen)]
        assert found == [], item


def check_spdx_model(document: dict[str, Any]) -> None:
    """By SPDX's model, whose shapes know the classes of what is referred to, and as JSON-LD reads the document."""
    model, context = fetched("spdx/spdx-model-v3.0.1.jsonld"), fetched("spdx/spdx-context-v3.0.1.jsonld")
    if model is None or context is None:
        pytest.skip("the model of SPDX was not fetched: run `make peers`")
    rdflib = pytest.importorskip("rdflib", reason="pyshacl is not installed")
    pyshacl = pytest.importorskip("pyshacl", reason="pyshacl is not installed")
    # The context as it was fetched, for nothing is to be asked of the network.
    local = {**document, **context}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # theirs, of each other
        graph = rdflib.Graph().parse(data=json.dumps(local), format="json-ld")
        shapes = rdflib.Graph().parse(data=json.dumps(model), format="json-ld")
        conforms, _, why = pyshacl.validate(graph, shacl_graph=shapes, ont_graph=shapes)
    assert conforms, why[:4000]


def _elements(value: Any) -> set[str]:
    """The identifiers of all elements, wherever they stand."""
    if isinstance(value, list):
        return set().union(*map(_elements, value)) if value else set()
    if not isinstance(value, dict):
        return set()
    own = {name} if isinstance(name := value.get("spdxId"), str) and not name.startswith("_:") else set()
    return own.union(*map(_elements, value.values()))


def check_modelpack(config: dict[str, Any]) -> None:
    schema = fetched("modelpack-0.0.7.json")
    if schema is None:
        pytest.skip("the schema of ModelPack was not fetched: run `make peers`")
    # It says draft 4 and keeps its definitions under $defs; both drafts agree about the words that it uses.
    schema = {key: value for key, value in schema.items() if key != "$schema"}
    assert [
        f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(config)
    ] == []


_MESSAGES = {
    "https://slsa.dev/provenance/v1": ("provenance.v1.provenance_pb2", "Provenance"),
    "https://slsa.dev/verification_summary/v1": ("vsa.v1.vsa_pb2", "VerificationSummary"),
    "https://in-toto.io/attestation/test-result/v0.1": ("test_result.v0.test_result_pb2", "TestResult"),
}


def check_statement(statement: dict[str, Any]) -> None:
    """The Statement, and the predicate of those types that in-toto has a message for; no field beside theirs."""
    why = "in-toto-attestation is not installed"
    statements = pytest.importorskip("in_toto_attestation.v1.statement_pb2", reason=why)
    parse = pytest.importorskip("google.protobuf.json_format").ParseDict
    parse(statement, statements.Statement())
    if statement["predicateType"] in _MESSAGES:
        module, name = _MESSAGES[statement["predicateType"]]
        message = getattr(pytest.importorskip(f"in_toto_attestation.predicates.{module}"), name)
        # Extension fields are named by URIs (slsa.dev/spec/v1.0, "Extension fields"); a message has none.
        predicate = {key: value for key, value in statement["predicate"].items() if ":" not in key}
        if name == "VerificationSummary":
            # slsa.dev/spec/v1.0/verification_summary has an array and a map that the message does not have yet.
            assert all(isinstance(level, str) for level in predicate.pop("verifiedLevels"))
            predicate["verifier"] = {"id": predicate["verifier"]["id"]}
        parse(predicate, message())
