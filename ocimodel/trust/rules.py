"""What one scope of a policy asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ocimodel.oci.digest import Digest
from ocimodel.trust.claims import format_time
from ocimodel.trust.counting import Demand
from ocimodel.trust.scope import Glob
from ocimodel.trust.verdict import Finding, Mode, Ruling


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
        checks: modes of single checks, instead of ``mode``.
        leeway: by how much this machine's clock may be wrong.
        exemptions: by digest.
    """

    match: Glob
    demand: Demand
    environment: str = ""
    mode: Mode = "enforce"
    checks: Mapping[str, Mode] = field(default_factory=dict)
    leeway: timedelta = timedelta(0)
    exemptions: Mapping[str, Exemption] = field(default_factory=dict)

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

    def claims_wanted(self, context: Mapping[str, str]) -> Mapping[str, str]:
        """What the claims of signatures must not contradict: what was given, and the scope's own environment."""
        return {**context, "environment": self.environment} if self.environment else context

    def contradictions(self, context: Mapping[str, str]) -> Iterable[Finding]:
        """Where the deployment says of itself what these rules are not for."""
        given = context.get("environment")
        if self.environment and given is not None and given != self.environment:
            detail = f"deployed to {given!r}, but {self.match} is for the environment {self.environment!r}"
            yield Finding(exit_code=17, reason="metadata-mismatch", detail=detail)
