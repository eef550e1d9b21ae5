"""index.json of an OCI image layout (image-spec v1.1, image-layout.md), as a value.

Guarantees: what another tool wrote into it stays (members, order, annotations); a name belongs to one
entry. Each entry of ours carries a hint, the annotation ``io.github.ocimodel.subject``: the digest that the
manifest refers to, or ``none``. The hint only saves reading every manifest; who trusts a referrer checks the
manifest's own ``subject``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Self

from ocimodel.errors import FormatError
from ocimodel.jsonio import Node, loads
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.stores.facts import Facts, is_tag

NO_SUBJECT = "none"
_MAX_COPIED = 16_384
"""Characters of a referrer's annotations that its entry repeats; readers of more open the manifest."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the index."""

    descriptor: Descriptor
    hint: str | None
    """The subject's digest, ``none``, or None where nothing is known."""


@dataclass(frozen=True)
class LayoutIndex:
    """The decoded index and its original document."""

    document: Mapping[str, Any]
    entries: Sequence[Entry]
    seen: dict[Digest, Facts] = field(default_factory=dict, compare=False)
    """Facts of manifests that carry no hint; filled by who reads them."""

    MAX_BYTES: ClassVar[int] = 64 * 1024 * 1024

    @classmethod
    def empty(cls) -> Self:
        return cls({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": []}, ())

    @classmethod
    def from_bytes(cls, raw: bytes, seen: Mapping[Digest, Facts] | None = None) -> Self:
        """Raises `FormatError` with the path of the bad field. ``seen``: facts that an older index knew."""
        try:
            node = Node(loads(raw, limit=cls.MAX_BYTES, what="document"))
            version = node.get("schemaVersion")
            if version.integer() != 2:
                version.fail("must be 2")
            listed = node.find("manifests")
            entries = tuple(_entry(item) for item in listed.items()) if listed else ()
        except FormatError as error:
            raise FormatError(f"index.json: {error.message}") from None
        return cls(node.object(), entries, dict(seen or {}))

    def to_bytes(self) -> bytes:
        return json.dumps(self.document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")

    def tags(self) -> list[str]:
        """Names that are tags; other tools also write whole references, which are none."""
        return [name for name in self._named if is_tag(name)]

    def tagged(self, tag: str) -> Descriptor | None:
        """Raises `FormatError` where the tag names two digests: nobody can say which was meant."""
        found = self._named.get(tag)
        if found is None:
            return None
        if any(other.digest != found[0].digest for other in found):
            raise FormatError(f"index.json: the tag {tag!r} stands on two digests")
        return found[0]

    def find(self, digest: Digest) -> Descriptor | None:
        found = self._by_digest.get(digest)
        return found.descriptor if found else None

    def candidates(self, subject: Digest) -> Iterator[Entry]:
        """Entries that may refer to ``subject``: those whose hint says so, and those without a hint."""
        wanted = str(subject)
        return (entry for entry in self._by_digest.values() if entry.hint in (wanted, None))

    def as_referrer(self, entry: Entry) -> Descriptor:
        """The entry as a referrers list shows it, without what only this file needs."""
        facts = self.seen.get(entry.descriptor.digest)
        if facts is not None:
            return facts.descriptor
        plain = entry.descriptor
        return Descriptor(
            media_type=plain.media_type,
            digest=plain.digest,
            size=plain.size,
            artifact_type=plain.artifact_type,
            annotations=_without_names(plain.annotations),
        )

    def with_entry(self, facts: Facts, tag: str | None) -> LayoutIndex:
        """The index with the manifest, under the tag if one is given; itself where nothing changes."""
        digest = facts.descriptor.digest
        if tag is None:
            if digest in self._by_digest:
                return self
        else:
            named = self._named.get(tag, [])
            if [item.digest for item in named] == [digest]:
                return self
        old = list(zip(self._items, self.entries, strict=True))
        # An entry of the same manifest that says less gives way; so does one whose tag moves here.
        stay = [_name(entry) not in (None, tag) or entry.descriptor.digest != digest for _, entry in old]
        leave = [tag is not None and _name(entry) == tag for _, entry in old]
        known = {digest}
        known.update(e.descriptor.digest for (_, e), s, g in zip(old, stay, leave, strict=True) if s and not g)
        items: list[Any] = []
        for (item, entry), stays, goes in zip(old, stay, leave, strict=True):
            if stays and not goes:
                items.append(item)
            elif stays and entry.descriptor.digest not in known:
                items.append(_renamed(item))  # the tag leaves; the manifest stays
                known.add(entry.descriptor.digest)
        items.append(_written(facts, tag))
        entries = tuple(_entry(Node(item)) for item in items)
        return LayoutIndex({**self.document, "manifests": items}, entries, self.seen)

    def without(self, digest: Digest) -> LayoutIndex:
        """The index without any line for this manifest."""
        kept = [pair for pair in zip(self._items, self.entries, strict=True) if pair[1].descriptor.digest != digest]
        items = [item for item, _ in kept]
        entries = tuple(entry for _, entry in kept)
        return LayoutIndex({**self.document, "manifests": items}, entries, self.seen)

    @property
    def _items(self) -> Sequence[Any]:
        return self.document.get("manifests") or ()

    @cached_property
    def _named(self) -> dict[str, list[Descriptor]]:
        named: dict[str, list[Descriptor]] = {}
        for entry in self.entries:
            name = entry.descriptor.annotations.get(media.REF_NAME)
            if name is not None:
                named.setdefault(name, []).append(entry.descriptor)
        return named

    @cached_property
    def _by_digest(self) -> dict[Digest, Entry]:
        found: dict[Digest, Entry] = {}
        for entry in self.entries:
            known = found.get(entry.descriptor.digest)
            if known is None or (known.hint is None and entry.hint is not None):
                found[entry.descriptor.digest] = entry
        return found


def _entry(node: Node) -> Entry:
    descriptor = Descriptor.from_node(node)
    return Entry(descriptor, descriptor.annotations.get(media.SUBJECT_HINT))


def _name(entry: Entry) -> str | None:
    return entry.descriptor.annotations.get(media.REF_NAME)


def _written(facts: Facts, tag: str | None) -> dict[str, Any]:
    """The entry as we write it. Annotations of a referrer are repeated, since a referrers list shows them."""
    descriptor = facts.descriptor
    annotations: dict[str, str] = {}
    if facts.subject is None:
        annotations[media.SUBJECT_HINT] = NO_SUBJECT
    elif sum(len(key) + len(value) for key, value in descriptor.annotations.items()) <= _MAX_COPIED:
        annotations = _without_names(descriptor.annotations)
        annotations[media.SUBJECT_HINT] = str(facts.subject)
    if tag is not None:
        annotations[media.REF_NAME] = tag
    return Descriptor(
        media_type=descriptor.media_type,
        digest=descriptor.digest,
        size=descriptor.size,
        artifact_type=descriptor.artifact_type,
        annotations=annotations,
    ).to_dict()


def _renamed(item: Mapping[str, Any]) -> dict[str, Any]:
    annotations = {key: value for key, value in item["annotations"].items() if key != media.REF_NAME}
    rest = {key: value for key, value in item.items() if key != "annotations"}
    return {**rest, "annotations": annotations} if annotations else rest


def _without_names(annotations: Mapping[str, str]) -> dict[str, str]:
    ours = (media.REF_NAME, media.SUBJECT_HINT)
    return {key: value for key, value in annotations.items() if key not in ours}
