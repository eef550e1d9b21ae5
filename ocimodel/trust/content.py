"""What is known of an artifact's content when it is judged: its layers, and what its provenance says.

Guarantees: pure and total. Only bytes that the subject's digest stands for are believed: another manifest, and a
provenance that is not the manifest's, are problems, never facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from ocimodel.errors import IntegrityError
from ocimodel.model.provenance import Provenance
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.manifest import Manifest
from ocimodel.trust.context import facts_of
from ocimodel.trust.evidence import Evidence
from ocimodel.trust.verdict import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """``layers`` None: nothing is known. ``facts`` None: the provenance was not read; see `context`."""

    layers: tuple[Descriptor, ...] | None = None
    provenance: Descriptor | None = None
    facts: Mapping[str, str] | None = None
    problems: tuple[Finding, ...] = ()

    @property
    def unread(self) -> bool:
        """There is a provenance, and nobody has read it."""
        return self.provenance is not None and self.facts is None

    @classmethod
    def of(cls, evidence: Evidence) -> Self:
        """What ``evidence`` holds of it."""
        if evidence.manifest is None:
            return cls()
        try:
            evidence.subject.digest.check(evidence.manifest, "manifest")
            if evidence.subject.media_type in media.INDEXES:
                return cls(layers=())  # names other artifacts, each with a verdict of its own
            manifest = Manifest.from_bytes(evidence.manifest, evidence.subject.media_type)
        except IntegrityError as error:
            return cls(problems=(_problem(error),))
        layer = next((item for item in manifest.layers if item.media_type == media.PROVENANCE_LAYER), None)
        layers = tuple(manifest.layers)
        known = cls(layers=layers, provenance=layer)
        if layer is None or evidence.provenance is None:
            return known
        try:
            layer.digest.check(evidence.provenance, "provenance")
            facts = facts_of(Provenance.from_bytes(evidence.provenance))
        except IntegrityError as error:
            return cls(layers=layers, provenance=layer, facts={}, problems=(_problem(error),))
        return cls(layers=layers, provenance=layer, facts=facts)


def _problem(error: IntegrityError) -> Finding:
    return Finding(exit_code=14, reason=error.reason, detail=error.message)
