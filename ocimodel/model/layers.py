"""Which layers a model has: one a file, and where files are very many, the small ones of a role together.

Guarantees: the plan is a pure function of the files' names and sizes, never of the target. Up to 1,000 files
each is a layer of its own, raw: the layer's digest is the file's SHA-256. Of more than 1,000 files those under
64 KiB share one archive (`tarball`) a role. Layers stand in the order of roles, then of names by their bytes,
archives last in their role. Both path annotations are set, so that modctl, oras, CRI-O and we restore the same
files; an archive bears its own file name in both (modctl unpacks it whatever they say, oras delivers it as
that file), and the mark `media.GROUP`, which tells our readers that it is no file of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from ocimodel.errors import UsageError
from ocimodel.model.group import MAX_MEMBERS
from ocimodel.model.reading import open_file, read_small
from ocimodel.model.roles import ROLES, Role, raw_type, tar_type
from ocimodel.model.scan import ModelFile
from ocimodel.model.tarball import archive_size, open_archive
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import MAX_BYTES, MAX_LAYERS
from ocimodel.oci.paths import check_distinct

GROUP_ABOVE = 1000
GROUP_BELOW = 64 * 1024
GROUP_VERSION = "v1"

_SPARE_LAYERS = 1
"""The provenance."""
_SPARE_BYTES = 64 * 1024
"""The provenance layer, the config, the annotations of the manifest."""
_PER_LAYER = len('{"annotations":{"":"","":"","":""},"digest":"sha256:","mediaType":"","size":},') + 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer to be: what it is called, what is in it, and its bytes."""

    path: str
    role: Role
    size: int
    files: tuple[ModelFile, ...] = field(repr=False)
    is_group: bool = False

    @property
    def media_type(self) -> str:
        return tar_type(self.role) if self.is_group else raw_type(self.role)

    @property
    def annotations(self) -> dict[str, str]:
        names = {media.FILEPATH: self.path, media.TITLE: self.path}
        return names | {media.GROUP: GROUP_VERSION} if self.is_group else names

    def descriptor(self, digest: Digest) -> Descriptor:
        return Descriptor(media_type=self.media_type, digest=digest, size=self.size, annotations=self.annotations)

    def open(self) -> BinaryIO:
        """The bytes from the start, as a context manager; as often as wanted.

        Reads raise IntegrityError where a file has changed since the scan, StorageError where the disk fails.
        """
        return open_archive(self.files) if self.is_group else open_file(self.files[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All layers of a model but the provenance, in the order of the manifest."""

    layers: tuple[Layer, ...]

    @property
    def size(self) -> int:
        return sum(layer.size for layer in self.layers)

    @property
    def files(self) -> tuple[ModelFile, ...]:
        return tuple(file for layer in self.layers for file in layer.files)

    def subjects(self, digests: Sequence[Digest]) -> list[tuple[str, Digest]]:
        """What a provenance speaks of: each layer's name and digest; of a raw layer, the file's own."""
        return [(layer.path, digest) for layer, digest in zip(self.layers, digests, strict=True)]

    def promises(self, digests: Sequence[Digest]) -> Iterator[tuple[str, Digest, Digest]]:
        """The files of which it is said what they are: name, what was said, what is so. Reads those of archives."""
        for layer, digest in zip(self.layers, digests, strict=True):
            for file in layer.files:
                if file.expected is not None:
                    found = Digest.of(read_small(file, GROUP_BELOW)) if layer.is_group else digest
                    yield file.path, file.expected, found

    def members(self) -> list[tuple[str, Digest]]:
        """The files that share archives, each with the digest of its own content; reads them."""
        return [
            (file.path, Digest.of(read_small(file, GROUP_BELOW)))
            for layer in self.layers
            if layer.is_group
            for file in layer.files
        ]


def plan(files: Sequence[ModelFile]) -> Plan:
    """The layers of ``files``.

    Raises:
        UsageError: they are more than a manifest can name.
        UnsafePathError: a file bears the name of an archive that is needed.
    """
    grouped = len(files) > GROUP_ABOVE
    small: dict[Role, list[ModelFile]] = {}
    layers: list[Layer] = []
    for file in sorted(files, key=lambda file: file.path.encode()):
        if grouped and file.size < GROUP_BELOW:
            small.setdefault(file.role, []).append(file)
        else:
            layers.append(Layer(path=file.path, role=file.role, size=file.size, files=(file,)))
    for role, group in small.items():
        if len(group) > MAX_MEMBERS:
            raise UsageError(
                f"{len(group)} small files of the role {role} are more than the {MAX_MEMBERS} that are read again",
                hint=_FEWER,
            )
        layers.append(_group(role, tuple(group)))
    layers.sort(key=lambda layer: (ROLES.index(layer.role), layer.is_group, layer.path.encode()))
    _check_room(layers)
    check_distinct([layer.path for layer in layers if layer.is_group] + [file.path for file in files])
    return Plan(layers=tuple(layers))


def _group(role: Role, files: tuple[ModelFile, ...]) -> Layer:
    # Not a reserved name (`names`): oras delivers the archive under it, and it must be seen there.
    return Layer(path=f"ocimodel-{role}.tar", role=role, size=archive_size(files), files=files, is_group=True)


_FEWER = "Pack data and checkpoints as archives of their own, or leave files out by .ocimodelignore."


def _check_room(layers: Sequence[Layer]) -> None:
    if len(layers) > MAX_LAYERS - _SPARE_LAYERS:
        raise UsageError(f"{len(layers)} layers are more than the {MAX_LAYERS} that are read again", hint=_FEWER)
    if (estimate := manifest_estimate(layers)) > MAX_BYTES:
        raise UsageError(
            f"a manifest of {len(layers)} layers has about {estimate} bytes; registries take {MAX_BYTES}",
            hint=_FEWER,
        )


def manifest_estimate(layers: Sequence[Layer]) -> int:
    """What a manifest of ``layers`` has at most, so that too many are noticed before a byte is sent."""
    texts = sum(
        len(text.encode())
        for layer in layers
        for text in (*layer.annotations, *layer.annotations.values(), layer.media_type, str(layer.size))
    )
    return texts + _PER_LAYER * len(layers) + _SPARE_BYTES
