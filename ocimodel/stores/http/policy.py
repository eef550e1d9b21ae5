"""How long to wait, how often to try, how much to take. Everything that a registry sends is capped here."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MANIFEST_BYTES = 4 * 1024 * 1024
TOKEN_BYTES = 128 * 1024
ERROR_BYTES = 64 * 1024
PAGE_BYTES = 16 * 1024 * 1024
"""One page, and all pages together, of referrers or tags: 10,000 annotated referrers fit."""
DOCUMENT_BYTES = 32 * 1024 * 1024
"""Blobs up to this size that are asked for whole come as documents do: in bounded time."""
PAGES = 1000
REDIRECTS = 5

RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Times in seconds. The clock and the dice can be replaced, so that tests take no time."""

    connect: float = 10.0
    stall: float = 60.0
    """The longest time without a byte, in either direction."""
    tries: int = 5
    first_delay: float = 0.5
    max_delay: float = 10.0
    max_retry_after: float = 30.0
    wall: float = 300.0
    """No further try of a request begins after this time."""
    document: float = 60.0
    """How long a document may take to arrive, and in addition as long as ``floor`` allows for what came of it."""
    floor: float = 16 * 1024
    """Bytes a second."""
    settle: float = 0.25
    """How long another writer of the same fallback tag may take between reading and writing it."""
    sleep: Callable[[float], None] = field(default=time.sleep)
    clock: Callable[[], float] = field(default=time.monotonic)
    dice: Callable[[], float] = field(default=random.random)

    def watch(self) -> Callable[[int], bool]:
        """Begin to wait for a document; what is returned says, by the bytes that came, whether it drips."""
        began = self.clock()
        return lambda received: self.clock() - began > self.document + received / self.floor


HASTY = Patience(connect=1.5, stall=3.0, tries=1, document=5.0)
"""For questions whose answer would be good to have, and which can do without one."""


class Backoff:
    """The waits between the tries of one operation: exponential, with full jitter, or as Retry-After says."""

    def __init__(self, patience: Patience, *, wall: bool = True) -> None:
        """``wall``: the wall time bounds it; not so for uploads, which rightly take hours."""
        self._patience = patience
        self._wall = patience.wall if wall else float("inf")
        self._begun = patience.clock()
        self.failures = 0

    def again(self, retry_after: str | None = None) -> bool:
        """Another try failed. Waits and answers True, or False at once where the patience is at its end."""
        patience = self._patience
        self.failures += 1
        spent = patience.clock() - self._begun
        if self.failures >= patience.tries:
            return False
        ceiling = min(patience.max_delay, patience.first_delay * 2 ** (self.failures - 1))
        delay = patience.dice() * ceiling
        if (asked := _seconds(retry_after)) is not None:
            delay = min(patience.max_retry_after, asked + delay)
        if spent + delay >= self._wall:
            return False
        patience.sleep(delay)
        return True


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After (RFC 9110, section 10.2.3): seconds or a date."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
