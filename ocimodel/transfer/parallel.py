"""Several transfers at a time: the largest first, the first error ends all.

Guarantees: results come in the order of the items; when one item fails, or the caller is interrupted, no new item
is begun, the others end at their next progress report, and nobody waits for a worker that hangs in a read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from ocimodel.stores.protocol import Progress

Item = TypeVar("Item")
Result = TypeVar("Result")


class Stopped(Exception):
    """Raised inside a worker whose result is no longer wanted; never leaves this package."""


def run_all(
    work: Callable[[Item, Progress], Result],
    items: Sequence[Item],
    *,
    size: Callable[[Item], int],
    workers: int,
    progress: Progress,
) -> list[Result]:
    """Call ``work(item, progress)`` for every item on at most ``workers`` threads."""
    stop = threading.Event()

    def report(count: int) -> None:
        if stop.is_set():
            raise Stopped
        progress(count)

    def one(item: Item) -> Result:
        report(0)
        return work(item, report)

    order = sorted(range(len(items)), key=lambda index: -size(items[index]))
    pool = ThreadPoolExecutor(max_workers=max(1, min(workers, len(items))))
    try:
        futures = {index: pool.submit(one, items[index]) for index in order}
        done, _ = wait(futures.values(), return_when=FIRST_EXCEPTION)
        failures = [error for future in done if (error := future.exception())]
        for error in sorted(failures, key=lambda error: isinstance(error, Stopped)):
            raise error
    except BaseException:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
    return [futures[index].result() for index in range(len(items))]
