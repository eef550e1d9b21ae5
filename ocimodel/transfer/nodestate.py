"""What this node has seen: the highest sequence number by environment, name and tag, so that nothing older comes
back.

Guarantees: a number is written only after a model with it was delivered (the caller's part), never lowered, and
changed by one process at a time. A file that is there and cannot be read is an error: to forget what was seen
would be to accept what is older. A node without such a file knows of nothing newer; there the end of a summary's
validity is what protects it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ocimodel import jsonio
from ocimodel.errors import FormatError, StorageError
from ocimodel.jsonio import Node
from ocimodel.oci.digest import Digest
from ocimodel.transfer.alone import alone
from ocimodel.transfer.staging import storage_errors, write_atomically

_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """What a node follows: ``tag`` of ``name``, as a policy calls that place."""

    environment: str
    name: str
    tag: str

    def path(self, state: Path) -> Path:
        said = jsonio.canonical([self.environment, self.name, self.tag])
        return state / "sequences" / f"{hashlib.sha256(said).hexdigest()[:32]}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """``by`` are those by whose word the number counted."""

    sequence: int
    digest: Digest
    by: tuple[str, ...]


def read(state: Path, channel: Channel) -> Seen | None:
    """What was seen last; None where nothing was. Raises `StorageError`."""
    path = channel.path(state)
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from None
    try:
        node = Node(jsonio.loads(data, limit=_MAX_BYTES, what="it"))
        return Seen(
            sequence=node.get("sequence").integer(maximum=10**18),
            digest=Digest.parse(node.get("digest").string()),
            by=tuple(item.string(limit=512) for item in node.get("by").items(limit=512)),
        )
    except FormatError as error:
        raise StorageError(
            f"{path} is damaged: {error.message}",
            hint="It says what this node has seen. Remove it only if an older version may be taken.",
        ) from None


def floor(state: Path, channel: Channel, trusted: Collection[str]) -> int:
    """The lowest number that may still be taken; 0 where nothing was seen.

    It starts anew where none of those by whose word the number counted is trusted any more: a new one counts
    from where he likes.
    """
    seen = read(state, channel)
    return seen.sequence if seen is not None and set(seen.by) & set(trusted) else 0


def advance(state: Path, channel: Channel, seen: Seen, trusted: Collection[str]) -> None:
    """Remember ``seen``, unless something higher is remembered already. Raises `StorageError`."""
    path = channel.path(state)
    with storage_errors(f"cannot write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with alone(path):
        if seen.sequence > floor(state, channel, trusted):
            document = {
                "environment": channel.environment,
                "name": channel.name,
                "tag": channel.tag,
                "sequence": seen.sequence,
                "digest": str(seen.digest),
                "by": list(seen.by),
            }
            write_atomically(path, jsonio.canonical(document))
