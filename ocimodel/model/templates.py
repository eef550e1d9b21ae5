"""Chat templates: Jinja programs that come with a model, and that some loaders run without a sandbox.

Guarantees: a template is read, never rendered; in time that grows with its length, of which at most `MAX_TEMPLATE`
characters are looked at. Told as failed is what Jinja's own sandbox forbids and no template needs: reaching for
attributes that begin with an underscore, by whatever spelling (a literal, escapes, concatenation, a filter,
``format``), and calls that run commands. Told as warned is what somebody should read: templates that load others,
filters that take attributes by name, globals that lead out, characters that are not seen.

Not found: names that a program puts together in another way (reversed, joined from lists, through variables),
unless a telling part of one stands there; and templates that run nothing, but tell the model something else than
they show.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

MAX_TEMPLATE: Final = 1024 * 1024
"""Characters. The longest that are published have some 30,000."""


class Remark(NamedTuple):
    """``serious``: it fails; else somebody should look at it."""

    serious: bool
    what: str


class _Token(NamedTuple):
    kind: str  # name, text, other
    value: str


_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")
_END_OF_RAW = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")
_OPENING = re.compile(r"\{\{|\{%|\{#")
_TOKEN = re.compile(
    r"""\s+|(?P<end>[-+]?%\}|-?\}\})|(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
    r"""|(?P<open>['"])|(?P<name>[^\W\d]\w*)|(?P<other>.)""",
    re.DOTALL,
)
_ROADS: Final = """
base bases builtins call class closure code dict enter exit func getattr getattribute getitem globals import init
loader module mro new reduce reduce_ex self spec subclasses wrapped
"""
_DUNDER = re.compile(rf"__(?:{'|'.join(_ROADS.split())})__")
_TELLING = re.compile(r"_*(?:globals|builtins|subclasses|getattribute|mro|popen|subprocess|importlib|os\.system)_*")
"""Parts of names that attacks need and templates do not: literals that are just that."""

