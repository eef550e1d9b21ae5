"""Blobs on their way here (distribution-spec v1.1, "Pulling blobs"; RFC 9110, section 14).

Guarantees: only closed ranges are asked for; what comes back is the range that was asked for, or the whole blob
from its beginning (`BlobStream.start` tells), never anything else; a body that ends early is an
`UnavailableError`, and so is a small blob, asked for whole, that drips. The bytes are not checked against the
digest here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from ocimodel.errors import DigestMismatchError, OcimodelError, UnavailableError
from ocimodel.oci.descriptor import Descriptor
from ocimodel.stores.http.answers import Answer
from ocimodel.stores.http.origins import redacted
from ocimodel.stores.http.policy import DOCUMENT_BYTES
from ocimodel.stores.http.repository import Repository
from ocimodel.stores.http.targets import Targets
from ocimodel.stores.http.transport import Request
from ocimodel.stores.protocol import BlobStream

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


class Stream:
    """The body of an answer, up to ``stop``. ``timed``: it may be a document, which has to come in bounded time."""

    def __init__(self, answer: Answer | None, start: int, stop: int, *, timed: bool = False) -> None:
        self.start = start
        self._answer = answer
        self._left = stop - start
        self._timed = timed

    def readinto(self, buffer: memoryview) -> int:
        if self._answer is None or self._left <= 0:
            return 0
        count = self._fill(self._answer, buffer[: self._left])
        if not count:
            raise UnavailableError(f"GET {redacted(self._answer.url)}: the body is shorter than announced")
        self._left -= count
        return count

    def _fill(self, answer: Answer, buffer: memoryview) -> int:
        if not self._timed:
            return answer.readinto(buffer)
        block = answer.read_some(len(buffer))
        buffer[: len(block)] = block
        return len(block)


@contextmanager
def open_blob(
    repository: Repository, targets: Targets, descriptor: Descriptor, start: int, stop: int | None
) -> Iterator[BlobStream]:
    """Bytes ``start`` to ``stop`` (exclusive) of a blob."""
    stop = descriptor.size if stop is None else min(stop, descriptor.size)
    if start >= stop and descriptor.size:
        yield Stream(None, start, start)
        return
    whole = start == 0 and stop == descriptor.size
    headers = {} if whole else {"Range": f"bytes={start}-{stop - 1}"}
    accept = frozenset({200} if whole else {200, 206, 416})
    url = repository.blob(descriptor.digest)
    request = Request(method="GET", url=url, scopes=repository.reading, headers=headers, accept=accept)
    answer = repository.send(request) if whole else targets.send(repository, request, descriptor.digest)
    if answer.status == 416:  # it cannot do ranges; or the blob is shorter, which its length will tell
        answer.close()
        answer = repository.send(Request(method="GET", url=url, scopes=repository.reading))
    with answer:
        try:
            answer.refuse_encodings()
            begins = _range(answer, descriptor, start, stop) if answer.status == 206 else _whole(answer, descriptor)
        except OcimodelError:
            targets.forget(descriptor.digest, answer.url)
            raise
        yield Stream(answer, begins, stop, timed=whole and stop <= DOCUMENT_BYTES)


def _range(answer: Answer, descriptor: Descriptor, start: int, stop: int) -> int:
    match = _CONTENT_RANGE.fullmatch(answer.header("content-range").strip())
    where = f"GET {redacted(answer.url)}"
    if match is None:
        raise UnavailableError(f"{where}: 206 without a usable Content-Range")
    first, last, total = match.groups()
    if total != "*" and int(total) != descriptor.size:
        raise DigestMismatchError(where, expected=f"{descriptor.size} bytes", actual=total)
    if int(first) != start or int(last) >= stop or int(last) < start:
        raise UnavailableError(f"{where}: asked for bytes {start}-{stop - 1}, got {first}-{last}")
    if answer.length is not None and answer.length != int(last) - start + 1:
        raise UnavailableError(f"{where}: Content-Length and Content-Range contradict each other")
    return start


def _whole(answer: Answer, descriptor: Descriptor) -> int:
    if answer.length is not None and answer.length != descriptor.size:
        raise DigestMismatchError(
            f"GET {redacted(answer.url)}", expected=f"{descriptor.size} bytes", actual=str(answer.length)
        )
    return 0
