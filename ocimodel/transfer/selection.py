"""Which files of a model are wanted: ``--include`` and ``--exclude``.

A pattern is a shell glob over the whole relative path (``*`` also crosses slashes); one without a slash is tried
on the last part as well, so that ``*.safetensors`` means what people expect. Excluding wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Selection:
    """Patterns of wanted and unwanted files; none means everything."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()

    @property
    def everything(self) -> bool:
        return not self.include and not self.exclude

    def wants(self, path: str) -> bool:
        return (not self.include or _any(path, self.include)) and not _any(path, self.exclude)


def _any(path: str, patterns: Sequence[str]) -> bool:
    name = path.rpartition("/")[2]
    return any(
        fnmatchcase(path, pattern) or ("/" not in pattern and fnmatchcase(name, pattern)) for pattern in patterns
    )
