"""What one scope of a policy asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal, get_args

from ocimodel.oci.digest import Digest
from ocimodel.trust.claims import format_time
from ocimodel.trust.context import Requirement
from ocimodel.trust.counting import Demand
from ocimodel.trust.formats import Formats
from ocimodel.trust.gates import Gate
from ocimodel.trust.promotion import NOTHING, Promotion
from ocimodel.trust.scope import Glob
from ocimodel.trust.verdict import Finding, Mode, Ruling

CacheVerify = Literal["always", "fast"]
CACHE_VERIFY: Final[tuple[CacheVerify, ...]] = get_args(CacheVerify)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """Why a digest is revoked, and what to use instead."""

    reason: str
    replaced_by: str = ""

    def describe(self, digest: Digest) -> str:
        instead = f"; use {self.replaced_by}" if self.replaced_by else ""
        return f"{digest} is revoked: {self.reason}{instead}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemption:
    """Somebody answers for it that an artifact passes for a while although the rules say no."""

    reason: str
    owner: str
    expires: datetime

    def __str__(self) -> str:
        return f"exempted by {self.owner} until {format_time(self.expires)}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One scope.

    Attributes:
        match: the names that it holds for.
        demand: who must have signed.
        gates: which statements must be there beside signatures.
        formats: of weights, which are let through.
        context: what signed metadata must say, by key.
        checks: modes of single checks, instead of ``mode``.
        leeway: by how much this machine's clock may be wrong.
        max_age: how long ago the policy may have been issued.
        needs_expiry: whether a signature without an end counts for nothing.
        longest: how far off the end of a signature may lie.
        min_sequence: the lowest number of a release that is taken; 0 takes all.
        cache_verify: how what lies in the cache is held against its digests.
        exemptions: by digest.
        promotion: what is asked for when something is promoted there, and at no other time.
    """

    match: Glob
    demand: Demand
    gates: tuple[Gate, ...] = ()
    formats: Formats = field(default_factory=Formats)
    context: Mapping[str, Requirement] = field(default_factory=dict)
    environment: str = ""
    mode: Mode = "enforce"
    checks: Mapping[str, Mode] = field(default_factory=dict)
    leeway: timedelta = timedelta(0)
    max_age: timedelta | None = None
    needs_expiry: bool = False
    longest: timedelta | None = None
    min_sequence: int = 0
    cache_verify: CacheVerify = "always"
    exemptions: Mapping[str, Exemption] = field(default_factory=dict)
    promotion: Promotion = NOTHING

    @property
    def needs_manifest(self) -> bool:
        """Whether these rules ask about what the artifact holds."""
        return self.formats.restrict or bool(self.context)

    def ruling(self, digest: Digest, now: datetime) -> Ruling:
        """How hard these rules are for ``digest``."""
        exemption = self.exemptions.get(str(digest))
        holds = exemption is not None and now < exemption.expires
        return Ruling(
            scope=str(self.match),
            environment=self.environment,
            mode=self.mode,
            checks=self.checks,
            exempted=str(exemption) if holds else "",
        )

    def contradictions(self, context: Mapping[str, str]) -> Iterable[Finding]:
        """Where the deployment says of itself what these rules are not for."""
        given = context.get("environment")
        if self.environment and given is not None and given != self.environment:
            detail = f"deployed to {given!r}, but {self.match} is for the environment {self.environment!r}"
            yield Finding(exit_code=17, reason="metadata-mismatch", detail=detail)

    def rollback(self, newest: int | None) -> Iterable[Finding]:
        """Whether the highest number that was signed is under the floor."""
        if self.min_sequence and (newest is None or newest < self.min_sequence):
            has = "no sequence number" if newest is None else f"the sequence number {newest}"
            detail = f"it has {has}, and here nothing under {self.min_sequence} is taken"
            yield Finding(exit_code=18, reason="rollback", detail=detail)
