from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.errors import UnsafePathError, UsageError
from ocimodel.model import layers as layers_module
from ocimodel.model.config import ModelConfig
from ocimodel.model.layers import GROUP_ABOVE, GROUP_BELOW, manifest_estimate, plan
from ocimodel.model.packing import Packing, provenance_layer
from ocimodel.model.roles import role_of
from ocimodel.model.scan import Identity, ModelFile, scan
from ocimodel.oci import media
from ocimodel.oci.digest import Digest


def file(path: str, size: int = 10) -> ModelFile:
    return ModelFile(
        path=path,
        size=size,
        role=role_of(path, size),
        identity=Identity(1, 2, size, 0, 0),
        location=Path("/nowhere") / path,
    )


def many(count: int, *more: ModelFile) -> list[ModelFile]:
    return [*(file(f"shards/{number:06}.npy") for number in range(count)), *more]


def test_one_raw_layer_a_file_by_role_and_name() -> None:
    names = ["z.safetensors", "README.md", "config.json", "a.safetensors", "data/x.csv", "m.py", "b/a.safetensors"]
    layers = plan([file(name) for name in names]).layers
    assert [layer.path for layer in layers] == [
        "a.safetensors",
        "b/a.safetensors",
        "z.safetensors",
        "config.json",
        "m.py",
        "README.md",
        "data/x.csv",
    ]
    assert [layer.media_type.removeprefix("application/vnd.cncf.model.") for layer in layers[2:]] == [
        "weight.v1.raw",
        "weight.config.v1.raw",
        "code.v1.raw",
        "doc.v1.raw",
        "dataset.v1.raw",
    ]
    assert layers[1].annotations == {media.FILEPATH: "b/a.safetensors", media.TITLE: "b/a.safetensors"}


def test_up_to_a_thousand_files_nothing_is_grouped() -> None:
    layers = plan(many(GROUP_ABOVE)).layers
    assert len(layers) == GROUP_ABOVE
    assert not any(layer.is_group for layer in layers)


def test_of_more_the_small_ones_share_an_archive_a_role() -> None:
    files = many(
        GROUP_ABOVE - 3,
        file("big.npy", GROUP_BELOW),
        file("almost.npy", GROUP_BELOW - 1),
        file("README.md"),
        file("big.md", 10**6),
    )
    layers = plan(files).layers
    assert [(layer.path, len(layer.files)) for layer in layers] == [
        ("big.npy", 1),
        ("ocimodel-weight.tar", GROUP_ABOVE - 2),
        ("big.md", 1),
        ("ocimodel-doc.tar", 1),
    ]
    group = layers[1]
    assert group.media_type == "application/vnd.cncf.model.weight.v1.tar"
    assert group.annotations == {
        media.FILEPATH: "ocimodel-weight.tar",
        media.TITLE: "ocimodel-weight.tar",
        media.GROUP: "v1",
    }
    assert [item.path for item in group.files] == sorted(item.path for item in group.files)


def test_an_archive_can_be_read_and_has_the_size_it_says(tmp_path: Path) -> None:
    for number in range(GROUP_ABOVE + 1):
        (tmp_path / f"{number}.json").write_bytes(b"x" * (number % 700))
    (group,) = plan(scan(tmp_path)).layers
    with group.open() as stream:
        assert len(stream.read()) == group.size


def test_more_small_files_than_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers_module, "MAX_MEMBERS", GROUP_ABOVE)
    with pytest.raises(UsageError, match="1001 small files of the role weight"):
        plan(many(GROUP_ABOVE + 1))


def test_a_file_with_the_name_of_an_archive() -> None:
    plan([file("ocimodel-weight.tar")])
    with pytest.raises(UnsafePathError, match=r"ocimodel-weight\.tar"):
        plan(many(GROUP_ABOVE, file("OCIMODEL-weight.tar", 10**6)))


@given(st.permutations(["b.bin", "a.bin", "README.md", "c/x.json", "é.py", "Z.txt"]))
def test_the_order_in_which_files_are_found_does_not_matter(names: list[str]) -> None:
    assert plan([file(name) for name in names]) == plan([file(name) for name in sorted(names)])


@pytest.mark.parametrize(
    ("count", "form"),
    [(21_000, "{}"), (14_000, "a/directory/further/down/{}"), (3_000, "é" * 100 + "/" + "é" * 200 + "{}")],
)
def test_more_than_a_manifest_can_name(count: int, form: str) -> None:
    files = [file(form.format(number), GROUP_BELOW) for number in range(count)]
    with pytest.raises(UsageError, match=f"{count} layers"):
        plan(files)


@given(st.integers(1, 400), st.integers(1, 200), st.sampled_from(["x", "é"]))
@settings(max_examples=20, deadline=None)
def test_a_plan_that_is_accepted_gives_a_manifest_that_is(count: int, length: int, letter: str) -> None:
    files = [file(f"{letter * length}/{number}.npy", GROUP_BELOW + 2**40) for number in range(count)]
    packing = Packing(plan=plan(files), config=ModelConfig(), headers={})
    packed = packing.finish([Digest.of(item.path.encode()) for item in files])
    assert len(packed.manifest) <= manifest_estimate(packing.plan.layers)


def test_what_a_provenance_speaks_of() -> None:
    layout = plan([file("b.bin"), file("a.bin")])
    digests = [Digest.of(b"a"), Digest.of(b"b")]
    assert layout.subjects(digests) == [("a.bin", digests[0]), ("b.bin", digests[1])]
    with pytest.raises(ValueError, match="shorter"):
        layout.subjects(digests[:1])


def test_the_provenance_is_no_file_to_oras_and_a_hidden_one_to_modctl() -> None:
    layer = provenance_layer(b"{}")
    assert layer.annotations == {media.FILEPATH: ".ocimodel/provenance.intoto.json"}
    assert layer.media_type.endswith(".raw")
