"""Where a policy comes from: a small file that stands on a node in a policy's place.

It pins who may publish the policy; everything else is fetched, and checked against that. Two kinds: an OCI artifact
that root keys have signed, and a repository of The Update Framework, which begins with its own root. The format is
``schemas/trust-source.schema.json``.

Guarantees: unknown members, a threshold that cannot be met and a place that is none are each a
`ConfigurationError` with the path of the field. Pure: files that it names are read by the caller.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from ocimodel import jsonio
from ocimodel.errors import ConfigurationError, FormatError, UsageError
from ocimodel.jsonio import Node
from ocimodel.keys.public import PublicKey
from ocimodel.oci.reference import Reference
from ocimodel.trust.fields import Reader, optional_duration, text

MAX_BYTES: Final = 1024 * 1024
MAX_ROOTS: Final = 64
VERSION: Final = 1
TARGET: Final = "policy.json"
HINT: Final = "Correct the trust source; see docs/how-to/distribute-trust.md. Nothing was done."
_TUF: Final = "tuf+"
_SCHEMES: Final = ("tuf+https://", "tuf+http://", "tuf+file:/")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustSource:
    """What a trust source says.

    Attributes:
        place: as it is written: a reference, or ``tuf+https://…``.
        id: what the policy calls itself; empty where it does not matter.
        max_age: how long after it was last confirmed a policy may decide that cannot be asked for again.
    """

    place: str
    id: str = ""
    max_age: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OciSource(TrustSource):
    """``reference`` names an artifact; ``threshold`` distinct ones of ``roots`` must have signed it."""

    reference: Reference
    roots: tuple[PublicKey, ...]
    threshold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TufSource(TrustSource):
    """``url`` is above ``metadata/`` and ``targets/``; ``root`` is metadata that was obtained in a trusted way."""

    url: str
    root: bytes
    target: str


def is_source(document: Any) -> bool:
    """Whether a JSON document is a trust source, and no policy."""
    return isinstance(document, dict) and "source" in document and "scopes" not in document


def parse(data: bytes, read: Reader, *, what: str = "the trust source") -> OciSource | TufSource:
    """The source of ``data``, JSON text.

    Args:
        read: gives the bytes of a file that it names.

    Raises:
        ConfigurationError: it is not valid; the message has the path of the field.
    """
    try:
        return _source(Node(jsonio.loads(data, limit=MAX_BYTES, what="it")), read)
    except FormatError as error:
        raise ConfigurationError(f"{what}: {error.message}", hint=HINT) from None


def _source(node: Node, read: Reader) -> OciSource | TufSource:
    version, place = node.find("version"), node.get("source")
    if version is not None and version.integer() != VERSION:
        version.fail(f"must be {VERSION}; this version of ocimodel reads no other")
    common: dict[str, Any] = {
        "place": text(place, limit=2048),
        "id": text(node.find("id"), limit=256),
        "max_age": optional_duration(node.find("maxAge")),
    }
    if common["place"].startswith(_TUF):
        return _tuf(node, place, read, common)
    node.only("$schema", "version", "source", "id", "maxAge", "rootKeys", "threshold")
    try:
        reference = Reference.parse(place.string())
    except UsageError as error:
        raise FormatError(error.message, path=place.path) from None
    if reference.is_layout and not reference.path.startswith("/"):
        place.fail("must be the whole path of the layout: nobody knows from where it will be read")
    if reference.digest is not None:
        place.fail("names a digest, which never changes; name a tag, or use the policy itself")
    roots = tuple(_keys(node.get("rootKeys"), read))
    threshold = node.find("threshold")
    return OciSource(
        reference=reference,
        roots=roots,
        threshold=threshold.integer(minimum=1, maximum=len(roots)) if threshold else 1,
        **common,
    )


def _keys(node: Node, read: Reader) -> Iterator[PublicKey]:
    seen = set()
    for item in node.items(limit=MAX_ROOTS):
        said = item.string(limit=64 * 1024)
        pem, label = (said.encode(), "") if said.startswith("-----BEGIN") else (read(said), said)
        try:
            key = PublicKey.from_pem(pem, label=label)
        except UsageError as error:
            raise FormatError(error.message, path=item.path) from None
        if key.keyid in seen:
            item.fail("is given twice; one key counts once")
        seen.add(key.keyid)
        yield key
    if not seen:
        node.fail("must name at least one key")


def _tuf(node: Node, place: Node, read: Reader, common: dict[str, Any]) -> TufSource:
    node.only("$schema", "version", "source", "id", "maxAge", "root", "target")
    said = place.string()
    if not said.startswith(_SCHEMES) or "?" in said or "#" in said:
        place.fail("must be tuf+https://HOST/PATH or tuf+file:/PATH, without a query")
    target = node.find("target")
    name = target.string(limit=256) if target else TARGET
    if target is not None and (name.startswith("/") or ".." in name.split("/") or not name.isprintable()):
        target.fail("must be the name of a target")
    root = read(node.get("root").string(limit=4096))
    return TufSource(url=said.removeprefix(_TUF).rstrip("/"), root=root, target=name, **common)
