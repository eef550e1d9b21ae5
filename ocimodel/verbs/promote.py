"""Promote: one digest, judged under the rules of another environment, copied there and vouched for there.

Guarantees, in this order: all gates are judged before anything is written; blobs, manifests and referrers go to
the target; then a signed verification summary, bound to the target's repository, environment and channel; then the
artifact is judged once more, as it lies there; then the version tag, which never moves; the channel's tag last.
Interrupted anywhere and run again, it ends the same, and adds no second summary: of one that still holds under the
same policy nothing is written. It neither packs nor re-signs anything: the digest before is the digest after.

Two promoters at once may both write a summary; the numbers are clocks in milliseconds, and the channel is left to
the higher one. Registries know no compare-and-swap, so an instant remains between looking and writing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ocimodel import __version__
from ocimodel.attest.referrer import attach
from ocimodel.attest.statement import attestation_statement
from ocimodel.attest.summary import Summary, predicate, resource_uri
from ocimodel.errors import GateError, IntegrityError, NotFoundError, UsageError
from ocimodel.keys.sealing import sign_statement
from ocimodel.keys.signer import Signer
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import DEFAULT_TAG, Reference
from ocimodel.stores.facts import is_fallback_tag
from ocimodel.stores.opening import Access, mount_source, open_store, target_of
from ocimodel.stores.protocol import Store
from ocimodel.transfer import replica
from ocimodel.transfer.closure import ALL, Closure, closure_of
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.remembered import Remembered
from ocimodel.transfer.replica import Plan, Route
from ocimodel.trust.claims import format_time
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.ring import Ring, Trusted
from ocimodel.trust.summary import Held, Target, held, promoters
from ocimodel.trust.verdict import ROLLED_BACK, VERSION_TAKEN, Finding
from ocimodel.verbs.attaching import store_attachment
from ocimodel.verbs.deciding import decide
from ocimodel.verbs.evidence import gather
from ocimodel.verbs.judging import judged_name
from ocimodel.verbs.promote_asked import Wanted
from ocimodel.verbs.promote_gates import Gates, judge, unless_frozen

VALIDITY = timedelta(days=7)
_TRIES = 3
"""How often a channel is moved that somebody else moves at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be promoted, and how.

    Attributes:
        name: what policies call the target's repository (``--as``); None: as it is written.
        version: the tag of the target that never moves again.
        validity: how long the summary is good for.
        renew: write a summary although one still holds.
        rollback: why an older artifact is put back; None: none is.
    """

    source: Reference
    target: Reference
    policy: TrustPolicy
    signer: Signer
    name: str | None = None
    version: str | None = None
    validity: timedelta = VALIDITY
    renew: bool = False
    rollback: str | None = None
    wanted: Wanted = field(default_factory=Wanted)
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """What was done, or of a dry run: would be.

    Attributes:
        target: with the channel and the digest.
        summary: the one that holds now; None for a dry run that would write one.
        moved: tags that now point to the artifact and did not before.
    """

    target: Reference
    source: Reference
    gates: Gates
    plan: Plan
    dry_run: bool
    summary: Reference | None
    sequence: int
    expires: datetime
    written: bool
    moved: tuple[str, ...]
    keyid: str

    @property
    def digest(self) -> Digest:
        return self.plan.closure.root.digest


def promote(
    wish: Wish,
    *,
    access: Access,
    now: datetime | None = None,
    dry_run: bool = False,
    meter: Meter | None = None,
    report: Callable[[Gates], None] = lambda _gates: None,
) -> Promoted:
    """Promote what ``wish.source`` names to the channel ``wish.target``.

    Args:
        dry_run: judge, and write nothing.
        report: is told what became of the gates before anything is refused.

    Raises:
        Refusal: a gate says no, and nothing was written; or what arrived is not accepted there, and no tag moved.
        UsageError: the target has a digest, or a tag that is none of a user's.
        NotFoundError, UnavailableError, AuthenticationError, StorageError: from a store.
    """
    with ExitStack() as stack:
        return _Promotion(wish, stack, access, now or datetime.now(UTC), dry_run, meter or Meter(), report).run()


class _Promotion:
    def __init__(
        self,
        wish: Wish,
        stack: ExitStack,
        access: Access,
        now: datetime,
        dry_run: bool,
        meter: Meter,
        report: Callable[[Gates], None],
    ) -> None:
        self._wish = wish
        self._now = now
        self._dry_run = dry_run
        self._meter = meter
        self._report = report
        self._stack = stack
        self._access = access
        self._policy = wish.policy.enforced()
        channel = _checked(wish)
        name = judged_name(wish.target, wish.name)
        self._rules = self._policy.rules_for(name)
        self._there = Target(name=name, environment=self._rules.environment if self._rules else "", channel=channel)
        self._stores: dict[tuple[str, bool], Store] = {}

    def run(self) -> Promoted:
        wish, now = self._wish, self._now
        source = Remembered(self._open(wish.source, create=False))
        root, raw = source.get_manifest(target_of(wish.source, source))
        if root.digest.algorithm != "sha256":
            raise UsageError("only digests by SHA-256 can be promoted", hint="Name the artifact by its tag.")
        there = self._open(wish.target, create=False)
        gates = judge(
            source,
            root,
            raw,
            judged_name(wish.source),
            self._there,
            self._policy,
            wish.signer.public,
            now,
            wish.context,
            wish.wanted,
        )
        if wish.version is not None:
            taken = _version_problem(there, wish.version, root.digest)
            gates = gates.with_own("version", taken, f"{wish.version} is free, or this artifact's")
        mine = self._held(there, root)
        current = self._current(there, root.digest)
        gates = self._rollback(gates, mine, current)
        gates = unless_frozen(gates, self._rules, now, back=wish.rollback is not None, same=self._runs(there, root))
        self._report(gates)
        gates.raise_if_failed()
        newest = max([item.sequence for item in (*mine, *current)], default=0)
        valid = self._valid(mine, newest)
        route = Route(
            source=source,
            target=self._open(wish.target, create=not self._dry_run),
            known=set(),
            mount=mount_source(wish.source, wish.target),
        )
        closure = closure_of(source, root, raw, ALL)
        plan = replica.plan(route, closure)
        number = valid.sequence if valid else self._next(newest)
        expires = valid.expires if valid and valid.expires else now + wish.validity
        summary = valid.digest if valid else None
        moved: list[str] = []
        if not self._dry_run:
            replica.send(route, plan, self._meter)
            if summary is None:
                summary = self._attach(route.target, root, gates.inputs, mine, number, expires)
            self._check(route.target, root, raw, summary)
            if wish.version is not None:
                problem = _version_problem(route.target, wish.version, root.digest)
                if problem is not None:
                    raise GateError(problem.detail, reason=problem.reason)
                moved += replica.tag(route, closure, [wish.version])
            moved += self._move(route, closure, number)
        return Promoted(
            target=wish.target.tagged(self._there.channel).at(root.digest),
            source=wish.source.at(root.digest),
            gates=gates,
            plan=plan,
            dry_run=self._dry_run,
            summary=wish.target.tagged(None).at(summary) if summary else None,
            sequence=number,
            expires=expires,
            written=valid is None,
            moved=tuple(moved),
            keyid=wish.signer.public.keyid,
        )

    def _open(self, reference: Reference, *, create: bool) -> Store:
        key = (reference.name, create)
        if key not in self._stores:
            self._stores[key] = self._stack.enter_context(open_store(reference, self._access, create=create))
        return self._stores[key]

    def _vouching(self) -> tuple[Ring, tuple[Trusted, ...]]:
        """Whose summaries count here: the scope's promoters, or where it names none, this key."""
        allowed = promoters(self._rules, self._policy.ring) if self._rules else ()
        if allowed:
            return self._policy.ring, allowed
        ring = Ring.of_keys([self._wish.signer.public])
        return ring, ring.entries

    def _held(self, store: Store, subject: Descriptor) -> list[Held]:
        ring, entries = self._vouching()
        try:
            evidence, _ = gather(store, subject, self._there.name, ring.keyids)
        except NotFoundError:  # a layout that is still to be made
            return []
        return held(evidence, self._there, ring, entries, self._now)

    def _runs(self, store: Store, promoted: Descriptor) -> bool:
        """Whether the channel points at it already."""
        try:
            return store.resolve(self._there.channel).digest == promoted.digest
        except (NotFoundError, IntegrityError):
            return False

    def _current(self, store: Store, promoted: Digest) -> list[Held]:
        """The summaries of what the channel points at, where that is something else."""
        try:
            subject, _ = store.get_manifest(self._there.channel)
        except (NotFoundError, IntegrityError):
            return []
        return self._held(store, subject) if subject.digest != promoted else []

    def _rollback(self, gates: Gates, mine: Sequence[Held], current: Sequence[Held]) -> Gates:
        older = bool(mine and current and mine[0].sequence < current[0].sequence)
        if self._wish.rollback is not None and not mine:
            detail = f"gate rollback: it was never promoted to {self._there.channel} of {self._there.name}"
            return gates.with_own("rollback", Finding(exit_code=19, reason=ROLLED_BACK, detail=detail), "")
        if self._wish.rollback is None and older:
            detail = (
                f"gate rollback: {self._there.channel} has gone on to a newer release since; "
                "to go back, add --rollback --reason TEXT"
            )
            return gates.with_own("rollback", Finding(exit_code=19, reason=ROLLED_BACK, detail=detail), "")
        return gates

    def _valid(self, mine: Sequence[Held], newest: int) -> Held | None:
        """A summary that still holds, was made under this very policy, and is the newest of the channel."""
        if self._wish.renew:
            return None
        for item in mine:
            current = item.good and item.summary.policy == self._policy.digest and item.expires is not None
            if self._wish.rollback is not None and item.summary.reason != self._wish.rollback:
                continue  # whoever goes back on purpose outnumbers all that nodes may have seen
            if self._wish.version is not None and self._wish.version not in item.summary.versions:
                continue  # nodes that ask for the version go by it
            if current and item.sequence >= newest:
                return item
        return None

    def _next(self, newest: int) -> int:
        floor = self._rules.min_sequence if self._rules else 0
        return max(newest + 1, int(self._now.timestamp() * 1000), floor)

    def _attach(
        self,
        store: Store,
        root: Descriptor,
        inputs: Sequence[Digest],
        mine: Sequence[Held],
        number: int,
        expires: datetime,
    ) -> Digest:
        versions = {self._wish.version} if self._wish.version is not None else set()
        repository = resource_uri(judged_name(self._wish.source))
        said = Summary(
            resource=resource_uri(self._there.name),
            time=format_time(self._now),
            policy=self._policy.digest,
            policy_id=self._policy.id,
            inputs=[(f"{repository}@{digest}", digest) for digest in inputs],
            tool=__version__,
            reason=self._wish.rollback or "",
            versions=tuple(versions.union(*(item.summary.versions for item in mine))),
        )
        claims = self._there.claims(number, format_time(expires))
        statement = attestation_statement(root.digest, media.SLSA_SUMMARY, predicate(said), claims)
        signer = self._wish.signer
        bundle = sign_statement(signer, statement)
        attachment = attach(bundle, root, predicate_type=media.SLSA_SUMMARY, keyid=signer.public.keyid)
        store_attachment(store, root, attachment)
        return attachment.descriptor.digest

    def _check(self, store: Store, root: Descriptor, raw: bytes, summary: Digest) -> None:
        """Judge it as it lies in the target, by all rules, the promotion's own included."""
        context = {**self._wish.context, "channel": self._there.channel}
        verdict, _, _ = decide(store, root, raw, self._there.name, self._policy, self._now, context)
        verdict.raise_if_refused()
        if not any(item.digest == summary and item.good for item in self._held(store, root)):
            raise GateError(
                f"{store.name} does not list the summary {summary}",
                reason="promotion",
                hint="No tag was moved. Run it again; see ocimodel tree on the target.",
            )

    def _move(self, route: Route, closure: Closure, number: int) -> list[str]:
        """Move the channel, unless somebody else's promotion with a higher number was faster.

        Registries know no compare-and-swap, so it looks before and after: the lower number gives way.
        """
        root, channel = closure.root, self._there.channel
        moved: list[str] = []
        for _ in range(_TRIES):
            ahead = max((item.sequence for item in self._current(route.target, root.digest)), default=0)
            if ahead > number:
                raise GateError(
                    f"gate rollback: another promotion to {channel} came first, with the number {ahead}",
                    reason="overtaken",
                    hint="The channel was left alone. See ocimodel promote status; to go back, add --rollback.",
                )
            now_moved = replica.tag(route, closure, [channel])
            moved = moved or now_moved
            if not now_moved or self._runs(route.target, root):
                break
        return moved


