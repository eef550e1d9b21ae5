"""The receipt of a pulled directory: the signed documents it came with, kept outside of it.

The receipt lies in the state directory under the directory's real path. It is a copy of evidence and never
itself trusted: whoever reads it verifies manifest and signatures again. Without a receipt a pull is incomplete.
Its format is version 0 and promises nothing yet (``schemas/receipt.schema.json``).

Documents are base64 of their original bytes, since only those carry digests and signatures.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ocimodel import jsonio
from ocimodel.errors import FormatError, NotFoundError, StorageError
from ocimodel.jsonio import Node
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.transfer.staging import write_atomically

VERSION = 0
MAX_BYTES = 96 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A referrer as it was found: its descriptor in the list, its manifest, and its one blob."""

    descriptor: Descriptor
    manifest: bytes
    blob: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a directory was pulled from.

    ``members`` maps the files of grouped layers to their SHA-256. It only helps to name a bad file: the verdict
    on a group is the digest of the tar that is made again from the files.
    """

    directory: str
    reference: str
    media_type: str
    manifest: bytes
    index: bytes | None = None
    provenance: bytes | None = None
    referrers: tuple[Document, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    members: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    pulled_at: str = ""
    verified: bool = False

    @property
    def digest(self) -> Digest:
        return Digest.of(self.manifest)

    @property
    def partial(self) -> bool:
        """Only some of the files were asked for."""
        return bool(self.include or self.exclude)

    def to_dict(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "directory": self.directory,
            "reference": self.reference,
            "digest": str(self.digest),
            "mediaType": self.media_type,
            "pulledAt": self.pulled_at,
            "verified": self.verified,
            "include": list(self.include),
            "exclude": list(self.exclude),
            "manifest": _encode(self.manifest),
            "index": None if self.index is None else _encode(self.index),
            "provenance": None if self.provenance is None else _encode(self.provenance),
            "referrers": [
                {
                    "descriptor": document.descriptor.to_dict(),
                    "manifest": _encode(document.manifest),
                    "blob": _encode(document.blob),
                }
                for document in self.referrers
            ],
            "members": {layer: dict(files) for layer, files in self.members.items()},
        }

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises `FormatError` with the path of the bad field."""
        node = Node(jsonio.loads(data, limit=MAX_BYTES, what="receipt"))
        version = node.get("version")
        if version.integer() != VERSION:
            version.fail(f"is not {VERSION}; this receipt was written by another version of ocimodel")
        index, provenance = node.find("index"), node.find("provenance")
        return cls(
            directory=node.get("directory").string(),
            reference=node.get("reference").string(),
            media_type=node.get("mediaType").string(),
            manifest=_decode(node.get("manifest")),
            index=_decode(index) if index else None,
            provenance=_decode(provenance) if provenance else None,
            referrers=tuple(
                Document(
                    descriptor=Descriptor.from_node(item.get("descriptor")),
                    manifest=_decode(item.get("manifest")),
                    blob=_decode(item.get("blob")),
                )
                for item in node.get("referrers").items()
            ),
            include=tuple(item.string() for item in node.get("include").items()),
            exclude=tuple(item.string() for item in node.get("exclude").items()),
            members={layer: files.strings() for layer, files in node.get("members").members()},
            pulled_at=node.get("pulledAt").string(),
            verified=node.get("verified").boolean(),
        )


def receipt_path(state: Path, directory: Path) -> Path:
    """Where the receipt of ``directory`` lies: named by its real path, so that a link to it finds it as well."""
    real = os.path.realpath(directory)
    name = hashlib.sha256(os.fsencode(real)).hexdigest()[:32]
    return state / "receipts" / f"{name}.json"


def write(state: Path, receipt: Receipt, copy: Path | None = None) -> Path:
    """Write the receipt, and a copy of it where asked for. Raises StorageError."""
    data = jsonio.pretty(receipt.to_dict()).encode() + b"\n"
    path = receipt_path(state, Path(receipt.directory))
    if copy is not None:
        write_atomically(copy, data, mode=0o644)
    write_atomically(path, data)
    return path


def read(state: Path, directory: Path) -> Receipt:
    """Raises NotFoundError where there is none, FormatError where it is not a receipt of this directory."""
    path = receipt_path(state, directory)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(
            f"no receipt of a pull into {directory}",
            hint="Name what it was pulled from: ocimodel verify DIR --ref HOST/REPOSITORY@DIGEST.",
        ) from None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    receipt = Receipt.from_bytes(data)
    if receipt.directory != os.path.realpath(directory):
        raise FormatError(f"the receipt is of {receipt.directory}", path="directory")
    return receipt


def forget(state: Path, directory: Path) -> None:
    """Remove the receipt before files of the directory are replaced: it is incomplete from here on."""
    try:
        receipt_path(state, directory).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot remove the old receipt: {error.strerror}") from error


def check_writable(state: Path) -> None:
    """Raises StorageError before a long download that could not be completed."""
    try:
        write_atomically(state / "receipts" / ".probe", b"")
        (state / "receipts" / ".probe").unlink(missing_ok=True)
    except (StorageError, OSError) as error:
        raise StorageError(
            f"the receipt of a pull cannot be kept: {error}",
            hint="Set OCIMODEL_STATE_DIR to a directory that this user can write.",
        ) from error


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decode(node: Node) -> bytes:
    try:
        return base64.b64decode(node.string(limit=MAX_BYTES), validate=True)
    except binascii.Error:
        node.fail("is not base64")
