"""Packages as package URLs (purl-spec, types ``pypi`` and ``conda``).

Guarantees: only a version that is pinned is in a package URL; what a line says besides (a range, extras, a marker,
where to fetch it, several hashes) stands among the annotations. One hash of a line is its digest. A line that names
no package is passed over: an option of pip, another file, a path of that machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from packaging.requirements import InvalidRequirement, Requirement

from ocimodel.record.documents import items, text
from ocimodel.record.record import Material

_HASH = re.compile(r"--hash=(sha256|sha384|sha512):([0-9a-f]{64,128})")
_OPTION = re.compile(r"\s+--?[a-z][a-z-]*.*")
_DIRECT = re.compile(r"(?:git|hg|svn|bzr)\+[a-z+]+://\S+|https?://\S+")
_EGG = re.compile(r"#(?:.*&)?egg=([A-Za-z0-9][A-Za-z0-9._-]*)")
_CONDA = re.compile(r"(?:([\w./-]+)::)?([A-Za-z0-9_][A-Za-z0-9._-]*)\s*(?:={1,2}\s*([\w.!+-]+)(?:=([\w.]+))?|(.*))")


def purl(name: str, version: str = "") -> str:
    """``pkg:pypi/NAME@VERSION``, the name normalised as PyPI does."""
    normal = re.sub(r"[-_.]+", "-", name).lower()
    return f"pkg:pypi/{normal}" + (f"@{quote(version, safe='.-_~!')}" if version else "")


def requirements(raw: bytes, recorded_by: str) -> Iterator[Material]:
    """The packages of a ``requirements.txt`` or a lock file in its form."""
    found = raw.decode("utf-8-sig", "replace").replace("\\\n", " ")
    for line in found.splitlines():
        line = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip()
        if line and not line.startswith("-") and (material := requirement(line, recorded_by)) is not None:
            yield material


def requirement(line: str, recorded_by: str, **annotations: str) -> Material | None:
    """One line, without its comment; None where it names no package."""
    hashes = _HASH.findall(line)
    line = _OPTION.sub("", line)
    notes = {**annotations, "hashes": " ".join(map(":".join, hashes)) if len(hashes) > 1 else ""}
    digests = dict(hashes) if len(hashes) == 1 else {}
    if _DIRECT.fullmatch(line):
        egg = _EGG.search(line)
        uri = purl(egg[1]) if egg else line
        more = {**notes, "fetchedFrom": line if egg else ""}
        return Material.of("package", uri=uri, digests=digests, recorded_by=recorded_by, annotations=more)
    try:
        said = Requirement(line)
    except InvalidRequirement:
        return None
    pins = [one.version for one in said.specifier if one.operator in ("==", "===") and "*" not in one.version]
    version = pins[0] if len(said.specifier) == len(pins) == 1 else ""
    notes |= {
        "requires": "" if version else str(said.specifier),
        "extras": ", ".join(sorted(said.extras)),
        "marker": str(said.marker or ""),
        "fetchedFrom": said.url or "",
    }
    return Material.of(
        "package", uri=purl(said.name, version), digests=digests, recorded_by=recorded_by, annotations=notes
    )


def conda(document: dict[str, Any], recorded_by: str) -> Iterator[Material]:
    """The packages of a ``conda.yaml`` (an ``environment.yml``), those of pip among them."""
    channels = ", ".join(map(text, items(document.get("channels"))))
    for entry in items(document.get("dependencies")):
        for line in items(entry.get("pip")) if isinstance(entry, dict) else ():
            if (material := requirement(text(line), recorded_by)) is not None:
                yield material
        match = _CONDA.fullmatch(text(entry))
        if match is None:
            continue
        channel, name, version, build, rest = match.groups()
        yield Material.of(
            "package",
            uri=f"pkg:conda/{name.lower()}" + (f"@{quote(version, safe='.-_~!')}" if version else ""),
            recorded_by=recorded_by,
            channel=channel or channels,
            build=build or "",
            requires=(rest or "").strip(),
        )


def installed() -> Iterator[Material]:
    """What is installed beside ocimodel, in the environment that it runs in."""
    from importlib.metadata import distributions

    found = {purl(name, item.version) for item in distributions() if (name := item.metadata["Name"])}
    for uri in sorted(found):
        yield Material.of("package", uri=uri, recorded_by="python")
