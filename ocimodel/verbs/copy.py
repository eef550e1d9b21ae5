"""Copy: an artifact with all that refers to it, from any store to any other, under the same digest.

Guarantees: a tag is resolved once. With a policy, the artifact is judged as a pull judges it, before a byte is
written. The order of writing, and what a killed copy leaves, is in `transfer.replica`: the tag moves last. Copying
again sends nothing. Nothing is packed anew, so the digest before is the digest after.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ocimodel.errors import NotFoundError, OcimodelError, Refusal, UsageError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.stores.facts import is_fallback_tag
from ocimodel.stores.opening import Access, mount_source, open_store, target_of
from ocimodel.stores.protocol import Store
from ocimodel.transfer import replica
from ocimodel.transfer.closure import ALL, Wanted, closure_of
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.remembered import Remembered
from ocimodel.transfer.replica import Plan, Route, Tally

if TYPE_CHECKING:
    from ocimodel.trust.policy import TrustPolicy
    from ocimodel.trust.verdict import Verdict

_FINISHERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """One artifact that was copied, or of a dry run: would be.

    ``target`` has the tag, if it has one, and the digest. ``verdict`` is None where nobody was asked. ``within``:
    both are in one registry, which mounts what is missing.
    """

    source: Reference
    target: Reference
    verdict: Verdict | None
    plan: Plan
    done: Tally | None
    moved: tuple[str, ...]
    warnings: tuple[str, ...]
    within: bool = False

    @property
    def digest(self) -> Digest:
        return self.plan.closure.root.digest

    @property
    def unchanged(self) -> bool:
        """Nothing was written, since all was there."""
        return self.done is not None and not self.moved and self.done == Tally()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Who must have signed what is copied.

    ``name``: the name to judge under, instead of the reference's own (``--as``).
    """

    policy: TrustPolicy
    name: str | None = None
    context: Mapping[str, str] = field(default_factory=dict)

    def __call__(
        self, store: Store, subject: Descriptor, raw: bytes, reference: Reference, target: str, now: datetime
    ) -> Verdict:
        """Raises `Refusal`."""
        # A copy that nobody judges need not wait for what judges.
        from ocimodel.verbs.deciding import decide
        from ocimodel.verbs.judging import asked_tag, judged_name

        asked = judged_name(reference, self.name)
        verdict, _, _ = decide(
            store, subject, raw, asked, self.policy, now, self.context, tag=asked_tag(reference, target, self.name)
        )
        verdict.raise_if_refused()
        return verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """A copy whose blobs are there."""

    source: Reference
    target: Reference
    verdict: Verdict | None
    route: Route
    plan: Plan
    tally: Tally


