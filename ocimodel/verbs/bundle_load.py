"""Load a bundle into a registry or a layout, inside of a closed network.

Guarantees: before anything is written, every byte of the archive that is no content was checked, the documents
against each other, the signatures where a policy is given, and that what was left out is at the target. Before any
tag moves, every content was checked as well, also those that the target had already. The order of writing is
`transfer.replica`'s; loading again writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ocimodel.errors import FormatError, NotFoundError, UsageError
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store
from ocimodel.stores.protocol import Store
from ocimodel.transfer import replica
from ocimodel.transfer.archive import Archive, open_archive
from ocimodel.transfer.bundle import Artifact
from ocimodel.transfer.closure import Closure, closure_of
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.replica import Plan, Route, Tally
from ocimodel.transfer.staging import write_atomically
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.verdict import Verdict
from ocimodel.verbs import trust_material
from ocimodel.verbs.copy import Copied, Judge


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """``copies`` in the order of the bundle; ``trust`` names and digests of what came along."""

    copies: tuple[Copied, ...]
    trust: dict[str, Digest]
    policy: TrustPolicy | None


def load(
    file: Path,
    to: Reference,
    *,
    access: Access,
    judge: Judge | None = None,
    trust: Collection[Digest] = (),
    trust_out: Path | None = None,
    dry_run: bool = False,
    meter: Meter | None = None,
    now: datetime | None = None,
) -> Loaded:
    """Check ``file``, and copy what is in it.

    Args:
        to: ``HOST/PREFIX`` or a layout; of a bundle with one artifact also its name, with a tag.
        judge: who must have signed; its ``name`` is, of several artifacts, the prefix of their names.
        trust: use the trust material of these digests from the bundle itself, in place of ``judge``'s policy.
        trust_out: a directory into which the trust material is written.
        dry_run: check, and write nothing.

    Raises:
        Refusal: the bundle is not as it was saved, or the policy says no; no tag was moved.
        NotFoundError: a blob that was left out is not at the target.
        UsageError: the target cannot be meant.
        UnavailableError, AuthenticationError, StorageError: from the target.
    """
    now = now or datetime.now(UTC)
    meter = meter or Meter()
    with ExitStack() as stack:
        archive = stack.enter_context(open_archive(file))
        artifacts = archive.document.artifacts
        closures = [_closure(archive, artifact) for artifact in artifacts]
        archive.check_whole(closures)
        policy = trust_material.chosen(_files(archive), trust) if trust else None
        targets = [_target(to, artifact, alone=len(artifacts) == 1) for artifact in artifacts]
        verdicts: list[Verdict | None] = [
            _judged(archive, closure, artifact, target, judge, policy, now, alone=len(artifacts) == 1)
            for closure, artifact, target in zip(closures, artifacts, targets, strict=True)
        ]
        stores: dict[str, Route] = {}
        for target in targets:
            if target.name not in stores:
                store = stack.enter_context(open_store(target, access, create=not dry_run))
                stores[target.name] = Route(source=archive, target=store, known=set())
        routes = [stores[target.name] for target in targets]
        plans = [_plan(archive, route, closure) for route, closure in zip(routes, closures, strict=True)]
        done: list[Tally] = []
        nothing: list[None] = [None] * len(plans)
        moved: list[tuple[str, ...]] = [()] * len(plans)
        if dry_run:
            archive.check_rest((), meter)
        else:
            done = [Tally() for _ in plans]
            for route, plan, tally in zip(routes, plans, done, strict=True):
                replica.send_blobs(route, plan, meter, tally)
            archive.check_rest({blob.digest for plan in plans for blob in plan.missing}, meter)
            for route, closure, tally in zip(routes, closures, done, strict=True):
                replica.put_manifests(route, closure, tally)
            for number, (route, closure) in enumerate(zip(routes, closures, strict=True)):
                tag = targets[number].tag
                moved[number] = tuple(replica.tag(route, closure, [tag] if tag else []))
        if trust_out is not None and not dry_run:
            for name, data in _files(archive).items():
                write_atomically(trust_out / name, data, mode=0o644)
        found = dict(archive.trust)
    return Loaded(
        copies=tuple(
            Copied(
                source=_saved_as(artifact),
                target=target.at(artifact.root.digest),
                verdict=verdict,
                plan=plan,
                done=tally,
                moved=tags,
                warnings=tuple(plan.closure.warnings),
            )
            for artifact, target, verdict, plan, tally, tags in zip(
                artifacts, targets, verdicts, plans, done or nothing, moved, strict=True
            )
        ),
        trust=found,
        policy=policy,
    )


def listing(file: Path) -> tuple[dict[Digest, int], Sequence[Reference]]:
    """What whoever has loaded ``file`` has, by size, with what was left out of it; and its artifacts.

    Raises:
        IntegrityError: the bundle is not as it was saved. Its contents are not read.
    """
    with open_archive(file) as archive:
        document = archive.document
        return {**archive.blobs, **document.absent}, [_saved_as(artifact) for artifact in document.artifacts]


def _saved_as(artifact: Artifact) -> Reference:
    return Reference.parse(artifact.reference).tagged(artifact.tag).at(artifact.root.digest)


def _closure(archive: Archive, artifact: Artifact) -> Closure:
    try:
        found, raw = archive.get_manifest(artifact.root.digest)
        if found != artifact.root:
            raise FormatError(f"{archive.name}: {found.digest} is listed as something else")
        return closure_of(archive, found, raw)
    except NotFoundError as error:
        raise FormatError(f"{error.message}, and lists it") from None


def _files(archive: Archive) -> dict[str, bytes]:
    return {name: archive.trust_file(name) for name in archive.trust}


def _target(to: Reference, artifact: Artifact, *, alone: bool) -> Reference:
    if to.digest is not None or (to.tag is not None and not alone):
        raise UsageError(
            f"--to {to} is one name, for several artifacts" if to.digest is None else f"--to {to} has a digest",
            hint="Give HOST/PREFIX or oci:PATH.",
        )
    if to.tag is not None:
        return to
    if to.is_layout:
        return to.tagged(artifact.name)
    repository = f"{to.name}/{artifact.repository}" if artifact.repository else to.name
    return Reference.parse(repository).tagged(artifact.tag)


def _judged(
    archive: Store,
    closure: Closure,
    artifact: Artifact,
    target: Reference,
    judge: Judge | None,
    policy: TrustPolicy | None,
    now: datetime,
    *,
    alone: bool,
) -> Verdict | None:
    """Judge under the name that the artifact gets: what the bundle says of where it came from is not signed."""
    if judge is not None and policy is not None:
        judge = Judge(policy=policy, name=judge.name, context=judge.context)
    elif policy is not None:
        judge = Judge(policy=policy)
    if judge is None:
        return None
    if judge.name is not None and not alone:
        name = f"{judge.name}/{artifact.repository}" if artifact.repository else judge.name
        judge = Judge(policy=judge.policy, name=name, context=judge.context)
    tag = target.tag or artifact.tag or ""
    return judge(archive, closure.root, closure.raw(archive, closure.root), target, tag, now)


def _plan(archive: Archive, route: Route, closure: Closure) -> Plan:
    plan = replica.plan(route, closure)
    lacking = [blob for blob in plan.missing if not archive.has_blob(blob)]
    if lacking:
        raise NotFoundError(
            f"{len(lacking)} blobs were left out of the bundle, and {route.target.name} does not have them; "
            f"the first is {lacking[0].digest}",
            hint="Load the earlier bundle there first, or have this one saved without --have.",
        )
    return plan
