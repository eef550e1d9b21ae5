import pytest

from ocimodel.model.roles import ROLES, SURELY_WEIGHTS, Role, raw_type, role_of, role_of_type, tar_type

KNOWN: dict[Role, str] = {
    "weight": """model.safetensors model-00001-of-00002.safetensors MODEL.SAFETENSORS llama.Q4_K_M.gguf
        ggml-model.ggml pytorch_model.bin pytorch_model.bin.1 model.pt model.pth model.ckpt last.ckpt model.onnx
        model.onnx_data model.onnx.data tf_model.h5 model.keras saved_model.pb model.tflite flax_model.msgpack
        arrays.npz array.npy model.pkl model.joblib m.mlmodel m.engine m.plan m.dduf model.ckpt-1000.index
        variables/variables.data-00000-of-00001 consolidated.00.pth x.model""",
    "weight.config": """config.json generation_config.json model.safetensors.index.json tokenizer.json
        tokenizer_config.json special_tokens_map.json params.yaml config.yml pyproject.yaml model.toml
        tokenizer.model spiece.model sentencepiece.bpe.model vocab.txt merges.txt vocab.json added_tokens.txt
        chat_template.jinja qwen.tiktoken unet/config.json preprocessor.cfg Modelfile MLmodel""",
    "doc": """README.md LICENSE LICENSE.txt NOTICE USE_POLICY.md notes.txt paper.pdf images/arch.png demo.mp4
        .gitattributes eval.csv CITATION.cff""",
    "code": """modeling_x.py run.sh kernel.cu kernel.cpp demo.ipynb requirements.txt Dockerfile Makefile setup.cfg
        pyproject.toml lib.so custom_generate/generate.py unknown.xyz noextension""",
    "dataset": "data/train.parquet data/a.csv dataset/x.jsonl sub/datasets/y.arrow data/deep/er/z.tfrecord",
}


@pytest.mark.parametrize(
    ("path", "role"), [(path, role) for role, names in KNOWN.items() for path in names.split()]
)
def test_names(path: str, role: Role) -> None:
    assert role_of(path, 10) == role


def test_data_files_elsewhere_are_what_modctl_takes_them_for() -> None:
    assert [role_of(name, 1) for name in ("x.parquet", "x.jsonl", "x.csv")] == ["weight", "weight.config", "doc"]


def test_what_is_very_large_and_unknown_holds_weights() -> None:
    assert role_of("unknown", SURELY_WEIGHTS) == "weight"
    assert role_of("unknown", SURELY_WEIGHTS - 1) == "code"
    assert role_of("huge.txt", SURELY_WEIGHTS) == "doc"


@pytest.mark.parametrize("role", ROLES)
def test_media_types_are_the_specifications(role: Role) -> None:
    assert raw_type(role) == f"application/vnd.cncf.model.{role}.v1.raw"
    assert tar_type(role) == f"application/vnd.cncf.model.{role}.v1.tar"
    for form in ("raw", "tar", "tar+gzip", "gguf"):
        assert role_of_type(f"application/vnd.cncf.model.{role}.v1.{form}") == role


@pytest.mark.parametrize(
    "other",
    [
        "application/vnd.cncf.model.manifest.v1+json",
        "application/octet-stream",
        "",
        "application/vnd.cncf.model.x.v1.raw",
    ],
)
def test_media_types_that_state_no_role(other: str) -> None:
    assert role_of_type(other) is None
