"""Judge everything that stands in repositories: each tag of each of them, as `verify` would judge it now.

Guarantees: a tag is resolved once, and what several tags of a repository name is judged once. Verdicts come in the
order in which the artifacts were found, as soon as they are there, and nothing keeps them: memory does not grow
with the number of artifacts. One that is refused, missing or out of reach keeps none of the others; a registry that
several in a row find out of reach ends the scan. At most ``workers`` artifacts are judged at a time. Nothing is
written, no tag moves, and no byte of a model is read.
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
from typing import TypeVar

from ocimodel.errors import NotFoundError, OcimodelError, RejectedError, UnavailableError
from ocimodel.keys.public import PublicKey
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Index
from ocimodel.oci.reference import Reference
from ocimodel.stores.facts import examine
from ocimodel.stores.opening import Access, open_store, target_of
from ocimodel.stores.protocol import Bookkeeping, Store
from ocimodel.transfer.places import state_dir
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.verdict import Verdict
from ocimodel.verbs.deciding import decide
from ocimodel.verbs.judging import judged_name
from ocimodel.verbs.remembering import with_floor
from ocimodel.verbs.scan_signers import By, keyid_of, signed_by
from ocimodel.verbs.sharding import WHOLE, Shard

WORKERS = 4
_LISTERS = 2
_PATIENCE = 8
"""Artifacts in a row that may be out of reach."""

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
        untagged: judge as well what no tag names: the manifests of indexes, and what the store's bookkeeping is
            about. A repository then belongs to one share as a whole.
        shard: the share of the work that is done.
    """

    policy: TrustPolicy
    context: Mapping[str, str] = field(default_factory=dict)
    signed_by: tuple[PublicKey | str, ...] = ()
    untagged: bool = False
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
    """An open repository.

    Attributes:
        judged: verdicts by digest and floor, so that each is found once.
        met: what was looked at under a tag, or because of something else.
        named: what indexes and referrers name.
        done: counts the tags that were judged.
    """

    reference: Reference
    store: Store
    stack: ExitStack
    lock: threading.Lock = field(default_factory=threading.Lock)
    judged: dict[tuple[Digest, int], Future[tuple[Verdict, Mapping[str, By]]]] = field(default_factory=dict)
    met: set[Digest] = field(default_factory=set)
    named: set[Digest] = field(default_factory=set)
    done: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))


@dataclass(frozen=True, slots=True)
class _Unit:
    """What one worker does: judge ``reference``; or what no tag names, once all ``others`` were judged.

    ``error``: the repository could not be listed. ``last``: nothing of it follows.
    """

    reference: Reference
    repository: _Repository | None = None
    error: OcimodelError | None = None
    others: int = -1
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
            units = (unit for listed in found for unit in listed)
            for unit, results in _ahead(judges, self._unit, units, 2 * workers):
                if unit.last and unit.repository is not None:
                    unit.repository.stack.close()
                for scanned in results:
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

    def _repositories(self, places: Iterable[Place]) -> Iterator[Reference]:
        """Each once, however often it was named."""
        seen: set[Reference] = set()
        for place in places:
            for reference in self._named(place):
                if reference not in seen:
                    seen.add(reference)
                    yield reference

    def _named(self, place: Place) -> Iterator[Reference]:
        if place.reference is not None:
            yield place.reference
            return
        from ocimodel.stores.catalog import repositories

        for reference in repositories(place.host, self._access):
            if fnmatchcase(reference.repository, place.glob):
                yield reference

    def _list(self, reference: Reference) -> Sequence[_Unit]:
        """What is to be judged of a repository."""
        whole = not reference.tag and not reference.digest
        if (self._question.untagged or not whole) and not self._mine(reference):
            return ()
        stack = ExitStack()
        try:
            store = stack.enter_context(open_store(reference, self._access))
            found = [reference.tagged(tag) for tag in store.tags()] if whole else [reference]
        except OcimodelError as error:
            stack.close()
            return (_Unit(reference, error=error),) if self._mine(reference) else ()
        repository = _Repository(reference, store, stack)
        units = [_Unit(item, repository) for item in found if self._mine(item) and not self._skip(item)]
        if self._question.untagged:
            units.append(_Unit(reference, repository, others=len(units)))
        if not units:
            stack.close()
            return ()
        return [*units[:-1], replace(units[-1], last=True)]

    def _mine(self, reference: Reference) -> bool:
        # What no tag names is found out by way of the others: one process has to look at all of a repository.
        return self._question.shard.owns(reference.name if self._question.untagged else str(reference))

    def _unit(self, unit: _Unit) -> tuple[_Unit, Sequence[Scanned]]:
        if unit.repository is None:
            return unit, (Scanned(reference=unit.reference, error=unit.error),)
        if unit.others >= 0:
            return unit, self._rest(unit.repository, unit.others)
        try:
            return unit, (self._one(unit.repository, unit.reference),)
        finally:
            unit.repository.done.release()

    def _one(
        self, repository: _Repository, reference: Reference, found: tuple[Descriptor, bytes] | None = None
    ) -> Scanned:
        named, began = reference, time.monotonic()
        try:
            subject, raw = found or repository.store.get_manifest(target_of(reference, repository.store))
            named = reference.at(subject.digest)
            if self._question.untagged:
                _meet(repository, subject, raw)
            verdict, by = self._judged(repository, reference, subject, raw)
        except OcimodelError as error:
            return Scanned(reference=named, error=error, milliseconds=_since(began))
        return Scanned(reference=named, verdict=verdict, by=by, milliseconds=_since(began))

    def _rest(self, repository: _Repository, others: int) -> list[Scanned]:
        """What no tag names, after the ``others``."""
        for _ in range(others):
            repository.done.acquire()
        reference, store = repository.reference, repository.store
        whole = not reference.tag and not reference.digest
        found: list[Scanned] = []
        try:
            if whole and isinstance(store, Bookkeeping):
                repository.named.update(store.untagged())
            while todo := sorted(repository.named - repository.met, key=str):
                for digest in todo:
                    found += self._untagged(repository, replace(reference, tag=None, digest=digest))
        except OcimodelError as error:
            found.append(Scanned(reference=reference, error=error))
        return found

    def _untagged(self, repository: _Repository, reference: Reference) -> Sequence[Scanned]:
        """What a digest names: nothing, if it is not there any more, or only refers to something else."""
        assert reference.digest is not None
        repository.met.add(reference.digest)
        try:
            subject, raw = repository.store.get_manifest(reference.digest)
            _meet(repository, subject, raw)
            refers = examine(raw, subject.media_type).subject is not None
        except NotFoundError:
            return ()
        except OcimodelError as error:
            return (Scanned(reference=reference, error=error),)
        return () if refers or self._skip(reference) else (self._one(repository, reference, (subject, raw)),)

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
            told = signed_by(store, evidence, verdict, key, policy.keyids, self._now)
            if told is not None:
                found[keyid_of(key)] = told
        return verdict, found


def _meet(repository: _Repository, subject: Descriptor, raw: bytes) -> None:
    """Remember an artifact, and what it names.

    Raises:
        FormatError: it is malformed.
    """
    named = {facts} if (facts := examine(raw, subject.media_type).subject) is not None else set()
    if subject.media_type in media.INDEXES:
        named |= {entry.digest for entry in Index.from_bytes(raw, subject.media_type).manifests}
    with repository.lock:
        repository.met.add(subject.digest)
        repository.named |= named


def _since(began: float) -> int:
    return int((time.monotonic() - began) * 1000)


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
