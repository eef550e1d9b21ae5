"""Trusted times from verification summaries: an active promoter says that a signature was there when it looked.

A summary lists what its verdict rests on, each by the digest of its manifest. Whoever was trusted to promote then,
and still is, is somebody whom the signer of those cannot sway: a key that was retired or stolen later did not make
them.

Guarantees: pure. Only summaries count whose signer is a promoter that the scope names, in good standing by itself
and now, and that say a time which is not still to come; about anything else nothing is vouched for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from ocimodel.attest import summary
from ocimodel.errors import FormatError
from ocimodel.oci import media
from ocimodel.trust.attestations import statements
from ocimodel.trust.claims import parse_time
from ocimodel.trust.context import Deployment
from ocimodel.trust.evidence import Evidence
from ocimodel.trust.judge import Status, Terms
from ocimodel.trust.rules import Rules


def vouched(evidence: Evidence, rules: Rules, terms: Terms) -> dict[str, datetime]:
    """The earliest time at which each signature was seen, by the digest of its manifest."""
    if not any(entry.standing.has_an_end for entry in terms.entries):
        return {}
    named = rules.demand.entries.union(*(gate.demand.entries for gate in rules.gates))
    promoters = tuple(
        entry
        for entry in terms.ring.entries
        if entry.id in named and "promoter" in entry.roles and entry.standing.status == "active"
    )
    own = tuple(
        item
        for item in evidence.candidates
        if item.signed is not None and item.signed.predicate_type == media.SLSA_SUMMARY
    )
    plain = replace(terms, entries=promoters, deployment=Deployment(), needs_expiry=False, longest=None, seen={})
    found: dict[str, datetime] = {}
    for judged in statements(replace(evidence, candidates=own), plain):
        # One that has expired says no less about the past.
        if (
            judged.status not in (Status.GOOD, Status.EXPIRED)
            or not judged.signers
            or judged.candidate.statement is None
        ):
            continue
        if all(signer.problem for signer in judged.signers):
            continue
        time = _time(judged.candidate.statement.predicate, terms)
        for digest in _inputs(judged.candidate.statement.predicate) if time else ():
            found[digest] = min(filter(None, (time, found.get(digest))))
    return found


def _time(predicate: Mapping[str, Any], terms: Terms) -> datetime | None:
    said = summary.read(predicate)
    try:
        time = parse_time(said.time) if said else None
    except FormatError:
        return None
    return time if time is not None and time - terms.now <= terms.leeway else None


def _inputs(predicate: Mapping[str, Any]) -> Iterator[str]:
    listed = predicate.get("inputAttestations")
    for item in listed if isinstance(listed, list) else ():
        digests = item.get("digest") if isinstance(item, dict) else None
        value = digests.get("sha256") if isinstance(digests, dict) else None
        if isinstance(value, str):
            yield f"sha256:{value}"
