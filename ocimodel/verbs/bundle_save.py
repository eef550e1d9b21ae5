"""Save artifacts into one file for a network that is closed: a bundle.

Guarantees: the same artifacts, with the same referrers, make the same bytes on every machine. Everything is checked
against its digest on the way in; the file appears complete, by a rename. What a killed save wrote is used by the
next one. Blobs that the other side has may be left out; manifests never are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from ocimodel.attest import legacy
from ocimodel.errors import UsageError
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest
from ocimodel.oci.reference import LAYOUT_PREFIX, Reference
from ocimodel.stores.facts import Facts, examine, is_tag
from ocimodel.stores.opening import Access, open_store, target_of
from ocimodel.stores.protocol import Store
from ocimodel.transfer import layouttar, spans
from ocimodel.transfer.ahead import open_ahead
from ocimodel.transfer.bundle import (
    DOCUMENT,
    INDEX,
    MARKER,
    MARKER_BYTES,
    TRUST,
    Artifact,
    Bundle,
    blob_name,
    index_of,
)
from ocimodel.transfer.closure import ALL, Closure, Wanted, closure_of
from ocimodel.transfer.layouttar import Content
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.relay import SMALL, read_small
from ocimodel.trust.verdict import Verdict
from ocimodel.verbs.copy import Judge


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """``references`` are pinned, in the order given; ``files`` what was written."""

    references: tuple[Reference, ...]
    verdicts: tuple[Verdict, ...]
    files: tuple[Path, ...]
    bundle: Bundle
    blobs: int
    manifests: int
    total_bytes: int
    read_bytes: int
    left_out_bytes: int
    warnings: tuple[str, ...]


def save(
    references: Sequence[Reference],
    file: Path,
    *,
    access: Access,
    judge: Judge | None = None,
    wanted: Wanted = ALL,
    have: Collection[Digest] = (),
    trust: Mapping[str, bytes] | None = None,
    split: int | None = None,
    meter: Meter | None = None,
    now: datetime | None = None,
) -> Saved:
    """Write ``file``.

    Args:
        judge: who must have signed what is saved; None: nobody is asked.
        have: blobs that the other side has.
        trust: policies and public keys by name (`verbs.trust_material.read`).
        split: the size of a part; None: one file.

    Raises:
        UsageError: two artifacts would have the same tag, or the file cannot be meant.
        Refusal: the policy says no, or a byte is not what it should be; nothing was written under the name.
        NotFoundError, UnavailableError, AuthenticationError: from a store.
        StorageError: the disk is full.
    """
    now = now or datetime.now(UTC)
    with ExitStack() as stack:
        stores: dict[str, Store] = {}
        gathered = _Gathered(set(have))
        pinned: dict[Reference, Reference] = {}
        verdicts: list[Verdict] = []
        for reference in dict.fromkeys(references):
            if reference.name not in stores:
                stores[reference.name] = stack.enter_context(open_store(reference, access, mirrors=True))
            store = stores[reference.name]
            asked = target_of(reference, store)
            root, raw = store.get_manifest(asked)
            if judge is not None:
                verdicts.append(judge(store, root, raw, reference, asked, now))
            tag = reference.tag or (None if reference.digest else asked)
            found = closure_of(store, root, raw, wanted)
            gathered.add(store, found, Artifact(reference=_called(reference), tag=tag, name=tag, root=root))
            pinned[reference] = reference.tagged(tag).at(root.digest)
        bundle, contents = gathered.finish(trust or {})
        _, total = layouttar.lay_out([(content.name, content.size) for content in contents])
        with spans.writing(file, total, split) as run:
            read = layouttar.write(run, contents, meter or Meter())
    return Saved(
        references=tuple(pinned.values()),
        verdicts=tuple(verdicts),
        files=tuple(part.path for part in spans.find(file)) if split else (file,),
        bundle=bundle,
        blobs=len(gathered.blobs),
        manifests=len(gathered.manifests),
        total_bytes=total,
        read_bytes=read,
        left_out_bytes=sum(bundle.absent.values()),
        warnings=tuple(gathered.warnings),
    )


_Open = Callable[[], AbstractContextManager[BinaryIO]]


@dataclass(slots=True)
class _Gathered:
    """What goes into the bundle, from several stores."""

    have: set[Digest]
    artifacts: list[Artifact] = field(default_factory=list)
    facts: dict[Digest, Facts] = field(default_factory=dict)
    manifests: dict[Digest, tuple[int, _Open]] = field(default_factory=dict)
    blobs: dict[Digest, tuple[int, _Open]] = field(default_factory=dict)
    stores: dict[Digest, Store] = field(default_factory=dict)
    absent: dict[Digest, int] = field(default_factory=dict)
    tags: dict[str, tuple[Descriptor, bytes]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def add(self, store: Store, closure: Closure, artifact: Artifact) -> None:
        self.artifacts.append(artifact)
        self.warnings += closure.warnings
        for piece in closure.pieces:
            self._add_manifest(piece.descriptor, closure.raw(store, piece.descriptor), store, closure)
        for item in closure.legacy:
            raw = closure.raw(store, item.piece.descriptor)
            self.tags[item.tag] = self._merged(self.tags.get(item.tag), (item.piece.descriptor, raw))
        for blob in closure.blobs():
            if blob.digest in self.have:
                self.absent[blob.digest] = blob.size
            else:
                self.blobs.setdefault(blob.digest, (blob.size, _reader(store, blob)))
                self.stores.setdefault(blob.digest, store)

    def _add_manifest(self, descriptor: Descriptor, raw: bytes, store: Store, closure: Closure) -> None:
        self.facts[descriptor.digest] = examine(raw, descriptor.media_type)

        def read() -> AbstractContextManager[BinaryIO]:
            return BytesIO(closure.raw(store, descriptor))

        self.manifests.setdefault(descriptor.digest, (len(raw), read))

    def _merged(
        self, there: tuple[Descriptor, bytes] | None, new: tuple[Descriptor, bytes]
    ) -> tuple[Descriptor, bytes]:
        """What cosign's tag lists of one artifact in several repositories."""
        if there is None or there[0].digest == new[0].digest:
            return new
        listed, more = (Manifest.from_bytes(raw, found.media_type).layers for found, raw in (there, new))
        lacking = [layer for layer in more if layer not in listed]
        if not lacking:
            return there
        raw, config = legacy.appended(there[1], lacking)
        self.blobs[Digest.of(config)] = (len(config), lambda: BytesIO(config))
        return Descriptor(media_type=media.OCI_MANIFEST, digest=Digest.of(raw), size=len(raw)), raw

    def finish(self, trust: Mapping[str, bytes]) -> tuple[Bundle, list[Content]]:
        artifacts = _named(self.artifacts)
        tags = {artifact.name: artifact.root.digest for artifact in artifacts if artifact.name is not None}
        for tag, (descriptor, raw) in self.tags.items():
            tags[tag] = descriptor.digest
            self.facts[descriptor.digest] = examine(raw, descriptor.media_type)
            self.manifests.setdefault(descriptor.digest, (len(raw), lambda raw=raw: BytesIO(raw)))  # type: ignore[misc]
        used = {blob.digest for piece in self._listed() for blob in (piece.config, *piece.layers)}
        small = {
            INDEX: index_of(self.facts.values(), tags),
            MARKER: MARKER_BYTES,
            **{f"{TRUST}{name}": data for name, data in trust.items()},
        }
        bundle = Bundle(
            artifacts=tuple(sorted(artifacts, key=lambda artifact: (artifact.reference, artifact.tag or ""))),
            absent=self.absent,
            files={name: Digest.of(data) for name, data in small.items()},
        )
        small[DOCUMENT] = bundle.to_bytes()
        for digest in self.blobs.keys() - used - self.manifests.keys():
            self.blobs.pop(digest)  # the config of a list of signatures that was merged with another
        contents = [
            Content(name=blob_name(digest), size=size, digest=digest, open=opened, store=self.stores.get(digest))
            for digest, (size, opened) in {**self.blobs, **self.manifests}.items()
        ]
        contents += [
            Content(name=name, size=len(data), digest=Digest.of(data), open=lambda data=data: BytesIO(data))  # type: ignore[misc]
            for name, data in small.items()
        ]
        return bundle, contents

    def _listed(self) -> Iterator[Manifest]:
        for digest, (_, opened) in self.manifests.items():
            kind = self.facts[digest].descriptor.media_type
            if kind in media.MANIFESTS:
                with opened() as file:
                    yield Manifest.from_bytes(file.read(), kind)


