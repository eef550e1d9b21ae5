"""Where a model is to be deployed, held against what was signed about it.

What is signed about a model are the claims of each signature (annotations of its subject) and, since every
signature covers the manifest, the provenance layer. A key is one of

    environment, channel             our claims of these names
    model.name, model.version        SLSA provenance: externalParameters.model
    python, platform, accelerator …  SLSA provenance: each text in internalParameters.environment
    package.NAME                     SLSA provenance: the version in a dependency pkg:TYPE/NAME@VERSION
    anything else                    the claim that is called like it

Guarantees: the claims of one signature are never joined with those of another: what one does not say is said by the
provenance, or not at all. A key that the policy asks for and that nothing signed says is a mismatch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ocimodel.errors import FormatError
from ocimodel.model.provenance import Provenance
from ocimodel.oci import media

OURS = {"environment": media.CLAIM_ENVIRONMENT, "channel": media.CLAIM_CHANNEL}
"""Keys that stand for claims of ours."""

PACKAGE = "package."
MAX_FACTS = 20_000
_RANGE = re.compile(r"\s*(?:[<>=!~]=?|===)")
_PURL = re.compile(r"pkg:[a-z0-9.+-]+/(?:[^@?#]*/)?([^/@?#]+)@([^?#]+)")


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a policy asks of one key: one of some values, or a version in a range (PEP 440)."""

    values: tuple[str, ...] = ()
    versions: str = ""

    @classmethod
    def parse(cls, text: str) -> Requirement:
        """``>=1.4,<2`` is a range, anything else a value. Raises `FormatError`."""
        if _RANGE.match(text) is None:
            return cls(values=(text,))
        from packaging.specifiers import InvalidSpecifier, SpecifierSet

        try:
            SpecifierSet(text)
        except InvalidSpecifier:
            raise FormatError(f"{text[:80]!r} is no range of versions, such as >=1.4,<2") from None
        return cls(versions=text)

    def holds(self, value: str) -> bool:
        """Whether ``value`` is what is asked for; what is no version lies in no range."""
        if not self.versions:
            return value in self.values
        from packaging.specifiers import SpecifierSet
        from packaging.version import InvalidVersion, Version

        try:
            return SpecifierSet(self.versions).contains(Version(value[:256]), prereleases=True)
        except InvalidVersion:
            return False

    def __str__(self) -> str:
        return self.versions or " or ".join(repr(value) for value in self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What signed metadata must agree with.

    Attributes:
        given: what the deployment says of itself; only what is signed and says something else is a mismatch.
        required: what the policy asks for; here silence is a mismatch as well.
        facts: what the provenance says; None where nobody has read it.
    """

    given: Mapping[str, str] = field(default_factory=dict)
    required: Mapping[str, Requirement] = field(default_factory=dict)
    facts: Mapping[str, str] | None = None

    @property
    def hangs_on_provenance(self) -> bool:
        """Whether a key is asked about of which the provenance may speak."""
        return any(key not in OURS for key in (*self.given, *self.required))

    def mismatch(self, claims: Mapping[str, str], *, silence: bool = True) -> str:
        """Why a signature with these claims does not fit, or an empty string.

        Args:
            silence: whether it is a mismatch where nothing signed speaks of what is required.
        """
        for key, wanted in sorted(self.given.items()):
            for said in self._said(key, claims):
                if said != wanted:
                    return f"signed for {key} {said!r}, not for {wanted!r}"
        for key, requirement in sorted(self.required.items()):
            values = list(self._said(key, claims))
            if not values and silence:
                return f"nothing that was signed says {key}, which has to be {requirement}"
            for said in values:
                if not requirement.holds(said):
                    return f"signed for {key} {said!r}, which has to be {requirement}"
        return ""

    def _said(self, key: str, claims: Mapping[str, str]) -> Iterator[str]:
        claimed = claims.get(OURS.get(key, key))
        if claimed is not None:
            yield claimed
        if key not in OURS and self.facts and key in self.facts:
            yield self.facts[key]


def facts_of(provenance: Provenance) -> dict[str, str]:
    """What a provenance document says, by the keys above. Never raises: what is not of the kind is left out."""
    if provenance.predicate_type != media.SLSA_PROVENANCE:
        return {}
    definition = _object(provenance.predicate.get("buildDefinition"))
    found: dict[str, str] = {}
    for item in _list(definition.get("resolvedDependencies"))[:MAX_FACTS]:
        match = _PURL.fullmatch(_text(_object(item).get("uri")))
        if match is not None:
            found.setdefault(f"{PACKAGE}{match[1].lower()}", match[2])
    environment = _object(_object(definition.get("internalParameters")).get("environment"))
    found |= {key: value for key, value in environment.items() if isinstance(value, str)}
    model = _object(_object(definition.get("externalParameters")).get("model"))
    found |= {f"model.{key}": _text(model[key]) for key in ("name", "version") if _text(model.get(key))}
    return found


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
