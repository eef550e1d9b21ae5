"""Finds out whether certificates were revoked, where the policy asks for it, before anybody judges.

Guarantees: nothing is asked but what `CertificateEntry.asks` names: certificates of chains that lead to a root
which the policy trusts, at the services that these certificates name, and only in mode online. What was heard is
kept in the cache directory, and used for an hour without asking again; where a service does not answer, until the
document says itself that it is too old. A cache that cannot be read or written is no error, and speaks for nobody:
whatever comes from it or from the network is judged by its signature.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ocimodel.attest.notary import NotarySignature
from ocimodel.errors import OcimodelError, UnavailableError
from ocimodel.stores import files
from ocimodel.transfer.places import REVOCATION, usable_cache_dir
from ocimodel.trust.certificates import CertificateEntry
from ocimodel.trust.evidence import Candidate, Evidence
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.revocation import UNKNOWN, Question
from ocimodel.trust.verdict import Verdict

if TYPE_CHECKING:
    from ocimodel.keys.revocation import Answer
    from ocimodel.stores.http.services import Services

FRESH: Final = 3600.0
"""Seconds for which nobody is asked again."""
MAX_QUESTIONS: Final = 64
MAX_KEPT: Final = 1000
_ASKERS = 4
_MAX_PLACES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What was found out about a certificate, and who could not be asked. Documents are DER."""

    responses: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()
    outages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Informed:
    """Evidence with what was found out, and the services that did not answer."""

    evidence: Evidence
    outages: tuple[str, ...] = ()

    def check(self, verdict: Verdict) -> None:
        """Raises UnavailableError where the artifact is refused only because a service did not answer."""
        refusing = verdict.refusing
        if refusing is not None and refusing.reason == UNKNOWN and self.outages:
            raise UnavailableError(
                f"{refusing.detail}; {self.outages[0]}",
                hint="Run the same command again; a policy can also name CRLs, which need no service (crlFiles).",
                reason="revocation-service",
            )


def inform(evidence: Evidence, policy: TrustPolicy, now: datetime, *, offline: bool = False) -> Informed:
    """``evidence`` with what has to be known of its certificates; as it is where the policy asks for nothing."""
    asked = [(item, _questions(item, policy, evidence.name, now)) for item in evidence.candidates]
    unique = list(dict.fromkeys(question for _, questions in asked for question in questions))[:MAX_QUESTIONS]
    if not unique:
        return Informed(evidence=evidence)
    heard = dict(zip(unique, _find_out(unique, now, offline=offline), strict=True))
    return Informed(
        evidence=replace(evidence, candidates=tuple(_with(item, questions, heard) for item, questions in asked)),
        outages=tuple(outage for item in heard.values() for outage in item.outages),
    )


def _questions(item: Candidate, policy: TrustPolicy, name: str, now: datetime) -> tuple[Question, ...]:
    rules = policy.rules_for(name)
    if rules is None or not isinstance(item.signed, NotarySignature):
        return ()
    found: dict[Question, None] = {}
    for entry in policy.ring.entries:
        if isinstance(entry, CertificateEntry) and entry.id in rules.demand.entries:
            found |= dict.fromkeys(entry.asks(item.signed, now, rules.leeway))
    return tuple(found)


def _with(item: Candidate, questions: Sequence[Question], heard: dict[Question, Heard]) -> Candidate:
    answers = [heard[question] for question in questions if question in heard]
    if not answers or not isinstance(item.signed, NotarySignature):
        return item
    signed = replace(
        item.signed,
        responses=tuple(document for answer in answers for document in answer.responses),
        crls=tuple(document for answer in answers for document in answer.crls),
    )
    return replace(item, signed=signed)


def _find_out(questions: Sequence[Question], now: datetime, *, offline: bool) -> list[Heard]:
    root = usable_cache_dir()
    kept = _Kept(root / REVOCATION if root is not None else None)
    if offline or not any(question.online for question in questions):
        return [_Inquiry(question, kept, None, now).heard() for question in questions]
    from ocimodel.stores.http.services import Services

    services = Services()
    try:
        with ThreadPoolExecutor(max_workers=_ASKERS) as pool:
            inquiries = [_Inquiry(item, kept, services if item.online else None, now) for item in questions]
            return list(pool.map(_Inquiry.heard, inquiries))
    finally:
        services.close()


