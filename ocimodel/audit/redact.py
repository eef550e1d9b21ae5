"""Takes out of a text what must not be kept or shown: user names and passwords in URLs, queries, bearer tokens.

This is the last line of defence: messages are written not to hold such things in the first place. Only the first
16 KiB of a text are looked at, and the rest is dropped, so that no text takes long.
"""

from __future__ import annotations

import re

MAX_TEXT = 16 * 1024
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,30}://)[^\s/'\"<>]*@")
# A reference that someone wrote with credentials in it: user:password@host/name. The digest of a reference
# (name:tag@sha256:…) looks alike and stays.
_BARE = re.compile(r"(?<![\w@/.:+-])[\w.+%-]{1,256}:[^\s/@'\"<>]{1,1024}@(?=[\w.-]+[:/])(?!sha(?:256|512):)")
_QUERY = re.compile(r"(?P<url>[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s?#'\"<>]*)[?#][^\s'\"<>]*")
_TOKEN = re.compile(r"(?i)\b(?P<kind>bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")


def redact(text: str) -> str:
    """The text without credentials.

    >>> redact("GET https://me:secret@reg.example/v2/?token=abc failed")
    'GET https://reg.example/v2/ failed'
    """
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT].rpartition(' ')[0]}…"  # half a URL could hide its password
    text = _USERINFO.sub(r"\g<scheme>", text)
    text = _BARE.sub("", text)
    text = _QUERY.sub(r"\g<url>", text)
    return _TOKEN.sub(r"\g<kind> …", text)
