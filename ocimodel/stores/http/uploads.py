"""Blobs on their way out (distribution-spec v1.1, "Pushing blobs").

    known digest     POST → one PUT with all bytes
    unknown digest   POST → one PATCH with all bytes → PUT?digest=      (hashed while they are sent)
    where that was refused or broke: … → PATCH with Content-Range … → PUT?digest=

Where it breaks, the registry is asked how far it is, and the rest is sent; where it has lost the upload, that
begins anew. Pieces are sent only where connections were seen to break, or where a whole blob was refused; what is
known of registries beforehand stands in `quirks`.

Guarantees: see `Feed` for the bytes; after the commit the registry is asked for the blob's size, unless it was a
small one in one request and the answer names its digest; as long as bytes arrive it is tried again, otherwise at
most `Patience.tries` times, and from the beginning no more often than that. Memory: one block.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ocimodel.errors import DigestMismatchError, OcimodelError, UnavailableError
from ocimodel.oci.digest import Digest
from ocimodel.stores.http import quirks, sessions
from ocimodel.stores.http.answers import Answer
from ocimodel.stores.http.asking import Asking
from ocimodel.stores.http.feed import Feed
from ocimodel.stores.http.manifests import promised_digest
from ocimodel.stores.http.policy import Backoff
from ocimodel.stores.http.repository import Repository
from ocimodel.stores.http.sessions import ANY, Session
from ocimodel.stores.http.transport import EMPTY, Body, Request
from ocimodel.stores.protocol import Memo, Progress, Source

_SMALL = 1024 * 1024
_LARGE = 16 * 1024 * 1024
_HEADWAY = 1024 * 1024
"""So many new bytes have to arrive between two failures for the patience to begin anew."""
_DONE = frozenset({200, 201, 202, 204})
_REFUSED = frozenset({400, 405, 409, 411, 413, 415, 416, 422, 501})
_TOO_LARGE = frozenset({413, 416})


@dataclass(slots=True)
class Line:
    """How connections to a repository have held. ``broke``: one did, in the middle of a large blob."""

    broke: bool = False


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
    line: Line | None = None,
) -> Digest:
    """Store the bytes of ``source``; nothing is sent where the registry has them, as far as it is asked.

    Args:
        asking: what earlier questions came to; None: always ask.
        line: what became of earlier uploads.
        session: an upload that is already open (from a mount that was not possible).

    Raises:
        DigestMismatchError: the source has other bytes than ``digest``, or the registry stored others.
        StorageError: the source cannot be read.
    """
    feed = Feed(source, digest, progress)
    try:
        if digest is None and (source.size <= _SMALL or quirks.of(repository.host).whole):
            digest = feed.hashed()
            feed.promise(digest)
        if digest is not None and session is None and (asking is None or asking.pays(source.size, digest)):
            there = blob_size(repository, digest) in (source.size, -1)
            if asking is not None:
                asking.found(there)
            if there:
                return digest
        return _Upload(repository, feed, session, source.memo, line or Line()).run()
    finally:
        feed.close()


class _Upload:
    def __init__(
        self, repository: Repository, feed: Feed, session: Session | None, memo: Memo | None, line: Line
    ) -> None:
        self._repository = repository
        self._feed = feed
        self._session = session
        self._memo = memo
        self._line = line
        self._patience = repository.transport.patience
        self._quirks = quirks.of(repository.host)
        self._answered = False
        self._committing = False
        self._refused_whole = False
        self._restarts = 0
        # Since bytes arrived:
        self._backoff = Backoff(self._patience, wall=False)
        self._breaks = 0
        self._arrived = 0
        self._piece = 0
        """The length of pieces; 0: all in one request."""
        longest = self._quirks.longest
        if (line.broke and not self._quirks.whole) or (longest is not None and feed.size > longest):
            self._in_pieces(quirks.PIECE)

    def run(self) -> Digest:
        try:
            if self._session is None and self._goes_on:
                self._take_up()
            digest = self._until_it_is_there()
        except OcimodelError as error:
            self._feed.rewind()
            if self._memo is None or error.exit_code not in (75, 77):
                if isinstance(error, UnavailableError):
                    self._drop()
                else:
                    sessions.cancel(self._repository, self._session)
                self._forget()
            raise
        self._forget()
        return digest

    def _until_it_is_there(self) -> Digest:
        while True:
            try:
                return self._try()
            except _Failed as failure:
                self._answered = failure.status > 0
                if self._committing and self._is_stored():
                    self._feed.rewind(self._feed.size)
                    return self._feed.digest
                self._await(failure)

    @property
    def _acknowledged(self) -> int:
        return self._session.acknowledged if self._session else 0

    @property
    def _goes_on(self) -> bool:
        """Whether an upload that broke off can be taken up here."""
        return self._quirks.most > 0 and (self._piece > 0 or not self._quirks.whole)

    def _forget(self) -> None:
        if self._memo is not None:
            self._memo.clear()

    def _remember(self) -> None:
        if self._session is not None:
            sessions.remember(self._memo, self._repository, self._session, self._feed.size)

    def _take_up(self) -> None:
        """Go on where a process that was killed was, if the registry still knows of it."""
        kept = sessions.recall(self._memo, self._repository, self._feed.size)
        found = sessions.ask(self._repository, kept, self._feed.size) if kept else None
        if found is not None and found.acknowledged:
            self._feed.pass_over(found.acknowledged)
            self._session = found
            self._remember()
            self._in_pieces(quirks.PIECE)

    def _is_stored(self) -> bool:
        """A commit whose answer got lost is a commit."""
        try:
            return blob_size(self._repository, self._feed.digest) == self._feed.size
        except UnavailableError:
            return False

    def _await(self, failure: _Failed) -> None:
        """Wait, and find out how to go on. Raises where there is no way, or no more patience."""
        self._made_headway()
        while self._backoff.again(failure.retry_after or None):
            try:
                found = self._recover(failure)
            except UnavailableError:
                continue  # nobody answers; what was sent may still be there
            if found and self._restarts < self._patience.tries:
                return
            break
        raise failure.error from None

    def _recover(self, failure: _Failed) -> bool:
        """Choose how the next try sends, and where it begins. False: there is no way left."""
        refused = failure.status in _REFUSED
        too_large = self._piece > 0 and failure.status in _TOO_LARGE
        before = self._acknowledged
        if self._session is not None and self._goes_on and (too_large or not refused):
            self._session = sessions.ask(self._repository, self._session, self._feed.most)
        if (refused and not too_large) or not self._acknowledged:
            # Also where it has nothing: "0-0" is what registries say of one byte as well.
            self._drop()
            self._restarts += 1
            self._arrived = 0
        else:
            self._remember()
        self._made_headway()
        self._feed.rewind(self._acknowledged)
        if not refused:
            self._broke(failure)
            return True
        return self._acknowledged > before or self._smaller()

    def _made_headway(self) -> None:
        if self._acknowledged >= self._arrived + _HEADWAY:
            self._arrived = self._acknowledged
            self._backoff = Backoff(self._patience, wall=False)
            self._breaks = 0

    def _drop(self) -> None:
        if self._answered:
            sessions.cancel(self._repository, self._session)
        self._session = None

    def _broke(self, failure: _Failed) -> None:
        """A connection did, or the registry's patience: from now on less at once."""
        if failure.status == 429 or self._quirks.whole:
            return
        self._breaks += 1
        self._line.broke |= failure.status != 401 and self._feed.most > quirks.PIECE
        if self._piece or self._acknowledged or self._line.broke or self._breaks > 1:
            wanted = quirks.PIECE if self._breaks == 1 else quirks.SMALLER[0]
            self._in_pieces(min(wanted, self._piece or wanted))

    def _in_pieces(self, wanted: int) -> None:
        """From now on in pieces of ``wanted`` bytes, as far as the registry takes any."""
        self._piece = self._quirks.piece(self._feed.size, wanted)

    def _smaller(self) -> bool:
        """After a refusal: smaller pieces, or the whole blob where that was not refused. False: neither."""
        if not self._piece:
            if self._feed.promised is None:
                self._feed.promise(self._feed.hashed())  # then it can go in one PUT
                return True
            self._refused_whole = True
        now = self._piece or self._feed.size + 1
        for size in quirks.SMALLER:
            self._in_pieces(size)
            if 0 < self._piece < now:
                return True
        self._piece = 0
        if self._session is not None:
            self._drop()
        return not self._refused_whole

    def _try(self) -> Digest:
        self._committing = False
        session = self._session = self._session or sessions.start(self._repository)
        if session is None:
            raise UnavailableError(f"{self._repository.host} answers 201 to the start of an upload")
        if not session.acknowledged:
            self._remember()
        feed = self._feed
        if self._piece or session.acknowledged or feed.promised is None:
            self._send_rest()
            if feed.promised is None:
                feed.promise(feed.digest)
            answer = self._commit(EMPTY)
        else:
            answer = self._commit(Body(length=feed.size, open=feed.blocks))
        stored = promised_digest(answer)
        if stored is not None and stored.algorithm == feed.digest.algorithm and stored != feed.digest:
            raise DigestMismatchError("blob as stored", expected=str(feed.digest), actual=str(stored))
        if stored is None or feed.size > _SMALL or self._piece:
            self._confirm(feed.digest)
        return feed.digest

    def _send_rest(self) -> None:
        """What the registry does not have: in pieces, or in one request."""
        feed, start = self._feed, self._acknowledged
        while start < feed.size:
            session = self._session
            assert session is not None
            stop = min(start + max(self._piece, session.least), feed.size) if self._piece else feed.size
            body = Body(length=stop - start, open=partial(feed.blocks, start, stop))
            whole = not start and not self._piece
            answer = self._send("PATCH", session.location, body, "" if whole else f"{start}-{stop - 1}")
            # ECR's Range is stale from the second piece on, so what was sent counts, not what it says.
            self._session = sessions.advanced(self._repository, session, answer, stop)
            self._remember()
            start = stop
        # All of it may be there already: then only the digest is missing.
        feed.pass_over(feed.size)

    def _commit(self, body: Body) -> Answer:
        """The closing PUT. The digest is appended as text: a Location's query is the registry's own."""
        assert self._session is not None
        self._committing = True
        location = self._session.location
        digest = str(self._feed.promised).replace(":", "%3A")
        return self._send("PUT", f"{location}{'&' if '?' in location else '?'}digest={digest}", body)

    def _send(self, method: str, url: str, body: Body, content_range: str = "") -> Answer:
        # Some registries look at the token only after the last byte, or while they read.
        large = body.length > _LARGE
        request = Request(
            method=method,
            url=url,
            scopes=self._repository.writing,
            headers={
                "Content-Type": "application/octet-stream",
                **({"Content-Range": content_range} if content_range else {}),
            },
            body=body,
            accept=ANY | {401} if large else ANY,
            once=True,
            fresh=large,
            resumes=large,
            # Registries on object stores copy the blob before they answer.
            wait=min(self._patience.stall * 15, self._patience.stall + self._feed.size / 20e6),
        )
        try:
            with self._repository.send(request) as answer:
                if answer.status in _DONE:
                    return answer
                raise _Failed(answer.error(), answer.status, answer.header("retry-after"))
        except UnavailableError as error:
            raise _Failed(error) from None

    def _confirm(self, digest: Digest) -> None:
        """Ask for the size: a registry was seen to keep only the last chunk, and to say 201."""
        backoff = Backoff(self._patience)
        while (size := blob_size(self._repository, digest)) is None:
            if not backoff.again():
                raise _Failed(UnavailableError(f"{self._repository.host} took {digest} and does not have it"))
        if size not in (self._feed.size, -1):
            raise DigestMismatchError(f"{digest} as stored", expected=f"{self._feed.size} bytes", actual=str(size))
