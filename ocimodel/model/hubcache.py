"""The cache of the Hugging Face hub, as ``huggingface_hub`` lays it out.

    HUB/models--ORG--NAME/blobs/ETAG             the files; of LFS the ETAG is their SHA-256, of others a Git id
    HUB/models--ORG--NAME/refs/main              the commit that the branch was at
    HUB/models--ORG--NAME/snapshots/COMMIT/…     the names, links into blobs

Guarantees: only links that end in ``blobs`` of the same model are followed; a name that is a SHA-256 is taken for a
promise (`ModelFile.expected`), and a Git id for a name alone. It reads names, and no file of the model.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from ocimodel.errors import NotFoundError, UsageError
from ocimodel.model.kept import Kept
from ocimodel.model.scan import scan
from ocimodel.oci.paths import check_path

_PREFIX = "models--"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_HINT = "Name a model's folder in the cache, a snapshot in it, or ORG/NAME[@REVISION]."


def find(spec: str, env: Mapping[str, str] = os.environ) -> Kept:
    """The model that ``spec`` names: ``PLACE[@REVISION]``.

    PLACE is the folder of a model or of a snapshot, ``HUB/ORG/NAME``, or ``ORG/NAME`` in the cache that the
    variables of ``huggingface_hub`` name. REVISION is a commit, its beginning, or a branch; ``main`` unless given.

    Raises:
        UsageError: this is no cache, or several snapshots could be meant.
        NotFoundError: the cache has no such model or revision.
        UnsafePathError, StorageError, ConfigurationError: as `scan`.
    """
    place, _, revision = spec.partition("@") if not Path(spec).expanduser().exists() else (spec, "", "")
    folder = _folder(place, env)
    if folder.parent.name == "snapshots":
        if revision:
            raise UsageError(f"{place} is one revision already", hint="Leave @REVISION out.")
        model, snapshot = folder.parent.parent, folder
    else:
        model, snapshot = folder, folder / "snapshots" / _commit(folder, revision)
    if not model.name.startswith(_PREFIX) or not (model / "snapshots").is_dir():
        raise UsageError(
            f"{place} is not in a cache of the Hugging Face hub",
            hint="A plain directory is pushed with ocimodel push DIR REF. " + _HINT,
        )
    name, commit = model.name.removeprefix(_PREFIX).replace("--", "/"), snapshot.name
    return Kept(
        files=scan(snapshot, blobs=model / "blobs"),
        name=name,
        uri=f"pkg:huggingface/{name}@{commit}",
        digest={"gitCommit": commit} if _COMMIT.fullmatch(commit) else {},
        version=commit,
        keeper="huggingface_hub",
    )


def hub(env: Mapping[str, str]) -> Path:
    """Where ``huggingface_hub`` keeps its cache."""
    if given := env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE"):
        return Path(given).expanduser()
    home = env.get("HF_HOME") or f"{env.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return Path(home).expanduser() / "hub"


def _folder(place: str, env: Mapping[str, str]) -> Path:
    path = Path(place).expanduser()
    if path.is_dir():
        return Path(os.path.realpath(path))
    tried = [
        path.parent / f"{_PREFIX}{path.name}",
        path.parent.parent / f"{_PREFIX}{path.parent.name}--{path.name}",
    ]
    if _REPO.fullmatch(place):
        tried.append(hub(env) / f"{_PREFIX}{place.replace('/', '--')}")
    for found in tried:
        if found.is_dir():
            return Path(os.path.realpath(found))
    raise NotFoundError(f"there is no model {place[:200]} in a cache of the Hugging Face hub", hint=_HINT)


def _commit(model: Path, revision: str) -> str:
    """The name of the snapshot that is meant."""
    folder = model / "snapshots"
    there = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    wanted = revision or "main"
    check_path(wanted)
    try:
        with open(os.open(model / "refs" / wanted, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            said = file.read(64).decode("ascii", "replace").strip()
    except OSError:
        said = ""
    if said in there:
        return said
    matching = there if not revision else [name for name in there if name.startswith(revision)]
    if len(matching) == 1:
        return matching[0]
    if not there:
        return wanted  # the caller says that this is no cache
    shown = ", ".join(name[:12] for name in there[:5])
    if len(matching) > 1:
        raise UsageError(
            f"{model.name} has {len(matching)} snapshots that could be meant", hint=f"Add @REVISION: {shown}."
        )
    raise NotFoundError(f"{model.name} has no revision {wanted[:80]}", hint=f"It has {shown}.")
