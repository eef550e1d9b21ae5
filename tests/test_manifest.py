"""Manifests and indexes: one kind each, original bytes, complaints that name the field."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimodel.errors import FormatError
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import MAX_BYTES, Index, Manifest, index_bytes, manifest_bytes

EMPTY = Descriptor(media_type=media.OCI_EMPTY, digest=Digest.of(b"{}"), size=2)
LAYER = Descriptor(
    media_type="application/octet-stream",
    digest=Digest.of(b"weights"),
    size=7,
    annotations={media.TITLE: "model.safetensors"},
)
PLAIN = json.loads(manifest_bytes(config=EMPTY, layers=[LAYER, LAYER]))
LIST = json.loads(index_bytes([EMPTY, LAYER]))


def changed(document: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> bytes:
    result = copy.deepcopy(document)
    change(result)
    return json.dumps(result).encode()


def test_round_trip() -> None:
    raw = manifest_bytes(
        config=EMPTY, layers=[LAYER], artifact_type="application/x", subject=LAYER, annotations={"a": "b"}
    )
    manifest = Manifest.from_bytes(raw, media.OCI_MANIFEST)
    assert manifest.raw is raw
    assert (manifest.config, list(manifest.layers)) == (EMPTY, [LAYER])
    assert manifest.artifact_type == "application/x"
    assert manifest.annotations == {"a": "b"}
    assert manifest.subject == Descriptor(media_type=LAYER.media_type, digest=LAYER.digest, size=7)


def test_the_bytes_are_canonical() -> None:
    # Golden: whoever changes this changes every digest.
    assert manifest_bytes(config=EMPTY, layers=[], annotations={"b": "2", "a": "ä"}).decode() == (
        '{"annotations":{"a":"ä","b":"2"},"config":{"digest":"' + str(EMPTY.digest) + '",'
        '"mediaType":"application/vnd.oci.empty.v1+json","size":2},"layers":[],'
        '"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2}'
    )


def test_the_descriptor_is_that_of_a_referrers_list() -> None:
    raw = manifest_bytes(config=EMPTY, layers=[], annotations={"a": "b"})
    descriptor = Manifest.from_bytes(raw).descriptor
    assert descriptor.digest == Digest.of(raw)
    assert descriptor.size == len(raw)
    assert descriptor.artifact_type == media.OCI_EMPTY, "without an artifactType, the config's media type"
    assert descriptor.annotations == {"a": "b"}


def test_other_spellings_keep_their_bytes() -> None:
    raw = json.dumps({**PLAIN, "unknown": [1.5, None]}, indent=3).encode()
    assert Manifest.from_bytes(raw).raw == raw


def test_the_store_may_name_the_media_type() -> None:
    raw = changed(PLAIN, lambda d: d.pop("mediaType"))
    assert Manifest.from_bytes(raw).media_type == media.OCI_MANIFEST
    assert Manifest.from_bytes(raw, media.DOCKER_MANIFEST).media_type == media.DOCKER_MANIFEST


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("schemaVersion", lambda d: d.pop("schemaVersion")),
        ("schemaVersion", lambda d: d.update(schemaVersion=1)),
        ("schemaVersion", lambda d: d.update(schemaVersion="2")),
        ("schemaVersion", lambda d: d.update(schemaVersion=True)),
        ("schemaVersion", lambda d: d.update(schemaVersion=2.0)),
        ("manifests", lambda d: d.update(manifests=[])),
        ("manifests", lambda d: d.update(manifests=None)),
        ("mediaType", lambda d: d.update(mediaType=media.OCI_INDEX)),
        ("mediaType", lambda d: d.update(mediaType="text/html")),
        ("mediaType", lambda d: d.update(mediaType=7)),
        ("config", lambda d: d.pop("config")),
        ("config", lambda d: d.update(config=[])),
        ("config.digest", lambda d: d["config"].pop("digest")),
        ("config.digest", lambda d: d["config"].update(digest="sha256:12")),
        ("config.size", lambda d: d["config"].update(size=-1)),
        ("config.size", lambda d: d["config"].update(size=2**50 + 1)),
        ("config.size", lambda d: d["config"].update(size="2")),
        ("config.mediaType", lambda d: d["config"].update(mediaType="no type")),
        ("config.mediaType", lambda d: d["config"].update(mediaType="a/b; charset=utf-8")),
        ("layers", lambda d: d.pop("layers")),
        ("layers", lambda d: d.update(layers={})),
        ("layers[1].digest", lambda d: d["layers"][1].update(digest=None)),
        ("layers[1]", lambda d: d["layers"].__setitem__(1, "x")),
        ("layers[0].annotations.k", lambda d: d["layers"][0].update(annotations={"k": 1})),
        ("layers[0].annotations", lambda d: d["layers"][0].update(annotations=["k"])),
        ("annotations.k", lambda d: d.update(annotations={"k": None, "j": "x"})),
        ("artifactType", lambda d: d.update(artifactType=[])),
        ("subject", lambda d: d.update(subject="sha256:12")),
        ("subject.digest", lambda d: d.update(subject={"mediaType": "a/b", "size": 1})),
    ],
)
def test_the_bad_field_is_named(path: str, change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(FormatError) as caught:
        Manifest.from_bytes(changed(PLAIN, change))
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("layers", lambda d: d.update(layers=[])),
        ("manifests", lambda d: d.pop("manifests")),
        ("manifests[0].digest", lambda d: d["manifests"][0].pop("digest")),
        ("mediaType", lambda d: d.update(mediaType=media.OCI_MANIFEST)),
    ],
)
def test_the_bad_field_of_an_index_is_named(path: str, change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(FormatError) as caught:
        Index.from_bytes(changed(LIST, change))
    assert caught.value.path == path


def test_a_document_that_is_both_is_neither() -> None:
    both = changed(PLAIN, lambda d: d.update(LIST))
    for kind in (media.OCI_MANIFEST, media.OCI_INDEX):
        for decode in (Manifest.from_bytes, Index.from_bytes):
            with pytest.raises(FormatError):
                decode(both, kind)


@pytest.mark.parametrize("kind", [media.DOCKER_MANIFEST, media.OCI_INDEX, "text/html", ""])
def test_the_store_must_agree(kind: str) -> None:
    raw = json.dumps(PLAIN).encode()
    if kind:
        with pytest.raises(FormatError) as caught:
            Manifest.from_bytes(raw, kind)
        assert caught.value.path == "mediaType"
    else:
        Manifest.from_bytes(raw, kind)


def test_too_large() -> None:
    with pytest.raises(FormatError, match="more than"):
        Manifest.from_bytes(json.dumps(PLAIN).encode() + b" " * MAX_BYTES)
    with pytest.raises(FormatError, match="registries take"):
        manifest_bytes(config=EMPTY, layers=[], annotations={"a": "x" * MAX_BYTES})


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"7", b'"x"', b"{}", b"\xff", b"<html>"])
def test_not_a_manifest(raw: bytes) -> None:
    for decode in (Manifest.from_bytes, Index.from_bytes):
        with pytest.raises(FormatError):
            decode(raw)


@given(st.data())
def test_a_flipped_byte_never_raises_anything_else(data: st.DataObject) -> None:
    raw = bytearray(json.dumps({**PLAIN, "subject": PLAIN["config"], "annotations": {"a": "b"}}).encode())
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= data.draw(st.integers(1, 255))
    try:
        manifest = Manifest.from_bytes(bytes(raw), media.OCI_MANIFEST)
    except FormatError:
        return
    assert manifest.raw == raw


@given(
    st.lists(
        st.builds(
            Descriptor,
            media_type=st.just("application/x"),
            digest=st.binary().map(Digest.of),
            size=st.integers(0, 2**50),
            annotations=st.dictionaries(
                st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))
            ),
            artifact_type=st.none() | st.just("application/y"),
        ),
        max_size=5,
    )
)
def test_any_index_round_trips(entries: list[Descriptor]) -> None:
    assert list(Index.from_bytes(index_bytes(entries), media.OCI_INDEX).manifests) == entries


def test_foreign_members_of_a_descriptor_are_not_used() -> None:
    raw = changed(PLAIN, lambda d: d["config"].update(urls=["http://169.254.169.254/"], data="e30="))
    assert Manifest.from_bytes(raw).config == EMPTY
