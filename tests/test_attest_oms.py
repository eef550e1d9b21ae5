"""OMS documents: the root digest, what is refused, and what is about which artifact."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimodel.attest import oms
from ocimodel.attest.bundle import Bundle
from ocimodel.attest.envelope import Envelope
from ocimodel.attest.oms import (
    OmsSignature,
    bundle_of,
    files_only,
    root_of,
    signature_of,
    statement_bytes,
    unsupported,
)
from ocimodel.attest.statement import Statement
from ocimodel.errors import FormatError, UsageError
from ocimodel.oci import media
from tests.signers import ALICE, MODEL, OTHER
from tests.test_trust_evidence import JSON

FILES = {"a.json": hashlib.sha256(b"a").hexdigest(), "b/w.bin": hashlib.sha256(b"w").hexdigest()}


def document(**changes: Any) -> dict[str, Any]:
    """A statement as `model_signing` makes it, with members of the predicate replaced."""
    resources = [{"name": name, "algorithm": "sha256", "digest": digest} for name, digest in FILES.items()]
    serialization = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": [".git"]}
    return {
        "_type": media.STATEMENT_V1,
        "subject": [{"name": "m", "digest": {"sha256": root_of(FILES.values())}}],
        "predicateType": media.OMS_SIGNATURE,
        "predicate": {"serialization": serialization, "resources": resources, **changes},
    }


def read(found: Any) -> OmsSignature:
    raw = found if isinstance(found, bytes) else json.dumps(found).encode()
    bundle = Bundle.from_bytes(bundle_of(Envelope(payload=raw, signature=b"signature"), b"pem"))
    return signature_of(Statement.from_bytes(raw), bundle)


def test_what_others_write() -> None:
    found = read(document())
    assert found.files == FILES
    assert files_only(found)
    assert (found.format, found.approves) == ("oms", True)
    assert found.subjects_of(MODEL) == ()
    assert found.seen_in(MODEL.digest, {**FILES, "more": FILES["a.json"]}).subjects_of(MODEL) == ()
    assert found.seen_in(MODEL.digest, {"a.json": FILES["a.json"]}).subjects_of(MODEL) == ()
    assert len(found.seen_in(MODEL.digest, FILES).subjects_of(MODEL)) == 1
    assert found.seen_in(MODEL.digest, FILES).subjects_of(OTHER) == ()


def test_what_we_write_approves_one_manifest_alone() -> None:
    found = read(statement_bytes("m", FILES, MODEL.digest, {"k": "v"}))
    assert found.files == FILES
    assert not files_only(found)
    (subject,) = found.subjects_of(MODEL)
    assert subject.annotations == {"k": "v"}
    assert found.subjects_of(OTHER) == ()
    assert found.seen_in(OTHER.digest, FILES).subjects_of(OTHER) == (), "the same files in another manifest"


def test_files_are_sorted_by_their_parts() -> None:
    """As paths compare, not as their texts do: a/b stands before a-b."""
    digest = FILES["a.json"]
    files = dict.fromkeys(("a-b", "a/b", "a", "B", ".gitattributes", ".github/x", ".gitmodules", ".git/c"), digest)
    document = json.loads(statement_bytes("m", files, MODEL.digest, {}))
    assert [item["name"] for item in document["predicate"]["resources"]] == [".gitmodules", "B", "a", "a/b", "a-b"]


def test_a_root_digest() -> None:
    raw = b"".join(hashlib.sha256(data).digest() for data in (b"a", b"w"))
    assert root_of(FILES.values()) == hashlib.sha256(raw).hexdigest()


def test_nothing_to_sign() -> None:
    for files in ({}, {".gitattributes": FILES["a.json"]}):
        with pytest.raises(UsageError, match="no files"):
            statement_bytes("m", files, MODEL.digest, {})
    with pytest.raises(UsageError, match="Unicode"):
        statement_bytes("m", FILES, MODEL.digest, {"k": "\ud800"})


def test_the_hint_is_that_of_model_signing() -> None:
    bundle = bundle_of(Envelope(payload=b"{}", signature=b"s"), ALICE.public.to_pem())
    assert Bundle.from_bytes(bundle).hint == hashlib.sha256(ALICE.public.to_pem()).hexdigest()


RESOURCE = {"name": "a", "algorithm": "sha256", "digest": FILES["a.json"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resources": None}, "resources"),
        ({"resources": []}, "at least one"),
        ({"resources": [RESOURCE]}, "root digest"),
        ({"resources": [RESOURCE, RESOURCE]}, "twice"),
        ({"resources": [{**RESOURCE, "more": 1}]}, "more"),
        ({"resources": [{**RESOURCE, "algorithm": "blake3"}]}, "SHA-256"),
        ({"resources": [{**RESOURCE, "digest": "A" * 64}]}, "SHA-256"),
        ({"resources": [{**RESOURCE, "digest": "ab"}]}, "SHA-256"),
        ({"resources": [7]}, "object"),
        ({media.OMS_MANIFEST: "sha256:1"}, "digest"),
        ({media.OMS_MANIFEST: 7}, "string"),
    ],
)
def test_a_statement_that_contradicts_itself(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read(document(**changes))


def test_two_subjects() -> None:
    two = document()
    two["subject"] *= 2
    with pytest.raises(FormatError, match="one model"):
        read(two)


@pytest.mark.parametrize(
    "serialization",
    [
        None,
        [],
        {},
        {"method": "shards", "hash_type": "sha256"},
        {"method": "files", "hash_type": "blake3"},
        {"method": "files", "hash_type": "\x1b[2J"},
    ],
    ids=str,
)
def test_other_ways_of_hashing_are_told_apart(serialization: Any) -> None:
    raw = json.dumps(document(serialization=serialization)).encode()
    found = unsupported(Statement.from_bytes(raw))
    assert found
    assert found.isprintable()
    assert not unsupported(Statement.from_bytes(json.dumps(document()).encode()))


@given(JSON, st.lists(st.sampled_from(["serialization", "resources", media.OMS_MANIFEST, "x"]), max_size=2))
def test_any_predicate_is_read_or_refused(value: Any, path: list[str]) -> None:
    found = document(**dict.fromkeys(path, value))
    try:
        statement = Statement.from_bytes(json.dumps(found).encode())
    except FormatError:
        return
    assert isinstance(unsupported(statement), str)
    try:
        signature = read(found)
    except FormatError:
        return
    assert signature.files == FILES


@given(st.dictionaries(st.text(min_size=1).filter(lambda name: not oms._ignored(name)), st.binary(max_size=4)))
def test_what_we_write_we_read(contents: dict[str, bytes]) -> None:
    files = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    try:
        written = statement_bytes("m", files, MODEL.digest, {})
    except UsageError:
        return
    found = read(written)
    assert (found.files, found.manifest) == (files, MODEL.digest)
