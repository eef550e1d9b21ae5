"""Telling a wrong clock from what has really expired. Pure.

Guarantees: a verdict stays what it is, and so does its exit code; only its class may become ``clock``. That takes
three things: nothing but time checks stand against the artifact (15, 21), another clock was measured, and by that
clock nothing would stand against it. Nobody signs that clock, so it decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from ocimodel.trust.evidence import Evidence
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.verdict import Verdict

TIME_CHECKS: Final = frozenset({15, 21})
SHARPNESS: Final = timedelta(seconds=5)
"""Smaller offsets are errors of measurement."""


def blame_clock(
    verdict: Verdict,
    policy: TrustPolicy,
    evidence: Evidence,
    now: datetime,
    context: Mapping[str, str],
    offset: timedelta | None,
) -> Verdict:
    """``verdict``, which says by how much this machine's clock is wrong where that explains it.

    Args:
        offset: by how much another clock is ahead of this one; None where none was measured.
    """
    codes = {finding.exit_code for finding in verdict.findings}
    if not codes or not codes <= TIME_CHECKS or offset is None or abs(offset) <= SHARPNESS:
        return verdict
    try:
        there = now + offset
    except OverflowError:
        return verdict
    return verdict if policy.evaluate(evidence, there, context).findings else replace(verdict, clock=offset)
