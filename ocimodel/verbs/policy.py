"""Looking at policies: why one says what it says about an artifact, and what another one would change.

Guarantees: nothing is decided or written, and nothing fetched but what a verification fetches; every artifact is
judged anew from what its store holds now, as `verify` would judge it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from ocimodel.errors import OcimodelError, StorageError, UsageError
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store, target_of
from ocimodel.trust.explain import Explained, explain
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.verdict import Verdict
from ocimodel.verbs.deciding import decide
from ocimodel.verbs.judging import asked_tag, judged_name

_WORKERS = 4
MAX_LINE = 1024 * 1024
_EVENTS = ("verify", "pull", "promote")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """``checks`` say what ``verdict`` says, at length."""

    reference: Reference
    digest: Digest
    verdict: Verdict
    checks: tuple[Explained, ...]


def explain_artifact(
    reference: Reference,
    policy: TrustPolicy,
    *,
    access: Access,
    now: datetime,
    context: Mapping[str, str],
    name: str | None = None,
) -> Explanation:
    """Judge ``reference`` and say why.

    Raises:
        NotFoundError, UnavailableError, AuthenticationError: from the store.
    """
    with open_store(reference, access, mirrors=True) as store:
        target = target_of(reference, store)
        subject, raw = store.get_manifest(target)
        asked = judged_name(reference, name)
        verdict, evidence, _ = decide(
            store, subject, raw, asked, policy, now, context, tag=asked_tag(reference, target, name)
        )
    return Explanation(
        reference=reference.at(subject.digest),
        digest=subject.digest,
        verdict=verdict,
        checks=explain(policy, evidence, now, context),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """One artifact under two policies. ``before`` is None where there is no other; ``error``: it was not judged."""

    reference: str
    before: Verdict | None = None
    after: Verdict | None = None
    error: OcimodelError | None = None

    @property
    def change(self) -> str:
        """``same``, ``refused`` (now, and not before), ``accepted``, ``differs`` or ``error``."""
        if self.after is None:
            return "error"
        before = self.before.would_exit if self.before is not None else 0
        if before == self.after.would_exit:
            return "same"
        if not before or not self.after.would_exit:
            return "refused" if self.after.would_exit else "accepted"
        return "differs"


def simulate(
    references: Sequence[Reference],
    policy: TrustPolicy,
    current: TrustPolicy | None,
    *,
    access: Access,
    now: datetime,
    context: Mapping[str, str],
) -> tuple[Simulated, ...]:
    """Each of ``references`` under ``policy`` and under ``current``; what cannot be had stops nothing."""

    def one(reference: Reference) -> Simulated:
        try:
            with open_store(reference, access, mirrors=True) as store:
                target = target_of(reference, store)
                subject, raw = store.get_manifest(target)
                name = judged_name(reference)
                judged = partial(
                    decide, store, subject, raw, name, now=now, context=context, tag=asked_tag(reference, target)
                )
                after = judged(policy=policy)[0]
                before = judged(policy=current)[0] if current else None
        except OcimodelError as error:
            return Simulated(reference=str(reference), error=error)
        return Simulated(reference=str(reference.at(subject.digest)), before=before, after=after)

    with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
        return tuple(pool.map(one, references))


def judged_before(log: Path) -> tuple[Reference, ...]:
    """The artifacts that the events of an audit log are about, each once, pinned.

    Raises:
        UsageError: there is no such file, or it is none.
        StorageError: it cannot be read.
    """
    found: dict[str, Reference] = {}
    try:
        with log.open("rb") as file:
            while line := file.readline(MAX_LINE + 1):
                if len(line) > MAX_LINE:
                    raise UsageError(f"{log} is no audit log: a line has more than {MAX_LINE} bytes")
                found |= ((str(item), item) for item in _subject(line))
    except FileNotFoundError:
        raise UsageError(f"there is no audit log {log}", hint="Check the path.") from None
    except OSError as error:
        raise StorageError(f"cannot read {log}: {error.strerror}") from error
    return tuple(found.values())


def _subject(line: bytes) -> Iterable[Reference]:
    """The pinned artifact of one event; nothing where it is about none, or is no event."""
    try:
        event: Any = json.loads(line)
    except ValueError:
        return
    kind = str(event.get("type", "")) if isinstance(event, dict) else ""
    if kind.split(".")[-2:-1] and kind.split(".")[-2] in _EVENTS:
        try:
            reference = Reference.parse(str(event.get("subject", "")))
        except UsageError:
            return
        if reference.digest is not None:
            yield reference
