from typing import Any

import pytest

from ocimodel.errors import FormatError, UnsafePathError
from ocimodel.model.artifact import ModelArtifact
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest, manifest_bytes

RAW = "application/vnd.cncf.model.weight.v1.raw"
CNCF = media.FILEPATH


def layer(media_type: str = RAW, **names: str) -> Descriptor:
    keys = {"path": CNCF, "title": media.TITLE, "old": "org.cnai.model.filepath", "group": media.GROUP}
    annotations = {keys.get(key, key): value for key, value in names.items()}
    return Descriptor(
        media_type=media_type, digest=Digest.of(repr(names).encode()), size=3, annotations=annotations
    )


def read(
    *layers: Descriptor, config: str = media.MODEL_CONFIG, artifact_type: str | None = media.MODEL_MANIFEST
) -> ModelArtifact:
    blob = Descriptor(media_type=config, digest=Digest.of(b"{}"), size=2)
    return ModelArtifact.of(
        Manifest.from_bytes(manifest_bytes(config=blob, layers=layers, artifact_type=artifact_type))
    )


def paths(artifact: ModelArtifact) -> list[str]:
    return [entry.path for entry in artifact.files]


PROVENANCE = layer(media.PROVENANCE_LAYER, path=media.PROVENANCE_PATH)


def test_ours() -> None:
    artifact = read(layer(path="a/b.bin", title="a/b.bin"), PROVENANCE)
    assert (artifact.kind, paths(artifact)) == ("ocimodel", ["a/b.bin"])
    assert artifact.provenance == PROVENANCE
    assert artifact.files[0].is_raw
    assert artifact.files[0].role == "weight"
    assert artifact.digest == artifact.manifest.descriptor.digest
    assert artifact.has_model_config
    assert artifact.size == 3
    assert artifact.file("a/b.bin") is artifact.files[0]
    assert artifact.file("other") is None


def test_modctl_gives_only_the_path_of_the_specification() -> None:
    artifact = read(layer(path="a.bin"), layer("application/vnd.cncf.model.doc.v1.tar", path="README.md"))
    assert artifact.kind == "modelpack"
    assert [(entry.path, entry.role, entry.is_raw, entry.is_ours) for entry in artifact.files] == [
        ("a.bin", "weight", True, False),
        ("README.md", "doc", False, False),
    ]


def test_the_path_wins_over_the_title_and_the_older_name_is_understood() -> None:
    assert paths(read(layer(path="a/b", title="b"), layer(old="c", title="d"), layer(title="e"))) == [
        "a/b",
        "c",
        "e",
    ]


def test_docker() -> None:
    gguf = layer("application/vnd.docker.ai.gguf.v3", path="model.gguf")
    artifact = read(gguf, config="application/vnd.docker.ai.model.config.v0.2+json", artifact_type=None)
    assert (artifact.kind, paths(artifact), artifact.files[0].role) == ("docker", ["model.gguf"], "weight")
    for suffix in ("gguf", "safetensors"):
        entry = read(layer(f"application/vnd.cncf.model.weight.v1.{suffix}", path="m")).files[0]
        assert (entry.role, entry.is_raw) == ("weight", True)


def test_plain_oras() -> None:
    artifact = read(
        layer("text/plain", title="README.md"),
        layer("application/vnd.example.anything+gzip", title="x.json.gz"),
        layer("application/x-tar", title="kept-as-it-is.tar"),
        layer("application/octet-stream"),
        config=media.OCI_EMPTY,
        artifact_type="application/vnd.unknown.artifact.v1",
    )
    assert artifact.kind == "unknown"
    assert not artifact.has_model_config
    assert [(entry.path, entry.role, entry.is_raw) for entry in artifact.files] == [
        ("README.md", "doc", True),
        ("x.json.gz", "code", True),
        ("kept-as-it-is.tar", "code", True),
    ]
    assert len(artifact.nameless) == 1


