"""Manifests that a bad packer made and rightly signed: the signer is trusted, his file names are not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ocimodel.oci import media
from tests.attacks.scene import FILES, Scene, files_of
from tests.commands import run
from tests.hostile import Request, Response
from tests.signers import ALICE

EVIL_NAMES = [
    "../evil",
    "a/../../evil",
    "..",
    ".",
    "",
    "/",
    "/tmp/evil",
    "//evil",
    "a//b",
    "a/",
    "./a",
    "..\\evil",
    "a\\..\\..\\evil",
    "C:\\evil",
    "C:evil",
    "\\\\server\\share\\evil",
    "evil\0.json",
    "evil\n.json",
    "evil\x1b[2J.json",
    "evil\u202egnp.exe",
    "evil\u200b",
    "CON",
    "aux.json",
    "com1",
    "evil.",
    "evil ",
    " evil",
    "evil:stream",
    "a" * 256,
    "/".join("a" * 65),
    ".ocimodel-tmp-evil",
    ".ocimodel/provenance.intoto.json",
    ".OCIMODEL/x",
]


def refused(scene: Scene, code: int = 14) -> None:
    """With the right key and without any; no layer is asked for, nothing appears anywhere."""
    before = files_of(scene.place)
    for key in (ALICE, None):
        ran = scene.pull("--json", key=key)
        assert ran.code == ran.document["exitCode"] == code, ran.err
        assert "\x1b" not in ran.err + ran.out
    assert scene.asked_for(*scene.layers()) == 0 or code != 14
    assert scene.nothing_arrived()
    after = {name: data for name, data in files_of(scene.place).items() if not name.endswith(".pub")}
    assert after == {name: data for name, data in before.items() if not name.endswith(".pub")}


@pytest.mark.parametrize("name", EVIL_NAMES, ids=ascii)
@pytest.mark.parametrize("annotation", [media.FILEPATH, media.TITLE, "org.cnai.model.filepath"])
def test_a_file_name_that_leads_elsewhere(scene: Scene, name: str, annotation: str) -> None:
    layer = scene.layer(b"evil", media_type=f"{media.LAYER_PREFIX}weight.v1.raw", **{annotation: name})
    scene.put_layers([scene.layer(b"weights", "weights.bin"), layer])
    if not name:  # no name at all: passed over, as oras does
        assert scene.pull().code == 0
        assert files_of(scene.out) == {"weights.bin": b"weights"}
        return
    before = files_of(scene.place)
    assert scene.pull().code == 14
    assert scene.pull(key=None).code == 14
    assert scene.registry.count("GET", "blob") <= 2  # the bundle, and nothing of the model
    assert scene.nothing_arrived()
    assert files_of(scene.place).keys() - before.keys() <= {"alice.pub"}


@pytest.mark.parametrize(
    "names",
    [
        ("weights.bin", "weights.bin"),
        ("weights.bin", "WEIGHTS.BIN"),
        ("Stra\u00dfe", "STRASSE"),
        ("\u00e9.json", "e\u0301.json"),
        ("\ufb01le", "file"),
        ("a/b", "A/c"),
        ("a", "a/b"),
        ("A", "a/b"),
    ],
    ids=ascii,
)
def test_two_names_that_are_one_on_some_platform(scene: Scene, names: tuple[str, str]) -> None:
    scene.put_layers([scene.layer(b"one", names[0]), scene.layer(b"two", names[1])])
    assert scene.pull().code == 14
    assert scene.pull(key=None).code == 14
    assert scene.nothing_arrived()


def test_two_annotations_that_disagree(scene: Scene) -> None:
    """The path of the model-spec counts, here as in every reader of ours, and it alone."""
    scene.put_layers([scene.layer(b"data", "safe.bin", **{media.TITLE: "../evil"})])
    assert scene.pull().code == 0
    assert files_of(scene.out) == {"safe.bin": b"data"}


@pytest.mark.parametrize("name", ["a\x1b[31mb", "x\u202ey", "\x07bell", "a\nb"], ids=ascii)
def test_names_cannot_steer_a_terminal(scene: Scene, name: str) -> None:
    scene.put_layers([scene.layer(b"data", name, **{"some\x1b[31m": "anno\x1b[0mtation"})])
    for command in (("inspect", str(scene.reference)), ("tree", str(scene.reference))):
        ran = run(*command)
        assert not {character for character in ran.out + ran.err if not character.isprintable()} - {"\n"}


# --- documents that are two things at once, or none ------------------------------------------


def edited(scene: Scene, **changes: Any) -> None:
    """v1 is the signed model with members replaced, and rightly signed again; None takes a member away."""
    scene.push(signer=None)
    document = {key: value for key, value in (scene.manifest() | changes).items() if value is not None}
    scene.put(json.dumps(document).encode())


def test_layers_together_with_manifests(scene: Scene) -> None:
    """CVE-2021-41190: what one reader takes for a model, another takes for an index."""
    for listed in ([], [{"mediaType": media.OCI_MANIFEST, "digest": "sha256:" + "0" * 64, "size": 2}]):
        edited(scene, manifests=listed)
        refused(scene)


def test_an_index_with_layers(scene: Scene) -> None:
    scene.push(signer=None)
    document = scene.manifest() | {"mediaType": media.OCI_INDEX, "manifests": []}
    scene.put(json.dumps(document).encode(), media_type=media.OCI_INDEX)
    assert scene.pull().code in (11, 14)
    assert scene.pull(key=None).code in (11, 14)
    assert scene.nothing_arrived()


@pytest.mark.parametrize("key", ["layers", "config", "annotations", "mediaType", "schemaVersion"])
def test_a_duplicate_key(scene: Scene, key: str) -> None:
    """Two readers may take two different values."""
    scene.push(signer=None)
    document = scene.manifest()
    document.setdefault("annotations", {"a": "b"})
    text = json.dumps(document)
    doubled = text[:-1] + f', "{key}": {json.dumps(document[key])}}}'
    scene.put(doubled.encode())
    refused(scene)


def test_a_duplicate_key_within_a_layer(scene: Scene) -> None:
    scene.push(signer=None)
    text = json.dumps(scene.manifest())
    path = f'"{media.FILEPATH}": "weights.bin"'
    assert path in text
    scene.put(text.replace(path, f'{path}, "{media.FILEPATH}": "../evil"').encode())
    refused(scene)


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "unannounced"])
def test_an_oversized_manifest(scene: Scene, announced: bool) -> None:
    """5 MiB; read no further than the cap, whether its length is told or not."""
    edited(scene, annotations={"padding": "x" * (5 * 1024 * 1024)})

    def without_length(request: Request, response: Response) -> Response | None:
        if request.route != "manifest" or request.target != "v1":
            return None
        return Response(response.status, {**response.headers, "Content-Length": ""}, response.body)

    if not announced:
        scene.registry.on_response = without_length
    refused(scene)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xef\xbb\xbf{}",
        b"\xff",
        b"{" * 1000,
        b"[" * 100_000,
        b'{"schemaVersion":2,"config":',
        b'{"schemaVersion":NaN}',
        b'{"schemaVersion":' + b"9" * 5000 + b"}",
    ],
    ids=lambda raw: ascii(raw[:20]),
)
def test_bytes_that_are_no_manifest(scene: Scene, raw: bytes) -> None:
    scene.put(raw)
    assert scene.pull().code == 14
    assert scene.pull(key=None).code == 14
    assert scene.nothing_arrived()


@pytest.mark.parametrize(
    "changes",
    [
        {"schemaVersion": 1},
        {"schemaVersion": "2"},
        {"schemaVersion": None},
        {"mediaType": "application/vnd.docker.distribution.manifest.v1+json"},
        {"mediaType": media.OCI_INDEX},
        {"mediaType": ["a"]},
        {"layers": None},
        {"layers": {}},
        {"layers": [None]},
        {"layers": [{}]},
        {"config": None},
        {"config": []},
        {"annotations": []},
        {"annotations": {"a": 1}},
        {"subject": "sha256:" + "0" * 64},
        {"artifactType": 7},
    ],
    ids=ascii,
)
def test_a_manifest_with_a_bad_field(scene: Scene, changes: dict[str, Any]) -> None:
    edited(scene, **changes)
    assert scene.pull().code == 14
    assert scene.pull(key=None).code == 14
    assert scene.nothing_arrived()


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "sha256:" + "0" * 63},
        {"digest": "sha256:" + "G" * 64},
        {"digest": "sha256:" + "A" * 64},
        {"digest": "md5:" + "0" * 32},
        {"digest": "sha256:../../../../etc/passwd"},
        {"digest": 7},
        {"size": -1},
        {"size": "3"},
        {"size": 3.0},
        {"size": True},
        {"size": 2**63},
        {"mediaType": None},
        {"annotations": "x"},
    ],
    ids=ascii,
)
def test_a_layer_with_a_bad_field(scene: Scene, change: dict[str, Any]) -> None:
    scene.push(signer=None)
    document = scene.manifest()
    document["layers"][0] |= change
    scene.put(json.dumps(document).encode())
    assert scene.pull().code == 14
    assert scene.pull(key=None).code == 14
    assert scene.nothing_arrived()


def test_a_layer_of_another_size_than_its_blob(scene: Scene) -> None:
    for difference in (-1, 1, 10**6):
        scene.push(signer=None)
        document = scene.manifest()
        document["annotations"] = {}
        document["layers"][0]["size"] += difference
        scene.put(json.dumps(document).encode())
        assert scene.pull().code == 14
        assert scene.nothing_arrived()


def test_a_layer_as_large_as_no_disk(scene: Scene) -> None:
    """Nothing is allocated by a number that somebody wrote."""
    scene.push(signer=None)
    document = scene.manifest()
    document["annotations"] = {}
    document["layers"][0]["size"] = 2**50
    scene.put(json.dumps(document).encode())
    ran = scene.pull()
    assert ran.code == 74
    assert scene.asked_for() == 0
    assert scene.nothing_arrived()


def test_urls_and_embedded_data_of_a_layer_are_not_used(signed: Scene) -> None:
    """Bytes come from the registry alone (CVE-2020-15157), and under their digest."""
    document = signed.manifest()
    for layer in document["layers"]:
        layer["urls"] = [f"{signed.registry.storage_url}/evil", "file:///etc/passwd"]
        layer["data"] = "ZXZpbA=="
    signed.put(json.dumps(document).encode())
    assert signed.pull().code == 0
    assert files_of(signed.out) == FILES
    assert signed.registry.count(server="storage") == 0


@pytest.mark.parametrize("claimed", [media.OCI_INDEX, media.DOCKER_LIST, "text/html", "application/json"])
def test_a_media_type_that_the_store_does_not_confirm(signed: Scene, claimed: str) -> None:
    def on_response(request: Request, response: Response) -> None:
        if request.route == "manifest" and request.target == "v1":
            response.headers["Content-Type"] = claimed

    signed.registry.on_response = on_response
    assert signed.pull().code in (11, 14)
    assert signed.nothing_arrived()


def test_an_index_is_no_model(signed: Scene) -> None:
    """Signed or not, nobody chooses for the user which of its models was meant."""
    subject = signed.subject()
    entry = {"mediaType": subject.media_type, "digest": str(subject.digest), "size": subject.size}
    raw = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [entry]}).encode()
    signed.put(raw, media_type=media.OCI_INDEX)
    assert signed.pull().code == 11
    assert signed.pull(key=None).code == 11
    assert signed.nothing_arrived()


@pytest.mark.parametrize("kind", ["tar+gzip", "tar+zstd", "tar.gz"])
def test_a_compressed_layer_is_not_unpacked(scene: Scene, kind: str) -> None:
    scene.put_layers([scene.layer(b"\x1f\x8b", "weights", media_type=f"{media.LAYER_PREFIX}weight.v1.{kind}")])
    refused(scene)


def test_a_second_provenance(scene: Scene) -> None:
    layers = [
        scene.layer(text, media.PROVENANCE_PATH, media_type=media.PROVENANCE_LAYER) for text in (b"{}", b"[]")
    ]
    scene.put_layers([scene.layer(b"w", "weights.bin"), *layers])
    refused(scene)


def test_an_oversized_provenance(scene: Scene) -> None:
    """More than the 4 MiB that are read of one, whatever was asked for."""
    big = scene.layer(b" " * (4 * 1024 * 1024 + 1), media.PROVENANCE_PATH, media_type=media.PROVENANCE_LAYER)
    scene.put_layers([scene.layer(b"w", "weights.bin"), big])
    assert scene.pull().code == 14
    assert scene.nothing_arrived()
