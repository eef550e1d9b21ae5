"""What runs where: the channel of an environment, and what its promoter last said about it.

Guarantees: nothing is shown as verified that a node of that environment, which knows nothing else, would refuse.
By whom and since when is said by summaries of that environment's promoters alone. It looks at every tag of the
repository (at most `MAX_TAGS`), so that a channel which was moved past its promoter, or put back, is seen: the
newest summary is then about something else (``drift``). What no tag names any more, and what a registry hides, it
cannot see. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from ocimodel.errors import IntegrityError, NotFoundError, OcimodelError
from ocimodel.keys.public import PublicKey
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.stores.facts import is_fallback_tag
from ocimodel.stores.opening import Access, open_store
from ocimodel.stores.protocol import Store
from ocimodel.transfer.closure import LEGACY_TAGS
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.ring import KeyEntry, Ring, Trusted
from ocimodel.trust.summary import Held, Target, held, promoters
from ocimodel.verbs.deciding import decide
from ocimodel.verbs.evidence import gather
from ocimodel.verbs.judging import judged_name

State = Literal["verified", "refused", "drift", "unpromoted", "not-judged", "empty", "unreachable"]
MAX_TAGS = 500
_READERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One environment, as somebody asks about it.

    Attributes:
        channel: the repository and the tag.
        policy: what judges there; None: nothing does.
        promoter: whose summaries count; None: those whom the policy names.
    """

    model: str
    environment: str
    channel: Reference
    policy: TrustPolicy | None = None
    promoter: PublicKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What was found there. ``exit_code`` and ``detail`` say why it is not verified, or could not be seen."""

    place: Place
    state: State
    digest: Digest | None = None
    versions: tuple[str, ...] = ()
    held: Held | None = None
    by: str = ""
    since: str = ""
    newest: tuple[Digest, Held] | None = None
    exit_code: int = 0
    detail: str = ""
    complete: bool = True
    error: OcimodelError | None = None

    @property
    def drift(self) -> bool:
        return self.newest is not None and self.newest[0] != self.digest

    @property
    def same_policy(self) -> bool | None:
        """Whether its summary was made under the policy as it is now; None: there is none."""
        if self.held is None or self.place.policy is None:
            return None
        return self.held.summary.policy == self.place.policy.digest


def standing(place: Place, *, access: Access, now: datetime) -> Standing:
    """What runs at ``place``. A store that does not answer is a `Standing` with an ``error``."""
    try:
        with open_store(place.channel, access) as store:
            return _Look(place, store, now).run()
    except NotFoundError:
        return Standing(place=place, state="empty")
    except OcimodelError as error:
        return Standing(
            place=place, state="unreachable", exit_code=error.exit_code, detail=error.message, error=error
        )


class _Look:
    def __init__(self, place: Place, store: Store, now: datetime) -> None:
        self._place = place
        self._store = store
        self._now = now
        self._name = judged_name(place.channel)
        self._channel = place.channel.tag or ""
        rules = place.policy.rules_for(self._name) if place.policy is not None else None
        self._target = Target(
            name=self._name, environment=rules.environment if rules else place.environment, channel=self._channel
        )
        self._ring, self._allowed = self._vouching()

    def _vouching(self) -> tuple[Ring, tuple[Trusted, ...]]:
        policy, promoter = self._place.policy, self._place.promoter
        rules = policy.rules_for(self._name) if policy is not None else None
        allowed = promoters(rules, policy.ring) if policy is not None and rules is not None else ()
        if allowed and policy is not None:
            only = promoter.keyid if promoter is not None else ""
            mine = tuple(item for item in allowed if not only or only in item.keyids)
            return policy.ring, mine
        ring = Ring.of_keys([promoter] if promoter is not None else [])
        return ring, ring.entries

    def run(self) -> Standing:
        tags = self._tags()
        root, raw = self._store.get_manifest(self._channel)
        by_digest = self._resolved([tag for tag in tags[:MAX_TAGS] if tag != self._channel])
        versions = tuple(tag for tag, item in by_digest if item.digest == root.digest)
        found = Standing(
            place=self._place,
            state="not-judged",
            digest=root.digest,
            versions=versions,
            complete=len(tags) <= MAX_TAGS,
        )
        if self._allowed:
            found = self._with_summaries(found, root, [item for _, item in by_digest])
        return self._judged(found, root, raw)

    def _tags(self) -> list[str]:
        endings = tuple(f".{ending}" for ending in LEGACY_TAGS)
        return [tag for tag in self._store.tags() if not is_fallback_tag(tag) and not tag.endswith(endings)]

    def _resolved(self, tags: Sequence[str]) -> list[tuple[str, Descriptor]]:
        with ThreadPoolExecutor(max_workers=_READERS) as pool:
            found = list(pool.map(self._resolve, tags))
        return [(tag, item) for tag, item in zip(tags, found, strict=True) if item is not None]

    def _resolve(self, tag: str) -> Descriptor | None:
        try:
            return self._store.resolve(tag)
        except (NotFoundError, IntegrityError):
            return None

    def _held(self, subject: Descriptor) -> list[Held]:
        evidence, _ = gather(self._store, subject, self._name, self._ring.keyids)
        return held(evidence, self._target, self._ring, self._allowed, self._now)

    def _with_summaries(self, found: Standing, root: Descriptor, tagged: Sequence[Descriptor]) -> Standing:
        others = list({item.digest: item for item in tagged if item.digest != root.digest}.values())
        mine = self._held(root)
        with ThreadPoolExecutor(max_workers=_READERS) as pool:
            lists = list(pool.map(self._held, others))
        theirs = [(item.digest, one) for item, listed in zip(others, lists, strict=True) for one in listed]
        every = [*((root.digest, one) for one in mine), *theirs]
        newest = max(every, key=lambda pair: pair[1].sequence, default=None)
        if not mine:
            return replace(found, newest=newest)
        last = mine[0]
        # Without a break: since the last time that something else was promoted to this channel.
        break_ = max((one.sequence for _, one in theirs if one.sequence < last.sequence), default=-1)
        since = min(item.summary.time for item in mine if item.sequence > break_)
        return replace(found, held=last, by=self._called(last), since=since, newest=newest)

    def _called(self, item: Held) -> str:
        for entry in self._allowed:
            if item.keyid in entry.keyids:
                return entry.key.label or entry.id if isinstance(entry, KeyEntry) else entry.id
        return ""

    def _judged(self, found: Standing, root: Descriptor, raw: bytes) -> Standing:
        policy = self._place.policy
        if policy is None:
            return found
        context = {"channel": self._channel, "environment": self._place.environment}
        verdict, _, _ = decide(self._store, root, raw, self._name, policy.enforced(), self._now, context)
        if verdict.refusing is not None:
            detail = verdict.refusing.detail
            return replace(found, state="refused", exit_code=verdict.exit_code, detail=detail)
        if not self._allowed:
            return replace(found, state="unpromoted", detail="no promoter is named for it")
        if found.drift and found.newest is not None:
            detail = f"the newest summary, {found.newest[1].sequence}, is about {found.newest[0]}"
            return replace(found, state="drift", exit_code=18, detail=detail)
        if found.held is None or not found.held.good:
            when = "has ended" if found.held is not None else "is not there"
            code = 15 if found.held is not None else 19
            return replace(found, state="refused", exit_code=code, detail=f"a summary by its promoter {when}")
        return replace(found, state="verified")