class Copier:
    """Copies one artifact after the other; stores stay open, and what the target has is asked once.

    To be used as a context manager.

    Args:
        judge: who must have signed; None copies unverified.
        wanted: which referrers come along.
        dry_run: say what would be done, and write nothing.
    """

    def __init__(
        self,
        access: Access,
        *,
        judge: Judge | None = None,
        wanted: Wanted = ALL,
        dry_run: bool = False,
        meter: Meter | None = None,
        now: datetime | None = None,
    ) -> None:
        self._access = access
        self._judge = judge
        self._wanted = wanted
        self._dry_run = dry_run
        self._meter = meter or Meter()
        self._now = now or datetime.now(UTC)
        self._stack = ExitStack()
        self._stores: dict[tuple[str, bool, bool], Store] = {}
        self._known: dict[str, set[Digest]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def copy(self, source: Reference, target: Reference) -> Copied:
        """Copy what ``source`` names to ``target``: under its tag, else under the source's, if it has one.

        Raises:
            UsageError: the target has another digest, or a tag where registries list referrers.
            Refusal: the policy says no, or a byte is not what it should be; the tag was not moved.
            NotFoundError: the artifact, or a part of it, is not there.
            UnavailableError, AuthenticationError, StorageError: from a store.
        """
        return self._finish(self._begin(source, target))

    def copy_all(
        self, pairs: Iterable[tuple[Reference, Reference]]
    ) -> Iterator[tuple[Reference, Copied | Refusal | NotFoundError]]:
        """Copy many, in order: what was named, and what came of it. One that is refused does not keep the others.

        Blobs go over one artifact after the other; the manifests of some are written meanwhile, since writing lists
        of referrers is mostly waiting.

        Raises: as `copy`, but for what is yielded; what was copied before is yielded first.
        """
        pending: deque[tuple[Reference, str, Future[Copied]]] = deque()
        failure: OcimodelError | None = None
        with ThreadPoolExecutor(max_workers=_FINISHERS) as pool:
            for source, target in pairs:
                try:
                    begun = self._begin(source, target)
                except (Refusal, NotFoundError) as error:
                    future: Future[Copied] = Future()
                    future.set_exception(error)
                    pending.append((source, "", future))
                except OcimodelError as error:
                    failure = error
                    break
                else:
                    where = str(replace(begun.target, digest=None))
                    while any(other == where for _, other, _ in pending):  # the later one is to win
                        yield _outcome(*pending.popleft())
                    pending.append((source, where, pool.submit(self._finish, begun)))
                while len(pending) > 2 * _FINISHERS or (pending and pending[0][2].done()):
                    yield _outcome(*pending.popleft())
            while pending:
                yield _outcome(*pending.popleft())
        if failure is not None:
            raise failure

    def _begin(self, source: Reference, target: Reference) -> _Begun:
        """Everything but the manifests."""
        plain = self._open(source, create=False, mirrors=True)
        store = Remembered(plain) if self._judge is not None else plain
        asked = target_of(source, store)
        root, raw = store.get_manifest(asked)
        if root.digest.algorithm != "sha256":
            raise UsageError("only digests by SHA-256 can be copied", hint="Name the artifact by its tag.")
        tag = target.tag or source.tag or (None if source.digest else asked)
        target = _checked(target, tag, root.digest)
        verdict = self._judge(store, root, raw, source, asked, self._now) if self._judge is not None else None
        closure = closure_of(store, root, raw, self._wanted)
        route = Route(
            source=store,
            target=self._open(target, create=not self._dry_run),
            known=self._known.setdefault(target.name, set()),
            mount=mount_source(source, target),
        )
        plan = replica.plan(route, closure)
        tally = Tally()
        if not self._dry_run:
            replica.send_blobs(route, plan, self._meter, tally)
        # What was remembered has served its purpose, and several wait for their manifests at a time.
        route = replace(route, source=plain)
        return _Begun(source=source, target=target, verdict=verdict, route=route, plan=plan, tally=tally)

    def _finish(self, begun: _Begun) -> Copied:
        """The manifests, and the tag last."""
        route, closure, target = begun.route, begun.plan.closure, begun.target
        moved: list[str] = []
        if not self._dry_run:
            replica.put_manifests(route, closure, begun.tally)
            moved = replica.tag(route, closure, [target.tag] if target.tag is not None else [])
        return Copied(
            source=begun.source.at(closure.root.digest),
            target=target.at(closure.root.digest),
            verdict=begun.verdict,
            plan=begun.plan,
            done=None if self._dry_run else begun.tally,
            moved=tuple(moved),
            warnings=tuple(closure.warnings),
            within=route.mount is not None,
        )

    def tags(self, repository: Reference) -> list[str]:
        """The tags of a repository."""
        return self._open(repository, create=False).tags()

    def _open(self, reference: Reference, *, create: bool, mirrors: bool = False) -> Store:
        key = (reference.name, create, mirrors)
        if key not in self._stores:
            store = open_store(reference, self._access, create=create, mirrors=mirrors)
            self._stores[key] = self._stack.enter_context(store)
        return self._stores[key]


def _outcome(
    source: Reference, _where: str, future: Future[Copied]
) -> tuple[Reference, Copied | Refusal | NotFoundError]:
    try:
        return source, future.result()
    except (Refusal, NotFoundError) as error:
        return source, error


def _checked(target: Reference, tag: str | None, digest: Digest) -> Reference:
    if target.digest is not None and target.digest != digest:
        raise UsageError(
            f"{target} names another digest than the source, which is {digest}",
            hint="Leave the digest out: a copy has that of its source.",
        )
    if tag is not None and is_fallback_tag(tag):
        raise UsageError(
            f"the tag {tag} is where registries list what refers to a manifest", hint="Choose another tag."
        )
    return target.tagged(tag)


def beneath(prefix: Reference, source: Reference) -> Reference:
    """Where ``source`` goes below ``prefix``: HOST/PREFIX/REPOSITORY:TAG; in a layout, the tag alone.

    Raises:
        UsageError: the prefix has a tag or a digest, or the name would be too long.
    """
    if prefix.tag or prefix.digest:
        raise UsageError(f"{prefix} is to be a prefix, without tag and digest")
    if prefix.is_layout or source.is_layout:
        return prefix.tagged(source.tag)
    return Reference.parse(f"{prefix.name}/{source.repository}").tagged(source.tag)