def _checked(wish: Wish) -> str:
    """The channel. Raises UsageError."""
    if wish.target.digest is not None:
        raise UsageError(
            f"{wish.target} names a digest, but a channel is a tag", hint="Write HOST/REPOSITORY:CHANNEL."
        )
    if wish.validity <= timedelta(0):
        raise UsageError("a summary cannot expire before it is made", hint="Write --validity 7d.")
    if wish.rollback is not None and not wish.rollback.strip():
        raise UsageError("--rollback needs a reason", hint="Add --reason TEXT.")
    channel = wish.target.tag or DEFAULT_TAG
    for tag in filter(None, (channel, wish.version)):
        wish.target.tagged(tag)
        if is_fallback_tag(tag):
            raise UsageError(f"the tag {tag} is where registries list referrers", hint="Choose another tag.")
    if wish.version == channel:
        raise UsageError(f"{channel} cannot be both channel and version", hint="Versions never move; channels do.")
    return channel


def _version_problem(store: Store, version: str, digest: Digest) -> Finding | None:
    try:
        found = store.resolve(version).digest
    except NotFoundError:
        return None
    if found == digest:
        return None
    detail = f"gate version: {version} of {store.name} is {found} and never moves"
    return Finding(exit_code=19, reason=VERSION_TAKEN, detail=detail)
