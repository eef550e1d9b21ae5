"""Reading the files of other tools: bounded, every scalar as the text that it was written as.

Guarantees: `read` never follows a link out of the directory it was given and never reads more than `MAX_BYTES`; a
file that is not there is None. What is there and malformed is a `ConfigurationError` that names it: a record must
not be silently poorer than its sources.
"""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ocimodel import jsonio, yamlio
from ocimodel.errors import ConfigurationError, StorageError

MAX_BYTES = 16 * 1024 * 1024
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?\s*(Z|[+-]\d\d:?\d\d)?", re.ASCII)


def read(directory: Path, name: str) -> bytes | None:
    """The bytes of the file ``name`` below ``directory``; None where there is none."""
    path = directory / name
    try:
        if not path.resolve().is_relative_to(directory.resolve()):
            raise ConfigurationError(f"{path} is a link that leads out of {directory}")
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"{path} has more than {MAX_BYTES} bytes")
    return data


def read_yaml(directory: Path, name: str) -> dict[str, Any] | None:
    """A YAML mapping, its scalars as text."""
    data = read(directory, name)
    return None if data is None else mapping(parse_yaml(data, str(directory / name)), str(directory / name))


def parse_yaml(data: bytes, what: str) -> Any:
    """A YAML document, its scalars as text; what is null says nothing. Raises `ConfigurationError`."""
    return _without_nulls(yamlio.load(data, what, text=True))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return "" if value in ("null", "Null", "NULL", "~") else value


def read_json(directory: Path, name: str) -> dict[str, Any] | None:
    """A JSON object, its numbers as text."""
    data = read(directory, name)
    return None if data is None else parse_json(data, str(directory / name))


def parse_json(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object, its numbers as text. Raises `ConfigurationError`, also where it says a thing twice."""
    try:
        value = json.loads(
            data.decode("utf-8-sig"),
            parse_float=str,
            parse_int=str,
            parse_constant=str,
            object_pairs_hook=_once,
        )
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{what} is not JSON: {error}") from None
    level = [value]
    for _ in range(jsonio.MAX_DEPTH + 1):
        level = [item for one in level if isinstance(one, (dict, list)) for item in _members(one)]
        if not level:
            return mapping(value, what)
    raise ConfigurationError(f"{what} is nested too deeply")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands in one object twice")
    return found


def _members(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def mapping(value: Any, what: str) -> dict[str, Any]:
    """``value``, which has to be a mapping; nothing is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigurationError(f"{what} is no mapping")
    return value


def obj(value: Any) -> dict[str, Any]:
    """``value`` where it is a mapping; else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """A list; a single value is a list of one, nothing is an empty one."""
    if isinstance(value, list):
        return value
    return [] if value in (None, "") else [value]


def text(value: Any) -> str:
    """A scalar as text; booleans as JSON writes them; everything else is empty."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.strip() if isinstance(value, str) else ""


def texts(value: Any) -> dict[str, str]:
    """The scalars of a mapping, nested ones under dotted names, lists joined."""
    found: dict[str, str] = {}
    for key, item in obj(value).items():
        if isinstance(item, dict):
            found.update({f"{key}.{inner}": said for inner, said in texts(item).items()})
        elif isinstance(item, list):
            flat = all(isinstance(one, (str, bool)) for one in item)
            found[str(key)] = ", ".join(map(text, item)) if flat else json.dumps(item, ensure_ascii=False)
        elif said := text(item):
            found[str(key)] = said
    return found


def moment(value: Any) -> str:
    """A time as RFC 3339 in UTC; empty where it is none, or where it does not say in which zone."""
    match = _TIME.fullmatch(text(value))
    if match is None or match[4] is None:
        return ""
    try:
        found = datetime.fromisoformat(f"{match[1]}T{match[2]}{match[4]}").astimezone(UTC)
    except (ValueError, OverflowError):
        return ""
    fraction = f".{match[3]}" if match[3] and int(match[3]) else ""
    return f"{found:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def epoch(milliseconds: Any) -> str:
    """Milliseconds since 1970 as RFC 3339, UTC; empty where they are none."""
    said = text(milliseconds)
    if not (said.isascii() and said.isdigit() and len(said) <= 15):
        return ""
    whole, rest = divmod(int(said), 1000)
    written = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{written}.{rest:03d}Z" if rest else f"{written}Z"
