"""What a node keeps of the policies that it fetched: the last version that it trusted, with the signatures over it.

Guarantees: a copy of evidence and never itself trusted, since whoever reads it judges the signatures anew; there
whole or not at all, in a directory of mode 0700. What is there and cannot be read is an error: to forget it would
be to accept an older version. ``checked`` is the one thing that nobody signed: when the source was last asked and
confirmed this version.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ocimodel import jsonio
from ocimodel.errors import FormatError, StorageError
from ocimodel.jsonio import Node
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.transfer.receipt import Document
from ocimodel.transfer.staging import storage_errors, write_atomically

VERSION = 0
MAX_BYTES = 64 * 1024 * 1024
_FILE = "policy.json"
_NOTED = "trusted.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPolicy:
    """A policy artifact: its ``manifest``, the ``policy`` that is its layer, and what refers to it."""

    place: str
    media_type: str
    manifest: bytes
    policy: bytes
    referrers: tuple[Document, ...]
    checked: str
    """RFC 3339, UTC."""

    @property
    def subject(self) -> Descriptor:
        return Descriptor(media_type=self.media_type, digest=Digest.of(self.manifest), size=len(self.manifest))


def folder(state: Path, place: str) -> Path:
    """Where everything about the source ``place`` lies."""
    return state / "trust" / hashlib.sha256(place.encode()).hexdigest()[:32]


def prepare(directory: Path) -> None:
    """Make it, for this user alone. Raises `StorageError`."""
    with storage_errors(f"cannot make {directory}"):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def read(state: Path, place: str) -> KeptPolicy | None:
    """What is kept of the source ``place``; None where nothing is. Raises `StorageError`."""
    path = folder(state, place) / _FILE
    data = read_file(path, MAX_BYTES)
    if data is None:
        return None
    try:
        node = Node(jsonio.loads(data, limit=MAX_BYTES, what="it"))
        if node.get("version").integer() != VERSION:
            node.get("version").fail(f"is not {VERSION}; another version of ocimodel wrote this")
        return KeptPolicy(
            place=place,
            media_type=node.get("mediaType").string(),
            manifest=_bytes(node.get("manifest")),
            policy=_bytes(node.get("policy")),
            referrers=tuple(
                Document(
                    descriptor=Descriptor.from_node(item.get("descriptor")),
                    manifest=_bytes(item.get("manifest")),
                    blob=_bytes(item.get("blob")),
                )
                for item in node.get("referrers").items(limit=1024)
            ),
            checked=node.get("checkedAt").string(limit=64),
        )
    except FormatError as error:
        raise damaged(path, error.message) from None


def write(state: Path, kept: KeptPolicy) -> None:
    """Keep it in place of what was kept before. Raises `StorageError`."""
    directory = folder(state, kept.place)
    prepare(directory)
    document = {
        "version": VERSION,
        "source": kept.place,
        "checkedAt": kept.checked,
        "mediaType": kept.media_type,
        "manifest": _text(kept.manifest),
        "policy": _text(kept.policy),
        "referrers": [
            {
                "descriptor": item.descriptor.to_dict(),
                "manifest": _text(item.manifest),
                "blob": _text(item.blob),
            }
            for item in kept.referrers
        ],
    }
    write_atomically(directory / _FILE, jsonio.canonical(document))


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """Of a source whose client keeps files: those in ``name`` were trusted whole, when it was last asked."""

    name: str
    checked: str


def read_noted(directory: Path) -> Noted | None:
    """None where nothing was trusted yet. Raises `StorageError`."""
    path = directory / _NOTED
    data = read_file(path, 4096)
    if data is None:
        return None
    try:
        node = Node(jsonio.loads(data, limit=4096, what="it"))
        name = node.get("kept").string(limit=128)
        if not name.isalnum():
            node.get("kept").fail("is not a name")
        return Noted(name=name, checked=node.get("checkedAt").string(limit=64))
    except FormatError as error:
        raise damaged(path, error.message) from None


def write_noted(directory: Path, work: Path, checked: str) -> None:
    """Everything in ``work`` was trusted: keep a copy, and nothing older. Raises `StorageError`."""
    with storage_errors(f"cannot write to {directory}"):
        files = sorted(path for path in work.rglob("*") if path.is_file())
        told = b"".join(
            str(path.relative_to(work)).encode() + b"\0" + Digest.of(path.read_bytes()).hex.encode()
            for path in files
        )
        name = Digest.of(told).hex[:32]
        old = [path for path in directory.iterdir() if path.is_dir() and path.name not in (work.name, name)]
        if not (directory / name).is_dir():
            passing = Path(tempfile.mkdtemp(dir=directory))
            shutil.copytree(work, passing, dirs_exist_ok=True)
            passing.rename(directory / name)
        write_atomically(directory / _NOTED, jsonio.canonical({"kept": name, "checkedAt": checked}))
        for path in old:
            shutil.rmtree(path)


def read_file(path: Path, limit: int) -> bytes | None:
    """At most ``limit`` bytes and one more; None where there is no such file."""
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from None


def damaged(path: Path, why: str) -> StorageError:
    """What was kept cannot be used."""
    return StorageError(
        f"{path} is damaged: {why}",
        hint="It says what this node has trusted. Remove it only if an older policy may be taken.",
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(node: Node) -> bytes:
    try:
        return base64.b64decode(node.string(limit=MAX_BYTES), validate=True)
    except (ValueError, binascii.Error):
        node.fail("must be base64")
