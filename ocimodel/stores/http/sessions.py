"""Uploads that a registry holds open: begun, asked about, given up, remembered (distribution-spec v1.1, "Pushing
blobs").

Guarantees: where an upload goes on is judged as a redirect is, also after it was remembered; what a registry says
it has is believed up to what was sent and no further. A note about an upload holds its address, which may carry
secrets of the registry: it goes to a `Memo` and nowhere else.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urljoin

from ocimodel.errors import OcimodelError, UnavailableError
from ocimodel.stores.http.answers import Answer
from ocimodel.stores.http.auth import Scopes
from ocimodel.stores.http.origins import Origin, redacted
from ocimodel.stores.http.policy import RETRYABLE, Backoff
from ocimodel.stores.http.repository import Repository
from ocimodel.stores.http.transport import EMPTY, Request
from ocimodel.stores.protocol import Memo

# Everything but 401 and 403, which no other way of sending would mend.
ANY = frozenset({*range(200, 300), *range(400, 600)}) - {401, 403}
_NOTE_BYTES = 64 * 1024
_LIFE = 6 * 24 * 3600
"""Seconds. Registries purge what nobody finishes: distribution after a week."""
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Session:
    """An upload that the registry has opened. ``acknowledged`` bytes of it were answered with success."""

    location: str
    least: int = 0
    acknowledged: int = 0


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
    least = int(minimum[:12]) if minimum.isascii() and minimum.isdigit() else 0
    return Session(_location(repository, answer, None), least)


def advanced(repository: Repository, session: Session, answer: Answer, acknowledged: int) -> Session:
    """The session after ``answer``, which may have given it another address."""
    return Session(_location(repository, answer, session.location), session.least, acknowledged)


def ask(repository: Repository, session: Session, sent: int) -> Session | None:
    """How far the registry is; None where the upload is lost, or where it claims more than was ``sent``.

    Raises UnavailableError where no answer comes, AuthenticationError.
    """
    request = Request(method="GET", url=session.location, scopes=repository.writing, accept=ANY)
    backoff = Backoff(repository.transport.patience)
    while True:
        with repository.send(request) as answer:
            pass
        if answer.status not in RETRYABLE or not backoff.again(answer.header("retry-after") or None):
            break
    match = _RANGE.fullmatch(answer.header("range").strip())
    if answer.status not in (200, 202, 204) or match is None:
        return None
    # "0-0" is what registries say of no byte, and of one byte. ECR's Range stays behind what it has acknowledged.
    has = int(match[1]) + 1 if match[1] != "0" else 0
    if has > sent:
        return None
    try:
        return advanced(repository, session, answer, max(has, session.acknowledged))
    except UnavailableError:
        return None  # it would have us go on where we do not go


def cancel(repository: Repository, session: Session | None) -> None:
    """Best effort: a registry drops abandoned uploads by itself some day."""
    if session is None:
        return
    with suppress(OcimodelError):
        request = Request(
            method="DELETE", url=session.location, scopes=repository.writing, accept=ANY, once=True, body=EMPTY
        )
        repository.send(request).close()


def remember(memo: Memo | None, repository: Repository, session: Session, size: int) -> None:
    """Leave a note for whoever sends the same bytes after this process was killed."""
    if memo is not None:
        note = {
            "to": _whom(repository),
            "size": size,
            "location": session.location,
            "least": session.least,
            "acknowledged": session.acknowledged,
            "time": time.time(),
        }
        memo.write(json.dumps(note).encode())


def recall(memo: Memo | None, repository: Repository, size: int) -> Session | None:
    """The upload that a killed process left; None where there is none that could be taken up."""
    raw = memo.read() if memo is not None else b""
    if not raw or len(raw) > _NOTE_BYTES:
        return None
    with suppress(ValueError, LookupError, TypeError, UnavailableError):
        note = json.loads(raw)
        location, least, acknowledged = str(note["location"]), int(note["least"]), int(note["acknowledged"])
        young = 0 <= time.time() - float(note["time"]) < _LIFE
        if young and (note["to"], note["size"]) == (_whom(repository), size) and 0 <= acknowledged <= size:
            repository.transport.rules.check(repository.origin, Origin.of(location), "sends the upload to")
            return Session(location, least, acknowledged)
    return None


def _whom(repository: Repository) -> str:
    return f"{repository.origin}/{repository.path}"


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
