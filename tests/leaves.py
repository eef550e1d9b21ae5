"""Every single thing that a file states, and where a record has it: for tests that nothing is lost or added."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from ocimodel import yamlio


class Leaf(NamedTuple):
    """``where`` is ``FILE: path.of.members``, or a path of the record; ``key`` the last member that has a name."""

    where: str
    key: str
    value: str


def of_value(value: Any, where: str, key: str = "") -> Iterator[Leaf]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from of_value(item, f"{where}.{name}" if not where.endswith(" ") else f"{where}{name}", str(name))
    elif isinstance(value, list):
        for item in value:
            yield from of_value(item, where, key)
    elif value is not None and str(value).strip():
        said = {True: "true", False: "false"}.get(value) if isinstance(value, bool) else str(value).strip()
        yield Leaf(where, key, str(said))


def of_json(path: Path) -> Iterator[Leaf]:
    found = json.loads(path.read_text(), parse_float=str, parse_int=str)
    yield from of_value(found, f"{path.name}: ")


def of_yaml(path: Path) -> Iterator[Leaf]:
    for leaf in of_value(yamlio.load(path.read_bytes(), path.name, text=True), f"{path.name}: "):
        if leaf.value not in ("null", "~"):
            yield leaf


def of_front_matter(path: Path) -> Iterator[Leaf]:
    front = path.read_text().split("---\n")[1]
    yield from of_value(yamlio.load(front.encode(), path.name, text=True), f"{path.name}: ")


def of_lines(path: Path) -> Iterator[Leaf]:
    for line in path.read_text().splitlines():
        yield Leaf(f"{path.name}: ", "", line.strip())


def forms(leaf: Leaf) -> set[str]:
    """The texts as which a value may stand in a record."""
    value = leaf.value
    found = {value, f"pkg:huggingface/{value}", f"hf://datasets/{value}", f"git+{value}", f"mlflow:run/{value}"}
    if re.fullmatch(r"1\d{12}", value):
        whole, rest = divmod(int(value), 1000)
        time = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        found |= {f"{time}.{rest:03d}Z", f"{time}Z"}
    if re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+", value):
        found.add(value.replace(" ", "T") + "Z")
    if match := re.fullmatch(r"([A-Za-z0-9_.-]+)(?:==?([^=<>!~]+))?([<>!~].*)?", value):
        name = re.sub(r"[-_.]+", "-", match[1]).lower()
        found |= {f"pkg:{kind}/{name}{'@' + match[2] if match[2] else ''}" for kind in ("pypi", "conda")}
    return found


def nowhere(leaves: Iterable[Leaf], record: dict[str, Any], left_out: Iterable[str]) -> list[Leaf]:
    """What of the sources is neither in the record nor on the list of what is left out.

    A value that could be there by chance (short, a number, true) has to stand under its own key as well.
    """
    told = [*of_value(record, ""), *_named(record)]
    texts = [(f".{leaf.key}", leaf.value, set(leaf.value.split(", "))) for leaf in told]
    missing = []
    for leaf in leaves:
        if any(fnmatchcase(leaf.where, pattern) for pattern in left_out):
            continue
        wanted = forms(leaf)
        telling = len(leaf.value) > 5 and not re.fullmatch(r"[\d.]{1,9}", leaf.value)
        names = {leaf.key, f"{leaf.key}s", leaf.key.removesuffix("_version")}
        if leaf.key == "value":  # of what stands above it
            names.add(leaf.where.split(".")[-2].rpartition(": ")[2])
        endings = tuple(f".{name}" for name in names)
        if not any(
            (value in wanted or parts & wanted or (telling and f'"{leaf.value}"' in value))
            and (telling or key.endswith(endings))
            for key, value, parts in texts
        ):
            missing.append(leaf)
    return missing


def _named(value: Any) -> Iterator[Leaf]:
    """``{"name": n, "value": v}`` says v of n."""
    if isinstance(value, dict):
        if "name" in value and "value" in value:
            yield Leaf("", value["name"], value["value"])
        for item in value.values():
            yield from _named(item)
    elif isinstance(value, list):
        for item in value:
            yield from _named(item)


def invented(record: dict[str, Any], leaves: Iterable[Leaf], ours: Iterable[str]) -> list[Leaf]:
    """What of the record no source states."""
    found = list(leaves)
    names = {name for leaf in found for name in (leaf.key, *re.split(r"\.|: ", leaf.where))}
    stated = set().union(*(forms(leaf) for leaf in found)) | names | set(ours)
    everything = "\n".join(stated)

    def known(value: str) -> bool:
        if value in stated or all(part in stated for part in value.split(", ")):
            return True
        try:  # what is nested too deeply for names stands there as JSON
            return value.startswith("[") and all(
                leaf.value in everything for leaf in of_value(json.loads(value), "")
            )
        except ValueError:
            return False

    return [leaf for leaf in of_value(record, "") if not known(leaf.value)]
