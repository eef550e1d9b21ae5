"""What a server's clock says, measured against this machine's.

Nobody signs that, so it never decides anything: it only tells a wrong clock from what has really expired.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime


def offset(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """By how much the server's clock is ahead of ``now``, to the second (RFC 9110, section 6.6.1).

    None where it does not say, or where the answer came out of a cache (section 5.1 of RFC 9111): its date is old.
    """
    if headers.get("age", "0").strip() not in ("", "0"):
        return None
    try:
        said = parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError, TypeError):
        return None
    return (said if said.tzinfo is not None else said.replace(tzinfo=UTC)) - now