@dataclass(slots=True)
class _Inquiry:
    """One certificate: OCSP first, CRLs where that tells nothing (specifications, trust-store-trust-policy.md)."""

    question: Question
    kept: _Kept
    services: Services | None
    now: datetime
    outages: list[str] = field(default_factory=list)

    def heard(self) -> Heard:
        responses = [found for found in map(self._response, self.question.certificate.ocsp[:_MAX_PLACES]) if found]
        told = any(self._answer(raw).outcome != "unknown" for raw in responses)
        crls = [] if told else list(self._crls())
        return Heard(responses=tuple(responses), crls=tuple(crls), outages=tuple(self.outages))

    def _answer(self, response: bytes) -> Answer:
        from ocimodel.keys.ocsp import by_response
        from ocimodel.keys.revocation import Times

        asked = self.question
        return by_response(asked.certificate, asked.issuer, response, (), Times(now=self.now))

    def _response(self, url: str) -> bytes | None:
        from ocimodel.keys import ocsp

        def ask(services: Services) -> bytes:
            body = ocsp.request(self.question.certificate, self.question.issuer)
            return services.post(url, body, content_type="application/ocsp-request", limit=ocsp.MAX_BYTES)

        name = _name("ocsp", url, self.question.certificate.thumbprint)
        return self._document(name, url, ask, lambda raw: self._answer(raw).said, ocsp.MAX_BYTES)

    def _crls(self) -> Iterable[bytes]:
        from ocimodel.keys import crls

        for found in filter(None, map(self._crl, self.question.certificate.crls[:_MAX_PLACES])):
            yield found
            yield from filter(None, map(self._crl, crls.deltas(found)[:_MAX_PLACES]))

    def _crl(self, url: str) -> bytes | None:
        from ocimodel.keys import crls

        def ask(services: Services) -> bytes:
            return services.get(url, limit=crls.MAX_BYTES)

        return self._document(_name("crl", url), url, ask, crls.is_one, crls.MAX_BYTES)

    def _document(
        self,
        name: str,
        url: str,
        ask: Callable[[Services], bytes],
        worth_keeping: Callable[[bytes], bool],
        limit: int,
    ) -> bytes | None:
        known, age = self.kept.get(name, limit)
        if known is not None and not worth_keeping(known):
            known = None  # too old, or damaged
        if self.services is None or (known is not None and 0 <= age < FRESH):
            return known
        try:
            found = ask(self.services)
        except UnavailableError as error:
            self.outages.append(error.message)
            return known
        if not worth_keeping(found):
            self.outages.append(f"{_host(url)} answers with something else than was asked for")
            return known
        self.kept.put(name, found)
        return found


def _host(url: str) -> str:
    with suppress(ValueError):
        return ascii(urlsplit(url).hostname or "")[1:-1]
    return "a service"


def _name(kind: str, *parts: str) -> str:
    """Of a document in the cache. What a certificate says never becomes a part of a path."""
    return f"{kind}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()}"


class _Kept:
    """Documents in the cache directory, in files with names of ours. Nothing here ever raises."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, name: str, limit: int) -> tuple[bytes | None, float]:
        """A document, and how many seconds ago it was put here."""
        if self._folder is not None:
            with suppress(OcimodelError, OSError):
                data = files.read(self._folder, name, limit=limit)
                return data, time.time() - (self._folder / name).stat().st_mtime
        return None, 0.0

    def put(self, name: str, data: bytes) -> None:
        if self._folder is not None:
            with suppress(OcimodelError, OSError):
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                files.replace(self._folder, name, data)
                self._sweep(self._folder)

    def _sweep(self, folder: Path) -> None:
        """Those that were not renewed for the longest time go."""
        found = [entry for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)]
        if len(found) > MAX_KEPT:
            for entry in sorted(found, key=lambda entry: entry.stat().st_mtime)[: len(found) - MAX_KEPT]:
                os.unlink(entry.path)
