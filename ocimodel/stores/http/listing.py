"""Lists that come in pages: Link headers (RFC 8288; distribution-spec v1.1, "Listing Tags").

Guarantees: a next page is fetched only from the same origin and never twice; pages and bytes are capped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urljoin

from ocimodel.errors import UnavailableError
from ocimodel.stores.http.answers import Answer
from ocimodel.stores.http.origins import Origin, redacted
from ocimodel.stores.http.policy import PAGE_BYTES, PAGES
from ocimodel.stores.http.repository import Repository
from ocimodel.stores.http.transport import Request

_LINK = re.compile(r'<([^>]*)>((?:\s*;\s*[a-zA-Z*]+\s*=\s*(?:"[^"]*"|[^\s",;]+))*)')
_NEXT = re.compile(r';\s*rel\s*=\s*(?:"(?:[^"]*\s)?next(?:\s[^"]*)?"|next(?:[\s;]|$))', re.IGNORECASE)


class TooMuch(Exception):
    """A cap cut the list."""


def follow(
    repository: Repository, request: Request, what: str, *, kind: str = ""
) -> Iterator[tuple[Answer, bytes]]:
    """Each page's answer and body. What is not 200, or not of the media type ``kind``, is not read.

    Raises:
        TooMuch: there are more pages, or more bytes, than are taken.
        UnavailableError: a Link leads to another origin, or in a circle.
    """
    left = PAGE_BYTES
    seen = {request.url}
    for _ in range(PAGES):
        with repository.send(request) as answer:
            if answer.status == 200 and kind in ("", answer.media_type):
                if answer.length is not None and answer.length > left:
                    raise TooMuch
                raw = answer.read(left, what)
            else:
                raw = b""
        yield answer, raw
        left -= len(raw)
        url = next_page(answer)
        if url is None:
            return
        if url in seen:
            raise UnavailableError(f"GET {redacted(url)}: the pages go round in a circle")
        seen.add(url)
        request = Request(
            method="GET", url=url, scopes=request.scopes, headers=request.headers, accept=request.accept
        )
    raise TooMuch


def next_page(answer: Answer) -> str | None:
    """The URL of the next page. Raises UnavailableError where it is another origin's."""
    for line in answer.headers("link"):
        for target, parameters in _LINK.findall(line[:8192]):
            if _NEXT.search(parameters):
                return _same_origin(answer, target)
    return None


def _same_origin(answer: Answer, target: str) -> str:
    try:
        url: str = urljoin(answer.url, target).partition("#")[0]
        if Origin.of(url) == answer.origin:
            return url
    except ValueError:
        pass
    raise UnavailableError(
        f"GET {redacted(answer.url)}: the next page is said to be elsewhere: refused", reason="redirect"
    )