_COMMANDS: Final = """
Popen check_output compile eval exec execfile getoutput import_module popen spawnl spawnv system
"""
_CALLS: Final = frozenset(_COMMANDS.split())
_WAYS_OUT: Final = frozenset({"lipsum", "cycler", "joiner", "request", "url_for", "get_flashed_messages"})
_OPERATORS: Final = frozenset({"in", "and", "or", "not", "is", "if", "else", "elif", "set", "for", "recursive"})
_LOADING: Final = frozenset({"include", "import", "from", "extends"})
_HIDDEN = re.compile("[\u200b\u2060-\u2064\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
_LONG, _SEAM = 4096, 64
_JOINING: Final = frozenset("~+*%")


def remarks(template: str) -> list[Remark]:
    """What is to be said of ``template``, each once; nothing of one that is as they usually are."""
    if len(template) > MAX_TEMPLATE:
        return [Remark(True, f"has more than {MAX_TEMPLATE} characters, and was not looked into")]
    found = list(_of_text(template))
    for kind, tokens in _blocks(template, found):
        found += _of_block(kind, _folded(tokens))
    return list(dict.fromkeys(found))


def _of_text(template: str) -> Iterator[Remark]:
    if hidden := sorted({f"U+{ord(letter):04X}" for letter in _HIDDEN.findall(template)}):
        yield Remark(False, f"has characters that are not seen: {', '.join(hidden[:8])}")


def _blocks(template: str, found: list[Remark]) -> Iterator[tuple[str, list[_Token]]]:
    """The code between the marks, as tokens. What begins and does not end goes into ``found``."""
    position = 0
    while opening := _OPENING.search(template, position):
        mark, position = opening[0], opening.end()
        if mark == "{#":
            end = template.find("#}", position)
            position = end + 2
        else:
            tokens, end = _block(template, position, mark)
            yield mark, tokens
            position = end
            if mark == "{%" and [token.value for token in tokens if token.value not in "-+"] == ["raw"]:
                raw = _END_OF_RAW.search(template, position)
                end = position = raw.end() if raw else -1
        if end < 0:
            found.append(Remark(False, "has a part without an end"))
            return


def _block(template: str, position: int, mark: str) -> tuple[list[_Token], int]:
    """The tokens from ``position`` on, and where the code ends; -1 where it does not."""
    closing, depth = "%}" if mark == "{%" else "}}", 0
    tokens: list[_Token] = []
    while match := _TOKEN.match(template, position):
        kind, value, position = match.lastgroup, match[0], match.end()
        if kind == "end" and not depth and value.endswith(closing):
            return tokens, position
        if kind == "end":  # as in {{ {"a": {"b": 1}} }}: Jinja counts what is open
            kind, value, position = "other", value[0], match.start() + 1
        if kind == "open":  # Jinja refuses it; we would look for its end again and again
            return tokens, -1
        if kind is not None:
            depth += (value in _OPEN) - (value in _CLOSE) if kind == "other" else 0
            tokens.append(_Token(kind, value))
    return tokens, -1


def _folded(tokens: list[_Token]) -> list[_Token]:
    """Texts unquoted, and those joined that stand beside each other or between ``~`` and ``+``."""
    result: list[_Token] = []
    for kind, value in tokens:
        if kind != "text":
            result.append(_Token(kind, value))
            continue
        text = _unquoted(value)
        if result and result[-1].kind == "text":
            _join(result, -1, text)
        elif len(result) > 1 and result[-1].value in ("~", "+") and result[-2].kind == "text":
            _join(result, -2, text)
        else:
            result.append(_Token("text", text))
    return result


def _join(tokens: list[_Token], position: int, text: str) -> None:
    before = tokens[position].value
    if len(before) < _LONG:
        tokens[position:] = [_Token("text", before + text)]
    else:  # a name that stands across the seam is still seen
        tokens.append(_Token("text", before[-_SEAM:] + text))


def _unquoted(literal: str) -> str:
    try:
        return literal[1:-1].encode("ascii", "backslashreplace").decode("unicode-escape")
    except UnicodeDecodeError:
        return literal[1:-1]


def _of_block(mark: str, tokens: list[_Token]) -> Iterator[Remark]:
    none = _Token("other", "")
    first = next((token for token in tokens if token.value not in "-+"), none)
    if mark == "{%" and first.value in _LOADING:
        yield Remark(False, f"loads another template ({first.value})")
    brackets: list[bool] = []
    within = 0  # how many of the brackets that are open are subscripts
    for index, token in enumerate(tokens):
        before = tokens[index - 1] if index else none
        after = tokens[index + 1] if index + 1 < len(tokens) else none
        if token.kind == "other" and token.value in _OPEN:
            brackets.append(token.value == "[" and _is_value(before))
            within += brackets[-1]
        elif token.kind == "other" and token.value in _CLOSE and brackets:
            within -= brackets.pop()
        elif token.kind == "text":
            joined = {item.value for item in (before, after) if item.kind == "other"} & _JOINING
            yield from _of_literal(token.value, subscript=within > 0, joined=bool(joined))
        elif token.kind == "name":
            yield from _of_name(token.value, before.value, after, tokens[index + 2 : index + 4])


def _is_value(token: _Token) -> bool:
    """Whether a bracket behind ``token`` is a subscript of it, and not a list."""
    if token.kind == "name":
        return token.value not in _OPERATORS
    return token.kind == "text" or token.value in _CLOSE or token.value.isdigit()


def _of_literal(text: str, *, subscript: bool, joined: bool) -> Iterator[Remark]:
    if match := _DUNDER.search(text):
        yield Remark(True, f"reaches for {match[0]}")
    elif _TELLING.fullmatch(text) or (subscript and text.startswith("_")):
        yield Remark(True, f"reaches for {text[:40]}")
    elif joined and text and not text.strip("_"):
        yield Remark(False, "puts names with underscores together")


def _of_name(name: str, before: str, after: _Token, rest: list[_Token]) -> Iterator[Remark]:
    if before == "." and name.startswith("_"):
        yield Remark(True, f"reaches for {name[:40]}")
    elif _DUNDER.fullmatch(name):
        yield Remark(True, f"reaches for {name}")
    elif before == "." and name in _CALLS and after.value == "(":
        yield Remark(True, f"calls {name}")
    elif before == "|" and name == "attr":
        plain = after.value == "(" and [token.kind for token in rest[:1]] == ["text"]
        plain = plain and rest[-1].value == ")" and not rest[0].value.startswith("_")
        yield Remark(not plain, "takes an attribute by name (the filter attr)")
    elif before != "." and name in _WAYS_OUT and after.value in (".", "[", "|"):
        yield Remark(False, f"takes hold of {name}")
