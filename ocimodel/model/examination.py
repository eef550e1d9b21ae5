"""A look for what could harm whoever loads a model: each file by what is in it, nothing is loaded or rendered.

    pickles          what a pickle imports when it is loaded, whatever it is called, also in archives
    headers          safetensors and GGUF files that are not what they claim to be
    remote-code      ``auto_map`` and its kind in configurations: code that loaders fetch or run if they are let
    code             files that are programs, and programs in the graphs of Keras and TensorFlow
    chat-templates   Jinja programs, some of which loaders run without a sandbox

Guarantees: the same files give the same `Finding`s in the same order, on every machine; each test reads a bounded
part of a file. `failed` is what no honest model needs, what cannot be looked into, and code from elsewhere, which
no signature of the model covers; `warned` is what somebody should look at, since honest models have it too. A file
that changes while it is read is an `IntegrityError`, never a finding.

It does not prove that a model is harmless: each test says in its module what it does not find.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, Literal

from ocimodel import jsonio
from ocimodel.errors import FormatError
from ocimodel.model import gguf, imports, safetensors
from ocimodel.model.formats import PICKLE, format_of_name
from ocimodel.model.graphs import programs
from ocimodel.model.header import Header
from ocimodel.model.pickles import Stream, streams
from ocimodel.model.reading import ReadAt, random_access, read_small
from ocimodel.model.scan import ModelFile
from ocimodel.model.templates import MAX_TEMPLATE, remarks

VERSION: Final = "1"
"""Of what the tests look for. It rises where the same files may be judged otherwise."""

Level = Literal["warned", "failed"]

TESTS: Final = ("chat-templates", "code", "headers", "pickles", "remote-code")

MAX_JSON: Final = 16 * 1024 * 1024
MAX_NAMED: Final = 10
MAX_TEMPLATES: Final = 64
MAX_PICKLES: Final = 64
"""That are looked into, of one file; and all together `imports.MAX_STEPS` opcodes of them."""


_PARSERS: Final[Mapping[str, Callable[[ReadAt, int], Header]]] = {
    "safetensors": safetensors.parse,
    "gguf": gguf.parse,
}
_JINJA: Final = frozenset({".jinja", ".jinja2", ".j2"})
_PROGRAMS: Final = frozenset(
    {".py", ".pyc", ".pyd", ".pyw", ".sh", ".bash", ".bat", ".cmd", ".ps1", ".so", ".dll", ".dylib", ".exe", ".jar"}
)
_MACHINE_CODE: Final = (b"\x7fELF", b"MZ", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"\xfe\xed\xfa\xcf", b"#!")
_REMOTE: Final = ("auto_map", "custom_pipelines")
_TEMPLATE_KEYS: Final = ("chat_template", "chat_templates")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Finding:
    """One thing that ``test`` says of the file ``path``."""

    test: str
    path: str
    level: Level
    detail: str


def examine(files: Iterable[ModelFile]) -> tuple[Finding, ...]:
    """Everything that is to be said of ``files``, in order.

    Raises:
        IntegrityError: a file changed while it was read.
        StorageError: the disk refuses.
    """
    return tuple(sorted(set().union(*(_of_file(file) for file in files))))


def _of_file(file: ModelFile) -> set[Finding]:
    found: set[Finding] = set()

    def tell(test: str, level: Level, detail: str) -> None:
        found.add(Finding(test=test, path=file.path, level=level, detail=detail[:400]))

    ending = PurePosixPath(file.path).suffix.lower()
    with random_access(file) as read_at:
        header = _header(file, read_at, tell)
        if header is None:
            for level, detail in _of_pickles(file, read_at):
                tell("pickles", level, detail)
        if ending in _PROGRAMS or read_at(0, 4).startswith(_MACHINE_CODE):
            tell("code", "warned", "is a program")
        for serious, what in programs(file.path, read_at, file.size):
            tell("code", "failed" if serious else "warned", what)
    if header is not None:
        _of_templates(_templates_of_metadata(header.metadata), tell)
    elif ending in _JINJA:
        _of_templates([("", read_small(file, 4 * MAX_TEMPLATE + 1).decode("utf-8", "replace"))], tell)
    elif _is_configuration(file.path):
        _of_configuration(file, tell)
    return found


_Tell = Callable[[str, Level, str], None]


def _header(file: ModelFile, read_at: ReadAt, tell: _Tell) -> Header | None:
    """The header of weights that have one; None where they have none, or a false one."""
    parser = _PARSERS.get(format_of_name(file.path))
    if parser is None and read_at(0, 4) == b"GGUF":
        parser = gguf.parse  # whatever it is called: loaders go by this
    if parser is None:
        return None
    try:
        return parser(read_at, file.size)
    except FormatError as error:
        tell("headers", "failed", error.what)
        return None


# --- pickles -------------------------------------------------------------------------------------------------


def _of_pickles(file: ModelFile, read_at: ReadAt) -> Iterator[tuple[Level, str]]:
    named = format_of_name(file.path) == PICKLE
    count, steps = 0, imports.MAX_STEPS
    for stream in streams(read_at, file.size):
        count += 1
        if count > MAX_PICKLES or steps <= 0:
            yield "failed", f"has more pickles than are looked into: {stream.where}, and all after it"
            return
        level, detail, taken = _of_stream(stream, steps)
        steps -= taken
        yield level, detail
    if named and not count and file.size:
        yield "warned", "is called like a pickle, and none was found in it"


def _of_stream(stream: Stream, steps: int) -> tuple[Level, str, int]:
    if stream.data is None:
        return "failed", f"{stream.where}: it cannot be looked into", 0
    read_at, size, whole = stream.data()
    names, complete, taken = imports.imported(read_at, size, steps)
    said = {name: imports.judge(name) for name in names}
    for danger in ("dangerous", "unknown"):
        if listed := sorted(name for name, judged in said.items() if judged == danger):
            what = "imports" if danger == "dangerous" else "imports what is not known as harmless:"
            level: Level = "failed" if danger == "dangerous" else "warned"
            return level, f"{stream.where}: {what} {_listed(listed)}", taken
    if not complete:
        rest = (
            "it breaks off, or goes on beyond what is looked at"
            if whole
            else "it is too large to be looked through"
        )
        return "failed", f"{stream.where}: {rest}", taken
    return "warned", f"{stream.where}, with nothing but data in it", taken


def _listed(names: list[str]) -> str:
    shown = ", ".join(
        name if name.isprintable() else ascii(name) for name in (text[:80] for text in names[:MAX_NAMED])
    )
    return f"{shown}, and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else shown


# --- configurations and templates ----------------------------------------------------------------------------


def _is_configuration(path: str) -> bool:
    name = PurePosixPath(path).name.lower()
    return name.endswith(("config.json", "model_index.json")) or name.startswith("chat_template")


def _of_configuration(file: ModelFile, tell: _Tell) -> None:
    if file.size > MAX_JSON:
        tell("remote-code", "failed", f"has more than {MAX_JSON} bytes, and was not looked into")
        return
    try:
        document = jsonio.loads(read_small(file, MAX_JSON), limit=MAX_JSON, what="it")
    except FormatError as error:
        tell("remote-code", "warned", f"cannot be read for certain: {error.what}")
        return
    if not isinstance(document, dict):
        return
    for key in _REMOTE:
        named = sorted(set(_texts(document.get(key))))
        if elsewhere := [name for name in named if "--" in name]:
            tell("remote-code", "failed", f"{key} names code of another repository: {_listed(elsewhere)}")
        if own := [name for name in named if "--" not in name]:
            tell("remote-code", "warned", f"{key} names code that comes with the model: {_listed(own)}")
    _of_templates([pair for key in _TEMPLATE_KEYS for pair in _templates(document.get(key))], tell)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _templates(value: Any) -> Iterator[tuple[str, str]]:
    """A template, a list of named ones, or a mapping of them."""
    if isinstance(value, str):
        yield "", value
    elif isinstance(value, dict):
        yield from ((str(name), text) for name, text in value.items() if isinstance(text, str))
    elif isinstance(value, (list, tuple)):
        for item in value:
            if isinstance(item, dict) and isinstance(text := item.get("template"), str):
                yield str(item.get("name", "")), text


def _templates_of_metadata(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Those of GGUF (``tokenizer.chat_template``, ``….NAME``), and what safetensors files say beside tensors."""
    for key, value in metadata.items():
        if "chat_template" in key and isinstance(value, str):
            yield key, value


def _of_templates(templates: Iterable[tuple[str, str]], tell: _Tell) -> None:
    for count, (name, template) in enumerate(templates):
        if count >= MAX_TEMPLATES:
            tell("chat-templates", "failed", f"has more than {MAX_TEMPLATES} templates, which were not looked into")
            return
        called = f"the template {_listed([name])}" if name else "the template"
        for remark in remarks(template):
            tell("chat-templates", "failed" if remark.serious else "warned", f"{called} {remark.what}")
