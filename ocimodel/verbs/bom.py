"""A bill of materials, of an artifact where it is or of a directory; and what else an artifact says of itself.

Guarantees: of an artifact only its manifest, config and provenance are read, no weights. Nothing is verified
here: the bill says what the artifact says, and whoever signs it (`attest`) vouches for it. Of a directory it is
about the set of its files, since there is no manifest yet.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ocimodel import jsonio
from ocimodel.attest.predicates import predicate_type as expand
from ocimodel.errors import ConfigurationError, NotFoundError, UsageError
from ocimodel.model.packing import prepare
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.record.bills import Subject
from ocimodel.record.bom import cyclonedx
from ocimodel.record.spdx import spdx
from ocimodel.stores.opening import Access
from ocimodel.transfer.hashing import hash_files
from ocimodel.transfer.meter import Meter
from ocimodel.verbs.inspect import Inspection, inspect

FORMATS: Mapping[str, Callable[..., dict[str, Any]]] = {"cyclonedx": cyclonedx, "spdx": spdx}
_BILLS = {
    "https://cyclonedx.org/bom": "cyclonedx",
    "https://spdx.dev/Document": "spdx",
    "https://spdx.dev/Document/v3": "spdx",
}


def bom(
    reference: Reference,
    access: Access,
    *,
    format: str = "cyclonedx",  # noqa: A002
    env: Mapping[str, str] = os.environ,
) -> tuple[Reference, dict[str, Any]]:
    """The bill of what ``reference`` names (pinned, first). Raises what `inspect` raises.

    Args:
        format: ``cyclonedx`` (1.6) or ``spdx`` (3.0.1).

    Raises:
        UsageError: another format.
        NotFoundError: it is no model in the CNCF's format.
    """
    write = _writer(format)
    found = inspect(reference, access)
    return found.reference, _bill(found, reference, write, env)


def bom_of_directory(
    directory: Path,
    meter: Meter,
    *,
    format: str = "cyclonedx",  # noqa: A002
    env: Mapping[str, str] = os.environ,
) -> dict[str, Any]:
    """The bill of the model in ``directory``. Raises what a push of it would raise."""
    write = _writer(format)
    packing = prepare(directory)
    files = packing.plan.files
    digests = hash_files(directory, {file.path: file.size for file in files}, meter, title="reading")
    listed = [(file.path, digests[file.path], file.size, str(file.role)) for file in files]
    # The manifest is not made here (small files may share layers): what stands for it is the set of the files.
    digest = Digest.of("\n".join(sorted(f"{digests[file.path]} {file.path}" for file in files)).encode())
    subject = Subject(name=directory.resolve().name, version="", digest=digest, packed=False)
    return write(subject, packing.config, listed, {}, time=_time(env))


def own_predicate(
    reference: Reference, predicate_type: str, access: Access, *, env: Mapping[str, str] = os.environ
) -> tuple[Reference, bytes]:
    """What the artifact says of itself, as the predicate of a statement about it; the reference pinned.

    Args:
        predicate_type: of SLSA provenance v1, CycloneDX or SPDX: a URI, or a short name.

    Raises:
        UsageError: of this type an artifact says nothing.
        NotFoundError: it carries no such provenance, or it is no model.
    """
    kind = expand(predicate_type)
    if kind != media.SLSA_PROVENANCE and kind not in _BILLS:
        known = ", ".join((media.SLSA_PROVENANCE, *_BILLS))
        raise UsageError(
            f"an artifact says nothing of the type {kind[:120]}",
            hint=f"Give --predicate FILE; without it the type is one of {known}.",
        )
    found = inspect(reference, access)
    if kind in _BILLS:
        bill = _bill(found, reference, FORMATS[_BILLS[kind]], env)
        return found.reference, jsonio.canonical(bill)
    if found.provenance is None or found.provenance.predicate_type != kind:
        raise NotFoundError(
            f"{reference} carries no SLSA provenance v1",
            hint="Push it with --metadata or --from, or give --predicate FILE.",
        )
    return found.reference, _member(found.provenance.raw, "predicate")


def _bill(
    found: Inspection, reference: Reference, write: Callable[..., dict[str, Any]], env: Mapping[str, str]
) -> dict[str, Any]:
    if found.config is None:
        raise NotFoundError(
            f"{reference} has no model's config", hint="A bill is made of models in the CNCF's format."
        )
    provenance = found.provenance
    predicate = provenance.predicate if provenance and provenance.predicate_type == media.SLSA_PROVENANCE else {}
    subject = Subject(
        name=reference.name.rstrip("/").rpartition("/")[2],
        version=reference.tag or "",
        digest=found.descriptor.digest,
        repository="" if reference.is_layout else reference.name,
    )
    files = [(entry.path, entry.descriptor.digest, entry.descriptor.size, str(entry.role)) for entry in found.files]
    return write(subject, found.config, files, predicate, time=_time(env))


def _member(raw: bytes, name: str) -> bytes:
    """A member that a JSON object has, in the very text that it has there."""
    text = raw.decode()
    decoder = json.JSONDecoder()

    def blank(position: int) -> int:
        return len(text) - len(text[position:].lstrip())

    here = blank(0)
    while True:
        key, here = decoder.raw_decode(text, blank(here + 1))
        start = blank(blank(here) + 1)
        _, here = decoder.raw_decode(text, start)
        if key == name:
            return text[start:here].encode()
        here = blank(here)


def _writer(name: str) -> Callable[..., dict[str, Any]]:
    if name not in FORMATS:
        raise UsageError(f"--format {name[:40]!r} is not known", hint=f"Write {' or '.join(FORMATS)}.")
    return FORMATS[name]


def _time(env: Mapping[str, str]) -> str:
    """``SOURCE_DATE_EPOCH`` (reproducible-builds.org), if it is set."""
    said = env.get("SOURCE_DATE_EPOCH", "")
    if not said:
        return ""
    if not (said.isascii() and said.isdigit() and len(said) <= 11):
        raise ConfigurationError("SOURCE_DATE_EPOCH is no number of seconds", hint="Unset it, or correct it.")
    return datetime.fromtimestamp(int(said), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
