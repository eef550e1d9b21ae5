"""Python packages as package URLs (purl-spec, type ``pypi``).

Guarantees: only a version that is pinned is named; a name without one is the package, without a version.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ocimodel.record.record import Material

_LINE = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^]]*\])?\s*(?:===?\s*([A-Za-z0-9.!+_-]+))?")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def purl(name: str, version: str = "") -> str:
    """``pkg:pypi/NAME@VERSION``, the name normalised as PyPI does."""
    normal = re.sub(r"[-_.]+", "-", name).lower()
    return f"pkg:pypi/{normal}" + (f"@{version.replace('+', '%2B')}" if version else "")


def requirements(raw: bytes, recorded_by: str) -> Iterator[Material]:
    """The packages of a ``requirements.txt`` or a lock file in its form; one hash of a line is its digest."""
    text = raw.decode("utf-8-sig", "replace").replace("\\\n", " ")
    for line in text.splitlines():
        line = line.partition(" #")[0].strip()
        if not line or line.startswith(("#", "-")):
            continue
        match = _LINE.match(line)
        if match is None:
            continue
        hashes = _HASH.findall(line)
        digests = {"sha256": hashes[0]} if len(hashes) == 1 else {}
        yield Material.of("package", uri=purl(match[1], match[2] or ""), digests=digests, recorded_by=recorded_by)


def installed() -> Iterator[Material]:
    """What is installed beside ocimodel, in the environment that it runs in."""
    from importlib.metadata import distributions

    found = {purl(name, item.version) for item in distributions() if (name := item.metadata["Name"])}
    for uri in sorted(found):
        yield Material.of("package", uri=uri, recorded_by="python")
