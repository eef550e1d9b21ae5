"""Signatures over files, held against the files of a manifest.

Guarantees: `recognise` is pure and total. A signature that knows files and no manifest is found to be about an
artifact only where that holds these files, each as a layer of its own, and no others. Nothing else of the manifest
is compared, and so nothing else of it is signed: `signed_part` is what is left of it then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ocimodel.attest.oms import OmsSignature, files_only
from ocimodel.errors import IntegrityError
from ocimodel.model.artifact import ModelArtifact
from ocimodel.oci import media
from ocimodel.oci.manifest import Manifest
from ocimodel.trust.evidence import Candidate


def needs_files(candidates: Iterable[Candidate]) -> bool:
    """Whether one of them can be judged only with the manifest at hand."""
    return any(files_only(item.signed) for item in candidates)


def recognise(candidates: Iterable[Candidate], manifest: bytes) -> list[Candidate]:
    """The candidates, those over files compared with ``manifest``."""
    candidates = list(candidates)
    if not needs_files(candidates):
        return candidates
    try:
        artifact = ModelArtifact.of(Manifest.from_bytes(manifest))
    except IntegrityError:
        return candidates  # it is refused as a model as well
    files = files_of(artifact)
    return [
        replace(item, signed=item.signed.seen_in(artifact.digest, files))
        if isinstance(item.signed, OmsSignature) and files_only(item.signed)
        else item
        for item in candidates
    ]


def files_of(artifact: ModelArtifact) -> Mapping[str, str]:
    """SHA-256 by name; nothing where they cannot all be told from the manifest alone."""
    raw = all(entry.is_raw and entry.descriptor.digest.algorithm == "sha256" for entry in artifact.files)
    if not raw or artifact.nameless:
        return {}
    return {entry.path: entry.descriptor.digest.hex for entry in artifact.files}


def signed_part(manifest: Manifest) -> Manifest:
    """``manifest`` without what a signature over files does not cover: annotations, and layers that are no files.

    Its bytes and its digest stay what they are.
    """
    layers = [layer for layer in manifest.layers if layer.media_type != media.PROVENANCE_LAYER]
    return replace(manifest, layers=tuple(layers), annotations={})
