"""What a model is, for people who look at it: told from headers of weight files and a few small documents.

Guarantees: every fact is stated by one of the files or counted from headers, and names its source. Nothing is
guessed; where headers are not complete, what would have to be counted is left out. Texts are the files' own, cut
to a length; whoever prints them must expect anything in them. Pure functions: the bytes come from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ocimodel.model.config import ModelConfig
from ocimodel.model.facts import Sources, config_of
from ocimodel.model.header import Array, Header

MAX_TEXT = 200
MAX_LISTED = 50
CONFIG, TOKENIZER_CONFIG, TOKENIZER, ADAPTER = (
    "config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "adapter_config.json",
)
CARD = "README.md"
INDEX = "model.safetensors.index.json"

_CONTEXT = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "max_sequence_length",
    "seq_length",
    "max_target_positions",
)
_LANGUAGE_PARTS = ("text_config", "llm_config", "language_config", "decoder")
_MOST_CONTEXT = 10**9
"""Tokenizers write 10^30 where they mean that there is no limit."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A value and where it stands: a file, a colon, a field; or ``headers``, where it was counted."""

    value: str | int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeRow:
    """All tensors of one type. ``dtype`` is empty for tensors whose type could not be read."""

    format: str
    dtype: str
    tensors: int
    elements: int
    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """A model that this one says it was made from. ``digest`` where it is pinned by one."""

    name: str
    source: str
    relation: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """What was read of the model's small files; ``paths`` says under which names they stand."""

    card: Mapping[str, Sequence[str]] = field(default_factory=dict)
    json: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By the names above."""
    paths: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str) -> Mapping[str, Any]:
        return self.json.get(name, {})

    def path(self, name: str) -> str:
        return self.paths.get(name, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """``facts`` has names of `FACTS`, in that order. ``notes`` say where the config and the files disagree."""

    facts: Mapping[str, Fact]
    licenses: tuple[Fact, ...]
    base_models: tuple[BaseModel, ...]
    types: tuple[TypeRow, ...]
    notes: tuple[str, ...]


FACTS = (
    "architecture",
    "modelClass",
    "parameters",
    "precision",
    "quantization",
    "contextLength",
    "tokenizerClass",
    "vocabularySize",
    "chatTemplate",
)


def overview(
    headers: Mapping[str, Header], documents: Documents, declared: ModelConfig | None, *, complete: bool
) -> Overview:
    """Tell what a model is.

    Args:
        headers: of its weight files, by path.
        declared: what its config says, for comparison.
        complete: whether the headers are those of all files, with all their tensors.
    """
    types = type_rows(headers)
    chosen = _largest_format(types) or next((header.format for header in headers.values()), "")
    own = {path: header for path, header in headers.items() if header.format == chosen}
    said = Sources(
        format=chosen,
        headers=own,
        card=documents.card,
        settings=dict(documents.get(CONFIG)),
        index=dict(documents.get(INDEX)),
    )
    found = config_of(said)
    facts = dict(_facts(said, found, documents, complete=complete))
    return Overview(
        facts={name: facts[name] for name in FACTS if name in facts},
        licenses=_licenses(found, documents, own),
        base_models=tuple(_bases(documents, own))[:MAX_LISTED],
        types=types,
        notes=tuple(_contradictions(declared, found, facts)) if declared is not None else (),
    )


def type_rows(headers: Mapping[str, Header]) -> tuple[TypeRow, ...]:
    """The tensors by format and type, the most bytes first."""
    rows: dict[tuple[str, str], list[int]] = {}
    for header in headers.values():
        for tensor in header.tensors:
            row = rows.setdefault((header.format, tensor.dtype), [0, 0, 0])
            row[0] += 1
            row[1] += tensor.elements if tensor.dtype else 0
            row[2] += tensor.stop - tensor.start
    return tuple(
        TypeRow(format=kind, dtype=dtype, tensors=count, elements=elements, nbytes=nbytes)
        for (kind, dtype), (count, elements, nbytes) in sorted(
            rows.items(), key=lambda item: (-item[1][2], item[0])
        )
    )


def cut(text: str) -> str:
    """A text of others, of a length to look at."""
    text = text.strip()
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def _largest_format(types: Sequence[TypeRow]) -> str:
    sizes: dict[str, int] = {}
    for row in types:
        sizes[row.format] = sizes.get(row.format, 0) + row.nbytes
    return max(sorted(sizes), key=lambda name: sizes[name], default="")


def _facts(
    said: Sources, found: ModelConfig, documents: Documents, *, complete: bool
) -> Iterator[tuple[str, Fact]]:
    config = documents.path(CONFIG)
    gguf = said.format == "gguf"
    if found.architecture:
        yield "architecture", Fact(found.architecture, "general.architecture" if gguf else config)
    classes = [cut(item) for item in _list(said.settings.get("architectures")) if isinstance(item, str)]
    if classes:
        yield "modelClass", Fact(", ".join(classes[:4]), f"{config}: architectures")
    if complete and (count := said.parameters):
        packed = not gguf and found.quantization not in ("", "fp8")
        yield "parameters", Fact(count, f"{documents.path(INDEX)}: metadata" if packed else "headers")
    if complete and found.precision:
        yield "precision", Fact(found.precision, "headers")
    if found.quantization:
        yield "quantization", _quantization(said, found.quantization, config)
    for name, fact in (
        ("contextLength", _context(said, documents)),
        ("tokenizerClass", _tokenizer(said, documents)),
        ("vocabularySize", _vocabulary(said, documents)),
        ("chatTemplate", _template(said, documents)),
    ):
        if fact is not None:
            yield name, fact


def _quantization(said: Sources, method: str, config: str) -> Fact:
    if said.format == "gguf":
        return Fact(method, "general.file_type")
    stated = said.settings.get("quantization_config")
    details = stated if isinstance(stated, dict) else {}
    bits = details.get("bits", 4 if details.get("load_in_4bit") is True else None)
    words = [method]
    if _is_count(bits):
        words.append(f"{bits} bits")
    if _is_count(details.get("group_size")):
        words.append(f"groups of {details['group_size']}")
    return Fact(", ".join(words), f"{config}: quantization_config")


def _context(said: Sources, documents: Documents) -> Fact | None:
    for path, key, value in _metadata(said, ".context_length"):
        if _is_count(value):
            return Fact(value, f"{path}: {key}")
    for prefix, settings in _settings(said.settings):
        for key in _CONTEXT:
            if _is_count(settings.get(key)):
                return Fact(settings[key], f"{documents.path(CONFIG)}: {prefix}{key}")
    stated = documents.get(TOKENIZER_CONFIG).get("model_max_length")
    if isinstance(stated, int) and _is_count(stated):
        return Fact(stated, f"{documents.path(TOKENIZER_CONFIG)}: model_max_length")
    return None


def _tokenizer(said: Sources, documents: Documents) -> Fact | None:
    stated = documents.get(TOKENIZER_CONFIG).get("tokenizer_class")
    if isinstance(stated, str) and stated.strip():
        return Fact(cut(stated), f"{documents.path(TOKENIZER_CONFIG)}: tokenizer_class")
    for path, key, value in _metadata(said, "tokenizer.ggml.model"):
        if isinstance(value, str) and value.strip():
            pre = [item for _, _, item in _metadata(said, "tokenizer.ggml.pre") if isinstance(item, str)]
            return Fact(cut(f"{value} ({pre[0]})" if pre else value), f"{path}: {key}")
    model = documents.get(TOKENIZER).get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if isinstance(kind, str) and kind.strip():
        return Fact(cut(kind), f"{documents.path(TOKENIZER)}: model.type")
    return None


def _vocabulary(said: Sources, documents: Documents) -> Fact | None:
    for path, key, value in _metadata(said, "tokenizer.ggml.tokens"):
        if isinstance(value, (Array, tuple)):
            return Fact(value.length if isinstance(value, Array) else len(value), f"{path}: {key}")
    model = documents.get(TOKENIZER).get("model")
    tokens = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(tokens, (dict, list)) and tokens:
        names = set(tokens) if isinstance(tokens, dict) else set()
        added = [item.get("content") for item in _list(documents.get(TOKENIZER).get("added_tokens")) if _is(item)]
        more = sum(isinstance(word, str) and word not in names for word in added) if names else 0
        return Fact(len(tokens) + more, f"{documents.path(TOKENIZER)}: model.vocab")
    for prefix, settings in _settings(said.settings):
        if _is_count(settings.get("vocab_size")):
            return Fact(settings["vocab_size"], f"{documents.path(CONFIG)}: {prefix}vocab_size")
    for path, key, value in _metadata(said, ".vocab_size"):
        if _is_count(value):
            return Fact(value, f"{path}: {key}")
    return None


def _template(said: Sources, documents: Documents) -> Fact | None:
    """Whether there is one: it is code that a server runs for each conversation."""
    if documents.get(TOKENIZER_CONFIG).get("chat_template"):
        return Fact("yes", f"{documents.path(TOKENIZER_CONFIG)}: chat_template")
    for path, key, value in _metadata(said, "tokenizer.chat_template"):
        if value:
            return Fact("yes", f"{path}: {key}")
    return None


def _licenses(found: ModelConfig, documents: Documents, own: Mapping[str, Header]) -> tuple[Fact, ...]:
    source = documents.path(CARD) if documents.card.get("license") else next(iter(own), "")
    return tuple(Fact(name, source) for name in found.licenses[:MAX_LISTED])


def _bases(documents: Documents, own: Mapping[str, Header]) -> Iterator[BaseModel]:
    relation = next(iter(documents.card.get("base_model_relation", ())), "")
    for name in documents.card.get("base_model", ()):
        yield BaseModel(name=cut(name), source=documents.path(CARD), relation=cut(relation))
    adapted = documents.get(ADAPTER).get("base_model_name_or_path")
    if isinstance(adapted, str) and adapted.strip():
        yield BaseModel(name=cut(adapted), source=documents.path(ADAPTER), relation="adapter")
    for path, header in own.items():
        for number in range(MAX_LISTED):
            prefix = f"general.base_model.{number}"
            stated = header.metadata.get(f"{prefix}.repo_url", header.metadata.get(f"{prefix}.name"))
            if not isinstance(stated, str) or not stated.strip():
                break
            yield BaseModel(name=cut(stated), source=path)


def _contradictions(declared: ModelConfig, found: ModelConfig, facts: Mapping[str, Fact]) -> Iterator[str]:
    """Where the artifact's config says something else than the files that it describes."""
    classes = str(facts["modelClass"].value).lower().split(", ") if "modelClass" in facts else []
    for what, said, files in (
        ("architecture", declared.architecture, {found.architecture.lower(), *classes}),
        ("format", declared.format, {found.format}),
        ("quantization", declared.quantization, {found.quantization.lower()}),
    ):
        if said and getattr(found, what) and said.lower() not in files:
            yield _differs(what, said, getattr(found, what))
    precisions = set(declared.precision.lower().split(",")) if declared.precision else set()
    if "precision" in facts and not precisions <= set(found.precision.split(",")):
        yield _differs("precision", declared.precision, found.precision)
    size, counted = _scaled(declared.param_size), facts["parameters"].value if "parameters" in facts else ""
    if size and isinstance(counted, int) and not 0.8 * size <= counted <= 1.25 * size:
        yield _differs("parameters", declared.param_size, str(counted))


