"""A bill of materials, of an artifact where it is or of a directory.

Guarantees: of an artifact only its manifest, config and provenance are read, no weights. Nothing is verified
here: the bill says what the artifact says, and whoever signs it (`attest`) vouches for it. Of a directory it is
about the set of its files, since there is no manifest yet.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ocimodel.errors import ConfigurationError, NotFoundError
from ocimodel.model.packing import prepare
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.record.bom import Subject, cyclonedx
from ocimodel.stores.opening import Access
from ocimodel.transfer.hashing import hash_files
from ocimodel.transfer.meter import Meter
from ocimodel.verbs.inspect import inspect


def bom(
    reference: Reference, access: Access, *, env: Mapping[str, str] = os.environ
) -> tuple[Reference, dict[str, Any]]:
    """The bill of what ``reference`` names (pinned, first). Raises what `inspect` raises."""
    found = inspect(reference, access)
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
    return found.reference, cyclonedx(subject, found.config, files, predicate, time=_time(env))


def bom_of_directory(directory: Path, meter: Meter, *, env: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The bill of the model in ``directory``. Raises what a push of it would raise."""
    packing = prepare(directory)
    files = packing.plan.files
    digests = hash_files(directory, {file.path: file.size for file in files}, meter, title="reading")
    listed = [(file.path, digests[file.path], file.size, str(file.role)) for file in files]
    # The manifest is not made here (small files may share layers): what stands for it is the set of the files.
    digest = Digest.of("\n".join(sorted(f"{digests[file.path]} {file.path}" for file in files)).encode())
    name = directory.resolve().name
    return cyclonedx(
        Subject(name=name, version="", digest=digest, packed=False), packing.config, listed, {}, time=_time(env)
    )


def _time(env: Mapping[str, str]) -> str:
    """``SOURCE_DATE_EPOCH`` (reproducible-builds.org), if it is set."""
    said = env.get("SOURCE_DATE_EPOCH", "")
    if not said:
        return ""
    if not (said.isascii() and said.isdigit() and len(said) <= 11):
        raise ConfigurationError("SOURCE_DATE_EPOCH is no number of seconds", hint="Unset it, or correct it.")
    return datetime.fromtimestamp(int(said), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
