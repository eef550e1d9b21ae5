"""From a directory to the documents of an artifact: everything but the moving of bytes.

    packing = prepare(directory)
    digests = [... the SHA-256 of each layer of packing.plan, in order ...]
    packed = packing.finish(digests)

Guarantees: same files, same provenance, same annotations: same manifest, on every machine and for every target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ocimodel.model.config import ModelConfig
from ocimodel.model.facts import describe
from ocimodel.model.header import Header
from ocimodel.model.layers import Plan, plan
from ocimodel.model.provenance import provenance_bytes
from ocimodel.model.scan import ModelFile, scan
from ocimodel.model.screening import screen
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import manifest_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """The documents of one artifact, ready to be stored; layers, provenance and config before the manifest."""

    config: bytes
    provenance: bytes
    manifest: bytes
    layers: tuple[Descriptor, ...]
    """Of the manifest, the provenance last."""

    @property
    def digest(self) -> Digest:
        return Digest.of(self.manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """A directory that was looked at: what it will become."""

    plan: Plan
    config: ModelConfig
    headers: Mapping[str, Header] = field(repr=False)
    """Of the files that have one, by path."""

    def finish(
        self,
        digests: Sequence[Digest],
        *,
        provenance: bytes | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> Packed:
        """The documents, once the layers' digests are known.

        Args:
            digests: of the plan's layers, in its order.
            provenance: the user's document; see `provenance_bytes`.
            annotations: of the manifest.
        """
        members = self.plan.members() if provenance is not None else ()
        document = provenance_bytes(self.plan.subjects(digests), provenance, members=members)
        layers = [layer.descriptor(digest) for layer, digest in zip(self.plan.layers, digests, strict=True)]
        layers.append(provenance_layer(document))
        config = self.config.to_bytes([layer.digest for layer in layers])
        return Packed(
            config=config,
            provenance=document,
            layers=tuple(layers),
            manifest=manifest_bytes(
                config=Descriptor(media_type=media.MODEL_CONFIG, digest=Digest.of(config), size=len(config)),
                layers=layers,
                artifact_type=media.MODEL_MANIFEST,
                annotations=annotations,
            ),
        )


def prepare(directory: Path) -> Packing:
    """Scan ``directory`` and decide what it becomes. Raises what `scan`, `plan` and `screen` raise."""
    return prepare_files(scan(directory))


def prepare_files(files: Sequence[ModelFile]) -> Packing:
    """Decide what ``files`` become, wherever they are. Raises what `plan` and `screen` raise."""
    layers = plan(files)
    headers = screen(files)
    return Packing(plan=layers, config=describe(files, headers), headers=headers)


def provenance_layer(document: bytes) -> Descriptor:
    """The layer of a provenance. It has no title, so that ``oras pull`` passes it over."""
    return Descriptor(
        media_type=media.PROVENANCE_LAYER,
        digest=Digest.of(document),
        size=len(document),
        annotations={media.FILEPATH: media.PROVENANCE_PATH},
    )
