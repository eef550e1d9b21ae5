"""What refers to a manifest (distribution-spec v1.1, "Listing Referrers" and "Referrers Tag Schema").

Reading gives the union of the API and of the fallback tag, since a registry may have learnt the API after
referrers had been pushed, or lost it. The API is there if and only if it answers 200 with an OCI index: registries
were seen to answer 400, 404, 405, to redirect to a page for people, and to claim support and have none.

Guarantees: 401, 403, 429 and 5xx are errors, never "no referrers"; one bad entry spoils nothing; entries of
others stay in the fallback index as they are, unknown members included; after `Referrers.add` has returned, the
entry stood in the list when it was read again. Two that write the fallback tag at once both find their entries,
as far as a protocol without locks allows: whoever finds that his entry is gone adds it, and what he had seen
before, again. Threads that add to one list at once write it together. `arriving` lifts that for artifacts that come
into the repository just now: who writes their lists as well is copying them too, and writes the same entries.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from ocimodel import jsonio
from ocimodel.errors import FormatError, NotFoundError, UnavailableError
from ocimodel.jsonio import Node
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.stores.facts import fallback_tag
from ocimodel.stores.http import listing, manifests
from ocimodel.stores.http.policy import PAGE_BYTES, RETRYABLE
from ocimodel.stores.http.repository import Repository
from ocimodel.stores.http.transport import Request
from ocimodel.stores.protocol import ReferrerList

_ERRORS = RETRYABLE | {401, 403}
_ANYTHING = frozenset(range(200, 600)) - _ERRORS - frozenset(range(500, 600))
_ROUNDS = 20


@dataclass(slots=True)
class _Found:
    """What one place says: entries by digest, as they stood there."""

    entries: dict[str, Descriptor]
    complete: bool = True


class Referrers:
    """Referrers of one repository. Thread-safe."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._has_api: bool | None = None
        self._guard = threading.Lock()
        self._arriving: Counter[Digest] = Counter()
        self._waiting: dict[str, list[tuple[Descriptor, Future[None]]]] = {}
        # What this process wrote last into each fallback tag.
        self._written: dict[str, bytes] = {}

    @contextmanager
    def arriving(self, subjects: Iterable[Digest]) -> Iterator[None]:
        """While these artifacts come into the repository, their lists are read again after a write, not watched."""
        coming = Counter(subjects)
        with self._guard:
            self._arriving += coming
        try:
            yield
        finally:
            with self._guard:
                self._arriving -= coming

    def list(self, subject: Digest, limit: int) -> ReferrerList:
        found = self._from_api(subject, limit) or _Found({})
        if found.complete and len(found.entries) <= limit:
            fallback = self._from_tag(subject)
            found = _Found({**fallback.entries, **found.entries}, fallback.complete)
        entries = tuple(found.entries.values())
        return ReferrerList(entries=entries[:limit], complete=found.complete and len(entries) <= limit)

    def add(self, subject: Digest, entry: Descriptor, *, acknowledged: bool) -> None:
        """Make a stored manifest findable. ``acknowledged``: the registry sent OCI-Subject (which is not proof).

        Raises:
            FormatError: the fallback tag holds something else than an index.
            UnavailableError: others keep overwriting the tag.
        """
        if acknowledged and self._has_api:
            return
        found = self._from_api(subject, 1_000_000)
        if found is not None and (acknowledged or str(entry.digest) in found.entries):
            return
        self._write(subject, entry)

    def _write(self, subject: Digest, entry: Descriptor) -> None:
        """Add to the fallback tag. Who has to wait for another writer has his entry written with all that wait."""
        tag = fallback_tag(subject)
        mine: Future[None] = Future()
        with self._guard:
            self._waiting.setdefault(tag, []).append((entry, mine))
        with _lock_of(self._repository, tag):
            if not mine.done():
                with self._guard:
                    group = self._waiting.pop(tag)
                try:
                    entries = [item for item, _ in group]
                    writer = _TagWriter(self._repository, subject, entries, self._written.get(tag, b""))
                    writer.may_be_lost |= subject in self._arriving
                    self._written[tag] = writer.run()
                except BaseException as error:
                    for _, future in group:
                        future.set_exception(error)
                    raise
                for _, future in group:
                    future.set_result(None)
        mine.result()

    def _from_api(self, subject: Digest, limit: int) -> _Found | None:
        """None where the registry has no such API."""
        found = _Found({})
        request = Request(
            method="GET",
            url=self._repository.url("referrers", subject),
            scopes=self._repository.reading,
            headers={"Accept": media.OCI_INDEX},
            accept=_ANYTHING,
            stay=True,
        )
        try:
            for number, (answer, raw) in enumerate(
                listing.follow(self._repository, request, "the referrers", kind=media.OCI_INDEX)
            ):
                if answer.status != 200 or answer.media_type != media.OCI_INDEX:
                    if number:
                        raise UnavailableError(f"{self._repository.host} breaks off the list of referrers")
                    self._has_api = False
                    return None
                self._has_api = True
                for entry in _entries(_index(raw)):
                    found.entries.setdefault(str(entry.digest), entry)
                if len(found.entries) > limit:
                    break
        except listing.TooMuch:
            found.complete = False
        return found

    def _from_tag(self, subject: Digest) -> _Found:
        try:
            found = manifests.get(self._repository, fallback_tag(subject), limit=PAGE_BYTES)
            # GitLab resolves such a tag to the subject itself.
            if found.descriptor.digest == subject or found.descriptor.media_type != media.OCI_INDEX:
                return _Found({})
            entries = _entries(_index(found.raw))
        except NotFoundError:
            return _Found({})
        except FormatError:
            # Anyone who may push can put anything there.
            return _Found({}, complete=False)
        result = _Found({})
        for entry in entries:
            result.entries.setdefault(str(entry.digest), entry)
        return result


