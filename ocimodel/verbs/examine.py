"""Examine: look into a model's files for what could harm whoever loads them, and say so as a test result.

Guarantees: nothing is loaded. A result about an artifact is of the artifact's very files: each file of the
directory is held against its layer's SHA-256, none may be missing or too many, and none may change meanwhile. The
same files give the same bytes under the same version of this program, which the result names.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Literal, get_args

from ocimodel import __version__
from ocimodel.attest.testresult import Result
from ocimodel.errors import GateError, IntegrityError, StorageError
from ocimodel.model.artifact import ModelArtifact
from ocimodel.model.examination import TESTS, VERSION, Finding, examine
from ocimodel.model.roles import role_of
from ocimodel.model.scan import Identity, ModelFile, scan
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.manifest import Manifest
from ocimodel.oci.paths import check_distinct
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store, target_of
from ocimodel.stores.protocol import Store
from ocimodel.transfer.hashing import hash_files
from ocimodel.transfer.meter import Meter
from ocimodel.verbs.archives import members

MAX_FINDINGS: Final = 1000
"""Findings that a statement lists; there may be more, of which the counts by test tell."""


ScanMode = Literal["report", "refuse"]
SCAN_MODES: Final[tuple[ScanMode, ...]] = get_args(ScanMode)


def scanned(files: Sequence[ModelFile], mode: ScanMode) -> Result:
    """What is found in ``files``. Raises GateError where that is FAILED and ``mode`` is ``refuse``."""
    found = examination(files)
    if mode == "refuse" and found.outcome == "FAILED":
        worst = [item for item in found.extensions[media.FINDINGS] if item["level"] == "failed"]
        more = f", and {len(worst) - 1} more findings" if len(worst) > 1 else ""
        raise GateError(
            f"the scan failed: {worst[0]['path']}: {worst[0]['detail']}{more}",
            hint="Nothing was sent. Leave the file out; --attest-scan report pushes, and lists all that was found.",
            reason="scan-failed",
        )
    return found


def examination(files: Sequence[ModelFile]) -> Result:
    """What is found in ``files``, as a test result.

    Raises:
        IntegrityError: a file changed while it was read. StorageError: the disk refuses.
    """
    found = examine(files)
    failed = {item.test for item in found if item.level == "failed"}
    warned = {item.test for item in found} - failed
    return Result(
        configuration=[
            {
                "name": "ocimodel",
                "uri": media.SCAN,
                "annotations": {"version": __version__, "tests": VERSION, "files": str(len(files))},
            }
        ],
        passed=[test for test in TESTS if test not in failed | warned],
        warned=sorted(warned),
        failed=sorted(failed),
        extensions={media.FINDINGS: _listed(found)} if found else {},
    )


def _listed(found: Iterable[Finding]) -> list[dict[str, str]]:
    ordered = sorted(found, key=lambda item: (item.level != "failed", item))
    return [
        {"test": item.test, "path": item.path, "level": item.level, "detail": item.detail}
        for item in ordered[:MAX_FINDINGS]
    ]


def examine_directory(
    reference: Reference, directory: Path, *, access: Access, meter: Meter | None = None
) -> tuple[Reference, Result]:
    """Examine ``directory``, which has to hold exactly the files of ``reference``. That, pinned, and the result.

    Raises:
        IntegrityError: a file is missing, too many, or not the artifact's.
        NotFoundError, UnavailableError, AuthenticationError: from the store.
    """
    with open_store(reference, access) as store:
        subject, raw = store.get_manifest(target_of(reference, store))
        expected = _expected(store, ModelArtifact.of(Manifest.from_bytes(raw, subject.media_type)))
    files = _files(directory, expected)
    digests = hash_files(directory, {file.path: file.size for file in files}, meter or Meter(), title="hashing")
    for file in files:
        if digests[file.path] != expected[file.path].digest:
            raise _other(directory, f"{file.path} has {digests[file.path]}")
    return reference.at(subject.digest), examination(files)


def _expected(store: Store, artifact: ModelArtifact) -> dict[str, Descriptor]:
    pairs: list[tuple[str, Descriptor]] = []
    for entry in artifact.files:
        pairs += [(entry.path, entry.descriptor)] if entry.is_raw else members(store, entry.descriptor).items()
    check_distinct(name for name, _ in pairs)
    return dict(pairs)


def _files(directory: Path, expected: dict[str, Descriptor]) -> list[ModelFile]:
    """The files to look into: all that the artifact has, and none that it has not."""
    present = {file.path: file for file in scan(directory)}
    if extra := sorted(present.keys() - expected.keys()):
        raise _other(directory, f"{extra[0]} is not the model's")
    # Another packer may have packed what ours leaves out.
    return [present.get(name) or _file(directory, name) for name in sorted(expected, key=str.encode)]


def _file(directory: Path, name: str) -> ModelFile:
    try:
        status = os.lstat(directory / name)
    except FileNotFoundError:
        raise _other(directory, f"{name} is missing") from None
    except OSError as error:
        raise StorageError(f"cannot read {name}: {error.strerror}") from None
    role, identity = role_of(name, status.st_size), Identity.of(status)
    return ModelFile(path=name, size=status.st_size, role=role, identity=identity, location=directory / name)


def _other(directory: Path, what: str) -> IntegrityError:
    return IntegrityError(
        f"{directory} does not hold the files of the artifact: {what}",
        hint="Pull the artifact into a directory of its own and scan that: a statement is about these bytes alone.",
        reason="changed-file",
    )
