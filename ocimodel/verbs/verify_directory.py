"""Verify a directory that was pulled earlier: by its receipt, or by what a reference names.

Guarantees: signatures come first; no file is read before the policy has passed the artifact. What a receipt says
is evidence like any other and judged anew. A verification that returns has passed; everything else raises, and a
refusal carries all its reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ocimodel.errors import FormatError, GateError, NotFoundError, UsageError
from ocimodel.model.artifact import ModelArtifact
from ocimodel.model.chunkindex import ChunkIndex
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.paths import check_distinct
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store, target_of
from ocimodel.stores.protocol import Store
from ocimodel.transfer import receipt as receipts
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.places import state_dir
from ocimodel.transfer.selection import Selection
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.verdict import Verdict
from ocimodel.verbs.archives import members
from ocimodel.verbs.deciding import decide
from ocimodel.verbs.directory import Expected, check_directory, expected_files, left_out
from ocimodel.verbs.evidence import again
from ocimodel.verbs.indexing import fetch_index
from ocimodel.verbs.judging import (
    Check,
    Verification,
    asked_tag,
    judged_name,
    path_name,
    signed_manifest,
    verdict_checks,
)
from ocimodel.verbs.revocation import inform
from ocimodel.verbs.screening import Screen

_NO_CONTEXT: Mapping[str, str] = {}


def verify_directory(
    directory: Path,
    *,
    policy: TrustPolicy,
    access: Access,
    reference: Reference | None = None,
    name: str | None = None,
    context: Mapping[str, str] = _NO_CONTEXT,
    full: bool = False,
    offline: bool = False,
    now: datetime | None = None,
    meter: Meter | None = None,
) -> Verification:
    """Judge a directory: by its receipt, or by what ``reference`` names.

    Args:
        name: the name to judge under (``--as``); else that of ``reference``, else the directory's own path. What
            the receipt says of where it came from is not signed, so it decides nothing.
        full: hold every file against the SHA-256 of its layer, also where the chunk index can speak for it.
        offline: ask nobody whether certificates were revoked, whatever the policy says.

    Raises:
        NotFoundError: there is no receipt, and no reference was given.
        IntegrityError: files are missing, changed, links, or not the artifact's; ``reasons`` names each.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a directory")
    now = now or datetime.now(UTC)
    meter = meter or Meter()
    if reference is None:
        receipt = receipts.read(state_dir(), directory)
        found = Reference.parse(receipt.reference)
        subject = Descriptor(media_type=receipt.media_type, digest=receipt.digest, size=len(receipt.manifest))
        evidence = again(subject, name or path_name(directory), receipt.referrers, receipt.manifest)
        evidence = replace(evidence, manifest=receipt.manifest, provenance=receipt.provenance)
        informed = inform(evidence, policy, now, offline=offline)
        verdict = policy.evaluate(informed.evidence, now, context)
        informed.check(verdict)
        _raise_if_refused(verdict, name)
        artifact = ModelArtifact.of(signed_manifest(receipt.manifest, receipt.media_type, verdict))
        index = ChunkIndex.named_by(artifact.manifest, receipt.index)
        expected = expected_files(artifact, Selection(receipt.include, receipt.exclude), receipt.members, index)
    else:
        found = reference
        with open_store(reference, access, mirrors=True) as store:
            target = target_of(reference, store)
            subject, raw = store.get_manifest(target)
            asked = judged_name(reference, name)
            verdict, _, _ = decide(
                store,
                subject,
                raw,
                asked,
                policy,
                now,
                context,
                tag=asked_tag(reference, target, name),
                offline=offline,
            )
            verdict.raise_if_refused()
            artifact = ModelArtifact.of(signed_manifest(raw, subject.media_type, verdict))
            expected = _expected_from(store, artifact, directory)
    on_disk = check_directory(directory, expected, meter, full=full)
    screen = Screen(policy, verdict)
    screen.check({name: directory / name for name in expected.names})
    verdict = screen.verdict
    checks = [
        Check("manifest", "pass", f"{subject.digest}, {subject.size} bytes"),
        *verdict_checks(verdict),
        *on_disk,
    ]
    return Verification(
        reference=str(found.at(subject.digest)),
        digest=subject.digest,
        verdict=verdict,
        checks=tuple(checks),
    )


def _raise_if_refused(verdict: Verdict, name: str | None) -> None:
    try:
        verdict.raise_if_refused()
    except GateError as error:
        if name is None:
            error.hint = f"{error.hint} A directory is judged under its path; --as HOST/REPOSITORY says otherwise."
        raise


def _expected_from(store: Store, artifact: ModelArtifact, directory: Path) -> Expected:
    """What to expect without a receipt, or with one of this very artifact, which knows what was selected."""
    selection = Selection()
    with suppress(NotFoundError, FormatError):
        receipt = receipts.read(state_dir(), directory)
        if receipt.digest == artifact.digest:
            selection = Selection(receipt.include, receipt.exclude)
    index = ChunkIndex.named_by(artifact.manifest, fetch_index(store, artifact.manifest))
    files: list[tuple[str, Descriptor]] = []
    for entry in artifact.files:
        files += [(entry.path, entry.descriptor)] if entry.is_raw else members(store, entry.descriptor).items()
    check_distinct(name for name, _ in files)
    return Expected(
        files={name: what for name, what in files if selection.wants(name)},
        archives={},
        index=index,
        left_out=left_out((name for name, _ in files), selection),
    )
