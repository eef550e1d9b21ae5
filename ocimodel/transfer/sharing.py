"""One download however many ask: blobs are taken from the cache, from another pull of this machine, or fetched.

Guarantees: of all pulls that share a cache directory, one fetches a blob, and the others wait for it and then take
its bytes from the cache or from where the first one put its file, checked like any others. One whose files this
process will not be able to see (another container) is asked to leave them in the cache. Nobody waits while others
may wait for it. A pull that is killed, fails or moves no byte for `STALLED` seconds is waited for no longer. A blob
that stands several times in a model is fetched once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.stores.protocol import Store
from ocimodel.transfer.bases import Bases, make_own
from ocimodel.transfer.cache import Cache
from ocimodel.transfer.download import fetch_all
from ocimodel.transfer.flights import Flight, Flights, Landing
from ocimodel.transfer.jobs import Job
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.ranged import Tally
from ocimodel.transfer.taking import can_take, take_all

STALLED = 60.0
"""Seconds without a byte after which another pull is waited for no longer."""
_POLL = 0.02, 0.25
"""Seconds between two looks, at first and later."""


class Alone:
    """A pull without a cache: what ``bases`` do not offer is fetched."""

    def __init__(self, bases: Bases) -> None:
        self._bases = bases

    def settle(self, folder: Path) -> None:
        """Nothing depends on it."""

    def spares(self, descriptor: Descriptor) -> bool:  # noqa: ARG002
        return False

    def fetch(self, store: Store, jobs: Sequence[Job], meter: Meter, *, max_rate: float | None = None) -> Tally:
        for job in jobs:
            make_own(job.part)
        return fetch_all(store, jobs, meter, max_rate=max_rate, bases=self._bases)


class Sharing:
    """One pull among others.

    Args:
        bases: looks up what lies on this machine; called when something is missing.
        stalled: see `STALLED`.
    """

    def __init__(self, cache: Cache, bases: Callable[[], Bases], *, stalled: float = STALLED) -> None:
        self._cache = cache
        self._stalled = stalled
        self._bases = bases
        self._flights = cache.flights
        self._folder = cache.directory
        self._landings: dict[Digest, Landing] = {}
        self._alone: set[Digest] = set()
        self._lock = threading.Lock()
        self._told = False

    def settle(self, folder: Path) -> None:
        """Parts will gather below ``folder``."""
        self._folder = folder
        self._cache.settle(folder)

    def spares(self, descriptor: Descriptor) -> bool:
        """Whether the blob is here and takes no room at the destination."""
        return self._cache.way in ("clone", "link") and self._cache.has(descriptor)

    def fetch(self, store: Store, jobs: Sequence[Job], meter: Meter, *, max_rate: float | None = None) -> Tally:
        """Finish all jobs; as `fetch_all`, which see for the errors."""
        tally = Tally()
        self._cache.outstanding = sum(job.descriptor.size for job in jobs)
        meter = _Beating(meter, self._flights)
        pending = list(jobs)
        try:
            while pending:
                mine = {job.part for job in pending if self._is_mine(job)}
                left = take_all(self._cache, pending, meter)
                self._taken(_without(pending, left), tally)
                wanted, bases = self._wanted(left, mine)
                pending = _without(left, wanted)
                if wanted:
                    for job in wanted:
                        make_own(job.part)
                    self._announce(wanted)
                    done = fetch_all(
                        store, [self._shared(job) for job in wanted], meter, max_rate=max_rate, bases=bases
                    )
                    tally.add(fetched=done.fetched, copied=done.copied)
                elif pending:
                    self._wait(pending, meter)
        finally:
            for job in jobs:
                self._flights.release(job.descriptor.digest)
        return tally

    def _is_mine(self, job: Job) -> bool:
        digest = job.descriptor.digest
        return digest in self._alone or self._flights.lock(digest)

    def _taken(self, jobs: Sequence[Job], tally: Tally) -> None:
        for job in jobs:
            tally.add(copied=job.descriptor.size)
            self._arrived(job)

    def _arrived(self, job: Job) -> None:
        with self._lock:
            self._cache.outstanding -= job.descriptor.size
        self._flights.release(job.descriptor.digest)

    def _wanted(self, left: Sequence[Job], mine: set[Path]) -> tuple[list[Job], Bases]:
        """What to go for now: what lies on this machine, and what nobody else is fetching; each blob once."""
        if not left:
            return [], Bases()
        # In this order: a pull that ends is remembered first, and then takes its record away.
        landings = [pair for flight in self._flights.others() for pair in flight.landings.items()]
        bases = self._bases()
        for digest, landing in [*self._landings.items(), *landings]:
            for place in landing.places:
                bases.add_blob(place, digest, landing.size)
        chosen: dict[Digest, Job] = {}
        for job in left:
            digest, size = job.descriptor.digest, job.descriptor.size
            if can_take(self._cache, job):
                continue  # it came just now
            if bases.has_blob(digest, size):
                self._flights.release(digest)
            elif job.part not in mine:
                continue
            chosen.setdefault(digest, job)
            if job.index is not None and digest in self._cache.damaged:
                bases.add_blob(self._cache.damaged[digest], digest, size)
        return list(chosen.values()), bases

    def _announce(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._landings[job.descriptor.digest] = Landing(
                name=job.name,
                size=job.descriptor.size,
                kept=self._cache.keeps(job),
                part=job.part,
                places=job.places,
            )
        self._flights.announce(self._folder, self._landings)

    def _shared(self, job: Job) -> Job:
        def finish(part: Path) -> None:
            self._cache.put(job, part, lambda _count: self._flights.beat())
            job.finish(part)
            self._arrived(job)

        return replace(job, finish=finish)

    def _wait(self, jobs: Sequence[Job], meter: Meter) -> None:
        """Until something of ``jobs`` can be had, or need not be waited for any more."""
        began = time.monotonic()
        beats: dict[Digest, tuple[int, float]] = {}
        shown = 0
        showing = False
        pause, longest = _POLL
        try:
            while True:
                flights = {digest: flight for flight in self._flights.others() for digest in flight.landings}
                now = time.monotonic()
                for job in jobs:
                    digest = job.descriptor.digest
                    flight = flights.get(digest)
                    if self._can_be_had(job, flight):
                        return
                    beat = flight.beat() if flight else 0
                    known, since = beats.get(digest, (beat, began))
                    beats[digest] = (beat, since if beat == known else now)
                    if now - beats[digest][1] > self._stalled:
                        self._alone.add(digest)
                        return
                    if flight and not _within_reach(flight, digest):
                        self._flights.ask(digest)
                if not showing:
                    showing = True
                    self._show(jobs, flights, meter)
                arrived = sum(_so_far(flights.get(job.descriptor.digest), job) for job in jobs)
                meter.advance(arrived - shown)
                shown = arrived
                time.sleep(pause)
                pause = min(longest, pause * 1.5)
        finally:
            if showing:
                meter.end()

    def _can_be_had(self, job: Job, flight: Flight | None) -> bool:
        digest = job.descriptor.digest
        if self._cache.has(job.descriptor) or (flight is not None and flight.landings[digest].found()):
            return True
        return self._flights.lock(digest)

    def _show(self, jobs: Sequence[Job], flights: dict[Digest, Flight], meter: Meter) -> None:
        flight = next((flights[job.descriptor.digest] for job in jobs if job.descriptor.digest in flights), None)
        who = f"process {flight.process}" if flight else "another process"
        if not self._told:
            self._told = True
            meter.note(f"waiting for {who}, which is fetching {jobs[0].name}")
        meter.begin(f"waiting for {who}", sum(job.descriptor.size for job in jobs))


def _without(jobs: Sequence[Job], others: Sequence[Job]) -> list[Job]:
    """``jobs`` but not the others. A part belongs to one job."""
    parts = {job.part for job in others}
    return [job for job in jobs if job.part not in parts]


def _within_reach(flight: Flight, digest: Digest) -> bool:
    """Whether its bytes will be where this process sees them."""
    landing = flight.landings[digest]
    return landing.kept or (bool(landing.places) and flight.visible())


def _so_far(flight: Flight | None, job: Job) -> int:
    if flight is not None:
        with suppress(OSError):
            # Blocks, not length: a part is as long as its file from the beginning.
            blocks = flight.landings[job.descriptor.digest].part.stat().st_blocks
            return min(job.descriptor.size, blocks * 512)
    return 0


class _Beating(Meter):
    """Tells the others that bytes move."""

    def __init__(self, meter: Meter, flights: Flights) -> None:
        self._meter = meter
        self._flights = flights

    def begin(self, title: str, total: int) -> None:
        self._meter.begin(title, total)

    def advance(self, count: int) -> None:
        self._meter.advance(count)
        self._flights.beat()

    def end(self) -> None:
        self._meter.end()

    def note(self, text: str) -> None:
        self._meter.note(text)
