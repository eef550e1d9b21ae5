"""Copy: an artifact with all that refers to it, from any store to any other, under the same digest.

Guarantees: a tag is resolved once. With a policy, the artifact is judged as a pull judges it, before a byte is
written. The order of writing, and what a killed copy leaves, is in `transfer.replica`: the tag moves last. Copying
again sends nothing. Nothing is packed anew, so the digest before is the digest after.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from ocimodel.errors import UsageError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.stores.facts import is_fallback_tag
from ocimodel.stores.opening import Access, mount_source, open_store, target_of
from ocimodel.stores.protocol import Store
from ocimodel.transfer import replica
from ocimodel.transfer.closure import ALL, Wanted, closure_of
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.replica import Plan, Route, Tally
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.verdict import Verdict
from ocimodel.verbs.deciding import decide
from ocimodel.verbs.judging import judged_name

_NO_CONTEXT: Mapping[str, str] = {}


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
        self, store: Store, subject: Descriptor, raw: bytes, reference: Reference, now: datetime
    ) -> Verdict:
        """Raises `Refusal`."""
        asked = judged_name(reference, self.name)
        verdict, _, _ = decide(store, subject, raw, asked, self.policy, now, self.context)
        verdict.raise_if_refused()
        return verdict


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
        self._stores: dict[tuple[str, bool], Store] = {}
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
        store = self._open(source, create=False)
        asked = target_of(source, store)
        root, raw = store.get_manifest(asked)
        if root.digest.algorithm != "sha256":
            raise UsageError("only digests by SHA-256 can be copied", hint="Name the artifact by its tag.")
        tag = target.tag or source.tag or (None if source.digest else asked)
        target = _checked(target, tag, root.digest)
        verdict = self._judge(store, root, raw, source, self._now) if self._judge is not None else None
        closure = closure_of(store, root, raw, self._wanted)
        route = Route(
            source=store,
            target=self._open(target, create=not self._dry_run),
            known=self._known.setdefault(target.name, set()),
            mount=mount_source(source, target),
        )
        plan = replica.plan(route, closure)
        done: Tally | None = None
        moved: tuple[str, ...] = ()
        if not self._dry_run:
            done = replica.send(route, plan, self._meter)
            moved = tuple(replica.tag(route, closure, [tag] if tag is not None else []))
        return Copied(
            source=source.at(root.digest),
            target=target.at(root.digest),
            verdict=verdict,
            plan=plan,
            done=done,
            moved=moved,
            warnings=tuple(closure.warnings),
            within=route.mount is not None,
        )

    def tags(self, repository: Reference) -> list[str]:
        """The tags of a repository."""
        return self._open(repository, create=False).tags()

    def _open(self, reference: Reference, *, create: bool) -> Store:
        key = (reference.name, create)
        if key not in self._stores:
            self._stores[key] = self._stack.enter_context(open_store(reference, self._access, create=create))
        return self._stores[key]


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
