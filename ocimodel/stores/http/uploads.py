"""Blobs on their way out (distribution-spec v1.1, "Pushing blobs").

    known digest     POST → one PUT with all bytes
    unknown digest   POST → one PATCH with all bytes → PUT?digest=      (hashed while they are sent)
    where that was refused or broke: POST → PATCH with Content-Range … → PUT?digest=

Guarantees: see `Feed` for the bytes; after the commit the registry is asked for the blob's size, unless it was a
small one in one request and the answer names its digest; a failed upload begins anew from a re-opened source.
Memory: one block, or one chunk where chunks are needed.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urljoin

from ocimodel.errors import AuthenticationError, DigestMismatchError, OcimodelError, UnavailableError
from ocimodel.oci.digest import Digest
from ocimodel.stores.http.answers import Answer
from ocimodel.stores.http.asking import Asking
from ocimodel.stores.http.auth import Scopes
from ocimodel.stores.http.feed import Feed
from ocimodel.stores.http.manifests import promised_digest
from ocimodel.stores.http.origins import Origin, redacted
from ocimodel.stores.http.policy import Backoff
from ocimodel.stores.http.repository import Repository
from ocimodel.stores.http.transport import EMPTY, Body, Request
from ocimodel.stores.protocol import Progress, Source

CHUNK = 8 * 1024 * 1024
"""Between what ECR wants at least (5 MiB) and takes at most (10 MiB)."""
SMALL_CHUNK = 4 * 1024 * 1024
"""GHCR takes no more."""
_SMALL = 1024 * 1024
_LARGE = 16 * 1024 * 1024
_DONE = frozenset({200, 201, 202, 204})
# Everything but 401 and 403, which no other way of sending would mend.
_ANY = frozenset({*range(200, 300), *range(400, 600)}) - {401, 403}
_REFUSED = frozenset({400, 405, 409, 411, 413, 415, 416, 422, 501})
_WHOLE_ONLY = re.compile(r"ghcr\.io|gcr\.io|.*\.gcr\.io|.*\.pkg\.dev")
"""Registries that take a blob of any size in one PUT, but no or only small PATCHes."""


@dataclass(frozen=True, slots=True)
class Session:
    """An upload that the registry has opened."""

    location: str
    min_chunk: int = 0


class _Failed(Exception):
    """This try failed; another one, or another way, may do. ``status`` 0: no answer came."""

    def __init__(self, error: OcimodelError, status: int = 0, retry_after: str = "") -> None:
        super().__init__(str(error))
        self.error = error
        self.status = status
        self.retry_after = retry_after


def blob_size(repository: Repository, digest: Digest) -> int | None:
    """The size that the registry states, -1 where it states none; None: there is no such blob."""
    request = Request(
        method="HEAD", url=repository.blob(digest), scopes=repository.reading, accept=frozenset({200, 404})
    )
    with repository.send(request) as answer:
        if answer.status == 404:
            return None
        return -1 if answer.length is None else answer.length


def put_blob(
    repository: Repository,
    source: Source,
    digest: Digest | None,
    progress: Progress,
    session: Session | None = None,
    asking: Asking | None = None,
) -> Digest:
    """Store the bytes of ``source``; nothing is sent where the registry has them, as far as it is asked.

    Args:
        asking: what earlier questions came to; None: always ask.
        session: an upload that is already open (from a mount that was not possible).

    Raises:
        DigestMismatchError: the source has other bytes than ``digest``, or the registry stored others.
        StorageError: the source cannot be read.
    """
    feed = Feed(source, digest, progress)
    if source.size <= _SMALL or (digest is None and _WHOLE_ONLY.fullmatch(repository.host)):
        feed.promised = digest = feed.hashed()
    if digest is not None and session is None and (asking is None or asking.pays(source.size)):
        there = blob_size(repository, digest) in (source.size, -1)
        if asking is not None:
            asking.found(there)
        if there:
            return digest
    return _Upload(repository, feed, session).run()


def start(repository: Repository, query: str = "", scopes: Scopes | None = None) -> Session | None:
    """Open an upload; None where the answer is 201: mounted."""
    url = f"{repository.url('blobs', 'uploads')}/{query}"
    request = Request(
        method="POST", url=url, scopes=scopes or repository.writing, body=EMPTY, accept=frozenset({201, 202})
    )
    with repository.send(request) as answer:
        pass
    if answer.status == 201:
        return None
    minimum = answer.header("oci-chunk-min-length")
    chunk = int(minimum[:12]) if minimum.isascii() and minimum.isdigit() else 0
    return Session(_location(repository, answer, None), chunk)


def cancel(repository: Repository, location: str) -> None:
    """Best effort: a registry drops abandoned uploads by itself some day."""
    if not location:
        return
    with suppress(OcimodelError):
        request = Request(
            method="DELETE", url=location, scopes=repository.writing, accept=_ANY, once=True, body=EMPTY
        )
        repository.send(request).close()


class _Upload:
    def __init__(self, repository: Repository, feed: Feed, session: Session | None) -> None:
        self._repository = repository
        self._feed = feed
        self._session = session
        self._location = ""
        self._backoff = Backoff(repository.transport.patience, wall=False)
        self._whole_only = bool(_WHOLE_ONLY.fullmatch(repository.host))
        self._chunk = 0

    def run(self) -> Digest:
        while True:
            try:
                return self._try()
            except _Failed as failure:
                digest = self._feed.promised
                self._feed.rewind()
                if digest is not None and self._is_stored(digest):
                    self._feed.sent(self._feed.size)
                    return digest
                if failure.status:
                    cancel(self._repository, self._location)
                if not self._another_way(failure) or not self._backoff.again(failure.retry_after or None):
                    raise failure.error from None
            except OcimodelError:
                cancel(self._repository, self._location)
                raise

    def _is_stored(self, digest: Digest) -> bool:
        """A commit whose answer got lost is a commit."""
        try:
            return blob_size(self._repository, digest) == self._feed.size
        except UnavailableError:
            return False

    def _another_way(self, failure: _Failed) -> bool:
        """Choose how the next try sends. False: there is none left."""
        refused = failure.status in _REFUSED
        if failure.status == 401:
            self._chunk = CHUNK
            return True
        if refused and self._feed.promised is None:
            self._feed.promised = self._feed.hashed()  # then it can go in one PUT
            self._chunk = 0
        elif refused and self._chunk > SMALL_CHUNK:
            self._chunk = SMALL_CHUNK
        elif refused and (self._chunk or self._whole_only):
            return False
        elif refused or (self._backoff.failures and not self._chunk and not self._whole_only):
            self._chunk = CHUNK
        return True

    def _try(self) -> Digest:
        session = self._session or start(self._repository)
        self._session = None
        if session is None:
            raise UnavailableError(f"{self._repository.host} answers 201 to the start of an upload")
        self._location = session.location
        feed = self._feed
        if self._chunk:
            self._send_chunks(max(self._chunk, session.min_chunk))
            answer = self._commit(EMPTY)
        elif feed.promised is None:
            self._advance(self._send("PATCH", self._location, Body(length=feed.size, open=feed.blocks)))
            answer = self._commit(EMPTY)
        else:
            answer = self._commit(Body(length=feed.size, open=feed.blocks))
        stored = promised_digest(answer)
        if stored is not None and stored.algorithm == feed.digest.algorithm and stored != feed.digest:
            raise DigestMismatchError("blob as stored", expected=str(feed.digest), actual=str(stored))
        if stored is None or feed.size > _SMALL or self._chunk:
            self._confirm(feed.digest)
        return feed.digest

    def _commit(self, body: Body) -> Answer:
        """The closing PUT. The digest is appended as text: a Location's query is the registry's own."""
        digest = str(self._feed.digest if self._feed.promised is None else self._feed.promised)
        join = "&" if "?" in self._location else "?"
        return self._send("PUT", f"{self._location}{join}digest={digest.replace(':', '%3A')}", body)

    def _send(self, method: str, url: str, body: Body, content_range: str = "") -> Answer:
        # Registries on object stores copy the blob before they answer.
        patience = self._repository.transport.patience
        request = Request(
            method=method,
            url=url,
            scopes=self._repository.writing,
            headers={
                "Content-Type": "application/octet-stream",
                **({"Content-Range": content_range} if content_range else {}),
            },
            body=body,
            accept=_ANY,
            once=True,
            fresh=body.length > _LARGE,
            wait=min(patience.stall * 15, patience.stall + self._feed.size / 20e6),
        )
        try:
            with self._repository.send(request) as answer:
                if answer.status in _DONE:
                    return answer
                raise _Failed(answer.error(), answer.status, answer.header("retry-after"))
        except UnavailableError as error:
            raise _Failed(error) from None
        except AuthenticationError as error:
            # Some registries look at the token only after the last byte; in pieces it stays young.
            if body.length <= _LARGE or self._whole_only:
                raise
            raise _Failed(error, 401) from None

    def _send_chunks(self, size: int) -> None:
        offset = 0
        for chunk in self._feed.chunks(size):
            self._send_chunk(chunk, offset)
            self._feed.sent(len(chunk))
            offset += len(chunk)

    def _send_chunk(self, chunk: bytes, offset: int) -> None:
        begin = 0
        backoff = Backoff(self._repository.transport.patience)
        while begin < len(chunk):
            body = Body.of(chunk[begin:])
            content_range = f"{offset + begin}-{offset + len(chunk) - 1}"
            try:
                answer = self._send("PATCH", self._location, body, content_range)
            except _Failed as failure:
                if failure.status in _REFUSED - {416}:
                    raise
                before, begin = begin, self._received() - offset
                if not 0 <= begin <= len(chunk) or (failure.status == 416 and begin == before):
                    raise  # out of step, or too large for it: from the start, or in smaller pieces
                if not backoff.again(failure.retry_after or None):
                    raise
                continue
            # ECR's Range is stale from the second chunk on, so what was sent counts, not what it says.
            self._advance(answer)
            return

    def _received(self) -> int:
        """How many bytes the registry has. Raises `_Failed` where the upload is lost."""
        request = Request(
            method="GET",
            url=self._location,
            scopes=self._repository.writing,
            accept=frozenset({204, 404}),
        )
        try:
            with self._repository.send(request) as answer:
                if answer.status == 404:
                    raise _Failed(answer.error())
        except UnavailableError as error:
            raise _Failed(error) from None
        self._advance(answer)
        match = re.fullmatch(r"(?:bytes=)?0-(\d{1,18})", answer.header("range").strip())
        # "0-0" is what registries say of no byte, and of one byte.
        return int(match[1]) + 1 if match and match[1] != "0" else 0

    def _advance(self, answer: Answer) -> None:
        self._location = _location(self._repository, answer, self._location)

    def _confirm(self, digest: Digest) -> None:
        """Ask for the size: a registry was seen to keep only the last chunk, and to say 201."""
        backoff = Backoff(self._repository.transport.patience)
        while (size := blob_size(self._repository, digest)) is None:
            if not backoff.again():
                raise _Failed(UnavailableError(f"{self._repository.host} took {digest} and does not have it"))
        if size not in (self._feed.size, -1):
            raise DigestMismatchError(f"{digest} as stored", expected=f"{self._feed.size} bytes", actual=str(size))


def _location(repository: Repository, answer: Answer, otherwise: str | None) -> str:
    """Where the upload goes on: relative to the URL that answered, judged as a redirect is."""
    location = answer.header("location")
    if not location and otherwise is not None:
        return otherwise
    try:
        target = urljoin(answer.url, location).partition("#")[0] if location else ""
        origin = Origin.of(target)
    except ValueError:
        raise UnavailableError(f"{answer.method} {redacted(answer.url)}: no usable Location") from None
    repository.transport.rules.check(answer.origin, origin, "sends the upload to")
    return target
