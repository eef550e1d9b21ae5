"""What a TLS server before a registry does: it passes on what it is asked, and what is answered."""

from __future__ import annotations

import http.client
from collections.abc import Callable

from tests.scripted import Say, Seen

_ASKED = ("accept", "range")
_SAID = ("content-type", "content-range", "docker-content-digest", "oci-subject")


def before(host: str) -> Callable[[Seen], Say]:
    """For `tests.scripted.Scripted`; reading only."""

    def forward(seen: Seen) -> Say:
        connection = http.client.HTTPConnection(host)
        wanted = {name: value for name, value in seen.headers.items() if name in _ASKED}
        connection.request(seen.method, seen.path, headers=wanted)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() in _SAID]
        length = int(answer.headers.get("Content-Length", len(body)))
        return Say(answer.status, kept, body, length=length if seen.method == "HEAD" else -1)

    return forward
