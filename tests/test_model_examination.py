"""What could harm whoever loads a model is told, and what honest models have is not told as harm."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ocimodel.model.examination import MAX_PICKLES, Finding, examine
from ocimodel.model.imports import HARMLESS, MAX_STEPS, UNREAD, imported, judge
from ocimodel.model.pickles import MAX_STREAM
from ocimodel.model.reading import ReadAt
from ocimodel.model.scan import scan
from ocimodel.model.templates import MAX_TEMPLATE, remarks
from tests.models import make_model, write_gguf


def look(directory: Path) -> dict[str, str]:
    """By ``test path``: level and detail."""
    return {f"{item.test} {item.path}": f"{item.level}: {item.detail}" for item in examine(scan(directory))}


def of(tmp_path: Path, name: str, content: bytes | str) -> dict[str, str]:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return look(tmp_path)


def at(data: bytes) -> tuple[ReadAt, int]:
    return lambda offset, length: data[offset : offset + length], len(data)


def test_an_honest_model(tmp_path: Path) -> None:
    """With code in it, which somebody should look at, and nothing else to say."""
    assert look(make_model(tmp_path)) == {"code modeling_tiny.py": "warned: is a program"}


# --- pickles -------------------------------------------------------------------------------------------------


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("echo this must never run",)


class Told:
    """Pickled as a call of anything, without importing it here."""

    def __init__(self, name: str) -> None:
        self.module, _, self.name = name.rpartition(".")

    def pickled(self, protocol: int) -> bytes:
        if protocol < 4:
            return b"\x80\x02c" + f"{self.module}\n{self.name}\n".encode() + b")R."
        texts = b"".join(
            b"\x8c" + bytes([len(text)]) + text.encode() + b"\x94" for text in (self.module, self.name)
        )
        return b"\x80\x04" + texts + b"\x93)R."


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("content", [Evil(), {"weights": [1.0], "x": Evil()}, ["y" * 70_000, *range(5000), Evil()]])
def test_a_pickle_that_runs_a_command(tmp_path: Path, protocol: int, content: object) -> None:
    found = of(tmp_path, "pytorch_model.bin", pickle.dumps(content, protocol))
    assert found == {"pickles pytorch_model.bin": f"failed: a pickle: imports {os.system.__module__}.system"}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_data(tmp_path: Path, protocol: int) -> None:
    data = {"a": [1, 2.5, "x", None], "b": OrderedDict(c={1, 2}), "d": np.arange(3), "e": np.float32(2), "f": 1j}
    found = of(tmp_path, "data.pkl", pickle.dumps(data, protocol))
    assert found == {"pickles data.pkl": "warned: a pickle, with nothing but data in it"}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("name", "danger"),
    [
        ("torch._utils._rebuild_tensor_v2", "harmless"),
        ("torch.FloatStorage", "harmless"),
        ("builtins.dict", "harmless"),
        ("builtins.getattr", "dangerous"),
        ("__builtin__.eval", "dangerous"),
        ("torch.hub.load", "dangerous"),
        ("torch.storage._load_from_bytes", "dangerous"),
        ("torch.storage.UntypedStorage", "harmless"),
        ("numpy.load", "dangerous"),
        ("numpy.os.system", "dangerous"),
        ("collections._sys.modules", "dangerous"),
        ("collections.OrderedDict.__init__", "dangerous"),
        ("posix.system", "dangerous"),
        ("functools.partial", "unknown"),
        ("sklearn.linear_model._base.LinearRegression", "unknown"),
    ],
)
def test_what_imports_are_known_as(protocol: int, name: str, danger: str) -> None:
    names, complete, _ = imported(*at(Told(name).pickled(protocol)))
    assert (set(names), complete) == ({name}, True)
    assert judge(name) == danger


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x8c\x02os\x8c\x06system\x8c\x01x0\x93)R.",  # something is put on top, and taken away
        b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x8c\x01a\x8c\x01b00\x93)R.",
        b"\x80\x04\x8c\x06system\x8c\x02os\x94\x300h\x00\x93)R.",  # by way of the memo
        b"\x80\x04N\x93)R.",
        b"\x80\x02\x82\x01)R.",  # an extension
        b"\x80\x03S'o\\x73'\nS'system'\n\x93)R.",  # an escape
        b"\x80\x03Vo\\u0073\nVsystem\n\x93)R.",
        b"\x80\x04h\x09h\x08\x93)R.",
    ],
)
def test_names_that_cannot_be_followed_count_as_dangerous(data: bytes) -> None:
    names = imported(*at(data)).names
    assert names
    assert {judge(name) for name in names} == {"dangerous"}
    assert any(UNREAD in name for name in names)


def test_several_pickles_one_after_another(tmp_path: Path) -> None:
    """As PyTorch wrote them before it wrote archives; the evil one is the last. Then data."""
    data = b"".join(pickle.dumps(item, 2) for item in (0x1950A86A20F9469CFC6C, 1001, {"a": 1}, Evil()))
    assert of(tmp_path, "old.pt", data + b"\x80\x02" + bytes(100))["pickles old.pt"].startswith(
        "failed: a pickle: imports"
    )
    honest = b"".join(pickle.dumps(item, 2) for item in (1001, {"a": 1})) + b"\x80\x02" + bytes(100)
    assert of(tmp_path, "old.pt", honest)["pickles old.pt"].startswith("warned")


def archive(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archived:
        for name, data in members.items():
            archived.writestr(f"archive/{name}", data)
    return out.getvalue()


def test_every_pickle_of_an_archive_is_looked_into(tmp_path: Path) -> None:
    honest, evil = pickle.dumps({"a": 1}, 2), pickle.dumps(Evil(), 2)
    found = {item.detail for item in examine_bytes(tmp_path, archive(first=honest, second=evil, data=bytes(99)))}
    assert found == {
        "'archive/first' in a zip archive, with nothing but data in it",
        f"'archive/second' in a zip archive: imports {os.system.__module__}.system",
    }


def examine_bytes(tmp_path: Path, data: bytes) -> tuple[Finding, ...]:
    (tmp_path / "model.pt").write_bytes(data)
    return examine(scan(tmp_path))


def test_pickles_that_take_their_time(tmp_path: Path) -> None:
    """Small files, and much to do: what is not looked into does not pass."""
    (finding,) = examine_bytes(tmp_path, b"\x80\x04" + b"N0" * (MAX_STEPS // 2 + 1) + b".")
    assert (finding.level, "goes on beyond" in finding.detail) == ("failed", True)
    many = archive(**{f"m{number}": pickle.dumps(number, 2) for number in range(MAX_PICKLES + 9)})
    found = examine_bytes(tmp_path, many)
    assert len(found) == MAX_PICKLES + 1
    assert [item.detail for item in found if item.level == "failed"] == [
        f"has more pickles than are looked into: 'archive/m{MAX_PICKLES}' in a zip archive, and all after it"
    ]
    large = archive(first=b"\x80\x04\x8d" + (MAX_STREAM).to_bytes(8, "little") + bytes(MAX_STREAM) + b".")
    (finding,) = examine_bytes(tmp_path, large)
    assert (finding.level, "too large" in finding.detail) == ("failed", True)


@pytest.mark.parametrize("hide", [gzip.compress, lambda data: archive(x=data)])
def test_arrays_and_compressed_pickles_are_looked_into(tmp_path: Path, hide: Any) -> None:
    saved = io.BytesIO()
    np.save(saved, np.array([Evil()], dtype=object), allow_pickle=True)
    for data in (saved.getvalue(), hide(saved.getvalue()), hide(pickle.dumps(Evil(), 0))):
        (finding,) = examine_bytes(tmp_path, data)
        assert (finding.level, "imports" in finding.detail) == ("failed", True), finding
    saved = io.BytesIO()
    np.save(saved, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (finding,) = examine_bytes(tmp_path, saved.getvalue())
    assert finding.level == "warned"


@pytest.mark.parametrize(
    ("data", "level"),
    [
        (pickle.dumps({"a": [1] * 99}, 4)[:-20], "failed"),
        (b"PK\x03\x04" + bytes(99), "failed"),
        (b"no pickle at all", "warned"),
    ],
)
def test_what_cannot_be_looked_into_does_not_pass(tmp_path: Path, data: bytes, level: str) -> None:
    (finding,) = examine_bytes(tmp_path, data)
    assert finding.level == level


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300))
@example(b"\x80\x04\x8d" + b"\xff" * 8)
@example(b"\x80\x04\x93")
@example(b"\x80\x02p99999999999999999999999\n.")
def test_imports_of_any_bytes(data: bytes) -> None:
    names = imported(*at(data)).names
    assert all(isinstance(name, str) for name in names)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            b"\x8c\x02os|\x8c\x06system|\x8c\x0bcollections|\x8c\x0bOrderedDict|\x94|0|2|(|1|N|)|R|"
            b"h\x00|h\x01|q\x00|q\x01|\x93|\x95\x00\x00\x00\x00\x00\x00\x00\x00".split(b"|")
        ),
        max_size=14,
    )
)
@example([b"\x8c\x02os", b"\x94", b"\x8c\x06system", b"\x94", b"\x93", b")", b"R"])
@example([b"\x8c\x02os", b"q\x01", b"\x8c\x0bcollections", b"0", b"\x8c\x06system", b"\x93"])
def test_what_an_unpickler_would_import_is_told(pieces: list[bytes]) -> None:
    """Whatever is done with the stack and the memo: each name that is looked up is among those told, or unread."""
    data = b"\x80\x04" + b"".join(pieces) + b"."
    asked: list[str] = []

    class Unpickler(pickle._Unpickler):
        def find_class(self, module: str, name: str) -> object:
            asked.append(f"{module}.{name}")
            return dict

    with suppress(Exception):  # any stream is tried, most are not pickles
        Unpickler(io.BytesIO(data)).load()
    names = imported(*at(data)).names
    unread = any(UNREAD in name for name in names)
    assert unread or set(asked) <= names


def test_no_harmless_name_is_a_door() -> None:
    """Of those that this machine has: types and rebuilders, nothing that takes a function and calls it."""
    assert not {name for name in HARMLESS if name.endswith((".eval", ".exec", ".getattr", ".load", ".partial"))}


# --- headers -------------------------------------------------------------------------------------------------


def test_headers_that_lie(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 2**63) + b"{}")
    write_gguf(tmp_path / "b.gguf")
    (tmp_path / "b.gguf").write_bytes((tmp_path / "b.gguf").read_bytes()[:-64])
    found = look(tmp_path)
    assert found["headers a.safetensors"].startswith(
        "failed: the safetensors header claims 9223372036854775808 bytes"
    )
    assert "ends beyond the file" in found["headers b.gguf"]


def test_a_gguf_under_another_name(tmp_path: Path) -> None:
    assert "headers weights.bin" in of(tmp_path, "weights.bin", b"GGUF" + b"\xff" * 60)


# --- code ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.py", ""), ("run", "#!/bin/sh\n"), ("libx.bin", b"\x7fELF" + bytes(9)), ("x.so", "x"), ("deep/er.sh", "x")],
)
def test_programs_are_told(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert of(tmp_path, name, content) == {f"code {name}": "warned: is a program"}


def keras(*layers: str) -> bytes:
    configuration = {"class_name": "Sequential", "config": {"layers": [{"class_name": name} for name in layers]}}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archived:
        archived.writestr("config.json", json.dumps(configuration))
    return out.getvalue()


HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(100)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("m.keras", keras("Dense"), ""),
        ("m.keras", keras("Dense", "Lambda"), "failed: has a Lambda layer"),
        ("m.keras", b"PK\x03\x04" + bytes(90), "failed: is an archive whose configuration cannot be looked into"),
        ("m.h5", HDF5 + b'{"class_name": "Dense"}', ""),
        ("m.h5", HDF5 + b'{"class_name": "Lambda", "config": {}}', "failed: has a Lambda layer"),
        ("saved_model.pb", b"\x0a\x05relu1\x12\x04Relu", ""),
        ("saved_model.pb", b"\x0a\x02p1\x12\x06PyFunc", "failed: has operations that call Python: PyFunc"),
        ("saved_model.pb", b"\x0a\x02p1\x12\x08ReadFile", "warned: has operations that touch files: ReadFile"),
    ],
)
def test_programs_in_graphs(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    found = of(tmp_path, name, content).get(f"code {name}", "")
    assert found.startswith(said)
    assert bool(found) == bool(said)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer_config.json", "text/config.json", "processor_config.json"]
)
def test_code_that_a_configuration_names(tmp_path: Path, name: str) -> None:
    own = json.dumps({"auto_map": {"AutoModel": "modeling_x.X", "AutoTokenizer": [None, "tokenization_x.T"]}})
    assert of(tmp_path, name, own)[f"remote-code {name}"].startswith("warned: auto_map names code that comes with")
    other = json.dumps({"auto_map": {"AutoModel": "somebody/else--modeling_x.X"}})
    found = of(tmp_path, name, other)[f"remote-code {name}"]
    assert found == "failed: auto_map names code of another repository: somebody/else--modeling_x.X"
    assert of(tmp_path, name, "{}") == {}


def test_a_configuration_that_is_read_in_two_ways(tmp_path: Path) -> None:
    found = of(tmp_path, "config.json", '{"auto_map": {"A": "x/y--z.Z"}, "auto_map": null}')
    assert "cannot be read for certain" in found["remote-code config.json"]


# --- templates -----------------------------------------------------------------------------------------------

HONEST = [
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content']}}{% endfor %}",
    "{%- set ns = namespace(found=false) -%}{%- for _ in range(3) -%}{{ ns.found }}{%- endfor -%}",
    "{{ bos_token }}{% if messages[0]['role'] != 'system' %}{{ raise_exception('no system') }}{% endif %}",
    "{% generation %}{{ message.content | trim | tojson(indent=4) }}{% endgeneration %}",
    "{# __globals__ in a comment #}text with __class__ in it, and popen()",
    "{% if x in ['_a', '_b'] %}{{ x.get('_c') }}{{ ['_d'] }}{% endif %}",
    "{{ name.split('_')[0] ~ '-' ~ x | replace('-', '_') }}",
    "{%- macro render(tool) -%}{{ tool.name ~ '(' ~ tool.system }}{%- endmacro -%}{{ builtin_tools|join(', ') }}",
    "{{ strftime_now('%d %b %Y') }}{{ messages[-1].tool_calls[0]['function']['arguments'] }}",
]


@pytest.mark.parametrize("template", HONEST)
def test_templates_as_they_are(template: str) -> None:
    assert remarks(template) == []


SERIOUS = [
    "{{ self.__init__.__globals__.__builtins__.__import__('os').popen('id').read() }}",
    "{{ ''['__class__'] }}",
    "{{ x['__cla' ~ 'ss__'] }}",
    "{{ x['__cla' + 'ss__'] }}",
    "{{ x['__cla' 'ss__'] }}",
    '{{ x["\\x5f\\x5fclass\\x5f\\x5f"] }}',
    "{{ x|attr('_' 'y') }}",
    "{{ x|attr(y) }}",
    "{{ '{0.__class__}'.format(x) }}",
    "{{ xs|map(attribute='__class__')|list }}",
    "{{ [u, 'globals', u]|join }}",
    "{%- set u='_'*2 -%}{{ x[u ~ 'subclasses' ~ u] }}",
    "{{ cycler.next.popen('id') }}",
    "{% if '%}' %}{{ x . __mro__ }}{% endif %}",
    "{{ '}}' }}{{ x._private }}",
    "{{ x['_y'] }}",
    "{{ x[('_y')] }}",
    "{{ x[a['b'] if c else '_y'] }}",
    "{{ (x)['_y'|lower] }}",
    "{{ 'x'['_y'] }}",
    "{{ 1['_y'] }}",
    "{{ x[a ~ '__' ~ b] }}",
    "{%set a=x.__base__%}",
    "{{ (x).\n__dict__",
    "{{ {'a': {'b': 1}}.x.__class__ }}",
    "{% set y = {'a': {'b': [1]}} %}{{ ({'%}': 1}).__class__ }}",
    "{% raw %}{# {% endraw %}{{ x.__class__ }}",
    "{%- raw -%}{{ '{%- endraw -%}{{ x._private }}",
    "{{ x[1]}}{{ x.__class__ }}",
]


@pytest.mark.parametrize("template", SERIOUS)
def test_templates_that_reach_out(template: str) -> None:
    assert any(remark.serious for remark in remarks(template)), remarks(template)


@pytest.mark.parametrize(
    "template",
    [
        "{% include 'x' %}",
        "{%- import 'x' as y -%}",
        "{{ lipsum.x }}",
        "{{ x|attr('content') }}",
        "{{ a ~ '__' ~ b }}",
        "shown\u202eneddih",
        "{{ x",
        "{# x",
        "{{ 'x }}",
        "{% raw %}x",
    ],
)
def test_templates_that_somebody_should_read(template: str) -> None:
    assert [remark.serious for remark in remarks(template)] == [False]


def test_a_name_across_a_long_text_is_seen() -> None:
    pieces = " ~ ".join(["'x'"] * 9000 + ["'__glo'", "'bals__'"] + ["'x'"] * 9000)
    assert any(remark.serious for remark in remarks(f"{{{{ {pieces} }}}}"))


def test_a_template_that_takes_its_time() -> None:
    """Each of these would take hours, were the end looked for anew at each quote, or all texts joined."""
    for text in ('"\\' * 60_000, "'x'~" * 60_000, "{{" * 60_000, "{#" * 60_000):
        remarks("{{ " + text)


def test_a_template_that_is_too_long() -> None:
    assert remarks("x" * (MAX_TEMPLATE + 1))[0].serious


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="{}%#'\"\\_.|[]()~+ \nax0-", max_size=200))
@example("{{'" + "\\" * 199)
def test_any_text_is_read(template: str) -> None:
    remarks(template)


PIECES = r"""{{ }} {% %} {# #} {%raw%} {%endraw%} { } [ ] ( ) ' " \ .__class__ .a x ['__class__'] ~ + - 1 , :
if~x ['_''_class__'] {'a':1}"""


@settings(max_examples=2000, deadline=None)
@given(st.lists(st.sampled_from(PIECES.split()), max_size=14))
@example(["{{", "{'a':1}", "}}", ".__class__", "}}"])
@example(["{%raw%}", "{#", "{%endraw%}", "{{", "x", ".__class__", "}}"])
def test_what_jinja_would_reach_for_is_told(pieces: list[str]) -> None:
    """Whatever Jinja itself parses: an attribute that its sandbox would refuse is never overlooked."""
    jinja = pytest.importorskip("jinja2")
    template = "".join(pieces)
    try:
        parsed = jinja.Environment().parse(template)
    except (jinja.TemplateError, RecursionError):
        return
    reached = [node.attr for node in parsed.find_all(jinja.nodes.Getattr)]
    reached += [node.arg.value for node in parsed.find_all(jinja.nodes.Getitem) if hasattr(node.arg, "value")]
    if any(isinstance(name, str) and name.startswith("_") for name in reached):
        assert any(remark.serious for remark in remarks(template)), template


BAD = SERIOUS[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chat_template.jinja", BAD),
        ("additional_chat_templates/tool_use.jinja", BAD),
        ("tokenizer_config.json", json.dumps({"chat_template": BAD})),
        ("tokenizer_config.json", json.dumps({"chat_template": [{"name": "default", "template": BAD}]})),
        ("chat_template.json", json.dumps({"chat_template": {"rag": BAD}})),
    ],
)
def test_templates_are_found_wherever_loaders_find_them(tmp_path: Path, name: str, content: str) -> None:
    found = of(tmp_path, name, content)
    assert list(found) == [f"chat-templates {name}"] or any(key.startswith("chat-templates") for key in found)
    assert "failed" in found[f"chat-templates {name}"] or examine(scan(tmp_path))


@pytest.mark.parametrize("key", ["tokenizer.chat_template", "tokenizer.chat_template.tool_use"])
def test_templates_in_a_gguf(tmp_path: Path, key: str) -> None:
    import gguf

    writer = gguf.GGUFWriter(str(tmp_path / "m.gguf"), "llama")
    writer.add_string(key, BAD)
    writer.add_tensor("a", np.zeros(4, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    findings = examine(scan(tmp_path))
    assert {(item.test, item.level) for item in findings} == {("chat-templates", "failed")}
    assert any("__globals__" in item.detail and key in item.detail for item in findings)


def test_findings_come_in_one_order(tmp_path: Path) -> None:
    make_model(tmp_path)
    for name in ("b.pkl", "a.pkl"):
        (tmp_path / name).write_bytes(pickle.dumps(Evil()))
    found = examine(scan(tmp_path))
    assert found == examine(reversed(scan(tmp_path)))
    assert list(found) == sorted(found)