def _differs(what: str, declared: str, found: str) -> str:
    return f"{what}: the config says {cut(declared)}, the files say {cut(found)}"


def _scaled(size: str) -> float:
    """``6.7B`` as a number; 0 for what is none."""
    number, letter = size[:-1], size[-1:].upper()
    if letter not in "KMBTQ" or not number.replace(".", "", 1).isdecimal() or len(number) > 12:
        return 0.0
    return float(number) * float(1000 ** (1 + "KMBTQ".index(letter)))


def _settings(settings: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The settings, and those of the part that deals with text, of models of several parts."""
    yield "", settings
    for name in _LANGUAGE_PARTS:
        part = settings.get(name)
        if isinstance(part, dict):
            yield f"{name}.", part


def _metadata(said: Sources, ending: str) -> Iterator[tuple[str, str, Any]]:
    """File, key and value of the GGUF metadata whose key is ``ending``, or, after a dot, ends so."""
    for path, header in said.headers.items():
        if header.format != "gguf":
            continue
        architecture = header.metadata.get("general.architecture")
        key = f"{architecture}{ending}" if ending.startswith(".") else ending
        if key in header.metadata:
            yield path, key, header.metadata[key]


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value < _MOST_CONTEXT


def _is(value: Any) -> bool:
    return isinstance(value, dict)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
