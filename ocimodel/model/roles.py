"""Which part a file plays in a model, told by its name: the layer's media type says it (model-spec, "Layers").

Guarantees: `role_of` is a pure function of the relative path and the size, so every machine packs alike. It
does not look into files. A name that no rule knows is code (what is unknown is best taken for something that
may be run), unless it is so large that only weights are.

The rules follow what modctl does for the same names, except that data files are a dataset only below a
directory that says so, and that notes of the hidden kind (``.gitattributes``) are documents.
"""

from __future__ import annotations

import re
from fnmatch import translate
from typing import Literal, get_args

from ocimodel.oci import media

Role = Literal["weight", "weight.config", "code", "doc", "dataset"]

ROLES: tuple[Role, ...] = get_args(Role)
"""In the order in which layers stand in a manifest."""

SURELY_WEIGHTS = 128_000_000
"""From this size on a file of unknown kind is taken for weights; modctl draws the line there, too."""

# Looked at in this order, names in lower case; the first that matches decides.
_DATASET_DIRECTORIES = ("data", "dataset", "datasets")
_DATASET = "*.arrow *.avro *.csv *.feather *.jsonl *.jsonl.* *.lance *.ndjson *.parquet *.tfrecord* *.tsv"
_NAMED_CONFIG = (
    "*tokenizer.model* *.tiktoken spiece.model sentencepiece*.model sentencepiece*.vocab tiktoken.model "
    "vocab.txt merges.txt added_tokens.txt *.bpe *.bpe.model *.spm *.vocab *.jinja *.jinja2 *.index.json "
    "config.json.* modelfile mlmodel"
)
_NAMED_CODE = (
    "requirements*.txt pipfile* pyproject.toml setup.cfg tox.ini makefile* dockerfile* *.dockerfile "
    "cmakelists.txt package.json package-lock.json cargo.toml go.mod go.sum"
)
_NAMED_DOC = "license* licence* notice* readme* copying* copyright* authors* citation* changelog* .gitattributes"
_WEIGHT = (
    "*.safetensors *.gguf *.gguf.* *.ggml *.ggmf *.ggjt *.bin *.bin.* *.pt *.pth *.pt2 *.pte *.ptl *.mar "
    "*.ckpt *.ckpt.* *.checkpoint *.distcp *.dist_ckpt *.onnx *.onnx_data* *.onnx.data* *.h5 *.hdf *.hdf5 *.keras "
    "*.pb *.tflite *.index *.data-* *.msgpack *.npz *.npy *.nc *.pkl *.pickle *.joblib *.skops *.mlmodel "
    "*.mlpackage *.mil *.coreml *.engine *.plan *.trt *.dduf *.mmproj *.model *.weights *.embedding *.tensor "
    "*.zarr *.nemo *.llamafile *.caffemodel *.prototxt *.dlc *.circle *.ot *.ftz *.ark *.mleap *.surml *.xgb "
    "*.ubj *.cbm *.arrow *.parquet tensor[0-9]*_[0-9]*"
)
_CODE = (
    "*.py *.pyi *.ipynb *.sh *.bash *.zsh *.fish *.ps1 *.bat *.cmd *.c *.h *.cc *.hh *.cpp *.hpp *.cxx *.hxx *.cu "
    "*.cuh *.cl *.metal *.m *.mm *.rs *.go *.java *.kt *.kts *.scala *.js *.mjs *.cjs *.jsx *.ts *.tsx *.swift "
    "*.rb *.php *.r *.jl *.lua *.pl *.cs *.zig *.sql *.patch *.diff *.mk *.cmake *.gradle *.bzl *.bazel *.ninja "
    "*.so *.so.* *.dll *.dylib *.a *.lib *.whl *.jar *.wasm"
)
_CONFIG = (
    "*.json *.jsonl *.json5 *.jsonc *.yaml *.yml *.toml *.ini *.cfg *.conf *.config *.properties *.xml *.xsd "
    "*.hparams *.params *.modelcard *.meta *.mlflow"
)
_DOC = (
    "*.md *.mdx *.markdown *.txt *.rst *.adoc *.tex *.bib *.html *.htm *.pdf *.doc *.docx *.odt *.rtf *.epub "
    "*.csv *.tsv *.xls *.xlsx *.ods *.ppt *.pptx *.log *.tfevents* *.png *.jpg *.jpeg *.gif *.bmp *.tif *.tiff "
    "*.ico *.webp *.avif *.heic *.svg *.mp4 *.mov *.avi *.mkv *.webm *.wav *.mp3 *.flac *.ogg"
)


def _compiled(patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(translate(pattern) for pattern in patterns.split()))


_IS_DATASET = _compiled(_DATASET)
_RULES: tuple[tuple[re.Pattern[str], Role], ...] = (
    (_compiled(_NAMED_CONFIG), "weight.config"),
    (_compiled(_NAMED_CODE), "code"),
    (_compiled(_WEIGHT), "weight"),
    (_compiled(_CODE), "code"),
    (_compiled(_CONFIG), "weight.config"),
    (_compiled(_NAMED_DOC), "doc"),
    (_compiled(_DOC), "doc"),
)


def role_of(path: str, size: int) -> Role:
    """The role of the file ``path`` (relative, with slashes) of ``size`` bytes."""
    *directories, name = path.lower().split("/")
    if _IS_DATASET.fullmatch(name) and any(part in _DATASET_DIRECTORIES for part in directories):
        return "dataset"
    for pattern, role in _RULES:
        if pattern.fullmatch(name):
            return role
    return "weight" if size >= SURELY_WEIGHTS else "code"


def raw_type(role: Role) -> str:
    """The media type of a layer that is one file, as it is."""
    return f"{media.LAYER_PREFIX}{role}.v1.raw"


def tar_type(role: Role) -> str:
    """The media type of a layer that is an uncompressed archive of files."""
    return f"{media.LAYER_PREFIX}{role}.v1.tar"


def role_of_type(media_type: str) -> Role | None:
    """The role that a layer's media type states, whatever its form; None where it states none."""
    rest = media_type.removeprefix(media.LAYER_PREFIX)
    kind, version, _ = rest.rpartition(".v1.")
    if rest == media_type or not version:
        return None
    return next((role for role in ROLES if role == kind), None)
