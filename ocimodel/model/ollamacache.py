"""The models of Ollama, as it keeps them.

    MODELS/manifests/HOST/NAMESPACE/NAME/TAG     a Docker manifest; its layers say by their types what they are
    MODELS/blobs/sha256-HEX                      the layers (``sha256:HEX`` in old versions)

Guarantees: no link below MODELS is followed; digests and sizes of the manifest are promises that a push holds the
bytes to (`ModelFile.expected`); names come from a table here or, for the layers that bear one, are checked like
any other. The same manifest gives the same names everywhere.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from ocimodel import jsonio
from ocimodel.errors import FormatError, IntegrityError, NotFoundError, StorageError, UsageError
from ocimodel.jsonio import Node
from ocimodel.model.kept import Kept
from ocimodel.model.scan import ModelFile, model_file
from ocimodel.oci.digest import Digest
from ocimodel.oci.paths import check_distinct

MAX_MANIFEST = 4 * 1024 * 1024
_HOST, _NAMESPACE, _TAG = "registry.ollama.ai", "library", "latest"
_TYPE = "application/vnd.ollama.image."
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,349}")
_NAMES: Mapping[str, tuple[str, str]] = {
    "model": ("model", ".gguf"),
    "adapter": ("adapter", ".gguf"),
    "projector": ("mmproj", ".gguf"),
    "draft": ("draft", ".gguf"),
    "template": ("template", ".gotmpl"),
    "prompt": ("prompt", ".txt"),
    "system": ("system", ".txt"),
    "params": ("params", ".json"),
    "messages": ("messages", ".json"),
    "license": ("LICENSE", ""),
    "embed": ("embed", ".bin"),
}
_CONFIG = "ollama.json"
"""Not config.json: that is what Transformers call theirs."""
_HINT = "Write ollama:DIR:NAME[:TAG], where DIR has manifests and blobs."


def find(spec: str, env: Mapping[str, str] = os.environ) -> Kept:
    """The model that ``spec`` names: ``DIR[:NAME[:TAG]]`` or ``NAME[:TAG]``.

    DIR is Ollama's folder ``models``; without it the one that OLLAMA_MODELS names, or that of this user. NAME may
    have a host and a namespace before it, as for ``ollama pull``.

    Raises:
        UsageError: there is no such folder, or several models could be meant.
        NotFoundError: the model, or one of its blobs, is not there.
        FormatError, IntegrityError, UnsafePathError: the manifest is not what it should be.
    """
    root, name = _split(spec, env)
    host, namespace, model, tag = _parts(name) if name else _only(root)
    path = root / "manifests" / host / namespace / model / tag
    raw = _read(path, f"{model}:{tag}")
    document = Node(jsonio.loads(raw, limit=MAX_MANIFEST, what="Ollama's manifest"))
    files = sorted(_files(root, document), key=lambda file: file.path.encode())
    check_distinct(file.path for file in files)
    full = f"{host}/{namespace}/{model}:{tag}"
    return Kept(
        files=tuple(files),
        name=full.removeprefix(f"{_HOST}/{_NAMESPACE}/"),
        uri=f"https://{host}/v2/{namespace}/{model}/manifests/{tag}",
        digest={"sha256": Digest.of(raw).hex},
        version=tag,
        keeper="ollama",
    )


def _split(spec: str, env: Mapping[str, str]) -> tuple[Path, str]:
    """The folder, and the model's name, if one was given."""
    words = spec.split(":")
    for count in range(len(words), 0, -1):
        path = Path(":".join(words[:count])).expanduser()
        if (path / "manifests").is_dir():
            return Path(os.path.realpath(path)), ":".join(words[count:])
    root = Path(env.get("OLLAMA_MODELS") or "~/.ollama/models").expanduser()
    if not spec or spec[0] in "/.~" or not (root / "manifests").is_dir():
        raise UsageError(f"{spec[:200]} is not where Ollama keeps models", hint=_HINT)
    return Path(os.path.realpath(root)), spec


def _parts(name: str) -> tuple[str, str, str, str]:
    path, _, tag = name.rpartition("/")[2].partition(":")
    before = name.rpartition("/")[0].split("/") if "/" in name else []
    parts = [*[_HOST, _NAMESPACE][: 2 - len(before)], *before, path, tag or _TAG]
    if len(parts) != 4 or not all(_PART.fullmatch(part.replace(":", "_")) and ".." not in part for part in parts):
        raise UsageError(f"{name[:200]!r} is no name of a model", hint="Write NAME[:TAG], as for ollama pull.")
    return parts[0], parts[1], parts[2], parts[3]


def _only(root: Path) -> tuple[str, str, str, str]:
    found = sorted(path.relative_to(root / "manifests").parts for path in root.glob("manifests/*/*/*/*"))
    if len(found) == 1:
        return found[0][0], found[0][1], found[0][2], found[0][3]
    names = ", ".join(f"{parts[2]}:{parts[3]}" for parts in found[:5])
    raise UsageError(
        f"{len(found)} models could be meant", hint=f"Add :NAME:TAG, such as {names}." if found else _HINT
    )


def _read(path: Path, what: str) -> bytes:
    try:
        if path.resolve(strict=True) != path:
            raise IntegrityError(f"Ollama's manifest of {what} is reached through a symbolic link")
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return file.read(MAX_MANIFEST + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise NotFoundError(f"Ollama has no model {what}", hint="See ollama list.") from None
    except OSError as error:
        raise StorageError(f"cannot read Ollama's manifest of {what}: {error.strerror}") from None


def _files(root: Path, document: Node) -> Iterator[ModelFile]:
    layers = [(layer, layer.get("mediaType").string()) for layer in document.get("layers").items()]
    kinds = [kind.removeprefix(_TYPE) for _, kind in layers]
    count: dict[str, int] = {}
    for (layer, media_type), kind in zip(layers, kinds, strict=True):
        named = layer.find("name")
        if kind == "tensor" and named:
            path = f"{named.string()}.safetensors"
        elif kind == "json" and named:
            path = named.string()
        elif media_type.startswith(_TYPE) and kind in _NAMES:
            stem, ending = _NAMES[kind]
            count[kind] = count.get(kind, 0) + 1
            path = f"{stem}{f'-{count[kind]}' if kinds.count(kind) > 1 else ''}{ending}"
        else:
            raise FormatError(f"a layer of the unknown type {media_type[:120]!r}", path=layer.path)
        yield _blob(root, layer, path)
    config = document.find("config")
    if config is not None:
        yield _blob(root, config, _CONFIG)


def _blob(root: Path, descriptor: Node, path: str) -> ModelFile:
    try:
        digest = Digest.parse(descriptor.get("digest").string())
    except FormatError as error:
        raise FormatError(error.what, path=f"{descriptor.path}.digest") from None
    folder = root / "blobs"
    for name in (f"{digest.algorithm}-{digest.hex}", str(digest)):
        location = folder / name
        try:
            status = os.stat(location, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if folder.is_symlink() or not stat.S_ISREG(status.st_mode):
            raise IntegrityError(f"Ollama's blob {digest} ({path}) is not a regular file")
        if status.st_size != descriptor.get("size").integer():
            raise IntegrityError(
                f"Ollama's blob {digest} ({path}) has {status.st_size} bytes, not those of its manifest",
                hint="Fetch the model again (ollama pull); its download did not end.",
            )
        return model_file(path, location, status, digest)
    raise NotFoundError(f"Ollama does not have the blob {digest} ({path})", hint="Fetch it again with ollama pull.")
