import json
from typing import Any

import pytest

from ocimodel import jsonio
from ocimodel.errors import ConfigurationError, DigestMismatchError, FormatError, IntegrityError
from ocimodel.model.provenance import MAX_BYTES, Provenance, provenance_bytes
from ocimodel.oci import media
from ocimodel.oci.digest import Digest

ONE, TWO = Digest.of(b"1"), Digest.of(b"2")
FILES = [("model.safetensors", ONE), ("sub/é.json", TWO)]
PREDICATE: dict[str, Any] = {
    "buildDefinition": {"buildType": "https://example.com/training", "externalParameters": {"lr": 3e-4}},
    "runDetails": {"builder": {"id": "https://example.com/ci"}},
}


def statement(**changes: Any) -> bytes:
    document = {
        "_type": media.STATEMENT_V1,
        "subject": [{"name": "model.safetensors", "digest": {"sha256": ONE.hex}}],
        "predicateType": media.SLSA_PROVENANCE,
        "predicate": PREDICATE,
    }
    return json.dumps(document | changes, indent=1).encode()


def test_the_minimal_record_claims_nothing_but_the_files() -> None:
    raw = provenance_bytes(FILES)
    assert json.loads(raw) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": "model.safetensors", "digest": {"sha256": ONE.hex}},
            {"name": "sub/é.json", "digest": {"sha256": TWO.hex}},
        ],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://ocimodel.github.io/spec/v1/buildtypes/training",
                "externalParameters": {},
            },
            "runDetails": {"builder": {"id": "https://ocimodel.github.io/spec/v1/builders/local"}},
        },
    }
    assert raw == jsonio.canonical(json.loads(raw))
    assert Digest.of(raw).hex == "eb9876674a1a5c997988a43c62d0b807c0cdd63b8eb47bbaced03b748d6b7918"


def test_a_statement_keeps_its_bytes() -> None:
    given = statement()
    assert provenance_bytes(FILES, given) is given
    assert provenance_bytes(FILES, statement(predicateType="https://example.com/other", predicate={}))


def test_a_predicate_keeps_its_text_and_gets_the_subjects() -> None:
    given = (
        b' {"runDetails":{"builder":{"id":"x"}},\n'
        b'"buildDefinition":{"buildType":"y","externalParameters":{"a":3.0e-4}}}\n'
    )
    raw = provenance_bytes(FILES, given)
    assert given.strip() in raw
    read = Provenance.from_bytes(raw)
    assert read.subjects == tuple((name, {"sha256": digest.hex}) for name, digest in FILES)
    assert (read.predicate_type, read.builder) == (media.SLSA_PROVENANCE, "x")


@pytest.mark.parametrize("name", ["model.safetensors", "./model.safetensors"])
def test_a_statement_about_another_file_of_the_same_name(name: str) -> None:
    given = statement(subject=[{"name": name, "digest": {"sha256": TWO.hex}}])
    with pytest.raises(DigestMismatchError, match=r"another .*model\.safetensors") as caught:
        provenance_bytes(FILES, given)
    assert isinstance(caught.value, IntegrityError)


@pytest.mark.parametrize(
    "subject",
    [
        {"name": "model.safetensors", "digest": {"sha256": ONE.hex.upper()}},
        {"name": "model.safetensors", "digest": {"sha512": "00"}},
        {"name": "elsewhere.bin", "digest": {"sha256": TWO.hex}},
        {"digest": {"sha256": TWO.hex}, "uri": "pkg:x", "annotations": {"a": 1}},
    ],
)
def test_subjects_that_contradict_nothing(subject: dict[str, Any]) -> None:
    given = statement(subject=[subject])
    assert provenance_bytes(FILES, given) == given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (b"", "not JSON"),
        (b"[]", "must be an object"),
        (b"{}", "buildDefinition: is missing"),
        (b"\xff", "UTF-8"),
        (b'{"a":1,"a":2}', "twice"),
        (json.dumps({"buildDefinition": {}}).encode(), "buildDefinition.buildType"),
        (json.dumps({**PREDICATE, "runDetails": {}}).encode(), "runDetails.builder"),
        (json.dumps({**PREDICATE, "runDetails": {"builder": {"id": 1}}}).encode(), "runDetails.builder.id"),
        (statement(_type="x"), "_type"),
        (statement(subject=[]), "subject"),
        (statement(subject=[{"name": "x"}]), r"subject\[0\].digest"),
        (statement(subject=[{"name": "x", "digest": {"sha256": 1}}]), r"subject\[0\].digest.sha256"),
        (statement(predicateType=""), "predicateType"),
        (statement(predicate=[]), "predicate"),
        (statement(predicate={}), "predicate.buildDefinition"),
        (statement(more=1), "more"),
        (b'{"payloadType":"x","payload":"e30=","signatures":[]}', "signed already"),
        (b'{"mediaType":"x","dsseEnvelope":{}}', "signed already"),
        (b" " * (MAX_BYTES + 1), "more than 4194304"),
    ],
)
def test_a_malformed_document_of_the_users(given: bytes, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        provenance_bytes(FILES, given)
    assert caught.value.exit_code == 3


def test_a_malformed_document_of_a_registry() -> None:
    with pytest.raises(FormatError, match="subject") as caught:
        Provenance.from_bytes(statement(subject=[]))
    assert caught.value.exit_code == 14


def test_no_document_over_the_cap_is_written() -> None:
    files = [(f"{number:0200}", ONE) for number in range(16_000)]
    with pytest.raises(ConfigurationError, match="more than"):
        provenance_bytes(files)