_guard = threading.Lock()
_locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()


def _lock_of(repository: Repository, tag: str) -> threading.Lock:
    """One lock in this process for each fallback tag, whichever store writes it."""
    with _guard:
        return _locks.setdefault(repository.manifest(tag), threading.Lock())


class _TagWriter:
    """One read-modify-write of a fallback tag, repeated until it holds."""

    def __init__(self, repository: Repository, subject: Digest, entries: Sequence[Descriptor], mine: bytes) -> None:
        self._repository = repository
        self._subject = subject
        self._tag = fallback_tag(subject)
        self._entries = {str(entry.digest): entry for entry in entries}
        self._patience = repository.transport.patience
        self._mine = mine
        # Its entry only keeps a blob alive, and whoever pushes the same artifact writes the very same entry.
        self.may_be_lost = all(entry.artifact_type == media.CHUNK_INDEX for entry in entries)
        # What was read in any round, so that it can be put back if somebody's write loses it with ours.
        self._seen: dict[str, dict[str, Any]] = {}

    def run(self) -> bytes:
        """The document that stands there in the end, as it was read last."""
        use_etag = True
        written = False
        before: dict[str, Any] = {}
        for round_ in range(_ROUNDS):
            document, raw, etag = self._read()
            if self._entries.keys() <= {_digest_of(item) for item in document["manifests"]}:
                if not written or self.may_be_lost:
                    return raw
                # Somebody who had read before we wrote may still write: look once more after he must have.
                written = False
                self._pause(round_)
                continue
            if document["manifests"] and document != before and raw != self._mine:
                # Others write here as well: begin only once nobody has for a moment.
                before = document
                self._patience.sleep(self._patience.settle / 2)
                continue
            merged = self._merged(document)
            headers = {"If-Match": etag} if etag and use_etag else {}
            answer = manifests.put(self._repository, merged, media.OCI_INDEX, self._tag, headers=headers)
            if answer.status == 412:
                use_etag = round_ < _ROUNDS // 2  # some registry may never find it equal
                self._pause(round_)
            else:
                written = True
        raise UnavailableError(
            f"{self._repository.host}/{self._repository.path}: others keep overwriting the tag {self._tag}"
        )

    def _read(self) -> tuple[dict[str, Any], bytes, str]:
        empty: dict[str, Any] = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": []}
        try:
            found = manifests.get(self._repository, self._tag, limit=PAGE_BYTES)
        except NotFoundError:
            return empty, b"", ""
        if found.descriptor.digest == self._subject:  # GitLab
            return empty, b"", ""
        if found.descriptor.media_type != media.OCI_INDEX:
            raise FormatError(
                f"the tag {self._tag} of {self._repository.host}/{self._repository.path} is not an image index",
                hint="It is reserved for lists of referrers; delete it, or push elsewhere.",
            )
        document = dict(_index(found.raw).object())
        for item in document["manifests"]:
            self._seen.setdefault(_digest_of(item), item)
        return document, found.raw, found.etag

    def _merged(self, document: dict[str, Any]) -> bytes:
        present = {_digest_of(item) for item in document["manifests"]}
        self._seen |= {digest: entry.to_dict() for digest, entry in self._entries.items() if digest not in present}
        lost = [item for digest, item in self._seen.items() if digest and digest not in present]
        document = {**document, "manifests": [*document["manifests"], *lost]}
        # Not canonical, since what others wrote may hold what our encoder refuses; small, since registries cap it.
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

    def _pause(self, round_: int) -> None:
        settle = self._patience.settle
        self._patience.sleep(settle + self._patience.dice() * settle * min(2**round_, 16))


def _index(raw: bytes) -> Node:
    """The document of a list, with ``manifests`` an array. Raises FormatError."""
    node = Node(jsonio.loads(raw, limit=PAGE_BYTES, what="the list of referrers"))
    entries = node.get("manifests")
    if not isinstance(entries.value, list):
        entries.fail("must be an array")
    return node


def _entries(index: Node) -> Iterator[Descriptor]:
    for item in index.get("manifests").value:
        try:
            yield Descriptor.from_node(Node(item))
        except FormatError:
            continue


def _digest_of(item: Any) -> str:
    value = item.get("digest") if isinstance(item, dict) else None
    return value if isinstance(value, str) else ""
