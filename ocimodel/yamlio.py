"""YAML as another spelling of JSON.

Guarantees: `load` gives the value, and `to_json` the JSON text, of a document that says nothing which JSON could
not say: no anchors, no tags, no second document, no key that is not text, no key twice, no dates (a time stays
text). Which words are numbers, true, false or null is decided as in YAML 1.2's core schema, so ``no`` and ``on``
are text; with ``text`` every scalar stays the text that was written, so that no number changes its spelling.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ocimodel.errors import ConfigurationError

_MAX_NODES = 200_000
_MAX_DEPTH = 64
_TAGS = frozenset({"null", "bool", "int", "float", "str", "seq", "map", "timestamp", "merge", "value"})
"""What PyYAML takes plain text, lists and mappings for; the words are read anew by YAML 1.2's rules."""


def to_json(data: bytes, what: str) -> bytes:
    """Raises `ConfigurationError`."""
    try:
        return json.dumps(load(data, what), ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise ConfigurationError(f"{what}: {error}", hint="Correct the file; nothing was done.") from None


def load(data: bytes, what: str, *, text: bool = False) -> Any:
    """The document's value. Raises `ConfigurationError`."""
    import yaml

    try:
        for event in yaml.parse(data, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.events.AliasEvent) or getattr(event, "anchor", None):
                raise ConfigurationError(f"{what}: YAML anchors are not read")
        return _value(yaml.compose(data, Loader=yaml.SafeLoader), what, 0, [_MAX_NODES], text)
    except (yaml.YAMLError, UnicodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise ConfigurationError(f"{what}: {problem}{where}", hint="Correct the file; nothing was done.") from None


_PLAIN: tuple[tuple[re.Pattern[str], Any], ...] = (
    (re.compile(r"null|Null|NULL|~|"), lambda _text: None),
    (re.compile(r"true|True|TRUE"), lambda _text: True),
    (re.compile(r"false|False|FALSE"), lambda _text: False),
    (re.compile(r"-?(?:0|[1-9][0-9]{0,18})"), int),
    (re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?"), float),
)


def _value(node: Any, what: str, depth: int, left: list[int], text: bool) -> Any:
    import yaml

    left[0] -= 1
    if depth > _MAX_DEPTH or left[0] < 0:
        raise ConfigurationError(f"{what} is nested too deeply, or too large")
    if node is None:
        return None
    line = node.start_mark.line + 1
    if str(node.tag).removeprefix("tag:yaml.org,2002:") not in _TAGS:
        raise ConfigurationError(f"{what}: YAML tags are not read (line {line})")
    if isinstance(node, yaml.ScalarNode):
        if node.style is None and not text:
            for pattern, make in _PLAIN:
                if pattern.fullmatch(node.value):
                    return make(node.value)
        return node.value
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, what, depth + 1, left, text) for item in node.value]
    found: dict[str, Any] = {}
    for key, item in node.value:
        name = _value(key, what, depth + 1, left, text)
        if not isinstance(name, str):
            raise ConfigurationError(f"{what}: a key is no text (line {line}); put it into quotes")
        if name in found:
            raise ConfigurationError(f"{what}: the key {name[:80]!r} stands twice (line {key.start_mark.line + 1})")
        found[name] = _value(item, what, depth + 1, left, text)
    return found
