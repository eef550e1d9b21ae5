"""Addresses without what opens them.

A clone of a repository that was made with a token has the token in its URL, and a presigned URL of an object store
has a signature; tools write both down. Guarantees: `clean` takes user, password and such parameters out of a text
that is one URL, and leaves every other text as it is.
"""

from __future__ import annotations

import re
from typing import Any

_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]{0,31}://)([^/?#\s]*)([^?#\s]*)(\?[^#\s]*)?(#\S*)?")
_SECRET = re.compile(
    r"x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid|googleaccessid|signature|sig|"
    r"(?:access_|private_|auth_|job_|id_)?token|api_?key|key|password|passwd|secret|client_secret",
    re.IGNORECASE,
)


def clean(text: str) -> str:
    """``text``; where it is a URL, without credentials.

    >>> clean("git+https://bob:hunter2@git.example.com/ml?ref=main&token=x")
    'git+https://git.example.com/ml?ref=main'
    """
    match = _URL.fullmatch(text)
    if match is None:
        return text
    scheme, authority, path, query, fragment = (part or "" for part in match.groups())
    user, at, host = authority.rpartition("@")
    # Over SSH the user's name is part of the address; over HTTP it may be the token itself.
    kept = "" if "http" in scheme.lower() else user.partition(":")[0]
    parts = [part for part in query.removeprefix("?").split("&") if part]
    fit = [part for part in parts if _SECRET.fullmatch(part.partition("=")[0]) is None]
    return f"{scheme}{kept}{at if kept else ''}{host}{path}{'?' + '&'.join(fit) if fit else ''}{fragment}"


def clean_all(value: Any) -> Any:
    """A document with all of its texts cleaned."""
    if isinstance(value, dict):
        return {key: clean_all(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clean_all(item) for item in value]
    return clean(value) if isinstance(value, str) else value
