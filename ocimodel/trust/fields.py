"""Kinds of fields that a policy file has: times, durations, digests, names, and files that it names.

Guarantees: what does not fit is a `FormatError` with the path of the field. Absent fields give None or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from ocimodel.errors import FormatError
from ocimodel.jsonio import Node
from ocimodel.oci.digest import Digest
from ocimodel.trust.claims import parse_duration, parse_time

Reader = Callable[[str], bytes]
"""Gives the bytes of a file that the policy names, by a path relative to the policy. Raises `OcimodelError`."""

MAX_NAMES = 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,255}", re.ASCII)
_Word = TypeVar("_Word", bound=str)


def time(node: Node) -> datetime:
    """RFC 3339, UTC."""
    try:
        return parse_time(node.string(limit=64))
    except FormatError as error:
        raise FormatError(error.what, path=node.path) from None


def optional_time(node: Node | None) -> datetime | None:
    """As `time`, where it may be absent."""
    return None if node is None else time(node)


def duration(node: Node) -> timedelta:
    """``90d``."""
    try:
        return parse_duration(node.string(limit=64))
    except FormatError as error:
        raise FormatError(f"{error.what}; write 60s, 12h or 90d", path=node.path) from None


def optional_duration(node: Node | None) -> timedelta | None:
    """As `duration`, where it may be absent."""
    return None if node is None else duration(node)


def digest(node: Node) -> str:
    """``sha256:…``, as it stands in references."""
    try:
        return str(Digest.parse(node.string(limit=256)))
    except FormatError as error:
        raise FormatError(error.what, path=node.path) from None


def word(node: Node, known: Sequence[_Word]) -> _Word:
    """One of the words of a closed list."""
    text = node.string(limit=256)
    found = next((item for item in known if item == text), None)
    if found is None:
        node.fail(f"must be one of {', '.join(known)}")
    return found


def words(node: Node | None, known: Sequence[_Word]) -> tuple[_Word, ...]:
    """Several of them, each once."""
    if node is None:
        return ()
    return tuple(_once(node, [word(item, known) for item in node.items(limit=MAX_NAMES)]))


def strings(node: Node | None) -> tuple[str, ...]:
    """Texts, each once."""
    if node is None:
        return ()
    return tuple(_once(node, [item.string(limit=2048) for item in node.items(limit=MAX_NAMES)]))


def text(node: Node | None, *, limit: int = 1024) -> str:
    """One line of text; empty where it is absent."""
    if node is None:
        return ""
    found = node.string(limit=limit)
    if not found.isprintable():
        node.fail("must be one line of text")
    return found


def name(node: Node, key: str) -> str:
    """A name that the policy itself gives to something; ``node`` is what bears it."""
    if _NAME.fullmatch(key) is None:
        node.fail("is no name: letters, digits and . _ : @ / + -, at most 256 of them")
    return key


def names(node: Node | None, known: Collection[str], what: str) -> frozenset[str]:
    """Names that were given elsewhere in the policy."""
    found = strings(node)
    for position, item in enumerate(found):
        if item not in known:
            raise FormatError(f"there is no {what} {item[:256]!r}", path=f"{node.path if node else ''}[{position}]")
    return frozenset(found)


def _once(node: Node, found: list[_Word]) -> list[_Word]:
    if len(set(found)) != len(found):
        node.fail("names something twice")
    return found
