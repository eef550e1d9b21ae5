"""What is fuzzed: each target takes any bytes, and what it promises is asserted."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from contextlib import suppress

from ocimodel import jsonio
from ocimodel.cli import overview as shown
from ocimodel.cli import page
from ocimodel.cli.text import columns, printable, table
from ocimodel.errors import IntegrityError
from ocimodel.model import gguf, safetensors
from ocimodel.model.artifact import ModelArtifact
from ocimodel.model.chunkindex import ChunkIndex
from ocimodel.model.config import ModelConfig
from ocimodel.model.facts import lenient
from ocimodel.model.frontmatter import front_matter
from ocimodel.model.header import Enough, Header
from ocimodel.model.overview import Documents, overview
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest
from ocimodel.oci.reference import Reference
from ocimodel.verbs.diff_fields import MAX_FIELDS, flatten
from ocimodel.verbs.headers import Seen
from ocimodel.verbs.inspect import Inspection
from ocimodel.verbs.overview import Look
from ocimodel.verbs.tensors import tensor_infos

_DIGEST = Digest.of(b"")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_TAG = re.compile(r"<(/?[a-zA-Z!][^\s>]*)")
_PLAIN = ("html", "title", "style", "h1", "h2", "section", "table", "tr", "th", "td", "svg", "rect", "p", "footer")
_TAGS = frozenset({"!doctype", "meta", *_PLAIN, *(f"/{name}" for name in _PLAIN)})


def safetensors_header(data: bytes) -> None:
    """The header of a safetensors file."""
    _check(_parsed(safetensors.parse, data), len(data))


def gguf_header(data: bytes) -> None:
    """The header of a GGUF file; and its beginning, where only half of it may be read."""
    header = _parsed(gguf.parse, data)
    _check(header, len(data))
    for most in (len(data) // 2, 2 * len(data)):
        asked = 0

        def read_at(offset: int, length: int, most: int = most) -> bytes:
            nonlocal asked
            asked += length
            if offset + length > most:
                raise Enough
            return data[offset : offset + length]

        try:
            part = gguf.parse_part(read_at, len(data))
        except (IntegrityError, Enough):
            continue
        if header is not None:
            assert part.metadata.items() <= header.metadata.items() or part.header is None or "nan" in repr(header)
        _check(part.header, len(data))


def gguf_table(data: bytes) -> None:
    """The end of a GGUF header: the tensors must lie where they are known to lie, or there are none."""
    part = gguf.Part(2, {}, "<", None)
    size, start = len(data) + 4096, len(data)
    places = {"a": (start, start + 128), "b": (start + 128, start + 140)}
    tensors = gguf.parse_table(data, start, size, places, part)
    assert not tensors or {tensor.name: (tensor.start, tensor.stop) for tensor in tensors} == places


def chunk_index(data: bytes) -> None:
    """A chunk index."""
    try:
        index = ChunkIndex.from_bytes(data, {_DIGEST: 1000})
    except IntegrityError:
        return
    assert ChunkIndex.from_bytes(index.to_bytes(), {_DIGEST: 1000}) == index


def manifest(data: bytes) -> None:
    """A manifest, read as a model."""
    try:
        artifact = ModelArtifact.of(Manifest.from_bytes(data))
    except IntegrityError:
        return
    assert all(not entry.path.startswith("/") and ".." not in entry.path.split("/") for entry in artifact.files)


def documents(data: bytes) -> None:
    """A config, a card and a header's metadata on the way to a terminal and to a page."""
    settings = lenient(data)
    fields = flatten(settings)
    assert len(fields) <= MAX_FIELDS + 1
    assert all(len(text) < 400 for text in fields.values())
    said = Documents(
        card=front_matter(data),
        json=dict.fromkeys(("config.json", "tokenizer_config.json", "adapter_config.json"), settings),
    )
    declared = None
    with suppress(IntegrityError):
        declared = ModelConfig.from_bytes(data)
    parsed = _parsed(gguf.parse, data) or _parsed(safetensors.parse, data)
    strange = data.decode("utf-8", "surrogateescape")
    metadata = {"general.architecture": strange, "general.name": strange, "tokenizer.ggml.model": strange}
    header = parsed or Header(format="gguf", tensors=(), metadata=metadata | settings, data_start=0)
    told = overview({strange: header}, said, declared, complete=True)
    look = Look(
        found=Inspection(
            reference=Reference.parse("localhost/x:v1"),
            descriptor=Descriptor(media_type=strange, digest=_DIGEST, size=1),
            artifact_type=strange,
            kind="unknown",
            annotations={strange: strange},
            config=declared,
        ),
        overview=told,
        headers=(
            Seen(path=strange, format="gguf", tensors=tensor_infos(strange, header.tensors, big_endian=False)),
        ),
        notes=told.notes,
    )
    text = "\n".join(shown.lines(look, tensors=True, width=60))
    assert not _CONTROL.search(text)
    json.dumps(shown.document(look, tensors=True), allow_nan=False)
    _check_page(shown.html(look, tensors=True))


def looks(data: bytes) -> None:
    """Any text in a table of any width and on a page."""
    text = data.decode("utf-8", "surrogateescape")
    assert not _CONTROL.search(printable(text))
    assert "\n" not in printable(text)
    words = text.split() or [""]
    for width in (1, 20, 80):
        rows = table(("a", "b", "c"), [(word, text, word[::-1]) for word in words[:5]], right=(2,), width=width)
        assert all("\n" not in row for row in rows)
        assert max(map(columns, rows)) >= 0
    document = page.page(text, page.table(text, (text,), [(text,)], kind=0), page.remarks([text], [text]))
    _check_page(document)


def json_documents(data: bytes) -> None:
    """Strict JSON: what is accepted can be written again."""
    try:
        value = jsonio.loads(data, limit=1_000_000)
    except IntegrityError:
        return
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode("utf-8")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "safetensors": safetensors_header,
    "gguf": gguf_header,
    "gguf-table": gguf_table,
    "chunk-index": chunk_index,
    "manifest": manifest,
    "documents": documents,
    "looks": looks,
    "json": json_documents,
}


def _parsed(parse: Callable[..., Header], data: bytes) -> Header | None:
    try:
        return parse(lambda offset, length: data[offset : offset + length], len(data))
    except IntegrityError:
        return None


def _check(header: Header | None, size: int) -> None:
    """What `ocimodel.model.header` promises."""
    if header is None:
        return
    position = header.data_start
    for tensor in header.tensors:
        assert position <= tensor.start <= tensor.stop <= size
        position = tensor.stop
    assert len({tensor.name for tensor in header.tensors}) == len(header.tensors)


def _check_page(document: str) -> None:
    document.encode("utf-8")
    assert not _CONTROL.search(document)
    body = document.partition("</style>")[2]
    assert {name.lower() for name in _TAG.findall(body)} <= _TAGS, sorted(set(_TAG.findall(body)))
    assert not re.search(r"<[^>]*\son\w+=|<[^>]*(?:href|src)=", body)
    assert html.unescape(body).count("<") >= body.count("<")
