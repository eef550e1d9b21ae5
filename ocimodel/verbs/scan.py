"""Judge everything that stands in repositories: each tag of each of them, as `verify` would judge it now.

Guarantees: a tag is resolved once, and what several tags of a repository name is judged once. Verdicts come in the
order in which the artifacts were found, as soon as they are there, and nothing keeps them: memory does not grow
with the number of artifacts. One that is refused, missing or out of reach keeps none of the others; a registry that
several in a row find out of reach ends the scan. At most ``workers`` artifacts are judged at a time. Nothing is
written, no tag moves, and no byte of a model is read.

What a key has signed is told apart: ``verified`` where the signature was checked with that very key, ``claimed``
where a document only names it, which anyone who may push can have written.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Literal, TypeVar

from ocimodel.errors import NotFoundError, OcimodelError, RejectedError, UnavailableError
from ocimodel.keys.public import PublicKey
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store, target_of
from ocimodel.stores.protocol import Store
from ocimodel.transfer.places import state_dir
from ocimodel.trust.evidence import Evidence
from ocimodel.trust.judge import Status
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.ring import KeyEntry
from ocimodel.trust.verdict import Verdict
from ocimodel.verbs.deciding import decide
from ocimodel.verbs.evidence import gather
from ocimodel.verbs.judging import judged_name
from ocimodel.verbs.remembering import with_floor
from ocimodel.verbs.sharding import WHOLE, Shard

WORKERS = 4
_LISTERS = 2
_PATIENCE = 8
"""Artifacts in a row that may be out of reach."""

By = Literal["verified", "claimed", "unknown"]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is scanned: repositories of ``host`` whose names are like ``glob``, or what ``reference`` names."""

    reference: Reference | None = None
    host: str = ""
    glob: str = "*"

    @classmethod
    def parse(cls, text: str) -> Place:
        """HOST, HOST/GLOB, or a reference; without tag and digest it is a repository.

        >>> Place.parse("registry.example/ml/*").glob
        'ml/*'

        Raises:
            UsageError: it is none of them.
        """
        host, slash, rest = text.partition("/")
        if text.startswith("oci:") or (slash and not set("*?[") & set(rest)):
            return cls(reference=Reference.parse(text))
        Reference.parse(f"{host}/any")  # is it a host
        return cls(host=host, glob=rest or "*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of every artifact.

    Attributes:
        context: what its signed statements must agree with.
        signed_by: keys, or identifiers of keys, whose signatures are looked for besides.
        shard: the share of the work that is done.
    """

    policy: TrustPolicy
    context: Mapping[str, str] = field(default_factory=dict)
    signed_by: tuple[PublicKey | str, ...] = ()
    shard: Shard = WHOLE
    workers: int = WORKERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """One artifact, or where ``error`` is set what could not be judged or listed.

    ``reference`` has the digest once that is known; ``milliseconds`` is how long it took. ``by``: of the keys that
    were looked for, by their identifiers, how each is in it; one that is not there has signed nothing.
    """

    reference: Reference
    verdict: Verdict | None = None
    error: OcimodelError | None = None
    by: Mapping[str, By] = field(default_factory=dict)
    milliseconds: int = 0

    @property
    def exit_code(self) -> int:
        if self.error is not None:
            return self.error.exit_code
        return self.verdict.exit_code if self.verdict is not None else 0

    @property
    def would_exit(self) -> int:
        return self.verdict.would_exit if self.verdict is not None else self.exit_code


def scan(
    places: Iterable[Place],
    question: Question,
    *,
    access: Access,
    now: datetime,
    skip: Callable[[Reference], bool] = lambda _reference: False,
) -> Iterator[Scanned]:
    """Judge what is in ``places``, each artifact by each of its tags once.

    Args:
        skip: what was judged before, by its name and tag, or digest.

    Raises:
        UnavailableError: a registry stays out of reach; what was judged before is yielded first.
    """
    scanner = _Scanner(question, access, now, skip)
    return scanner.run(places)


@dataclass(slots=True)
class _Repository:
    """An open repository. ``judged``: its artifacts, each by digest and floor, so that each is judged once."""

    reference: Reference
    store: Store
    stack: ExitStack
    lock: threading.Lock = field(default_factory=threading.Lock)
    judged: dict[tuple[Digest, int], Future[tuple[Verdict, Mapping[str, By]]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Unit:
    """What one worker does: judge ``reference``, or nothing but to hand on ``done``. ``last`` of its repository."""

    repository: _Repository | None
    reference: Reference
    done: Scanned | None = None
    last: bool = False


class _Scanner:
    def __init__(
        self, question: Question, access: Access, now: datetime, skip: Callable[[Reference], bool]
    ) -> None:
        self._question = question
        self._access = access
        self._now = now
        self._skip = skip
        self._state = state_dir()

    def run(self, places: Iterable[Place]) -> Iterator[Scanned]:
        workers = self._question.workers
        lister, judges = ThreadPoolExecutor(max_workers=_LISTERS), ThreadPoolExecutor(max_workers=workers)
        streak = 0
        try:
            found = _ahead(lister, self._list, self._repositories(places), 2 * _LISTERS)
            for unit, scanned in _ahead(
                judges, self._unit, (unit for units in found for unit in units), 2 * workers
            ):
                if unit.last and unit.repository is not None:
                    unit.repository.stack.close()
                if scanned is not None:
                    yield scanned
                    streak = streak + 1 if _unreachable(scanned.error) else 0
                    if streak >= _PATIENCE and scanned.error is not None:
                        raise UnavailableError(
                            f"{streak} in a row could not be reached, and the rest was not tried; the last: "
                            f"{scanned.error.message}",
                            hint="Run it again when the registry is back.",
                        )
        finally:
            lister.shutdown(wait=False, cancel_futures=True)
            judges.shutdown(wait=False, cancel_futures=True)

    def _repositories(self, places: Iterable[Place]) -> Iterator[Reference | Scanned]:
        """Each once, however often it was named."""
        seen: set[Reference] = set()
        for place in places:
            for reference in self._named(place):
                if isinstance(reference, Scanned):
                    yield reference
                elif reference not in seen:
                    seen.add(reference)
                    yield reference

    def _named(self, place: Place) -> Iterator[Reference | Scanned]:
        if place.reference is not None:
            yield place.reference
            return
        from ocimodel.stores.catalog import repositories

        for reference in repositories(place.host, self._access):
            if fnmatchcase(reference.repository, place.glob):
                yield reference

    def _list(self, reference: Reference | Scanned) -> Sequence[_Unit]:
        """What is to be judged of a repository."""
        if isinstance(reference, Scanned):
            return (_Unit(None, reference.reference, done=reference),)
        shard = self._question.shard
        if (reference.tag or reference.digest) and not shard.owns(str(reference)):
            return ()
        stack = ExitStack()
        try:
            store = stack.enter_context(open_store(reference, self._access))
            if reference.tag or reference.digest:
                found = [reference]
            else:
                named = (reference.tagged(tag) for tag in store.tags())
                found = [item for item in named if shard.owns(str(item))]
        except OcimodelError as error:
            stack.close()
            return (_Unit(None, reference, done=Scanned(reference=reference, error=error)),)
        repository = _Repository(reference, store, stack)
        wanted = [item for item in found if not self._skip(item)]
        if not wanted:
            stack.close()
        return [_Unit(repository, item, last=item is wanted[-1]) for item in wanted]

    def _unit(self, unit: _Unit) -> tuple[_Unit, Scanned | None]:
        if unit.repository is None:
            return unit, unit.done
        began = time.monotonic()
        scanned = self._one(unit.repository, unit.reference)
        return unit, replace(scanned, milliseconds=int((time.monotonic() - began) * 1000))

    def _one(self, repository: _Repository, reference: Reference) -> Scanned:
        named = reference
        try:
            subject, raw = repository.store.get_manifest(target_of(reference, repository.store))
            named = reference.at(subject.digest)
            verdict, by = self._judged(repository, reference, subject, raw)
        except OcimodelError as error:
            return Scanned(reference=named, error=error)
        return Scanned(reference=named, verdict=verdict, by=by)

    def _judged(
        self, repository: _Repository, reference: Reference, subject: Descriptor, raw: bytes
    ) -> tuple[Verdict, Mapping[str, By]]:
        """The verdict, which the first of those who ask for the same one finds out."""
        name = judged_name(reference)
        policy = with_floor(self._question.policy, name, reference, self._state)
        rules = policy.rules_for(name)
        key = (subject.digest, rules.min_sequence if rules is not None else 0)
        with repository.lock:
            future = repository.judged.get(key)
            first = future is None
            if future is None:
                future = repository.judged[key] = Future()
        if first:
            try:
                future.set_result(self._decide(repository.store, subject, raw, name, policy))
            except BaseException as error:
                future.set_exception(error)
                raise
        return future.result()

    def _decide(
        self, store: Store, subject: Descriptor, raw: bytes, name: str, policy: TrustPolicy
    ) -> tuple[Verdict, Mapping[str, By]]:
        question = self._question
        verdict, evidence, _ = decide(store, subject, raw, name, policy, self._now, question.context)
        found: dict[str, By] = {}
        for key in question.signed_by:
            told = self._by(store, evidence, verdict, key)
            if told is not None:
                found[keyid_of(key)] = told
        return verdict, found

    def _by(self, store: Store, evidence: Evidence, verdict: Verdict, key: PublicKey | str) -> By | None:
        """Whether ``key`` has signed it; None: it has not, and no document says so."""
        keyid = keyid_of(key)
        if evidence.truncated and keyid not in self._question.policy.keyids:
            evidence, _ = gather(store, evidence.subject, evidence.name, {keyid})
        if isinstance(key, str):
            reports = [report for report in verdict.signers if report.keyid == keyid and report.identity]
            if any(report.status != Status.OTHER_SUBJECT for report in reports):
                return "verified"
            claimed = any(keyid in candidate.names for candidate in evidence.candidates)
        else:
            judged = TrustPolicy.of_keys([key]).assess(evidence, self._now).judged
            if any(item.signers and item.status is not Status.OTHER_SUBJECT for item in judged):
                return "verified"
            claimed = any(keyid in item.candidate.names and not item.signers for item in judged)
        if claimed:
            return "claimed"
        return "unknown" if evidence.truncated else None


def keyid_of(key: PublicKey | str) -> str:
    """What was looked for, by its identifier."""
    return key if isinstance(key, str) else key.keyid


def known_key(policy: TrustPolicy, keyid: str) -> PublicKey | str:
    """The key of the policy's ring that has this identifier; else the identifier, by which less can be told."""
    for entry in policy.ring.entries:
        if isinstance(entry, KeyEntry) and entry.key.keyid == keyid:
            return entry.key
    return keyid


def _unreachable(error: OcimodelError | None) -> bool:
    return isinstance(error, UnavailableError) and not isinstance(error, (RejectedError, NotFoundError))


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], window: int
) -> Iterator[Result]:
    """The results in the order of the items, of which at most ``window`` are taken before they are needed."""
    pending: deque[Future[Result]] = deque()
    for item in items:
        pending.append(pool.submit(work, item))
        while len(pending) > window or (pending and pending[0].done()):
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