def test_a_container_image_has_no_files() -> None:
    artifact = read(
        layer("application/vnd.oci.image.layer.v1.tar+gzip"), config=media.OCI_CONFIG, artifact_type=None
    )
    assert (artifact.files, len(artifact.nameless)) == ((), 1)


def test_our_archives_are_known_by_their_mark() -> None:
    artifact = read(layer("application/vnd.cncf.model.doc.v1.tar", path="ocimodel-doc.tar", group="v1"), PROVENANCE)
    (entry,) = artifact.files
    assert (entry.is_ours, entry.is_raw, entry.role) == (True, False, "doc")


@pytest.mark.parametrize(
    "bad",
    [
        layer("application/vnd.cncf.model.doc.v1.tar", path="x.tar", group="v2"),
        layer("application/vnd.cncf.model.doc.v1.raw", path="x.tar", group="v1"),
    ],
)
def test_marks_that_are_not_understood(bad: Descriptor) -> None:
    with pytest.raises(FormatError, match=r"layers\[0\]: is marked as a group"):
        read(bad, PROVENANCE)


@pytest.mark.parametrize(
    "bad",
    [
        layer("application/vnd.cncf.model.weight.v1.tar+gzip", path="x"),
        layer("application/vnd.cncf.model.weight.v1.tar+zstd", path="x"),
        layer("application/vnd.kitops.modelkit.model.v1.raw+gzip", title="x"),
        layer(
            "application/vnd.oci.image.layer.v1.tar+gzip", **{"title": "dir", "io.deis.oras.content.unpack": "true"}
        ),
    ],
)
def test_what_would_have_to_be_decompressed(bad: Descriptor) -> None:
    with pytest.raises(FormatError, match=r"layers\[1\]: is a compressed archive"):
        read(layer(path="fine"), bad)


@pytest.mark.parametrize("key", ["path", "title", "old"])
@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/passwd",
        "a/../../b",
        "a//b",
        "./a",
        "C:\\x",
        "a\\b",
        "con",
        "a/",
        ".",
        "..",
        "a\nb",
        "x" * 300,
    ],
)
def test_unsafe_names(key: str, name: str) -> None:
    with pytest.raises(UnsafePathError, match=r"layers\[1\]: ") as caught:
        read(layer(path="fine"), layer(**{key: name}))
    assert caught.value.exit_code == 14


def test_an_unsafe_title_beside_a_safe_path_is_never_used() -> None:
    assert paths(read(layer(path="safe", title="../evil"))) == ["safe"]


def test_an_empty_name_is_no_name() -> None:
    artifact = read(layer(path="", title=""))
    assert (artifact.files, len(artifact.nameless)) == ((), 1)


@pytest.mark.parametrize(
    "name", [".ocimodel/provenance.intoto.json", ".ocimodel-tmp-0/x", ".OCIMODEL/x", ".ocimodel"]
)
def test_names_that_would_reach_into_a_running_pull(name: str) -> None:
    with pytest.raises(UnsafePathError, match="keeps for itself"):
        read(layer(path=name))
    assert paths(read(layer(path=".ocimodelignore"))) == [".ocimodelignore"]


@pytest.mark.parametrize(("one", "other"), [("a", "a"), ("a", "A"), ("é", "e\u0301"), ("a", "a/b"), ("x/a", "X/b")])
def test_names_that_meet(one: str, other: str) -> None:
    with pytest.raises(UnsafePathError):
        read(layer(path=one), layer(title=other))


def test_two_provenances() -> None:
    with pytest.raises(FormatError, match=r"layers\[1\]: is a second provenance"):
        read(PROVENANCE, PROVENANCE)


def test_a_provenance_is_no_file_under_whatever_name() -> None:
    artifact = read(layer(media.PROVENANCE_LAYER, path="../evil", title="model.bin"), layer(path="a"))
    assert paths(artifact) == ["a"]
    assert artifact.provenance is not None


@pytest.mark.parametrize("value", ["model.safetensors", "a b", "é/ü.json", ".gitattributes", "-rf"])
def test_names_as_people_give_them(value: Any) -> None:
    assert paths(read(layer(path=value))) == [value]
