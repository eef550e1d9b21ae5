import json
import os
import shutil
from pathlib import Path

import pytest

from ocimodel import jsonio
from ocimodel.errors import DigestMismatchError, FormatError
from ocimodel.model.artifact import ModelArtifact
from ocimodel.model.config import ModelConfig
from ocimodel.model.packing import prepare
from ocimodel.model.provenance import Provenance
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest
from tests.data.generate import HERE, main, make_many, pack
from tests.models import make_model

GOLDEN = HERE / "golden"


def golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


def test_the_documents_are_the_golden_ones() -> None:
    packed = pack(prepare(HERE / "model"))
    assert packed.provenance == golden("provenance.json")
    assert packed.config == golden("config.json")
    assert packed.manifest == golden("manifest.json")
    assert str(packed.digest) == json.loads(golden("digests.json"))["model"]


def test_so_is_a_model_of_very_many_files(tmp_path: Path) -> None:
    packed = pack(prepare(make_many(tmp_path)))
    expected = json.loads(golden("digests.json"))
    layers = {layer.annotations.get(media.TITLE): str(layer.digest) for layer in packed.layers}
    assert expected["groupedLayers"].items() <= layers.items()
    assert str(packed.digest) == expected["grouped"]
    assert set(layers) == {"large.npy", None, *expected["groupedLayers"]}


def test_making_the_data_again_changes_nothing(tmp_path: Path) -> None:
    main(tmp_path)
    made = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    kept = {
        str(path.relative_to(HERE)): path.read_bytes()
        for folder in ("model", "vectors", "golden")
        for path in (HERE / folder).rglob("*")
        if path.is_file()
    }
    assert made == kept


def test_a_copy_elsewhere_with_other_times_modes_and_neighbours_is_the_same_model(tmp_path: Path) -> None:
    copy = tmp_path / "with another name"
    for path in sorted((HERE / "model").rglob("*"), reverse=True):
        if path.is_file():
            target = copy / path.relative_to(HERE / "model")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            os.utime(target, (1, 1))
            target.chmod(0o755)
    (copy / ".git").mkdir()
    (copy / ".git" / "HEAD").write_text("x")
    (copy / ".DS_Store").touch()
    (copy / "empty").mkdir()
    (copy / ".ocimodelignore").write_text("*.orig\n")
    (copy / "config.json.orig").touch()
    assert pack(prepare(copy)).manifest == golden("manifest.json")


def test_what_is_packed_is_read_back_as_the_same_model(tmp_path: Path) -> None:
    packing = prepare(make_model(tmp_path))
    packed = pack(packing)
    artifact = ModelArtifact.of(Manifest.from_bytes(packed.manifest, media.OCI_MANIFEST))
    assert artifact.kind == "ocimodel"
    assert {entry.path: (entry.role, entry.descriptor.digest) for entry in artifact.files} == {
        file.path: (file.role, Digest.of(file.location.read_bytes())) for file in packing.plan.files
    }
    assert artifact.provenance is not None
    assert artifact.provenance.digest == Digest.of(packed.provenance)
    assert Provenance.from_bytes(packed.provenance).subjects == tuple(
        (entry.path, {"sha256": entry.descriptor.digest.hex}) for entry in artifact.files
    )
    config = ModelConfig.from_bytes(packed.config)
    assert config.diff_ids == tuple(str(layer.digest) for layer in packed.layers)
    assert config.architecture == packing.config.architecture == "llama"


@pytest.mark.parametrize("document", ["manifest", "config", "provenance"])
def test_documents_are_canonical_and_name_nothing_of_this_machine(tmp_path: Path, document: str) -> None:
    raw: bytes = getattr(pack(prepare(make_model(tmp_path / "secret-project"))), document)
    assert raw == jsonio.canonical(json.loads(raw))
    for word in ("secret-project", str(tmp_path), os.uname().nodename, "createdAt", "created"):
        assert word.encode() not in raw


def test_a_changed_byte_a_changed_name_and_a_changed_provenance_are_other_models(tmp_path: Path) -> None:
    make_model(tmp_path)
    seen = {pack(prepare(tmp_path)).digest}
    readme = tmp_path / "README.md"
    readme.write_bytes(readme.read_bytes() + b"x")
    seen.add(pack(prepare(tmp_path)).digest)
    readme.rename(tmp_path / "READYOU.md")
    seen.add(pack(prepare(tmp_path)).digest)
    packing = prepare(tmp_path)
    digests = [layer.digest for layer in pack(packing).layers[:-1]]
    other = b'{"buildDefinition":{"buildType":"x","externalParameters":{}},"runDetails":{"builder":{"id":"y"}}}'
    seen.add(packing.finish(digests, provenance=other).digest)
    seen.add(packing.finish(digests, annotations={"org.opencontainers.image.version": "1"}).digest)
    assert len(seen) == 5


def test_each_layer_needs_its_digest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        prepare(make_model(tmp_path)).finish([Digest.of(b"")])


def test_a_manifest_over_the_cap_is_not_written(tmp_path: Path) -> None:
    packing = prepare(make_model(tmp_path))
    digests = [Digest.of(b"x")] * len(packing.plan.layers)
    with pytest.raises(FormatError, match="registries take"):
        packing.finish(digests, annotations={"big": "x" * (4 * 2**20)})


@pytest.mark.parametrize("name", ["large.npy", "0/0.npy", "1/1.json"])
def test_a_provenance_may_speak_of_files_in_archives_but_not_wrongly(tmp_path: Path, name: str) -> None:
    packing = prepare(make_many(tmp_path))
    digests = [layer.digest for layer in pack(packing).layers[:-1]]
    right = Digest.of((tmp_path / name).read_bytes()).hex
    for digest in (right, "0" * 64):
        statement = {
            "_type": media.STATEMENT_V1,
            "subject": [{"name": name, "digest": {"sha256": digest}}],
            "predicateType": "https://example.com/x",
            "predicate": {},
        }
        given = json.dumps(statement).encode()
        if digest == right:
            assert packing.finish(digests, provenance=given).provenance == given
        else:
            with pytest.raises(DigestMismatchError, match=name):
                packing.finish(digests, provenance=given)
