"""A manifest, read as a model: which layers are files, and under which names.

Guarantees: every name of every `FileEntry` is safe and distinct from the others (`names`, `oci.paths`), before
a byte of a layer is asked for. The provenance is recognised by its media type and is never a file. What cannot
be restored byte for byte by simply storing or unpacking the layer is refused, not guessed at: compressed and
split forms. Layers without a name are passed over (`nameless`), as oras does.

Understood: what we write, ModelPack by others (modctl, KitOps, Docker), and any artifact whose layers bear
titles (``oras push``). The content of an archive is judged where it is unpacked (`group`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

from ocimodel.errors import FormatError, UnsafePathError
from ocimodel.model.layers import GROUP_VERSION
from ocimodel.model.names import check_name
from ocimodel.model.roles import Role, role_of, role_of_type
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest
from ocimodel.oci.paths import check_distinct

Kind = Literal["ocimodel", "modelpack", "docker", "unknown"]

FILEPATHS = (media.FILEPATH, "org.cnai.model.filepath")
"""The annotation, and the name it had before the CNCF."""

ORAS_UNPACK = "io.deis.oras.content.unpack"
_DOCKER = "application/vnd.docker.ai."


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """A file of the model, or an archive of several. ``path`` of an archive is only what to call it."""

    path: str
    descriptor: Descriptor
    role: Role
    is_raw: bool
    is_ours: bool = False
    """An archive that our packing made, which can be made again from the files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArtifact:
    """The files of a manifest. ``nameless`` are layers that nobody can restore to a file."""

    manifest: Manifest
    kind: Kind
    files: tuple[FileEntry, ...]
    provenance: Descriptor | None
    nameless: tuple[Descriptor, ...]

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Read ``manifest`` as a model.

        Raises:
            UnsafePathError: a name is unsafe, or two are one on some platform.
            FormatError: a layer is in a form that is not understood; the message has its position.
        """
        files: list[FileEntry] = []
        nameless: list[Descriptor] = []
        provenance: Descriptor | None = None
        for position, layer in enumerate(manifest.layers):
            if layer.media_type == media.PROVENANCE_LAYER:
                if provenance is not None:
                    raise FormatError("is a second provenance", path=f"layers[{position}]")
                provenance = layer
                continue
            name = _name(layer)
            if name is None:
                nameless.append(layer)
                continue
            files.append(_entry(layer, name, f"layers[{position}]"))
        check_distinct(entry.path for entry in files)
        return cls(
            manifest=manifest,
            kind=_kind(manifest, provenance),
            files=tuple(files),
            provenance=provenance,
            nameless=tuple(nameless),
        )

    @property
    def digest(self) -> Digest:
        return self.manifest.descriptor.digest

    @property
    def size(self) -> int:
        """Bytes of all layers that are files."""
        return sum(entry.descriptor.size for entry in self.files)

    @property
    def has_model_config(self) -> bool:
        """Whether the config blob is one that `ModelConfig` reads."""
        return self.manifest.config.media_type == media.MODEL_CONFIG

    def file(self, path: str) -> FileEntry | None:
        """The raw file ``path``."""
        return next((entry for entry in self.files if entry.is_raw and entry.path == path), None)


def _name(layer: Descriptor) -> str | None:
    """The path of the model-spec wins over the title, which other tools shorten to a base name."""
    return next((name for key in (*FILEPATHS, media.TITLE) if (name := layer.annotations.get(key))), None)


def _entry(layer: Descriptor, name: str, where: str) -> FileEntry:
    try:
        check_name(name)
    except UnsafePathError as error:
        raise UnsafePathError(f"{where}: {error.message}", hint=_UNSAFE) from None
    raw = _is_raw(layer, where)
    marked = layer.annotations.get(media.GROUP)
    if marked is not None and (raw or marked != GROUP_VERSION):
        raise FormatError(f"is marked as a group {marked[:40]!r} that is not understood", path=where)
    return FileEntry(
        path=name,
        descriptor=layer,
        role=role_of_type(layer.media_type) or role_of(name, layer.size),
        is_raw=raw,
        is_ours=marked is not None,
    )


def _is_raw(layer: Descriptor, where: str) -> bool:
    media_type = layer.media_type
    form = _form(layer)
    if form == "raw":
        return True
    if form == "tar":
        return False
    raise FormatError(
        f"is a compressed archive ({media_type}), which is not unpacked",
        path=where,
        hint="Pack the model again with raw layers: ocimodel push DIR REF.",
    )


def _form(layer: Descriptor) -> Literal["raw", "tar", "compressed"]:
    media_type = layer.media_type
    if layer.annotations.get(ORAS_UNPACK) == "true":
        return "compressed"
    if not media_type.startswith((media.LAYER_PREFIX, "application/vnd.cnai.model.", _KITOPS, _DOCKER)):
        # An artifact of an unknown kind: each layer is the file that its title names, whatever its type.
        return "raw"
    if media_type.endswith(("+gzip", "+zstd", ".tar.gz")):
        return "compressed"
    return "tar" if media_type.endswith(".tar") else "raw"


_KITOPS = "application/vnd.kitops.modelkit."
_UNSAFE = "Do not use it: whoever packed it meant to write elsewhere, or on a platform that allows such names."


def _kind(manifest: Manifest, provenance: Descriptor | None) -> Kind:
    is_modelpack = media.MODEL_CONFIG in (manifest.config.media_type, manifest.artifact_type) or (
        manifest.artifact_type == media.MODEL_MANIFEST
    )
    if is_modelpack:
        return "ocimodel" if provenance else "modelpack"
    kinds: Mapping[bool, Kind] = {True: "docker", False: "unknown"}
    return kinds[manifest.config.media_type.startswith(_DOCKER)]