def _called(reference: Reference) -> str:
    """What the bundle calls a repository; of a layout only its name, since where it lies is nobody's business."""
    if not reference.is_layout:
        return reference.name
    return f"{LAYOUT_PREFIX}{os.path.basename(os.path.abspath(reference.path))}"


def _reader(store: Store, blob: Descriptor) -> _Open:
    def read() -> AbstractContextManager[BinaryIO]:
        if blob.size > SMALL:
            return open_ahead(store, blob)
        return BytesIO(read_small(store, blob))

    return read


def _named(artifacts: Sequence[Artifact]) -> list[Artifact]:
    """The artifacts with the tags that they have in the bundle: of several, the repository's name before it.

    Raises:
        UsageError: two would still have the same.
    """
    found: list[Artifact] = []
    for artifact in artifacts:
        others = {other.root.digest for other in artifacts if other.tag == artifact.tag}
        name = artifact.tag
        if name is not None and len(others) > 1:
            stem = artifact.reference.rstrip("/").rpartition("/")[2].removeprefix("oci:")
            name = f"{stem}-{name}"
        found.append(replace(artifact, name=name))
    names: dict[str, Digest] = {}
    for artifact in found:
        if artifact.name is None:
            continue
        if (
            not is_tag(artifact.name)
            or names.setdefault(artifact.name, artifact.root.digest) != artifact.root.digest
        ):
            raise UsageError(
                f"two artifacts would be {artifact.name} in the bundle", hint="Save them into bundles of their own."
            )
    return found
